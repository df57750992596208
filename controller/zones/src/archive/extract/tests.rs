//! Archives, made by hand, that are unpacked or refused.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use tar::{Builder, EntryType, Header};

use crate::archive::{ArchiveError, Dir, Limits, extract, extract_gzip};

const LIMITS: Limits = Limits {
    entries: 100,
    bytes: 1 << 20,
};

enum E<'a> {
    File(&'a str, &'a str, u32),
    Folder(&'a str, u32),
    Link(&'a str, &'a str),
    Hard(&'a str, &'a str),
    Special(&'a str, EntryType),
}

/// Writes names as they are: the tar library itself would refuse the bad ones.
fn archive(entries: &[E<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for entry in entries {
        let mut header = Header::new_gnu();
        let raw = |header: &mut Header, name: &str| {
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        };
        let link = |header: &mut Header, name: &str| {
            header.as_old_mut().linkname[..name.len()].copy_from_slice(name.as_bytes());
        };
        let mut data: &[u8] = b"";
        header.set_mode(0o644);
        match entry {
            E::File(name, text, mode) => {
                raw(&mut header, name);
                header.set_mode(*mode);
                data = text.as_bytes();
            }
            E::Folder(name, mode) => {
                raw(&mut header, name);
                header.set_mode(*mode);
                header.set_entry_type(EntryType::Directory);
            }
            E::Link(name, target) => {
                raw(&mut header, name);
                link(&mut header, target);
                header.set_entry_type(EntryType::Symlink);
            }
            E::Hard(name, target) => {
                raw(&mut header, name);
                link(&mut header, target);
                header.set_entry_type(EntryType::Link);
            }
            E::Special(name, kind) => {
                raw(&mut header, name);
                header.set_entry_type(*kind);
            }
        }
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append(&header, data).unwrap();
    }
    builder.into_inner().unwrap()
}

fn into(root: &Path, entries: &[E<'_>]) -> Result<u64, ArchiveError> {
    extract(&archive(entries)[..], &Dir::open(root).unwrap(), LIMITS)
}

#[test]
fn a_tree_arrives_without_setuid_and_with_room_for_its_owner() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let bytes = into(
        root,
        &[
            E::Folder("./", 0o755),
            E::Folder("ro/", 0o555),
            E::File("ro/run", "x", 0o6755),
            E::File("plain", "yy", 0o444),
            E::Link("abs", "/etc/passwd"),
            E::Hard("again", "plain"),
            E::File("plain2", "old", 0o644),
            E::File("plain2", "new", 0o644),
        ],
    )
    .unwrap();
    assert_eq!(bytes, 9);
    let mode = |name: &str| {
        root.join(name)
            .symlink_metadata()
            .unwrap()
            .permissions()
            .mode()
            & 0o7777
    };
    assert_eq!(
        (mode("ro"), mode("ro/run"), mode("plain")),
        (0o755, 0o755, 0o644)
    );
    assert_eq!(
        fs::read_link(root.join("abs")).unwrap(),
        Path::new("/etc/passwd")
    );
    assert_eq!(fs::read_to_string(root.join("again")).unwrap(), "yy");
    assert_eq!(fs::read_to_string(root.join("plain2")).unwrap(), "new");
}

#[test]
fn nothing_leaves_the_folder() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("victim"), "safe").unwrap();
    let out = outside.path().to_str().unwrap().to_owned();
    let up = format!(
        "../{}/victim",
        outside.path().file_name().unwrap().to_str().unwrap()
    );
    let absolute = format!("{out}/victim");
    let cases: Vec<Vec<E<'_>>> = vec![
        vec![E::File(&absolute, "bad", 0o644)],
        vec![E::File(&up, "bad", 0o644)],
        vec![E::File("a/../../x", "bad", 0o644)],
        vec![E::Link("link", &out), E::File("link/victim", "bad", 0o644)],
        vec![E::Link("link", &out), E::Folder("link/sub/", 0o755)],
        vec![E::Link("link", &out), E::Folder("link", 0o755)],
        vec![
            E::Link("a", "b"),
            E::Link("b", &out),
            E::File("a/victim", "bad", 0o644),
        ],
        vec![E::Link("link", &out), E::Hard("hard", "link/victim")],
        vec![E::Hard("hard", &absolute)],
        vec![E::Hard("hard", &up)],
        vec![E::Link("s", &absolute), E::Hard("hard", "s")],
        vec![E::Special("dev", EntryType::Char)],
        vec![E::Special("pipe", EntryType::Fifo)],
        vec![E::File("f", "x", 0o644), E::File("f/x", "bad", 0o644)],
    ];
    for (index, entries) in cases.iter().enumerate() {
        let root = tempfile::tempdir().unwrap();
        let error = into(root.path(), entries).unwrap_err();
        assert!(
            matches!(error, ArchiveError::Refused { .. }),
            "case {index}: {error}"
        );
        assert_eq!(
            fs::read_to_string(outside.path().join("victim")).unwrap(),
            "safe"
        );
        assert_eq!(
            fs::read_dir(outside.path()).unwrap().count(),
            1,
            "case {index}"
        );
    }
    // A file over a link replaces the link, not what it points at.
    let root = tempfile::tempdir().unwrap();
    into(
        root.path(),
        &[E::Link("x", &absolute), E::File("x", "mine", 0o644)],
    )
    .unwrap();
    assert_eq!(
        fs::read_to_string(outside.path().join("victim")).unwrap(),
        "safe"
    );
    assert_eq!(fs::read_to_string(root.path().join("x")).unwrap(), "mine");
}

#[test]
fn too_much_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let dir = Dir::open(root.path()).unwrap();
    let few = Limits {
        entries: 1,
        bytes: 3,
    };
    let two = archive(&[E::File("a", "x", 0o644), E::File("b", "y", 0o644)]);
    assert!(matches!(
        extract(&two[..], &dir, few),
        Err(ArchiveError::TooMuch { limit: 1, .. })
    ));
    let long = archive(&[E::File("c", "xxxx", 0o644)]);
    assert!(matches!(
        extract(&long[..], &dir, few),
        Err(ArchiveError::TooMuch { limit: 3, .. })
    ));
    assert!(matches!(
        extract(&long[..700], &dir, LIMITS),
        Ok(_) | Err(ArchiveError::Damaged(_))
    ));
    assert!(matches!(
        extract_gzip(&b"no gzip at all"[..], &dir, LIMITS),
        Err(ArchiveError::Damaged(_))
    ));
}
