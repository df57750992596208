//! What a user of the cluster relies on, asked of the real one that is up (`make cluster-up`): pods, names, storage, the
//! registry under both its names, the engine over TLS, who is let in. The recovery test makes the cluster anew, so it runs alone.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test says by failing what it expected"
)]

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use slipway_cluster::command::{feed, run};
use slipway_cluster::facts::Facts;
use slipway_cluster::images::BUSYBOX;
use slipway_cluster::layout::Layout;
use slipway_cluster::probes::Web;
use slipway_cluster::processes;

const PROGRAM: &str = env!("CARGO_BIN_EXE_slipway-cluster");

/// Where the cluster's state is; nothing here looks into the cache.
fn layout() -> Layout {
    Layout::new("/var/lib/slipway-cluster", "/nowhere").expect("layout")
}

fn facts() -> Facts {
    Facts::read(&layout()).expect("a cluster that is up")
}

/// A namespace that goes with the test.
struct Namespace(String);

impl Namespace {
    fn new(name: &str) -> Self {
        let name = format!("cluster-test-{name}-{}", std::process::id());
        kubectl(&["create", "namespace", &name]);
        // No pod is admitted before.
        until("the namespace has its account", || {
            try_kubectl(&["-n", &name, "get", "serviceaccount", "default"])
                .status
                .success()
        });
        Self(name)
    }

    fn kubectl(&self, words: &[&str]) -> String {
        kubectl(&[&["-n", &self.0], words].concat())
    }

    fn apply(&self, object: &Value) {
        let facts = facts();
        let words = [
            &*format!("{}/kubectl", facts.bin_dir),
            "--kubeconfig",
            &facts.kubeconfig,
            "-n",
            &self.0,
            "apply",
            "-f",
            "-",
        ];
        feed(&words, &object.to_string()).expect("applied");
    }

    /// Runs a shell script in a pod to its end, and returns what it printed.
    fn script(&self, name: &str, pod: Value) -> String {
        let mut pod = pod;
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"] = json!({"name": name});
        pod["spec"]["restartPolicy"] = json!("Never");
        self.apply(&pod);
        until(&format!("pod {name} has ended"), || {
            ["Succeeded", "Failed"].contains(&&*self.kubectl(&[
                "get",
                "pod",
                name,
                "-o",
                "jsonpath={.status.phase}",
            ]))
        });
        self.kubectl(&["logs", name])
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        try_kubectl(&["delete", "namespace", &self.0, "--wait=false"]);
    }
}

fn try_kubectl(words: &[&str]) -> Output {
    let facts = facts();
    Command::new(format!("{}/kubectl", facts.bin_dir))
        .args(["--kubeconfig", &facts.kubeconfig])
        .args(words)
        .output()
        .expect("kubectl")
}

fn kubectl(words: &[&str]) -> String {
    let output = try_kubectl(words);
    assert!(
        output.status.success(),
        "kubectl {words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !holds() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn shell(script: &str) -> Value {
    json!({"name": "main", "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["sh", "-c", script]})
}

fn restricted(mut container: Value) -> Value {
    container["securityContext"] = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": true,
        "runAsNonRoot": true,
        "runAsUser": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    container
}

#[test]
#[ignore = "needs the cluster: make cluster-test"]
fn a_service_answers_pods_and_the_machine_by_name_address_and_node_port() {
    let namespace = Namespace::new("service");
    namespace.apply(&json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{
            "name": "web", "image": BUSYBOX, "imagePullPolicy": "Never",
            "command": ["sh", "-c", "mkdir /tmp/w && echo hello > /tmp/w/index.html && exec httpd -f -p 8080 -h /tmp/w"],
            "readinessProbe": {"httpGet": {"port": 8080, "path": "/"}, "periodSeconds": 1},
        }]}},
    }}));
    namespace.apply(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}}));
    namespace.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]);

    let host = format!("web.{}.svc.cluster.local", namespace.0);
    let address = namespace.kubectl(&["get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"]);
    let port = namespace.kubectl(&[
        "get",
        "service",
        "web",
        "-o",
        "jsonpath={.spec.ports[0].nodePort}",
    ]);
    let node_port = format!("{}:{port}", facts().node_address);
    let script = format!(
        "for host in {host} {address} {node_port}; do wget -qO- http://$host/ || echo $host failed; done"
    );
    assert_eq!(
        namespace.script("client", json!({"spec": {"containers": [shell(&script)]}})),
        "hello\nhello\nhello\n"
    );
    for host in [address, node_port] {
        let web = Web {
            url: format!("http://{host}/"),
            ..Web::default()
        };
        until(&format!("{host} answers the machine"), || {
            web.get().is_ok_and(|body| body == "hello\n")
        });
    }
    let words = namespace.kubectl(&["exec", "deployment/web", "--", "cat", "/tmp/w/index.html"]);
    assert_eq!(words, "hello\n");
}

