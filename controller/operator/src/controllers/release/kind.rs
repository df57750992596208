//! What is done with objects of any kind: they are watched, found, written and deleted.

use std::collections::BTreeSet;

use futures::{FutureExt as _, future::BoxFuture};
use kube::{Api, Client, Resource, ResourceExt, core::NamespaceResourceScope};
use slipway_crds::v1alpha1::{App, Release};

use crate::controllers::{
    caches::Caches,
    release::{MORE, error::Error},
    watches::Watches,
};
use slipway_core::desired::{Applied, Found, Holds, Objects, Prepared};
use slipway_k8s::{
    FieldManager,
    apply::{self, ApplyError, apply_if_changed},
    cache::{Cache, Cached, Change},
    ownership,
    prune::{delete, orphans},
};

/// When the objects of a kind are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// While the Release rolls out: its pods need them.
    BeforeServing,
    /// Not until the Release serves: until then the objects of the Release before it stay.
    OnceItServes,
}

/// What happens to objects that the serving Release does not want.
#[derive(Clone, Copy)]
pub(super) enum Leftovers {
    /// They stay until the App is deleted.
    Stay,
    /// They are deleted.
    Go,
    /// They are deleted, unless they have one of these names.
    GoUnless(fn(&App, &Release) -> BTreeSet<String>),
}

/// What happens if the API server refuses to change an existing object.
#[derive(Clone, Copy)]
pub(super) enum Refused {
    /// Nothing further of the Release is written.
    Ends,
    /// The object stays as it is, and this error is reported, made from its name and the API server's message.
    Told(fn(String, String) -> Error),
}

/// A kind of object.
pub(super) struct Kind<K> {
    /// The cache of the existing objects.
    pub(super) cache: fn(&Caches) -> &Cache<K>,
    /// When they are written.
    pub(super) written: Written,
    /// What happens to objects that are not wanted.
    pub(super) leftovers: Leftovers,
    /// What happens if a change is refused.
    pub(super) refused: Refused,
}

/// Where objects are written.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) client: &'a Client,
    pub(super) caches: &'a Caches,
    pub(super) namespace: &'a str,
}

/// A kind of object, without its type.
pub(super) trait AnyKind: Sync {
    /// When its objects are written.
    fn written(&self) -> Written;

    /// Watches the kind: a change by anybody else triggers a reconcile of the App.
    fn watch(&self, caches: &Caches, watches: Watches<App>) -> Watches<App>;

    /// Puts into `found` the objects of an App that may have to be deleted.
    fn find(&self, caches: &Caches, namespace: &str, app: &str, found: &mut Objects<Found>);

    /// Checks every name in `wanted`, and writes nothing.
    fn look<'a>(
        &'a self,
        place: Place<'a>,
        wanted: &'a Objects<Prepared>,
    ) -> BoxFuture<'a, Result<Box<dyn Write<'a> + 'a>, Error>>;

    /// Deletes those of `found` that `release`, which serves, does not want.
    fn prune<'a>(
        &'a self,
        place: Place<'a>,
        found: &'a Objects<Found>,
        wanted: &'a Objects<Prepared>,
        of: (&'a App, &'a Release),
    ) -> BoxFuture<'a, Result<(), Error>>;
}

/// Objects of one kind whose names have been checked.
pub(super) trait Write<'a>: Send {
    /// Writes those that differ, and puts the result into `applied`. Returns a refusal that is to be reported.
    fn write<'b>(
        self: Box<Self>,
        applied: &'b mut Objects<Applied>,
    ) -> BoxFuture<'b, Result<Option<Error>, Error>>
    where
        'a: 'b;
}

impl<K> AnyKind for Kind<K>
where
    K: Cached + Resource<Scope = NamespaceResourceScope>,
    Objects<Prepared>: Holds<K>,
    Objects<Applied>: Holds<K>,
    Objects<Found>: Holds<K>,
{
    fn written(&self) -> Written {
        self.written
    }

    fn watch(&self, caches: &Caches, watches: Watches<App>) -> Watches<App> {
        watches.on_many(
            MORE,
            (self.cache)(caches).changes(FieldManager::Release, Change::any),
        )
    }

    fn find(&self, caches: &Caches, namespace: &str, app: &str, found: &mut Objects<Found>) {
        if !matches!(self.leftovers, Leftovers::Stay) {
            *Holds::<K>::held_mut(found) = (self.cache)(caches).objects(namespace, app);
        }
    }

    fn look<'a>(
        &'a self,
        place: Place<'a>,
        wanted: &'a Objects<Prepared>,
    ) -> BoxFuture<'a, Result<Box<dyn Write<'a> + 'a>, Error>> {
        async move {
            let mut looked = Looked {
                api: Api::namespaced(place.client.clone(), place.namespace),
                cache: (self.cache)(place.caches),
                refused: self.refused,
                pairs: Vec::new(),
            };
            for desired in Holds::<K>::held(wanted) {
                let pair = looked.pair(place.namespace, desired).await?;
                looked.pairs.push(pair);
            }
            Ok(Box::new(looked) as Box<dyn Write<'a> + 'a>)
        }
        .boxed()
    }

    fn prune<'a>(
        &'a self,
        place: Place<'a>,
        found: &'a Objects<Found>,
        wanted: &'a Objects<Prepared>,
        (app, release): (&'a App, &'a Release),
    ) -> BoxFuture<'a, Result<(), Error>> {
        async move {
            let wanted: BTreeSet<String> = match self.leftovers {
                Leftovers::Stay => return Ok(()),
                Leftovers::Go => {
                    let wanted = Holds::<K>::held(wanted);
                    wanted.iter().map(ResourceExt::name_any).collect()
                }
                Leftovers::GoUnless(named) => named(app, release),
            };
            let cache = (self.cache)(place.caches);
            let uid = app.uid().unwrap_or_default();
            remove(
                place,
                cache,
                orphans(Holds::<K>::held(found), &uid, &wanted),
            )
            .await
        }
        .boxed()
    }
}

