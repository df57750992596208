//! A machine with or without remains of a cluster → a cluster that is Ready. A healthy cluster is left as it is.

use std::fs;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};

use crate::cgroups;
use crate::command::{feed, run};
use crate::components::{self, Accounts, Component, PULL_ACCOUNT, PUSH_ACCOUNT, Site};
use crate::down;
use crate::facts::Facts;
use crate::files::{self, File};
use crate::filter;
use crate::images;
use crate::kernel;
use crate::layout::Layout;
use crate::links;
use crate::network::Network;
use crate::packages;
use crate::pki;
use crate::probes::Probe;
use crate::processes;
use crate::progress::{Progress, seconds};
use crate::rights;
use crate::status::{self, Verdict};
use crate::tools;

const LIMIT: Duration = Duration::from_secs(90);

/// The properties of the machine that the cluster's configuration needs.
pub fn site(layout: &Layout, network: Network) -> Site {
    Site {
        layout: layout.clone(),
        network,
        mtu: links::mtu(),
        resolv_conf: resolv_conf(&fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
            .to_owned(),
        accounts: Accounts::default(),
    }
}

/// The file with resolvers that pods can reach. They cannot reach one on the machine's loopback; systemd then has the
/// real ones in another file.
fn resolv_conf(text: &str) -> &'static str {
    let mut servers = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .map(str::trim);
    if servers.any(|server| server.starts_with("127.")) {
        "/run/systemd/resolve/resolv.conf"
    } else {
        "/etc/resolv.conf"
    }
}

/// Brings the cluster up; `now` goes into the certificates.
pub fn up(
    layout: &Layout,
    network: Network,
    root: bool,
    now: SystemTime,
    progress: &mut Progress<'_>,
) -> Result<()> {
    let mut site = site(layout, network);
    if down::there(layout) && healthy(&site, progress) {
        // The cache may have been emptied while the cluster runs; its pods and users need the programs.
        return tools::build_missing(layout, &tools::ALL, progress);
    }
    if !root {
        let lacking = packages::command_by_hand().map_or(String::new(), |command| {
            format!("; missing on this machine, and installed by it: {command}")
        });
        bail!(
            "a cluster needs root (network interfaces, mounts, control groups): run this as root, for example with sudo{lacking}"
        );
    }
    layout.check_length()?;
    rights::check()?;
    packages::install_missing(progress)?;
    tools::build_missing(layout, &tools::ALL, progress)?;
    if down::there(layout) {
        for thing in down::down(layout, progress)? {
            progress.warn(&format!("left behind: {thing}"));
        }
    }
    links::check_free(layout, network)?;
    filter::check_free()?;

    progress.step("Making certificates, accounts and configuration");
    let archives = images::archives(layout)?;
    files::folder_at(&layout.state, 0o755)?;
    files::write(&layout.at(down::SIGN), b"", 0o644)?;
    prepare_files(&mut site, now)?;
    progress.done("made");

    progress.step(format!("Making the network {}", network.whole()));
    kernel::prepare(layout)?;
    cgroups::create()?;
    links::create(layout, network, site.mtu)?;
    progress.done("made");

    start(&site, &archives, progress)?;
    Facts::of(&site).write(layout)?;
    progress.step("The cluster is ready");
    progress.done("ready");
    Ok(())
}

/// Whether the existing cluster can stay; prints why not.
fn healthy(site: &Site, progress: &mut Progress<'_>) -> bool {
    progress.step("Looking at the cluster that is here");
    let made = Facts::read(&site.layout).ok();
    if made.as_ref().is_some_and(|made| *made != Facts::of(site)) {
        progress.warn("it was made with other programs or addresses: making it anew");
        return false;
    }
    match status::verdict(true, made.is_some(), &status::observe(site)) {
        Verdict::Healthy => {
            progress.done("healthy, nothing to do");
            true
        }
        Verdict::Unhealthy(troubles) => {
            for trouble in troubles {
                progress.warn(&trouble);
            }
            false
        }
        Verdict::Absent => false,
    }
}

fn prepare_files(site: &mut Site, now: SystemTime) -> Result<()> {
    let layout = &site.layout;
    for folder in [
        "pki",
        "kubeconfig",
        "registry",
        "home",
        "docker-config",
        "audit",
    ] {
        files::folder_at(&layout.at(folder), 0o700)?;
    }
    for folder in [
        "logs",
        "run",
        "pids",
        "volumes",
        "engine",
        "containerd/temp",
    ] {
        files::folder_at(&layout.at(folder), 0o755)?;
    }
    let host_bundle = fs::read_to_string("/etc/ssl/certs/ca-certificates.crt").unwrap_or_default();
    let certificates = pki::new_files(layout, site.network, &host_bundle, now)?;
    for name in pki::KUBECONFIGS {
        pki::kubeconfig(layout, site.network, name, &certificates)?.write()?;
    }
    for file in &certificates {
        file.write()?;
    }
    site.accounts = accounts()?;
    for component in components::all(site) {
        for file in component.files {
            file.write()?;
        }
    }
    let account = crate::probes::basic(PUSH_ACCOUNT, &site.accounts.push_password);
    let docker = serde_json::json!({"auths": {site.network.registry(): {"auth": account.trim_start_matches("Basic ")}}});
    File::secret(
        site.layout.at("docker-config/config.json"),
        docker.to_string(),
    )
    .write()
}

