//! Runs programs one after another and prints the progress. Their output is shown if they fail.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use slipway_cluster::facts::Facts;

/// Prints which step begins.
#[expect(clippy::print_stdout, reason = "the progress of a command")]
pub fn step(title: &str) {
    println!("-----> {title}");
}

/// Prints a line about the progress.
#[expect(clippy::print_stdout, reason = "the progress of a command")]
pub fn note(line: &str) {
    println!("       {line}");
}

/// Runs a program, shows its output only if it fails, and returns it otherwise.
pub fn quietly(title: &str, command: &mut Command) -> Result<String> {
    step(title);
    let begin = Instant::now();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{title}: {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        for line in said.lines().chain(errors.lines()) {
            note(line);
        }
        bail!("{title} failed: {} ({command:?})", output.status);
    }
    note(&format!(
        "done after {:.1} s",
        begin.elapsed().as_secs_f64()
    ));
    Ok(said)
}

/// Runs a program and shows its output.
pub fn aloud(title: &str, command: &mut Command) -> Result<()> {
    step(title);
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("{title}: {command:?}"))?;
    if !status.success() {
        bail!("{title} failed: {status}");
    }
    Ok(())
}

/// cargo in a tree, as from a shell. Another cargo may have started this program and set variables that describe its
/// package. They are removed here: build scripts that depend on them would run again, and everything that depends on
/// those would be compiled again, each time that they differ.
pub fn cargo(tree: &Path) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(tree);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name.as_ref());
        }
    }
    command
}

/// docker with the cluster's own engine, logged in to push.
pub fn docker(facts: &Facts) -> Command {
    let mut command = docker_of_user();
    command
        .arg("--host")
        .arg(format!("unix://{}", facts.engine.socket));
    command
}

/// docker with the engine that its user has configured, and with the builder that every engine has.
pub fn docker_of_user() -> Command {
    let mut command = Command::new("docker");
    command.env("DOCKER_BUILDKIT", "0");
    command
}