async fn remove<K>(place: Place<'_>, cache: &Cache<K>, orphans: Vec<&K>) -> Result<(), Error>
where
    K: Cached + Resource<Scope = NamespaceResourceScope>,
{
    let api: Api<K> = Api::namespaced(place.client.clone(), place.namespace);
    for orphan in orphans {
        tracing::info!(kind = %K::kind(&()), name = orphan.name_any(), "no longer wanted");
        delete(&api, orphan).await.map_err(|source| Error::Delete {
            name: orphan.name_any(),
            source: Box::new(source),
        })?;
        cache.remove(orphan, FieldManager::Release);
    }
    Ok(())
}

/// Objects of one kind: each wanted object beside the existing one.
struct Looked<'a, K> {
    api: Api<K>,
    cache: &'a Cache<K>,
    refused: Refused,
    pairs: Vec<(&'a K, Option<K>)>,
}

impl<'a, K> Looked<'a, K>
where
    K: Cached + Resource<Scope = NamespaceResourceScope>,
{
    /// The wanted object beside the live one.
    async fn pair(&self, namespace: &str, desired: &'a K) -> Result<(&'a K, Option<K>), Error> {
        let name = desired.name_any();
        let live = self.live(namespace, &name).await?;
        if let Some(live) = &live {
            let going = || Error::Going {
                kind: K::kind(&()).into_owned(),
                name,
            };
            if live.meta().deletion_timestamp.is_some() {
                return Err(going());
            }
            match ownership::check(desired, live) {
                Ok(()) => {}
                Err(_) if was_of_the_same_app(desired, live) => return Err(going()),
                Err(taken) => return Err(ApplyError::NameTaken(taken).into()),
            }
        }
        Ok((desired, live))
    }

    /// The object of this name. An object that is not in the cache may be somebody else's, or too large for the cache.
    async fn live(&self, namespace: &str, name: &str) -> Result<Option<K>, Error> {
        if let Some(kept) = self.cache.get(namespace, name)
            && kept.whole
            && let Ok(live) = kept.object.0
        {
            return Ok(Some(live));
        }
        let live = self.api.get_opt(name).await;
        live.map_err(|source| Error::read("objects", source))
    }

    async fn apply(&self, desired: &K, live: Option<&K>) -> Result<K, Error> {
        let written = apply_if_changed(&self.api, FieldManager::Release, desired, live).await?;
        let apply::Applied { object, wrote } = written;
        if wrote {
            self.cache.put(&object, FieldManager::Release);
        }
        Ok(object)
    }
}

impl<'a, K> Write<'a> for Looked<'a, K>
where
    K: Cached + Resource<Scope = NamespaceResourceScope>,
    Objects<Applied>: Holds<K>,
{
    fn write<'b>(
        self: Box<Self>,
        applied: &'b mut Objects<Applied>,
    ) -> BoxFuture<'b, Result<Option<Error>, Error>>
    where
        'a: 'b,
    {
        async move {
            let mut told = None;
            for (desired, live) in &self.pairs {
                let written = match (self.apply(desired, live.as_ref()).await, live, self.refused) {
                    (Ok(written), ..) => written,
                    (Err(error), Some(live), Refused::Told(tell)) if error.is_refusal() => {
                        let why = error.refusal().unwrap_or_default().to_owned();
                        told = Some(tell(live.name_any(), why));
                        live.clone()
                    }
                    (Err(error), ..) => return Err(error),
                };
                Holds::<K>::held_mut(applied).push(written);
            }
            Ok(told)
        }
        .boxed()
    }
}

/// Whether `live` is controlled by a deleted App of the same name: the garbage collector deletes it.
fn was_of_the_same_app<K: Resource>(desired: &K, live: &K) -> bool {
    let controller = |object: &K| {
        object
            .owner_references()
            .iter()
            .find(|owner| owner.controller == Some(true))
            .cloned()
    };
    match (controller(desired), controller(live)) {
        (Some(wanted), Some(found)) => {
            found.kind == wanted.kind && found.name == wanted.name && found.uid != wanted.uid
        }
        _ => false,
    }
}
