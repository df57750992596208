//! Where the operator itself, and its fetch zone, may connect for a tenant: [`policy`] says so; `slipway_remotes`
//! resolves names, asks it, and keeps to it.
//!
//! An App's author writes addresses of git servers, images and buildpacks, and the operator connects from inside the
//! cluster, where more answers than its author can reach: the machine itself, a cloud's metadata, pods and Services
//! behind network policies, kubelets. Each name is resolved here, each address that comes of it is checked, and the
//! connection goes to one that was checked: no second resolution may say something else.

pub mod policy;

use std::sync::{Arc, PoisonError, RwLock};

use crate::outside::policy::{Cluster, Policy};

/// The policy as it is now: what is known of the cluster changes while the operator runs. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Outside(Arc<RwLock<Arc<Policy>>>);

impl Outside {
    /// With what an administrator has set.
    pub fn new(policy: Policy) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(policy))))
    }

    /// What counts now.
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes up what was found out about the cluster; what an administrator has set stays.
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
