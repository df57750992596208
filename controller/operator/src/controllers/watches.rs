//! What a controller watches → which objects a change concerns.
//!
//! For objects that the operator made, the caches tell which App changed. Objects that others made, and an App refers
//! to, are watched by metadata only: no Secret's content is held here.
//!
//! A controller's own writes, of its own kind or of others, do not trigger a reconcile: a step that needs one asks for
//! it. Otherwise a step that fails after a write would be retried at once, for ever.

use std::{fmt::Debug, sync::Arc};

use futures::{Stream, StreamExt as _, future::ready, stream};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    core::{
        ClusterResourceScope, DeserializeGuard, NamespaceResourceScope, ObjectMeta,
        PartialObjectMeta, error_boundary::InvalidObject,
    },
    runtime::{
        Controller, PredicateConfig, WatchStreamExt as _, reflector,
        reflector::ObjectRef,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use slipway_crds::{
    labels,
    v1alpha1::{App, AppSpec},
};

use crate::controllers::pace::Pace;
use slipway_k8s::{
    FieldManager,
    cache::{self, Cache, Cached, Change, Key},
};

/// Most objects in one page of a list: a whole page is in memory before the objects are reduced.
const PAGE: u32 = 50;

/// A kind that is watched by its metadata.
pub trait Watched: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static {}

impl<C: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static> Watched for C {}

/// A controller's watches, in one namespace or in all.
pub struct Watches<K>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug + 'static,
{
    pub(super) controller: Controller<DeserializeGuard<K>>,
    client: Client,
    namespace: Option<String>,
}

impl<K> Watches<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + DeserializeOwned
        + Clone
        + Debug
        + Send
        + Sync
        + 'static,
{
    pub(super) fn new(client: Client, namespace: Option<String>, slim: fn(&mut K)) -> Self {
        let api: Api<DeserializeGuard<K>> = scoped(&client, namespace.as_deref());
        let (reader, writer) = reflector::store();
        let objects = watcher(api, watcher::Config::default().page_size(PAGE))
            .default_backoff()
            .modify(move |object| {
                object.managed_fields_mut().clear();
                if let Ok(object) = &mut object.0 {
                    slim(object);
                }
            })
            .reflect(writer)
            .applied_objects()
            // The cache gets every change, the queue only those that somebody else made.
            .predicate_filter(asked, PredicateConfig::default());
        Self {
            controller: Controller::for_stream(objects, reader),
            client,
            namespace,
        }
    }

    /// The same for a kind that is in `cache`, which tells what changed.
    pub(super) fn of(
        cache: &Cache<K>,
        client: Client,
        namespace: Option<String>,
        slim: fn(&mut K),
        pace: Arc<Pace>,
    ) -> Self
    where
        K: Cached,
    {
        let (reader, writer) = reflector::store();
        let objects = cached(cache.clone(), namespace.as_deref(), slim, pace)
            .reflect(writer)
            .applied_objects();
        Self {
            controller: Controller::for_stream(objects, reader),
            client,
            namespace,
        }
    }

    /// The cache of the controller's own kind.
    pub fn store(&self) -> reflector::Store<DeserializeGuard<K>> {
        self.controller.store()
    }

    /// A change of something in the namespace concerns every object for which `refers` is true. Labels of the
    /// watched kind are limited by `selector`.
    #[must_use]
    pub fn refers<C>(
        self,
        selector: &str,
        refers: impl Fn(&K, &ObjectMeta) -> bool + Send + Sync + 'static,
    ) -> Self
    where
        C: Watched<Scope = NamespaceResourceScope>,
    {
        let objects = self.touched::<C>(watcher::Config::default().labels(selector));
        self.concerning(objects, move |object, other| {
            object.meta().namespace == other.namespace && refers(object, other)
        })
    }

    /// The same for a kind that is in a cache, which tells namespace and name of what changed.
    #[must_use]
    pub fn refers_to(
        self,
        changes: impl Stream<Item = Key> + Send + 'static,
        refers: impl Fn(&K, &str) -> bool + Send + 'static,
    ) -> Self {
        let store = self.controller.store();
        let concerned = changes.flat_map(move |(namespace, name)| {
            let objects = store.state_filter(|guard| {
                guard.0.as_ref().is_ok_and(|object| {
                    object.meta().namespace.as_deref() == Some(&*namespace) && refers(object, &name)
                })
            });
            let objects = objects.into_iter();
            stream::iter(objects.map(|object| ObjectRef::from_obj(&*object)))
        });
        Self {
            controller: self.controller.reconcile_on(concerned),
            ..self
        }
    }

    /// The same for a kind that belongs to no namespace.
    #[must_use]
    pub fn refers_to_cluster<C>(
        self,
        refers: impl Fn(&K, &ObjectMeta) -> bool + Send + Sync + 'static,
    ) -> Self
    where
        C: Watched<Scope = ClusterResourceScope>,
    {
        let api: Api<PartialObjectMeta<C>> = Api::all(self.client.clone());
        let objects = touched(metadata(api, watcher::Config::default()));
        self.concerning(objects, refers)
    }

    /// An event source that names objects by namespace and name.
    #[must_use]
    pub fn on(self, changes: impl Stream<Item = Key> + Send + 'static) -> Self {
        let within = self.namespace.clone();
        let changes = changes.filter_map(move |(namespace, name)| {
            let is_here = within.as_deref().is_none_or(|within| *within == *namespace);
            std::future::ready(is_here.then(|| ObjectRef::new(&name).within(&namespace)))
        });
        Self {
            controller: self.controller.reconcile_on(changes),
            ..self
        }
    }

    /// An event source outside the cluster that names objects by UID.
    #[must_use]
    pub fn on_uid(self, changes: impl Stream<Item = String> + Send + 'static) -> Self {
        let store = self.controller.store();
        let changes = changes.filter_map(move |uid| {
            let object = store.find(|object| object.meta().uid.as_deref() == Some(uid.as_str()));
            std::future::ready(object.map(|object| ObjectRef::from_obj(&*object)))
        });
        Self {
            controller: self.controller.reconcile_on(changes),
            ..self
        }
    }

    fn concerning<C>(
        self,
        objects: impl Stream<Item = watcher::Result<PartialObjectMeta<C>>> + Send + 'static,
        concerns: impl Fn(&K, &ObjectMeta) -> bool + Send + Sync + 'static,
    ) -> Self
    where
        C: Watched,
    {
        let store = self.controller.store();
        let controller = self.controller.watches_stream(objects, move |other| {
            store
                .state_filter(|guard| {
                    guard
                        .0
                        .as_ref()
                        .is_ok_and(|object| concerns(object, &other.metadata))
                })
                .into_iter()
                .map(|object| ObjectRef::from_obj(&*object))
                .collect::<Vec<_>>()
        });
        Self { controller, ..self }
    }

    fn touched<C>(
        &self,
        which: watcher::Config,
    ) -> impl Stream<Item = watcher::Result<PartialObjectMeta<C>>> + Send + use<K, C>
    where
        C: Watched<Scope = NamespaceResourceScope>,
    {
        let api = scoped(&self.client, self.namespace.as_deref());
        touched(metadata(api, which))
    }
}

/// The requests for reconciles of a cached kind, as a watch would report them; besides, all existing objects, at their
/// pace.
fn cached<K: Cached>(
    cache: Cache<K>,
    namespace: Option<&str>,
    slim: fn(&mut K),
    pace: Arc<Pace>,
) -> impl Stream<Item = watcher::Result<Event<DeserializeGuard<K>>>> + Send + use<K> {
    // No controller writes as `Operator`, so no change is left out.
    let changes = cache.changes(FieldManager::Operator, Change::asked);
    let within = namespace.map(str::to_owned);
    let is_here = move |(namespace, _): &Key| {
        let within = within.as_deref();
        within.is_none_or(|within| *within == **namespace)
    };
    let first: Vec<Key> = cache.names().into_iter().filter(&is_here).collect();
    let read = move |(namespace, name): &Key| {
        let mut object = cache.get(namespace, name)?.object;
        object.managed_fields_mut().clear();
        if let Ok(object) = &mut object.0 {
            slim(object);
        }
        Some(object)
    };
    let again = read.clone();
    let first = stream::iter(first).filter_map(move |key| {
        let (pace, read) = (Arc::clone(&pace), read.clone());
        async move {
            pace.enter(&key).await;
            let object = read(&key);
            if object.is_none() {
                pace.leave(&(key.0.to_string(), key.1.to_string()));
            }
            object.map(Event::Apply)
        }
    });
    let changes = changes
        .filter(move |key| ready(is_here(key)))
        .map(move |key| again(&key).map_or_else(|| Event::Delete(gone(&key)), Event::Apply));
    stream::iter([Event::Init, Event::InitDone])
        .chain(stream::select(first, changes))
        .map(Ok)
}

/// A stand-in for an object that no longer exists.
fn gone<K>((namespace, name): &Key) -> DeserializeGuard<K> {
    DeserializeGuard(Err(InvalidObject {
        error: "it is gone".to_owned(),
        metadata: ObjectMeta {
            namespace: Some(namespace.to_string()),
            name: Some(name.to_string()),
            ..ObjectMeta::default()
        },
    }))
}

/// A hash of everything that is requested of an object.
#[expect(
    clippy::unnecessary_wraps,
    reason = "a predicate may have nothing to say"
)]
fn asked<K: Resource>(object: &K) -> Option<u64> {
    Some(cache::asked(object.meta()))
}

