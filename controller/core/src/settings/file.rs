//! The text of the settings file → [`File`]. Each mistake is reported with its field.
//!
//! Secrets are in files of their own, which the settings name: the settings file itself is in a ConfigMap.

use std::{fmt, path::PathBuf, str::FromStr};

use schemars::{
    Schema, SchemaGenerator, generate::SchemaSettings, json_schema, transform::RecursiveTransform,
};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_yaml::Value;
use slipway_crds::v1alpha1::Quantity;

use crate::settings::{AppSettings, BuildSettings, OutsideSettings};

/// The chart's values. The sections that the settings file has in common with them get their defaults from here, so
/// that no default is written a second time.
const VALUES: &str = include_str!("../../../../charts/slipway/values.yaml");

/// The sections that the settings file has in common with the chart's values.
const SECTIONS: [&str; 3] = ["builds", "outside", "apps"];

/// The settings file.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct File {
    /// The operator's own image as the nodes pull it.
    pub image_for_nodes: String,
    /// The operator's own image as the engine pulls it.
    pub image_for_engine: String,
    /// Namespaces whose Apps the operator manages; if empty, all.
    #[serde(default)]
    pub watch_namespaces: Vec<String>,
    /// The registry.
    pub registry: Registry,
    /// The Docker Engine.
    pub engine: Engine,
    /// Builds.
    pub builds: BuildSettings,
    /// Running Apps.
    pub apps: AppSettings,
    /// Where the operator may connect on behalf of tenants.
    pub outside: OutsideSettings,
    /// Secret with the key of the hashes in names that are derived from config values; if none, the operator's own.
    pub hash_key: Option<String>,
}

/// The section `registry`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Registry {
    /// `host:port` as the operator reaches it.
    pub address: String,
    /// `host:port` as the engine reaches it; if none, `address`.
    pub engine_address: Option<String>,
    /// `host:port` as the nodes pull from it; if none, `address`.
    pub pull_address: Option<String>,
    /// First part of the name of every repository.
    #[serde(default = "prefix")]
    pub prefix: String,
    /// Whether to speak plain HTTP.
    #[serde(default)]
    pub insecure: bool,
    /// Folder with the files `username` and `password`.
    pub credentials: Option<PathBuf>,
    /// PEM certificates to trust besides the system's.
    pub ca: Option<String>,
    /// Name of the Secret in each App's namespace with which nodes pull.
    pub pull_secret: Option<String>,
}

/// The section `engine`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Engine {
    /// `tcp://host:port` or `unix:///path`.
    pub address: String,
    /// Folder with `ca.pem`, `cert.pem` and `key.pem`, for `tcp://`.
    pub certificates: Option<PathBuf>,
}

/// A setting that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Mistake {
    /// Which setting.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Mistake {
    pub(super) fn of(field: &str, problem: impl Into<String>) -> Self {
        Self {
            field: field.to_owned(),
            problem: problem.into(),
        }
    }
}

/// Reads the text of the settings file.
pub fn read(text: &str) -> Result<File, Mistake> {
    let mut whole = defaults()?;
    lay_over(&mut whole, value("the settings file", text)?);
    let file: File = serde_path_to_error::deserialize(whole).map_err(|error| {
        let field = error.path().to_string();
        Mistake::of(&field, error.into_inner().to_string())
    })?;
    file.registry.check()?;
    file.engine.check()?;
    file.builds.check()?;
    file.apps.check()?;
    Ok(file)
}

/// The sections of the chart's values that the settings file has in common with them.
fn defaults() -> Result<Value, Mistake> {
    let values = value("the chart's values", VALUES)?;
    let sections = SECTIONS.map(|name| (Value::from(name), values.get(name).cloned()));
    let sections = sections.into_iter();
    Ok(Value::Mapping(
        sections
            .map(|(name, section)| (name, section.unwrap_or_default()))
            .collect(),
    ))
}

fn value(of: &str, text: &str) -> Result<Value, Mistake> {
    serde_yaml::from_str(text).map_err(|error| Mistake::of(of, error.to_string()))
}

