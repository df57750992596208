//! The engine under test, an image for it, and plans for that image. What a test made is removed when it ends.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    path::PathBuf,
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bollard::query_parameters::{
    DownloadFromContainerOptionsBuilder, InspectContainerOptions, ListNetworksOptions,
};
use futures::TryStreamExt as _;
use slipway_base::{
    outside::policy::Policy,
    zone::{
        Zone,
        frame::Mark,
        input::{EgressInput, RegistryAccess, Secret},
        layout,
    },
};
use slipway_core::build::zones::ZoneState;
use slipway_core::{
    build::{
        file::PlanFile,
        plan::{BuildPlan, EgressPlan, Limits, PlanImage, ZonePlan},
    },
    settings::{EngineSettings, RegistrySettings},
};
use slipway_driver::{
    contract::{Driver as _, Read as _},
    docker::{Docker, Setup, names},
};
use tokio::sync::OnceCell;

use slipway_support::docker_engine::{self, facts, text};

/// User of the zones.
pub(crate) const USER: i64 = 32767;

const IMAGE: &str = "slipway-driver-test:1";
const DEADLINE: Duration = Duration::from_mins(1);

static READY: OnceCell<()> = OnceCell::const_new();
static COUNT: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Engine {
    settings: EngineSettings,
    owner: String,
}

/// As the operator reaches it: over TLS, each side with a certificate.
fn settings() -> EngineSettings {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("engine-certificates");
        fs::create_dir_all(&folder).unwrap();
        for (name, at) in [
            ("ca.pem", "/engine/ca_file"),
            ("cert.pem", "/engine/cert_file"),
            ("key.pem", "/engine/key_file"),
        ] {
            fs::copy(text(&facts(), at), folder.join(name)).unwrap();
        }
        folder
    });
    EngineSettings {
        address: text(&facts(), "/engine/address"),
        certificates: Some(FOLDER.clone()),
    }
}

fn registry() -> RegistrySettings {
    RegistrySettings {
        push: RegistryAccess {
            address: "127.0.0.1:1".into(),
            username: None,
            password: None,
            ca_pem: None,
            insecure: true,
        },
        engine_address: "127.0.0.1:1".into(),
        pull_address: "127.0.0.1:1".into(),
        prefix: "slipway".into(),
        pull_secret: None,
    }
}

/// Past the driver.
async fn client() -> bollard::Docker {
    let socket = text(&facts(), "/engine/socket");
    bollard::Docker::connect_with_unix(&socket, 120, bollard::API_DEFAULT_VERSION)
        .expect("an address")
        .negotiate_version()
        .await
        .expect("an engine")
}

