//! What an App says, in its log and in its checks' answers → as much of it as may be kept: bounded, and without the
//! values of its config. Pure.

use crate::k8s::conditions::bounded;

/// Most lines that are kept.
pub(crate) const MOST: usize = 20;
/// Longest line, in bytes.
const LONGEST: usize = 500;
/// A shorter value is no secret worth the holes that taking it out would make (`on`, `web`).
const SHORTEST: usize = 4;
/// A shorter value is taken out where it is a word of its own: it may be a part of others.
const LONG: usize = 8;

/// What may not be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Secrets {
    /// Nobody knows what: so nothing that the App says is.
    Unknown,
    /// These values, the longest first: one may be a part of another.
    Known(Vec<String>),
}

impl Secrets {
    /// The values of a config, and every line of each.
    pub(crate) fn of(config: impl IntoIterator<Item = String>) -> Self {
        let mut values: Vec<String> = config
            .into_iter()
            .flat_map(|value| {
                let lines: Vec<String> = value.lines().map(str::to_owned).collect();
                std::iter::once(value).chain(lines)
            })
            .map(|value| value.trim().to_owned())
            .filter(|value| value.len() >= SHORTEST)
            .collect();
        values.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        values.dedup();
        Self::Known(values)
    }

    /// `text` without them; `None` where nothing may be kept.
    pub(crate) fn taken_out(&self, text: &str) -> Option<String> {
        let Self::Known(values) = self else {
            return None;
        };
        Some(
            values
                .iter()
                .fold(text.to_owned(), |text, value| without(&text, value)),
        )
    }
}

fn without(text: &str, value: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(value) {
        kept.push_str(before);
        let joined = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let in_a_word = joined(kept.chars().next_back()) || joined(after.chars().next());
        kept.push_str(if value.len() < LONG && in_a_word {
            value
        } else {
            "[redacted]"
        });
        rest = after;
    }
    kept.push_str(rest);
    kept
}

/// The last lines of `log`, without `secrets`.
pub(crate) fn last(log: &str, secrets: &Secrets) -> Vec<String> {
    let lines: Vec<&str> = log.lines().collect();
    lines
        .iter()
        .skip(lines.len().saturating_sub(MOST))
        .filter_map(|line| secrets.taken_out(line))
        .map(|line| {
            let plain: String = line
                .chars()
                .filter(|c| !c.is_control() || *c == '\t')
                .collect();
            bounded(plain, LONGEST)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Secrets, last};

    fn secrets(config: &[&str]) -> Secrets {
        Secrets::of(config.iter().map(|value| (*value).to_owned()))
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
        // A short one only where it is a word.
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
        assert_eq!(last("\u{1b}[31mred\n", &none), ["[31mred"]);
    }
}
