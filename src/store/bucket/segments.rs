//! Swift's large objects: parts that are objects of their own, and a list of them.
//!
//! Deleting such an object deletes the list; its parts go with it only where that is asked for, and asking for it of a
//! plain object is an error ("Static Large Objects" of the reference). The library does not ask. Whether an object is
//! such a list is said in the answer to HEAD, which comes before every deletion here.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use http::{Method, Request, Response, Uri};
use opendal::{Error, ErrorKind};

/// How many are remembered between the look and the deletion.
const REMEMBERED: usize = 1_024;

/// The lists that were seen and not deleted yet.
#[derive(Debug, Default)]
pub(super) struct Segments {
    lists: Mutex<HashSet<Uri>>,
}

/// A request that was sent.
#[derive(Debug)]
pub(super) struct Asked {
    method: Method,
    uri: Uri,
}

impl Segments {
    /// Asks for the parts too where a list is deleted.
    pub(super) fn before<T>(&self, request: &mut Request<T>) -> opendal::Result<Asked> {
        let asked = Asked { method: request.method().clone(), uri: request.uri().clone() };
        if asked.method == Method::DELETE && self.lists().contains(&asked.uri) {
            let with = format!("{}?multipart-manifest=delete", asked.uri);
            *request.uri_mut() = with
                .parse()
                .map_err(|error| Error::new(ErrorKind::Unexpected, "a URL that cannot be built").set_source(error))?;
        }
        Ok(asked)
    }

    /// Remembers what was a list, and forgets what was deleted.
    pub(super) fn after<T>(&self, asked: Asked, response: &Response<T>) {
        let Asked { method, uri } = asked;
        let is_list = || response.headers().get("x-static-large-object").is_some_and(|value| value == "True");
        let mut lists = self.lists();
        if method == Method::HEAD && response.status().is_success() && is_list() {
            // What is forgotten costs the space of its parts.
            if lists.len() >= REMEMBERED {
                lists.clear();
            }
            lists.insert(uri);
        } else if method == Method::HEAD || (method == Method::DELETE && response.status().is_success()) {
            lists.remove(&uri);
        }
    }

    fn lists(&self) -> std::sync::MutexGuard<'_, HashSet<Uri>> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
