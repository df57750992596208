//! A container's log → the last lines of it that may be kept: bounded, and without secrets. Pure.

use crate::k8s::conditions::bounded;

/// Most lines that are kept.
pub(crate) const MOST: usize = 20;
/// Longest line, in bytes.
const LONGEST: usize = 500;
/// A shorter value is no secret worth the holes that taking it out would make (`5000`, `true`, `web`).
const SHORTEST: usize = 8;

/// The last lines of `log`, with every value of `config`, and every line of a value, taken out.
pub(crate) fn last(log: &str, config: &[String]) -> Vec<String> {
    let mut secrets: Vec<&str> = config
        .iter()
        .flat_map(|value| std::iter::once(value.as_str()).chain(value.lines()))
        .map(str::trim)
        .filter(|value| value.len() >= SHORTEST)
        .collect();
    // The longest first: one may be a part of another.
    secrets.sort_by_key(|value| std::cmp::Reverse(value.len()));
    let lines: Vec<&str> = log.lines().collect();
    lines
        .iter()
        .skip(lines.len().saturating_sub(MOST))
        .map(|line| {
            let line = secrets.iter().fold((*line).to_owned(), |line, secret| {
                line.replace(secret, "[redacted]")
            });
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
    use super::last;

    #[test]
    fn secrets_are_taken_out_and_short_values_stay() {
        let config = [
            "postgres://u:pa55@db/x",
            "5000",
            "first line\nsecond line",
            "pa55@db/x",
        ]
        .map(str::to_owned);
        let log = "port 5000\ncannot reach postgres://u:pa55@db/x\nkey: second line\n";
        assert_eq!(
            last(log, &config),
            ["port 5000", "cannot reach [redacted]", "key: [redacted]"]
        );
    }

    #[test]
    fn only_the_end_is_kept() {
        let log = (0..100)
            .map(|n| n.to_string())
            .collect::<Vec<_>>()
            .join("\n");
        let lines = last(&log, &[]);
        assert_eq!(
            (lines.len(), lines[0].as_str(), lines[19].as_str()),
            (20, "80", "99")
        );
        assert!(last(&"x".repeat(9999), &[])[0].len() <= 500);
        assert_eq!(last("", &[]), Vec::<String>::new());
        assert_eq!(last("\u{1b}[31mred\n", &[]), ["[31mred"]);
    }
}
