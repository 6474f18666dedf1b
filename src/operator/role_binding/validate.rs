//! validate: subjects, and which Secret each robot has. Pure.

use std::collections::BTreeMap;

use kube::ResourceExt;

use crate::api::conditions::reason;
use crate::api::{RobotSubject, RoleBinding};
use crate::operator::failure::Failure;

/// A robot whose Secret this binding names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedRobot {
    /// The field that names the Secret.
    pub field: String,
    /// The robot.
    pub name: String,
    /// Its Secret.
    pub secret: String,
}

/// The Secret of each robot that some binding names one for: that of the first binding by name. All bindings are of
/// one namespace; their order does not matter.
pub fn robot_secrets(bindings: &[&RoleBinding]) -> BTreeMap<String, String> {
    holders(bindings).into_iter().map(|(robot, (_, secret))| (robot, secret)).collect()
}

/// By robot: the binding that says which Secret it has, and that Secret.
fn holders(bindings: &[&RoleBinding]) -> BTreeMap<String, (String, String)> {
    let mut sorted = bindings.to_vec();
    sorted.sort_by_key(|binding| binding.name_any());
    let mut found = BTreeMap::new();
    for binding in sorted {
        for (_, robot) in robots_of(binding) {
            if let Some(secret) = &robot.secret {
                found.entry(robot.name.clone()).or_insert_with(|| (binding.name_any(), secret.name.clone()));
            }
        }
    }
    found
}

/// With their places among the subjects.
fn robots_of(binding: &RoleBinding) -> impl Iterator<Item = (usize, &RobotSubject)> {
    binding.spec.subjects.iter().enumerate().filter_map(|(place, subject)| Some((place, subject.robot.as_ref()?)))
}

/// The robots whose Secrets this binding looks after. `all` are the bindings of the namespace, this one among them.
pub fn robots(binding: &RoleBinding, all: &[&RoleBinding]) -> Result<Vec<NamedRobot>, Failure> {
    let holders = holders(all);
    for (place, subject) in binding.spec.subjects.iter().enumerate() {
        if subject.user.is_some() == subject.robot.is_some() {
            return Err(Failure::invalid(format!("spec.subjects[{place}] must have exactly one of user and robot")));
        }
    }
    let mut named: Vec<NamedRobot> = vec![];
    for (place, robot) in robots_of(binding) {
        let Some((holder, secret)) = holders.get(&robot.name) else {
            let message = format!(
                "no RoleBinding says which Secret the robot {} has: set robot.secret in exactly one that names it",
                robot.name
            );
            return Err(Failure::stalled(reason::ROBOT_SECRET, message));
        };
        let Some(own) = &robot.secret else { continue };
        let field = format!("spec.subjects[{place}].robot.secret");
        if holder != &binding.name_any() || secret != &own.name {
            let message = format!(
                "{field}: the Secret of the robot {} is set by the RoleBinding {holder} already (Secret {secret}): set \
                 it in one of them only",
                robot.name
            );
            return Err(Failure::stalled(reason::ROBOT_SECRET, message));
        }
        named.push(NamedRobot { field, name: robot.name.clone(), secret: own.name.clone() });
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{LocalRef, RoleBindingSpec, RoleName, SubjectSpec};

    fn binding(name: &str, robots: &[(&str, Option<&str>)]) -> RoleBinding {
        let subjects = robots
            .iter()
            .map(|(robot, secret)| SubjectSpec {
                user: None,
                robot: Some(RobotSubject {
                    name: (*robot).into(),
                    secret: secret.map(|secret| LocalRef { name: secret.into() }),
                }),
            })
            .collect();
        let spec = RoleBindingSpec { project_ref: LocalRef { name: "p".into() }, role: RoleName::Guest, subjects };
        RoleBinding::new(name, spec)
    }

    fn check(subject: &RoleBinding, others: &[RoleBinding]) -> Result<Vec<NamedRobot>, String> {
        let all: Vec<&RoleBinding> = others.iter().chain([subject]).collect();
        robots(subject, &all).map_err(|failure| failure.to_string())
    }

    #[test]
    fn one_binding_names_the_secret_and_others_add_up() {
        let first = binding("a", &[("r", Some("s"))]);
        let second = binding("b", &[("r", None)]);
        assert_eq!(check(&first, std::slice::from_ref(&second)).unwrap().len(), 1);
        assert_eq!(check(&second, &[first]).unwrap(), []);
    }

    #[test]
    fn a_robot_without_a_secret_is_refused() {
        let message = check(&binding("a", &[("r", None)]), &[]).unwrap_err();
        assert!(message.contains("no RoleBinding says which Secret the robot r has"), "{message}");
    }

    #[test]
    fn the_second_binding_that_names_a_secret_is_refused() {
        let first = binding("a", &[("r", Some("s"))]);
        let second = binding("b", &[("r", Some("t"))]);
        assert!(check(&first, std::slice::from_ref(&second)).is_ok());
        assert!(check(&second, &[first]).unwrap_err().contains("by the RoleBinding a already"));
    }
}
