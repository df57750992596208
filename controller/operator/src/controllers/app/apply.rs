//! A finished plan → objects. Decides nothing.
//!
//! Records are made with *create*. A record that exists already and belongs to this App counts as made; a Revision only
//! if it records the same state, otherwise the next number is tried. Objects are made in the order of the flow, and the
//! config Secret before the Release that names it, so that a crash between two of them leaves nothing wrong.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{ObjectReference, Secret},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    core::{DeserializeGuard, PartialObjectMeta},
};
use slipway_crds::{
    conditions::Reason,
    names,
    v1alpha1::{Revision, RevisionSpec},
};

use crate::controllers::{
    app::{observe::Observed, plan::Plan},
    caches::Caches,
};
use slipway_base::error::{Class, Classify};

use slipway_core::{
    decide::revision,
    records::{self, Owner, Record, Strange},
};
use slipway_k8s::{
    FieldManager,
    cache::{Cache, Cached},
    classify,
    events::{EventType, Publisher},
    numbered::{self, Failed, Made},
    prune,
};

/// When to look again whether a name is free.
const TAKEN_AGAIN: Duration = Duration::from_secs(5);
/// How many numbers are tried for a Revision: others may take a number before the operator reads of it.
const NUMBERS: i64 = 16;

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
        /// Why it does not count.
        why: Strange,
    },
    /// Others make Revisions faster than the operator reads them.
    #[error(
        "{last} and the {kind}s before it are of other states: the next number is looked for again"
    )]
    Crowded {
        /// The kind.
        kind: String,
        /// The last name that was tried.
        last: String,
    },
    /// The object exists, and a newer operator made it.
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
            Self::Taken { .. } | Self::Crowded { .. } => Class::Waiting { after: TAKEN_AGAIN },
            Self::Unreadable(_) => Class::Stalled,
            Self::Create { source, .. } | Self::Delete { source, .. } => classify::class(source),
        }
    }
}

impl ApplyError {
    /// The reason in conditions.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Taken { .. } | Self::Crowded { .. } => Reason::NameTaken,
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
    /// What is known of the cluster.
    pub caches: &'a Caches,
    /// Where Events go.
    pub events: &'a Publisher,
    /// The App.
    pub app: &'a ObjectReference,
    /// The owner that its records must have.
    pub owner: Owner<'a>,
}

/// Carries a plan out.
pub(super) async fn apply(
    target: Target<'_>,
    plan: &mut Plan,
    observed: &Observed,
) -> Result<(), ApplyError> {
    let caches = target.caches;
    if let Some(revision) = plan.revision.take() {
        let is_it = |owner: Owner<'_>, there: &Revision| {
            owner.counts(there)?;
            Ok(revision::is_same(&there.spec, &revision.spec))
        };
        let made = create(target, &caches.revisions, numbered(&revision), is_it).await?;
        plan.recorded(&revision.name_any(), &made.object);
        if made.new {
            let (_, message) = plan.report.source.said();
            let note = format!("{}: {message}", made.object.name_any());
            target.say(Reason::RevisionCreated, &note).await;
        }
    }
    let Plan {
        revision: _,
        build,
        config,
        release,
        retired,
        due: _,
        report: _,
    } = plan;
    if let Some(build) = build
        && create(target, &caches.builds, [build.clone()], is_counted)
            .await?
            .new
    {
        let note = format!("{}: {}", build.name_any(), build.spec.cause);
        target.say(Reason::BuildCreated, &note).await;
    }
    if let Some(config) = config {
        create(target, &caches.secrets, [config.clone()], is_ours).await?;
    }
    if let Some(release) = release
        && create(target, &caches.releases, [release.clone()], is_counted)
            .await?
            .new
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

/// The Revision under its own number, then under the numbers after it.
fn numbered(revision: &Revision) -> impl Iterator<Item = Revision> {
    let first = revision.spec.number.unwrap_or(1);
    (first..first.saturating_add(NUMBERS)).map(|number| {
        let mut numbered = revision.clone();
        numbered.metadata.name = Some(names::revision(&revision.spec.app.name, number));
        numbered.spec = RevisionSpec {
            number: Some(number),
            ..numbered.spec
        };
        numbered
    })
}

/// Whether an existing record counts as made.
fn is_counted<K: Record>(owner: Owner<'_>, there: &K) -> Result<bool, Strange> {
    owner.counts(there).map(|()| true)
}

/// The same for a config Secret, which is recognized by its name.
fn is_ours(owner: Owner<'_>, there: &Secret) -> Result<bool, Strange> {
    match records::owner(&there.metadata) {
        Some((name, uid)) if (name, uid) == (owner.name, owner.uid) => Ok(true),
        Some(_) => Err(Strange::OtherApp),
        None => Err(Strange::NoOwner),
    }
}

/// An object in the form that its cache keeps.
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

/// An object that exists now, and whether this call made it.
struct Created<K> {
    object: K,
    new: bool,
}

/// Makes the first of `candidates` whose name is free. If the name is taken, `check` says whether the existing object
/// counts as made; if that is another record of this App, the next candidate is tried.
async fn create<K, C>(
    target: Target<'_>,
    cache: &Cache<C>,
    candidates: impl IntoIterator<Item = K>,
    check: impl Fn(Owner<'_>, &K) -> Result<bool, Strange>,
) -> Result<Created<K>, ApplyError>
where
    K: Cached + Resource<Scope = NamespaceResourceScope> + KeptAs<C>,
    C: Cached,
{
    let kind = K::kind(&()).into_owned();
    let judge = |there: Option<DeserializeGuard<K>>| match there {
        // It was being deleted, and is gone now.
        None => Err(Refused::Strange(Strange::OtherApp)),
        Some(DeserializeGuard(Ok(there))) => {
            let is_it = check(target.owner, &there).map_err(Refused::Strange)?;
            cache.put(&there.kept(there.meta().clone()), FieldManager::App);
            Ok(is_it.then_some(there))
        }
        Some(DeserializeGuard(Err(invalid))) => Err(Refused::Unreadable(invalid.error)),
    };
    let (client, namespace) = (target.client, target.owner.namespace);
    let made = numbered::create(
        client,
        namespace,
        FieldManager::App.as_str(),
        candidates,
        judge,
    )
    .await;
    match made {
        Ok(Made::Now(object, metadata)) => {
            cache.put(&object.kept(*metadata), FieldManager::App);
            Ok(Created { object, new: true })
        }
        Ok(Made::Before(object)) => Ok(Created { object, new: false }),
        Err(Failed::Api { name, source }) => Err(ApplyError::Create { kind, name, source }),
        Err(Failed::There { name, why }) => Err(match why {
            Refused::Strange(why) => ApplyError::Taken { kind, name, why },
            Refused::Unreadable(error) => {
                ApplyError::Unreadable(records::unreadable(&kind, &name, &error))
            }
        }),
        Err(Failed::Crowded { last }) => Err(ApplyError::Crowded { kind, last }),
    }
}

/// Why an existing object does not count as made.
enum Refused {
    /// It is not this App's.
    Strange(Strange),
    /// A newer operator made it.
    Unreadable(String),
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
