//! Writes that ask the API server for the object's metadata alone, because the caller knows what it wrote.

use std::fmt::Debug;

use http::{HeaderValue, Request, header::ACCEPT};
use kube::{
    Api, Resource,
    api::{Patch, PatchParams, PostParams},
    core::{ObjectMeta, PartialObjectMeta, Request as Requests},
};
use serde::Serialize;

const METADATA: HeaderValue =
    HeaderValue::from_static("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1");

/// Creates an object. Returns its metadata after the write.
pub async fn create<K>(
    api: &Api<K>,
    params: &PostParams,
    object: &K,
) -> Result<ObjectMeta, kube::Error>
where
    K: Resource<DynamicType = ()> + Serialize + Clone + Debug,
{
    let body = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
    let request = Requests::new(api.resource_url()).create(params, body);
    answered(api, request.map_err(kube::Error::BuildRequest)?).await
}

/// Patches an object or a subresource. Returns the object's metadata after the write.
pub(super) async fn patch<K, P>(
    api: &Api<K>,
    subresource: Option<&str>,
    name: &str,
    params: &PatchParams,
    patch: &Patch<P>,
) -> Result<ObjectMeta, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug,
    P: Serialize + Debug,
{
    let requests = Requests::new(api.resource_url());
    let request = match subresource {
        None => requests.patch(name, params, patch),
        Some(subresource) => requests.patch_subresource(subresource, name, params, patch),
    };
    answered(api, request.map_err(kube::Error::BuildRequest)?).await
}

async fn answered<K>(api: &Api<K>, mut request: Request<Vec<u8>>) -> Result<ObjectMeta, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug,
{
    request.headers_mut().insert(ACCEPT, METADATA);
    let client = api.clone().into_client();
    let answer: PartialObjectMeta<K> = client.request(request).await?;
    Ok(answer.metadata)
}