#[test]
#[ignore = "needs the cluster: make cluster-test"]
fn a_claim_is_bound_and_what_was_written_outlives_the_pod() {
    let namespace = Namespace::new("storage");
    namespace.apply(
        &json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}}),
    );
    let pod = |script: &str| {
        let mut container = restricted(shell(script));
        container["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
        json!({"spec": {"containers": [container], "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}})
    };
    assert_eq!(
        namespace.script("writes", pod("echo kept > /data/file && echo written")),
        "written\n"
    );
    assert_eq!(namespace.script("reads", pod("cat /data/file")), "kept\n");
}

#[test]
#[ignore = "needs the cluster: make cluster-test"]
fn a_restricted_pod_runs_and_an_unrestricted_one_is_refused_where_the_namespace_says_so() {
    let namespace = Namespace::new("restricted");
    kubectl(&[
        "label",
        "namespace",
        &namespace.0,
        "pod-security.kubernetes.io/enforce=restricted",
    ]);
    let id = namespace.script(
        "good",
        json!({"spec": {"containers": [restricted(shell("id -u"))]}}),
    );
    assert_eq!(id, "1000\n");
    let refused = try_kubectl(&["-n", &namespace.0, "run", "bad", "--image", BUSYBOX]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("violates PodSecurity"));
}

#[test]
#[ignore = "needs the cluster: make cluster-test"]
fn a_pod_that_takes_too_much_memory_is_killed_for_it() {
    let namespace = Namespace::new("memory");
    let mut container = shell("head -c 100000000 /dev/zero | tail | wc");
    container["resources"] = json!({"limits": {"memory": "16Mi"}});
    namespace.script("greedy", json!({"spec": {"containers": [container]}}));
    let reason = namespace.kubectl(&[
        "get",
        "pod",
        "greedy",
        "-o",
        "jsonpath={.status.containerStatuses[0].state.terminated.reason}",
    ]);
    assert_eq!(reason, "OOMKilled");
}

#[test]
#[ignore = "needs the cluster: make cluster-test"]
fn an_image_of_the_engine_is_loaded_and_pulled_by_its_other_name_without_a_pull_secret() {
    let facts = facts();
    let socket = format!("unix://{}", facts.engine.socket);
    let image = format!("cluster-test:{}", std::process::id());
    let folder = tempfile::tempdir().expect("folder");
    let archive = folder.path().join("image.tar");
    fs::create_dir(folder.path().join("bin")).expect("folder");
    fs::copy("/bin/busybox", folder.path().join("bin/busybox")).expect("copied");
    run(&[
        "tar",
        "-C",
        &folder.path().to_string_lossy(),
        "-cf",
        &archive.to_string_lossy(),
        "bin",
    ])
    .expect("packed");
    run(&[
        "docker",
        "-H",
        &socket,
        "import",
        &archive.to_string_lossy(),
        &image,
    ])
    .expect("imported");

    let name = run(&[PROGRAM, "load", &image]).expect("loaded");
    assert!(
        name.starts_with(&format!("{}/cluster-test@sha256:", facts.registry.pull)),
        "{name}"
    );
    let namespace = Namespace::new("pull");
    let container = json!({"name": "main", "image": name.trim(), "command": ["/bin/busybox", "echo", "pulled"]});
    assert_eq!(
        namespace.script("pulls", json!({"spec": {"containers": [container]}})),
        "pulled\n"
    );
    for name in [&image, &format!("{}/{image}", facts.registry.engine)] {
        run(&["docker", "-H", &socket, "image", "rm", name]).expect("removed");
    }
}

#[test]
#[ignore = "needs the cluster: make cluster-test"]
fn nobody_is_let_in_without_credentials() {
    let facts = facts();
    let node = &facts.node_address;
    let engine = facts.engine.address.replace("tcp://", "https://");
    let layout = layout();
    for (url, ca) in [
        (format!("https://{node}:6443/version"), layout.cert("ca")),
        (format!("https://{node}:10250/pods"), layout.cert("ca")),
        (
            format!("https://{node}:2379/version"),
            layout.cert("etcd-ca"),
        ),
        (
            format!("https://{}/v2/", facts.registry.push),
            layout.cert("ca"),
        ),
        (format!("{engine}/_ping"), layout.cert("engine-ca")),
    ] {
        let answer = Web {
            url: url.clone(),
            ca: Some(ca),
            ..Web::default()
        }
        .get();
        let said = format!("{:#}", answer.expect_err(&url));
        assert!(
            said.contains("401") || said.to_lowercase().contains("certificate"),
            "{url}: {said}"
        );
    }
    // The cluster's authority is neither etcd's nor the engine's.
    for (url, ca) in [
        (format!("{engine}/_ping"), "engine-ca"),
        (format!("https://{node}:2379/version"), "etcd-ca"),
    ] {
        let admin = Some((layout.cert("admin"), layout.key("admin")));
        let answer = Web {
            url: url.clone(),
            ca: Some(layout.cert(ca)),
            client: admin,
            account: None,
        }
        .get();
        assert!(answer.is_err(), "{url} takes the cluster's admin");
    }
}

#[test]
#[ignore = "needs the cluster: make cluster-test"]
fn every_write_is_in_the_audit_log_with_its_writer_and_of_reads_the_operators() {
    let namespace = Namespace::new("audit");
    namespace.kubectl(&["create", "configmap", "written"]);
    namespace.kubectl(&["get", "configmap", "written"]);
    let log = fs::read_to_string(facts().audit_log).expect("log");
    let of_ours: Vec<Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|event: &Value| {
            event["objectRef"]["namespace"] == *namespace.0
                && event["objectRef"]["name"] == "written"
        })
        .collect();
    assert_eq!(of_ours.len(), 1);
    let event = of_ours.first().expect("event");
    assert_eq!(
        (event["verb"].as_str(), event["user"]["username"].as_str()),
        (Some("create"), Some("kubernetes-admin"))
    );
    assert!(
        event["userAgent"]
            .as_str()
            .is_some_and(|agent| agent.starts_with("kubectl/"))
    );
    let readers: BTreeSet<String> = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|event| ["get", "list", "watch"].iter().any(|v| event["verb"] == *v))
        .filter_map(|event| Some(event["user"]["username"].as_str()?.to_owned()))
        .collect();
    assert!(
        readers
            .iter()
            .all(|user| user.starts_with("system:serviceaccount:slipway-system:")),
        "{readers:?}"
    );
}

#[test]
#[ignore = "needs the cluster: make cluster-test"]
fn up_on_a_healthy_cluster_changes_nothing() {
    let before = processes::running(&layout(), "kube-apiserver").expect("runs");
    let said = run(&[PROGRAM, "up"]).expect("up");
    assert!(said.contains("nothing to do"), "{said}");
    assert_eq!(
        processes::running(&layout(), "kube-apiserver"),
        Some(before)
    );
}

fn traces() -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    found.extend(
        mounts
            .lines()
            .filter(|line| line.contains("slipway"))
            .map(str::to_owned),
    );
    let links = run(&["ip", "-brief", "link"]).expect("links");
    found.extend(
        links
            .lines()
            .filter(|line| line.starts_with("slipway") || line.starts_with("veth"))
            .map(str::to_owned),
    );
    for save in ["iptables-save", "ip6tables-save"] {
        let rules = run(&[save]).unwrap_or_default();
        found.extend(
            rules
                .lines()
                .filter(|line| {
                    ["KUBE-", "SLIPWAY-", "CNI-"]
                        .iter()
                        .any(|ours| line.contains(ours))
                })
                .map(str::to_owned),
        );
    }
    let groups = run(&[
        "find",
        "/sys/fs/cgroup",
        "-maxdepth",
        "2",
        "-name",
        "slipway-*",
    ])
    .expect("groups");
    found.extend(groups.lines().map(str::to_owned));
    found.extend(
        processes::marked(&layout())
            .iter()
            .map(|pid| format!("process {pid}")),
    );
    let places = [
        "/var/lib/slipway-cluster",
        "/var/lib/cni",
        "/var/lib/kubelet",
        "/var/log/containers",
        "/run/netns/slipway-engine",
    ];
    found.extend(
        places
            .iter()
            .filter(|place| fs::exists(place).unwrap_or(true))
            .map(|place| (*place).to_owned()),
    );
    found
}

