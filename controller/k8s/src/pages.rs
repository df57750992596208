//! A collection of objects → each object, one after another. Of most kinds, anybody may have made any number of objects
//! with our labels, and each may have more than a megabyte. So each reader holds only one page, of a few megabytes, in
//! memory.

use std::{fmt, marker::PhantomData};

use http_body_util::BodyExt as _;
use kube::{
    Api, Resource,
    api::ListParams,
    client::Body,
    core::{ListMeta, Request, Status},
};
use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeOwned, DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
    },
};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Most objects of a page.
const PAGE: u32 = 100;
/// Most bytes of a page, if more than one object is on it.
const BYTES: usize = 2 * 1024 * 1024;
/// Most answers that the whole process reads at once, if each may have megabytes.
const AT_ONCE: usize = 4;

static READERS: Semaphore = Semaphore::const_new(AT_ONCE);

/// The turn to read an answer that may have megabytes. Hold it until the answer is dropped, and do not wait for another
/// turn meanwhile.
pub async fn turn() -> Option<SemaphorePermit<'static>> {
    // Never closed.
    READERS.acquire().await.ok()
}

/// Hands each object to `keep`, one after another.
pub async fn each<K: Resource + Clone + DeserializeOwned>(
    api: &Api<K>,
    params: ListParams,
    keep: impl FnMut(K) + Send,
) -> Result<(), kube::Error> {
    read_all(api, params, keep).await.map(|_| ())
}

/// Like [`each`], with objects read as `T`. Returns the version of the collection, from which a watch can start.
pub(super) async fn read_all<K: Resource + Clone, T: DeserializeOwned>(
    api: &Api<K>,
    params: ListParams,
    mut keep: impl FnMut(T) + Send,
) -> Result<String, kube::Error> {
    let mut params = params.limit(PAGE);
    loop {
        let _turn = turn().await;
        let Some(page) = page(api, &params).await? else {
            params.limit = Some(shorter(&params));
            continue;
        };
        let list = read(&page, &mut keep).map_err(kube::Error::SerdeError)?;
        match list.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(list.resource_version.unwrap_or_default()),
        }
    }
}

fn shorter(params: &ListParams) -> u32 {
    (params.limit.unwrap_or(PAGE) / 2).max(1)
}

/// The text of a page; `None` if it has more than [`BYTES`].
async fn page<K: Resource + Clone>(
    api: &Api<K>,
    params: &ListParams,
) -> Result<Option<Vec<u8>>, kube::Error> {
    let requests = Request::new(api.resource_url());
    let request = if K::metadata_api() {
        requests.list_metadata(params)
    } else {
        requests.list(params)
    };
    let request = request.map_err(kube::Error::BuildRequest)?;
    let response = api
        .clone()
        .into_client()
        .send(request.map(Body::from))
        .await?;
    let code = response.status();
    let (mut body, mut page) = (response.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        if page.len() + data.len() > BYTES && params.limit != Some(1) {
            return Ok(None);
        }
        page.extend_from_slice(&data);
    }
    if code.is_success() {
        return Ok(Some(page));
    }
    let status = serde_json::from_slice(&page).unwrap_or_else(|_| {
        let said = String::from_utf8_lossy(&page);
        Status::failure(said.trim(), "Failed to parse error data").with_code(code.as_u16())
    });
    Err(kube::Error::Api(status.boxed()))
}

/// Hands the objects of a page to `keep`, each as soon as it is read. Returns where the next page begins, and the
/// collection's version.
fn read<K: DeserializeOwned>(
    page: &[u8],
    keep: &mut impl FnMut(K),
) -> Result<ListMeta, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_slice(page);
    let list = List {
        keep,
        kind: PhantomData,
    };
    list.deserialize(&mut json)
}

/// Reads a list.
struct List<'a, K, F> {
    keep: &'a mut F,
    kind: PhantomData<K>,
}

struct Items<'a, K, F>(List<'a, K, F>);

impl<'de, K: Deserialize<'de>, F: FnMut(K)> DeserializeSeed<'de> for List<'_, K, F> {
    type Value = ListMeta;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, K: Deserialize<'de>, F: FnMut(K)> Visitor<'de> for List<'_, K, F> {
    type Value = ListMeta;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut meta, mut has_items) = (ListMeta::default(), false);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "items" => {
                    has_items = true;
                    map.next_value_seed(Items(List {
                        keep: &mut *self.keep,
                        kind: PhantomData,
                    }))?;
                }
                "metadata" => meta = map.next_value()?,
                _ => {
                    let IgnoredAny = map.next_value()?;
                }
            }
        }
        if has_items {
            Ok(meta)
        } else {
            Err(A::Error::missing_field("items"))
        }
    }
}

impl<'de, K: Deserialize<'de>, F: FnMut(K)> DeserializeSeed<'de> for Items<'_, K, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        // An empty list may be null.
        deserializer.deserialize_any(self)
    }
}

impl<'de, K: Deserialize<'de>, F: FnMut(K)> Visitor<'de> for Items<'_, K, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("objects")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Self(List { keep, .. }) = self;
        while let Some(item) = items.next_element()? {
            keep(item);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{each, page};
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::{Api, ResourceExt as _, api::ListParams};
    use serde_json::json;
    use slipway_support::fake_api::Fake;

    #[tokio::test]
    async fn big_objects_are_read_a_few_at_a_time_and_small_ones_many() {
        let fake = Fake::default();
        let mut names = Vec::new();
        for number in 0..40 {
            let name = format!("c-{number:03}");
            let big = match number {
                39 => 2_500_000,
                n if n % 10 == 7 => 1_200_000,
                _ => 10,
            };
            let path = format!("/api/v1/namespaces/n/configmaps/{name}");
            fake.put(
                &path,
                json!({"metadata": {"name": name}, "data": {"x": "x".repeat(big)}}),
            );
            names.push(name);
        }
        let api: Api<ConfigMap> = Api::namespaced(fake.client(), "n");
        let mut found = Vec::new();
        each(&api, ListParams::default(), |map: ConfigMap| {
            found.push(map.name_any());
        })
        .await
        .unwrap();
        assert_eq!(found, names);

        let of = |limit| ListParams::default().limit(limit);
        assert!(page(&api, &of(20)).await.unwrap().is_none());
        assert!(page(&api, &of(17)).await.unwrap().is_some());
        let one = of(1).continue_token("39");
        assert!(page(&api, &one).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn what_the_api_server_refuses_is_told() {
        let fake = Fake::default();
        fake.cut();
        let api: Api<ConfigMap> = Api::namespaced(fake.client(), "n");
        let kept = |_: ConfigMap| {};
        let error = each(&api, ListParams::default(), kept).await.unwrap_err();
        assert!(
            matches!(&error, kube::Error::Api(status) if status.code == 502),
            "{error}"
        );
    }
}
