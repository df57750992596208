//! The settings file and the files that it names → [`Settings`].

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use slipway_base::{
    outside::Outside,
    zone::input::{RegistryAccess, Secret},
};
use slipway_core::settings::{
    EngineSettings, RegistrySettings, Settings,
    file::{self, Engine, File, Mistake, Registry},
};

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file cannot be read.
    #[error("cannot read {}, which {field} names", path.display())]
    Read {
        /// The setting that names the file.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A setting is wrong.
    #[error("{}: {mistake}", path.display())]
    Wrong {
        /// The settings file.
        path: PathBuf,
        /// What is wrong, and where.
        mistake: Mistake,
    },
    /// The system's certificates cannot be read.
    #[error("builds.ca: cannot read {}, the certificates that it is added to", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The settings, and what only the start of the operator needs.
#[derive(Clone, Debug)]
pub struct Told {
    /// The settings.
    pub settings: Settings,
    /// Secret with the key of the hashes in names that are derived from config values; if `None`, the operator's own.
    pub hash_key: Option<String>,
}

/// CAs that the operator's image trusts.
const SYSTEM_CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Reads the settings file and the files that it names.
pub fn read(path: &Path, namespace: &str) -> Result<Told, SettingsError> {
    let File {
        image_for_nodes,
        image_for_engine,
        watch_namespaces,
        registry,
        engine,
        builds,
        apps,
        outside,
        hash_key,
    } = file::read(&text_of("--settings", path)?).map_err(|mistake| SettingsError::Wrong {
        path: path.to_owned(),
        mistake,
    })?;
    let build_ca = builds.ca.as_deref();
    let build_ca = build_ca.map(|own| bundle(Path::new(SYSTEM_CERTIFICATES), own));
    Ok(Told {
        settings: Settings {
            namespace: namespace.to_owned(),
            watch_namespaces,
            image_for_nodes,
            image_for_engine,
            registry: with_account(registry)?,
            engine: engine_settings(engine),
            build_ca: build_ca.transpose()?,
            builds,
            apps,
            outside: Outside::new(outside.policy()),
        },
        hash_key,
    })
}

fn text_of(field: &'static str, path: &Path) -> Result<String, SettingsError> {
    fs::read_to_string(path).map_err(|source| SettingsError::Read {
        field,
        path: path.to_owned(),
        source,
    })
}

/// The system's certificates, then `own`; only `own` if the system has none.
fn bundle(system: &Path, own: &str) -> Result<String, SettingsError> {
    match fs::read_to_string(system) {
        Ok(system) => Ok(format!("{}\n{own}", system.trim_end())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(own.to_owned()),
        Err(source) => Err(SettingsError::Certificates {
            path: system.to_owned(),
            source,
        }),
    }
}

fn with_account(registry: Registry) -> Result<RegistrySettings, SettingsError> {
    let Registry {
        address,
        engine_address,
        pull_address,
        prefix,
        insecure,
        credentials,
        ca,
        pull_secret,
    } = registry;
    let (username, password) = match credentials {
        None => (None, None),
        Some(folder) => {
            let part = |name| {
                text_of("registry.credentials", &folder.join(name))
                    .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
            };
            (Some(part("username")?), Some(Secret(part("password")?)))
        }
    };
    Ok(RegistrySettings {
        engine_address: engine_address.unwrap_or_else(|| address.clone()),
        pull_address: pull_address.unwrap_or_else(|| address.clone()),
        push: RegistryAccess {
            address,
            username,
            password,
            ca_pem: ca,
            insecure,
        },
        prefix,
        pull_secret,
    })
}

fn engine_settings(engine: Engine) -> EngineSettings {
    let is_remote = engine.is_remote();
    EngineSettings {
        address: engine.address,
        certificates: engine.certificates.filter(|_| is_remote),
    }
}

#[cfg(test)]
mod tests;
