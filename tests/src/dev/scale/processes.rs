//! What the kernel reports about the operator's processes: memory, CPU time, bytes on the network.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Result;
use slipway_cluster::facts::Facts;

use crate::{cluster::NAMESPACE, operator};

/// Clock ticks in a second of CPU time, as Linux reports it.
const TICKS: f64 = 100.0;

/// Usage of all processes of a pod together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usage {
    /// Anonymous memory, in MB.
    pub(super) anonymous: f64,
    /// CPU seconds since they started.
    pub(super) cpu: f64,
    /// Bytes that the pod has received and sent since it started.
    pub(super) wire: f64,
}

/// Usage of each of the operator's pods, by UID. The list of pods comes from the node's folders, so that a busy API
/// server need not answer.
pub(super) fn of_operator(facts: &Facts) -> Result<BTreeMap<String, Usage>> {
    let ours = format!("{NAMESPACE}_");
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(Path::new(&facts.log_dir).join("pods"))? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let Some((_, uid)) = name.strip_prefix(&ours).and_then(|n| n.rsplit_once('_')) else {
            continue;
        };
        let mut usage = Usage::default();
        for pid in operator::processes(uid)? {
            let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}"));
            // Skip a process that has ended meanwhile.
            let (Ok(status), Ok(stat), Ok(devices)) =
                (read("status"), read("stat"), read("net/dev"))
            else {
                continue;
            };
            usage.anonymous += anonymous(&status);
            usage.cpu += cpu(&stat);
            usage.wire = wire(&devices);
        }
        if usage != Usage::default() {
            all.insert(uid.to_owned(), usage);
        }
    }
    Ok(all)
}

/// CPU seconds of the API server since it started.
pub(super) fn of_api_server() -> Result<f64> {
    let mut seconds = 0.0;
    for entry in fs::read_dir("/proc")? {
        let folder = entry?.path();
        let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
        if read("comm").trim() == "kube-apiserver" {
            seconds += cpu(&read("stat"));
        }
    }
    Ok(seconds)
}

fn anonymous(status: &str) -> f64 {
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kilobytes.unwrap_or(0.0) * 1.024 / 1000.0
}

/// User and system time. The program's name, which may contain anything, ends at the last parenthesis.
fn cpu(stat: &str) -> f64 {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let times = after_name.split_whitespace().skip(11).take(2);
    times
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / TICKS
}

/// Bytes received and sent by every interface but the loopback.
fn wire(devices: &str) -> f64 {
    let interfaces = devices.lines().filter_map(|line| line.split_once(':'));
    let outer = interfaces.filter(|(name, _)| name.trim() != "lo");
    outer
        .flat_map(|(_, counts)| {
            let counts = counts.split_whitespace().step_by(8).take(2);
            counts.filter_map(|bytes| bytes.parse::<f64>().ok())
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::{anonymous, cpu, wire};

    #[test]
    fn the_kernels_words_are_read() {
        let status = "Name:\tslipway\nVmRSS:\t   30000 kB\nRssAnon:\t   20000 kB\n";
        assert!((anonymous(status) - 20.48).abs() < 1e-9);
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 900 0 0 0 150 50 0 0 20 0 5 0 100 0 0";
        assert!((cpu(stat) - 2.0).abs() < 1e-9);
        let devices = "Inter-|   Receive  |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets
    lo: 500 1 0 0 0 0 0 0 500 1 0 0 0 0 0 0
  eth0: 1000 9 0 0 0 0 0 0 234 8 0 0 0 0 0 0\n";
        assert!((wire(devices) - 1234.0).abs() < 1e-9);
    }
}
