//! The buildpacks on the volume: lists them, asks which accept the source, and runs their programs.

mod detect;
mod run;

use std::{ffi::OsString, fs, io, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use crate::builder::{Paths, read_bounded, stop::Stop};
use slipway_base::zone::report::{self, Packs, exit};

/// Longest time for one `bin/detect`, and for reading one `export`.
const DETECT: Duration = Duration::from_mins(1);

/// A buildpack that can be run.
pub(super) struct Ready {
    pub(super) name: String,
    pub(super) digest: String,
    dir: PathBuf,
}

impl Ready {
    fn program(&self, name: &str) -> PathBuf {
        self.dir.join("bin").join(name)
    }

    /// Whether the buildpack has `bin/<name>`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.program(name).is_file()
    }
}

/// One of a buildpack's programs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Detect,
    Compile,
    Release,
    Report,
}

impl Step {
    fn program(self) -> &'static str {
        match self {
            Self::Detect => "detect",
            Self::Compile => "compile",
            Self::Release => "release",
            Self::Report => "report",
        }
    }

    fn args(self, paths: &Paths) -> Vec<OsString> {
        let build = paths.build_dir().into_os_string();
        match self {
            Self::Detect | Self::Release => vec![build],
            Self::Compile | Self::Report => vec![
                build,
                paths.cache_dir().into_os_string(),
                paths.env_dir.clone().into_os_string(),
            ],
        }
    }
}

/// Reads the list that the fetch zone wrote, and makes the buildpacks' programs executable: archives and checkouts can
/// lose that mode.
pub(super) fn read(paths: &Paths) -> Result<(bool, Vec<Ready>), Stop> {
    let failed = |error: &dyn std::fmt::Display| {
        Stop::internal("detect", "read which buildpacks were fetched", error)
    };
    let bytes = read_bounded(&paths.packs_file(), report::MAX_BYTES as u64)
        .map_err(|error| failed(&error))?
        .ok_or_else(|| failed(&"there is no such file"))?;
    let packs: Packs = serde_json::from_slice(&bytes).map_err(|error| failed(&error))?;
    fs::create_dir_all(paths.cache_dir())
        .map_err(|error| Stop::internal("detect", "make the cache's folder", &error))?;
    let mut ready = vec![];
    for pack in packs.packs {
        let dir = paths.packs_dir().join(&pack.folder);
        let pack = Ready {
            name: pack.name,
            digest: pack.digest,
            dir,
        };
        make_executable(&pack).map_err(|error| {
            Stop::new(
                exit::DETECT,
                "detect",
                format!(
                    "{} is no buildpack: its folder bin cannot be read: {error}",
                    pack.name
                ),
            )
            .of_pack(&pack.name, None)
        })?;
        for name in ["detect", "compile"] {
            if !pack.has(name) {
                let message = format!("{} is no buildpack: it has no bin/{name}", pack.name);
                return Err(Stop::new(exit::DETECT, "detect", message).of_pack(&pack.name, None));
            }
        }
        ready.push(pack);
    }
    Ok((packs.explicit, ready))
}

fn make_executable(pack: &Ready) -> io::Result<()> {
    for entry in fs::read_dir(pack.dir.join("bin"))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}
