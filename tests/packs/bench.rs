//! A source folder → what a buildpack makes of it, and a container that runs it.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
    time::{Duration, Instant},
};

use sha2::{Digest as _, Sha256};
use slipway_tests::{cluster, dev::image, fixtures, root};

const BUILD_IMAGE: &str = "slipway-stack-build:heroku-24";
const RUN_IMAGE: &str = "slipway-stack-run:heroku-24";
/// The stack's user: builds and apps run as it, with no capability.
const USER: u32 = 32767;
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The static programs, built once.
fn programs() -> &'static Path {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    PROGRAMS.get_or_init(|| image::programs().unwrap())
}

fn docker(arguments: &[&str]) -> Output {
    let facts = cluster::facts().unwrap();
    Command::new("docker")
        .arg(format!("--host=unix://{}", facts.engine.socket))
        .args(arguments)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned()
}

/// A build volume, laid out as the engine lays it out, with one buildpack.
pub(crate) struct Bench {
    dir: tempfile::TempDir,
    pack: &'static str,
    settings: Vec<String>,
}

/// What a build said.
pub(crate) struct Built {
    pub(crate) code: i32,
    pub(crate) log: String,
    pub(crate) release: String,
    pub(crate) report: BTreeMap<String, String>,
}

impl Built {
    #[track_caller]
    pub(crate) fn succeeded(&self) {
        assert_eq!(self.code, 0, "{}", self.log);
    }

    #[track_caller]
    pub(crate) fn says(&self, text: &str) {
        assert!(self.log.contains(text), "not said: {text}\n\n{}", self.log);
    }
}

impl Bench {
    pub(crate) fn new(pack: &'static str) -> Self {
        let bench = Self {
            dir: tempfile::tempdir().unwrap(),
            pack,
            settings: vec![],
        };
        for folder in ["build", "cache"] {
            fs::create_dir(bench.dir.path().join(folder)).unwrap();
        }
        bench
    }

    fn source(&self) -> PathBuf {
        self.dir.path().join("build")
    }

    /// What a site sets for all builds, in their environment.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.settings.push(format!("{name}={value}"));
    }

    /// An empty source again; the cache stays.
    pub(crate) fn clear(&self) {
        fs::remove_dir_all(self.source()).unwrap();
        fs::create_dir(self.source()).unwrap();
    }

    pub(crate) fn copy(&self, app: &Path) {
        fixtures::copy_to(app, &self.source()).unwrap();
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.source().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn remove(&self, folder: &str) {
        fs::remove_dir_all(self.source().join(folder)).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.source().join(name)).unwrap()
    }

    /// detect, compile, release and report, in a container that could be anybody's.
    pub(crate) fn build(&self, config: &[(&str, &str)]) -> Built {
        let at = |name: &str| self.dir.path().join(name);
        for folder in ["env", "packs", "bin"] {
            let _ = fs::remove_dir_all(at(folder));
            fs::create_dir(at(folder)).unwrap();
        }
        for (name, value) in config {
            fs::write(at("env").join(name), value).unwrap();
        }
        fixtures::copy_to(
            &root().join("controller/buildpacks").join(self.pack),
            &at("packs"),
        )
        .unwrap();
        fs::copy(programs().join("slipway-pack"), at("bin/slipway-pack")).unwrap();
        for entry in walkdir::WalkDir::new(self.dir.path()) {
            std::os::unix::fs::lchown(entry.unwrap().path(), Some(USER), Some(USER)).unwrap();
        }
        chown(self.dir.path(), Some(USER), Some(USER)).unwrap();
        fs::set_permissions(self.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let script = "bin/detect /tmp/build >/tmp/detected && bin/compile /tmp/build /tmp/cache /env; code=$?
            bin/release /tmp/build >/tmp/release; bin/report /tmp/build /tmp/cache /env >/tmp/report; exit $code";
        let script = script.replace("bin/", "/tmp/packs/bin/");
        let user = format!("{USER}:{USER}");
        let volumes = [
            format!("{}:/tmp", self.dir.path().display()),
            format!("{}:/env:ro", at("env").display()),
            format!("{CERTIFICATES}:{CERTIFICATES}:ro"),
        ];
        let mut arguments = vec!["run", "--rm", "--user", &user, "--workdir", "/tmp/build"];
        arguments.extend([
            "--cap-drop",
            "ALL",
            "--security-opt",
            "no-new-privileges",
            "--memory",
            "2g",
        ]);
        for volume in &volumes {
            arguments.extend(["--volume", volume]);
        }
        let certificates: Vec<String> = [
            "SSL_CERT_FILE",
            "PIP_CERT",
            "REQUESTS_CA_BUNDLE",
            "NODE_EXTRA_CA_CERTS",
            "NPM_CONFIG_CAFILE",
            "CURL_CA_BUNDLE",
            "GIT_SSL_CAINFO",
        ]
        .iter()
        .map(|name| format!("{name}={CERTIFICATES}"))
        .collect();
        for setting in certificates.iter().chain(&self.settings) {
            arguments.extend(["--env", setting]);
        }
        let path = "PATH=/tmp/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        arguments.extend([
            "--env",
            path,
            "--env",
            "HOME=/app",
            "--env",
            "LANG=C.UTF-8",
            "--env",
            "SOURCE_DATE_EPOCH=315532801",
        ]);
        let merged = format!("exec 2>&1; {script}");
        arguments.extend([BUILD_IMAGE, "bash", "-c", &merged]);
        let output = docker(&arguments);
        let log = [output.stdout, output.stderr].concat();
        let report = fs::read_to_string(at("report")).unwrap_or_default();
        Built {
            code: output.status.code().unwrap(),
            log: String::from_utf8_lossy(&log).into_owned(),
            release: fs::read_to_string(at("release")).unwrap_or_default(),
            report: serde_json::from_str(&report).unwrap_or_default(),
        }
    }

    /// What would go into the image.
    pub(crate) fn tree(&self) -> Vec<String> {
        listing(&self.source())
    }

    /// What would be kept for the next build.
    pub(crate) fn cache(&self) -> Vec<String> {
        listing(&self.dir.path().join("cache"))
    }
}

