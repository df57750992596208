//! Puts the programs that a pod may need into a folder, for the containers that will execute them from there.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// This program, and the one that lies beside it: PID 1 of commands in images that are not of a built app.
const PROGRAMS: [&str; 2] = ["slipway-prober", "slipway-launcher"];

/// Copies the programs into `dir`, each whole or not at all; older ones are replaced.
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
