//! Registry client, fetch and export against a real registry (Debian's docker-registry) with TLS and accounts, and a
//! real git repository: what one build leaves is what the next one finds.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use flate2::read::GzDecoder;
use slipway_base::{
    outside::policy::Policy,
    zone::{
        frame::Mark,
        input::{
            Artifact, ExportInput, FetchInput, GitInput, GitLimits, PackInput, RegistryAccess,
            Secret, SourceInput,
        },
        report::{ExportReport, FetchReport, Packs, exit},
    },
};
use slipway_remotes::registry::{
    Content, Descriptor, Image, ImageAccess, ImageManifest, Layer, Registry, RegistryError, Whose,
    resolve,
};
use slipway_zones::{console::Console, export, fetch};

/// `htpasswd -nbB pusher correct-horse`
const ACCOUNT: &str = "pusher:$2y$04$VHPOKf0KnMOfSIz4/NTpq.5nJ8K2LRF3m.WIam7bOJ3a3KuIZtrdK\n";
const PASSWORD: &str = "correct-horse";

struct Server {
    child: Child,
    access: RegistryAccess,
    root: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start() -> Self {
        Self::with("")
    }

    /// With more to be said of how it stores.
    fn with(storage: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(at("cert.pem"), certified.cert.pem()).unwrap();
        fs::write(at("key.pem"), certified.signing_key.serialize_pem()).unwrap();
        fs::write(at("htpasswd"), ACCOUNT).unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let dir = root.path().display();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {dir}/data}}, delete: {{enabled: true}}{storage}}}\n\
             http: {{addr: '127.0.0.1:{port}', tls: {{certificate: {dir}/cert.pem, key: {dir}/key.pem}}}}\n\
             auth: {{htpasswd: {{realm: test, path: {dir}/htpasswd}}}}\n"
        );
        fs::write(at("config.yml"), config).unwrap();
        let access = RegistryAccess {
            address: format!("localhost:{port}"),
            username: Some("pusher".into()),
            password: Some(Secret(PASSWORD.into())),
            ca_pem: Some(certified.cert.pem()),
            insecure: false,
        };
        Self {
            child: serve_registry(root.path(), port),
            access,
            root,
        }
    }

    /// Removes what no tag leads to, beside the server that runs.
    fn collect(&self) {
        let collected = program()
            .args(["garbage-collect", "-m"])
            .arg(self.root.path().join("config.yml"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&collected.stdout);
        assert!(
            collected.status.success() && said.contains("blob eligible for deletion"),
            "{said}"
        );
    }

    fn restart(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let (_, port) = self.access.address.split_once(':').unwrap();
        self.child = serve_registry(self.root.path(), port.parse().unwrap());
    }

    fn client(&self) -> Registry {
        Registry::new(&self.access).unwrap()
    }
}

/// `make cluster-up` installs it.
fn program() -> Command {
    let program = ["/usr/bin/docker-registry", "/usr/local/bin/registry"]
        .into_iter()
        .find(|p| Path::new(p).exists());
    Command::new(program.expect("docker-registry is installed (Debian: docker-registry)"))
}

/// Starts it with the configuration that is in this folder, and waits until it answers.
fn serve_registry(root: &Path, port: u16) -> Child {
    let log = root.join("log");
    let mut child = program()
        .arg("serve")
        .arg(root.join("config.yml"))
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        let ended = child.try_wait().unwrap();
        assert!(
            ended.is_none() && Instant::now() < deadline,
            "the registry does not start: {}",
            fs::read_to_string(&log).unwrap()
        );
        std::thread::yield_now();
    }
    child
}

#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Said {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn bytes_layer(text: &str) -> Layer {
    Layer {
        media_type: "text/plain".into(),
        content: Content::Bytes(Bytes::from(text.to_owned())),
        annotations: BTreeMap::new(),
    }
}

#[tokio::test]
async fn artifacts_come_back_by_digest_and_are_the_same_when_made_again() {
    let server = Server::start();
    let registry = server.client();
    let push = async |tag: &str| {
        registry
            .push_artifact(
                "a/b",
                tag,
                "application/vnd.x",
                &[bytes_layer("hello")],
                BTreeMap::new(),
            )
            .await
            .unwrap()
    };
    let (one, two) = (push("one").await, push("two").await);
    assert_eq!(one, two);
    let manifest = registry.artifact(&one).await.unwrap();
    assert_eq!(manifest.artifact_type.as_deref(), Some("application/vnd.x"));
    assert_eq!(
        registry
            .pull_bytes("a/b", &manifest.layers[0])
            .await
            .unwrap(),
        b"hello"
    );
    assert_eq!(
        registry
            .manifest("a/b", "two")
            .await
            .unwrap()
            .unwrap()
            .digest,
        one.digest
    );
    assert_eq!(registry.manifest("a/b", "three").await.unwrap(), None);
    assert_eq!(registry.manifest("no/such", "one").await.unwrap(), None);
}

