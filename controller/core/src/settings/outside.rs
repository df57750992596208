use schemars::JsonSchema;
use serde::Deserialize;
use slipway_base::outside::policy::{Allowed, Network, Policy};

use crate::settings::file::parsed;

/// The section `outside`: where the operator may connect on behalf of tenants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutsideSettings {
    /// What may be connected to although the rules refuse it.
    #[serde(deserialize_with = "parsed")]
    #[schemars(with = "Vec<String>", inner(length(min = 1)))]
    pub allow: Vec<Allowed>,
    /// Networks of pods and Services that the operator cannot find out.
    #[serde(deserialize_with = "parsed")]
    #[schemars(with = "Vec<String>", inner(length(min = 1)))]
    pub cluster: Vec<Network>,
}

impl OutsideSettings {
    /// The policy before the operator has learnt the cluster's addresses.
    pub fn policy(self) -> Policy {
        Policy {
            allow: self.allow,
            cluster: self.cluster,
            ..Policy::default()
        }
    }
}
