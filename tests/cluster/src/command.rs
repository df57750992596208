//! Runs a program to its end → its output, or an error with what it printed. Long-lived processes are not started here.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Where system programs are searched, even if the caller's PATH has no sbin.
pub const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs `words` and returns what it wrote to stdout.
pub fn run(words: &[&str]) -> Result<String> {
    feed(words, "")
}

/// Runs `words` with `input` on stdin.
pub fn feed(words: &[&str], input: &str) -> Result<String> {
    let [program, arguments @ ..] = words else {
        bail!("no program to run");
    };
    let mut child = Command::new(which(program).as_deref().unwrap_or(program))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that exits early closes the pipe; its exit status says more than the broken pipe.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child
        .wait_with_output()
        .with_context(|| format!("waiting for {program}"))?;
    if !output.status.success() {
        bail!(
            "`{}` failed ({}): {}{}",
            words.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim(),
            String::from_utf8_lossy(&output.stdout).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The full path of a system program.
pub fn which(program: &str) -> Option<String> {
    if program.contains('/') {
        return Some(program.to_owned());
    }
    SYSTEM_PATH
        .split(':')
        .map(|folder| format!("{folder}/{program}"))
        .find(|path| std::fs::metadata(path).is_ok_and(|file| file.is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_carries_what_the_program_said() {
        assert_eq!(feed(&["cat"], "in").expect("cat"), "in");
        let error = run(&["sh", "-c", "echo why >&2; exit 3"])
            .expect_err("fails")
            .to_string();
        assert!(error.contains("why") && error.contains('3'), "{error}");
        assert!(run(&["no-such-program-here"]).is_err());
    }
}
