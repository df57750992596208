//! Figures, each with the values of several runs, as a table for people and as JSON for programs.

use std::{fmt::Write as _, fs};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::cluster::Cluster;

/// One figure, taken several times.
#[derive(Clone, Debug, Serialize)]
struct Figure {
    what: String,
    unit: &'static str,
    /// The aim: what its median should be at most. Not every figure has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    aim: Option<f64>,
    /// One value for each run, in order.
    values: Vec<f64>,
}

/// All figures, in the order of their first values.
#[derive(Default)]
pub(super) struct Figures(Vec<Figure>);

impl Figures {
    /// Adds a value to a figure.
    pub(super) fn add(&mut self, what: &str, value: f64, unit: &'static str, aim: Option<f64>) {
        if let Some(known) = self.0.iter_mut().find(|f| f.what == what) {
            known.values.push(value);
            return;
        }
        self.0.push(Figure {
            what: what.to_owned(),
            unit,
            aim,
            values: vec![value],
        });
    }

    /// Prints the table, then the JSON.
    #[expect(clippy::print_stdout, reason = "what the command is for")]
    pub(super) fn show(&self, machine: &str) -> Result<()> {
        println!("{machine}\n\n{}\n{}", self.table(), self.json(machine)?);
        Ok(())
    }

    fn table(&self) -> String {
        let mut text =
            "| figure | median | lowest to highest | runs | aim |\n|---|---|---|---|---|\n"
                .to_owned();
        for Figure {
            what,
            unit,
            aim,
            values,
        } in &self.0
        {
            let aim = aim.map(|a| format!("≤ {a} {unit}")).unwrap_or_default();
            let (low, middle, high) = spread(values);
            let row = [
                what.clone(),
                format!("{middle:.1} {unit}"),
                format!("{low:.1} to {high:.1}"),
                values.len().to_string(),
                aim,
            ];
            let row: Vec<&str> = row.iter().map(|cell| cell.trim()).collect();
            let _ = writeln!(text, "| {} |", row.join(" | "));
        }
        text
    }

    /// `{machine, figures: [{what, unit, aim, values}]}`.
    pub(super) fn json(&self, machine: &str) -> Result<String> {
        let all = serde_json::json!({"machine": machine, "figures": self.0});
        Ok(serde_json::to_string_pretty(&all)?)
    }
}

/// Lowest, median, highest.
fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |i: usize| sorted.get(i).copied().unwrap_or(f64::NAN);
    let half = sorted.len() / 2;
    let median = if sorted.len().is_multiple_of(2) {
        f64::midpoint(at(half.wrapping_sub(1)), at(half))
    } else {
        at(half)
    };
    (at(0), median, at(sorted.len().wrapping_sub(1)))
}

/// Describes the machine in one line.
pub(crate) async fn machine(cluster: &Cluster) -> Result<String> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| path.to_owned());
    let value = |text: &str, key: &str| {
        let line = text
            .lines()
            .find(|l| l.starts_with(key))
            .unwrap_or_default();
        line.split_once(':')
            .map(|(_, v)| v.trim().to_owned())
            .unwrap_or_default()
    };
    let processor = value(&read("/proc/cpuinfo")?, "model name");
    let cores = std::thread::available_parallelism()?;
    let memory = value(&read("/proc/meminfo")?, "MemTotal");
    let memory: f64 = memory.trim_end_matches(" kB").parse().unwrap_or(0.0);
    let kernel = read("/proc/sys/kernel/osrelease")?;
    let kubernetes = cluster.client.apiserver_version().await?.git_version;
    Ok(format!(
        "{cores} cores ({processor}), {:.0} GiB of memory, Linux {}, Kubernetes {kubernetes}",
        memory / 1024.0 / 1024.0,
        kernel.trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_median_and_the_spread() {
        let mut figures = Figures::default();
        for value in [3.0, 1.0, 9.0] {
            figures.add("odd", value, "s", Some(5.0));
        }
        for value in [1.0, 2.0] {
            figures.add("even", value, "", None);
        }
        let table = figures.table();
        assert!(
            table.contains("| odd | 3.0 s | 1.0 to 9.0 | 3 | ≤ 5 s |"),
            "{table}"
        );
        assert!(
            table.contains("| even | 1.5 | 1.0 to 2.0 | 2 |  |"),
            "{table}"
        );
    }
}
