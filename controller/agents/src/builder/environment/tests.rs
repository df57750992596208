//! Which variables buildpacks see, and which they pass on.

use std::{collections::BTreeMap, ffi::OsString, os::unix::fs::PermissionsExt, path::Path};

use crate::builder::Paths;
use crate::builder::environment::{Environment, is_name, write_env_dir};
use slipway_base::zone::{frame::Mark, input::BuildInput};

fn input() -> BuildInput {
    BuildInput {
        mark: Mark::new("f00d".into()),
        stack_name: "heroku-24".into(),
        source_version: "c0ffee".into(),
        request_id: "uid".into(),
        source_date_epoch: 1,
        env: BTreeMap::from([("SECRET".into(), "value".into())]),
        secret_names: vec![],
        process_env: BTreeMap::from([
            ("PIP_INDEX_URL".into(), "https://mirror".into()),
            ("HOME".into(), "/elsewhere".into()),
        ]),
        timeout_seconds: 1,
        deadline: 0,
        disk_reserve_bytes: 0,
        log_bytes: None,
    }
}

#[test]
fn the_environment_is_a_list_and_nothing_of_the_app_is_on_it() {
    let paths = Paths::in_container("/b".into());
    let env: BTreeMap<OsString, OsString> = Environment::new(&input(), &paths)
        .base()
        .into_iter()
        .collect();
    let names: Vec<_> = env.keys().map(|k| k.to_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "BUILDPACK_LOG_FILE",
            "CURL_CONNECT_TIMEOUT",
            "CURL_TIMEOUT",
            "DYNO",
            "HOME",
            "LANG",
            "PATH",
            "PIP_INDEX_URL",
            "REQUEST_ID",
            "SOURCE_DATE_EPOCH",
            "SOURCE_VERSION",
            "STACK",
        ]
    );
    assert_eq!(env[&OsString::from("HOME")], "/app");
    assert!(
        env[&OsString::from("PATH")]
            .to_str()
            .unwrap()
            .ends_with(":/tmp/slipway/bin")
    );
}

#[test]
fn exports_are_for_later_compiles_only() {
    let mut environment = Environment::new(&input(), &Paths::in_container("/b".into()));
    environment.take(b"A=1\n2\0_=x\0SHLVL=1\0PATH=/x=y\0PWD=/\0\0");
    let exported: Vec<_> = environment.exported();
    assert_eq!(
        exported,
        [("A".into(), "1\n2".into()), ("PATH".into(), "/x=y".into())] as [(OsString, OsString); 2]
    );
    assert!(!environment.base().iter().any(|(name, _)| name == "A"));
}

#[test]
fn env_dir_has_exact_bytes_for_its_owner_only() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("env");
    let env = BTreeMap::from([
        ("LINES".to_owned(), "a\n'b' \n\n".to_owned()),
        ("EMPTY".to_owned(), String::new()),
        ("../x".to_owned(), "no".to_owned()),
        ("1A".to_owned(), "no".to_owned()),
    ]);
    assert_eq!(write_env_dir(&dir, &env).unwrap(), ["../x", "1A"]);
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    assert_eq!(
        (read("LINES").as_str(), read("EMPTY").as_str()),
        ("a\n'b' \n\n", "")
    );
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dir.join("LINES")), mode(&dir)), (0o400, 0o700));
    assert!(!root.path().join("x").exists());
}

#[test]
fn names_are_those_of_shells() {
    assert!(is_name("A_1") && is_name("_x"));
    assert!(!is_name("") && !is_name("1A") && !is_name("A-B") && !is_name("Ä"));
}
