//! What of the catalog a caller may list, found by where it may be: the names that begin as a project's that he may list.
//! Whoever may list little costs little, however much there is that he may not, and the time that it takes tells nothing of it.

use std::collections::BTreeSet;

use super::Fault;
use super::dispatch::Call;
use crate::auth::{Access, Identity, Permission};
use crate::oci::RepositoryName;
use crate::registry::{Registry, RegistryError};

/// How many places one request looks at, whatever comes of them.
const LOOKED_AT: usize = 10_000;

/// How many names are read together at least.
const LEAST: usize = 100;

/// Some names, and the one behind which there may be more.
pub struct Page {
    pub names: Vec<RepositoryName>,
    pub next: Option<String>,
}

/// A page of the repositories that the caller may list, those after `last` only.
pub async fn page(call: &Call, last: Option<&str>, limit: usize) -> Result<Page, Fault> {
    let registry = call.server.registry();
    if limit == 0 {
        return Ok(Page { names: Vec::new(), next: None });
    }
    let access = call.gate.access();
    let identity = &call.caller.identity;
    if matches!(identity, Identity::Replicator { .. }) || access.admins.contains(identity) {
        let names = registry.repositories(last, limit + 1).await?;
        return Ok(cut(names, limit));
    }
    let may = |name: &RepositoryName| call.gate.allows(&call.caller, Permission::List, name);
    let projects = access.projects.keys().filter_map(|project| project.parse::<RepositoryName>().ok()).filter(may);
    let places = places(&projects.collect());
    Ok(listed(registry, &places, &Wanted { access, may: &may, last, limit }).await?)
}

fn cut(mut names: Vec<RepositoryName>, limit: usize) -> Page {
    let more = names.len() > limit;
    names.truncate(limit);
    let next = names.last().filter(|_| more).map(ToString::to_string);
    Page { names, next }
}

/// Where names may be: a project's own, or those below it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Name(RepositoryName),
    Below(RepositoryName),
}

impl Place {
    /// What sorts as the place's last name, or behind it.
    fn end(&self) -> String {
        match self {
            Self::Name(name) => name.to_string(),
            Self::Below(name) => format!("{name}/~"),
        }
    }

    /// What the place's names sort behind, or are. `-` and `.` sort between a name and what is below it.
    fn start(&self) -> String {
        match self {
            Self::Name(name) => name.to_string(),
            Self::Below(name) => format!("{name}/"),
        }
    }
}

/// The places of these projects in the order of names. A project within another one of them is in that one's place.
fn places(projects: &BTreeSet<RepositoryName>) -> Vec<Place> {
    let outermost = |name: &&RepositoryName| {
        let above = name.as_str().rmatch_indices('/').map(|(end, _)| &name.as_str()[..end]);
        !above.filter_map(|above| above.parse().ok()).any(|above: RepositoryName| projects.contains(&above))
    };
    let outermost = projects.iter().filter(outermost).cloned();
    let mut places: Vec<Place> = outermost.flat_map(|name| [Place::Name(name.clone()), Place::Below(name)]).collect();
    places.sort_by_cached_key(Place::start);
    places
}

/// What is listed, and of what.
struct Wanted<'a> {
    access: &'a Access,
    may: &'a (dyn Fn(&RepositoryName) -> bool + Send + Sync),
    last: Option<&'a str>,
    limit: usize,
}

impl Wanted<'_> {
    /// Whether there is a project within this one that the caller may list.
    fn is_any_within(&self, project: &str) -> bool {
        let start = format!("{project}/");
        let within = self.access.projects.range(start.clone()..).map(|(name, _)| name);
        let mut within = within.take_while(|name| name.starts_with(&start));
        within.any(|name| name.parse().is_ok_and(|name| (self.may)(&name)))
    }
}

async fn listed(registry: &Registry, places: &[Place], wanted: &Wanted<'_>) -> Result<Page, RegistryError> {
    let mut names = Vec::new();
    let behind = places.iter().filter(|place| wanted.last.is_none_or(|last| place.end().as_str() > last));
    for (looked_at, place) in behind.enumerate() {
        if names.len() > wanted.limit {
            break;
        }
        match place {
            Place::Name(name) if registry.has_repository(name).await? => names.push(name.clone()),
            Place::Name(_) => {}
            Place::Below(above) => list_below(registry, above, wanted, &mut names).await?,
        }
        if looked_at >= LOOKED_AT && names.len() <= wanted.limit {
            // The place is a project's that the caller may list: its name tells nothing.
            return Ok(Page { names, next: Some(place.end()) });
        }
    }
    Ok(cut(names, wanted.limit))
}

