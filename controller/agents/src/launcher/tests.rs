//! Command lines and images, and what the launcher runs in them.

use crate::launcher::arguments::{APP_DIR, Invocation, Process, invocation};
use crate::launcher::command::{path, profile};
use crate::launcher::*;
use std::ffi::OsString;
use std::path::Path;

fn parsed(args: &[&str]) -> Result<Invocation, String> {
    invocation(args.iter().map(OsString::from)).map_err(|error| error.to_string())
}

#[test]
fn a_command_is_one_argument_of_shell_text() {
    let shell = |text: &str| Invocation {
        dir: APP_DIR.into(),
        process: Process::Shell(text.into()),
    };
    assert_eq!(parsed(&["echo a && echo b"]), Ok(shell("echo a && echo b")));
    assert_eq!(parsed(&["--", "--odd"]), Ok(shell("--odd")));
    for (args, message) in [
        (&[][..], "nothing to run"),
        (&["echo", "a"], "a command is one argument"),
        (&["  "], "the command is empty"),
        (&["--"], "-- needs a command"),
        (&["--verbose", "x"], "unknown option"),
        (&["--exec"], "--exec needs a program"),
        (&["--reap", "--"], "--reap needs a program"),
        (&["--dir"], "--dir needs a folder"),
    ] {
        let error = parsed(args).unwrap_err();
        assert!(error.starts_with(message), "{args:?}: {error}");
        assert!(error.contains("usage: slipway-launcher"), "{error}");
    }
}

#[test]
fn exec_keeps_arguments_as_they_are() {
    let exec = |argv: &[&str]| Invocation {
        dir: "/srv".into(),
        process: Process::Exec(argv.iter().map(OsString::from).collect()),
    };
    assert_eq!(
        parsed(&["--dir", "/srv", "--exec", "rake", "a b", "--"]),
        Ok(exec(&["rake", "a b", "--"]))
    );
    assert_eq!(
        parsed(&["--dir", "/srv", "--exec", "--", "-x"]),
        Ok(exec(&["-x"]))
    );
    assert_eq!(
        parsed(&["--reap", "--", "/bin/sh", "-c", "a b"]),
        Ok(Invocation {
            dir: APP_DIR.into(),
            process: Process::Bare(["/bin/sh", "-c", "a b"].map(OsString::from).to_vec()),
        })
    );
}

#[test]
fn the_images_folders_stay_behind_a_path_of_the_apps() {
    let all = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    for (given, expected) in [
        (None, all.to_owned()),
        (Some(""), all.to_owned()),
        (Some("/app/bin"), format!("/app/bin:{all}")),
        (Some(all), all.to_owned()),
        (
            Some("/bin:/app/bin:/usr/local/bin"),
            "/bin:/app/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin".to_owned(),
        ),
    ] {
        assert_eq!(path(given.map(OsStr::new)), OsString::from(expected));
    }
}

#[test]
fn a_stop_is_read_from_the_environment() {
    let read = |reach: Option<&str>, seconds: Option<&str>| {
        stop(reach.map(OsStr::new), seconds.map(OsStr::new))
    };
    let all = |reach, seconds: Option<u64>| Stop {
        reach,
        seconds: seconds.map(Duration::from_secs),
    };
    assert_eq!(read(None, None), (all(Reach::Tree, None), None));
    assert_eq!(
        read(Some("group"), Some("30")),
        (all(Reach::Group, Some(30)), None)
    );
    assert_eq!(
        read(Some("tree"), Some("x")),
        (all(Reach::Tree, None), None)
    );
    let (stop, trouble) = read(Some("all"), Some("-1"));
    assert_eq!(stop, all(Reach::Tree, None));
    assert_eq!(
        trouble.unwrap(),
        "SLIPWAY_SIGTERM is neither `tree` nor `group`: it counts as `tree`"
    );
}

#[test]
fn scripts_are_sourced_in_byte_order_and_the_profile_last() {
    let app = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(app.path().join(".profile.d/folder.sh")).unwrap();
    for name in ["b.sh", "B.sh", "a.sh", "10.sh", "readme.txt", ".hidden.sh"] {
        std::fs::write(app.path().join(".profile.d").join(name), "x").unwrap();
    }
    let names = |app: &Path| -> Vec<String> {
        profile(app)
            .unwrap()
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect()
    };
    assert_eq!(names(app.path()), ["10.sh", "B.sh", "a.sh", "b.sh"]);
    std::fs::write(app.path().join(".profile"), "").unwrap();
    assert_eq!(
        names(app.path()).len(),
        4,
        "an empty .profile is nothing to source"
    );
    std::fs::write(app.path().join(".profile"), "x").unwrap();
    assert_eq!(names(app.path()).last().unwrap(), ".profile");
}
