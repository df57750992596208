//! The launcher as an app's image starts it: as a process, and as PID 1 of a namespace.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod stopping;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const LAUNCHER: &str = env!("CARGO_BIN_EXE_slipway-launcher");

fn app(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn launched(dir: &Path, args: &[&str]) -> Output {
    Command::new(LAUNCHER)
        .arg("--dir")
        .arg(dir)
        .args(args)
        .env("HOME", "/")
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {said}", output.status);
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// As PID 1: `unshare` forks it into a PID namespace of its own, which ends with it.
fn as_init(dir: &Path, command_line: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args([
        "--user",
        "--map-root-user",
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child",
        LAUNCHER,
        "--dir",
    ]);
    command.arg(dir).arg(command_line).stdin(Stdio::null());
    command
}

fn wait_for(what: &str, mut met: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !met() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// The launcher, seen from outside of its namespace.
fn init_of(unshare: &Child) -> rustix::process::Pid {
    let children = format!("/proc/{0}/task/{0}/children", unshare.id());
    let text = fs::read_to_string(children).unwrap();
    rustix::process::Pid::from_raw(text.split_whitespace().next().unwrap().parse().unwrap())
        .unwrap()
}

#[test]
fn profile_scripts_come_first_and_cannot_stop_the_process() {
    let app = app(&[
        (".profile.d/10-a.sh", "export A=1; return 3"),
        (
            ".profile.d/20-b.sh",
            "set -eu -o pipefail; B=$A; set -- lost",
        ),
        (
            ".profile.d/30-c.sh",
            "false; echo \"unset: $NOT_THERE\"; export C=$B$((1+1)); set -a",
        ),
        (".profile.d/40-note.txt", "exit 9"),
        (".profile", "export D=last"),
    ]);
    let output = launched(
        app.path(),
        &["echo \"$A $C  $D $(pwd) $HOME\" && echo \"${_slipway_command-none} $#\""],
    );
    let dir = app.path().display();
    assert_eq!(
        stdout(&output),
        format!("unset: \n1 12  last {dir} {dir}\nnone 0\n")
    );
}

#[test]
fn a_profile_script_that_ends_the_shell_is_told_and_the_app_starts_all_the_same() {
    let app = app(&[
        (".profile.d/10-apm.sh", "export A=1; no=2; exit 3"),
        (".profile.d/20-b.sh", "export B=2"),
        (".profile.d/30-strict.sh", "set -e; false; export C=3"),
        (".profile.d/40-unset.sh", "set -u; echo $no; export C=3"),
        (".profile.d/50-sub.sh", "export D=$(exit 4)4"),
        (".profile.d/60-mute.sh", "exec 2>/dev/null; exit 0"),
        (".profile", "export E=5; exit 6"),
    ]);
    let output = launched(
        app.path(),
        &[
            "--exec",
            "bash",
            "-c",
            "echo \"$A$B$C$D$E $@\"; env",
            "-",
            "a  b",
        ],
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let printed = stdout(&output);
    assert_eq!(printed.lines().next(), Some("1245 a  b"), "{said}");
    assert!(!printed.contains("\n_slipway"), "{printed}");
    for (script, code) in [
        (".profile.d/10-apm.sh", 3),
        (".profile.d/30-strict.sh", 1),
        (".profile.d/40-unset.sh", 127),
        (".profile.d/60-mute.sh", 0),
        (".profile", 6),
    ] {
        let path = app.path().join(script);
        let line = format!(
            "slipway-launcher: {} ended the shell with code {code} ",
            path.display()
        );
        assert!(said.contains(&line), "{line}\n{said}");
    }
    assert_eq!(said.matches("ended the shell").count(), 5, "{said}");
}

#[test]
fn the_images_programs_are_found_whatever_path_the_app_sets() {
    let app = app(&[(".profile.d/a.sh", "PATH=/first:$PATH")]);
    let mut command = Command::new(LAUNCHER);
    command
        .arg("--dir")
        .arg(app.path())
        .arg("sh -c 'echo $PATH'");
    let output = command.env("PATH", "/app/bin").output().unwrap();
    let path = "/first:/app/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n";
    assert_eq!(stdout(&output), path);
}

#[test]
fn a_command_is_shell_text_and_exec_is_not() {
    let app = app(&[]);
    assert_eq!(
        stdout(&launched(
            app.path(),
            &["FOO=x bash -c 'echo $FOO' | cat; echo $((1+2)) # comment"]
        )),
        "x\n3\n"
    );
    assert_eq!(
        stdout(&launched(
            app.path(),
            &["--exec", "printf", "%s|", "a  b", "$HOME", "--"]
        )),
        "a  b|$HOME|--|"
    );
    assert_eq!(launched(app.path(), &["exit 42"]).status.code(), Some(42));
    assert_eq!(
        launched(app.path(), &["kill -TERM $$"]).status.signal(),
        Some(15)
    );
    let missing = launched(app.path(), &["--exec", "no-such-program"]);
    assert_eq!(missing.status.code(), Some(127));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("no-such-program: not found"));
}

#[test]
fn in_an_image_that_is_not_ours_a_program_runs_where_and_as_it_is() {
    let elsewhere = app(&[]);
    let output = Command::new(LAUNCHER)
        .args(["--reap", "--", "/bin/sh", "-c", "pwd; echo $HOME"])
        .current_dir(elsewhere.path())
        .env("HOME", "/")
        .output()
        .unwrap();
    assert_eq!(
        stdout(&output),
        format!("{}\n/\n", elsewhere.path().display())
    );
}

#[test]
fn a_simple_command_becomes_the_process_itself() {
    let app = app(&[(".profile.d/a.sh", "true")]);
    let mut command = Command::new(LAUNCHER);
    command
        .arg("--dir")
        .arg(app.path())
        .arg("cat /proc/self/stat")
        .stdout(Stdio::piped());
    let child = command.spawn().unwrap();
    let id = child.id();
    assert!(stdout(&child.wait_with_output().unwrap()).starts_with(&format!("{id} (cat)")));
}

#[test]
fn what_is_missing_is_told() {
    let output = launched(Path::new("/no/such/app"), &["true"]);
    assert_eq!(output.status.code(), Some(127));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.starts_with("slipway-launcher: there is no folder /no/such/app: "),
        "{said}"
    );
}

#[test]
fn as_pid_1_the_exit_status_is_true() {
    let app = app(&[]);
    let code = |command: &str| as_init(app.path(), command).output().unwrap().status.code();
    let comm = as_init(app.path(), "[ $$ -ne 1 ] && cat /proc/1/comm")
        .output()
        .unwrap();
    assert_eq!(stdout(&comm), "slipway-launche\n");
    assert_eq!(code("exit 7"), Some(7));
    assert_eq!(code("kill -KILL $$"), Some(137));
    assert_eq!(code("no-such-program"), Some(127));
}

#[test]
fn as_pid_1_orphans_are_reaped() {
    let app = app(&[]);
    // The inner shell leaves an orphan behind, which ends while the process goes on.
    let script = "sh -c 'sleep 0.1 & echo $! > orphan'; while [ -e /proc/$(cat orphan) ]; do sleep 0.02; done; echo gone";
    let mut unshare = as_init(app.path(), script)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("the orphan's end", || unshare.try_wait().unwrap().is_some());
    assert_eq!(stdout(&unshare.wait_with_output().unwrap()), "gone\n");
}

#[test]
fn as_pid_1_what_still_answers_is_waited_for() {
    let app = app(&[]);
    // The shell is gone at once, as npm is; what it started has something to finish.
    let script = "(trap 'sleep 0.3; echo > drained; exit' TERM; echo > ready; while :; do sleep 0.05; done) & wait";
    let mut unshare = as_init(app.path(), script).spawn().unwrap();
    wait_for("the process", || app.path().join("ready").exists());
    rustix::process::kill_process(init_of(&unshare), rustix::process::Signal::TERM).unwrap();
    assert_eq!(unshare.wait().unwrap().code(), Some(143));
    assert!(app.path().join("drained").exists());
}

#[test]
fn as_pid_1_a_daemon_that_left_the_group_is_told_once_the_process_has_ended() {
    let app = app(&[]);
    let script = "trap '[ -e told ] || echo > ended; exit 5' TERM; \
                  setsid sh -c 'trap \"echo >> told; exit\" TERM; echo > ready; while :; do sleep 0.05; done' & \
                  while :; do sleep 0.05; done";
    let mut unshare = as_init(app.path(), script).spawn().unwrap();
    wait_for("the daemon", || app.path().join("ready").exists());
    rustix::process::kill_process(init_of(&unshare), rustix::process::Signal::TERM).unwrap();
    wait_for("the end", || unshare.try_wait().unwrap().is_some());
    assert_eq!(unshare.wait().unwrap().code(), Some(5));
    let read = |name| fs::read_to_string(app.path().join(name)).unwrap();
    assert_eq!((read("ended"), read("told")), ("\n".into(), "\n".into()));
}

#[test]
fn as_pid_1_a_process_that_ends_by_itself_takes_the_rest_along() {
    let app = app(&[]);
    assert_eq!(
        as_init(app.path(), "sleep 600 & exit 4")
            .output()
            .unwrap()
            .status
            .code(),
        Some(4)
    );
}

#[test]
fn as_pid_1_a_process_that_does_not_care_ends_by_the_signal() {
    let app = app(&[]);
    let mut unshare = as_init(app.path(), "echo > ready; sleep 600")
        .spawn()
        .unwrap();
    wait_for("the process", || app.path().join("ready").exists());
    rustix::process::kill_process(init_of(&unshare), rustix::process::Signal::TERM).unwrap();
    assert_eq!(unshare.wait().unwrap().code(), Some(143));
}
