//! `slipway-builder`: the program of the build zone. It is static and has no credentials; see
//! `slipway_agents::builder`.

use std::{
    ffi::OsStr,
    fs,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use slipway_agents::builder::{self, Paths};
use slipway_base::zone::{
    frame::{self, Mark},
    input::BuildInput,
    report::exit,
};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let first = args.next();
    if first.as_deref() == Some(OsStr::new(builder::SESSION)) {
        return cannot_start(&builder::session(args));
    }
    let root = match first.as_deref().and_then(OsStr::to_str) {
        None => None,
        Some("--root") => args.next().map(PathBuf::from),
        Some(_) => return usage(),
    };
    match run(root) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            say(&format!(" !     {error:#}"));
            ExitCode::from(exit::INTERNAL)
        }
    }
}

/// Reads the input, builds, and writes the report twice: on the volume for the export zone, and at the end of the log
/// for the operator.
fn run(root: Option<PathBuf>) -> anyhow::Result<u8> {
    // Buildpacks run as the same user. From here on they can read neither this process's memory, which holds the mark
    // of the report, nor write to its output past the log.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .context("cannot keep other processes from reading the builder's memory")?;
    let program = std::env::current_exe().context("cannot find the builder's own program")?;
    let paths = match root {
        None => Paths::in_container(program),
        Some(root) => Paths::below(&root, program),
    };
    let input =
        fs::read(&paths.input).with_context(|| format!("cannot read {}", paths.input.display()))?;
    // The input holds values of Secrets, and the code that runs from here on is not ours.
    fs::remove_file(&paths.input)
        .with_context(|| format!("cannot remove {}", paths.input.display()))?;
    // The error does not quote the input either: it could hold a secret.
    let input: BuildInput = serde_json::from_slice(&input).ok().context(
        "the build's input cannot be read: operator and builder are of different versions",
    )?;
    let deadline = Instant::now() + input.left(now()?);
    let (report, code) = builder::build(&paths, &input, deadline, &mut io::stdout());
    let (report, code) = builder::bounded(report, code)?;
    let path = paths.result_file();
    fs::write(&path, &report).with_context(|| format!("cannot write {}", path.display()))?;
    hand_over(&input.mark, &report).context("cannot write the build's report")?;
    Ok(code)
}

/// Writes the report at the end of the log.
fn hand_over(mark: &Mark, report: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    for line in frame::frames(mark, report)? {
        out.write_all(line.as_bytes())?;
    }
    Ok(out.flush()?)
}

#[expect(clippy::disallowed_methods, reason = "a program reads the clock")]
fn now() -> anyhow::Result<i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(i64::try_from(now.as_secs())?)
}

fn usage() -> ExitCode {
    say("usage: slipway-builder [--root FOLDER]");
    ExitCode::from(exit::INTERNAL)
}

/// The exit code is the one that a shell gives when there is no such program.
fn cannot_start(error: &io::Error) -> ExitCode {
    say(&format!("cannot be started: {error}"));
    ExitCode::from(if error.kind() == io::ErrorKind::NotFound {
        127
    } else {
        126
    })
}

#[expect(clippy::print_stderr, reason = "a program's last words")]
fn say(text: &str) {
    eprintln!("{text}");
}