#[tokio::test]
async fn a_registry_that_was_cleaned_up_while_it_ran_is_not_believed() {
    let mut server = Server::with(", cache: {blobdescriptor: inmemory}");
    let registry = server.client();
    let push = async |text: &str| {
        registry
            .push_artifact(
                "a/b",
                "tag",
                "application/vnd.x",
                &[bytes_layer(text)],
                BTreeMap::new(),
            )
            .await
    };
    let layer = Bytes::from_static(b"first");
    push("first").await.unwrap();
    push("second").await.unwrap();
    server.collect();
    // It says that it has the layer, and takes the manifest: of both it has nothing.
    let error = push("first").await.unwrap_err();
    assert!(matches!(error, RegistryError::Vanished { .. }), "{error}");
    assert!(
        error.may_pass() && error.to_string().contains("restart it"),
        "{error}"
    );
    // The layer was sent once more, whatever the registry said of it.
    let blob = Descriptor {
        digest: slipway_remotes::registry::manifest::digest(&layer),
        size: layer.len() as u64,
        ..Descriptor::default()
    };
    assert_eq!(registry.pull_bytes("a/b", &blob).await.unwrap(), layer);
    server.restart();
    let pushed = push("first").await.unwrap();
    let manifest = registry.artifact(&pushed).await.unwrap();
    let back = registry.pull_bytes("a/b", &manifest.layers[0]).await;
    assert_eq!(back.unwrap(), layer);
}

#[tokio::test]
async fn files_stream_up_once_and_are_mounted_elsewhere() {
    let server = Server::start();
    let registry = server.client();
    let mut file = tempfile::tempfile().unwrap();
    let content: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    file.write_all(&content).unwrap();
    let blob = Descriptor {
        media_type: "application/octet-stream".into(),
        digest: slipway_remotes::registry::manifest::digest(&content),
        size: content.len() as u64,
        ..Descriptor::default()
    };
    let file = Arc::new(file);
    assert_eq!(
        registry.push_file("up", &blob, &file).await.unwrap(),
        blob.size
    );
    assert_eq!(registry.push_file("up", &blob, &file).await.unwrap(), 0);
    assert_eq!(registry.mount("up", "other", &blob).await.unwrap(), 0);
    assert!(registry.has("other", &blob).await.unwrap());
    let mut back = vec![];
    registry
        .pull_file("other", &blob)
        .await
        .unwrap()
        .read_to_end(&mut back)
        .unwrap();
    assert!(back == content);
    // What is smaller or larger than promised is not taken.
    let wrong = Descriptor {
        size: 10,
        ..blob.clone()
    };
    let error = registry.pull_file("up", &wrong).await.unwrap_err();
    assert!(matches!(error, RegistryError::Damaged { .. }), "{error}");
}

