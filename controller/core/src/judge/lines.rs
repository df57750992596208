//! The App's output, in its log and in answers to checks → as much of it as may be kept: bounded, and without the
//! secrets of its config. Pure.

use slipway_base::text::{self, bounded, redact};

/// Most lines that are kept.
pub const MOST: usize = 20;
/// Most bytes of a log that are requested.
pub const BYTES: usize = 64 * 1024;
/// Longest line, in bytes.
const LONGEST: usize = 500;
/// What a kubelet returns in place of the log when the container and its log are gone.
const NO_LOG: &str = "unable to retrieve container logs for ";

/// What must not be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// Unknown: so no output of the App is kept.
    Unknown,
    /// These values.
    Known(redact::Secrets),
}

impl Secrets {
    /// These values.
    pub fn of<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        Self::Known(redact::Secrets::of(values))
    }

    /// `text` without the secrets; `None` if nothing may be kept.
    pub fn taken_out(&self, text: &str) -> Option<String> {
        match self {
            Self::Unknown => None,
            Self::Known(secrets) => Some(secrets.redact(text)),
        }
    }
}

/// Whether this is something that the App wrote.
pub fn is_log(text: &str) -> bool {
    let text = text.trim();
    let no_log = text.starts_with(NO_LOG) && text.lines().count() == 1;
    !(no_log || text.is_empty())
}

/// The last lines of `log`, without `secrets`.
pub fn last(log: &str, secrets: &Secrets) -> Vec<String> {
    // A secret that was cut off in the middle cannot be recognized.
    let whole = if log.len() < BYTES {
        log
    } else {
        log.rsplit_once('\n').map_or("", |(whole, _)| whole)
    };
    let lines: Vec<&str> = whole.lines().collect();
    lines
        .iter()
        .skip(lines.len().saturating_sub(MOST))
        .filter_map(|line| secrets.taken_out(&text::line(line, BYTES)))
        .map(|line| bounded(line, LONGEST))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Secrets, is_log, last};

    fn secrets(config: &[&str]) -> Secrets {
        Secrets::of(config.iter().copied())
    }

    #[test]
    fn secrets_are_taken_out_and_what_is_too_short_to_be_one_stays() {
        let config = secrets(&[
            "postgres://u:pa55@db/x",
            "s3cr",
            "web",
            "first line\nsecond line",
            "pa55@db/x",
        ]);
        let log = "web: 500\ncannot reach postgres://u:pa55@db/x\nkey: second line\n";
        assert_eq!(
            last(log, &config),
            ["web: 500", "cannot reach [redacted]", "key: [redacted]"]
        );
        // A short secret is removed only if it is a whole word.
        assert_eq!(
            last("s3cr s3crets a_s3cr (s3cr) key=s3cr", &config),
            ["[redacted] s3crets a_s3cr ([redacted]) key=[redacted]"]
        );
    }

    #[test]
    fn where_secrets_are_not_known_nothing_is_kept() {
        assert_eq!(last("anything\n", &Secrets::Unknown), Vec::<String>::new());
        assert_eq!(Secrets::Unknown.taken_out("anything"), None);
    }

    #[test]
    fn what_the_kubelet_says_of_a_container_that_is_gone_is_no_log() {
        let gone = "unable to retrieve container logs for containerd://4f5e\n";
        for (text, log) in [
            (gone.to_owned(), false),
            (format!("started\n{gone}"), true),
            ("\n".to_owned(), false),
            (String::new(), false),
            ("x".to_owned(), true),
        ] {
            assert_eq!(is_log(&text), log, "{text:?}");
        }
    }

    #[test]
    fn only_the_end_is_kept() {
        let none = secrets(&[]);
        let log = (0..100)
            .map(|n| n.to_string())
            .collect::<Vec<_>>()
            .join("\n");
        let lines = last(&log, &none);
        assert_eq!(
            (lines.len(), lines[0].as_str(), lines[19].as_str()),
            (20, "80", "99")
        );
        assert!(last(&"x".repeat(9999), &none)[0].len() <= 500);
        assert_eq!(last("", &none), Vec::<String>::new());
        assert_eq!(last("\u{1b}[31mred\n", &none), ["red"]);
        // Neither an escape within a secret nor the cut at the size limit lets it through.
        let config = secrets(&["hunter2-hunter2"]);
        assert_eq!(
            last("x hunter2\u{1b}[1m-hunter2\n", &config),
            ["x [redacted]"]
        );
        let cut = format!("one\n{} hunter2-hun", "x".repeat(64 * 1024));
        assert_eq!(last(&cut, &config), ["one"]);
    }
}
