//! The compiler's promises.

use proptest::prelude::*;

use super::*;
use crate::api::{LocalRef, ProjectSpec, RobotSubject, RoleBindingSpec, UserSubject};

fn project(name: &str, uid: &str, prefix: &str) -> Shared<Project> {
    let registry_ref = LocalRef { name: "hq".into() };
    let mut project = Project::new(name, ProjectSpec { registry_ref, name: prefix.into(), public: false });
    project.metadata.namespace = Some("ns".into());
    project.metadata.uid = Some(uid.into());
    project.into()
}

fn binding(name: &str, project: &str, subjects: Vec<SubjectSpec>) -> Shared<RoleBinding> {
    let spec = RoleBindingSpec { project_ref: LocalRef { name: project.into() }, role: RoleName::Developer, subjects };
    let mut binding = RoleBinding::new(name, spec);
    binding.metadata.namespace = Some("ns".into());
    binding.metadata.uid = Some(format!("uid-{name}"));
    binding.into()
}

fn user(name: &str) -> SubjectSpec {
    SubjectSpec { user: Some(UserSubject { name: name.into() }), robot: None }
}

fn robot(name: &str) -> SubjectSpec {
    SubjectSpec { user: None, robot: Some(RobotSubject { name: name.into(), secret: None }) }
}

fn claim(name: &str, project: &Project) -> Claim {
    Claim { name: name.into(), owner: owner_of(project) }
}

fn holder_of(content: &Content, name: &str) -> String {
    content.projects.iter().find(|project| project.name == name).map(|project| project.owner.name.clone()).unwrap()
}

#[test]
fn a_free_name_goes_to_the_first_by_name() {
    let projects = vec![project("b", "2", "app"), project("a", "1", "app")];
    let content = compile(&Input { projects, ..Input::default() });
    assert_eq!(holder_of(&content, "app"), "a");
}

#[test]
fn a_name_stays_with_its_holder() {
    let holder = project("b", "2", "app");
    let input = Input {
        projects: vec![project("a", "1", "app"), holder.clone()],
        claims: vec![claim("app", &holder)],
        ..Input::default()
    };
    assert_eq!(holder_of(&compile(&input), "app"), "b");
}

#[test]
fn a_holder_that_is_made_again_gets_its_name_back() {
    let input = Input {
        projects: vec![project("a", "1", "app"), project("b", "3", "app")],
        claims: vec![claim("app", &project("b", "2", "app"))],
        ..Input::default()
    };
    assert_eq!(holder_of(&compile(&input), "app"), "b");
}

#[test]
fn a_released_name_can_be_had_by_another() {
    let input = Input {
        projects: vec![project("a", "1", "app")],
        claims: vec![claim("app", &project("b", "2", "app"))],
        ..Input::default()
    };
    assert_eq!(holder_of(&compile(&input), "app"), "a");
}

#[test]
fn a_robot_without_a_secret_cannot_log_in_and_one_that_nobody_names_neither() {
    let input = Input {
        projects: vec![project("p", "1", "app")],
        bindings: vec![binding("b", "p", vec![robot("known"), robot("new")])],
        robots: BTreeMap::from([
            (("ns".into(), "known".into()), vec!["1".into()]),
            (("ns".into(), "stranger".into()), vec!["2".into()]),
        ]),
        ..Input::default()
    };
    let robots: Vec<String> = compile(&input).robots.into_iter().map(|robot| robot.name).collect();
    assert_eq!(robots, ["known"]);
}

#[test]
fn the_hash_of_a_binding_changes_with_its_robots_secret_its_project_and_its_registry() {
    let binding = binding("b", "p", vec![robot("r")]);
    let with = |registry: &str, project_uid: &str, secret: &str| {
        let secrets = BTreeMap::from([(("ns".to_owned(), "r".to_owned()), vec![secret.to_owned()])]);
        hash(&binding, registry, &project("p", project_uid, "app"), &secrets)
    };
    let hash = with("uid", "1", "secret");
    assert_eq!(hash, with("uid", "1", "secret"));
    for other in [with("uid", "1", "another"), with("uid", "2", "secret"), with("another", "1", "secret")] {
        assert_ne!(hash, other);
    }
}

prop_compose! {
    fn inputs()(
        prefixes in prop::collection::vec(0_u8..4, 1..6),
        bound in prop::collection::vec((0_usize..6, 0_u8..4), 0..8),
        claimed in prop::collection::vec((0_u8..4, 0_usize..6), 0..4),
    ) -> Input {
        let projects = prefixes
            .iter()
            .enumerate()
            .map(|(place, prefix)| project(&format!("p{place}"), &place.to_string(), &format!("app{prefix}")))
            .collect();
        let bindings = bound
            .iter()
            .enumerate()
            .map(|(place, (project, subject))| {
                binding(&format!("b{place}"), &format!("p{project}"), vec![user(&format!("u{subject}")), robot("r")])
            })
            .collect();
        let claims = claimed
            .iter()
            .map(|(prefix, holder)| claim(&format!("app{prefix}"), &project(&format!("p{holder}"), &holder.to_string(), "")))
            .collect();
        let robots = BTreeMap::from([(("ns".into(), "r".into()), vec!["s".into()])]);
        Input { registry: "uid".into(), projects, bindings, robots, claims }
    }
}

proptest! {
    #[test]
    fn the_order_of_the_input_does_not_matter(input in inputs()) {
        let mut turned = input.clone();
        turned.projects.reverse();
        turned.bindings.reverse();
        prop_assert_eq!(compile(&input), compile(&turned));
    }

    #[test]
    fn compiling_again_with_the_claims_that_came_out_changes_nothing(input in inputs()) {
        let first = compile(&input);
        let claims = first
            .projects
            .iter()
            .map(|project| Claim { name: project.name.clone(), owner: project.owner.clone() })
            .collect();
        prop_assert_eq!(&first, &compile(&Input { claims, ..input }));
    }

    #[test]
    fn names_are_unique_and_ordered(input in inputs()) {
        let names: Vec<String> = compile(&input).projects.into_iter().map(|project| project.name).collect();
        let mut sorted = names.clone();
        sorted.sort();
        sorted.dedup();
        prop_assert_eq!(names, sorted);
    }
}
