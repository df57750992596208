//! Sources before and after the builder has prepared them.

use std::{fs, path::Path};

use crate::builder::log::Log;
use crate::builder::source::{Found, prepare, read_procfile};

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn the_source_is_prepared_before_packs_see_it() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    write(root, ".git/HEAD", "x");
    write(root, ".slugignore", "*.psd\n/docs\n");
    write(root, "Procfile", "web: a\r\nworker: b\r\n");
    write(root, "a/b/c.psd", "x");
    write(root, "docs/deep/x.md", "x");
    write(root, "a/docs/kept", "x");
    let mut out = Vec::new();
    let notes = prepare(root, &mut Log::new(&mut out, None, &[])).unwrap();
    assert_eq!(notes, [""; 0]);
    assert!(!root.join(".git").exists() && !root.join("docs").exists());
    assert!(!root.join("a/b/c.psd").exists() && root.join("a/docs/kept").exists());
    assert_eq!(
        fs::read_to_string(root.join("Procfile")).unwrap(),
        "web: a\nworker: b\n"
    );
    let shown = String::from_utf8(out).unwrap();
    assert_eq!(
        shown,
        "-----> Deleting 2 files matching .slugignore patterns.\n       a/b/c.psd\n       docs/\n"
    );
}

#[test]
fn what_a_slugignore_cannot_do_or_should_not_is_told() {
    for (text, expected) in [
        (&b"*.md\n!README.md\n"[..], "\"!README.md\""),
        (b"Procfile\n", "takes Procfile out"),
        (b"\xff\xfe*\0", ".slugignore is UTF-16; save it as UTF-8"),
    ] {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "Procfile", "web: a\n");
        fs::write(root.path().join(".slugignore"), text).unwrap();
        let notes = prepare(root.path(), &mut Log::new(&mut Vec::new(), None, &[])).unwrap();
        assert!(notes.len() == 1 && notes[0].contains(expected), "{notes:?}");
    }
}

#[test]
fn many_files_that_are_left_out_are_counted() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), ".slugignore", "*.md\n");
    for n in 0..25 {
        write(root.path(), &format!("{n:02}.md"), "x");
    }
    let mut out = Vec::new();
    prepare(root.path(), &mut Log::new(&mut out, None, &[])).unwrap();
    let shown = String::from_utf8(out).unwrap();
    assert!(
        shown.ends_with("       19.md\n       and 5 more\n"),
        "{shown}"
    );
}

#[test]
fn a_procfile_that_is_not_read_is_told() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    assert_eq!(read_procfile(root), Ok(Found::default()));
    write(root, "Procfile.txt", "web: a\n");
    let told = || read_procfile(root).unwrap().note.unwrap();
    assert!(
        told().ends_with("git mv Procfile.txt Procfile"),
        "{}",
        told()
    );
    std::os::unix::fs::symlink("nowhere", root.join("Procfile")).unwrap();
    assert!(told().contains("a link to nothing"), "{}", told());
    fs::remove_file(root.join("Procfile")).unwrap();
    fs::create_dir(root.join("Procfile")).unwrap();
    assert!(told().contains("is a folder"), "{}", told());
    fs::remove_dir(root.join("Procfile")).unwrap();
    fs::write(root.join("Procfile"), b"\xff\xfew\0e\0b\0:\0").unwrap();
    let error = read_procfile(root).unwrap_err();
    assert_eq!(error, "Procfile is UTF-16; save it as UTF-8");
    fs::write(root.join("Procfile"), b"web: gr\xfcn").unwrap();
    assert!(told().contains("is not UTF-8"), "{}", told());
}

#[test]
fn each_end_of_a_line_becomes_a_newline() {
    for text in [
        "web: a\r\nworker: b\r\n",
        "web: a\rworker: b\r",
        "\u{feff}web: a\nworker: b\n",
    ] {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "Procfile", text);
        prepare(root.path(), &mut Log::new(&mut Vec::new(), None, &[])).unwrap();
        let written = fs::read_to_string(root.path().join("Procfile")).unwrap();
        assert_eq!(written, "web: a\nworker: b\n", "{text:?}");
    }
}

#[test]
fn links_that_leave_the_source_are_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    write(outside.path(), "kept", "x\r\n");
    let root = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), root.path().join("link")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("kept"), root.path().join("Procfile")).unwrap();
    write(root.path(), ".slugignore", "link\nkept\n");
    prepare(root.path(), &mut Log::new(&mut Vec::new(), None, &[])).unwrap();
    assert_eq!(
        fs::read_to_string(outside.path().join("kept")).unwrap(),
        "x\r\n"
    );
    assert!(fs::symlink_metadata(root.path().join("link")).is_err());
}
