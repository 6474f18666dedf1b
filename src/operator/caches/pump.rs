//! The watches that fill the caches, as one future that never ends by itself.

use std::fmt::Debug;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Api;
use kube::core::{NamespaceResourceScope, PartialObjectMeta};
use kube::runtime::reflector::{Store, store};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;

use super::routes::Routes;
use super::seen::{Heard, Seen};
use super::{Caches, slim};
use crate::api::LABEL_REGISTRY;
use crate::operator::bus::{Bus, Guarded};

/// The watches.
pub type Pumps = Vec<BoxFuture<'static, ()>>;

/// The caches and the watches that fill them; `bus` hears of changes.
pub fn pumps(client: &Client, namespace: Option<&str>, bus: &Bus) -> (Caches, Pumps) {
    let scope = &Scope { client: client.clone(), namespace: namespace.map(str::to_owned) };
    let mut pumps: Pumps = vec![];
    let (registries, fill_registries) = cache(scope, watcher::Config::default(), slim::any);
    let (projects, fill_projects) = cache(scope, watcher::Config::default(), slim::any);
    let (bindings, fill_bindings) = cache(scope, watcher::Config::default(), slim::any);
    let (policies, fill_policies) = cache(scope, watcher::Config::default(), slim::any);
    let (collections, fill_collections) = cache(scope, watcher::Config::default(), slim::any);
    let (slices, fill_slices) = cache(scope, children(), slim::slice);
    let (deployments, fill_deployments) = cache(scope, children(), slim::deployment);
    let caches = Caches { registries, projects, bindings, policies, collections, slices, deployments };
    let routes = Routes { caches: caches.clone(), bus: bus.clone() };

    pumps.push(fill_registries(filtered(routes.clone(), Routes::registry)));
    pumps.push(fill_projects(filtered(routes.clone(), Routes::project)));
    pumps.push(fill_bindings(filtered(routes.clone(), Routes::binding)));
    pumps.push(fill_policies(filtered(routes.clone(), Routes::policy)));
    pumps.push(fill_collections(filtered(routes.clone(), Routes::collection)));
    pumps.push(fill_slices(every(routes.clone(), Routes::slice)));
    pumps.push(fill_deployments(every(routes.clone(), Routes::deployment)));
    pumps.push(watch_metadata::<Job>(scope, routes.clone(), Routes::job));
    pumps.push(watch_metadata::<Service>(scope, routes.clone(), Routes::child));
    pumps.push(watch_metadata::<ServiceAccount>(scope, routes.clone(), Routes::child));
    pumps.push(watch_metadata::<PersistentVolumeClaim>(scope, routes.clone(), Routes::child));
    pumps.push(watch_metadata::<PodDisruptionBudget>(scope, routes, Routes::child));
    (caches, pumps)
}

/// What is watched.
struct Scope {
    client: Client,
    namespace: Option<String>,
}

impl Scope {
    fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        let client = self.client.clone();
        self.namespace
            .as_ref()
            .map_or_else(|| Api::all(client.clone()), |namespace| Api::namespaced(client.clone(), namespace))
    }
}

/// Children of registries only.
fn children() -> watcher::Config {
    watcher::Config::default().labels(LABEL_REGISTRY)
}

/// What is done with each event of a watch.
type Tell<K> = Box<dyn FnMut(&watcher::Event<K>) + Send>;

/// A cache, and what makes a watch that fills it. `slim` takes away what nobody reads.
fn cache<K>(
    scope: &Scope,
    config: watcher::Config,
    slim: fn(&mut K),
) -> (Store<K>, impl FnOnce(Tell<K>) -> BoxFuture<'static, ()> + use<K>)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let (reader, writer) = store();
    let api = scope.api::<K>();
    let fill = move |mut tell: Tell<K>| {
        let kind = K::kind(&()).into_owned();
        async move {
            let watched = watcher(api, config).modify(slim);
            let mut events = reflector(writer, watched).default_backoff().boxed();
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => tell(&event),
                    Err(error) => tracing::warn!(kind, %error, "a watch failed and is begun again"),
                }
            }
        }
        .boxed()
    };
    (reader, fill)
}

/// The object that an event is about.
fn object_of<K>(event: &watcher::Event<K>) -> Option<&K> {
    match event {
        watcher::Event::Apply(object) | watcher::Event::InitApply(object) | watcher::Event::Delete(object) => {
            Some(object)
        }
        watcher::Event::Init | watcher::Event::InitDone => None,
    }
}

/// Tells of every event.
fn every<K: 'static>(routes: Routes, tell: fn(&Routes, &K)) -> Tell<K> {
    Box::new(move |event| {
        if let Some(object) = object_of(event) {
            tell(&routes, object);
        }
    })
}

/// Tells of what is new to anybody: not of a mere change of status. What is gone is forgotten.
fn filtered<K: Resource<DynamicType = ()> + 'static>(
    routes: Routes,
    tell: fn(&Routes, &Guarded<K>),
) -> Tell<Guarded<K>> {
    let mut seen = Seen::default();
    Box::new(move |event| {
        let Heard { news, gone } = seen.hear(event);
        for uid in gone {
            routes.bus.gone(uid);
        }
        if let Some(object) = object_of(event).filter(|_| news) {
            tell(&routes, object);
        }
    })
}

/// Children whose content is not needed, only that they are there and change. Nothing of them is kept.
fn watch_metadata<K>(scope: &Scope, routes: Routes, tell: fn(&Routes, &ObjectMeta)) -> BoxFuture<'static, ()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let api = scope.api::<PartialObjectMeta<K>>();
    let kind = K::kind(&()).into_owned();
    async move {
        let mut events = watcher(api, children()).default_backoff().touched_objects().boxed();
        while let Some(event) = events.next().await {
            match event {
                Ok(object) => tell(&routes, &object.metadata),
                Err(error) => tracing::warn!(kind, %error, "a watch failed and is begun again"),
            }
        }
    }
    .boxed()
}
