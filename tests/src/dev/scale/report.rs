//! Figures → a table with a column for each measurement.

use std::fmt::Write as _;

use crate::dev::scale::figures::Figures;

/// A row: its name, its aim, and how its value is read from the figures.
struct Row {
    what: &'static str,
    aim: &'static str,
    value: fn(&Figures) -> Option<f64>,
    digits: usize,
}

const ROWS: [Row; 19] = [
    row("requests per App", "≤ 20", 1, |f| f.requests_per_app),
    row("kB of anonymous memory per App", "≤ 10", 1, |f| {
        f.kilobytes_of_memory_per_app
    }),
    row("kB on the wire per App", "", 1, |f| {
        f.kilobytes_on_the_wire_per_app
    }),
    row("CPU seconds per App", "≤ 0.03", 3, |f| {
        f.cpu_seconds_per_app
    }),
    row("CPU seconds of the API server per App", "", 3, |f| {
        Some(f.api_server_cpu_seconds_per_app)
    }),
    row("seconds that kubectl took to hand them over", "", 1, |f| {
        Some(f.seconds_of_kubectl)
    }),
    row("seconds until all serve", "", 1, |f| {
        Some(f.seconds_to_converge)
    }),
    row("seconds to an App's first status: median", "", 2, |f| {
        Some(f.first_status_median)
    }),
    row("seconds to an App's first status: maximum", "", 2, |f| {
        Some(f.first_status_maximum)
    }),
    row("maximum by median", "≤ 3", 1, |f| {
        Some(f.first_status_maximum / f.first_status_median)
    }),
    row(
        "peak anonymous memory while they are made, MB",
        "≤ 150 of 10 000",
        1,
        |f| f.peak_megabytes_creating,
    ),
    row(
        "peak anonymous memory through a restart, MB",
        "≤ 150 of 10 000",
        1,
        |f| f.peak_megabytes_restarting,
    ),
    row("seconds from a restart to steady", "≤ 20", 1, |f| {
        f.seconds_from_restart_to_steady
    }),
    row("requests of a restart per App", "", 2, |f| {
        f.requests_of_restart_per_app
    }),
    row("seconds until one change among them serves", "", 2, |f| {
        f.seconds_of_a_change
    }),
    row("requests of one change among them", "", 1, |f| {
        f.requests_of_a_change
    }),
    row("requests in an idle minute", "", 0, |f| {
        count(f.requests_in_an_idle_minute)
    }),
    row("writes in an idle minute", "0", 0, |f| {
        count(f.writes_in_an_idle_minute)
    }),
    row("requests refused or failed", "", 0, |f| {
        f.requests_per_app
            .and(count(Some(f.requests.creation.refused)))
    }),
];

const fn row(
    what: &'static str,
    aim: &'static str,
    digits: usize,
    value: fn(&Figures) -> Option<f64>,
) -> Row {
    Row {
        what,
        aim,
        value,
        digits,
    }
}

fn count(number: Option<u64>) -> Option<f64> {
    serde_json::Value::from(number?).as_f64()
}

/// The table, in Markdown.
pub(super) fn table(columns: &[(String, Figures)]) -> String {
    let mut text = "| figure | aim |".to_owned();
    for (name, _) in columns {
        let _ = write!(text, " {name} |");
    }
    let _ = write!(text, "\n|---|---|{}\n", "---|".repeat(columns.len()));
    for Row {
        what,
        aim,
        value,
        digits,
    } in &ROWS
    {
        let _ = write!(text, "| {what} | {aim} |");
        for (_, figures) in columns {
            let cell = value(figures).map_or_else(String::new, |v| format!("{v:.digits$}"));
            let _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Figures, table};

    #[test]
    fn each_has_a_column_and_what_does_not_apply_is_left_empty() {
        let ours = Figures {
            apps: 7,
            requests_per_app: Some(41.26),
            ..Figures::default()
        };
        let by_hand = Figures {
            apps: 7,
            ..Figures::default()
        };
        let table = table(&[("7 Apps".to_owned(), ours), ("by hand".to_owned(), by_hand)]);
        assert!(table.starts_with("| figure | aim | 7 Apps | by hand |\n|---|---|---|---|\n"));
        assert!(
            table.contains("| requests per App | ≤ 20 | 41.3 |  |"),
            "{table}"
        );
    }
}
