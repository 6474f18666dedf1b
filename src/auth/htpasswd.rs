//! The registry's own password file: `user:bcrypt`, one a line (`htpasswd -B`, or `regatta htpasswd USER`).

use std::collections::HashMap;

/// Users and the bcrypt hashes of their passwords.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Htpasswd {
    users: HashMap<String, String>,
}

/// A line that cannot be used. The others can.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the password file is ignored: {why}")]
pub struct BadLine {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub why: &'static str,
}

/// bcrypt takes no more of a password than this; a longer one would be cut silently.
const LONGEST_PASSWORD: usize = 72;

/// What the password of a user that does not exist is compared with, so that both take as long. Cost 10, as
/// `htpasswd -B`'s common use and [`hash`].
const NOBODY: &str = "$2b$10$C6UzMDM.H6dfI/f/IKcEeO7ZtZLZ4mLr1gHPJ8T5dDqAVwzPqUpzS";

impl Htpasswd {
    /// Reads a password file. Lines that cannot be used are left out and named.
    pub fn parse(text: &str) -> (Self, Vec<BadLine>) {
        let (mut file, mut bad) = (Self::default(), Vec::new());
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match parse_line(line) {
                Ok((user, hash)) => {
                    file.users.insert(user.to_owned(), hash.to_owned());
                }
                Err(why) => bad.push(BadLine { line: index + 1, why }),
            }
        }
        (file, bad)
    }

    /// Whether the password is the user's. Slow on purpose: call it where blocking is allowed.
    pub fn verify(&self, user: &str, password: &str) -> bool {
        let known = self.users.get(user);
        let hash = known.map_or(NOBODY, String::as_str);
        let right = password.len() <= LONGEST_PASSWORD && bcrypt::verify(password, hash).unwrap_or(false);
        right && known.is_some()
    }

    /// Whether nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Whether there is such a user.
    pub fn contains(&self, user: &str) -> bool {
        self.users.contains_key(user)
    }
}

fn parse_line(line: &str) -> Result<(&str, &str), &'static str> {
    let (user, hash) = line.split_once(':').ok_or("expected `user:hash`")?;
    if user.is_empty() || user.contains('+') {
        return Err("a user's name is not empty and has no `+`, which is kept for robots and replicators");
    }
    if !["$2y$", "$2a$", "$2b$"].iter().any(|prefix| hash.starts_with(prefix)) {
        return Err("only bcrypt hashes are accepted; make one with `htpasswd -B` or `regatta htpasswd`");
    }
    Ok((user, hash))
}

/// Why a password cannot be hashed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// bcrypt would cut it.
    #[error("the password has more than 72 bytes, which bcrypt would cut off")]
    TooLong,
    /// Nothing to hash.
    #[error("the password is empty")]
    Empty,
    /// bcrypt's.
    #[error("the password could not be hashed")]
    Bcrypt(#[from] bcrypt::BcryptError),
}

/// A line of a password file.
pub fn hash(user: &str, password: &str) -> Result<String, HashError> {
    if password.is_empty() {
        return Err(HashError::Empty);
    }
    if password.len() > LONGEST_PASSWORD {
        return Err(HashError::TooLong);
    }
    Ok(format!("{user}:{}", bcrypt::hash(password, 10)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hashed_password_is_verified_and_others_are_not() {
        let (file, bad) = Htpasswd::parse(&hash("alice", "secret").unwrap());
        assert_eq!(bad, []);
        assert!(file.verify("alice", "secret"));
        assert!(!file.verify("alice", "Secret") && !file.verify("bob", "secret") && !file.verify("alice", ""));
        assert!(!file.verify("alice", &"x".repeat(73)));
    }

    #[test]
    fn bad_lines_are_named_and_disturb_no_other() {
        let text = format!("# users\nbob:plain\n\nrobot+a+b:$2y$05$x\n{}\n", hash("alice", "secret").unwrap());
        let (file, bad) = Htpasswd::parse(&text);
        assert_eq!(bad.iter().map(|bad| bad.line).collect::<Vec<_>>(), [2, 4]);
        assert!(file.contains("alice") && !file.contains("bob"));
    }

    #[test]
    fn nobodys_hash_is_a_hash() {
        assert!(bcrypt::verify("x", NOBODY).is_ok());
    }
}
