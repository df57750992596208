//! The ServiceAccount of an App's pods: it has no rights, and its token is not mounted.

use k8s_openapi::{api::core::v1::ServiceAccount, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use slipway_crds::names;

use crate::desired::Part;

pub(crate) fn service_account(part: &Part<'_>) -> ServiceAccount {
    ServiceAccount {
        metadata: ObjectMeta {
            name: Some(names::service_account(part.app())),
            namespace: part.namespace(),
            labels: Some(part.labels()),
            owner_references: Some(vec![part.owner()]),
            ..ObjectMeta::default()
        },
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
