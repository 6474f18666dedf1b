//! Answers of 200 that do not say yet what comes of the request.
//!
//! - COS and OBS answer a copy when they begin it: "If the body contains ETag, the copy succeeds. Otherwise, the copy failed"
//!   ("Copying an Object" of OBS's reference; "PUT Object - Copy" of COS's says the same).
//! - Swift answers the deletion of a large object with its parts when it begins it, and says at the end what the status would
//!   have been ("Static Large Objects" of its reference).
//!
//! The library looks at the status. So these bodies are read here, and a failure gets the status that it would have had.

use futures::stream;
use http::{Method, Request, Response, StatusCode};
use opendal::{Buffer, HttpBody};

/// What was asked for in a request that is answered so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Late {
    Copy,
    Deletion,
}

impl Late {
    pub(super) fn of<T>(request: &Request<T>) -> Option<Self> {
        let copies = ["x-cos-copy-source", "x-obs-copy-source"];
        match *request.method() {
            Method::PUT if copies.iter().any(|name| request.headers().contains_key(*name)) => Some(Self::Copy),
            Method::DELETE if request.uri().query() == Some("multipart-manifest=delete") => Some(Self::Deletion),
            _ => None,
        }
    }

    /// The answer with the status that its body says.
    pub(super) async fn settle(self, response: Response<HttpBody>) -> opendal::Result<Response<HttpBody>> {
        if response.status() != StatusCode::OK {
            return Ok(response);
        }
        let (mut parts, mut body) = response.into_parts();
        let said = body.to_buffer().await?.to_bytes();
        if let Some(status) = self.failure(&String::from_utf8_lossy(&said)) {
            parts.status = status;
        }
        let size = said.len() as u64;
        let body = HttpBody::new(stream::iter([Ok(Buffer::from(said))]), Some(size));
        Ok(Response::from_parts(parts, body))
    }

    /// What went wrong, if anything did. What says neither is a failure that passes.
    fn failure(self, said: &str) -> Option<StatusCode> {
        match self {
            Self::Copy if said.contains("<ETag>") => None,
            Self::Copy => Some(match between(said, "<Code>", "</Code>") {
                Some("FileAlreadyExists") => StatusCode::CONFLICT,
                Some("PreconditionFailed") => StatusCode::PRECONDITION_FAILED,
                Some("NoSuchKey") => StatusCode::NOT_FOUND,
                Some("AccessDenied") => StatusCode::FORBIDDEN,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            }),
            Self::Deletion => {
                let status = between(said, "Response Status: ", " ").and_then(|status| status.parse().ok());
                let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                (!status.is_success()).then_some(status)
            }
        }
    }
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    Some(rest.split_once(end)?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_was_made_where_its_tag_is_told() {
        let copied = "<?xml version=\"1.0\"?>\n<CopyObjectResult>\n  <ETag>\"507e\"</ETag>\n</CopyObjectResult>";
        assert_eq!(Late::Copy.failure(copied), None);
        assert_eq!(Late::Copy.failure(&format!("   \n {copied}")), None, "spaces keep the connection open meanwhile");
    }

    #[test]
    fn a_copy_that_failed_has_its_own_status() {
        let error = |code: &str| format!("<Error><Code>{code}</Code><Message>no</Message></Error>");
        for (code, status) in [
            ("FileAlreadyExists", 409),
            ("PreconditionFailed", 412),
            ("NoSuchKey", 404),
            ("AccessDenied", 403),
            ("InternalError", 500),
            ("SlowDown", 500),
        ] {
            assert_eq!(Late::Copy.failure(&error(code)).unwrap().as_u16(), status, "{code}");
        }
        assert_eq!(Late::Copy.failure("").unwrap(), 500, "neither made nor failed: asked again");
    }

    #[test]
    fn a_deletion_says_at_its_end_what_came_of_it() {
        let said = |status: &str| format!("Number Deleted: 1\nResponse Body: \nResponse Status: {status}\nErrors:\n");
        assert_eq!(Late::Deletion.failure(&said("200 OK")), None);
        for (text, status) in [("400 Bad Request", 400), ("401 Unauthorized", 401), ("502 Bad Gateway", 502)] {
            assert_eq!(Late::Deletion.failure(&said(text)).unwrap().as_u16(), status);
        }
        assert_eq!(Late::Deletion.failure("Number Deleted: 1\n").unwrap(), 500, "it broke off");
    }
}
