//! `regatta reference`: prints the pages of docs/reference that are made from the code, or writes them into a directory.
//!
//! It is not for those who run Regatta, and hidden from them.

use std::io::Write as _;
use std::path::PathBuf;

/// Options of `regatta reference`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write the pages into this directory instead of printing them.
    #[arg(long, value_name = "DIR")]
    pub write: Option<PathBuf>,
}

/// The pages could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{path} could not be written", path = .path.display())]
pub struct ReferenceError {
    path: PathBuf,
    source: std::io::Error,
}

/// Runs it: names and texts of `pages`.
pub fn run(args: &Args, pages: &[(&'static str, String)]) -> Result<(), ReferenceError> {
    for (name, text) in pages {
        match &args.write {
            Some(directory) => {
                let path = directory.join(name);
                std::fs::write(&path, text).map_err(|source| ReferenceError { path, source })?;
            }
            None => std::io::stdout()
                .lock()
                .write_all(text.as_bytes())
                .map_err(|source| ReferenceError { path: PathBuf::from("standard output"), source })?,
        }
    }
    Ok(())
}
