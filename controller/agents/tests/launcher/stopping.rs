//! Who is told to end: real process trees, with a request under way while the launcher gets the signal as PID 1.

use super::{LAUNCHER, app, as_init, init_of, wait_for};
use rustix::process::{Signal, kill_process};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// Answers one request. As many servers it lets it finish when told to end, and goes at once when told again; it logs
/// the request before it answers.
const SERVER: &str = r#"
use strict; use IO::Socket::INET;
sub mark { my ($name, $text) = @_; open my $f, '>>', "$name.new" or die; print $f $text; close $f; rename "$name.new", $name }
open my $f, '>>', 'starts'; print $f "$$\n"; close $f;
my $told = 0;
$SIG{TERM} = sub { exit 9 if $told++; mark('told', '') };
my $listener = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1') or die;
mark('port', $listener->sockport);
my $client; until ($client = $listener->accept) {}
my $request; sysread $client, $request, 1000;
mark('busy', '');
select undef, undef, undef, 0.01 until $told;
select undef, undef, undef, 0.01 for 1 .. 40;
$| = 1; print "last words\n";
print $client "HTTP/1.0 200 OK\r\n\r\nanswered"; close $client;
"#;

/// As pnpm and yarn stand in the tree: they run `sh -c`, hear the signal, hand it to that shell and go with it.
const MANAGER: &str = r"
my $pid = fork // die; exec 'sh', '-c', 'perl server.pl; true' unless $pid;
$SIG{TERM} = sub { kill TERM => $pid };
until (waitpid($pid, 0) == $pid) {}
exit 1 if $?;
";

/// Its child holds a job, and knows nothing of signals: the parent lets it finish.
const PARENT: &str = r"
sub mark { open my $f, '>', shift or die; close $f }
my $pid = fork // die;
unless ($pid) { mark('busy'); select undef, undef, undef, 0.01 until -e 'go'; mark('saved'); exit 0 }
$SIG{TERM} = sub { mark('told') };
until (waitpid($pid, 0) == $pid) {}
exit($? >> 8 || $? & 127);
";

fn world() -> tempfile::TempDir {
    let dir = app(&[
        ("server.pl", SERVER),
        ("manager.pl", MANAGER),
        ("parent.pl", PARENT),
        (
            "package.json",
            r#"{"name": "x", "version": "1.0.0", "scripts": {"start": "perl server.pl"}}"#,
        ),
        ("start.sh", "#!/bin/sh\nperl server.pl\necho never > next\n"),
    ]);
    let start = dir.path().join("start.sh");
    fs::set_permissions(&start, fs::Permissions::from_mode(0o755)).unwrap();
    // What a process is, its executable says.
    let perl = Command::new("sh")
        .args(["-c", "command -v perl"])
        .output()
        .unwrap();
    let perl = String::from_utf8(perl.stdout).unwrap();
    fs::copy(perl.trim(), dir.path().join("pnpm")).unwrap();
    dir
}

/// What a test has started goes with it, however it ends.
struct Running(Option<Child>);

impl Running {
    fn child(&mut self) -> &mut Child {
        self.0.as_mut().unwrap()
    }

    fn signal(&mut self, signal: Signal) {
        kill_process(init_of(self.child()), signal).unwrap();
    }

    fn finished(mut self) -> (Output, String) {
        wait_for("the end", || self.child().try_wait().unwrap().is_some());
        let output = self.0.take().unwrap().wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output, said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // It may have ended by itself.
            let _ = child.kill().and_then(|()| child.wait());
        }
    }
}

fn spawned(command: &mut Command) -> Running {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    Running(Some(command.spawn().unwrap()))
}

/// Sends the signal while a request is under way: what came back, and what the process printed.
fn stopped_while_serving(dir: &Path, command: &mut Command) -> (String, Output) {
    let mut unshare = spawned(command);
    wait_for("the server", || dir.join("port").exists());
    let port: u16 = fs::read_to_string(dir.join("port"))
        .unwrap()
        .parse()
        .unwrap();
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    wait_for("the request", || dir.join("busy").exists());
    unshare.signal(Signal::TERM);
    let mut answer = String::new();
    // A connection that breaks off is an answer as well.
    let _ = client.read_to_string(&mut answer);
    (answer, unshare.finished().0)
}

