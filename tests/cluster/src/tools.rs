//! Pinned go.mod and go.sum files → built programs in the cache. A tool is built again only when its pins or flags change.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::files;
use crate::layout::Layout;
use crate::progress::{Progress, seconds};

/// A folder of `tools/`.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    pub name: &'static str,
    module: &'static str,
    sums: &'static str,
    /// The one program whose package is not called what the program is.
    single: Option<(&'static str, &'static str)>,
    version: Option<(&'static str, &'static str, &'static str)>,
    programs: &'static [&'static str],
}

macro_rules! tool {
    ($name:literal, $programs:expr) => {
        Tool {
            name: $name,
            module: include_str!(concat!("../tools/", $name, "/go.mod")),
            sums: include_str!(concat!("../tools/", $name, "/go.sum")),
            single: None,
            version: None,
            programs: $programs,
        }
    };
}

pub const ETCD: Tool = Tool {
    single: Some(("etcd", "go.etcd.io/etcd/server/v3")),
    ..tool!("etcd", &["etcd"])
};
pub const KUBERNETES: Tool = Tool {
    // Without the stamp the programs call themselves v0.0.0, and clients refuse to talk to that.
    version: Some(("v1.37.2", "1", "37")),
    ..tool!(
        "kubernetes",
        &[
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kubelet",
            "kube-proxy",
            "kubectl"
        ]
    )
};
/// Simulated nodes, for `make bench-scale` alone: `up` does not build it.
pub const KWOK: Tool = tool!("kwok", &["kwok"]);
/// What every cluster needs.
pub const ALL: [Tool; 7] = [
    ETCD,
    tool!("cni", &["ptp", "host-local", "loopback", "portmap"]),
    tool!(
        "containerd",
        &["containerd", "containerd-shim-runc-v2", "ctr"]
    ),
    KUBERNETES,
    tool!("coredns", &["coredns"]),
    tool!("local-path-provisioner", &["local-path-provisioner"]),
    tool!("helm", &["helm"]),
];

impl Tool {
    fn flags(&self) -> Vec<String> {
        let mut linker = "-s -w".to_owned();
        if let Some((version, major, minor)) = self.version {
            for package in [
                "k8s.io/component-base/version",
                "k8s.io/client-go/pkg/version",
            ] {
                let _ = write!(
                    linker,
                    " -X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
                );
            }
        }
        [
            "-mod=readonly",
            "-trimpath",
            "-buildvcs=false",
            "-ldflags",
            &linker,
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// What its programs depend on, as one short word.
    pub fn key(&self) -> String {
        let mut hash = Sha256::new();
        for part in [self.module, self.sums, &self.flags().join(" ")] {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        hash.finalize()
            .iter()
            .take(8)
            .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    }

    fn folder(&self, layout: &Layout) -> String {
        format!("{}/tools/{}-{}", layout.cache, self.name, self.key())
    }

    fn built(&self, layout: &Layout) -> bool {
        let folder = self.folder(layout);
        self.programs
            .iter()
            .all(|program| Path::new(&format!("{folder}/{program}")).exists())
    }
}

/// Builds what is not in the cache and points the links in `bin` at it.
pub fn build_missing(layout: &Layout, wanted: &[Tool], progress: &mut Progress<'_>) -> Result<()> {
    files::folder_at(&layout.bin(), 0o755)?;
    for tool in wanted {
        if !tool.built(layout) {
            progress.step(format!("Building {} with Go", tool.name));
            build(layout, tool, progress)?;
            progress.done("built");
        }
        for program in tool.programs {
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
    files::write(&format!("{source}/go.mod"), tool.module.as_bytes(), 0o644)?;
    files::write(&format!("{source}/go.sum"), tool.sums.as_bytes(), 0o644)?;
    let _ = fs::remove_dir_all(&out);
    files::folder_at(&out, 0o755)?;
    let log_file = fs::File::create(&log).with_context(|| format!("creating {log}"))?;
    let (target, package) = match tool.single {
        Some((program, package)) => (format!("{out}/{program}"), package),
        None => (format!("{out}/"), "tool"),
    };
    let mut child = Command::new("go")
        .args(["build", "-v"])
        .args(tool.flags())
        .args(["-o", &target, package])
        .current_dir(&source)
        .env("CGO_ENABLED", "0")
        .stdin(Stdio::null())
        .stdout(log_file.try_clone()?)
        .stderr(log_file)
        .spawn()
        .context(
            "cannot run `go`: Go 1.26.6 or newer must be installed and in PATH (https://go.dev/dl)",
        )?;
    let mut next = Duration::from_secs(15);
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if began.elapsed() >= next {
            next += Duration::from_secs(15);
            progress.note(&format!(
                "{}: {} so far, {}",
                tool.name,
                seconds(progress.elapsed()),
                counted(&fs::read_to_string(&log).unwrap_or_default())
            ));
        }
        std::thread::sleep(Duration::from_millis(100));
    };
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

/// What a build's log says of how far it is.
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
    fn pins_and_flags_make_the_key() {
        let all = ALL.iter().chain([&KWOK]);
        let keys: std::collections::BTreeSet<String> = all.map(Tool::key).collect();
        assert_eq!(keys.len(), ALL.len() + 1);
        let other = Tool {
            version: None,
            ..KUBERNETES
        };
        assert_ne!(other.key(), KUBERNETES.key());
        let other = Tool { sums: "", ..ETCD };
        assert_ne!(other.key(), ETCD.key());
    }

    #[test]
    fn the_stamped_version_is_the_pinned_one() {
        let (version, major, minor) = KUBERNETES.version.expect("stamped");
        assert!(
            KUBERNETES
                .module
                .contains(&format!("k8s.io/kubernetes {version}\n"))
                || KUBERNETES
                    .module
                    .contains(&format!("k8s.io/kubernetes {version} "))
        );
        assert!(version.starts_with(&format!("v{major}.{minor}.")));
    }

    #[test]
    fn the_log_is_counted() {
        assert_eq!(
            counted("go: downloading a v1\na/b\nc/d\n"),
            "1 modules downloaded, 2 packages compiled"
        );
    }
}
