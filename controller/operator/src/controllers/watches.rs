//! What a controller watches → which objects a change concerns.
//!
//! For objects that the operator made, the caches tell which App changed. Objects that others made, and an App refers
//! to, are watched by metadata only: no Secret's content is held here.
//!
//! A controller's own writes, of its own kind or of others, do not trigger a reconcile: a step that needs one asks for
//! it. Otherwise a step that fails after a write would be retried at once, for ever.

use std::{borrow::Cow, fmt::Debug, time::Duration};

use futures::{
    Stream, StreamExt as _, TryStreamExt as _,
    future::ready,
    stream::{BoxStream, SelectAll, iter},
};
use kube::{
    Api, Client, Resource,
    core::{ClusterResourceScope, NamespaceResourceScope, ObjectMeta, PartialObjectMeta},
    runtime::{
        WatchStreamExt as _,
        watcher::{self, watcher},
    },
};
use slipway_crds::{labels, v1alpha1::App};

use slipway_k8s::{
    FieldManager,
    cache::{Cache, Cached, Change, Key, reference},
};

/// Most objects in one page of a list: a whole page is in memory before the objects are reduced.
const PAGE: u32 = 50;

/// A kind that is watched by its metadata.
pub trait Watched: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static {}

impl<C: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static> Watched for C {}

/// A change that concerns an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// The object.
    pub(super) key: Key,
    /// How long its reconcile may wait for further changes.
    pub(super) within: Duration,
}

/// A controller's watches, in some namespaces or, if none is named, in all.
pub struct Watches<K> {
    cache: Cache<K>,
    client: Client,
    namespaces: Vec<String>,
    requests: SelectAll<BoxStream<'static, Request>>,
}

impl<K: Cached> Watches<K> {
    /// The changes of the objects in `cache`.
    pub(super) fn new(cache: &Cache<K>, client: Client, namespaces: Vec<String>) -> Self {
        // No controller writes as `Operator`, so no change is left out.
        let own = cache.changed(FieldManager::Operator, Change::asked);
        let watches = Self {
            cache: cache.clone(),
            client,
            namespaces,
            requests: SelectAll::new(),
        };
        watches.on(own)
    }

    /// The requests for reconciles.
    pub(super) fn requests(self) -> impl Stream<Item = Request> + Send + 'static {
        self.requests
    }

    /// An event source that names objects by namespace and name.
    #[must_use]
    pub fn on(self, changes: impl Stream<Item = Key> + Send + 'static) -> Self {
        self.with(changes.map(|key| Request {
            key,
            within: Duration::ZERO,
        }))
    }

    /// The same for changes that often come one after another, and that nobody waits for: there is one reconcile for all
    /// that come within this time.
    #[must_use]
    pub fn on_many(
        self,
        within: Duration,
        changes: impl Stream<Item = Key> + Send + 'static,
    ) -> Self {
        self.with(changes.map(move |key| Request { key, within }))
    }

    /// A change of an object of kind `C` concerns the objects that refer to it. Only objects with labels that `selector`
    /// selects are watched.
    #[must_use]
    pub fn refers<C>(mut self, selector: &str) -> Self
    where
        C: Watched<Scope = NamespaceResourceScope>,
    {
        let which = watcher::Config::default().labels(selector);
        let apis = match self.namespaces.as_slice() {
            [] => vec![Api::all(self.client.clone())],
            some => some
                .iter()
                .map(|namespace| Api::namespaced(self.client.clone(), namespace))
                .collect(),
        };
        for api in apis {
            let others = touched::<C>(api, which.clone());
            let names = others.filter_map(|meta| {
                let name = meta.namespace.zip(meta.name);
                ready(name.map(|(namespace, name)| (namespace.into(), name.into())))
            });
            self = self.refers_to(C::kind(&()), names);
        }
        self
    }

    /// The same for a kind that is in a cache, which tells namespace and name of what changed.
    #[must_use]
    pub fn refers_to(
        self,
        kind: impl Into<Cow<'static, str>>,
        changes: impl Stream<Item = Key> + Send + 'static,
    ) -> Self {
        let (cache, kind) = (self.cache.clone(), kind.into());
        let concerned = changes.flat_map(move |(namespace, name)| {
            iter(cache.referring(Some(&namespace), &reference(&kind, &name)))
        });
        self.on(concerned)
    }

    /// The same for a kind that belongs to no namespace. `references` has the names by which objects refer to it.
    #[must_use]
    pub fn refers_to_cluster<C>(
        self,
        references: impl Fn(&str) -> Vec<String> + Send + 'static,
    ) -> Self
    where
        C: Watched<Scope = ClusterResourceScope>,
    {
        let cache = self.cache.clone();
        let others = touched::<C>(Api::all(self.client.clone()), watcher::Config::default());
        let concerned = others.flat_map(move |other| {
            let names = references(other.name.as_deref().unwrap_or_default());
            let to = names.iter().map(|name| reference(&C::kind(&()), name));
            iter(
                to.flat_map(|to| cache.referring(None, &to))
                    .collect::<Vec<_>>(),
            )
        });
        self.on(concerned)
    }

    fn with(mut self, requests: impl Stream<Item = Request> + Send + 'static) -> Self {
        self.requests.push(requests.boxed());
        self
    }
}

/// Metadata of objects that were created, changed or deleted, for ever.
fn touched<C: Watched>(
    api: Api<PartialObjectMeta<C>>,
    which: watcher::Config,
) -> impl Stream<Item = ObjectMeta> + Send + 'static {
    watcher(api, which.page_size(PAGE))
        .default_backoff()
        .touched_objects()
        .inspect_err(|error| {
            tracing::warn!(kind = %C::kind(&()), %error, "a watch failed; it is tried again");
        })
        .filter_map(|object| ready(object.ok().map(|object| object.metadata)))
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

/// Removes what may be large: the status and the values of variables.
pub(super) fn keep_no_values(app: &mut App) {
    keep_requests(&mut app.metadata);
    app.status = None;
    for variable in &mut app.spec.env {
        variable.value = None;
    }
}
