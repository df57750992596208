//! Puts the running program into a folder, for the containers that will execute it from there.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub const PROGRAM: &str = "slipway-prober";

/// Copies this program to `dir/slipway-prober`, whole or not at all; an older one is replaced.
pub fn install(dir: &Path) -> io::Result<PathBuf> {
    let target = dir.join(PROGRAM);
    let partial = dir.join(format!(".{PROGRAM}.{}", std::process::id()));
    fs::create_dir_all(dir)?;
    fs::copy(std::env::current_exe()?, &partial)?;
    fs::set_permissions(&partial, fs::Permissions::from_mode(0o755))?;
    fs::rename(&partial, &target)?;
    Ok(target)
}