/// A line for each file: mode, name, hash of what is in it.
fn listing(folder: &Path) -> Vec<String> {
    walkdir::WalkDir::new(folder)
        .sort_by_file_name()
        .into_iter()
        .map(|entry| {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            let content = if meta.is_symlink() {
                fs::read_link(entry.path()).unwrap().display().to_string()
            } else if meta.is_file() {
                hex::encode(Sha256::digest(fs::read(entry.path()).unwrap()))
            } else {
                String::new()
            };
            let name = entry.path().strip_prefix(folder).unwrap();
            format!(
                "{:o} /{} {content}",
                meta.permissions().mode(),
                name.display()
            )
        })
        .collect()
}

/// A built app that runs as its image would: the launcher is PID 1, the source's folder is `/app`.
pub(crate) struct Served {
    container: String,
}

impl Served {
    pub(crate) fn new(bench: &Bench, command: &str) -> Self {
        let user = format!("{USER}:{USER}");
        let volumes = [
            format!("{}:/app", bench.source().display()),
            format!(
                "{}:/slipway/launcher:ro",
                programs().join("slipway-launcher").display()
            ),
            format!(
                "{}:/slipway/prober:ro",
                programs().join("slipway-prober").display()
            ),
        ];
        let mut arguments = vec![
            "run",
            "--detach",
            "--user",
            &user,
            "--cap-drop",
            "ALL",
            "--memory",
            "512m",
        ];
        for volume in &volumes {
            arguments.extend(["--volume", volume]);
        }
        arguments.extend([
            "--env",
            "PORT=5000",
            "--env",
            "GREETED=a  b",
            "--entrypoint",
            "/slipway/launcher",
        ]);
        arguments.extend([RUN_IMAGE, command]);
        let served = Self {
            container: said(&docker(&arguments)),
        };
        let deadline = Instant::now() + Duration::from_mins(1);
        let checks = r#"[{"kind":"http","port":5000,"path":"/healthz","content":"ok"},{"kind":"listening","port":5000}]"#;
        loop {
            let probe = docker(&["exec", &served.container, "/slipway/prober", "all", checks]);
            if probe.status.success() {
                return served;
            }
            assert!(
                Instant::now() < deadline,
                "{}",
                String::from_utf8_lossy(&probe.stdout)
            );
        }
    }

    pub(crate) fn get(&self, path: &str) -> String {
        let url = format!("http://127.0.0.1:5000{path}");
        said(&docker(&[
            "exec",
            &self.container,
            "curl",
            "--fail",
            "--silent",
            "--show-error",
            &url,
        ]))
    }

    /// Ends it as a pod is ended; its exit code.
    pub(crate) fn stop(&self) -> String {
        said(&docker(&["stop", "--time", "30", &self.container]));
        said(&docker(&[
            "inspect",
            "--format",
            "{{.State.ExitCode}}",
            &self.container,
        ]))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        docker(&["rm", "--force", "--volumes", &self.container]);
    }
}
