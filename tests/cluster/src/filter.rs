//! The packet filter: makes the cluster's three chains, and removes them together with every chain that kube-proxy and
//! the pod network made.

use std::fmt::Write as _;

use anyhow::{Result, bail};

use crate::command::{feed, run, which};
use crate::network::Network;

const OURS: [&str; 3] = ["SLIPWAY-", "KUBE-", "CNI-"];

/// Fails if another kube-proxy has its chains here: the two would rewrite each other's rules.
pub fn check_free() -> Result<()> {
    if has_services(&run(&["iptables-save"])?) {
        bail!(
            "another Kubernetes runs on this machine (there is a packet filter chain KUBE-SERVICES), and two cannot share it: stop that one first. If it ran here earlier and is gone, restart the machine or remove its chains"
        );
    }
    Ok(())
}

fn has_services(saved: &str) -> bool {
    saved
        .lines()
        .any(|line| line.starts_with(":KUBE-SERVICES "))
}

/// Chains of another installation's CNI plugins, whose names begin as ours do. They are recorded before the cluster
/// comes up, and left alone when it goes down.
pub fn foreign() -> String {
    let saved = run(&["iptables-save"]).unwrap_or_default();
    chains_named(&saved, "CNI-").join("\n")
}

fn chains_named<'a>(saved: &'a str, prefix: &str) -> Vec<&'a str> {
    saved
        .lines()
        .filter_map(|line| line.strip_prefix(':')?.split(' ').next())
        .filter(|chain| chain.starts_with(prefix))
        .collect()
}

/// Allows traffic of pods and the engine to the outside and back, even if the machine (or another Docker) forwards
/// nothing by default.
pub fn create(network: Network) -> Result<()> {
    let (pods, engine, whole) = (network.pods(), network.engine(), network.whole());
    let rules = format!(
        "*filter
:SLIPWAY-FORWARD - [0:0]
:SLIPWAY-INPUT - [0:0]
-I FORWARD 1 -j SLIPWAY-FORWARD
-I INPUT 1 -j SLIPWAY-INPUT
-A SLIPWAY-FORWARD -s {pods} -j ACCEPT
-A SLIPWAY-FORWARD -d {pods} -j ACCEPT
-A SLIPWAY-FORWARD -s {engine} -j ACCEPT
-A SLIPWAY-FORWARD -d {engine} -j ACCEPT
-A SLIPWAY-INPUT -s {whole} -d {whole} -j ACCEPT
COMMIT
*nat
:SLIPWAY-OUT - [0:0]
-A POSTROUTING -j SLIPWAY-OUT
-A SLIPWAY-OUT -d {whole} -j RETURN
-A SLIPWAY-OUT -s {pods} -j MASQUERADE
-A SLIPWAY-OUT -s {engine} -j MASQUERADE
COMMIT
"
    );
    feed(&["iptables-restore", "--noflush", "-w"], &rules).map(drop)
}

/// Removes the cluster's chains. `foreign` is what [`foreign`] returned before the cluster came up.
pub fn remove(foreign: &str) -> Result<()> {
    let foreign: Vec<&str> = foreign.lines().collect();
    for family in ["iptables", "ip6tables"] {
        if which(family).is_none() {
            continue;
        }
        // A kernel without IPv6 has no tables to clean.
        let Ok(saved) = run(&[&format!("{family}-save")]) else {
            continue;
        };
        if let Some(script) = removal(&saved, &foreign) {
            feed(&[&format!("{family}-restore"), "--noflush", "-w"], &script)?;
        }
    }
    Ok(())
}

/// The output of iptables-save → the input of iptables-restore that removes our chains and the jumps to them, and nothing else.
fn removal(saved: &str, foreign: &[&str]) -> Option<String> {
    let ours = |chain: &str| {
        OURS.iter().any(|prefix| chain.starts_with(prefix)) && !foreign.contains(&chain)
    };
    let mut script = String::new();
    let (mut table, mut jumps, mut chains) = ("", String::new(), Vec::new());
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            (table, jumps, chains) = (name, String::new(), Vec::new());
        } else if let Some(chain) = line
            .strip_prefix(':')
            .and_then(|rest| rest.split(' ').next())
        {
            if ours(chain) {
                chains.push(chain);
            }
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let from_ours = rule.split(' ').next().is_some_and(ours);
            let to_ours = rule
                .split(" -j ")
                .nth(1)
                .or_else(|| rule.split(" -g ").nth(1))
                .is_some_and(ours);
            if to_ours && !from_ours {
                let _ = writeln!(jumps, "-D {rule}");
            }
        } else if line == "COMMIT" && !chains.is_empty() {
            let _ = write!(script, "*{table}\n{jumps}");
            for action in ["-F", "-X"] {
                for chain in &chains {
                    let _ = writeln!(script, "{action} {chain}");
                }
            }
            script.push_str("COMMIT\n");
        }
    }
    (!script.is_empty()).then_some(script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_chains_and_the_jumps_to_them_go() {
        let saved = "# Generated\n*nat\n:PREROUTING ACCEPT [0:0]\n:DOCKER - [0:0]\n:KUBE-SERVICES - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n-A KUBE-SERVICES -d 10.98.64.1/32 -j KUBE-MARK-MASQ\nCOMMIT\n*filter\n:FORWARD ACCEPT [0:0]\n:DOCKER-USER - [0:0]\n-A FORWARD -j DOCKER-USER\nCOMMIT\n";
        assert_eq!(
            removal(saved, &[]).as_deref(),
            Some(
                "*nat\n-D PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n-F KUBE-SERVICES\n-F KUBE-MARK-MASQ\n-X KUBE-SERVICES\n-X KUBE-MARK-MASQ\nCOMMIT\n"
            )
        );
    }

    #[test]
    fn a_machine_without_them_is_left_alone() {
        assert_eq!(
            removal(
                "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -i lo -j ACCEPT\nCOMMIT\n",
                &[]
            ),
            None
        );
    }

    #[test]
    fn chains_that_were_there_before_stay() {
        let saved = "*nat\n:POSTROUTING ACCEPT [0:0]\n:CNI-aa - [0:0]\n:CNI-bb - [0:0]\n-A POSTROUTING -j CNI-aa\n-A POSTROUTING -j CNI-bb\nCOMMIT\n";
        assert_eq!(chains_named(saved, "CNI-"), ["CNI-aa", "CNI-bb"]);
        let script = removal(saved, &["CNI-aa"]).expect("a script");
        assert_eq!(
            script,
            "*nat\n-D POSTROUTING -j CNI-bb\n-F CNI-bb\n-X CNI-bb\nCOMMIT\n"
        );
    }

    #[test]
    fn another_kube_proxy_is_seen() {
        assert!(has_services("*nat\n:KUBE-SERVICES - [0:0]\nCOMMIT\n"));
        assert!(!has_services(
            "*nat\n:KUBE-MARK - [0:0]\n-A X -j KUBE-SERVICES\nCOMMIT\n"
        ));
    }
}