/// A pod with a claim and a port of the node, and a container on the engine: what `down` has to end and unmount.
fn in_use() {
    let facts = facts();
    let namespace = Namespace::new("in-use");
    namespace.apply(
        &json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}}),
    );
    let mut container = restricted(shell("sleep 600"));
    container["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    container["ports"] = json!([{"containerPort": 80, "hostPort": 8099}]);
    namespace.apply(
        &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "sleeps"}, "spec": {
            "containers": [container],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
        }}),
    );
    namespace.kubectl(&[
        "wait",
        "pod/sleeps",
        "--for=condition=Ready",
        "--timeout=60s",
    ]);
    let socket = format!("unix://{}", facts.engine.socket);
    let folder = tempfile::tempdir().expect("folder");
    let archive = folder
        .path()
        .join("image.tar")
        .to_string_lossy()
        .into_owned();
    let busybox = ["tar", "-C", "/", "-cf", &archive, "bin/busybox"];
    run(&busybox).expect("packed");
    let docker = |words: &[&str]| run(&[&["docker", "-H", &socket], words].concat());
    docker(&["import", &archive, "sleeps"]).expect("imported");
    docker(&["run", "--detach", "sleeps", "/bin/busybox", "sleep", "600"]).expect("runs");
    // Its deletion would go on while the cluster goes.
    std::mem::forget(namespace);
}

