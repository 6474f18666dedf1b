//! The decision, and what it is made from.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Identity;
use crate::oci::RepositoryName;

/// The five roles, weakest first: each may what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Pull by name.
    LimitedGuest,
    /// And list.
    Guest,
    /// And push.
    Developer,
    /// And delete.
    Maintainer,
    /// Today no more than a maintainer: what will be done to a project itself.
    ProjectAdmin,
}

/// What somebody wants to do with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// Read manifests, blobs and referrers.
    Pull,
    /// List tags, and see the repository in the catalog.
    List,
    /// Upload blobs, put manifests, set tags.
    Push,
    /// Delete manifests, tags and blobs.
    Delete,
}

impl Permission {
    /// The weakest role that has it.
    const fn least_role(self) -> Role {
        match self {
            Self::Pull => Role::LimitedGuest,
            Self::List => Role::Guest,
            Self::Push => Role::Developer,
            Self::Delete => Role::Maintainer,
        }
    }
}

/// A project: who has which role in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Project {
    /// Whether everybody may pull and list.
    pub public: bool,
    /// The greatest role of each identity.
    pub roles: HashMap<Identity, Role>,
}

/// Everything that decisions are made from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// By name, which is a prefix of repository names.
    pub projects: BTreeMap<String, Project>,
    /// Who may do everything.
    pub admins: BTreeSet<Identity>,
}

impl Access {
    /// The project that covers a repository: of nested ones the longest prefix counts.
    pub fn project_of(&self, repository: &RepositoryName) -> Option<&Project> {
        self.projects.get(self.project_name_of(repository)?)
    }

    /// The name of the project that covers a repository.
    pub fn project_name_of<'a>(&self, repository: &'a RepositoryName) -> Option<&'a str> {
        let name = repository.as_str();
        let ends = std::iter::once(name.len()).chain(name.rmatch_indices('/').map(|(at, _)| at));
        ends.map(|end| &name[..end]).find(|prefix| self.projects.contains_key(*prefix))
    }
}

/// Whether an identity may do something to a repository. A repository that no project covers is for admins and
/// replicators.
pub fn decide(identity: &Identity, permission: Permission, repository: &RepositoryName, access: &Access) -> Decision {
    if matches!(identity, Identity::Replicator { .. }) || access.admins.contains(identity) {
        return Decision::Allow;
    }
    let allowed = access.project_of(repository).is_some_and(|project| {
        let public = project.public && permission.least_role() <= Role::Guest;
        public || project.roles.get(identity).is_some_and(|role| *role >= permission.least_role())
    });
    match (allowed, identity) {
        (true, _) => Decision::Allow,
        (false, Identity::Anonymous) => Decision::Authenticate,
        (false, Identity::User { .. } | Identity::Robot { .. } | Identity::Replicator { .. }) => Decision::Deny,
    }
}

/// The outcome. The same for what exists and what does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Go on.
    Allow,
    /// Somebody who says who he is might.
    Authenticate,
    /// Not this one.
    Deny,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access() -> Access {
        let project = |public, roles: &[(&str, Role)]| Project {
            public,
            roles: roles.iter().map(|(name, role)| (Identity::htpasswd(name), *role)).collect(),
        };
        Access {
            projects: BTreeMap::from([
                (
                    "team".into(),
                    project(
                        false,
                        &[
                            ("dev", Role::Developer),
                            ("guest", Role::Guest),
                            ("limited", Role::LimitedGuest),
                            ("keeper", Role::Maintainer),
                        ],
                    ),
                ),
                ("team/inner".into(), project(false, &[("inner", Role::ProjectAdmin)])),
                ("open".into(), project(true, &[])),
            ]),
            admins: BTreeSet::from([Identity::htpasswd("root")]),
        }
    }

    fn check(who: &Identity, repository: &str, allowed: &[Permission]) {
        for permission in [Permission::Pull, Permission::List, Permission::Push, Permission::Delete] {
            let decision = decide(who, permission, &repository.parse().unwrap(), &access());
            let expected = allowed.contains(&permission);
            assert_eq!(decision == Decision::Allow, expected, "{who} {permission:?} {repository}");
            if !expected {
                assert_eq!(decision == Decision::Authenticate, *who == Identity::Anonymous, "{who}");
            }
        }
    }

    #[test]
    fn each_role_may_what_it_may_and_no_more() {
        use Permission::{Delete, List, Pull, Push};
        let user = Identity::htpasswd;
        check(&user("limited"), "team/app", &[Pull]);
        check(&user("guest"), "team/app", &[Pull, List]);
        check(&user("dev"), "team/app", &[Pull, List, Push]);
        check(&user("keeper"), "team", &[Pull, List, Push, Delete]);
        check(&user("root"), "anything", &[Pull, List, Push, Delete]);
        check(&Identity::Replicator { name: "r".into() }, "anything", &[Pull, List, Push, Delete]);
        check(&user("stranger"), "team/app", &[]);
        check(&Identity::Anonymous, "team/app", &[]);
    }

    #[test]
    fn everybody_pulls_and_lists_what_is_public_and_nobody_pushes_there_by_that() {
        use Permission::{List, Pull};
        check(&Identity::Anonymous, "open/app", &[Pull, List]);
        check(&Identity::htpasswd("stranger"), "open", &[Pull, List]);
        check(&Identity::Anonymous, "opener/app", &[]);
    }

    #[test]
    fn of_nested_projects_the_longest_prefix_counts_alone() {
        use Permission::{Delete, List, Pull, Push};
        check(&Identity::htpasswd("keeper"), "team/inner/app", &[]);
        check(&Identity::htpasswd("inner"), "team/inner/app", &[Pull, List, Push, Delete]);
        check(&Identity::htpasswd("inner"), "team/other", &[]);
    }

    #[test]
    fn equal_names_of_two_sources_are_two_identities() {
        let other = Identity::User { source: "ldap/corp".into(), name: "dev".into() };
        check(&other, "team/app", &[]);
        check(&Identity::Robot { namespace: "htpasswd".into(), name: "dev".into() }, "team/app", &[]);
    }
}
