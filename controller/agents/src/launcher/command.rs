//! What is asked for → one call of bash in the app's folder, with the profile scripts before it.

use crate::launcher::Error;
use crate::launcher::arguments::{Invocation, Process};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The shell that runs commands in images that Slipway has not built.
pub(super) const SH: &str = "/bin/sh";

pub(super) const SHELLS: [&str; 2] = ["/bin/bash", "/usr/bin/bash"];

/// Folders of programs in the images of a Stack. The launcher adds them to whatever `PATH` the App sets.
const FOLDERS: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// Bash code that sources the profile scripts and then runs the command. `$1` is the file descriptor for messages, `$2`
/// the number of scripts. The scripts follow, then `shell` or `exec`, then the command.
///
/// The command waits in an array: a script's `set -a` cannot export an array, and `set --` cannot lose it. After each
/// script `set -e`, `set -u` and `pipefail` are off again, because the next script may not work with them. If a script
/// ends the shell, the launcher reports that and goes on in a new shell, which keeps the exported variables.
const PROLOGUE: &str = r#"
_slipway_tell=$1; _slipway_count=$2; shift 2
_slipway_files=("${@:1:_slipway_count}"); shift "$_slipway_count"
_slipway_mode=$1; shift
_slipway_command=("$@"); set --
[[ $_slipway_tell != 2 ]] || exec {_slipway_tell}>&2
_slipway_ended() {
  printf 'slipway-launcher: %s ended the shell with code %s (exit, or a command that failed under set -e or set -u): what it would have done after that is left out, and the app starts all the same\n' "$_slipway_file" "$1" >&"$_slipway_tell"
  exec "$BASH" -c "$BASH_EXECUTION_STRING" slipway-launcher "$_slipway_tell" "$((${#_slipway_files[@]} - _slipway_next))" "${_slipway_files[@]:_slipway_next}" "$_slipway_mode" "${_slipway_command[@]}"
}
for _slipway_file in "${_slipway_files[@]}"; do
  ((_slipway_next += 1))
  trap '_slipway_ended "$?"' EXIT
  . "$_slipway_file"
  set +eu +o pipefail
done
trap - EXIT
exec {_slipway_tell}>&-
unset -v _slipway_file _slipway_next _slipway_tell
case $_slipway_mode in
  shell) exec "$BASH" -c "${_slipway_command[0]}" ;;
  exec) exec -- "${_slipway_command[@]}" ;;
esac
"#;

/// `PATH` with the missing [`FOLDERS`] added at its end.
pub(super) fn path(given: Option<&OsStr>) -> OsString {
    let given = given.unwrap_or_default();
    let mut path = given.to_os_string();
    for folder in FOLDERS {
        if std::env::split_paths(given).any(|has| has == Path::new(folder)) {
            continue;
        }
        if !path.is_empty() {
            path.push(":");
        }
        path.push(folder);
    }
    path
}

/// The scripts to source, in order: `.profile.d/*.sh`, sorted by the bytes of their names, then `.profile`.
pub fn profile(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let folder = dir.join(".profile.d");
    let mut scripts = Vec::new();
    match std::fs::read_dir(&folder) {
        Ok(entries) => {
            for entry in entries {
                let name = entry
                    .map_err(|source| Error::Profile {
                        path: folder.clone(),
                        source,
                    })?
                    .file_name();
                let hidden = name.as_bytes().starts_with(b".");
                if !hidden && name.as_bytes().ends_with(b".sh") && folder.join(&name).is_file() {
                    scripts.push(folder.join(name));
                }
            }
        }
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) => {}
        Err(source) => {
            return Err(Error::Profile {
                path: folder,
                source,
            });
        }
    }
    scripts.sort();
    let last = dir.join(".profile");
    if std::fs::metadata(&last).is_ok_and(|meta| meta.is_file() && meta.len() > 0) {
        scripts.push(last);
    }
    Ok(scripts)
}

/// The bash call, or the bare program, ready to be executed or spawned.
pub fn command(
    invocation: &Invocation,
    home: Option<&Path>,
    given_path: Option<&OsStr>,
) -> Result<Command, Error> {
    let Invocation { dir, process } = invocation;
    if let Process::Bare(argv) = process {
        let (program, args) = argv.split_first().ok_or(Error::Usage("nothing to run"))?;
        if program == SH && !Path::new(SH).exists() {
            return Err(Error::NoShell);
        }
        let mut command = Command::new(program);
        command.args(args);
        return Ok(command);
    }
    if !dir.is_dir() {
        return Err(Error::NoAppDir { dir: dir.clone() });
    }
    let scripts = profile(dir)?;
    let bash = SHELLS
        .iter()
        .find(|shell| Path::new(shell).exists())
        .ok_or(Error::NoBash)?;
    let mut command = Command::new(bash);
    command
        .args(["-c", PROLOGUE, "slipway-launcher"])
        .args(["2", &scripts.len().to_string()])
        .args(scripts);
    match process {
        Process::Shell(text) => command.arg("shell").arg(text),
        Process::Exec(argv) | Process::Bare(argv) => command.arg("exec").args(argv),
    };
    command.current_dir(dir).env("PATH", path(given_path));
    // In an image that does not know our user, HOME is `/`, where that user cannot write.
    if home.is_none_or(|home| home.as_os_str().is_empty() || home == Path::new("/")) {
        command.env("HOME", dir);
    }
    Ok(command)
}
