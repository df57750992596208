//! The two images that the node itself needs (no image registry may be reachable) → OCI archives that containerd imports.
//! `pause` holds a pod's namespaces, `busybox` makes and removes volume folders; both are built here, from a source file and a Debian package.

use std::fs;
use std::io::Write as _;

use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::command;
use crate::files;
use crate::layout::Layout;

pub const PAUSE: &str = "slipway.test/pause:1";
pub const BUSYBOX: &str = "slipway.test/busybox:1";

/// This machine's architecture, by its name in images.
const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    "amd64"
};

const PAUSE_SOURCE: &str = include_str!("../images/pause.rs");

/// One entry of an image's only layer.
enum Entry {
    Folder(&'static str, u32),
    File(&'static str, Vec<u8>, u32),
    Link(String, &'static str),
}

/// Writes both archives into the cache, unless it has them. Returns their paths.
pub fn archives(layout: &Layout) -> Result<[String; 2]> {
    let mut key = Sha256::new();
    key.update(PAUSE_SOURCE);
    key.update(include_str!("images.rs"));
    let busybox =
        fs::read("/bin/busybox").context("reading /bin/busybox (Debian package busybox-static)")?;
    key.update(&busybox);
    let key = hex(key.finalize().get(..8).unwrap_or_default());
    let folder = format!("{}/images/{key}", layout.cache);
    let paths = ["pause", "busybox"].map(|name| format!("{folder}/{name}.tar"));
    let [pause_path, busybox_path] = &paths;
    if !paths.iter().all(|path| fs::exists(path).unwrap_or(false)) {
        let pause = vec![Entry::File("pause", static_program(&folder)?, 0o755)];
        files::write(pause_path, &archive(PAUSE, &pause, &["/pause"])?, 0o644)?;
        files::write(
            busybox_path,
            &archive(BUSYBOX, &busybox_entries(busybox)?, &["/bin/sh"])?,
            0o644,
        )?;
    }
    Ok(paths)
}

fn static_program(folder: &str) -> Result<Vec<u8>> {
    let (source, program) = (format!("{folder}/pause.rs"), format!("{folder}/pause"));
    files::write(&source, PAUSE_SOURCE.as_bytes(), 0o644)?;
    let output = std::process::Command::new("rustc")
        .args([
            "--edition=2024",
            "-O",
            "-C",
            "target-feature=+crt-static",
            "-C",
            "strip=symbols",
            "-o",
            &program,
            &source,
        ])
        .output()
        .context("cannot run rustc, which compiles the pause program")?;
    anyhow::ensure!(
        output.status.success(),
        "compiling the pause program failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    fs::read(&program).with_context(|| format!("reading {program}"))
}

fn busybox_entries(program: Vec<u8>) -> Result<Vec<Entry>> {
    let mut entries = vec![
        Entry::Folder("bin", 0o755),
        Entry::Folder("etc", 0o755),
        Entry::Folder("tmp", 0o1777),
        Entry::File("bin/busybox", program, 0o755),
        Entry::File(
            "etc/passwd",
            b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n".to_vec(),
            0o644,
        ),
        Entry::File(
            "etc/group",
            b"root:x:0:\nnogroup:x:65534:\n".to_vec(),
            0o644,
        ),
        // What the volume provisioner's helper pod runs.
        Entry::File(
            "bin/volume-setup",
            b"#!/bin/sh\nmkdir -m 0777 -p \"$VOL_DIR\"\n".to_vec(),
            0o755,
        ),
        Entry::File(
            "bin/volume-teardown",
            b"#!/bin/sh\nrm -rf \"$VOL_DIR\"\n".to_vec(),
            0o755,
        ),
    ];
    let applets = command::run(&["/bin/busybox", "--list"])?;
    entries.extend(
        applets
            .lines()
            .filter(|name| *name != "busybox")
            .map(|name| Entry::Link(format!("bin/{name}"), "busybox")),
    );
    Ok(entries)
}

/// An OCI layout in a tar, with the image's full name, so that an import needs no other argument.
fn archive(name: &str, entries: &[Entry], command: &[&str]) -> Result<Vec<u8>> {
    let layer = layer(entries)?;
    let mut tar = tar::Builder::new(Vec::new());
    let mut blob = |content: &[u8]| -> Result<String> {
        let digest = hex(&Sha256::digest(content));
        append(&mut tar, &format!("blobs/sha256/{digest}"), content, 0o644)?;
        Ok(format!("sha256:{digest}"))
    };
    let layer_digest = blob(&layer)?;
    let config = json!({
        "architecture": ARCHITECTURE,
        "os": "linux",
        "config": {"Cmd": command, "Env": [format!("PATH={}", command::SYSTEM_PATH)]},
        "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
    })
    .to_string();
    let config_digest = blob(config.as_bytes())?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest, "size": config.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer_digest, "size": layer.len()}],
    })
    .to_string();
    let manifest_digest = blob(manifest.as_bytes())?;
    let index = json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": manifest_digest,
            "size": manifest.len(),
            "platform": {"architecture": ARCHITECTURE, "os": "linux"},
            "annotations": {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name},
        }],
    })
    .to_string();
    append(&mut tar, "index.json", index.as_bytes(), 0o644)?;
    append(
        &mut tar,
        "oci-layout",
        br#"{"imageLayoutVersion":"1.0.0"}"#,
        0o644,
    )?;
    tar.into_inner().context("writing an image archive")
}

fn layer(entries: &[Entry]) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for entry in entries {
        match entry {
            Entry::File(path, content, mode) => append(&mut tar, path, content, *mode)?,
            Entry::Folder(path, mode) => {
                let mut header = header(0, *mode);
                header.set_entry_type(tar::EntryType::Directory);
                tar.append_data(&mut header, path, std::io::empty())?;
            }
            Entry::Link(path, target) => {
                let mut header = header(0, 0o777);
                header.set_entry_type(tar::EntryType::Symlink);
                tar.append_link(&mut header, path, target)?;
            }
        }
    }
    let mut bytes = tar.into_inner().context("writing an image layer")?;
    bytes.flush()?;
    Ok(bytes)
}

fn append(tar: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8], mode: u32) -> Result<()> {
    let mut header = header(u64::try_from(content.len())?, mode);
    tar.append_data(&mut header, path, content)
        .with_context(|| format!("adding {path} to an image archive"))
}

fn header(size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(0);
    header
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn an_archive_is_an_oci_layout_whose_digests_are_right_and_the_same_each_time() {
        let entries = [
            Entry::Folder("bin", 0o755),
            Entry::File("bin/x", b"x".to_vec(), 0o755),
            Entry::Link("bin/y".to_owned(), "x"),
        ];
        let bytes = archive("example.test/x:1", &entries, &["/bin/x"]).expect("archive");
        assert_eq!(
            bytes,
            archive("example.test/x:1", &entries, &["/bin/x"]).expect("archive")
        );
        let mut names = Vec::new();
        for file in tar::Archive::new(&bytes[..]).entries().expect("tar") {
            let mut file = file.expect("entry");
            let name = file.path().expect("path").to_string_lossy().into_owned();
            let mut content = Vec::new();
            file.read_to_end(&mut content).expect("read");
            if let Some(digest) = name.strip_prefix("blobs/sha256/") {
                assert_eq!(digest, hex(&Sha256::digest(&content)));
            }
            names.push(name);
        }
        assert_eq!(
            names
                .iter()
                .filter(|name| name.starts_with("blobs/"))
                .count(),
            3
        );
        assert!(
            names.contains(&"index.json".to_owned()) && names.contains(&"oci-layout".to_owned())
        );
    }
}
