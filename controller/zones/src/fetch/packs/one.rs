//! One chosen buildpack → its files in a folder: from the registry, a git server or an archive.

use std::{fs::File, path::Path, time::Duration};

use crate::fetch::{
    FetchError,
    download::{DownloadError, Downloads},
    git::{Access, GitError},
    retry,
    volume::failed,
};
use crate::{
    archive::{Dir, Limits, extract, extract_gzip},
    console::Console,
};
use slipway_base::zone::input::{FetchInput, PackInput};
use slipway_core::domain::pack_choice::PackRef;
use slipway_remotes::{
    registry::{Registry, RegistryError},
    web::Web,
};

/// Limits of a buildpack.
const LIMITS: Limits = Limits {
    entries: 100_000,
    bytes: 1024 * 1024 * 1024,
};

/// Where buildpacks come from.
pub(super) struct Sources<'a> {
    pub(super) input: &'a FetchInput,
    pub(super) registry: &'a Registry,
    pub(super) web: &'a Web,
    pub(super) console: &'a Console,
}

impl Sources<'_> {
    /// Fetches a buildpack into a folder; `prefetched` is its file, if the registry was already asked for it. Returns
    /// its digest or commit.
    pub(super) async fn fetch(
        &self,
        pack: &PackRef,
        prefetched: Option<File>,
        into: &Path,
    ) -> Result<String, FetchError> {
        let name = pack.name();
        match pack {
            PackRef::Bundled(bundled) => self.of_stack(bundled, prefetched, into).await,
            PackRef::Git { url, reference } => {
                self.announce(&name);
                self.of_git(&name, url, reference.as_deref(), into).await
            }
            PackRef::Archive { url, gzip } => {
                self.announce(&name);
                self.of_archive(&name, url, *gzip, into).await
            }
        }
    }

    fn announce(&self, name: &str) {
        self.console.heading(&format!("Fetching buildpack {name}"));
    }

    async fn of_stack(
        &self,
        name: &str,
        prefetched: Option<File>,
        into: &Path,
    ) -> Result<String, FetchError> {
        let mut stack = self.input.stack_packs.iter();
        let pack = stack
            .find(|p| p.name == *name)
            .ok_or_else(|| cannot(name, "the Stack does not have it".to_owned(), false))?;
        let file = match prefetched {
            Some(file) => file,
            None => from_registry(self.registry, pack).await?,
        };
        unpack(name, file, true, into).await?;
        Ok(pack.artifact.digest.clone())
    }

    async fn of_git(
        &self,
        name: &str,
        url: &str,
        reference: Option<&str>,
        into: &Path,
    ) -> Result<String, FetchError> {
        let cannot = |error: GitError| cannot(name, error.to_string(), error.may_pass());
        let access = Access {
            url,
            credentials: None,
            ca_pem: self.input.ca_pem.as_deref(),
            web: self.web,
            env: &self.input.process_env,
            limits: &self.input.git,
        };
        let fetched = retry(self.console, GitError::is_transient, || {
            access.fetch_reference(reference)
        })
        .await
        .map_err(cannot)?;
        let submodules = access
            .unpack(&fetched, into.to_owned())
            .await
            .map_err(cannot)?;
        if let Some(path) = submodules.first() {
            return Err(cannot(GitError::submodule(path)));
        }
        Ok(fetched.commit)
    }

    async fn of_archive(
        &self,
        name: &str,
        url: &str,
        gzip: bool,
        into: &Path,
    ) -> Result<String, FetchError> {
        let limits = &self.input.git;
        let scheme = url.split("://").next().unwrap_or_default();
        if !limits.protocols.iter().any(|p| p == scheme) || scheme == "git" {
            let why =
                format!("{scheme} is not among the protocols that are allowed here for archives");
            return Err(cannot(name, why, false));
        }
        let downloads = Downloads {
            web: self.web,
            protocols: &limits.protocols,
            max_bytes: limits.max_bytes,
            timeout: Duration::from_secs(limits.timeout_seconds),
        };
        let transient = |error: &DownloadError| error.transient;
        let (file, digest) = retry(self.console, transient, || downloads.get(url))
            .await
            .map_err(|error| {
                cannot(
                    name,
                    format!("cannot be downloaded: {error}"),
                    error.transient,
                )
            })?;
        unpack(name, file, gzip, into).await?;
        Ok(digest)
    }
}

/// Fetches the archive of a buildpack of the Stack.
pub(super) async fn from_registry(
    registry: &Registry,
    pack: &PackInput,
) -> Result<File, FetchError> {
    let failed = |error: RegistryError| cannot(&pack.name, error.to_string(), error.may_pass());
    let manifest = registry.artifact(&pack.artifact).await.map_err(failed)?;
    let layer = manifest.layers.first().ok_or_else(|| {
        let why = "its artifact in the registry is empty";
        cannot(&pack.name, why.to_owned(), false)
    })?;
    registry
        .pull_file(&pack.artifact.repository, layer)
        .await
        .map_err(failed)
}

async fn unpack(name: &str, file: File, gzip: bool, into: &Path) -> Result<(), FetchError> {
    let path = into.to_owned();
    let unpacked = tokio::task::spawn_blocking(move || {
        let into = Dir::open(&path).map_err(failed(&path))?;
        let unpacked = if gzip {
            extract_gzip(file, &into, LIMITS)
        } else {
            extract(std::io::BufReader::new(file), &into, LIMITS)
        };
        Ok::<_, FetchError>(unpacked)
    })
    .await??;
    unpacked
        .map(drop)
        .map_err(|error| cannot(name, error.to_string(), false))
}

/// The error of a buildpack.
pub(super) fn cannot(name: &str, message: String, may_pass: bool) -> FetchError {
    FetchError::Pack {
        name: name.to_owned(),
        message,
        may_pass,
    }
}
