//! What a controller does for one object, and how that went.

use std::{future::Future, sync::Arc, time::Duration};

use kube::{Resource, core::NamespaceResourceScope};

use crate::controllers::watches::Watches;
use slipway_base::error::Classify;
use slipway_k8s::cache::{Cache, Cached};

/// What a controller does for one object.
pub trait Reconcile: Send + Sync + 'static {
    /// What is reconciled.
    type Object: Cached + Resource<Scope = NamespaceResourceScope>;
    /// Why it did not work out.
    type Error: Classify + Send + 'static;
    /// Name in logs, meters and Events.
    const NAME: &'static str;
    /// How many objects at once.
    const CONCURRENCY: u16 = 8;
    /// How long one may take. What takes longer is observed in steps, not awaited.
    const DEADLINE: Duration = Duration::from_mins(2);

    /// What else than the object itself is watched, and which objects a change there concerns.
    fn watches(&self, watches: Watches<Self::Object>) -> Watches<Self::Object>;

    /// What has all objects of its kind, where others look at them as well. Otherwise the controller watches them itself.
    fn cache(&self) -> Option<Cache<Self::Object>> {
        None
    }

    /// Takes out of an object what nobody reads in the cache, which holds every one of them. Who needs that reads the
    /// whole object again before anything is done with it.
    fn slim(_: &mut Self::Object) {}

    /// Brings one object nearer to what its spec says. Without a change to it or what it depends on, no write.
    fn reconcile(
        &self,
        object: Arc<Self::Object>,
    ) -> impl Future<Output = Result<Outcome, Self::Error>> + Send;
}

/// How a reconcile went well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing more to do: looked at again about once an hour, in case a watch missed something.
    Done,
    /// The next look, if no watch comes first.
    After(Duration),
}
