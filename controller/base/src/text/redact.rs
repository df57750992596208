//! Secret values and a text → the text without those values. Pure.
//!
//! A long value is redacted wherever it stands. A short value may be part of other words, so it is redacted only where
//! it is a word of its own. The shortest values (`1`, `on`) are common words and stay. The build log and the App's
//! notes name the variables whose values are short or shortest.

use std::ops::Range;

/// What replaces a value.
const REDACTED: &str = "[redacted]";
/// A value with fewer characters is never redacted.
const SHORTEST: usize = 4;
/// A value with at least this many characters is redacted inside other words, too.
const LONG: usize = 8;

/// The values to redact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets(Vec<String>);

impl Secrets {
    /// From whole values, and from each line of a value with several lines, as logs are redacted line by line.
    pub fn of<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut secrets: Vec<String> = values
            .into_iter()
            .flat_map(|value| std::iter::once(value).chain(value.split(['\n', '\r'])))
            .map(str::trim)
            .filter(|value| !is_shorter(value, SHORTEST))
            .map(ToOwned::to_owned)
            .collect();
        secrets.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        secrets.dedup();
        Self(secrets)
    }

    /// `text` with each value replaced.
    pub fn redact(&self, text: &str) -> String {
        let (short, long): (Vec<&String>, Vec<&String>) =
            self.0.iter().partition(|value| is_shorter(value, LONG));
        let mut places: Vec<Range<usize>> = long
            .into_iter()
            .flat_map(|value| Places::new(text, value))
            .collect();
        // A short value beside a redacted one counts as a word of its own.
        let goes = places.clone();
        let words = short.into_iter().flat_map(|value| Places::new(text, value));
        places.extend(words.filter(|place| is_a_word(text, place, &goes)));
        places.sort_by_key(|place| (place.start, place.end));
        let mut kept = String::with_capacity(text.len());
        let mut at = 0;
        for place in places {
            if place.end <= at {
                continue;
            }
            // A value that begins within another one is redacted together with it.
            if place.start >= at {
                kept.push_str(text.get(at..place.start).unwrap_or_default());
                kept.push_str(REDACTED);
            }
            at = place.end;
        }
        kept.push_str(text.get(at..).unwrap_or_default());
        kept
    }

    /// Whether `text` contains a long value. (A short value may be there by chance.)
    pub fn has_leaked(&self, text: &str) -> bool {
        let mut long = self.0.iter().filter(|value| !is_shorter(value, LONG));
        long.any(|value| text.contains(value.as_str()))
    }

    /// Length of the longest value in bytes.
    pub fn longest(&self) -> usize {
        self.0.first().map_or(0, String::len)
    }
}

/// Whether a value is so short that a log may still show it.
pub fn is_short(value: &str) -> bool {
    let value = value.trim();
    !value.is_empty() && is_shorter(value, LONG)
}

/// The note about variables with short values, for a text (`what`) that secrets are redacted from.
pub fn of_short(what: &str, names: &str) -> String {
    format!(
        "Secrets of fewer than {LONG} characters are taken out of {what} only where they are words of their own, those of fewer than {SHORTEST} nowhere, as other words are like them: {names}"
    )
}

fn is_shorter(value: &str, than: usize) -> bool {
    value.chars().nth(than - 1).is_none()
}

/// Whether the text at `place` is a word of its own. Neighbours that are redacted themselves (`goes`) do not count.
fn is_a_word(text: &str, place: &Range<usize>, goes: &[Range<usize>]) -> bool {
    let joins = |c: Option<char>, at: usize| {
        c.is_some_and(|c| c.is_alphanumeric() || c == '_')
            && !goes.iter().any(|place| place.contains(&at))
    };
    let before = text.get(..place.start).unwrap_or_default();
    let after = text.get(place.end..).unwrap_or_default();
    !joins(before.chars().next_back(), place.start.saturating_sub(1))
        && !joins(after.chars().next(), place.end)
}

/// All places of a value in a text.
struct Places<'a> {
    text: &'a str,
    value: &'a str,
    from: usize,
}

impl<'a> Places<'a> {
    const fn new(text: &'a str, value: &'a str) -> Self {
        Self {
            text,
            value,
            from: 0,
        }
    }
}

impl Iterator for Places<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let start = self.from + self.text.get(self.from..)?.find(self.value)?;
        // The next occurrence may overlap this one.
        self.from = start + self.value.chars().next().map_or(1, char::len_utf8);
        Some(start..start + self.value.len())
    }
}

#[cfg(test)]
mod tests {
    use super::{Secrets, is_short};
    use proptest::prelude::*;

    #[test]
    fn a_short_value_is_taken_out_where_it_is_a_word_and_a_long_one_everywhere() {
        let secrets = Secrets::of([
            "s3cr",
            "postgres://u:pa55@db/x",
            "pa55@db/x",
            " first line\nsecond line\n",
            "on",
        ]);
        for (text, expected) in [
            (
                "cannot reach postgres://u:pa55@db/x!",
                "cannot reach [redacted]!",
            ),
            ("xpa55@db/xx", "x[redacted]x"),
            ("key: second line", "key: [redacted]"),
            (
                "s3cr s3crets a_s3cr (s3cr) key=s3cr",
                "[redacted] s3crets a_s3cr ([redacted]) key=[redacted]",
            ),
            ("on and on", "on and on"),
            ("", ""),
        ] {
            assert_eq!(secrets.redact(text), expected);
        }
        assert!(secrets.has_leaked("run pa55@db/xy") && !secrets.has_leaked("run s3cr"));
    }

    #[test]
    fn values_that_overlap_go_together() {
        let secrets = Secrets::of(["abcdefgh", "efghijklmn", "aaaaaaaa"]);
        assert_eq!(secrets.redact("-abcdefghijklmn-"), "-[redacted]-");
        assert_eq!(secrets.redact(&"a".repeat(11)), "[redacted]");
    }

    #[test]
    fn a_short_value_beside_a_long_one_goes_with_it() {
        let secrets = Secrets::of(["sesame-sesame", "pa55"]);
        for (text, shown) in [
            ("sesame-sesamepa55-", "[redacted][redacted]-"),
            ("pa55sesame-sesame", "[redacted][redacted]"),
            ("xpa55sesame-sesame", "xpa55[redacted]"),
        ] {
            assert_eq!(secrets.redact(text), shown);
        }
    }

    #[test]
    fn short_values_are_told() {
        for (value, short) in [
            ("1", true),
            ("äöü", true),
            (" on\n", true),
            ("", false),
            ("true", true),
            ("sesames", true),
            ("sesame-1", false),
        ] {
            assert_eq!(is_short(value), short, "{value:?}");
        }
    }

    proptest! {
        #[test]
        fn no_long_value_is_left_and_no_other_text_is_lost(
            values in proptest::collection::vec("[ab]{8}|[abé]{4,5}", 0..4), text in "[ab]{0,9}[abé _-]{0,30}",
        ) {
            let secrets = Secrets::of(values.iter().map(String::as_str));
            let shown = secrets.redact(&text);
            prop_assert!(!secrets.has_leaked(&shown));
            let words = shown.split(|c: char| !(c.is_alphanumeric() || c == '_'));
            for word in words {
                prop_assert!(!values.iter().any(|value| value == word));
            }
            let mut rest = text.as_str();
            for piece in shown.split("[redacted]") {
                let at = rest.find(piece);
                prop_assert!(at.is_some());
                rest = &rest[at.unwrap() + piece.len()..];
            }
        }
    }
}
