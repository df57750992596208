//! Objects of a kind from the API server → the parts of them that decisions need, by App; and the names of Apps whose
//! objects change, for subscribers.
//!
//! ```text
//! list, by the page ─┐
//! watch ─────────────┼─▶ trimmed, packed ──▶ looked up by App or by name
//! our own writes ────┘         └─▶ names of Apps to subscribers
//! ```
//!
//! A cache lags behind the API server. These rules make it safe to decide by it:
//!
//! - After each write of ours, the object that the API server answered is put in at once. An older version never
//!   replaces a newer one, and a late answer does not bring back an object that is known to be deleted.
//! - Where it matters, a write names the version that was read. If there is a newer one, the API server refuses the
//!   write, and the next reconcile reads the newer one.
//! - An object that may be made only once has a fixed name and is made with *create*.
//!
//! Objects are kept as compressed JSON; as structures they would take fifty times as much memory. Of an object larger
//! than [`WHOLE`], a brief form is kept; a caller that needs more reads that object from the API server.

mod fill;
mod guard;
mod pack;
mod state;
#[cfg(test)]
mod tests;

use std::{
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{Stream, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Resource, ResourceExt as _,
    core::{DeserializeGuard, error_boundary::InvalidObject},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{mpsc, watch};

use crate::{
    FieldManager,
    cache::{
        pack::Packer,
        state::{Entry, Rare, State},
    },
};

pub use pack::Codec;
pub use state::Change;

/// Most bytes of an object's JSON that is kept whole.
pub const WHOLE: usize = 16 * 1024;

/// Namespace and name.
pub type Key = (Arc<str>, Arc<str>);

/// A kind that can be kept.
pub trait Cached:
    Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug + Send + Sync + 'static
{
}

impl<K> Cached for K where
    K: Resource<DynamicType = ()>
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug
        + Send
        + Sync
        + 'static
{
}

/// What is kept of a kind.
#[derive(Debug)]
pub struct Rules<K> {
    /// Label selector of the objects that are listed and watched.
    pub selector: Option<String>,
    /// Name of the App that an object concerns; without one, the object is not kept. The second argument is `None` if
    /// the object cannot be read.
    pub app: fn(&ObjectMeta, Option<&K>) -> Option<String>,
    /// Removes from each object what nobody reads.
    pub trim: fn(&mut K),
    /// Whether only the brief form is kept.
    pub is_brief: fn(&K) -> bool,
    /// Makes the brief form: removes what may be large.
    pub brief: fn(&mut K),
    /// The manager whose writes of the status do not count as [`Change::told`].
    pub judge: Option<FieldManager>,
    /// What an object refers to, each made with [`reference`]: [`Cache::referring`] finds the object by it.
    pub refers: fn(&K) -> Vec<String>,
}

/// How an object of this kind and name stands in [`Rules::refers`].
pub fn reference(kind: &str, name: &str) -> String {
    format!("{kind}/{name}")
}

impl<K> Clone for Rules<K> {
    fn clone(&self) -> Self {
        Self {
            selector: self.selector.clone(),
            ..*self
        }
    }
}

/// What is kept of an object.
#[derive(Clone, Debug)]
pub struct Kept<K> {
    /// The object, or why it cannot be read.
    pub object: DeserializeGuard<K>,
    /// Whether it is whole, except for what [`Rules::trim`] removes.
    pub whole: bool,
}

/// What a subscriber is told of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    /// The App that the object concerns.
    App,
    /// The object.
    Object,
}

/// Who is told of changes, and of which.
struct Subscriber {
    who: FieldManager,
    wants: fn(Change) -> bool,
    names: Names,
    tell: mpsc::UnboundedSender<Key>,
}

type Look<K> = Box<dyn Fn(&ObjectMeta, Option<&K>) + Send + Sync>;

struct Inner<K> {
    rules: Rules<K>,
    codec: Codec,
    packer: Mutex<Packer>,
    state: Mutex<State>,
    subscribers: Mutex<Vec<Subscriber>>,
    looks: Mutex<Vec<Look<K>>>,
    /// How many lists have to be read before the cache is full.
    missing: watch::Sender<usize>,
}

/// All objects of a kind. Clones share them.
pub struct Cache<K>(Arc<Inner<K>>);

impl<K> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Cached> Cache<K> {
    /// An empty cache.
    pub fn new(rules: Rules<K>, codec: &Codec) -> Self {
        Self(Arc::new(Inner {
            rules,
            codec: codec.clone(),
            packer: Mutex::default(),
            state: Mutex::default(),
            subscribers: Mutex::default(),
            looks: Mutex::default(),
            missing: watch::Sender::new(1),
        }))
    }

    /// All objects that concern an App.
    pub fn of_app(&self, namespace: &str, app: &str) -> Vec<Kept<K>> {
        let entries = self.state().of_app(namespace, app);
        entries
            .iter()
            .filter_map(|entry| self.read(entry))
            .collect()
    }

    /// An App's objects that can be read, whole or in brief; for Kubernetes' own kinds.
    pub fn objects(&self, namespace: &str, app: &str) -> Vec<K> {
        let kept = self.of_app(namespace, app);
        kept.into_iter().filter_map(|k| k.object.0.ok()).collect()
    }

    /// The object of this name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Kept<K>> {
        let entry = self.state().get(namespace, name);
        self.read(entry.as_deref()?)
    }

    /// The objects, in one namespace or in all, that have this [`reference`].
    pub fn referring(&self, namespace: Option<&str>, reference: &str) -> Vec<Key> {
        self.state().referring(namespace, reference)
    }

    /// All objects.
    pub fn names(&self) -> Vec<Key> {
        self.state().names()
    }

    /// Bytes of all kept objects, without the indexes.
    pub fn bytes(&self) -> usize {
        self.state().bytes()
    }

    /// Puts in the object that the API server answered to a write of `who`. Tells the other subscribers.
    pub fn put(&self, object: &K, who: FieldManager) {
        self.saw(DeserializeGuard(Ok(object.clone())), Some(who));
    }

    /// Removes an object that the API server has deleted for `who`. Tells the other subscribers.
    pub fn remove(&self, object: &impl Resource, who: FieldManager) {
        self.gone(object.meta(), Some(who));
    }

    /// The namespace and name of an App each time that one of its objects changes from now on, unless `who` itself
    /// wrote the change. `wants` says which changes count.
    pub fn changes(
        &self,
        who: FieldManager,
        wants: fn(Change) -> bool,
    ) -> impl Stream<Item = Key> + Send + 'static + use<K> {
        self.told(who, wants, Names::App)
    }

    /// The same with the namespace and name of the object itself.
    pub fn changed(
        &self,
        who: FieldManager,
        wants: fn(Change) -> bool,
    ) -> impl Stream<Item = Key> + Send + 'static + use<K> {
        self.told(who, wants, Names::Object)
    }

    fn told(
        &self,
        who: FieldManager,
        wants: fn(Change) -> bool,
        names: Names,
    ) -> impl Stream<Item = Key> + Send + 'static + use<K> {
        let (tell, told) = mpsc::unbounded_channel();
        lock(&self.0.subscribers).push(Subscriber {
            who,
            wants,
            names,
            tell,
        });
        stream::unfold(
            told,
            |mut told| async move { Some((told.recv().await?, told)) },
        )
    }

    /// Calls `look` at every change, with the object as it is kept, or without it if it is gone or cannot be read. So it
    /// also sees objects that are gone before their App's next reconcile.
    pub fn watched_by(&self, look: impl Fn(&ObjectMeta, Option<&K>) + Send + Sync + 'static) {
        lock(&self.0.looks).push(Box::new(look));
    }

    /// Waits until all lists have been read once.
    pub async fn is_full(&self) {
        // Never closed.
        let _ = self.0.missing.subscribe().wait_for(|n| *n == 0).await;
    }

    fn saw(&self, mut object: DeserializeGuard<K>, who: Option<FieldManager>) {
        let Some(namespace) = object.meta().namespace.clone() else {
            return;
        };
        let rules = &self.0.rules;
        let app = (rules.app)(object.meta(), object.0.as_ref().ok());
        let name = object.name_any();
        let Some(app) = app else {
            return self.gone(object.meta(), who);
        };
        // The watch shows what the answer to a write has shown already.
        if self.state().has(&namespace, &name, object.meta()) {
            return;
        }
        let Some((mut entry, text)) = keep(rules, &mut object) else {
            return;
        };
        entry.text = lock(&self.0.packer).pack(&self.0.codec, &text);
        let seen = self.state().put(&namespace, &name, &app, entry);
        if !seen.is_empty() {
            self.look(object.meta(), object.0.as_ref().ok());
        }
        for (key, change) in seen {
            self.tell(&key, &name, change, who);
        }
    }

    fn gone(&self, meta: &ObjectMeta, who: Option<FieldManager>) {
        let (Some(namespace), Some(name)) = (&meta.namespace, &meta.name) else {
            return;
        };
        if who.is_none() {
            self.look(meta, None);
        }
        let last = Entry::of(meta, None);
        let found = self.state().remove(namespace, name, &last);
        if let Some(key) = found {
            self.tell(&key, name, Change::GONE, who);
        }
    }

    fn look(&self, meta: &ObjectMeta, object: Option<&K>) {
        for look in lock(&self.0.looks).iter() {
            look(meta, object);
        }
    }

    /// `app` is the App that the object of this name concerns.
    fn tell(&self, app: &Key, name: &str, change: Change, who: Option<FieldManager>) {
        lock(&self.0.subscribers).retain(|subscriber| {
            let is_news = Some(subscriber.who) != who && (subscriber.wants)(change);
            let key = || match subscriber.names {
                Names::Object if *name != *app.1 => (Arc::clone(&app.0), name.into()),
                Names::Object | Names::App => app.clone(),
            };
            !is_news || subscriber.tell.send(key()).is_ok()
        });
    }

    fn read(&self, entry: &Entry) -> Option<Kept<K>> {
        let text = self.0.codec.text(&entry.text)?;
        let error = entry.rare.as_ref().and_then(|rare| rare.error.as_ref());
        let object = match error {
            None => Ok(serde_json::from_slice(&text).ok()?),
            Some(error) => Err(InvalidObject {
                error: error.clone(),
                metadata: serde_json::from_slice(&text).ok()?,
            }),
        };
        Some(Kept {
            object: DeserializeGuard(object),
            whole: entry.whole,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }
}

/// The entry for an object, and the text that it will pack.
fn keep<K: Cached>(rules: &Rules<K>, object: &mut DeserializeGuard<K>) -> Option<(Entry, Vec<u8>)> {
    let mut entry = Entry::of(object.meta(), rules.judge);
    let text = match &mut object.0 {
        Ok(object) => {
            let refers = (rules.refers)(object);
            if !refers.is_empty() {
                entry.rare = Some(Box::new(Rare {
                    refers,
                    error: None,
                }));
            }
            (rules.trim)(object);
            if (rules.is_brief)(object) {
                (rules.brief)(object);
                entry.whole = false;
            }
            let mut text = serde_json::to_vec(object).ok()?;
            if text.len() > WHOLE && entry.whole {
                (rules.brief)(object);
                entry.whole = false;
                text = serde_json::to_vec(object).ok()?;
            }
            text
        }
        Err(invalid) => {
            let mut meta = std::mem::take(&mut invalid.metadata);
            meta.managed_fields = None;
            meta.annotations = None;
            entry.rare = Some(Box::new(Rare {
                error: Some(invalid.error.clone()),
                ..Rare::default()
            }));
            serde_json::to_vec(&meta).ok()?
        }
    };
    Some((entry, text))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
