//! The settings file and the files that it names → [`Settings`].

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use slipway_base::zone::input::Secret;
use slipway_core::settings::{
    Account, Settings,
    file::{self, Mistake},
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
    let file =
        file::read(&text_of("--settings", path)?).map_err(|mistake| SettingsError::Wrong {
            path: path.to_owned(),
            mistake,
        })?;
    let account = file.registry.credentials.as_deref().map(account);
    let account = account.transpose()?;
    let build_ca = file.builds.ca.as_deref();
    let build_ca = build_ca.map(|own| bundle(Path::new(SYSTEM_CERTIFICATES), own));
    let build_ca = build_ca.transpose()?;
    let hash_key = file.hash_key.clone();
    let settings = Settings::new(file, namespace, account, build_ca);
    Ok(Told { settings, hash_key })
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

fn account(folder: &Path) -> Result<Account, SettingsError> {
    let part = |name| {
        text_of("registry.credentials", &folder.join(name))
            .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
    };
    Ok(Account {
        username: part("username")?,
        password: Secret(part("password")?),
    })
}

#[cfg(test)]
mod tests;
