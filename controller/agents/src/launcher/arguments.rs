//! The command line of `slipway-launcher` → what it is asked to run.

use crate::launcher::Error;
use std::ffi::OsString;
use std::iter::Peekable;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Where an app lives in its image.
pub const APP_DIR: &str = "/app";

pub const USAGE: &str = "\
usage: slipway-launcher [--dir DIR] [--] COMMAND
       slipway-launcher [--dir DIR] --exec PROGRAM [ARGUMENT]...
       slipway-launcher --reap PROGRAM [ARGUMENT]...

Sources DIR/.profile.d/*.sh and DIR/.profile (DIR is /app) and runs COMMAND as bash -c does,
or PROGRAM with its arguments as they stand; with --reap PROGRAM alone, in any image. As PID 1 it reaps, passes signals on, and exits as the process did.";

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