fn accounts() -> Result<Accounts> {
    // The passwords are random, so the cheapest hash protects them as well as the most expensive one; it is computed at
    // every request.
    let hash = |password: &str| bcrypt::hash(password, 4).context("hashing a registry password");
    let (push, pull) = (files::random_hex(16)?, files::random_hex(16)?);
    Ok(Accounts {
        htpasswd: format!(
            "{PUSH_ACCOUNT}:{}\n{PULL_ACCOUNT}:{}\n",
            hash(&push)?,
            hash(&pull)?
        ),
        push_password: push,
        pull_password: pull,
    })
}

/// Starts the components in waves, each when the one before answers.
fn start(site: &Site, archives: &[String], progress: &mut Progress<'_>) -> Result<()> {
    let layout = &site.layout;
    let all = components::all(site);
    let named = |names: &[&str]| -> Vec<&Component> {
        all.iter()
            .filter(|component| names.contains(&component.program.name))
            .collect()
    };
    let launch = |components: &[&Component]| {
        components
            .iter()
            .try_for_each(|component| processes::start(layout, &component.program).map(drop))
    };

    progress.step("Starting etcd, containerd, the registry and the engine");
    let early = named(&["etcd", "containerd", "docker-registry", "dockerd"]);
    launch(&early)?;
    wait(site, &named(&["etcd"]), progress)?;
    let apiserver = named(&["kube-apiserver"]);
    launch(&apiserver)?;
    wait(site, &named(&["containerd"]), progress)?;
    for archive in archives {
        run(&[
            &layout.program("ctr"),
            "--address",
            &layout.containerd_socket(),
            "--namespace",
            "k8s.io",
            "images",
            "import",
            // Without this label, a node that is short of disk would remove the image, and nobody could pull it again.
            "--label",
            "io.cri-containerd.pinned=pinned",
            archive,
        ])?;
    }
    progress.done("etcd and containerd answer");

    progress.step("Starting the API server");
    wait(site, &apiserver, progress)?;
    progress.done("it answers");

    progress.step("Starting the controllers, the node, DNS and storage");
    launch(&named(&[
        "kube-controller-manager",
        "kube-scheduler",
        "kubelet",
        "kube-proxy",
    ]))?;
    let kubeconfig = format!("--kubeconfig={}", layout.kubeconfig("admin"));
    let apply = [
        &*layout.program("kubectl"),
        &kubeconfig,
        "apply",
        "--server-side",
        "-f",
        "-",
    ];
    feed(&apply, &components::manifests(site))?;
    // These two can do nothing before they have their rights.
    launch(&named(&["coredns", "local-path-provisioner"]))?;
    wait(site, &all.iter().collect::<Vec<_>>(), progress)?;
    for (name, probe) in status::whole_checks(site) {
        until(name, &probe, || Ok(()), progress).with_context(|| format!("waiting for: {name}"))?;
    }
    progress.done("the node is Ready");
    Ok(())
}

/// Waits until each answers. If one ends or does not answer in time, the error has the end of its log.
fn wait(site: &Site, components: &[&Component], progress: &mut Progress<'_>) -> Result<()> {
    for component in components {
        let name = component.program.name;
        let runs = || {
            processes::running(&site.layout, name)
                .map(drop)
                .with_context(|| format!("{name} has ended"))
        };
        if let Err(error) = until(name, &component.probe, runs, progress) {
            let log = site.layout.log(name);
            progress.warn(&format!("{name} did not start; the end of {log}:"));
            progress.note(&files::tail(&log, 25));
            return Err(error.context(format!("starting {name}")));
        }
    }
    Ok(())
}

fn until(
    name: &str,
    probe: &Probe,
    precondition: impl Fn() -> Result<()>,
    progress: &mut Progress<'_>,
) -> Result<()> {
    let began = Instant::now();
    let mut told = Duration::ZERO;
    loop {
        precondition()?;
        let Err(error) = probe.ask() else {
            return Ok(());
        };
        let waited = began.elapsed();
        if waited > LIMIT {
            return Err(error.context(format!("no good answer within {} s", LIMIT.as_secs())));
        }
        if waited > told + Duration::from_secs(10) {
            told = waited;
            progress.note(&format!("{name}: {} so far; {error:#}", seconds(waited)));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_on_the_loopback_is_not_handed_to_pods() {
        assert_eq!(
            resolv_conf("search x\nnameserver 10.0.0.2\n"),
            "/etc/resolv.conf"
        );
        assert_eq!(
            resolv_conf("nameserver 127.0.0.53\n"),
            "/run/systemd/resolve/resolv.conf"
        );
    }
}
