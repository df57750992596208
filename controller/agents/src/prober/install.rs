//! Copies programs into a folder that the containers of a pod execute them from.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// This program, and the launcher beside it, which is PID 1 of commands in images that Slipway has not built.
const PROGRAMS: [&str; 2] = ["slipway-prober", "slipway-launcher"];

/// Copies the programs into `dir`. Each replaces an older one as a whole or not at all.
pub fn install(dir: &Path) -> io::Result<()> {
    let own = std::env::current_exe()?;
    fs::create_dir_all(dir)?;
    for program in PROGRAMS {
        let partial = dir.join(format!(".{program}.{}", std::process::id()));
        fs::copy(own.with_file_name(program), &partial)?;
        fs::set_permissions(&partial, fs::Permissions::from_mode(0o755))?;
        fs::rename(&partial, dir.join(program))?;
    }
    Ok(())
}
