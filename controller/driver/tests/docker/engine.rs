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

use bollard::query_parameters::{InspectContainerOptions, ListNetworksOptions};
use futures::TryStreamExt as _;
use slipway_base::zone::{
    Zone,
    input::{RegistryAccess, Secret},
};
use slipway_core::{
    build::{
        file::PlanFile,
        plan::{self, BuildPlan, EgressPlan, Limits, ZonePlan},
    },
    settings::{EngineSettings, RegistrySettings},
};
use slipway_driver::{
    contract::{Driver as _, ZoneState},
    docker::Docker,
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

    pub(crate) fn driver(&self) -> Docker {
        Docker::new(&self.settings, &registry(), self.owner.clone())
    }

    /// The same, with a password that the cluster's registry does not take.
    pub(crate) fn denied_driver(&self) -> Docker {
        let address = text(&facts(), "/registry/engine");
        let mut settings = registry();
        settings.push.address.clone_from(&address);
        settings.push.username = Some("slipway".into());
        settings.push.password = Some(Secret("of yesterday".into()));
        settings.engine_address = address;
        Docker::new(&self.settings, &settings, self.owner.clone())
    }

    /// An engine that nobody serves.
    pub(crate) fn away() -> Docker {
        let settings = EngineSettings {
            address: "unix:///no/such/socket".into(),
            certificates: None,
        };
        Docker::new(&settings, &registry(), "away".into())
    }

    /// A plan whose zones take these steps.
    pub(crate) fn plan(&self, zones: &[(Zone, &[&str])]) -> BuildPlan {
        let uid = format!("{}-{}", self.owner, COUNT.fetch_add(1, Ordering::Relaxed));
        BuildPlan {
            namespace: "test".into(),
            name: "test".into(),
            app: "test".into(),
            volume: plan::volume(&uid),
            network: plan::NETWORK.into(),
            zones: zones
                .iter()
                .map(|(zone, steps)| ZonePlan {
                    zone: *zone,
                    container: plan::container(&uid, *zone),
                    image: IMAGE.into(),
                    command: std::iter::once("/zone")
                        .chain(steps.iter().copied())
                        .map(str::to_owned)
                        .collect(),
                    env: Vec::new(),
                    user: USER,
                    mount: Some(if *zone == Zone::Build {
                        "/tmp".into()
                    } else {
                        "/workspace".into()
                    }),
                    tmpfs: vec!["/env".into()],
                    files: vec![PlanFile {
                        path: "/slipway/input.json".into(),
                        mode: 0o400,
                        content: b"{}".to_vec(),
                    }],
                    limits: Limits {
                        memory_bytes: Some(64 << 20),
                        milli_cpus: Some(1000),
                        pids: Some(64),
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
        let mut plan = self.plan(&[
            (Zone::Build, steps),
            (Zone::Export, &["serve=0.0.0.0:3128"]),
        ]);
        let mut proxy = plan.zones.remove(1);
        proxy.container = plan::proxy(&plan.uid);
        proxy.mount = None;
        plan.egress = Some(EgressPlan {
            network: plan::volume(&plan.uid),
            host: "way-out".into(),
            proxy,
        });
        plan
    }

    /// Waits until the container is as wished.
    pub(crate) async fn until(
        &self,
        container: &str,
        wished: impl Fn(&ZoneState) -> bool,
    ) -> ZoneState {
        let driver = self.driver();
        let mut last = ZoneState::Absent;
        let wait = async {
            loop {
                last = driver.observe(container).await.unwrap();
                if wished(&last) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let waited = tokio::time::timeout(DEADLINE, wait).await;
        assert!(waited.is_ok(), "{container} is {last:?}");
        last
    }

    pub(crate) async fn log(&self, container: &str) -> String {
        let chunks: Vec<_> = self
            .driver()
            .logs(container, false)
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        String::from_utf8_lossy(&chunks.concat()).into_owned()
    }

    /// Waits until the container has said something.
    pub(crate) async fn until_said(&self, container: &str, text: &str) {
        let said = async {
            while !self.log(container).await.contains(text) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(DEADLINE, said).await.expect(text);
    }

    /// The container's address in the builds' network.
    pub(crate) async fn address(&self, container: &str) -> String {
        self.addresses(container).await[plan::NETWORK].clone()
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
