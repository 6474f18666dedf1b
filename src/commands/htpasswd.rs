//! `regatta htpasswd USER`: a line for a password file, from a password on standard input.

use std::io::{BufRead as _, Write as _};

use crate::auth::htpasswd::{HashError, hash};

/// Prints `USER:<bcrypt hash>` for the password on the first line of standard input.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The login name.
    user: String,
}

/// Why there is no line.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading or writing failed.
    #[error("standard input or output failed")]
    Io(#[from] std::io::Error),
    /// The password cannot be hashed.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The name cannot be one.
    #[error("a user's name is not empty and has neither `:` nor `+`")]
    User,
}

/// Runs it.
pub fn run(args: &Args) -> Result<(), Error> {
    if args.user.is_empty() || args.user.contains([':', '+']) {
        return Err(Error::User);
    }
    let mut password = String::new();
    std::io::stdin().lock().read_line(&mut password)?;
    let line = hash(&args.user, password.trim_end_matches(['\n', '\r']))?;
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}
