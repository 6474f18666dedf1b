//! `regatta crds`: prints the manifests of the five kinds, or writes them into a directory.

use std::io::Write as _;
use std::path::PathBuf;

use crate::api::schema::{self, SchemaError};

/// Options of `regatta crds`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write one file a kind, `PLURAL.yaml`, into these directories instead of printing them.
    #[arg(long, value_name = "DIR")]
    pub write: Vec<PathBuf>,
}

/// Why the manifests could not be given out.
#[derive(Debug, thiserror::Error)]
pub enum CrdsError {
    /// They could not be made.
    #[error("the manifests could not be made")]
    Schema(#[from] SchemaError),
    /// They could not be written.
    #[error("the manifests could not be written to {path}")]
    Write {
        /// Where to.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), CrdsError> {
    let manifests = schema::manifests()?;
    if args.write.is_empty() {
        return print(&manifests);
    }
    for directory in &args.write {
        write_into(directory, &manifests)?;
    }
    Ok(())
}

fn print(manifests: &[(String, String)]) -> Result<(), CrdsError> {
    let texts: Vec<&str> = manifests.iter().map(|(_, text)| text.as_str()).collect();
    let mut out = std::io::stdout().lock();
    out.write_all(texts.join("---\n").as_bytes())
        .map_err(|source| CrdsError::Write { path: PathBuf::from("standard output"), source })
}

fn write_into(directory: &PathBuf, manifests: &[(String, String)]) -> Result<(), CrdsError> {
    std::fs::create_dir_all(directory).map_err(|source| CrdsError::Write { path: directory.clone(), source })?;
    for (plural, text) in manifests {
        let path = directory.join(format!("{plural}.yaml"));
        std::fs::write(&path, text).map_err(|source| CrdsError::Write { path, source })?;
    }
    Ok(())
}
