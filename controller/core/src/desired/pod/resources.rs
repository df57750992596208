//! Requests and limits of a container.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::ResourceRequirements, apimachinery::pkg::api::resource::Quantity,
};
use slipway_crds::v1alpha1::{ResourceAmounts, Resources};

use crate::desired::quantity;

pub(crate) fn resources(resources: Option<&Resources>) -> Option<ResourceRequirements> {
    let Resources { requests, limits } = resources?;
    Some(ResourceRequirements {
        requests: amounts(requests.as_ref()),
        limits: amounts(limits.as_ref()),
        claims: None,
    })
}

fn amounts(amounts: Option<&ResourceAmounts>) -> Option<BTreeMap<String, Quantity>> {
    let ResourceAmounts { cpu, memory } = amounts?;
    let found: BTreeMap<String, Quantity> = [("cpu", cpu), ("memory", memory)]
        .into_iter()
        .filter_map(|(name, amount)| Some((name.to_owned(), quantity::canonical(amount.as_ref()?))))
        .collect();
    (!found.is_empty()).then_some(found)
}
