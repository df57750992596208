//! Who asks → whether he may read the log: whoever may `get` the Build may.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::{Api, Client, api::PostParams};

use crate::logs::{front_proxy::User, refusal::Refusal};

/// Asks the API server.
pub(super) async fn authorize(
    client: &Client,
    user: &User,
    namespace: &str,
    build: &str,
) -> Result<(), Refusal> {
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(user.name.clone()),
            uid: user.uid.clone(),
            groups: Some(user.groups.clone()),
            extra: Some(user.extra.clone()),
            resource_attributes: Some(ResourceAttributes {
                group: Some("slipway.dev".to_owned()),
                version: Some("v1alpha1".to_owned()),
                resource: Some("builds".to_owned()),
                verb: Some("get".to_owned()),
                namespace: Some(namespace.to_owned()),
                name: Some(build.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let answer = reviews
        .create(&PostParams::default(), &review)
        .await
        .map_err(|error| {
            tracing::warn!(%error, "cannot ask who may read a log");
            Refusal::Unavailable("cannot ask whether you may read this log".to_owned())
        })?;
    if answer.status.is_some_and(|status| status.allowed) {
        return Ok(());
    }
    Err(Refusal::Forbidden(format!(
        "user {:?} may not get builds.slipway.dev {build:?} in namespace {namespace:?}, and so may not read its log",
        user.name
    )))
}
