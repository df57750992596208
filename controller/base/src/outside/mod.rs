//! Where the operator and its fetch zone may connect on behalf of a tenant. [`policy`] decides; `slipway_remotes`
//! resolves names and enforces the decision.
//!
//! An App's author writes the addresses of git servers, images and buildpacks. The operator connects to them from
//! inside the cluster, where it reaches more than the author can: its own machine, a cloud's metadata service, pods and
//! Services behind network policies, kubelets. So `slipway_remotes` resolves each name once, checks each address, and
//! connects to an address that it has checked. No second resolution can give another address.

pub mod policy;

use std::sync::{Arc, PoisonError, RwLock};

use crate::outside::policy::{Cluster, Policy};

/// The current policy. It changes while the operator runs, as the operator learns the cluster's addresses. Clones share
/// it.
#[derive(Clone, Debug, Default)]
pub struct Outside(Arc<RwLock<Arc<Policy>>>);

impl Outside {
    /// A policy with the administrator's settings.
    pub fn new(policy: Policy) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(policy))))
    }

    /// The policy at this moment.
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the addresses that were found in the cluster; the administrator's settings stay.
    pub fn learn(&self, found: Cluster) {
        let mut policy = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if policy.found != found {
            *policy = Arc::new(Policy {
                found,
                ..Policy::clone(&policy)
            });
        }
    }
}