#[tokio::test]
async fn errors_say_what_to_check() {
    let server = Server::start();
    let wrong_password = RegistryAccess {
        password: Some(Secret("wrong".into())),
        ..server.access.clone()
    };
    let no_account = RegistryAccess {
        username: None,
        password: None,
        ..server.access.clone()
    };
    for access in [&wrong_password, &no_account] {
        let registry = Registry::new(access).unwrap();
        for error in [
            registry
                .push_bytes("a", &Bytes::from_static(b"x"))
                .await
                .unwrap_err(),
            registry.manifest("a", "x").await.unwrap_err(),
        ] {
            assert!(
                matches!(error, RegistryError::Unauthorised { .. }),
                "{error}"
            );
            assert!(
                error.to_string().contains(&access.address) && !error.to_string().contains("wrong"),
                "{error}"
            );
        }
    }
    let no_ca = RegistryAccess {
        ca_pem: None,
        ..server.access.clone()
    };
    let error = Registry::new(&no_ca)
        .unwrap()
        .manifest("a", "x")
        .await
        .unwrap_err();
    assert!(matches!(error, RegistryError::Tls { .. }), "{error}");
    let gone = RegistryAccess {
        address: "localhost:1".into(),
        ..server.access.clone()
    };
    let error = Registry::new(&gone)
        .unwrap()
        .manifest("a", "x")
        .await
        .unwrap_err();
    assert!(
        matches!(error, RegistryError::Unreachable { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("localhost:1"), "{error}");
    let missing = Artifact {
        repository: "a".into(),
        digest: format!("sha256:{}", "0".repeat(64)),
    };
    let error = server.client().artifact(&missing).await.unwrap_err();
    assert!(matches!(error, RegistryError::NotFound { .. }), "{error}");
}

/// A run image such as `docker push` leaves it: Docker's media types, one layer.
async fn run_image(registry: &Registry) -> Artifact {
    let layer = gzip(&tar(&[("etc/base", "base")]));
    let diff_id = slipway_remotes::registry::manifest::digest(&tar(&[("etc/base", "base")]));
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"User":"5","Env":["PATH=/bin"],"ExposedPorts":{{"80/tcp":{{}}}},"Cmd":["x"],"WorkingDir":"/w"}},"rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
    );
    let (layer, config) = (Bytes::from(layer), Bytes::from(config));
    let blob = |media_type: &str, bytes: &Bytes| Descriptor {
        media_type: media_type.into(),
        digest: slipway_remotes::registry::manifest::digest(bytes),
        size: bytes.len() as u64,
        ..Descriptor::default()
    };
    for bytes in [&layer, &config] {
        registry
            .push_bytes("slipway/stacks/s/run", bytes)
            .await
            .unwrap();
    }
    let manifest = ImageManifest {
        schema_version: 2,
        media_type: "application/vnd.docker.distribution.manifest.v2+json".into(),
        artifact_type: None,
        config: blob("application/vnd.docker.container.image.v1+json", &config),
        layers: vec![blob(
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            &layer,
        )],
        annotations: BTreeMap::new(),
    };
    let digest = registry
        .push_manifest("slipway/stacks/s/run", Some("run"), &manifest)
        .await
        .unwrap();
    Artifact {
        repository: "slipway/stacks/s/run".into(),
        digest,
    }
}

fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(vec![]);
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        builder
            .append_data(&mut header, name, text.as_bytes())
            .unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_reference_becomes_digest_and_config() {
    let server = Server::start();
    let image = run_image(&server.client()).await;
    let config = format!(
        r#"{{"auths":{{"{}":{{"username":"pusher","password":"{PASSWORD}"}}}}}}"#,
        server.access.address
    );
    let ours = server.client();
    let access = ImageAccess {
        docker_config: Some(config.as_bytes()),
        registry: Whose::Ours(&ours),
    };
    let host = server.access.address.to_uppercase();
    let at = |wanted| Image {
        registry: &host,
        repository: "slipway/stacks/s/run",
        wanted,
    };
    for wanted in ["run", &image.digest] {
        let resolved = resolve(at(wanted), &access).await.unwrap();
        assert_eq!(
            (resolved.repository, &resolved.digest),
            (format!("{host}/slipway/stacks/s/run"), &image.digest)
        );
        assert_eq!(resolved.config.user, "5");
        assert_eq!(resolved.config.ports, [80].into());
    }
    let missing = resolve(at("nope"), &access).await.unwrap_err();
    assert!(
        missing.to_string().contains("slipway/stacks/s/run:nope"),
        "{missing}"
    );
    // The operator's own account never opens somebody's image.
    let anonymous = ImageAccess {
        docker_config: None,
        ..access
    };
    let refused = resolve(at("run"), &anonymous).await.unwrap_err();
    assert!(
        matches!(refused, RegistryError::Unauthorised { .. }),
        "{refused}"
    );
}

/// An App that is built again and again.
struct App {
    server: Server,
    git: tempfile::TempDir,
    programs: tempfile::TempDir,
    workspace: tempfile::TempDir,
    run_image: Artifact,
    pack: Artifact,
}

impl App {
    async fn new() -> Self {
        let server = Server::start();
        let registry = server.client();
        let run_image = run_image(&registry).await;
        let layer = Layer {
            media_type: "application/vnd.slipway.buildpack.v1.tar+gzip".into(),
            content: Content::Bytes(Bytes::from(gzip(&tar(&[
                ("bin/detect", "#!/bin/sh\n"),
                ("bin/compile", "#!/bin/sh\n"),
            ])))),
            annotations: BTreeMap::new(),
        };
        let pack = registry
            .push_artifact("slipway/packs/p", "t", "x", &[layer], BTreeMap::new())
            .await
            .unwrap();
        let programs = tempfile::tempdir().unwrap();
        for name in ["slipway-builder", "slipway-pack", "slipway-launcher"] {
            fs::write(programs.path().join(name), format!("program {name}")).unwrap();
        }
        let app = Self {
            server,
            git: tempfile::tempdir().unwrap(),
            programs,
            workspace: tempfile::tempdir().unwrap(),
            run_image,
            pack,
        };
        app.git(&["init", "--quiet", "--initial-branch=main"]);
        app
    }

