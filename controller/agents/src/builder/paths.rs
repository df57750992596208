//! Where the builder finds its files: the layout of the build zone's container, below roots that tests can move.

use std::path::{Path, PathBuf};

use slipway_base::zone::layout;

/// Roots of the build zone's container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Where the volume is mounted.
    pub volume: PathBuf,
    /// The zone's input.
    pub input: PathBuf,
    /// `ENV_DIR`.
    pub env_dir: PathBuf,
    /// `HOME` of buildpacks: the folder of the app in its image, not the folder where it is built.
    pub home: PathBuf,
    /// The builder's own program. It also starts programs of buildpacks in sessions of their own.
    pub builder: PathBuf,
}

impl Paths {
    /// The layout in a container.
    pub fn in_container(builder: PathBuf) -> Self {
        Self {
            volume: layout::BUILD_MOUNT.into(),
            input: layout::INPUT.into(),
            env_dir: layout::ENV_DIR.into(),
            home: "/app".into(),
            builder,
        }
    }

    /// The same layout below a folder.
    pub fn below(root: &Path, builder: PathBuf) -> Self {
        let below = |path: &str| root.join(path.trim_start_matches('/'));
        Self {
            volume: below(layout::BUILD_MOUNT),
            input: below(layout::INPUT),
            env_dir: below(layout::ENV_DIR),
            home: below("/app"),
            builder,
        }
    }

    /// `BUILD_DIR`.
    pub fn build_dir(&self) -> PathBuf {
        self.volume.join(layout::BUILD_DIR)
    }

    /// `CACHE_DIR`.
    pub fn cache_dir(&self) -> PathBuf {
        self.volume.join(layout::CACHE_DIR)
    }

    /// The folder that holds one folder for each buildpack.
    pub fn packs_dir(&self) -> PathBuf {
        self.volume.join(layout::PACKS_DIR)
    }

    /// The list of the buildpacks that the fetch zone brought in.
    pub fn packs_file(&self) -> PathBuf {
        self.volume.join(layout::PACKS_FILE)
    }

    /// The result that the export zone reads.
    pub fn result_file(&self) -> PathBuf {
        self.volume.join(layout::RESULT_FILE)
    }

    /// Programs that buildpacks may call.
    pub fn programs(&self) -> PathBuf {
        self.volume.join(layout::BIN_DIR)
    }
}
