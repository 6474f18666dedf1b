//! Token scopes (Docker's token specification): what a client asks for, and what a token is good for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Access, Decision, Identity, Permission, access::decide};
use crate::oci::RepositoryName;

/// The most scopes of one request that are looked at.
const MOST: usize = 64;

/// What a token narrows to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Scope {
    /// Actions by repository.
    #[serde(default)]
    pub repositories: BTreeMap<String, Actions>,
    /// `registry:catalog:*`.
    #[serde(default)]
    pub catalog: bool,
}

/// Actions on one repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Actions {
    /// `pull`
    pub pull: bool,
    /// `push`
    pub push: bool,
    /// `delete`
    pub delete: bool,
}

impl Actions {
    fn parse(text: &str) -> Self {
        // Unknown actions are dropped.
        text.split(',').fold(Self::default(), |mut actions, action| {
            let all = action == "*";
            actions.pull |= all || action == "pull";
            actions.push |= all || action == "push";
            actions.delete |= all || action == "delete";
            actions
        })
    }

    fn or(self, other: Self) -> Self {
        Self { pull: self.pull || other.pull, push: self.push || other.push, delete: self.delete || other.delete }
    }

    fn is_empty(self) -> bool {
        !self.pull && !self.push && !self.delete
    }
}

impl Scope {
    /// Reads the values of `scope` parameters, each of which may have several scopes parted by spaces. What cannot be
    /// read is left out: it will not be granted.
    pub fn parse<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut scope = Self::default();
        for text in values.into_iter().flat_map(str::split_whitespace).take(MOST) {
            // A repository's name may have a port-like colon in other registries, ours may not: the last colon parts.
            let Some((resource, actions)) = text.rsplit_once(':') else { continue };
            let Some((kind, name)) = resource.split_once(':') else { continue };
            // `repository(class)`: the class is Docker Hub's.
            match kind.split('(').next() {
                Some("repository") if name.parse::<RepositoryName>().is_ok() => {
                    let entry = scope.repositories.entry(name.to_owned()).or_default();
                    *entry = entry.or(Actions::parse(actions));
                }
                Some("registry") if name == "catalog" => scope.catalog |= actions.split(',').any(|a| a == "*"),
                Some(_) | None => {}
            }
        }
        scope
    }

    /// The part of what is asked for that the identity may do now.
    #[must_use]
    pub fn granted(&self, identity: &Identity, access: &Access) -> Self {
        let may = |repository: &str, permission| {
            let name = repository.parse::<RepositoryName>();
            name.is_ok_and(|name| decide(identity, permission, &name, access) == Decision::Allow)
        };
        let repositories = self.repositories.iter().map(|(name, asked)| {
            let actions = Actions {
                pull: asked.pull && may(name, Permission::Pull),
                push: asked.push && may(name, Permission::Push),
                delete: asked.delete && may(name, Permission::Delete),
            };
            (name.clone(), actions)
        });
        Self {
            repositories: repositories.filter(|(_, actions)| !actions.is_empty()).collect(),
            catalog: self.catalog && *identity != Identity::Anonymous,
        }
    }

    /// Whether a token of this scope is good for this.
    pub fn covers(&self, permission: Permission, repository: &RepositoryName) -> bool {
        self.repositories.get(repository.as_str()).is_some_and(|actions| match permission {
            Permission::Pull | Permission::List => actions.pull,
            Permission::Push => actions.push,
            Permission::Delete => actions.delete,
        })
    }

    /// What a challenge asks for.
    pub fn required(permission: Permission, repository: &RepositoryName) -> String {
        let actions = match permission {
            Permission::Pull | Permission::List => "pull",
            Permission::Push => "pull,push",
            Permission::Delete => "delete",
        };
        format!("repository:{repository}:{actions}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Project, Role};

    #[test]
    fn scopes_are_repeated_or_parted_by_spaces_and_unknown_things_are_dropped() {
        let scope = Scope::parse([
            "repository:team/app:pull,push repository(plugin):team/other:*",
            "registry:catalog:* repository:team/app:delete,fly repository:BAD:pull nonsense repository:x",
        ]);
        let all = Actions { pull: true, push: true, delete: true };
        assert_eq!(scope.repositories, BTreeMap::from([("team/app".into(), all), ("team/other".into(), all)]));
        assert!(scope.catalog);
    }

    #[test]
    fn the_intersection_of_asked_and_allowed_is_granted() {
        let guest = Identity::htpasswd("guest");
        let project = Project { public: false, roles: [(guest.clone(), Role::Guest)].into() };
        let access = Access { projects: [("team".to_owned(), project)].into(), ..Access::default() };
        let granted = Scope::parse(["repository:team/app:pull,push repository:other:pull"]).granted(&guest, &access);
        let app = "team/app".parse().unwrap();
        assert!(granted.covers(Permission::Pull, &app) && !granted.covers(Permission::Push, &app));
        assert!(!granted.covers(Permission::Pull, &"other".parse().unwrap()));
    }
}