/// Most bytes that are kept of a request's text. More is never read.
const REQUEST: usize = 1024;

/// Removes all annotations but those that request something: annotations may have a quarter of a megabyte.
pub(super) fn keep_requests(meta: &mut ObjectMeta) {
    if let Some(annotations) = &mut meta.annotations {
        annotations.retain(|name, value| {
            value.truncate(value.floor_char_boundary(REQUEST));
            labels::REQUESTS.contains(&name.as_str())
        });
    }
}

/// Removes everything but what identifies an App.
pub(super) fn keep_name(app: &mut App) {
    let meta = std::mem::take(&mut app.metadata);
    app.metadata = ObjectMeta {
        name: meta.name,
        namespace: meta.namespace,
        uid: meta.uid,
        ..ObjectMeta::default()
    };
    app.spec = AppSpec::default();
    app.status = None;
}

/// Removes what no cache of Apps holds: texts that may be large, and the status.
pub(super) fn keep_no_values(app: &mut App) {
    keep_requests(&mut app.metadata);
    app.status = None;
    for variable in &mut app.spec.env {
        variable.value = None;
    }
}

fn metadata<C: Watched>(
    api: Api<PartialObjectMeta<C>>,
    which: watcher::Config,
) -> impl Stream<Item = watcher::Result<Event<PartialObjectMeta<C>>>> + Send {
    watcher(api, which.page_size(PAGE)).default_backoff()
}

/// Reports objects that were created, changed or deleted, without their managed fields, which nobody reads.
fn touched<C: Watched>(
    events: impl Stream<Item = watcher::Result<Event<PartialObjectMeta<C>>>> + Send,
) -> impl Stream<Item = watcher::Result<PartialObjectMeta<C>>> + Send {
    events
        .modify(|object| object.managed_fields_mut().clear())
        .touched_objects()
}

fn scoped<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        None => Api::all(client.clone()),
        Some(namespace) => Api::namespaced(client.clone(), namespace),
    }
}
