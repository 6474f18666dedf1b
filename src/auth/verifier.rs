//! Verifies a login and a password, each against one source only, told by the login's shape.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::htpasswd::Htpasswd;
use super::secrets::SecretHash;
use super::{
    Identity,
    identity::{HTPASSWD, ROBOT_PREFIX},
};

/// How long a password that was verified slowly need not be verified again.
const REMEMBERED_FOR: Duration = Duration::from_mins(1);

/// How many verified passwords are remembered.
const REMEMBERED: usize = 10_000;

/// What is configured beside the access document: files that are mounted.
#[derive(Debug, Clone, Default)]
pub struct Configured {
    /// The password file.
    pub htpasswd: Htpasswd,
    /// Secrets of replicators by login.
    pub replicators: HashMap<String, SecretHash>,
    /// A user of the password source whose secret was made at the start: the administrator outside a cluster.
    pub local_admin: Option<(String, SecretHash)>,
    /// Users who may do everything.
    pub admins: BTreeSet<Identity>,
}

/// Verifies logins. Remembers slow successes under a keyed hash, until something changes.
#[derive(Debug)]
pub struct Verifier {
    configured: Configured,
    robots: HashMap<Identity, Vec<SecretHash>>,
    remembered: Mutex<HashMap<[u8; 32], Instant>>,
    /// Only for this process's memory. Without randomness there is none, and nothing is remembered under one that could be
    /// guessed.
    key: Option<[u8; 32]>,
}

/// What is known at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Quick {
    /// It is this identity.
    Known(Identity),
    /// It is not.
    Wrong,
    /// Ask [`Verifier::verify_slowly`], where blocking is allowed.
    Slow,
}

impl Verifier {
    /// With what is configured, and the robots of the access document in force.
    pub fn new(configured: Configured, robots: HashMap<Identity, Vec<SecretHash>>) -> Self {
        let mut key = [0; 32];
        let key = getrandom::fill(&mut key).ok().map(|()| key);
        Self { configured, robots, remembered: Mutex::default(), key }
    }

    /// Who may do everything.
    pub fn admins(&self) -> &BTreeSet<Identity> {
        &self.configured.admins
    }

    /// Whether an identity still is one: a token proves who somebody was when it was issued.
    pub fn exists(&self, identity: &Identity) -> bool {
        let local_admin = self.configured.local_admin.as_ref();
        match identity {
            Identity::Anonymous => true,
            Identity::User { source, name } => {
                source == HTPASSWD
                    && (self.configured.htpasswd.contains(name) || local_admin.is_some_and(|(admin, _)| admin == name))
            }
            Identity::Robot { .. } => self.robots.get(identity).is_some_and(|secrets| !secrets.is_empty()),
            Identity::Replicator { name } => self.configured.replicators.contains_key(name),
        }
    }

    /// What can be said without slow hashing.
    pub fn verify_quickly(&self, login: &str, password: &str) -> Quick {
        let answer = |right: bool, identity: Identity| if right { Quick::Known(identity) } else { Quick::Wrong };
        if login.starts_with(ROBOT_PREFIX) {
            let Some(robot) = Identity::robot(login) else { return Quick::Wrong };
            let secrets = self.robots.get(&robot).map(Vec::as_slice).unwrap_or_default();
            return answer(secrets.iter().any(|secret| secret.matches(password)), robot);
        }
        // A replicator that is called like a user must not lock that user out, nor become him.
        let is_user = self.configured.htpasswd.contains(login)
            || self.configured.local_admin.as_ref().is_some_and(|(admin, _)| admin == login);
        if let Some(secret) = self.configured.replicators.get(login).filter(|_| !is_user) {
            return answer(secret.matches(password), Identity::Replicator { name: login.to_owned() });
        }
        if let Some((admin, secret)) = &self.configured.local_admin
            && admin == login
        {
            return answer(secret.matches(password), Identity::htpasswd(login));
        }
        if self.is_remembered(login, password) {
            return Quick::Known(Identity::htpasswd(login));
        }
        Quick::Slow
    }

