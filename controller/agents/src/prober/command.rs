//! A check that runs a program; exit code 0 passes.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("the check has no command")]
    Empty,
    #[error("cannot run {program}: {why}")]
    Start { program: String, why: String },
    #[error("command exited with code {0}")]
    Exit(i32),
    #[error("command was ended by signal {0}")]
    Signal(i32),
    #[error("command did not end within {0:?}")]
    Timeout(Duration),
}

/// Runs `argv` in a process group of its own, and kills the group when the time is over.
pub fn check(argv: &[String], timeout: Duration) -> Result<(), Error> {
    let (program, arguments) = argv.split_first().ok_or(Error::Empty)?;
    let start = |error: std::io::Error| Error::Start {
        program: program.clone(),
        why: error.to_string(),
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(start)?;
    let group = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    let (sender, ended) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait()));
    match ended.recv_timeout(timeout) {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(status.code().map_or_else(
            || Error::Signal(status.signal().unwrap_or_default()),
            Error::Exit,
        )),
        Ok(Err(error)) => Err(start(error)),
        Err(_) => {
            if let Some(group) = group {
                // If the program has just ended, there is nothing left to kill.
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            Err(Error::Timeout(timeout))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_zero_passes() {
        let run = |script: &str| {
            check(
                &["sh".into(), "-c".into(), script.into()],
                Duration::from_secs(10),
            )
        };
        assert_eq!(run("exit 0"), Ok(()));
        assert_eq!(run("exit 3"), Err(Error::Exit(3)));
        assert_eq!(run("kill -9 $$"), Err(Error::Signal(9)));
        assert_eq!(check(&[], Duration::from_secs(1)), Err(Error::Empty));
        let missing = check(&["/no/such/program".into()], Duration::from_secs(1)).unwrap_err();
        assert!(
            missing
                .to_string()
                .starts_with("cannot run /no/such/program: "),
            "{missing}"
        );
    }

    #[test]
    fn a_command_that_hangs_is_ended_with_all_it_started() {
        let began = std::time::Instant::now();
        let timeout = Duration::from_millis(200);
        let argv = ["sh".into(), "-c".into(), "sleep 600 & wait".into()];
        assert_eq!(check(&argv, timeout), Err(Error::Timeout(timeout)));
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}