    fn git(&self, args: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=T", "-c", "user.email=t@t"])
            .args(args)
            .current_dir(self.git.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn commit(&self, files: &[(&str, &str)]) -> String {
        for (name, text) in files {
            let path = self.git.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", "x"]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn fetch_input(&self, commit: &str) -> FetchInput {
        FetchInput {
            mark: Mark::new("f00d".into()),
            source: SourceInput {
                git: Some(GitInput {
                    url: format!("file://{}", self.git.path().display()),
                    r#ref: Some("main".into()),
                    credentials: None,
                }),
                commit: commit.into(),
                sub_path: None,
                artifact: None,
            },
            repository: "slipway/ns/app".into(),
            source_tag: "uid-source".into(),
            cache_tag: "uid-cache".into(),
            buildpacks: vec![],
            stack_packs: vec![PackInput {
                name: "p".into(),
                artifact: self.pack.clone(),
            }],
            registry: self.server.access.clone(),
            ca_pem: None,
            process_env: BTreeMap::new(),
            git: GitLimits {
                protocols: vec!["file".into(), "http".into()],
                max_bytes: 10_000_000,
                max_files: 1000,
                timeout_seconds: 60,
            },
            outside: Policy {
                allow: vec!["127.0.0.1".parse().unwrap()],
                ..Policy::default()
            },
            disk_reserve_bytes: 0,
        }
    }

    async fn fetch(&self, input: &FetchInput) -> (FetchReport, u8, String) {
        let said = Said::default();
        let places = fetch::Places {
            workspace: self.workspace.path().to_owned(),
            programs: self.programs.path().to_owned(),
        };
        let (report, code) = fetch::run(input, &places, &Console::new(said.clone())).await;
        (report, code, said.text())
    }

    fn on_volume(&self, path: &str) -> PathBuf {
        self.workspace.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.on_volume(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn export_input(&self) -> ExportInput {
        ExportInput {
            mark: Mark::new("f00d".into()),
            repository: "slipway/ns/app".into(),
            image_tag: "uid-image".into(),
            cache_tag: "uid-cache".into(),
            run_image: self.run_image.clone(),
            user_id: 32767,
            source_date_epoch: 315_532_800,
            labels: BTreeMap::from([("slipway.dev/app".into(), "app".into())]),
            stack_name: Some("heroku-24".into()),
            registry: self.server.access.clone(),
            disk_reserve_bytes: 0,
        }
    }

    async fn export(&self) -> (ExportReport, u8, String) {
        self.export_with(&self.export_input()).await
    }

    async fn export_with(&self, input: &ExportInput) -> (ExportReport, u8, String) {
        let said = Said::default();
        let places = export::Places {
            workspace: self.workspace.path().to_owned(),
            programs: self.programs.path().to_owned(),
        };
        let (report, code) = export::run(input, &places, &Console::new(said.clone())).await;
        (report, code, said.text())
    }
}

/// Path and mode of everything below a folder.
fn modes(root: &Path) -> BTreeMap<PathBuf, u32> {
    let mut modes = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            modes.insert(entry.path(), metadata.permissions().mode());
            if metadata.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    modes
}

#[tokio::test]
async fn fetch_fills_the_volume_and_stores_the_source() {
    let app = App::new().await;
    fs::create_dir(app.git.path().join("web")).unwrap();
    let script = app.git.path().join("web/run.sh");
    fs::write(&script, "").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let commit = app.commit(&[
        ("web/app.json", "{ // mine\n}"),
        ("web/run.sh", "x"),
        ("other/x", "y"),
    ]);
    let mut input = app.fetch_input(&commit);
    input.source.sub_path = Some("web".into());
    let (report, code, said) = app.fetch(&input).await;
    assert_eq!(code, exit::OK, "{said}");
    assert_eq!(report.app_json.as_deref(), Some("{ // mine\n}"));
    assert_eq!(
        fs::read_to_string(app.on_volume("build/run.sh")).unwrap(),
        "x"
    );
    assert!(!app.on_volume("build/other").exists() && app.on_volume("cache").is_dir());
    assert!(
        said.contains("There is no cache of an earlier build"),
        "{said}"
    );
    let program = app.on_volume("slipway/bin/slipway-builder");
    assert_eq!(
        program.metadata().unwrap().permissions().mode() & 0o777,
        0o755
    );
    let packs: Packs =
        serde_json::from_slice(&fs::read(app.on_volume("slipway/packs.json")).unwrap()).unwrap();
    assert!(!packs.explicit);
    assert_eq!(
        (
            packs.packs[0].folder.as_str(),
            packs.packs[0].digest.as_str()
        ),
        ("00-p", app.pack.digest.as_str())
    );
    assert!(app.on_volume("buildpacks/00-p/bin/detect").is_file());

    let from_git = modes(&app.on_volume("build"));
    assert_eq!(from_git[&app.on_volume("build/run.sh")] & 0o777, 0o755);
    assert_eq!(from_git[&app.on_volume("build/app.json")] & 0o777, 0o644);

    // The same commit is the same artifact, and with it no git server is asked.
    let (again, ..) = app.fetch(&input).await;
    assert_eq!(again.source, report.source);
    input.source.artifact = report.source;
    // As of one that was pushed.
    input.source.git = None;
    let (_, code, said) = app.fetch(&input).await;
    assert_eq!(code, exit::OK, "{said}");
    assert_eq!(
        fs::read_to_string(app.on_volume("build/run.sh")).unwrap(),
        "x"
    );
    // An image has the modes of its files: they are the same whichever way the source came.
    assert_eq!(modes(&app.on_volume("build")), from_git);
}

#[tokio::test]
async fn a_stored_source_knows_its_submodules() {
    let app = App::new().await;
    app.commit(&[("api/a", "x"), ("third/b", "x")]);
    let link = format!("160000,{},third/x", "1".repeat(40));
    app.git(&["update-index", "--add", "--cacheinfo", &link]);
    app.git(&["commit", "--quiet", "-m", "x"]);
    let mut input = app.fetch_input(&app.git(&["rev-parse", "HEAD"]));
    input.source.sub_path = Some("api".into());
    let (report, code, said) = app.fetch(&input).await;
    assert_eq!(code, exit::OK, "{said}");
    input.source.artifact = report.source;
    input.source.sub_path = Some("third".into());
    let (report, code, _) = app.fetch(&input).await;
    assert_eq!(code, exit::FETCH);
    let message = report.failure.unwrap().message;
    assert!(message.contains("submodule at third/x"), "{message}");
}

#[tokio::test]
async fn what_cannot_be_fetched_is_explained() {
    let app = App::new().await;
    let commit = app.commit(&[("a", "x")]);
    symlink("/etc/hostname", app.git.path().join("app.json")).unwrap();
    let linked = app.commit(&[]);
    fs::remove_file(app.git.path().join("app.json")).unwrap();
    let broken = app.commit(&[("app.json", "{\"buildpacks\": [")]);
    let big = app.commit(&[("app.json", &" ".repeat(70_000))]);
    let lfs = app.commit(&[
        ("app.json", "{}"),
        (
            "big",
            "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n",
        ),
    ]);
    let with = |commit: &str, change: &dyn Fn(&mut FetchInput)| {
        let mut input = app.fetch_input(commit);
        change(&mut input);
        input
    };
    let at = |input: &mut FetchInput, url: &str| {
        input.source.git.as_mut().unwrap().url = url.into();
    };
    let cases: Vec<(FetchInput, &str)> = vec![
        (
            with(&commit, &|i| i.source.sub_path = Some("web".into())),
            "subPath \"web\" is no folder",
        ),
        (with(&commit, &|i| at(i, "git@h:x.git")), "SSH"),
        (
            with(&commit, &|i| at(i, "file:///nowhere")),
            "no git repository at file:///nowhere",
        ),
        (
            with(&commit, &|i| i.buildpacks = vec!["pyton".into()]),
            "the Stack has p",
        ),
        (
            with(&commit, &|i| {
                i.buildpacks = vec!["file:///nowhere.git".into()];
            }),
            "buildpack file:///nowhere",
        ),
        (
            with(&linked, &|_| ()),
            "app.json cannot be read: it is a link that leaves the source",
        ),
        (with(&broken, &|_| ()), "app.json, line"),
        (with(&big, &|_| ()), "larger than 64 KiB"),
        (with(&lfs, &|_| ()), "big is kept in Git LFS"),
    ];
    for (input, expected) in cases {
        let (report, code, said) = app.fetch(&input).await;
        assert_eq!(code, exit::FETCH, "{expected}: {said}");
        let message = report.failure.unwrap().message;
        assert!(message.contains(expected), "{expected}: {message}");
        assert!(said.contains(" !     "), "{said}");
    }
}

/// A web server that gives the same bytes to everybody.
fn serve(bytes: Vec<u8>) -> u16 {
    let length = bytes.len();
    answer(&format!("200 OK\r\nContent-Length: {length}"), bytes)
}

/// A web server that answers everybody with this status and these headers.
fn answer(head: &str, bytes: Vec<u8>) -> u16 {
    let head = format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(&bytes);
        }
    });
    port
}

#[tokio::test]
async fn packs_come_from_git_and_as_archives() {
    let app = App::new().await;
    let port = serve(gzip(&tar(&[
        ("heroku-pack-1.0/bin/detect", "d"),
        ("heroku-pack-1.0/bin/compile", "c"),
    ])));
    let pack = tempfile::tempdir().unwrap();
    let git = |args: &[&str]| {
        let status = Command::new("git")
            .args(["-c", "user.name=T", "-c", "user.email=t@t"])
            .args(args)
            .current_dir(pack.path())
            .status()
            .unwrap();
        assert!(status.success());
    };
    git(&["init", "--quiet", "--initial-branch=main"]);
    fs::create_dir(pack.path().join("bin")).unwrap();
    fs::write(pack.path().join("bin/compile"), "old").unwrap();
    fs::write(pack.path().join(".gitattributes"), "bin export-ignore\n").unwrap();
    git(&["add", "-A"]);
    git(&["commit", "--quiet", "-m", "x"]);
    git(&["tag", "v1"]);
    fs::write(pack.path().join("bin/compile"), "new").unwrap();
    git(&["commit", "--quiet", "-a", "-m", "x"]);

    let commit = app.commit(&[("a", "x")]);
    let mut input = app.fetch_input(&commit);
    input.buildpacks = vec![
        format!("http://127.0.0.1:{port}/pack.tgz?token=abc"),
        format!("file://{}#v1", pack.path().display()),
        "heroku/p".into(),
    ];
    let (_, code, said) = app.fetch(&input).await;
    assert_eq!(code, exit::OK, "{said}");
    assert!(!said.contains("token=abc"), "{said}");
    let packs: Packs =
        serde_json::from_slice(&fs::read(app.on_volume("slipway/packs.json")).unwrap()).unwrap();
    assert!(packs.explicit);
    assert_eq!(packs.packs[0].folder, "00-pack");
    assert_eq!(
        fs::read_to_string(app.on_volume("buildpacks/00-pack/bin/compile")).unwrap(),
        "c"
    );
    let second = app.on_volume("buildpacks").join(&packs.packs[1].folder);
    assert_eq!(
        fs::read_to_string(second.join("bin/compile")).unwrap(),
        "old"
    );
    assert_eq!(packs.packs[1].digest.len(), 40);
    assert_eq!(packs.packs[2].name, "p");
}

#[tokio::test]
async fn a_download_is_not_led_to_a_protocol_that_is_not_allowed() {
    let app = App::new().await;
    let elsewhere = serve(gzip(&tar(&[("bin/detect", "d"), ("bin/compile", "c")])));
    let commit = app.commit(&[("a", "x")]);
    let mut input = app.fetch_input(&commit);
    for (to, code) in [
        (format!("http://127.0.0.1:{elsewhere}/pack.tgz"), exit::OK),
        (
            "https://127.0.0.1:1/pack.tgz?token=abc".to_owned(),
            exit::FETCH,
        ),
    ] {
        let head = format!("302 Found\r\nLocation: {to}\r\nContent-Length: 0");
        let port = answer(&head, vec![]);
        input.buildpacks = vec![format!("http://127.0.0.1:{port}/pack.tgz")];
        let (report, ended, said) = app.fetch(&input).await;
        assert_eq!(ended, code, "{said}");
        if let Some(failure) = report.failure {
            let expected =
                "it redirects to https, which is not among the protocols that are allowed here";
            assert!(failure.message.contains(expected), "{}", failure.message);
            assert!(
                !said.contains("trying again") && !said.contains("token"),
                "{said}"
            );
        }
    }
}

fn files(bytes: &[u8]) -> BTreeMap<String, (u32, u64, u64)> {
    let mut archive = tar::Archive::new(GzDecoder::new(bytes));
    archive
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            (
                entry.path().unwrap().display().to_string(),
                (
                    header.mode().unwrap(),
                    header.uid().unwrap(),
                    header.mtime().unwrap(),
                ),
            )
        })
        .collect()
}

