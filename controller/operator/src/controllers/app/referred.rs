//! What an App's spec refers to → the values that it uses, and no others. Reads only.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fmt::Debug,
};

use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{ConfigMap, Secret},
};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use crate::controllers::{
    app::read::{ReadError, reading},
    caches::Caches,
};
use slipway_core::domain::{
    app::ValidApp,
    env::TOTAL_MAX,
    references::{self, Kind, Part},
};
use slipway_k8s::{classify::found, pages};

/// Most bytes that are kept of everything that an App refers to, with overhead.
const MOST: usize = 4 * TOTAL_MAX;
/// Approximate overhead of a key and its value.
const EACH: usize = 64;
/// Most keys that are listed when a key is missing.
const TOLD: usize = 12;

/// Content of a Secret or ConfigMap, as far as the App uses it.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Data {
    values: BTreeMap<String, Vec<u8>>,
    keys: Vec<String>,
    /// Its version: changes with its content.
    pub version: String,
}

impl Data {
    /// Keys and values that the App uses.
    pub(super) const fn values(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.values
    }

    /// Names of some of the existing keys.
    pub(super) fn keys(&self) -> &[String] {
        &self.keys
    }

    /// Keeps only what is `wanted`.
    pub(super) fn new(
        mut values: BTreeMap<String, Vec<u8>>,
        version: String,
        wanted: impl Fn(&str) -> bool,
    ) -> Self {
        let keys = values.keys().take(TOLD).cloned().collect();
        values.retain(|key, _| wanted(key));
        Self {
            values,
            keys,
            version,
        }
    }

    fn size(&self) -> usize {
        let sizes = self.values.iter().map(|(k, v)| k.len() + v.len() + EACH);
        sizes.sum()
    }
}

impl Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

/// What an App's references lead to; missing objects are not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Referred {
    /// By name.
    pub secrets: BTreeMap<String, Data>,
    /// By name.
    pub config_maps: BTreeMap<String, Data>,
    /// The Secret or ConfigMap that exceeded the limit: nothing of it or of those after it is kept.
    pub too_much: Option<String>,
}

/// Which keys of an object the App uses.
#[derive(Default)]
pub(super) struct Keys<'a> {
    all: bool,
    named: BTreeSet<&'a str>,
}

impl<'a> Keys<'a> {
    /// Exactly these keys.
    pub(super) fn of(keys: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            all: false,
            named: keys.into_iter().collect(),
        }
    }

    fn is_empty(&self) -> bool {
        !self.all && self.named.is_empty()
    }

    fn has(&self, key: &str) -> bool {
        self.all || self.named.contains(key)
    }
}

/// By name of the object.
type Names<'a> = BTreeMap<&'a str, Keys<'a>>;

/// What an App uses of the objects of one kind.
fn wanted(app: &ValidApp, kind: Kind) -> Names<'_> {
    let mut names = Names::new();
    let of_app = references::of_app(app).into_iter();
    for reference in of_app.filter(|reference| reference.kind == kind) {
        let keys = names.entry(reference.name).or_default();
        match reference.part {
            Part::Version => {}
            Part::Key(key) => {
                keys.named.insert(key);
            }
            Part::Whole => keys.all = true,
        }
    }
    names
}

/// Reads what an App refers to, one object after another: each may have a megabyte, and an App may name hundreds. If
/// only the version of a Secret is needed, it comes from the cache.
pub(super) async fn read(
    client: &Client,
    caches: &Caches,
    namespace: &str,
    app: Option<&ValidApp>,
) -> Result<Referred, ReadError> {
    let mut referred = Referred::default();
    let Some(app) = app else {
        return Ok(referred);
    };
    let mut room = Room {
        left: MOST,
        too_much: None,
    };
    let api = Api::namespaced(client.clone(), namespace);
    let (secrets, config_maps) = (wanted(app, Kind::Secret), wanted(app, Kind::ConfigMap));
    let version = |name: &str| {
        let kept = caches.others.get(namespace, name)?;
        kept.object.resource_version()
    };
    let secrets = room.read(&api, &secrets, "Secrets", of_secret, version);
    referred.secrets = secrets.await?;
    let api = Api::namespaced(client.clone(), namespace);
    referred.config_maps = room
        .read(&api, &config_maps, "ConfigMaps", of_config_map, |_| None)
        .await?;
    referred.too_much = room.too_much;
    Ok(referred)
}

/// How much room is left.
struct Room {
    left: usize,
    too_much: Option<String>,
}

impl Room {
    async fn read<K>(
        &mut self,
        api: &Api<K>,
        names: &Names<'_>,
        what: &'static str,
        data: fn(K, &Keys<'_>) -> Data,
        version: impl Fn(&str) -> Option<String>,
    ) -> Result<BTreeMap<String, Data>, ReadError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + DeserializeOwned
            + Clone
            + Debug,
    {
        let mut read = BTreeMap::new();
        for (name, wanted) in names {
            if wanted.is_empty()
                && let Some(version) = version(name)
            {
                let data = Data::new(BTreeMap::new(), version, |_| false);
                read.insert((*name).to_owned(), data);
                continue;
            }
            let _turn = pages::turn().await;
            let Some(object) = found(api.get(name).await).map_err(reading(what))? else {
                continue;
            };
            let mut data = data(object, wanted);
            match self.left.checked_sub(data.size()) {
                Some(left) if self.too_much.is_none() => self.left = left,
                _ if data.values.is_empty() => {}
                _ => {
                    data.values = BTreeMap::new();
                    self.too_much
                        .get_or_insert_with(|| format!("{} {name}", K::kind(&())));
                }
            }
            read.insert((*name).to_owned(), data);
        }
        Ok(read)
    }
}

/// Keeps what is `wanted` of a Secret.
pub(super) fn of_secret(secret: Secret, wanted: &Keys<'_>) -> Data {
    let version = secret.resource_version().unwrap_or_default();
    let data = secret.data.unwrap_or_default();
    let values = data.into_iter().map(|(key, value)| (key, value.0));
    Data::new(values.collect(), version, |key| wanted.has(key))
}

fn of_config_map(map: ConfigMap, wanted: &Keys<'_>) -> Data {
    let version = map.resource_version().unwrap_or_default();
    let text = map.data.unwrap_or_default().into_iter();
    let binary = map.binary_data.unwrap_or_default().into_iter();
    let values = text
        .map(|(key, value)| (key, value.into_bytes()))
        .chain(binary.map(|(key, value)| (key, value.0)));
    Data::new(values.collect(), version, |key| wanted.has(key))
}