/// Adds what is below a project's name, up to one more than is wanted in all. Projects in it that the caller may not list
/// are passed over as a whole.
async fn list_below(
    registry: &Registry,
    above: &RepositoryName,
    wanted: &Wanted<'_>,
    names: &mut Vec<RepositoryName>,
) -> Result<(), RegistryError> {
    let within = |name: &str| name.strip_prefix(above.as_str())?.strip_prefix('/').map(str::to_owned);
    let mut after = wanted.last.and_then(within);
    while names.len() <= wanted.limit {
        let most = (wanted.limit + 1 - names.len()).max(LEAST);
        let found = registry.repositories_below(above, after.as_deref(), most).await?;
        let Some(last) = found.last().filter(|_| found.len() == most) else {
            names.extend(found.into_iter().filter(|name| (wanted.may)(name)));
            return Ok(());
        };
        let hidden = if (wanted.may)(last) { None } else { wanted.access.project_name_of(last) };
        let hidden = hidden.filter(|project| !wanted.is_any_within(project));
        after = match hidden {
            Some(project) => within(&format!("{project}/~")),
            None => within(last.as_str()),
        };
        names.extend(found.into_iter().filter(|name| (wanted.may)(name)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::auth::Project;
    use crate::clock::System;
    use crate::registry::tests::{registry, repository};
    use crate::store::{faulty::FaultyStore, memory::MemoryStore};

    fn access(projects: &[&str]) -> Access {
        let projects = projects.iter().map(|name| ((*name).to_owned(), Project::default()));
        Access { projects: projects.collect::<BTreeMap<_, _>>(), ..Access::default() }
    }

    #[tokio::test]
    async fn every_name_that_may_be_listed_is_on_some_page_and_no_other() {
        let registry = registry().await;
        let there = [
            "a",
            "a-b/x",
            "a.b",
            "a/app",
            "a/app/inner",
            "a/hidden",
            "a/hidden/1",
            "a/hidden/2",
            "a/hidden/seen/1",
            "a/last",
            "a0",
            "b/c/d",
            "b/e",
            "c",
        ];
        for name in there {
            registry.enter(&repository(name)).await.unwrap();
        }
        let access = access(&["a", "a-b", "a/hidden", "a/hidden/seen", "b/c", "c", "none"]);
        let visible = ["a", "a-b", "a/hidden/seen", "b/c", "c", "none"];
        let may =
            |name: &RepositoryName| access.project_name_of(name).is_some_and(|project| visible.contains(&project));
        let expected: Vec<&str> = there.into_iter().filter(|name| may(&repository(name))).collect();
        assert_eq!(expected, ["a", "a-b/x", "a/app", "a/app/inner", "a/hidden/seen/1", "a/last", "b/c/d", "c"]);
        let places = places(&visible.iter().map(|name| repository(name)).collect());
        for limit in 1..=8 {
            let (mut found, mut last) = (Vec::new(), None::<String>);
            loop {
                let wanted = Wanted { access: &access, may: &may, last: last.as_deref(), limit };
                let page = listed(&registry, &places, &wanted).await.unwrap();
                assert!(page.names.len() <= limit && found.len() <= expected.len());
                found.extend(page.names.iter().map(ToString::to_string));
                last = page.next;
                if last.is_none() {
                    break;
                }
            }
            assert_eq!(found, expected, "{limit} at a time");
        }
    }

    #[tokio::test]
    async fn who_may_list_one_name_reads_no_more_than_a_page() {
        let counted = Arc::<AtomicUsize>::default();
        let counting = Arc::clone(&counted);
        let store = FaultyStore::new(Arc::new(MemoryStore::default()), move |_, _| {
            counting.fetch_add(1, Ordering::Relaxed);
            true
        });
        let registry = Registry::open(Arc::new(store), Arc::new(System)).await.unwrap();
        for number in 0..500 {
            for name in [format!("other{number}/app"), format!("seen/hidden/app{number}")] {
                registry.enter(&repository(&name)).await.unwrap();
            }
        }
        registry.enter(&repository("seen/last")).await.unwrap();
        let access = access(&["seen", "seen/hidden"]);
        let may = |name: &RepositoryName| access.project_name_of(name) == Some("seen");
        counted.store(0, Ordering::Relaxed);
        let wanted = Wanted { access: &access, may: &may, last: None, limit: 10 };
        let page = listed(&registry, &places(&BTreeSet::from([repository("seen")])), &wanted).await.unwrap();
        assert_eq!((page.names, page.next), (vec![repository("seen/last")], None));
        let asked = counted.load(Ordering::Relaxed);
        assert!(asked < 10, "{asked}");
        let none = listed(&registry, &[], &wanted).await.unwrap();
        assert!(none.names.is_empty() && none.next.is_none());
    }
}
