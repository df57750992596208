//! `slipway-launcher`: the entrypoint of a built image, and of commands in other images.

use slipway::launcher::{self, CANNOT_START};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            complain(&error);
            ExitCode::from(CANNOT_START)
        }
    }
}

fn run() -> Result<u8, launcher::Error> {
    let invocation = launcher::invocation(std::env::args_os().skip(1))?;
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let mut command = launcher::command(&invocation, home.as_deref())?;
    if std::process::id() == 1 {
        return launcher::reaper::supervise(command);
    }
    let shell = PathBuf::from(command.get_program());
    Err(launcher::Error::Spawn {
        shell,
        source: command.exec(),
    })
}

#[expect(
    clippy::print_stderr,
    reason = "the launcher has no other place to tell why an app does not start"
)]
fn complain(error: &launcher::Error) {
    let cause = std::error::Error::source(error)
        .map(|cause| format!(": {cause}"))
        .unwrap_or_default();
    eprintln!("slipway-launcher: {error}{cause}");
}