fn loses_nothing(line: &str, program: impl Fn(&Path) -> Command) {
    let dir = world();
    let (answer, output) = stopped_while_serving(dir.path(), &mut program(dir.path()));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        answer.ends_with("answered"),
        "{line}: {answer:?} {printed} {said}"
    );
    assert!(printed.contains("last words"), "{line}: {printed} {said}");
    let starts = fs::read_to_string(dir.path().join("starts")).unwrap();
    assert_eq!(starts.lines().count(), 1, "{line}: started again: {said}");
    assert!(!dir.path().join("next").exists(), "{line}: went on");
}

#[test]
fn no_request_is_lost_behind_whatever_starts_the_server() {
    let lines = [
        "perl server.pl",
        "perl server.pl; echo never > next",
        "exec sh -c 'perl server.pl; echo never > next'",
        "./start.sh",
        "perl server.pl | cat",
        "perl server.pl 2>&1 | sh -c 'while read -r line; do echo \"$line\"; done' | cat",
        "exec > >(cat); perl server.pl; echo never > next",
        "while read -r line; do echo \"$line\"; done < <(perl server.pl)",
        "while :; do perl server.pl; done",
        "timeout 60 perl server.pl",
        "(perl server.pl; echo never > next) & wait",
        "./pnpm manager.pl",
        "sh -c './pnpm manager.pl; true'",
        // Such scripts pass the signal on themselves.
        "trap 'kill -TERM $pid; wait $pid' TERM; perl server.pl & pid=$!; wait $pid",
        "exec sh -c 'trap \"kill \\$pid; wait \\$pid\" TERM; perl server.pl & pid=$!; wait $pid'",
    ];
    std::thread::scope(|scope| {
        for line in lines {
            scope.spawn(move || loses_nothing(line, |dir| as_init(dir, line)));
        }
    });
}

#[test]
fn no_request_is_lost_behind_a_shell_of_another_image() {
    loses_nothing("--reap", |dir| {
        let init = as_init(dir, "");
        let mut command = Command::new(init.get_program());
        command
            .args(init.get_args().take_while(|arg| *arg != LAUNCHER))
            .args([LAUNCHER, "--reap", "--", "/bin/sh", "-c"])
            .arg("perl server.pl | cat; echo never > next")
            .current_dir(dir)
            .stdin(Stdio::null());
        command
    });
}

#[test]
fn no_request_is_lost_behind_npm_where_this_machine_has_it() {
    if Command::new("npm").arg("--version").output().is_err() {
        eprintln!("no npm on this machine: the stand-in has to do");
        return;
    }
    std::thread::scope(|scope| {
        for shell in ["/bin/sh", "/bin/bash"] {
            scope.spawn(move || {
                loses_nothing(shell, |dir| {
                    let mut command = as_init(dir, "npm start");
                    command.env("npm_config_script_shell", shell);
                    command.env("npm_config_update_notifier", "false");
                    command
                });
            });
        }
    });
}

#[test]
fn a_parent_may_let_its_child_finish_unless_the_group_is_told() {
    for (reach, saved, code) in [("tree", true, 0), ("group", false, 15)] {
        let dir = world();
        let mut command = as_init(dir.path(), "perl parent.pl");
        let mut unshare = spawned(command.env("SLIPWAY_SIGTERM", reach));
        wait_for("the job", || dir.path().join("busy").exists());
        unshare.signal(Signal::TERM);
        wait_for("the signal", || dir.path().join("told").exists());
        fs::write(dir.path().join("go"), "").unwrap();
        let (output, said) = unshare.finished();
        assert_eq!(output.status.code(), Some(code), "{reach}: {said}");
        assert_eq!(dir.path().join("saved").exists(), saved, "{reach}: {said}");
    }
}

