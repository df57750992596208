//! An image's config file → the parts of it that the operator uses.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, de::IgnoredAny};

use crate::registry::manifest::{Platform, each::each};

/// The parts of an image's config that the operator uses. The rest is skipped and takes no memory, however long it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunConfig {
    /// `User`.
    pub user: String,
    /// TCP ports of `ExposedPorts`, at most [`PORTS`].
    #[serde(rename = "ExposedPorts", deserialize_with = "tcp_ports")]
    pub ports: BTreeSet<u16>,
    /// `PORT` of `Env`.
    #[serde(rename = "Env", deserialize_with = "port_in")]
    pub port: Option<u16>,
    /// Whether there is an `Entrypoint`.
    #[serde(deserialize_with = "is_there")]
    pub entrypoint: bool,
}

/// Most exposed ports that are kept.
pub const PORTS: usize = 16;

/// The parts of an image's config file that are read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(in crate::registry) struct ConfigFile {
    pub(in crate::registry) os: String,
    pub(in crate::registry) architecture: String,
    #[serde(deserialize_with = "or_default")]
    pub(in crate::registry) config: RunConfig,
}

impl ConfigFile {
    /// The image's platform, if its config names one.
    pub(in crate::registry) fn platform(&self) -> Option<Platform> {
        (!self.os.is_empty() && !self.architecture.is_empty()).then(|| Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
        })
    }
}

/// A Docker Engine writes `null` for empty values.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// The TCP ports among the names in an object: `8080/tcp` and `8080`.
fn tcp_ports<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<u16>, D::Error> {
    let mut ports = BTreeSet::new();
    let add = |name: String| {
        let (number, protocol) = name.split_once('/').unwrap_or((&name, "tcp"));
        if let Some(port) = port(number).filter(|_| protocol == "tcp") {
            ports.insert(port);
        }
        if ports.len() > PORTS {
            ports.pop_last();
        }
    };
    deserializer.deserialize_any(each(add))?;
    Ok(ports)
}

/// The last `PORT=` is used, as in a container.
fn port_in<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    let mut found = None;
    let look = |variable: String| {
        if let Some(number) = variable.strip_prefix("PORT=") {
            found = port(number);
        }
    };
    deserializer.deserialize_any(each(look))?;
    Ok(found)
}

fn port(number: &str) -> Option<u16> {
    number.parse().ok().filter(|port| *port > 0)
}

fn is_there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let mut any = false;
    deserializer.deserialize_any(each(|_: IgnoredAny| any = true))?;
    Ok(any)
}
