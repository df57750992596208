//! What a controller does for one object, and the outcome.

use std::{future::Future, sync::Arc, time::Duration};

use kube::{Resource, core::NamespaceResourceScope};

use crate::controllers::watches::Watches;
use slipway_base::error::Classify;
use slipway_k8s::cache::{Cache, Cached};

/// What a controller does for one object.
pub trait Reconcile: Send + Sync + 'static {
    /// What is reconciled.
    type Object: Cached + Resource<Scope = NamespaceResourceScope>;
    /// Why a reconcile failed.
    type Error: Classify + Send + 'static;
    /// Name in logs, meters and Events.
    const NAME: &'static str;
    /// How many objects are reconciled at once.
    const CONCURRENCY: u16 = 8;
    /// How long one reconcile may take. Longer work is done in steps over several reconciles.
    const DEADLINE: Duration = Duration::from_mins(2);

    /// Whether a reconcile needs an object whole: one that the cache has in brief is then read from the API server.
    const WHOLE: bool = true;

    /// What is watched besides the object itself, and which objects a change there concerns.
    fn watches(&self, watches: Watches<Self::Object>) -> Watches<Self::Object>;

    /// All objects of its kind.
    fn cache(&self) -> &Cache<Self::Object>;

    /// Brings one object nearer to what its spec says. Makes no write if neither it nor what it depends on has changed.
    fn reconcile(
        &self,
        object: Arc<Self::Object>,
    ) -> impl Future<Output = Result<Outcome, Self::Error>> + Send;
}

/// How a reconcile succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing more to do: reconciled again once an hour, in case a watch missed something.
    Done,
    /// The next reconcile, if no watch triggers one before.
    After(Duration),
}
