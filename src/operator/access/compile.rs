//! From Projects and RoleBindings to the content of an access document. Pure, and independent of the order of its
//! input: equal input gives equal bytes.
//!
//! A project's name belongs to who has it: claims are sticky. Only a name that nobody holds, or whose holder is gone,
//! is given anew, to the first by namespace and name; who made an object when decides nothing.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::admin::{Binding, Claim, Grant, OwnerRef, ProjectAccess, Robot, Role, Subject};
use crate::api::{Project, RoleBinding, RoleName, SubjectSpec};
use crate::operator::caches::Shared;
use kube::ResourceExt;

/// What a document is compiled from.
#[derive(Debug, Clone, Default)]
pub struct Input {
    /// The UID of the Registry.
    pub registry: String,
    /// The Projects of the registry that are not being deleted.
    pub projects: Vec<Shared<Project>>,
    /// The RoleBindings of those projects that are not being deleted.
    pub bindings: Vec<Shared<RoleBinding>>,
    /// SHA-256 of the secrets that are good now, by the robot's namespace and name.
    pub robots: BTreeMap<(String, String), Vec<String>>,
    /// Who holds which name in the document that is in force.
    pub claims: Vec<Claim>,
}

/// The content of a document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Content {
    /// Projects, ordered by name.
    pub projects: Vec<ProjectAccess>,
    /// Robots, ordered by namespace and name.
    pub robots: Vec<Robot>,
    /// Hash of each RoleBinding's content, by UID.
    pub binding_hashes: BTreeMap<String, String>,
}

/// Compiles.
pub fn compile(input: &Input) -> Content {
    let mut content = Content::default();
    for (name, holder) in holders(input) {
        let mut bindings: Vec<&RoleBinding> =
            input.bindings.iter().map(|binding| &**binding).filter(|binding| is_of(binding, holder)).collect();
        bindings.sort_by_key(|binding| (binding.namespace(), binding.name_any(), binding.uid()));
        for binding in &bindings {
            let hash = hash(binding, &input.registry, holder, &input.robots);
            content.binding_hashes.insert(binding.uid().unwrap_or_default(), hash);
        }
        content.projects.push(ProjectAccess {
            name,
            owner: owner_of(holder),
            public: holder.spec.public,
            bindings: bindings.into_iter().map(compiled).collect(),
        });
    }
    content.robots = robots(&content.projects, &input.robots);
    content
}

/// Who holds each name, ordered by name.
fn holders(input: &Input) -> BTreeMap<String, &Project> {
    let mut candidates: BTreeMap<String, Vec<&Project>> = BTreeMap::new();
    for project in &input.projects {
        candidates.entry(project.spec.name.clone()).or_default().push(project);
    }
    let claims: BTreeMap<&str, &OwnerRef> =
        input.claims.iter().map(|claim| (claim.name.as_str(), &claim.owner)).collect();
    candidates
        .into_iter()
        .filter_map(|(name, candidates)| {
            let holder = choose(claims.get(name.as_str()).copied(), candidates)?;
            Some((name, holder))
        })
        .collect()
}

fn choose<'a>(claim: Option<&OwnerRef>, mut candidates: Vec<&'a Project>) -> Option<&'a Project> {
    candidates.sort_by_key(|project| (project.namespace(), project.name_any(), project.uid()));
    let claim = claim.cloned();
    let by_uid = |project: &&&Project| claim.as_ref().is_some_and(|claim| project.uid().as_deref() == Some(&claim.uid));
    // Made again under the same name: still the same to everybody.
    let by_name = |project: &&&Project| {
        claim.as_ref().is_some_and(|claim| {
            project.namespace().as_deref() == Some(&claim.namespace) && project.name_any() == claim.name
        })
    };
    let found = candidates.iter().find(by_uid).or_else(|| candidates.iter().find(by_name));
    found.or(candidates.first()).copied()
}

fn is_of(binding: &RoleBinding, project: &Project) -> bool {
    binding.namespace() == project.namespace() && binding.spec.project_ref.name == project.name_any()
}

/// The reference to a Project that a claim has.
pub fn owner_of(project: &Project) -> OwnerRef {
    OwnerRef {
        namespace: project.namespace().unwrap_or_default(),
        name: project.name_any(),
        uid: project.uid().unwrap_or_default(),
    }
}

fn compiled(binding: &RoleBinding) -> Binding {
    let namespace = binding.namespace().unwrap_or_default();
    let mut subjects: Vec<Subject> =
        binding.spec.subjects.iter().filter_map(|subject| subject_of(&namespace, subject)).collect();
    subjects.sort();
    subjects.dedup();
    Binding { uid: binding.uid().unwrap_or_default(), grant: Grant { role: role_of(binding.spec.role), subjects } }
}

fn subject_of(namespace: &str, subject: &SubjectSpec) -> Option<Subject> {
    match (&subject.user, &subject.robot) {
        (Some(user), None) => Some(Subject::User { source: "htpasswd".to_owned(), name: user.name.clone() }),
        (None, Some(robot)) => Some(Subject::Robot { namespace: namespace.to_owned(), name: robot.name.clone() }),
        // Refused by the schema, and Stalled by the binding's own reconciler.
        (Some(_), Some(_)) | (None, None) => None,
    }
}

fn role_of(role: RoleName) -> Role {
    match role {
        RoleName::ProjectAdmin => Role::ProjectAdmin,
        RoleName::Maintainer => Role::Maintainer,
        RoleName::Developer => Role::Developer,
        RoleName::Guest => Role::Guest,
        RoleName::LimitedGuest => Role::LimitedGuest,
    }
}

/// Only robots that some binding names can log in.
fn robots(projects: &[ProjectAccess], secrets: &BTreeMap<(String, String), Vec<String>>) -> Vec<Robot> {
    let mut named: Vec<(String, String)> = projects
        .iter()
        .flat_map(|project| &project.bindings)
        .flat_map(|binding| &binding.grant.subjects)
        .filter_map(|subject| match subject {
            Subject::User { .. } => None,
            Subject::Robot { namespace, name } => Some((namespace.clone(), name.clone())),
        })
        .collect();
    named.sort();
    named.dedup();
    let with_secrets = |(namespace, name): (String, String)| {
        let mut secret_sha256 = secrets.get(&(namespace.clone(), name.clone()))?.clone();
        secret_sha256.sort();
        Some(Robot { namespace, name, secret_sha256 })
    };
    named.into_iter().filter_map(with_secrets).collect()
}

/// What of a binding must be acknowledged before it is in force: its grant and the secrets of its robots, in this very
/// Project and this very Registry. Others that are given their names later have not acknowledged anything.
pub fn hash(
    binding: &RoleBinding,
    registry: &str,
    project: &Project,
    robots: &BTreeMap<(String, String), Vec<String>>,
) -> String {
    let namespace = binding.namespace().unwrap_or_default();
    let compiled = compiled(binding);
    let secrets: Vec<&Vec<String>> = compiled
        .grant
        .subjects
        .iter()
        .filter_map(|subject| match subject {
            Subject::User { .. } => None,
            Subject::Robot { name, .. } => robots.get(&(namespace.clone(), name.clone())),
        })
        .collect();
    let place = (registry, project.uid(), &project.spec.name);
    let text = serde_json::json!({ "place": place, "grant": compiled.grant, "secrets": secrets }).to_string();
    hex::encode(&Sha256::digest(text.as_bytes())[..16])
}

#[cfg(test)]
mod tests;