impl Engine {
    pub(crate) async fn connect() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let settings = settings();
        READY.get_or_init(|| prepare(&settings)).await;
        Self::with(settings)
    }

    fn with(settings: EngineSettings) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let owner = format!(
            "test-{}-{}",
            now.as_nanos(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        Self { settings, owner }
    }

    fn setup(&self) -> Setup {
        Setup {
            engine: self.settings.clone(),
            registry: registry(),
            image: IMAGE.to_owned(),
            pids: 64,
            owner: self.owner.clone(),
        }
    }

    pub(crate) fn driver(&self) -> Docker {
        Docker::new(self.setup())
    }

    /// The same, where the operator's own image is another one.
    pub(crate) fn driver_of(&self, image: &str) -> Docker {
        Docker::new(Setup {
            image: image.to_owned(),
            ..self.setup()
        })
    }

    /// The same, with a password that the cluster's registry does not take.
    pub(crate) fn denied_driver(&self) -> Docker {
        let address = text(&facts(), "/registry/engine");
        let mut settings = registry();
        settings.push.address.clone_from(&address);
        settings.push.username = Some("slipway".into());
        settings.push.password = Some(Secret("of yesterday".into()));
        settings.engine_address = address;
        Docker::new(Setup {
            registry: settings,
            ..self.setup()
        })
    }

    /// An engine that nobody serves.
    pub(crate) fn away() -> Docker {
        let settings = EngineSettings {
            address: "unix:///no/such/socket".into(),
            certificates: None,
        };
        Docker::new(Self::with(settings).setup())
    }

    /// A plan whose zones take these steps.
    pub(crate) fn plan(&self, zones: &[(Zone, &[&str])]) -> BuildPlan {
        let uid = format!("{}-{}", self.owner, COUNT.fetch_add(1, Ordering::Relaxed));
        BuildPlan {
            namespace: "test".into(),
            name: "test".into(),
            app: "test".into(),
            zones: zones
                .iter()
                .map(|(zone, steps)| ZonePlan {
                    zone: *zone,
                    image: PlanImage::Own,
                    command: std::iter::once("/zone")
                        .chain(steps.iter().copied())
                        .map(str::to_owned)
                        .collect(),
                    user: USER,
                    workspace: if *zone == Zone::Build {
                        "/tmp".into()
                    } else {
                        "/workspace".into()
                    },
                    in_memory: vec!["/env".into()],
                    files: vec![PlanFile {
                        path: "/slipway/input.json".into(),
                        mode: 0o400,
                        content: b"{}".to_vec(),
                    }],
                    limits: Limits {
                        memory_bytes: Some(64 << 20),
                        milli_cpus: Some(1000),
                    },
                })
                .collect(),
            egress: None,
            timeout: DEADLINE,
            log_bytes: 1 << 20,
            uid,
        }
    }

    /// A plan of a build zone with a way out of its own, at which a server stands in for the proxy.
    pub(crate) fn closed_plan(&self, steps: &[&str]) -> BuildPlan {
        let mut plan = self.plan(&[(Zone::Build, steps)]);
        plan.egress = Some(EgressPlan {
            input: EgressInput {
                outside: Policy::default(),
                process_env: BTreeMap::new(),
            },
            command: ["/zone", "serve=0.0.0.0:3128"].map(str::to_owned).to_vec(),
            user: USER,
            limits: plan.zones[0].limits,
        });
        plan
    }

    /// Waits until the zone is as wished.
    pub(crate) async fn until(
        &self,
        uid: &str,
        zone: Zone,
        wished: impl Fn(&ZoneState) -> bool,
    ) -> ZoneState {
        let driver = self.driver();
        let mut last = ZoneState::Absent;
        let wait = async {
            loop {
                last = driver.observe(uid).await.unwrap().of(zone).clone();
                if wished(&last) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let waited = tokio::time::timeout(DEADLINE, wait).await;
        assert!(waited.is_ok(), "{zone:?} is {last:?}");
        last
    }

    pub(crate) async fn log(&self, uid: &str, zone: Zone) -> String {
        let chunks: Vec<_> = self
            .driver()
            .output(uid, zone, false)
            .await
            .unwrap()
            .log()
            .try_collect()
            .await
            .unwrap();
        String::from_utf8_lossy(&chunks.concat()).into_owned()
    }

    /// The report of the zone, if it wrote one with the mark `f00d`.
    pub(crate) async fn report(&self, uid: &str, zone: Zone) -> Option<Vec<u8>> {
        let output = self.driver().output(uid, zone, false).await.unwrap();
        let mark = Mark::new("f00d".to_owned());
        output.report(mark, |_| {}).await.unwrap()
    }

    /// Waits until the zone has said something.
    pub(crate) async fn until_said(&self, uid: &str, zone: Zone, text: &str) {
        let said = async {
            while !self.log(uid, zone).await.contains(text) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(DEADLINE, said).await.expect(text);
    }

    /// The container's address in the builds' network.
    pub(crate) async fn address(&self, container: &str) -> String {
        self.addresses(container).await[names::NETWORK].clone()
    }

    /// The container's addresses, by network.
    pub(crate) async fn addresses(&self, container: &str) -> BTreeMap<String, String> {
        let docker = client().await;
        let seen = docker
            .inspect_container(container, None::<InspectContainerOptions>)
            .await
            .unwrap();
        let networks = seen.network_settings.unwrap().networks.unwrap();
        let addresses = networks.into_iter().map(|(name, network)| {
            let address = network.ip_address.unwrap();
            assert!(!address.is_empty(), "the container runs");
            (name, address)
        });
        addresses.collect()
    }

    /// The engine's own address on the bridge that it has from its begin.
    pub(crate) async fn bridge(&self) -> String {
        let docker = client().await;
        let found = docker.list_networks(None::<ListNetworksOptions>).await;
        let found = found.unwrap();
        let bridge = found
            .into_iter()
            .find(|n| n.name.as_deref() == Some("bridge"));
        let config = bridge.unwrap().ipam.unwrap().config.unwrap();
        config[0].gateway.clone().unwrap()
    }

    /// Names of the networks that there are.
    pub(crate) async fn networks(&self) -> Vec<String> {
        let found = client()
            .await
            .list_networks(None::<ListNetworksOptions>)
            .await
            .unwrap();
        found
            .into_iter()
            .filter_map(|network| network.name)
            .collect()
    }

    /// Whether the container is at work.
    pub(crate) async fn runs(&self, container: &str) -> bool {
        let docker = client().await;
        let seen = docker.inspect_container(container, None::<InspectContainerOptions>);
        seen.await.unwrap().state.unwrap().running.unwrap()
    }

    /// The policy that the container of a proxy was given.
    pub(crate) async fn policy(&self, proxy: &str) -> Policy {
        let docker = client().await;
        let options = DownloadFromContainerOptionsBuilder::new()
            .path(layout::INPUT)
            .build();
        let archive = docker.download_from_container(proxy, Some(options));
        let archive: Vec<_> = archive.try_collect().await.unwrap();
        // One file: its head of 512 bytes, its text, and zeros.
        let text = archive.concat().split_off(512);
        let end = text.iter().position(|byte| *byte == 0).unwrap();
        let input: EgressInput = serde_json::from_slice(&text[..end]).unwrap();
        input.outside
    }

    /// How often the engine itself says that it started the container.
    pub(crate) async fn starts(&self, container: &str) -> usize {
        let docker = client().await;
        docker_engine::starts(&docker, "container", container)
            .await
            .len()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let driver = self.driver();
        // A runtime of its own: a test's may be on its way out.
        let _ = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                for uid in driver.leftovers().await.unwrap() {
                    driver.remove(&uid).await.unwrap();
                }
            });
        })
        .join();
    }
}

/// Image and network, which all tests share.
async fn prepare(settings: &EngineSettings) {
    let docker = client().await;
    docker_engine::import(
        &docker,
        IMAGE,
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docker/zone.rs")),
        "zone",
    )
    .await;
    let engine = Engine::with(settings.clone());
    let plan = engine.plan(&[(Zone::Fetch, &[])]);
    engine.driver().start(&plan, &plan.zones[0]).await.unwrap();
}
