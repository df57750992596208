//! Removes what our programs leave in the system's own folders, because these paths cannot be set, and the folders that
//! are empty then. What another kubelet, containerd or Docker keeps there stays.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::layout::Layout;
use crate::network::POD_NETWORK;

pub fn remove(layout: &Layout) {
    remove_below(Path::new("/"), layout);
}

fn remove_below(root: &Path, layout: &Layout) {
    // The kubelet's links to the pods' logs.
    let logs = root.join("var/log/containers");
    for link in entries(&logs) {
        if fs::read_link(&link).is_ok_and(|target| target.starts_with(&layout.state)) {
            let _ = fs::remove_file(link);
        }
    }
    // The pod network's records of its attachments; their names begin with the network's.
    let attachments = root.join("var/lib/cni/results");
    for file in entries(&attachments) {
        let name = file
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        if name.is_some_and(|name| name.starts_with(&format!("{POD_NETWORK}-"))) {
            let _ = fs::remove_file(file);
        }
    }
    // Sockets of killed shims and of the kubelet, if nobody listens on them.
    let (shims, plugins) = (
        root.join("run/containerd/s"),
        root.join("var/lib/kubelet/device-plugins"),
    );
    for socket in entries(&shims).into_iter().chain(entries(&plugins)) {
        let refused = UnixStream::connect(&socket)
            .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
        if refused {
            let _ = fs::remove_file(socket);
        }
    }
    for folder in [logs, attachments, shims, plugins] {
        remove_empty(&folder, root);
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect()
}

/// Removes a folder and the one above it, each if it is empty; never one of the system's own.
fn remove_empty(folder: &Path, root: &Path) {
    let above = folder
        .parent()
        .filter(|above| *above != root.join("var/log"));
    for folder in [Some(folder), above].into_iter().flatten() {
        // This fails for a folder that is not empty, as it should.
        let _ = fs::remove_dir(folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    #[test]
    fn ours_goes_and_what_others_left_or_use_stays() {
        let folder = tempfile::tempdir().expect("folder");
        let root = folder.path();
        let layout = Layout {
            state: "/var/lib/s".to_owned(),
            cache: "/c".to_owned(),
        };
        for path in [
            "var/log/containers",
            "var/lib/cni/results",
            "run/containerd/s",
            "var/lib/kubelet/device-plugins",
        ] {
            fs::create_dir_all(root.join(path)).expect("folder");
        }
        symlink(
            "/var/lib/s/logs/pods/x",
            root.join("var/log/containers/ours.log"),
        )
        .expect("link");
        symlink(
            "/var/log/pods/x",
            root.join("var/log/containers/theirs.log"),
        )
        .expect("link");
        for name in ["slipway-1-eth0", "other-1-eth0"] {
            fs::write(root.join("var/lib/cni/results").join(name), "").expect("file");
        }
        drop(UnixListener::bind(root.join("run/containerd/s/dead")).expect("socket"));
        let _listens = UnixListener::bind(root.join("run/containerd/s/alive")).expect("socket");
        drop(
            UnixListener::bind(root.join("var/lib/kubelet/device-plugins/kubelet.sock"))
                .expect("socket"),
        );

        remove_below(root, &layout);

        for (path, stays) in [
            ("var/log/containers/ours.log", false),
            ("var/log/containers/theirs.log", true),
            ("var/lib/cni/results/slipway-1-eth0", false),
            ("var/lib/cni/results/other-1-eth0", true),
            ("run/containerd/s/dead", false),
            ("run/containerd/s/alive", true),
            ("var/lib/kubelet", false),
            ("var/lib", true),
        ] {
            assert_eq!(
                fs::symlink_metadata(root.join(path)).is_ok(),
                stays,
                "{path}"
            );
        }
    }
}