    /// Hashes the password: some 50 ms of a processor.
    pub fn verify_slowly(&self, login: &str, password: &str) -> Option<Identity> {
        if !self.configured.htpasswd.verify(login, password) {
            return None;
        }
        if let Some(digest) = self.digest(login, password) {
            let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
            if remembered.len() >= REMEMBERED {
                remembered.clear();
            }
            remembered.insert(digest, Instant::now());
        }
        Some(Identity::htpasswd(login))
    }

    fn is_remembered(&self, login: &str, password: &str) -> bool {
        let Some(digest) = self.digest(login, password) else { return false };
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.get(&digest).is_some_and(|at| at.elapsed() < REMEMBERED_FOR)
    }

    fn digest(&self, login: &str, password: &str) -> Option<[u8; 32]> {
        #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key?).expect("a key of any length");
        mac.update(&(login.len() as u64).to_be_bytes());
        mac.update(login.as_bytes());
        mac.update(password.as_bytes());
        Some(mac.finalize().into_bytes().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::htpasswd;

    fn verifier() -> Verifier {
        let (htpasswd, _) = Htpasswd::parse(&htpasswd::hash("alice", "secret").unwrap());
        let configured = Configured {
            htpasswd,
            replicators: HashMap::from([("replicator+hq".to_owned(), SecretHash::of("r"))]),
            local_admin: None,
            admins: BTreeSet::new(),
        };
        let robot = Identity::robot("robot+team+ci").unwrap();
        Verifier::new(configured, HashMap::from([(robot, vec![SecretHash::of("old"), SecretHash::of("new")])]))
    }

    #[test]
    fn each_login_is_tried_against_its_own_source() {
        let verifier = verifier();
        assert!(matches!(verifier.verify_quickly("robot+team+ci", "new"), Quick::Known(Identity::Robot { .. })));
        assert!(matches!(verifier.verify_quickly("robot+team+ci", "old"), Quick::Known(_)), "both while it is rotated");
        for (login, password) in
            [("robot+team+ci", "secret"), ("robot+other+ci", "new"), ("robot+", "new"), ("replicator+hq", "x")]
        {
            assert_eq!(verifier.verify_quickly(login, password), Quick::Wrong, "{login}");
        }
        assert!(matches!(verifier.verify_quickly("replicator+hq", "r"), Quick::Known(Identity::Replicator { .. })));
    }

    #[test]
    fn a_replicator_called_like_a_user_is_not_asked_in_his_place() {
        let mut configured = verifier().configured;
        configured.replicators.insert("alice".to_owned(), SecretHash::of("of the replicator"));
        let verifier = Verifier::new(configured, HashMap::new());
        assert_eq!(verifier.verify_quickly("alice", "of the replicator"), Quick::Slow);
        assert!(verifier.verify_slowly("alice", "of the replicator").is_none());
        assert!(verifier.verify_slowly("alice", "secret").is_some());
    }

    #[test]
    fn without_randomness_nothing_is_remembered() {
        let verifier = Verifier { key: None, ..verifier() };
        assert!(verifier.verify_slowly("alice", "secret").is_some());
        assert_eq!(verifier.verify_quickly("alice", "secret"), Quick::Slow);
        assert!(verifier.remembered.lock().unwrap().is_empty());
    }

    #[test]
    fn a_right_password_is_remembered_and_a_wrong_one_is_not() {
        let verifier = verifier();
        assert_eq!(verifier.verify_quickly("alice", "secret"), Quick::Slow);
        assert!(verifier.verify_slowly("alice", "secret").is_some());
        assert!(matches!(verifier.verify_quickly("alice", "secret"), Quick::Known(_)));
        assert!(verifier.verify_slowly("alice", "wrong").is_none());
        assert_eq!(verifier.verify_quickly("alice", "wrong"), Quick::Slow);
    }
}