/// Replaces in `below` what `above` sets; a null sets nothing.
fn lay_over(below: &mut Value, above: Value) {
    match (below, above) {
        (_, Value::Null) => {}
        (Value::Mapping(below), Value::Mapping(above)) => {
            for (key, above) in above {
                lay_over(below.entry(key).or_insert(Value::Null), above);
            }
        }
        (below, above) => *below = above,
    }
}

impl Registry {
    fn check(&self) -> Result<(), Mistake> {
        for (field, address) in [
            ("registry.address", Some(&self.address)),
            ("registry.engineAddress", self.engine_address.as_ref()),
            ("registry.pullAddress", self.pull_address.as_ref()),
        ] {
            if address.is_some_and(|address| address.is_empty() || address.contains('/')) {
                let problem = "not host:port (without https:// and without a path)";
                return Err(Mistake::of(field, problem));
            }
        }
        let prefix = &self.prefix;
        if prefix.is_empty() || prefix.starts_with('/') || prefix.ends_with('/') {
            let problem = "not the first part of a repository's name, such as slipway";
            return Err(Mistake::of("registry.prefix", problem));
        }
        Ok(())
    }
}

impl Engine {
    /// Whether the engine is on another machine.
    pub fn is_remote(&self) -> bool {
        self.address.starts_with("tcp://")
    }

    fn check(&self) -> Result<(), Mistake> {
        if !self.is_remote() && !self.address.starts_with("unix:///") {
            let problem = "not tcp://host:port or unix:///path";
            return Err(Mistake::of("engine.address", problem));
        }
        if self.is_remote() && self.certificates.is_none() {
            let problem = "an engine behind tcp:// needs client certificates: name the folder with ca.pem, cert.pem and key.pem";
            return Err(Mistake::of("engine.certificates", problem));
        }
        Ok(())
    }
}

fn prefix() -> String {
    "slipway".to_owned()
}

/// A text; an empty one counts as `None`.
pub(super) fn filled<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    Ok(text.filter(|text| !text.is_empty()))
}

/// `2`, `"2"` or `500m`; an empty text counts as `None`.
pub(super) fn quantity<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Quantity>, D::Error> {
    let text = match Value::deserialize(from)? {
        Value::Null => return Ok(None),
        Value::Number(number) => number.to_string(),
        Value::String(text) if text.is_empty() => return Ok(None),
        Value::String(text) => text,
        _ => return Err(D::Error::custom("not a quantity such as 500m, 2 or 512Mi")),
    };
    let quantity = Quantity(text);
    if quantity.nanos().is_some_and(|nanos| nanos > 0) {
        return Ok(Some(quantity));
    }
    let text = quantity.0;
    Err(D::Error::custom(format!(
        "{text:?} is not a quantity such as 500m, 2 or 512Mi"
    )))
}

pub(super) fn quantity_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": ["string", "number"]})
}

/// A list of texts, each of which is parsed as a `T`.
pub(super) fn parsed<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: fmt::Display>,
{
    let texts = Vec::<String>::deserialize(from)?;
    texts
        .iter()
        .map(|text| text.parse().map_err(D::Error::custom))
        .collect()
}

/// By name, the JSON schemas (draft 7) of the sections that the settings file has in common with the chart's values.
pub fn schema() -> [(&'static str, Schema); 3] {
    fn of<T: schemars::JsonSchema>() -> Schema {
        let settings = SchemaSettings::draft07().with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        });
        // Values that the chart did not have when it was installed get their defaults from the operator.
        let settings = settings.with_transform(RecursiveTransform(|schema: &mut Schema| {
            for keyword in ["required", "title", "format", "default"] {
                schema.remove(keyword);
            }
        }));
        settings.into_generator().into_root_schema_for::<T>()
    }
    let [builds, outside, apps] = SECTIONS;
    [
        (builds, of::<BuildSettings>()),
        (outside, of::<OutsideSettings>()),
        (apps, of::<AppSettings>()),
    ]
}
