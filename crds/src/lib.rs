//! The API types of Slipway: what users write, what the controllers record, and all names for these.
//!
//! No client, no async, no clock and no environment here: the command line, the tests and other
//! people's tools use this crate without pulling in a Kubernetes client.

#![deny(missing_docs)]
#![allow(
    clippy::duplicated_attributes,
    reason = "two printer columns may have the same type"
)]
#![allow(
    unreachable_pub,
    reason = "KubeSchema repeats each struct inside a function"
)]

pub mod conditions;
pub mod labels;
pub mod names;
pub mod v1alpha1;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON,
};
use kube::CustomResourceExt as _;

/// The API group of every kind.
pub const GROUP: &str = "slipway.dev";

/// Every CustomResourceDefinition, in the order in which they are installed.
pub fn all() -> Vec<CustomResourceDefinition> {
    [
        v1alpha1::Stack::crd(),
        v1alpha1::App::crd(),
        v1alpha1::Revision::crd(),
        v1alpha1::Build::crd(),
        v1alpha1::Release::crd(),
    ]
    .into_iter()
    .map(with_default_status)
    .collect()
}

/// To `kstatus`, an object without status is finished, and one whose `observedGeneration` differs from its generation
/// is not. So a kind whose status has `observedGeneration` starts with a value that no object's generation has. Nobody
/// waits for a Revision or a Stack, so these have none. The default has to be on `status` itself: one inside an absent
/// status never applies.
fn with_default_status(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let Some(status) = version
            .schema
            .as_mut()
            .and_then(|s| s.open_api_v3_schema.as_mut())
            .and_then(|schema| schema.properties.as_mut())
            .and_then(|properties| properties.get_mut("status"))
        else {
            continue;
        };
        let fields = status.properties.as_ref();
        if fields.is_some_and(|fields| fields.contains_key("observedGeneration")) {
            status.default = Some(JSON(serde_json::json!({"observedGeneration": -1})));
            status.nullable = None;
        }
    }
    crd
}