/// Run by itself (`make cluster-test-recovery`): it takes the cluster down, with all that is in it.
#[test]
#[ignore = "makes the cluster anew: make cluster-test-recovery"]
fn recovery_from_killed_processes_and_nothing_left_after_down() {
    for victims in [
        &["etcd"][..],
        &["containerd", "kubelet"],
        &["kube-apiserver", "dockerd", "coredns"],
    ] {
        for name in victims {
            let process = processes::running(&layout(), name).expect("runs");
            kill_process(Pid::from_raw(process.pid).expect("pid"), Signal::KILL).expect("killed");
        }
        until("it is noticed", || run(&[PROGRAM, "status"]).is_err());
        let said = run(&[PROGRAM, "up"]).expect("up");
        assert!(
            victims
                .iter()
                .all(|name| said.contains(&format!("{name}: does not run"))),
            "{said}"
        );
        run(&[PROGRAM, "status"]).expect("healthy");
    }
    in_use();
    run(&[PROGRAM, "down"]).expect("down");
    assert_eq!(traces(), Vec::<String>::new());
    run(&[PROGRAM, "down"]).expect("down again");
    // Killed half-way, in each of its phases.
    for after in [300, 1500, 4000] {
        let mut child = Command::new(PROGRAM)
            .arg("up")
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("up");
        let deadline = Instant::now() + Duration::from_millis(after);
        until("its time is over", || Instant::now() > deadline);
        child.kill().expect("killed");
        child.wait().expect("collected");
        run(&[PROGRAM, "down"]).expect("down");
        assert_eq!(traces(), Vec::<String>::new(), "after {after} ms");
    }
    let began = Instant::now();
    run(&[PROGRAM, "up"]).expect("up");
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "took {:?}",
        began.elapsed()
    );
}
