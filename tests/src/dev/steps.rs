//! Programs that are run one after another, with a word on what goes on. Their output is shown when they fail.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use slipway_cluster::facts::Facts;

/// A line that says what begins now.
#[expect(clippy::print_stdout, reason = "the progress of a command")]
pub fn step(title: &str) {
    println!("-----> {title}");
}

/// A line about what goes on.
#[expect(clippy::print_stdout, reason = "the progress of a command")]
pub fn note(line: &str) {
    println!("       {line}");
}

/// Runs a program whose output is of interest only when it fails, and gives that output.
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

/// Runs a program that speaks for itself.
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

/// cargo in a tree, as from a shell. This program may run below another cargo, which tells it what package it is of: build
/// scripts that look at that would run anew, and with them all that depends on them, each time that it is another one.
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

/// docker, against the cluster's own engine, with the right to push.
pub fn docker(facts: &Facts) -> Command {
    let mut command = docker_of_user();
    command
        .arg("--host")
        .arg(format!("unix://{}", facts.engine.socket));
    command
}

/// docker, against whatever engine its user has set it up for, with the builder that every engine has.
pub fn docker_of_user() -> Command {
    let mut command = Command::new("docker");
    command.env("DOCKER_BUILDKIT", "0");
    command
}
