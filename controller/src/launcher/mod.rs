//! Turns `slipway-launcher` arguments into one bash invocation: enter the app's folder, source its
//! profile scripts, become the process. What runs is decided here; [`reaper`] runs it as PID 1.
//!
//! Nothing here resolves names, starts threads or reads the app's own files beyond their names.

pub mod reaper;

use std::ffi::OsString;
use std::iter::Peekable;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where an app lives in its image.
pub const APP_DIR: &str = "/app";

/// Exit code when the process cannot be started at all, as shells use it.
pub const CANNOT_START: u8 = 127;

pub const USAGE: &str = "\
usage: slipway-launcher [--dir DIR] [--] COMMAND
       slipway-launcher [--dir DIR] --exec PROGRAM [ARGUMENT]...
       slipway-launcher --reap PROGRAM [ARGUMENT]...

Sources DIR/.profile.d/*.sh and DIR/.profile (DIR is /app) and runs COMMAND as bash -c does,
or PROGRAM with its arguments as they stand; with --reap PROGRAM alone, in any image. As PID 1 it reaps, passes signals on, and exits as the process did.";

/// What runs the commands of images that are not ours.
const SH: &str = "/bin/sh";

const SHELLS: [&str; 2] = ["/bin/bash", "/usr/bin/bash"];

/// `$1` is the number of profile scripts, then come the scripts, then `shell` or `exec`, then the command.
/// The command waits in an array, which `set -a` in a script cannot export, nor `set --` lose.
/// A script's `set -e` or `set -u` ends with the script: the next one may need neither.
const PROLOGUE: &str = r#"
_slipway_count=$1; shift
_slipway_files=("${@:1:_slipway_count}"); shift "$_slipway_count"
_slipway_mode=$1; shift
_slipway_command=("$@"); set --
for _slipway_file in "${_slipway_files[@]}"; do . "$_slipway_file"; set +eu +o pipefail; done
case $_slipway_mode in
  shell) exec "$BASH" -c "${_slipway_command[0]}" ;;
  exec) exec -- "${_slipway_command[@]}" ;;
esac
"#;

/// What the caller wants to run.
#[derive(Debug, PartialEq, Eq)]
pub struct Invocation {
    pub dir: PathBuf,
    pub process: Process,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Process {
    /// Shell text, run as `bash -c` does.
    Shell(OsString),
    /// A program and its arguments, not parsed again.
    Exec(Vec<OsString>),
    /// The same, and nothing before it: for images that are not of a built app.
    Bare(Vec<OsString>),
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}\n{USAGE}")]
    Usage(&'static str),
    #[error(
        "there is no folder {}: is this the image of a built app, with its layers complete?", .dir.display()
    )]
    NoAppDir { dir: PathBuf },
    #[error("cannot read {}", .path.display())]
    Profile {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(
        "this image has no bash (looked for {}): a built app needs one to start", SHELLS.join(", ")
    )]
    NoBash,
    #[error(
        "this image has no {SH}, which the App's `command` needs: leave `command` out, and the image's own entrypoint runs"
    )]
    NoShell,
    #[error("cannot start {}", .shell.display())]
    Spawn {
        shell: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot {doing}")]
    Reap {
        doing: &'static str,
        source: std::io::Error,
    },
}

/// Reads the command line, without the program's own name.
pub fn invocation(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, Error> {
    let mut args = args.into_iter().peekable();
    let mut dir = PathBuf::from(APP_DIR);
    while let Some(arg) = args.next() {
        match arg.as_bytes() {
            b"--dir" => {
                dir = args
                    .next()
                    .ok_or(Error::Usage("--dir needs a folder"))?
                    .into();
            }
            b"--exec" => {
                let process = program(args).map(Process::Exec);
                let process = process.ok_or(Error::Usage("--exec needs a program"))?;
                return Ok(Invocation { dir, process });
            }
            b"--reap" => {
                let process = program(args).map(Process::Bare);
                let process = process.ok_or(Error::Usage("--reap needs a program"))?;
                return Ok(Invocation { dir, process });
            }
            b"--" => {
                let command = args.next().ok_or(Error::Usage("-- needs a command"))?;
                return shell(dir, command, args.next().is_some());
            }
            option if option.starts_with(b"-") => {
                return Err(Error::Usage(
                    "unknown option (a command that begins with - goes after --)",
                ));
            }
            _ => return shell(dir, arg, args.next().is_some()),
        }
    }
    Err(Error::Usage("nothing to run"))
}

fn program(mut args: Peekable<impl Iterator<Item = OsString>>) -> Option<Vec<OsString>> {
    args.next_if(|next| next == "--");
    let program: Vec<OsString> = args.collect();
    program
        .first()
        .is_some_and(|name| !name.is_empty())
        .then_some(program)
}

fn shell(dir: PathBuf, command: OsString, more: bool) -> Result<Invocation, Error> {
    if more {
        return Err(Error::Usage(
            "a command is one argument: quote it, or use --exec for a program with arguments",
        ));
    }
    if command.as_bytes().trim_ascii().is_empty() {
        return Err(Error::Usage("the command is empty"));
    }
    Ok(Invocation {
        dir,
        process: Process::Shell(command),
    })
}

/// The scripts to source, in order: `.profile.d/*.sh` by name, byte for byte, then `.profile`.
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

/// The bash that does it all, or the bare program, ready to be executed or spawned.
pub fn command(invocation: &Invocation, home: Option<&Path>) -> Result<Command, Error> {
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
        .arg(scripts.len().to_string())
        .args(scripts);
    match process {
        Process::Shell(text) => command.arg("shell").arg(text),
        Process::Exec(argv) | Process::Bare(argv) => command.arg("exec").args(argv),
    };
    command.current_dir(dir);
    // An image that knows nothing of our user leaves HOME at the root, where nothing can be written.
    if home.is_none_or(|home| home.as_os_str().is_empty() || home == Path::new("/")) {
        command.env("HOME", dir);
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Invocation, String> {
        invocation(args.iter().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_command_is_one_argument_of_shell_text() {
        let shell = |text: &str| Invocation {
            dir: APP_DIR.into(),
            process: Process::Shell(text.into()),
        };
        assert_eq!(parsed(&["echo a && echo b"]), Ok(shell("echo a && echo b")));
        assert_eq!(parsed(&["--", "--odd"]), Ok(shell("--odd")));
        for (args, message) in [
            (&[][..], "nothing to run"),
            (&["echo", "a"], "a command is one argument"),
            (&["  "], "the command is empty"),
            (&["--"], "-- needs a command"),
            (&["--verbose", "x"], "unknown option"),
            (&["--exec"], "--exec needs a program"),
            (&["--reap", "--"], "--reap needs a program"),
            (&["--dir"], "--dir needs a folder"),
        ] {
            let error = parsed(args).unwrap_err();
            assert!(error.starts_with(message), "{args:?}: {error}");
            assert!(error.contains("usage: slipway-launcher"), "{error}");
        }
    }

    #[test]
    fn exec_keeps_arguments_as_they_are() {
        let exec = |argv: &[&str]| Invocation {
            dir: "/srv".into(),
            process: Process::Exec(argv.iter().map(OsString::from).collect()),
        };
        assert_eq!(
            parsed(&["--dir", "/srv", "--exec", "rake", "a b", "--"]),
            Ok(exec(&["rake", "a b", "--"]))
        );
        assert_eq!(
            parsed(&["--dir", "/srv", "--exec", "--", "-x"]),
            Ok(exec(&["-x"]))
        );
        assert_eq!(
            parsed(&["--reap", "--", "/bin/sh", "-c", "a b"]),
            Ok(Invocation {
                dir: APP_DIR.into(),
                process: Process::Bare(["/bin/sh", "-c", "a b"].map(OsString::from).to_vec()),
            })
        );
    }

    #[test]
    fn scripts_are_sourced_in_byte_order_and_the_profile_last() {
        let app = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(app.path().join(".profile.d/folder.sh")).unwrap();
        for name in ["b.sh", "B.sh", "a.sh", "10.sh", "readme.txt", ".hidden.sh"] {
            std::fs::write(app.path().join(".profile.d").join(name), "x").unwrap();
        }
        let names = |app: &Path| -> Vec<String> {
            profile(app)
                .unwrap()
                .iter()
                .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
                .collect()
        };
        assert_eq!(names(app.path()), ["10.sh", "B.sh", "a.sh", "b.sh"]);
        std::fs::write(app.path().join(".profile"), "").unwrap();
        assert_eq!(
            names(app.path()).len(),
            4,
            "an empty .profile is nothing to source"
        );
        std::fs::write(app.path().join(".profile"), "x").unwrap();
        assert_eq!(names(app.path()).last().unwrap(), ".profile");
    }
}
