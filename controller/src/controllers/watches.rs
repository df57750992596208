//! What a controller watches → which objects a change concerns.
//!
//! Everything but the controller's own kind is watched by metadata: no Secret's content is held here.
//!
//! A controller is not woken by the statuses that it writes itself, of its own kind or of children that it judges:
//! whoever needs another look asks for it. Otherwise a step that fails after it wrote something would be tried again at
//! once, for ever.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use futures::{Stream, StreamExt as _};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    core::{
        ClusterResourceScope, DeserializeGuard, NamespaceResourceScope, ObjectMeta,
        PartialObjectMeta,
    },
    runtime::{
        Controller, PredicateConfig, WatchStreamExt as _, reflector,
        reflector::ObjectRef,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use slipway_crds::{labels, v1alpha1::App};

use crate::k8s::FieldManager;

/// Most objects that are listed at once: as many are held whole before they are made smaller.
const PAGE: u32 = 50;

/// A kind that is watched by its metadata.
pub trait Watched: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static {}

impl<C: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static> Watched for C {}

/// A controller being put together, in one namespace or in all.
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
            // The cache has every change, the queue those that somebody else makes.
            .predicate_filter(asked, PredicateConfig::default());
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

    /// A change of a child concerns the object that owns it. Children carry the operator's label.
    #[must_use]
    pub fn owns<C>(self) -> Self
    where
        C: Watched<Scope = NamespaceResourceScope>,
    {
        let children = self.touched::<C>(ours());
        Self {
            controller: self.controller.owns_stream(children),
            ..self
        }
    }

    /// The same of children whose status this controller writes, as `manager`: that is no news to it. What anybody else
    /// writes there is.
    #[must_use]
    pub fn owns_and_judges<C>(self, manager: FieldManager) -> Self
    where
        C: Watched<Scope = NamespaceResourceScope>,
    {
        let api = scoped(&self.client, self.namespace.as_deref());
        let children = metadata::<C>(api, ours());
        let children = news(children, move |child| {
            (asked(child), told_by_others(child, manager))
        });
        Self {
            controller: self.controller.owns_stream(children),
            ..self
        }
    }

    /// A change of something that carries the label [`labels::APP`] concerns the object of that name.
    #[must_use]
    pub fn labelled<C>(self) -> Self
    where
        C: Watched<Scope = NamespaceResourceScope>,
    {
        self.labelled_and_seen::<C>(|_| ())
    }

    /// The same, and each change is shown to `see`: what is gone by the time of the reconcile.
    #[must_use]
    pub fn labelled_and_seen<C>(self, see: impl Fn(&ObjectMeta) + Send + Sync + 'static) -> Self
    where
        C: Watched<Scope = NamespaceResourceScope>,
    {
        let objects = self.touched::<C>(ours());
        let controller = self.controller.watches_stream(objects, move |object| {
            see(&object.metadata);
            app_of(&object.metadata)
        });
        Self { controller, ..self }
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

    /// Something outside the cluster that concerns objects, by namespace and name.
    #[must_use]
    pub fn on(self, changes: impl Stream<Item = (String, String)> + Send + 'static) -> Self {
        let changes = changes.map(|(namespace, name)| ObjectRef::new(&name).within(&namespace));
        Self {
            controller: self.controller.reconcile_on(changes),
            ..self
        }
    }

    /// Something outside the cluster that concerns the objects with these UIDs.
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

/// What the operator has made.
fn ours() -> watcher::Config {
    watcher::Config::default().labels(&format!("{}={}", labels::MANAGED_BY, labels::SLIPWAY))
}

/// A hash of all that is asked of an object: its spec, labels, annotations, owners, and whether it is to go. A status is
/// an answer. Of a kind whose generation nobody counts, every change.
#[expect(
    clippy::unnecessary_wraps,
    reason = "a predicate may have nothing to say"
)]
fn asked<K: Resource>(object: &K) -> Option<u64> {
    let meta = object.meta();
    let uncounted = meta.generation.is_none().then_some(&meta.resource_version);
    let going = meta.deletion_timestamp.as_ref().map(|at| at.0);
    let owners = meta.owner_references.iter().flatten();
    let owners: Vec<_> = owners.map(|owner| (&owner.uid, owner.controller)).collect();
    let mut hasher = DefaultHasher::new();
    (meta.generation, uncounted, going).hash(&mut hasher);
    (&meta.labels, &meta.annotations, &meta.finalizers, owners).hash(&mut hasher);
    Some(hasher.finish())
}

/// A hash of who but `manager` wrote something of an object's status that still stands, and when.
fn told_by_others<K: Resource>(object: &K, manager: FieldManager) -> u64 {
    let mut hasher = DefaultHasher::new();
    for entry in object.meta().managed_fields.iter().flatten() {
        let of_status = entry.subresource.as_deref() == Some("status");
        if of_status && entry.manager.as_deref() != Some(manager.as_str()) {
            (&entry.manager, entry.time.as_ref().map(|time| time.0)).hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// Objects of which `what` is another thing than before, and those that went. After a watch had to begin anew, all: one
/// that went meanwhile is seen by its absence.
fn news<K, T>(
    events: impl Stream<Item = watcher::Result<Event<K>>> + Send,
    what: impl Fn(&K) -> T + Send,
) -> impl Stream<Item = watcher::Result<K>> + Send
where
    K: Resource + Send,
    T: PartialEq + Send,
{
    let mut known = BTreeMap::new();
    events.filter_map(move |event| {
        let found = match event {
            Ok(Event::Apply(object) | Event::InitApply(object)) => {
                let now = what(&object);
                let is_news = known.get(&object.meta().uid) != Some(&now);
                known.insert(object.meta().uid.clone(), now);
                is_news.then_some(Ok(object))
            }
            Ok(Event::Delete(object)) => {
                known.remove(&object.meta().uid);
                Some(Ok(object))
            }
            Ok(Event::Init) => {
                known.clear();
                None
            }
            Ok(Event::InitDone) => None,
            Err(error) => Some(Err(error)),
        };
        std::future::ready(found)
    })
}

/// Most bytes of a request's text that are kept. Nobody reads more.
const REQUEST: usize = 1024;

/// Takes away all annotations but those by which somebody asks for something: they may have a quarter of a megabyte.
pub(super) fn keep_requests(meta: &mut ObjectMeta) {
    if let Some(annotations) = &mut meta.annotations {
        annotations.retain(|name, value| {
            value.truncate(value.floor_char_boundary(REQUEST));
            labels::REQUESTS.contains(&name.as_str())
        });
    }
}

/// What no cache of Apps holds: texts that may be large, and what others say of them.
pub(super) fn keep_no_values(app: &mut App) {
    keep_requests(&mut app.metadata);
    app.status = None;
    for variable in &mut app.spec.env {
        variable.value = None;
    }
}

fn app_of<K>(meta: &ObjectMeta) -> Option<ObjectRef<K>>
where
    K: Resource<DynamicType = ()>,
{
    let name = meta.labels.as_ref()?.get(labels::APP)?;
    Some(ObjectRef::new(name).within(meta.namespace.as_deref()?))
}

fn metadata<C: Watched>(
    api: Api<PartialObjectMeta<C>>,
    which: watcher::Config,
) -> impl Stream<Item = watcher::Result<Event<PartialObjectMeta<C>>>> + Send {
    watcher(api, which.page_size(PAGE)).default_backoff()
}

/// Whatever was made, changed or deleted, without who wrote what of it: nobody asks.
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
