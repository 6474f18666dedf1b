//! A store file, read: what is wrong with it is told by line and field, and never by showing the lines around, which may
//! have a password in them.

use std::path::Path;

use super::{OpenError, read};
use crate::settings::file::{Malformed, malformed};
use crate::store::config::{Place, StoreFile};

/// The one place that a store file names.
pub(super) fn place(path: &Path) -> Result<Place, OpenError> {
    let wrong = |why| OpenError::Malformed { path: path.to_path_buf(), what: "a store file", why };
    let file = parse(&read(path)?).map_err(wrong)?;
    file.place().map_err(|source| OpenError::NotOne { path: path.to_path_buf(), source })
}

fn parse(text: &str) -> Result<StoreFile, String> {
    let mut field = None;
    let parsed = serde_yaml::with_deserializer_from_str(text, |yaml| {
        serde_path_to_error::deserialize(yaml).map_err(|error| {
            // The file itself has no name.
            field = Some(error.path().to_string()).filter(|field| field != ".");
            error.into_inner()
        })
    });
    parsed.map_err(|error| {
        let Malformed { line, why } = malformed(&error);
        let field = field.map(|field| format!("`{field}`: ")).unwrap_or_default();
        format!("line {line}: {field}{why}")
    })
}
