//! The downloaded source of CoreDNS → a copy that has only the wanted plugins, and a go.mod that refers to it. With all
//! plugins, CoreDNS would contain the clients of three clouds.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::build::NO_GO;
use super::{COREDNS, MODULE};
use crate::command::run;
use crate::files;

/// The file that imports every plugin, one on each line.
const LIST: &str = "core/plugin/zplugin.go";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Download {
    dir: String,
}

/// Puts the copy into `source` and refers to it in the go.mod there.
pub(super) fn leave_out_others(source: &str, wanted: &[&str]) -> Result<()> {
    let copy = format!("{source}/coredns");
    let _ = fs::remove_dir_all(&copy);
    run(&[
        "cp",
        "-r",
        "--no-preserve=mode",
        &downloaded(source)?,
        &copy,
    ])?;
    let path = format!("{copy}/{LIST}");
    let list = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    files::write(&path, only(&list, wanted)?.as_bytes(), 0o644)?;
    let module = format!("{MODULE}\nreplace {COREDNS} => ./coredns\n");
    files::write(&format!("{source}/go.mod"), module.as_bytes(), 0o644)
}

/// The folder of the module cache with CoreDNS. Go downloads it if needed, and checks it against go.sum.
fn downloaded(source: &str) -> Result<String> {
    let output = Command::new("go")
        .args(["mod", "download", "-json", COREDNS])
        .current_dir(source)
        .output()
        .context(NO_GO)?;
    if !output.status.success() {
        bail!(
            "downloading {COREDNS} failed ({}): {}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim(),
            String::from_utf8_lossy(&output.stdout).trim()
        );
    }
    let download: Download =
        serde_json::from_slice(&output.stdout).context("reading what `go mod download` says")?;
    Ok(download.dir)
}

/// The list without the imports of other plugins.
fn only(list: &str, wanted: &[&str]) -> Result<String> {
    let lines: Vec<String> = wanted
        .iter()
        .map(|plugin| format!("_ \"{COREDNS}/plugin/{plugin}\""))
        .collect();
    for line in &lines {
        if !list.lines().any(|there| there.trim() == line) {
            bail!("CoreDNS has no line {line} in {LIST}");
        }
    }
    Ok(list
        .lines()
        .filter(|line| {
            let line = line.trim();
            !line.starts_with("_ \"") || lines.iter().any(|wanted| wanted == line)
        })
        .fold(String::new(), |text, line| text + line + "\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = "package plugin

import (
\t_ \"github.com/coredns/caddy/onevent\"
\t_ \"github.com/coredns/coredns/plugin/cache\"
\t_ \"github.com/coredns/coredns/plugin/route53\"
)
";

    #[test]
    fn other_plugins_are_left_out() {
        assert_eq!(
            only(ALL, &["cache"]).expect("there"),
            "package plugin\n\nimport (\n\t_ \"github.com/coredns/coredns/plugin/cache\"\n)\n"
        );
    }

    #[test]
    fn a_plugin_that_coredns_has_not_is_an_error() {
        let error = only(ALL, &["cache", "clock"]).expect_err("not there");
        assert!(error.to_string().contains("plugin/clock"), "{error}");
    }
}
