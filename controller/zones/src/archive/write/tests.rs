//! Trees on this disk → archives: what they hold, and what stops them.

use std::{
    fs,
    io::{Seek, SeekFrom},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    sync::Arc,
};

use crate::archive::write::{
    Blob, Known, Modes, Owner, Stored, TreeOptions, WriteError, write_blob, write_blob_unless,
};
use crate::archive::{Dir, Limits, extract_gzip};

const OPTIONS: TreeOptions = TreeOptions {
    owner: Owner { user: 7, group: 8 },
    time: 42,
    modes: Modes::Kept,
    max_bytes: 1 << 20,
    max_entries: 1000,
};

fn blob(root: &Path, options: TreeOptions) -> Result<Blob, WriteError> {
    let dir = Dir::open(root).unwrap();
    write_blob(options, |writer| {
        writer.tree(&dir, Path::new("app"), &|name| name == "skipped")
    })
}

fn fill(root: &Path, order: &[usize]) {
    let long = "long-".repeat(40);
    for index in order {
        match index {
            0 => fs::write(root.join("b"), "bb").unwrap(),
            1 => fs::create_dir_all(root.join("a/deep")).unwrap(),
            2 => symlink("/etc/passwd", root.join("link")).unwrap(),
            3 => fs::write(root.join(&long), "x").unwrap(),
            _ => fs::write(root.join("skipped"), "x").unwrap(),
        }
    }
    fs::set_permissions(root.join("b"), fs::Permissions::from_mode(0o4750)).unwrap();
    fs::write(root.join("a/deep/file"), vec![b'z'; 5000]).unwrap();
}

#[test]
fn the_same_tree_gives_the_same_bytes_whenever_it_was_written() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fill(one.path(), &[0, 1, 2, 3, 4]);
    fill(two.path(), &[4, 3, 2, 1, 0]);
    let (one, two) = (
        blob(one.path(), OPTIONS).unwrap(),
        blob(two.path(), OPTIONS).unwrap(),
    );
    assert_eq!(
        (&one.digest, &one.diff_id, one.size),
        (&two.digest, &two.diff_id, two.size)
    );
    assert_eq!(one.entries, 6);
}

#[test]
fn a_tree_comes_back_as_it_was() {
    let root = tempfile::tempdir().unwrap();
    fill(root.path(), &[0, 1, 2, 3]);
    let blob = blob(root.path(), OPTIONS).unwrap();
    let mut file = blob.file.unwrap().try_clone().unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    let back = tempfile::tempdir().unwrap();
    extract_gzip(
        file,
        &Dir::open(back.path()).unwrap(),
        Limits {
            entries: 100,
            bytes: 1 << 20,
        },
    )
    .unwrap();
    let at = |path: &str| back.path().join("app").join(path);
    assert_eq!(fs::read(at("a/deep/file")).unwrap().len(), 5000);
    assert_eq!(fs::read_link(at("link")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(
        at("b").metadata().unwrap().permissions().mode() & 0o7777,
        0o750
    );
}

#[test]
fn pipes_are_left_out_and_the_first_are_named() {
    let root = tempfile::tempdir().unwrap();
    for n in 0..8 {
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.path().join(format!("pipe{n}")),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
    }
    let left_out = blob(root.path(), OPTIONS).unwrap().left_out;
    assert_eq!((left_out.count, left_out.first.len()), (8, 5));
    assert_eq!(left_out.first[0], Path::new("app/pipe0"));
    // Left-out entries count, too, because they were read.
    let few = TreeOptions {
        max_entries: 7,
        ..OPTIONS
    };
    assert!(matches!(
        blob(root.path(), few),
        Err(WriteError::TooMuch { .. })
    ));
}

#[test]
fn what_is_known_is_not_packed_again() {
    let root = tempfile::tempdir().unwrap();
    fill(root.path(), &[0, 1]);
    let unless = |known: &Known| {
        let dir = Dir::open(root.path()).unwrap();
        // The limit is exactly the size of the tree: the tree is read twice but counts once.
        let options = TreeOptions {
            max_bytes: 5002,
            ..OPTIONS
        };
        write_blob_unless(known, options, Arc::default(), |writer| {
            writer.tree(&dir, Path::new("app"), &|_| false)
        })
        .unwrap()
    };
    let first = unless(&Known::new());
    let stored = |of: &Blob| Stored {
        digest: of.digest.clone(),
        size: of.size,
    };
    let known = Known::from([(first.diff_id.clone(), stored(&first))]);
    let again = unless(&known);
    assert!(first.file.is_some() && again.file.is_none());
    assert_eq!(
        (stored(&again), again.entries),
        (stored(&first), first.entries)
    );
    fs::write(root.path().join("b"), "cc").unwrap();
    let other = unless(&known);
    assert!(other.file.is_some() && other.diff_id != first.diff_id);
}

#[test]
fn archives_of_one_image_share_its_limits() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a"), vec![b'z'; 600]).unwrap();
    for options in [
        TreeOptions {
            max_bytes: 1000,
            ..OPTIONS
        },
        TreeOptions {
            max_entries: 1,
            ..OPTIONS
        },
    ] {
        let used = Arc::default();
        let write = || {
            write_blob_unless(&Known::new(), options, Arc::clone(&used), |writer| {
                writer.tree(&Dir::open(root.path()).unwrap(), Path::new("app"), &|_| {
                    false
                })
            })
        };
        write().unwrap();
        assert!(matches!(write(), Err(WriteError::TooMuch { .. })));
    }
}

#[test]
fn too_much_is_refused() {
    let root = tempfile::tempdir().unwrap();
    fill(root.path(), &[0, 1]);
    let few = TreeOptions {
        max_entries: 2,
        ..OPTIONS
    };
    assert!(matches!(
        blob(root.path(), few),
        Err(WriteError::TooMuch { .. })
    ));
    let small = TreeOptions {
        max_bytes: 100,
        ..OPTIONS
    };
    assert!(matches!(
        blob(root.path(), small),
        Err(WriteError::TooMuch { .. })
    ));
    let deep: std::path::PathBuf = std::iter::repeat_n("d", 300).collect();
    fs::create_dir_all(root.path().join(deep)).unwrap();
    assert!(matches!(
        blob(root.path(), OPTIONS),
        Err(WriteError::TooDeep(_))
    ));
}
