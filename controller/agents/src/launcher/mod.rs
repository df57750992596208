//! Turns the arguments of `slipway-launcher` into one call of bash, which enters the app's folder, sources its profile
//! scripts and becomes the process. This module decides what runs; [`reaper`] runs it as PID 1.
//!
//! This module resolves no names, starts no threads, and of the app's own files reads only the names.

mod memory;
pub mod reaper;
pub mod rule;
mod tree;

use rule::Reach;
use std::ffi::{OsStr, OsString};
use std::iter::Peekable;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Where an app lives in its image.
pub const APP_DIR: &str = "/app";

/// Exit code when the process cannot be started; shells use the same.
pub const CANNOT_START: u8 = 127;

/// `tree` or `group`: which processes get the signal.
pub const SIGTERM_VARIABLE: &str = "SLIPWAY_SIGTERM";

/// How many seconds a stop may take.
pub const STOP_SECONDS_VARIABLE: &str = "SLIPWAY_STOP_SECONDS";

pub const USAGE: &str = "\
usage: slipway-launcher [--dir DIR] [--] COMMAND
       slipway-launcher [--dir DIR] --exec PROGRAM [ARGUMENT]...
       slipway-launcher --reap PROGRAM [ARGUMENT]...

Sources DIR/.profile.d/*.sh and DIR/.profile (DIR is /app) and runs COMMAND as bash -c does,
or PROGRAM with its arguments as they stand; with --reap PROGRAM alone, in any image. As PID 1 it reaps, passes signals on, and exits as the process did.";

/// The shell that runs commands in images that Slipway has not built.
const SH: &str = "/bin/sh";

const SHELLS: [&str; 2] = ["/bin/bash", "/usr/bin/bash"];

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

/// What the caller wants to run.
#[derive(Debug, PartialEq, Eq)]
pub struct Invocation {
    pub dir: PathBuf,
    pub process: Process,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Process {
    /// Shell text, run with `bash -c`.
    Shell(OsString),
    /// A program and its arguments, run without parsing by a shell.
    Exec(Vec<OsString>),
    /// Like `Exec`, but without the app's folder and profile scripts: for images that Slipway has not built.
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

/// Parses the command line, without the program's own name.
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

/// How the processes are stopped, as the operator has set it on the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stop {
    pub reach: Reach,
    /// From the signal until the kubelet kills the remaining processes.
    pub seconds: Option<Duration>,
}

/// Reads [`SIGTERM_VARIABLE`] and [`STOP_SECONDS_VARIABLE`]. Also returns a warning if the first is not valid.
pub fn stop(reach: Option<&OsStr>, seconds: Option<&OsStr>) -> (Stop, Option<String>) {
    let seconds = seconds.and_then(OsStr::to_str);
    let seconds = seconds.and_then(|text| text.parse::<u32>().ok());
    let (reach, trouble) = match reach.map(OsStr::as_bytes) {
        None | Some(b"" | b"tree") => (Reach::Tree, None),
        Some(b"group") => (Reach::Group, None),
        Some(_) => (
            Reach::Tree,
            Some(format!(
                "{SIGTERM_VARIABLE} is neither `tree` nor `group`: it counts as `tree`"
            )),
        ),
    };
    let stop = Stop {
        reach,
        seconds: seconds.map(|seconds| Duration::from_secs(seconds.into())),
    };
    (stop, trouble)
}

/// `PATH` with the missing [`FOLDERS`] added at its end.
fn path(given: Option<&OsStr>) -> OsString {
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
    fn the_images_folders_stay_behind_a_path_of_the_apps() {
        let all = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        for (given, expected) in [
            (None, all.to_owned()),
            (Some(""), all.to_owned()),
            (Some("/app/bin"), format!("/app/bin:{all}")),
            (Some(all), all.to_owned()),
            (
                Some("/bin:/app/bin:/usr/local/bin"),
                "/bin:/app/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin".to_owned(),
            ),
        ] {
            assert_eq!(path(given.map(OsStr::new)), OsString::from(expected));
        }
    }

    #[test]
    fn a_stop_is_read_from_the_environment() {
        let read = |reach: Option<&str>, seconds: Option<&str>| {
            stop(reach.map(OsStr::new), seconds.map(OsStr::new))
        };
        let all = |reach, seconds: Option<u64>| Stop {
            reach,
            seconds: seconds.map(Duration::from_secs),
        };
        assert_eq!(read(None, None), (all(Reach::Tree, None), None));
        assert_eq!(
            read(Some("group"), Some("30")),
            (all(Reach::Group, Some(30)), None)
        );
        assert_eq!(
            read(Some("tree"), Some("x")),
            (all(Reach::Tree, None), None)
        );
        let (stop, trouble) = read(Some("all"), Some("-1"));
        assert_eq!(stop, all(Reach::Tree, None));
        assert_eq!(
            trouble.unwrap(),
            "SLIPWAY_SIGTERM is neither `tree` nor `group`: it counts as `tree`"
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
