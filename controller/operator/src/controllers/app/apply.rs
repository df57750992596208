//! A finished plan → objects. Decides nothing.
//!
//! Records are made with *create*: one that is there already, and is this App's, is as good as made. The order is that
//! of the flow, the config Secret before the Release that names it, so that a crash between two leaves nothing wrong.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{ObjectReference, Secret},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::PostParams,
    core::{DeserializeGuard, PartialObjectMeta},
};
use slipway_crds::conditions::Reason;

use crate::controllers::{
    app::{observe::Observed, plan::Plan},
    caches::Caches,
    records::{self, Owner, Record, Strange},
};
use slipway_base::error::{Class, Classify};

use slipway_k8s::{
    FieldManager, answer,
    cache::{Cache, Cached},
    classify,
    events::{EventType, Publisher},
    prune,
};

/// When to look again whether a name is free.
const TAKEN_AGAIN: Duration = Duration::from_secs(5);

/// Why a plan was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Somebody else's object has the name.
    #[error(
        "{kind} {name} exists already and is not this App's: {why}. It goes by itself where it is left over from a deleted App of this name; delete it otherwise"
    )]
    Taken {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Why it is not.
        why: Strange,
    },
    /// It is there, and a newer operator made it.
    #[error("{0}")]
    Unreadable(String),
    /// The API server refused, or did not answer.
    #[error("cannot create {kind} {name}")]
    Create {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// The API server refused, or did not answer.
    #[error("cannot delete {kind} {name}")]
    Delete {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Why.
        source: Box<kube::Error>,
    },
}

impl Classify for ApplyError {
    fn class(&self) -> Class {
        match self {
            Self::Taken { .. } => Class::Waiting { after: TAKEN_AGAIN },
            Self::Unreadable(_) => Class::Stalled,
            Self::Create { source, .. } | Self::Delete { source, .. } => classify::class(source),
        }
    }
}

impl ApplyError {
    /// As in conditions.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Taken { .. } => Reason::NameTaken,
            Self::Unreadable(_) => Reason::RecordUnreadable,
            Self::Create { .. } | Self::Delete { .. } => match self.class() {
                Class::Stalled => Reason::InvalidSpec,
                Class::Waiting { .. } | Class::Transient => Reason::TemporaryFailure,
            },
        }
    }
}

/// Where a plan is carried out.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    /// The API server.
    pub client: &'a Client,
    /// What is known of it.
    pub caches: &'a Caches,
    /// Where Events go.
    pub events: &'a Publisher,
    /// The App.
    pub app: &'a ObjectReference,
    /// What its records are known by.
    pub owner: Owner<'a>,
}

/// Carries a plan out.
pub(super) async fn apply(
    target: Target<'_>,
    plan: &Plan,
    observed: &Observed,
) -> Result<(), ApplyError> {
    let Plan {
        revision,
        build,
        config,
        release,
        retired,
        due: _,
        report: _,
    } = plan;
    let caches = target.caches;
    if let Some(revision) = revision
        && create(target, &caches.revisions, revision, is_counted).await?
    {
        let (_, message) = plan.report.source.said();
        let note = format!("{}: {message}", revision.name_any());
        target.say(Reason::RevisionCreated, &note).await;
    }
    if let Some(build) = build
        && create(target, &caches.builds, build, is_counted).await?
    {
        let note = format!("{}: {}", build.name_any(), build.spec.cause);
        target.say(Reason::BuildCreated, &note).await;
    }
    if let Some(config) = config {
        create(target, &caches.secrets, config, is_ours).await?;
    }
    if let Some(release) = release
        && create(target, &caches.releases, release, is_counted).await?
    {
        let note = format!("{}: {}", release.name_any(), release.spec.cause);
        target.say(Reason::ReleaseCreated, &note).await;
    }
    let Observed {
        releases,
        builds,
        revisions,
        config_secrets,
        ..
    } = observed;
    delete(target, &caches.releases, releases, &retired.releases).await?;
    delete(target, &caches.builds, builds, &retired.builds).await?;
    delete(target, &caches.revisions, revisions, &retired.revisions).await?;
    delete(target, &caches.secrets, config_secrets, &retired.configs).await
}

impl Target<'_> {
    async fn say(&self, reason: Reason, note: &str) {
        let events = self.events;
        events
            .publish(self.app, EventType::Normal, reason, "Create", note)
            .await;
    }
}

