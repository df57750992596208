//! Builds the programs that the cache lacks with Go, one tool after the other, and links them from `bin`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{MODULE, SUMS, Tool, plugins};
use crate::files;
use crate::layout::Layout;
use crate::progress::{Progress, seconds};

pub(super) const NO_GO: &str =
    "cannot run `go`: Go 1.26.6 or newer must be installed and in PATH (https://go.dev/dl)";

/// Builds what is not in the cache, and makes the links in `bin` point to it.
pub fn build_missing(layout: &Layout, wanted: &[Tool], progress: &mut Progress<'_>) -> Result<()> {
    files::folder_at(&layout.bin(), 0o755)?;
    for tool in wanted {
        if !tool.built(layout) {
            progress.step(format!("Building {} with Go", tool.name));
            build(layout, tool, progress)?;
            progress.done("built");
        }
        for (program, _) in tool.programs {
            link(
                &format!("{}/{program}", tool.folder(layout)),
                &layout.program(program),
            )?;
        }
    }
    Ok(())
}

fn link(target: &str, at: &str) -> Result<()> {
    if fs::read_link(at).is_ok_and(|now| now == Path::new(target)) {
        return Ok(());
    }
    let beside = format!("{at}.new");
    let _ = fs::remove_file(&beside);
    symlink(target, &beside)
        .and_then(|()| fs::rename(&beside, at))
        .with_context(|| format!("linking {at} to {target}"))
}

fn build(layout: &Layout, tool: &Tool, progress: &mut Progress<'_>) -> Result<()> {
    let source = format!("{}/build/{}", layout.cache, tool.name);
    let out = format!("{source}/bin");
    let log = format!("{source}/log");
    files::write(&format!("{source}/go.mod"), MODULE.as_bytes(), 0o644)?;
    files::write(&format!("{source}/go.sum"), SUMS.as_bytes(), 0o644)?;
    if !tool.plugins.is_empty() {
        plugins::leave_out_others(&source, tool.plugins)?;
    }
    let _ = fs::remove_dir_all(&out);
    files::folder_at(&out, 0o755)?;
    let log_file = fs::File::create(&log).with_context(|| format!("creating {log}"))?;
    let target = match tool.programs {
        [(program, _)] => format!("{out}/{program}"),
        _ => format!("{out}/"),
    };
    let child = Command::new("go")
        .args(["build", "-v"])
        .args(tool.flags())
        .args(["-o", &target])
        .args(tool.programs.iter().map(|(_, package)| package))
        .current_dir(&source)
        .env("CGO_ENABLED", "0")
        // This saves a twentieth of the time, which garbage collection would take; compiler and linker then use up to
        // 2.4 GB.
        .env("GOGC", "400")
        .stdin(Stdio::null())
        .stdout(log_file.try_clone()?)
        .stderr(log_file)
        .spawn()
        .context(NO_GO)?;
    let status = watch(child, tool, &log, progress)?;
    if !status.success() {
        bail!(
            "building {} failed ({status}); the end of {log}:\n{}",
            tool.name,
            files::tail(&log, 30)
        );
    }
    let folder = tool.folder(layout);
    let _ = fs::remove_dir_all(&folder);
    files::folder_at(&format!("{}/tools", layout.cache), 0o755)?;
    fs::rename(&out, &folder).with_context(|| format!("moving {out} to {folder}"))
}

/// Waits for the end of a build and prints its progress every 15 seconds.
fn watch(
    mut child: Child,
    tool: &Tool,
    log: &str,
    progress: &mut Progress<'_>,
) -> Result<ExitStatus> {
    let mut next = Duration::from_secs(15);
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if began.elapsed() >= next {
            next += Duration::from_secs(15);
            progress.note(&format!(
                "{}: {} so far, {}",
                tool.name,
                seconds(progress.elapsed()),
                counted(&fs::read_to_string(log).unwrap_or_default())
            ));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The progress of a build, from its log.
fn counted(log: &str) -> String {
    let downloads = log
        .lines()
        .filter(|line| line.starts_with("go: downloading"))
        .count();
    let packages = log.lines().filter(|line| !line.starts_with("go: ")).count();
    format!("{downloads} modules downloaded, {packages} packages compiled")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_counted() {
        assert_eq!(
            counted("go: downloading a v1\na/b\nc/d\n"),
            "1 modules downloaded, 2 packages compiled"
        );
    }
}
