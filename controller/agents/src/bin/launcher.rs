//! `slipway-launcher`: the entrypoint of every image that Slipway builds, and of commands in other images.

use slipway_agents::launcher::{self, CANNOT_START, arguments, command};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let cause = std::error::Error::source(&error);
            let cause = cause.map(|cause| format!(": {cause}"));
            complain(&format!("{error}{}", cause.unwrap_or_default()));
            ExitCode::from(CANNOT_START)
        }
    }
}

fn run() -> Result<u8, launcher::Error> {
    let invocation = arguments::invocation(std::env::args_os().skip(1))?;
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let path = std::env::var_os("PATH");
    let mut command = command::command(&invocation, home.as_deref(), path.as_deref())?;
    if std::process::id() == 1 {
        let reach = std::env::var_os(launcher::SIGTERM_VARIABLE);
        let seconds = std::env::var_os(launcher::STOP_SECONDS_VARIABLE);
        let (stop, trouble) = launcher::stop(reach.as_deref(), seconds.as_deref());
        if let Some(trouble) = trouble {
            complain(&trouble);
        }
        return launcher::reaper::supervise(command, stop);
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
fn complain(what: &str) {
    eprintln!("slipway-launcher: {what}");
}