/// Whether a record that is there is as good as made.
fn is_counted<K: Record>(owner: Owner<'_>, there: &K) -> Result<(), Strange> {
    owner.counts(there)
}

/// The same of a config Secret, which is told by its name.
fn is_ours(owner: Owner<'_>, there: &Secret) -> Result<(), Strange> {
    match records::owner(&there.metadata) {
        Some((name, uid)) if (name, uid) == (owner.name, owner.uid) => Ok(()),
        Some(_) => Err(Strange::OtherApp),
        None => Err(Strange::NoOwner),
    }
}

/// An object as its cache keeps it.
trait KeptAs<C> {
    fn kept(&self, metadata: ObjectMeta) -> C;
}

impl<K: Record + Clone> KeptAs<K> for K {
    fn kept(&self, metadata: ObjectMeta) -> K {
        let mut made = self.clone();
        *made.meta_mut() = metadata;
        made
    }
}

impl KeptAs<PartialObjectMeta<Secret>> for Secret {
    fn kept(&self, metadata: ObjectMeta) -> PartialObjectMeta<Self> {
        PartialObjectMeta {
            metadata,
            ..PartialObjectMeta::default()
        }
    }
}

/// Makes an object; answers whether it was not there before.
async fn create<K, C>(
    target: Target<'_>,
    cache: &Cache<C>,
    object: &K,
    check: impl Fn(Owner<'_>, &K) -> Result<(), Strange>,
) -> Result<bool, ApplyError>
where
    K: Cached + Resource<Scope = NamespaceResourceScope> + KeptAs<C>,
    C: Cached,
{
    let (client, namespace) = (target.client, target.owner.namespace);
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let name = object.name_any();
    let kind = || K::kind(&()).into_owned();
    let failed = |source| ApplyError::Create {
        kind: kind(),
        name: name.clone(),
        source: Box::new(source),
    };
    let params = PostParams {
        field_manager: Some(FieldManager::App.as_str().to_owned()),
        ..PostParams::default()
    };
    match answer::create(&api, &params, object).await {
        Ok(metadata) => {
            cache.put(&object.kept(metadata), FieldManager::App);
            Ok(true)
        }
        Err(error) if classify::is_conflict(&error) => {
            let api: Api<DeserializeGuard<K>> = Api::namespaced(client.clone(), namespace);
            let why = match classify::found(api.get(&name).await).map_err(failed)? {
                // It was being deleted, and is gone by now.
                None => Strange::OtherApp,
                Some(DeserializeGuard(Ok(there))) => match check(target.owner, &there) {
                    Ok(()) => {
                        cache.put(&there.kept(there.meta().clone()), FieldManager::App);
                        return Ok(false);
                    }
                    Err(why) => why,
                },
                Some(DeserializeGuard(Err(invalid))) => {
                    let said = records::unreadable(&kind(), &name, &invalid.error);
                    return Err(ApplyError::Unreadable(said));
                }
            };
            Err(ApplyError::Taken {
                kind: kind(),
                name: name.clone(),
                why,
            })
        }
        Err(error) => Err(failed(error)),
    }
}

async fn delete<K, C>(
    target: Target<'_>,
    cache: &Cache<C>,
    objects: &[K],
    names: &[String],
) -> Result<(), ApplyError>
where
    K: Cached + Resource<Scope = NamespaceResourceScope>,
    C: Cached,
{
    let names: BTreeSet<&String> = names.iter().collect();
    let api: Api<K> = Api::namespaced(target.client.clone(), target.owner.namespace);
    for object in objects {
        let name = object.name_any();
        if names.contains(&name) {
            prune::delete(&api, object)
                .await
                .map_err(|source| ApplyError::Delete {
                    kind: K::kind(&()).into_owned(),
                    name,
                    source: Box::new(source),
                })?;
            cache.remove(object, FieldManager::App);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::ApplyError;
    use kube::core::Status;
    use slipway_crds::conditions::Reason;

    #[test]
    fn what_is_refused_for_good_is_not_called_temporary() {
        for (code, wanted) in [(422, Reason::InvalidSpec), (500, Reason::TemporaryFailure)] {
            let status = Status::failure("no", "").with_code(code).boxed();
            let error = ApplyError::Create {
                kind: "Build".into(),
                name: "hello-1".into(),
                source: Box::new(kube::Error::Api(status)),
            };
            assert_eq!(error.reason(), wanted, "{code}");
        }
    }
}
