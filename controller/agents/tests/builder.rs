//! The build engine as a process, with packs that poke the contract (`tests/fixtures/packs`), in a folder instead of
//! a container: nothing here needs root.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "helpers of tests fail as tests do; a test reads the clock"
)]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{
        fs::{PermissionsExt, lchown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use slipway_agents::builder::Paths;
use slipway_base::zone::{
    frame::{Collector, Mark, Piece, Splitter},
    input::BuildInput,
    report::{BuildReport, Pack, Packs, exit},
};

struct Build {
    root: tempfile::TempDir,
    paths: Paths,
    packs: Packs,
    input: BuildInput,
    /// Runs the builder, where it is not who runs the test.
    user: Option<u32>,
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap()
}

struct Outcome {
    code: u8,
    log: String,
    report: BuildReport,
}

impl Outcome {
    fn failure(&self) -> (&str, Option<&str>, Option<i32>) {
        let failure = self.report.failure.as_ref().unwrap();
        (&failure.step, failure.pack.as_deref(), failure.exit_code)
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

impl Build {
    fn new(explicit: bool, packs: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::below(root.path(), env!("CARGO_BIN_EXE_slipway-builder").into());
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/packs");
        let mut list = Packs {
            explicit,
            packs: vec![],
        };
        for (index, name) in packs.iter().enumerate() {
            let folder = format!("{index:02}-{name}");
            copy(&fixtures.join(name), &paths.packs_dir().join(&folder));
            list.packs.push(Pack {
                name: (*name).to_owned(),
                folder,
                digest: format!("sha256:{name}"),
            });
        }
        for dir in [
            paths.build_dir(),
            paths.cache_dir(),
            paths.programs(),
            paths.home.clone(),
        ] {
            fs::create_dir_all(dir).unwrap();
        }
        fs::create_dir_all(paths.input.parent().unwrap()).unwrap();
        let input = BuildInput {
            mark: Mark::new("f00d".into()),
            stack_name: "heroku-24".into(),
            source_version: "c0ffee".into(),
            request_id: "uid".into(),
            source_date_epoch: 315_532_800,
            env: BTreeMap::new(),
            secret_names: vec![],
            process_env: BTreeMap::from([("PIP_INDEX_URL".into(), "https://mirror".into())]),
            timeout_seconds: 60,
            deadline: now() + 60,
            disk_reserve_bytes: 0,
            log_bytes: None,
        };
        Self {
            root,
            paths,
            packs: list,
            input,
            user: None,
        }
    }

    /// One pack that does what the source says.
    fn asking(scripts: &[(&str, &str)]) -> Self {
        let build = Self::new(true, &["asks"]);
        for (name, text) in scripts {
            build.source(&format!("pack/{name}"), text);
        }
        build
    }

    fn source(&self, path: &str, text: &str) {
        let path = self.paths.build_dir().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn built(&self, path: &str) -> String {
        fs::read_to_string(self.paths.build_dir().join(path)).unwrap()
    }

    fn env(mut self, name: &str, value: &str, secret: bool) -> Self {
        self.input.env.insert(name.into(), value.into());
        if secret {
            self.input.secret_names.push(name.into());
        }
        self
    }

    /// The builder, where everything that it needs is its user's.
    fn command(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_slipway-builder");
        let Some(user) = self.user else {
            return Command::new(program);
        };
        let own = self.root.path().join("builder");
        fs::copy(program, &own).unwrap();
        for entry in walkdir::WalkDir::new(self.root.path()) {
            lchown(entry.unwrap().path(), Some(user), Some(user)).unwrap();
        }
        let mut command = Command::new(own);
        command.uid(user).gid(user);
        command
    }

    fn run(&self) -> Outcome {
        fs::write(
            self.paths.packs_file(),
            serde_json::to_vec(&self.packs).unwrap(),
        )
        .unwrap();
        fs::write(&self.paths.input, serde_json::to_vec(&self.input).unwrap()).unwrap();
        let output = self
            .command()
            .arg("--root")
            .arg(self.root.path())
            .env("FROM_OUTSIDE", "must not be seen")
            .env("GIT_DIR", "/nowhere")
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        // It holds the values of Secrets: packs find it no more.
        assert!(!self.paths.input.exists());
        let (mut log, mut collector) = (Vec::new(), Collector::new(self.input.mark.clone()));
        Splitter::default().push(&output.stdout, |piece| match piece {
            Piece::Log(bytes) => log.extend_from_slice(bytes),
            Piece::Frame(frame) => collector.take(frame),
        });
        let report = collector.finish().expect("it ends with its report");
        assert_eq!(report, fs::read(self.paths.result_file()).unwrap());
        Outcome {
            code: u8::try_from(output.status.code().unwrap()).unwrap(),
            log: String::from_utf8(log).unwrap(),
            report: serde_json::from_slice(&report).unwrap(),
        }
    }
}

#[test]
fn what_a_pack_exports_reaches_the_next_compile_and_nothing_else() {
    let build = Build::new(true, &["first", "second"]).env("CONFIG", "only in ENV_DIR", false);
    let outcome = build.run();
    assert_eq!(outcome.code, exit::OK, "{}", outcome.log);
    let expected = "-----> First app detected\n-----> First was here\n-----> Second app detected\n       first told second\n\
                    -----> Discovering process types\n       Default types for buildpack -> web\n";
    assert_eq!(outcome.log, expected);
    let web = BTreeMap::from([("web".to_owned(), "serve --port $PORT; true".to_owned())]);
    assert_eq!(outcome.report.processes, web);
    let names = build.built("names-of-second");
    let names: Vec<_> = names
        .lines()
        .filter(|n| !["_", "PWD", "SHLVL", "OLDPWD"].contains(n))
        .collect();
    assert_eq!(
        names,
        [
            "BUILDPACK_LOG_FILE",
            "CURL_CONNECT_TIMEOUT",
            "CURL_TIMEOUT",
            "DECLARED",
            "DYNO",
            "FROM_FIRST",
            "HOME",
            "LANG",
            "LINES_OF_FIRST",
            "PATH",
            "PIP_INDEX_URL",
            "REQUEST_ID",
            "SOURCE_DATE_EPOCH",
            "SOURCE_VERSION",
            "STACK",
            "UNSET_IS_FINE",
        ]
    );
    let packs: Vec<_> = outcome
        .report
        .packs
        .iter()
        .map(|p| (p.name.as_str(), p.detected.as_str(), p.digest.as_str()))
        .collect();
    assert_eq!(
        packs,
        [
            ("first", "First", "sha256:first"),
            ("second", "Second", "sha256:second")
        ]
    );
    let steps: Vec<_> = outcome
        .report
        .timings
        .iter()
        .map(|t| t.step.as_str())
        .collect();
    assert_eq!(
        steps,
        [
            "detect/first",
            "compile/first",
            "detect/second",
            "compile/second",
            "release"
        ]
    );
}

#[test]
fn env_dir_has_exact_bytes_and_the_environment_has_none_of_it() {
    let value = "a line\n 'quotes' \"and\" $HOME\n\n";
    let build = Build::asking(&[(
        "compile",
        "cp \"$3/LINES\" \"$1/seen\"; stat -c %a \"$3/LINES\" >\"$1/mode\"; [[ -z ${LINES_+x}${FROM_OUTSIDE+x}${GIT_DIR+x} ]] || exit 9\n\
         env | grep -c 'quotes' >\"$1/count\"; pwd >\"$1/cwd\"; echo \"$HOME\" >\"$1/home\"; cat >\"$1/stdin\"; ps -o sid= -p $$ >/dev/null 2>&1; true",
    )])
    .env("LINES", value, false);
    let outcome = build.run();
    assert_eq!(outcome.code, exit::OK, "{}", outcome.log);
    assert_eq!(build.built("seen"), value);
    assert_eq!(
        (build.built("mode").trim(), build.built("count").trim()),
        ("400", "0")
    );
    assert_eq!(
        build.built("cwd").trim(),
        build.paths.build_dir().to_str().unwrap()
    );
    assert_eq!(
        build.built("home").trim(),
        build.paths.home.to_str().unwrap()
    );
    assert_eq!(build.built("stdin"), "");
}

#[test]
fn a_pack_without_x_bits_runs() {
    let build = Build::new(true, &["plain"]);
    let helper = build.paths.packs_dir().join("00-plain/bin/helper");
    for name in ["detect", "compile", "helper"] {
        fs::set_permissions(
            helper.with_file_name(name),
            fs::Permissions::from_mode(0o644),
        )
        .unwrap();
    }
    let outcome = build.run();
    assert_eq!(outcome.code, exit::OK, "{}", outcome.log);
    assert_eq!(build.built("plain-was-here"), "plain\n");
    // It prints no name, and has no release: neither is needed.
    assert!(
        outcome.log.contains("-----> plain app detected\n"),
        "{}",
        outcome.log
    );
    assert!(
        outcome.log.contains("No process types found"),
        "{}",
        outcome.log
    );
}

#[test]
fn a_detect_that_refuses_stops_an_explicit_build_and_says_why() {
    let build = Build::asking(&[
        ("detect", "echo on stdout; echo needs a file >&2; exit 3"),
        ("compile", "touch \"$1/ran\""),
    ]);
    let outcome = build.run();
    assert_eq!(outcome.code, exit::DETECT);
    assert_eq!(outcome.failure(), ("detect", Some("asks"), Some(3)));
    assert!(
        outcome
            .log
            .contains("       on stdout\n       needs a file\n"),
        "{}",
        outcome.log
    );
    assert!(!build.paths.build_dir().join("ran").exists());
}

#[test]
fn detection_takes_the_first_that_accepts_and_hides_what_the_others_say() {
    let build = Build::new(false, &["asks", "first", "second"]);
    build.source("pack/detect", "echo noise >&2; exit 1");
    let outcome = build.run();
    assert_eq!(outcome.code, exit::OK, "{}", outcome.log);
    assert!(!outcome.log.contains("noise"), "{}", outcome.log);
    assert!(
        outcome.log.contains("Detected buildpacks: first second"),
        "{}",
        outcome.log
    );
    assert_eq!(outcome.report.packs.len(), 1);

    let build = Build::new(false, &["asks"]);
    build.source("pack/detect", "exit 1");
    build.source("README.md", "x");
    let outcome = build.run();
    assert_eq!(outcome.code, exit::DETECT);
    let message = &outcome.report.failure.as_ref().unwrap().message;
    assert!(
        message.contains("(asked: asks)") && message.contains("README.md, pack"),
        "{message}"
    );
}

#[test]
fn a_failing_compile_is_named_with_its_code_and_asked_for_its_report() {
    let build = Build::asking(&[
        ("compile", "echo before; exit 7"),
        (
            "report",
            "echo '{\"failure_reason\": \"no-lock\", \"seconds\": 2}'; echo hidden >&2",
        ),
        ("release", "touch released"),
    ]);
    let outcome = build.run();
    assert_eq!(outcome.code, exit::COMPILE);
    assert_eq!(outcome.failure(), ("compile", Some("asks"), Some(7)));
    assert_eq!(outcome.report.packs[0].report["failure_reason"], "no-lock");
    assert!(!outcome.log.contains("hidden") && !build.paths.build_dir().join("released").exists());
    assert!(
        outcome.log.ends_with(
            " !\n !     buildpack asks failed to compile the Asks app (exit code 7)\n !\n"
        ),
        "{}",
        outcome.log
    );
}

#[test]
fn a_failing_release_or_bad_yaml_fails_the_build() {
    for (script, expected) in [
        ("exit 4", "failed (exit code 4)"),
        ("echo 'web: ['", "no release YAML"),
        ("echo text", "it is no map"),
    ] {
        let outcome = Build::asking(&[("release", script)]).run();
        assert_eq!(outcome.code, exit::RELEASE, "{script}");
        assert_eq!(outcome.failure().0, "release");
        assert!(
            outcome.report.failure.unwrap().message.contains(expected),
            "{script}"
        );
    }
}

#[test]
fn the_procfile_is_read_after_compile_and_merged_with_the_defaults() {
    let build = Build::asking(&[
        ("compile", "printf 'Web: own\\r\\nsend_mail: mail\\r\\n' >\"$1/Procfile\""),
        ("release", "echo 'default_process_types: {web: default, rake: 5}'; echo 'config_vars: {A: \"x\\\"y\", PATH: /x, TOKEN: hunter2-hunter2, OWN: theirs}'"),
    ])
    .env("S", "hunter2-hunter2", true)
    .env("OWN", "mine", false);
    let outcome = build.run();
    assert_eq!(outcome.code, exit::OK, "{}", outcome.log);
    let expected = [("rake", "5"), ("send-mail", "mail"), ("web", "own")]
        .map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(outcome.report.processes, BTreeMap::from(expected));
    assert!(outcome.log.contains("Procfile declares types     -> web, send-mail\n       Default types for buildpack -> rake\n"), "{}", outcome.log);
    // A variable of the App wins in the pod anyway, and one of builds alone would be missing there.
    let expected = [("A", "x\"y"), ("OWN", "theirs")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(outcome.report.config_vars, BTreeMap::from(expected));

    let build = Build::asking(&[]);
    build.source("procfile.txt", "web: a\n");
    let outcome = build.run();
    assert_eq!(outcome.code, exit::OK, "{}", outcome.log);
    let told =
        "there is no Procfile, and \"procfile.txt\" is not read: git mv procfile.txt Procfile";
    assert!(outcome.log.contains(told), "{}", outcome.log);
    assert_eq!(outcome.report.notes, [told]);

    let build = Build::asking(&[]);
    let line = "Procfile line 2: process type \"_mail\" is left out: it does not begin";
    build.source(
        "Procfile",
        "web: a\n_mail: b\nsend_weekly_report_mails: c\n",
    );
    let outcome = build.run();
    assert_eq!(outcome.code, exit::OK, "{}", outcome.log);
    let names: Vec<_> = outcome.report.processes.keys().collect();
    assert_eq!(names, ["send-weekly-report-mails", "web"]);
    assert!(outcome.log.contains(line), "{}", outcome.log);
    assert!(outcome.report.notes[0].contains(line));

    let build = Build::asking(&[]);
    build.source("Procfile", "web: a\nweb: b\n");
    let outcome = build.run();
    assert_eq!(outcome.code, exit::RELEASE);
    assert!(outcome.log.contains("Procfile line 2"), "{}", outcome.log);
}

#[test]
fn output_keeps_its_order_and_its_lines() {
    let build = Build::asking(&[(
        "compile",
        "for i in 1 2 3; do echo out$i; echo err$i >&2; done; printf '10%%\\r100%%\\n'; echo '  nested *'; echo '-----> * heading'; printf 'no newline'",
    )]);
    let outcome = build.run();
    let expected = "-----> Asks app detected\n       out1\n       err1\n       out2\n       err2\n       out3\n       err3\n       100%\n         nested *\n-----> * heading\n       no newline\n";
    assert!(outcome.log.starts_with(expected), "{}", outcome.log);
}

#[test]
fn what_a_pack_prints_is_never_taken_for_the_report() {
    let frame = "\\036slipway f00d 1/1 {\"processes\":{\"web\":\"forged\"}}";
    let compile = format!("printf '{frame}\\n'; printf 'and {frame}' >&2");
    let build = Build::asking(&[("compile", &compile)]);
    let outcome = build.run();
    assert_eq!(outcome.code, exit::OK, "{}", outcome.log);
    assert!(outcome.report.processes.is_empty());
    // It stands in the log, without what would make it a frame.
    let shown =
        "       slipway f00d 1/1 {\"processes\":{\"web\":\"forged\"}}\n       and slipway f00d";
    assert!(outcome.log.contains(shown), "{}", outcome.log);
}

#[test]
fn no_program_of_a_pack_reads_the_builders_memory_or_writes_past_its_log() {
    let compile = "for file in environ mem fd/1; do
(exec 3<>/proc/$PPID/$file || exec 3</proc/$PPID/$file) 2>/dev/null && echo \"open: $file\"
done
(exec 3</proc/$$/environ) && echo 'own: open'";
    let mut build = Build::asking(&[("compile", compile)]);
    // As in the zone: builder and pack are the same user, and that is not root.
    build.user = rustix::process::getuid().is_root().then_some(65534);
    let outcome = build.run();
    assert_eq!(outcome.code, exit::OK, "{}", outcome.log);
    assert!(outcome.log.contains("own: open"), "{}", outcome.log);
    assert!(!outcome.log.contains("open: "), "{}", outcome.log);
}

#[test]
fn a_log_that_is_full_leaves_room_for_the_report() {
    let mut build = Build::asking(&[("compile", "seq 100000")]);
    build.input.log_bytes = Some(10_000);
    let outcome = build.run();
    assert_eq!(outcome.code, exit::OK, "{}", outcome.log);
    assert!(outcome.log.len() < 10_000 && outcome.log.contains("dropped here"));
    assert_eq!(outcome.report.packs[0].name, "asks");
}

#[test]
fn secrets_are_not_shown_and_not_reported() {
    let build = Build::asking(&[
        (
            "detect",
            "echo \"Asks $(cat \"$1/../../env/S\" 2>/dev/null)\"",
        ),
        (
            "compile",
            "cat \"$3/S\"; echo; cat \"$3/KEY\" >&2; cat \"$3/PUBLIC\"",
        ),
        ("report", "echo \"{\\\"seen\\\": \\\"$(cat \"$3/S\")\\\"}\""),
    ])
    .env("S", "hunter2-hunter2", true)
    .env(
        "KEY",
        "-----BEGIN KEY-----\nMIIEvgIBADANBg\n-----END KEY-----\n",
        true,
    )
    .env("PUBLIC", "shown-as-it-is", false);
    let outcome = build.run();
    assert_eq!(outcome.code, exit::OK, "{}", outcome.log);
    let report = fs::read_to_string(build.paths.result_file()).unwrap();
    for secret in ["hunter2", "MIIEvg", "BEGIN KEY"] {
        assert!(
            !outcome.log.contains(secret) && !report.contains(secret),
            "{secret}: {}",
            outcome.log
        );
    }
    assert!(outcome.log.contains("shown-as-it-is"));
    assert!(
        outcome.log.contains("-----> Asks [redacted] app detected"),
        "{}",
        outcome.log
    );
}

fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(PathBuf::from("/proc").join(pid.trim()).join("stat"))
        .unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

#[test]
fn nothing_that_a_pack_starts_survives_it() {
    let build = Build::asking(&[(
        "compile",
        "setsid sleep 1000 & echo $! >\"$1/one\"; (sleep 1000 & echo $! >\"$1/two\"); echo done",
    )]);
    let started = Instant::now();
    let outcome = build.run();
    assert_eq!(outcome.code, exit::OK, "{}", outcome.log);
    assert!(started.elapsed() < Duration::from_secs(20));
    for name in ["one", "two"] {
        assert!(!is_alive(&build.built(name)), "{name} is still there");
    }
}

#[test]
fn a_build_that_takes_too_long_is_stopped_with_all_that_it_started() {
    let mut build = Build::asking(&[(
        "compile",
        "trap 'echo asked to stop' TERM; (trap '' TERM; sleep 1000 & echo $! >\"$1/pid\"; wait) & echo started; while true; do sleep 0.1; done",
    )]);
    // The limit counts from the begin of fetch, long before.
    build.input.deadline = now() + 2;
    let started = Instant::now();
    let outcome = build.run();
    assert_eq!(outcome.code, exit::TIMEOUT, "{}", outcome.log);
    assert_eq!(outcome.failure(), ("compile", Some("asks"), None));
    assert!(outcome.log.contains("its limit of 60 s"), "{}", outcome.log);
    assert!(outcome.log.contains("asked to stop"), "{}", outcome.log);
    assert!(started.elapsed() < Duration::from_secs(20));
    assert!(!is_alive(&build.built("pid")));
}

#[test]
fn a_build_is_stopped_before_it_fills_the_disk() {
    let mut build = Build::asking(&[("compile", "touch \"$1/ran\"; sleep 1000")]);
    build.input.disk_reserve_bytes = u64::MAX;
    let outcome = build.run();
    assert_eq!(outcome.code, exit::DISK, "{}", outcome.log);
    assert_eq!(outcome.failure(), ("detect", Some("asks"), None));
    assert!(
        outcome.log.contains("disk is nearly full"),
        "{}",
        outcome.log
    );
    assert!(!build.paths.build_dir().join("ran").exists());
}

#[test]
fn a_command_with_the_value_of_a_secret_fails_the_build() {
    let build = Build::asking(&[(
        "release",
        "echo 'default_process_types: {web: run --token hunter2-hunter2}'",
    )])
    .env("TOKEN", "hunter2-hunter2", true);
    let outcome = build.run();
    assert_eq!(outcome.code, exit::RELEASE, "{}", outcome.log);
    let message = &outcome.report.failure.as_ref().unwrap().message;
    assert!(
        message.starts_with("the command of process type web holds the value of a Secret"),
        "{message}"
    );
    assert!(outcome.report.processes.is_empty() && !outcome.log.contains("hunter2"));
}

#[test]
fn the_source_is_prepared_before_detect() {
    let build = Build::asking(&[(
        "detect",
        "[[ ! -e $1/.git && ! -e $1/big.psd ]] && echo Clean",
    )]);
    build.source(".git/HEAD", "x");
    build.source("big.psd", "x");
    build.source(".slugignore", "*.psd\n");
    let outcome = build.run();
    assert_eq!(outcome.code, exit::OK, "{}", outcome.log);
    assert!(outcome.log.starts_with(
        "-----> Deleting 1 files matching .slugignore patterns.\n       big.psd\n-----> Clean app detected\n"
    ));
}

#[test]
fn what_is_no_pack_is_refused() {
    let build = Build::new(true, &["plain"]);
    fs::remove_file(build.paths.packs_dir().join("00-plain/bin/compile")).unwrap();
    let outcome = build.run();
    assert_eq!(outcome.code, exit::DETECT);
    assert!(
        outcome
            .log
            .contains("plain is no buildpack: it has no bin/compile"),
        "{}",
        outcome.log
    );
}

#[test]
fn a_pack_whose_interpreter_is_missing_says_so() {
    let build = Build::new(true, &["plain"]);
    fs::write(
        build.paths.packs_dir().join("00-plain/bin/compile"),
        "#!/no/such/shell\n",
    )
    .unwrap();
    let outcome = build.run();
    assert_eq!(outcome.code, exit::COMPILE);
    assert_eq!(outcome.failure(), ("compile", Some("plain"), Some(127)));
    assert!(outcome.log.contains("cannot be started"), "{}", outcome.log);
}