#[test]
fn another_signal_reaches_the_program_and_no_shell() {
    let dir = app(&[]);
    let script = "sh -c 'trap \"echo > reloaded\" HUP; echo > ready; until [ -e reloaded ]; do sleep 0.02; done' ; echo > after";
    let mut unshare = spawned(&mut as_init(dir.path(), script));
    wait_for("the program", || dir.path().join("ready").exists());
    unshare.signal(Signal::HUP);
    let (output, said) = unshare.finished();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(dir.path().join("after").exists());
}

/// As [`as_init`], with `setup` before it, in mounts of its own.
fn as_init_after(dir: &Path, setup: &str, command_line: &str) -> Command {
    let inner = as_init(dir, command_line);
    let mut command = Command::new(inner.get_program());
    let args: Vec<_> = inner.get_args().collect();
    let launcher = args.iter().position(|arg| *arg == LAUNCHER).unwrap();
    let (before, rest) = args.split_at(launcher);
    command.args(before);
    command.args(["sh", "-c", &format!("set -e; {setup}; exec \"$@\""), "-"]);
    command.args(rest).current_dir(dir).stdin(Stdio::null());
    command
}

#[test]
fn what_has_to_be_killed_is_told_before() {
    let dir = app(&[(
        "deaf.pl",
        "$SIG{TERM} = 'IGNORE'; open F, '>', 'ready'; close F; sleep 600",
    )]);
    let setup = "mkdir dev; mount -t tmpfs dev dev; touch dev/null dev/termination-log; \
                 mount --bind /dev/null dev/null; mount --rbind dev /dev";
    let mut command = as_init_after(
        dir.path(),
        setup,
        "perl deaf.pl & wait; cat /dev/termination-log",
    );
    let mut unshare = spawned(command.env("SLIPWAY_STOP_SECONDS", "2"));
    wait_for("the program", || dir.path().join("ready").exists());
    unshare.signal(Signal::TERM);
    let log = format!(
        "/proc/{}/root/dev/termination-log",
        init_of(unshare.child()).as_raw_nonzero()
    );
    let told = || fs::read_to_string(&log).unwrap_or_default();
    wait_for("the last words", || told().ends_with('\n'));
    let words = told();
    assert!(
        words.starts_with("told to end, and still running: "),
        "{words}"
    );
    assert!(words.contains("perl (PID "), "{words}");
    assert!(
        words.ends_with("what has not ended in 0.5 s is killed (deadlines.stop)\n"),
        "{words}"
    );
    unshare.child().kill().unwrap();
    let (_, said) = unshare.finished();
    assert_eq!(said, format!("slipway-launcher: {words}"));
}

#[test]
fn a_child_that_was_killed_for_memory_is_told() {
    let dir = app(&[]);
    let setup = "mount -t tmpfs cgroup /sys/fs/cgroup; echo 67108864 > /sys/fs/cgroup/memory.max; \
                 echo oom_kill 0 > /sys/fs/cgroup/memory.events";
    let script = "sh -c 'sh -c \"echo oom_kill 1 > /sys/fs/cgroup/memory.events; kill -KILL \\$\\$\" & exit'; \
                  until [ -e seen ]; do sleep 0.02; done";
    let mut command = as_init_after(dir.path(), setup, script);
    let said = dir.path().join("said");
    command.stderr(fs::File::create(&said).unwrap());
    let mut unshare = Running(Some(command.spawn().unwrap()));
    let read = || fs::read_to_string(&said).unwrap();
    wait_for("the news", || read().ends_with("go on\n"));
    fs::write(dir.path().join("seen"), "").unwrap();
    assert_eq!(unshare.child().wait().unwrap().code(), Some(0));
    assert_eq!(
        read(),
        "slipway-launcher: the kernel has killed a process, because the memory limit (64 MiB) was reached by this container; the others go on\n"
    );
}
