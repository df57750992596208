//! `spec.storage`: volumes, and where they may be mounted.

use std::path::{Component, Path, PathBuf};

use slipway_crds::{
    names,
    v1alpha1::{AccessMode, LocalRef, ReleaseVolume, Storage},
};

use crate::domain::app::error::Errors;

/// Folders at and below which no volume may be mounted, and what they contain.
const RESERVED_MOUNTS: [(&str, &str); 5] = [
    ("/slipway", "the platform's programs"),
    ("/slipway-programs", "the platform's programs"),
    ("/proc", "what the kernel shows"),
    ("/sys", "what the kernel shows"),
    ("/dev", "the devices"),
];
/// Folders at which no volume may be mounted. Below them it may: images have folders for data there.
const SYSTEM_MOUNTS: [(&str, &str); 16] = [
    ("/bin", "the system's programs"),
    ("/boot", "the system"),
    (
        "/etc",
        "the system's settings, with those for names and certificates",
    ),
    ("/lib", "the system's libraries"),
    ("/lib32", "the system's libraries"),
    ("/lib64", "the system's libraries"),
    ("/libx32", "the system's libraries"),
    ("/sbin", "the system's programs"),
    ("/usr", "the system's programs"),
    ("/usr/bin", "the system's programs"),
    ("/usr/lib", "the system's libraries"),
    ("/usr/lib64", "the system's libraries"),
    ("/usr/local", "programs of the image"),
    ("/usr/local/bin", "programs of the image"),
    ("/usr/local/lib", "libraries of the image"),
    ("/usr/sbin", "the system's programs"),
];
/// Folders, in images that Slipway built, at and below which no volume may be mounted.
const PACKS_MOUNTS: [(&str, &str); 2] = [
    ("/app/.heroku", "what the buildpacks have installed"),
    ("/app/.profile.d", "the scripts with which a process starts"),
];

/// Why no volume may be mounted at this path: which files that a process needs it would hide.
fn hidden(mount_path: &str, built: bool) -> Option<String> {
    let path: PathBuf = Path::new(mount_path)
        .components()
        .filter(|part| !matches!(part, Component::CurDir))
        .collect();
    if path == Path::new("/app") || path.parent().is_none() {
        let what = "would hide the App's own files: use a directory below /app, or elsewhere";
        return Some(what.to_owned());
    }
    let whole = RESERVED_MOUNTS
        .iter()
        .map(|(folder, of)| (folder, of, true));
    let itself = SYSTEM_MOUNTS.iter().map(|(folder, of)| (folder, of, false));
    let packs = PACKS_MOUNTS.iter().filter(|_| built);
    let packs = packs.map(|(folder, of)| (folder, of, true));
    whole
        .chain(itself)
        .chain(packs)
        .find(|(folder, _, below)| {
            path == Path::new(folder) || (*below && path.starts_with(folder))
        })
        .map(|(folder, of, _)| {
            format!(
                "{folder} is not a place for data: a volume there would hide {of}; use a directory such as /app/data or /data"
            )
        })
}

/// The volume that an entry asks for; `None` if it does not say what is behind it.
pub(super) fn volume(
    app: &str,
    storage: &Storage,
    built: bool,
    errors: &mut Errors,
) -> Option<ReleaseVolume> {
    let field = format!("spec.storage.{}", storage.name);
    let mount_path = storage.mount_path.trim_end_matches('/').to_owned();
    if let Some(why) = hidden(&mount_path, built) {
        errors.add(format!("{field}.mountPath"), why);
    }
    let (claim, single_node) = match (&storage.claim, &storage.claim_template) {
        // The spec does not say how nodes may mount an existing claim, so only one node at a time is assumed.
        (Some(LocalRef { name }), None) => (name.clone(), true),
        (None, Some(template)) => {
            let mode = template.access_mode.unwrap_or_default();
            if mode == AccessMode::ReadOnlyMany && storage.read_only != Some(true) {
                errors.add(
                    format!("{field}.claimTemplate.accessMode"),
                    "ReadOnlyMany goes with readOnly: true",
                );
            }
            let single = matches!(
                mode,
                AccessMode::ReadWriteOnce | AccessMode::ReadWriteOncePod
            );
            (names::claim(app, &storage.name), single)
        }
        _ => {
            errors.add(&field, "has one of claim and claimTemplate");
            return None;
        }
    };
    Some(ReleaseVolume {
        name: storage.name.clone(),
        claim,
        mount_path,
        sub_path: storage.sub_path.clone(),
        read_only: storage.read_only.unwrap_or_default(),
        single_node,
        processes: storage.processes.clone(),
    })
}
