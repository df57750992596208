//! References of an App and what they lead to → its config snapshot. Pure.

use slipway_crds::v1alpha1::{BuildEnvVar, EnvValueFrom, EnvVar};

use crate::controllers::app::referred::Referred;
use slipway_base::text::redact;
use slipway_core::{
    decide::chain::named,
    domain::{
        app::ValidApp,
        env::{Config, Entry, EnvError, HashKey, Origin, TOTAL_MAX, is_name},
    },
};

/// A snapshot, and what the App's author should know about it.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// Names and values.
    pub config: Config,
    /// What is left out.
    pub notes: Vec<String>,
}

/// Why there is no snapshot.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ConfigError {
    /// Something that is referred to is not there.
    #[error("{0}")]
    Missing(String),
    /// The App refers to more than its config has room for.
    #[error(
        "what spec.env, spec.envFrom and spec.build.env refer to is too much, as of {0}: a config has room for {TOTAL_MAX} bytes; name the keys that are needed in place of all of an object's, and keep what is big in a volume"
    )]
    TooMuch(String),
    /// A value that no variable can hold.
    #[error(transparent)]
    Env(#[from] EnvError),
}

/// The config of an App as it is now.
pub(super) fn snapshot(app: &ValidApp, referred: &Referred) -> Result<Snapshot, ConfigError> {
    if let Some(object) = &referred.too_much {
        return Err(ConfigError::TooMuch(object.clone()));
    }
    let mut missing = Vec::new();
    let mut notes = Vec::new();
    let mut entries = from_all(app, referred, &mut missing, &mut notes);
    for variable in &app.env {
        match entry(variable, referred) {
            Ok(entry) => entries.push(entry),
            Err(what) => missing.push(what),
        }
    }
    if !missing.is_empty() {
        missing.dedup();
        return Err(ConfigError::Missing(missing.join("; ")));
    }
    let config = Config::merge(entries)?;
    if config.values().contains_key("PORT") {
        notes.push("the variable PORT has no effect: set spec.port".to_owned());
    }
    if config
        .values()
        .get("PATH")
        .is_some_and(|path| !has_programs(path))
    {
        notes.push(PATH_REPLACED.to_owned());
    }
    let short: Vec<&str> = config
        .values()
        .iter()
        .filter(|(name, value)| !config.open().contains(*name) && redact::is_short(value))
        .map(|(name, _)| name.as_str())
        .collect();
    if !short.is_empty() {
        notes.push(redact::of_short(
            "what the App is quoted with",
            &named(short),
        ));
    }
    Ok(Snapshot { config, notes })
}

/// Nothing restores the image's PATH once a variable replaces it; `$PATH` in the value does not, because no shell reads
/// it.
const PATH_REPLACED: &str = "the variable PATH takes the place of the image's own, and neither /usr/bin nor /bin is in it: programs such as sh will not be found; name the image's folders too, as in /app/bin:/usr/local/bin:/usr/bin:/bin";

/// Whether the folders of a PATH contain a shell.
fn has_programs(path: &str) -> bool {
    path.split(':')
        .any(|folder| matches!(folder.trim_end_matches('/'), "/bin" | "/usr/bin"))
}

/// A hash of all variables that a build of the App would get now, wherever they are set.
pub(super) fn build_env(app: &ValidApp, referred: &Referred, key: &HashKey) -> String {
    let mut variables: Vec<&BuildEnvVar> = app.build.env.iter().collect();
    variables.sort_by(|a, b| a.name.cmp(&b.name));
    let mut parts: Vec<Vec<u8>> = vec![app.uid.clone().into_bytes()];
    for variable in variables {
        let value = match (&variable.value, &variable.value_from) {
            // A reference that leads nowhere keeps the Build from starting.
            (_, Some(from)) => value_of(&variable.name, from, referred)
                .map_or_else(String::into_bytes, |(value, _)| value),
            (value, None) => value.clone().unwrap_or_default().into_bytes(),
        };
        parts.extend([variable.name.clone().into_bytes(), value]);
    }
    key.digest(parts.iter().map(Vec::as_slice))
}

fn from_all(
    app: &ValidApp,
    referred: &Referred,
    missing: &mut Vec<String>,
    notes: &mut Vec<String>,
) -> Vec<Entry> {
    let mut entries = Vec::new();
    for from in &app.env_from {
        let (kind, name, data) = match (&from.secret_ref, &from.config_map_ref) {
            (Some(secret), _) => ("Secret", &secret.name, referred.secrets.get(&secret.name)),
            (None, Some(map)) => ("ConfigMap", &map.name, referred.config_maps.get(&map.name)),
            (None, None) => continue,
        };
        let Some(data) = data else {
            missing.push(format!(
                "{kind} {name}, which spec.envFrom names, does not exist: create it, or take the entry away"
            ));
            continue;
        };
        for (key, value) in data.values() {
            let variable = format!("{}{key}", from.prefix.as_deref().unwrap_or_default());
            if !is_name(&variable) {
                notes.push(format!(
                    "key {key} of {kind} {name} is left out: {variable} is no name of a variable"
                ));
                continue;
            }
            let (name, key) = (name.clone(), key.clone());
            let origin = if kind == "Secret" {
                Origin::Secret { name, key }
            } else {
                Origin::ConfigMap { name, key }
            };
            entries.push(Entry {
                name: variable,
                value: value.clone(),
                origin,
            });
        }
    }
    entries
}

fn entry(variable: &EnvVar, referred: &Referred) -> Result<Entry, String> {
    let (value, origin) = match (&variable.value, &variable.value_from) {
        (_, Some(from)) => value_of(&variable.name, from, referred)?,
        (value, None) => (
            value.clone().unwrap_or_default().into_bytes(),
            Origin::Literal,
        ),
    };
    Ok(Entry {
        name: variable.name.clone(),
        value,
        origin,
    })
}

fn value_of(
    variable: &str,
    from: &EnvValueFrom,
    referred: &Referred,
) -> Result<(Vec<u8>, Origin), String> {
    let (kind, reference, data) = match (&from.secret_key_ref, &from.config_map_key_ref) {
        (Some(key), _) => ("Secret", key, referred.secrets.get(&key.name)),
        (None, Some(key)) => ("ConfigMap", key, referred.config_maps.get(&key.name)),
        (None, None) => return Err(format!("variable {variable} has no value")),
    };
    let (name, key) = (reference.name.clone(), reference.key.clone());
    let Some(data) = data else {
        return Err(format!(
            "{kind} {name}, which variable {variable} reads, does not exist: create it with the key {key}"
        ));
    };
    let Some(value) = data.values().get(&key) else {
        let there = data.keys();
        return Err(format!(
            "{kind} {name} has no key {key}, which variable {variable} reads; it has {}",
            if there.is_empty() {
                "none".to_owned()
            } else {
                there.join(", ")
            }
        ));
    };
    let origin = if kind == "Secret" {
        Origin::Secret { name, key }
    } else {
        Origin::ConfigMap { name, key }
    };
    Ok((value.clone(), origin))
}