#[tokio::test]
async fn export_makes_the_same_image_of_the_same_tree_and_sends_little_for_a_little_change() {
    let app = App::new().await;
    let registry = app.server.client();
    let noise: String = (0_u64..100_000)
        .map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_string())
        .collect::<Vec<_>>()
        .concat();
    app.write("build/.heroku/python/lib.py", &noise);
    app.write("build/node_modules/x/index.js", "x");
    app.write("build/app.py", "print(1)");
    app.write("build/.profile.d/p.sh", "export A=1");
    app.write("cache/kept", "cached");
    app.write(
        "slipway/result.json",
        r#"{"processes": {"web": "run"}, "configVars": {"FROM_PACK": "1"}}"#,
    );
    symlink("/etc/shadow", app.on_volume("build/link")).unwrap();
    let (first, code, said) = app.export().await;
    assert_eq!(code, exit::OK, "{said}");
    let image = first.image.unwrap();
    assert!(first.uploaded_bytes > 100_000, "{}", first.uploaded_bytes);

    let manifest = registry.artifact(&image).await.unwrap();
    let types: Vec<_> = manifest
        .layers
        .iter()
        .map(|l| l.media_type.as_str())
        .collect();
    assert_eq!(types, ["application/vnd.oci.image.layer.v1.tar+gzip"; 5]);
    let mut layers = vec![];
    for layer in &manifest.layers {
        layers.push(files(
            &registry.pull_bytes("slipway/ns/app", layer).await.unwrap(),
        ));
    }
    assert_eq!(layers[1]["slipway/launcher"], (0o755, 0, 315_532_800));
    assert!(
        layers[2].contains_key("app/.heroku/python/lib.py")
            && layers[3].contains_key("app/node_modules/x/index.js")
    );
    let own: Vec<_> = layers[4].keys().map(String::as_str).collect();
    assert_eq!(
        own,
        [
            "app",
            "app/.profile.d",
            "app/.profile.d/p.sh",
            "app/app.py",
            "app/link"
        ]
    );
    assert_eq!(layers[4]["app/app.py"].1, 32767);
    let config = registry
        .pull_bytes("slipway/ns/app", &manifest.config)
        .await
        .unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(
        config["config"]["Entrypoint"],
        serde_json::json!(["/slipway/launcher"])
    );
    assert_eq!(
        config["config"]["Env"],
        serde_json::json!(["FROM_PACK=1", "HOME=/app", "PATH=/bin", "STACK=heroku-24"])
    );
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 5);

    // The same tree, written at another time: nothing is sent but what is always asked.
    for path in ["build/app.py", "build/.heroku/python/lib.py"] {
        let text = fs::read_to_string(app.on_volume(path)).unwrap();
        fs::remove_file(app.on_volume(path)).unwrap();
        app.write(path, &text);
    }
    let (second, _, said) = app.export().await;
    assert_eq!(
        (second.image.as_ref(), second.uploaded_bytes),
        (Some(&image), 0)
    );
    assert!(!said.contains("Cache of the build stored"), "{said}");
    let as_before = |said: &str| said.matches("as in the last image").count();
    assert_eq!(as_before(&said), 4, "{said}");

    app.write("build/app.py", "print(2)");
    let (third, _, said) = app.export().await;
    assert_ne!(third.image, Some(image));
    assert!(third.uploaded_bytes < 5_000, "{}", third.uploaded_bytes);
    assert_eq!(as_before(&said), 3, "{said}");
    assert!(!said.contains("Cache of the build stored"), "{said}");

    // What the registry has lost is packed and sent again.
    let cache = registry.manifest("slipway/ns/app", "uid-cache").await;
    let cache = cache.unwrap().unwrap().image;
    let links = "data/docker/registry/v2/repositories/slipway/ns/app/_layers/sha256";
    for lost in [&manifest.layers[2], &cache.layers[0]] {
        let (_, hash) = lost.digest.split_once(':').unwrap();
        fs::remove_dir_all(app.server.root.path().join(links).join(hash)).unwrap();
    }
    let (fourth, _, said) = app.export().await;
    assert_eq!(fourth.image, third.image);
    assert!(fourth.uploaded_bytes > 100_000, "{}", fourth.uploaded_bytes);
    assert_eq!(as_before(&said), 3, "{said}");
    assert!(said.contains("Cache of the build stored"), "{said}");

    // What export stored is the cache that the next fetch finds; a broken one is only slow.
    let commit = app.commit(&[("a", "x")]);
    let input = app.fetch_input(&commit);
    let (_, code, said) = app.fetch(&input).await;
    assert_eq!(code, exit::OK, "{said}");
    assert_eq!(
        fs::read_to_string(app.on_volume("cache/kept")).unwrap(),
        "cached"
    );
    registry
        .push_artifact(
            "slipway/ns/app",
            "uid-cache",
            "x",
            &[bytes_layer("no archive")],
            BTreeMap::new(),
        )
        .await
        .unwrap();
    let (_, code, said) = app.fetch(&input).await;
    assert_eq!(code, exit::OK);
    assert!(
        said.contains("The build starts without its cache"),
        "{said}"
    );
    assert_eq!(fs::read_dir(app.on_volume("cache")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_password_or_a_certificate_that_is_no_more_breaks_a_build_off() {
    let mut app = App::new().await;
    app.write("build/app.py", "x");
    app.write("slipway/result.json", "{}");
    let commit = app.commit(&[("a", "x")]);
    app.server.access.password = Some(Secret("the-old-one".into()));
    let (report, code, _) = app.export().await;
    assert_eq!((code, report.image), (exit::INTERRUPTED, None));
    let said = report.failure.unwrap().message;
    assert!(
        said.contains("check account and password") && !said.contains("the-old-one"),
        "{said}"
    );
    let refused = app.server.access.clone();
    // Nobody trusts its new certificate yet.
    app.server.access.password = Some(Secret(PASSWORD.into()));
    app.server.access.ca_pem = None;
    assert_eq!(app.export().await.1, exit::INTERRUPTED);
    app.server.access = refused;
    let (_, code, said) = app.fetch(&app.fetch_input(&commit)).await;
    assert_eq!(code, exit::INTERRUPTED, "{said}");
}

#[tokio::test]
async fn an_engine_whose_disk_is_nearly_full_breaks_a_build_off() {
    let app = App::new().await;
    app.write("build/app.py", "x");
    app.write("slipway/result.json", "{}");
    let commit = app.commit(&[("a", "x")]);
    let mut input = app.export_input();
    input.disk_reserve_bytes = u64::MAX;
    let (report, code, _) = app.export_with(&input).await;
    assert_eq!((code, report.image), (exit::INTERRUPTED, None));
    let said = report.failure.unwrap().message;
    assert!(
        said.contains("nearly full, and export was stopped"),
        "{said}"
    );
    let mut input = app.fetch_input(&commit);
    input.disk_reserve_bytes = u64::MAX;
    let (report, code, _) = app.fetch(&input).await;
    assert_eq!((code, report.source), (exit::INTERRUPTED, None));
    let said = report.failure.unwrap().message;
    assert!(
        said.contains("nearly full, and fetch was stopped"),
        "{said}"
    );
}

#[tokio::test]
async fn a_source_that_the_registry_has_lost_comes_from_git_again() {
    let app = App::new().await;
    let commit = app.commit(&[("a", "x")]);
    let mut input = app.fetch_input(&commit);
    input.source.artifact = Some(Artifact {
        repository: "slipway/ns/app".into(),
        digest: format!("sha256:{}", "0".repeat(64)),
    });
    let (report, code, said) = app.fetch(&input).await;
    assert_eq!(code, exit::OK, "{said}");
    assert!(said.contains("its git server is asked again"), "{said}");
    assert_ne!(report.source, input.source.artifact);
    // A pushed one has no git server.
    input.source.git = None;
    let (report, code, _) = app.fetch(&input).await;
    assert_eq!((code, report.source), (exit::FETCH, None));
    let said = report.failure.unwrap().message;
    assert!(
        said.contains("is not in the registry any more; push it again"),
        "{said}"
    );
}

#[tokio::test]
async fn export_does_not_believe_the_volume() {
    let app = App::new().await;
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "canary-canary").unwrap();
    app.write("build/app.py", "x");
    let (report, code, _) = app.export().await;
    assert_eq!(code, exit::EXPORT);
    assert!(
        report
            .failure
            .unwrap()
            .message
            .contains("result.json cannot be read")
    );
    app.write(
        "slipway/result.json",
        r#"{"failure": {"step": "compile", "message": "x"}}"#,
    );
    assert_eq!(app.export().await.1, exit::EXPORT);
    app.write("slipway/result.json", "{}");
    fs::remove_dir_all(app.on_volume("build")).unwrap();
    symlink(outside.path(), app.on_volume("build")).unwrap();
    let (report, code, _) = app.export().await;
    assert_eq!((code, report.image), (exit::EXPORT, None));
    // A cache that leads elsewhere is not stored, and does not cost the image.
    fs::remove_file(app.on_volume("build")).unwrap();
    app.write("build/app.py", "x");
    symlink(outside.path(), app.on_volume("cache")).unwrap();
    let (report, code, said) = app.export().await;
    assert_eq!(code, exit::OK, "{said}");
    assert!(
        report.image.is_some() && said.contains("cache of the build could not be stored"),
        "{said}"
    );
    assert_eq!(
        app.server
            .client()
            .manifest("slipway/ns/app", "uid-cache")
            .await
            .unwrap(),
        None
    );
}
