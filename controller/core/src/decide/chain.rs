//! Rules in order: the first rule that gives an answer wins. Pure.

/// A named rule.
pub struct Rule<I: ?Sized, V> {
    /// Its name, for tests and traces.
    pub name: &'static str,
    /// Its answer, if it has one.
    pub says: fn(&I) -> Option<V>,
}

/// The first rule that gives an answer, with that answer.
pub fn first<I: ?Sized, V>(rules: &[Rule<I, V>], input: &I) -> Option<(&'static str, V)> {
    rules
        .iter()
        .find_map(|rule| (rule.says)(input).map(|said| (rule.name, said)))
}

/// The answers of all rules, in their order.
pub fn all<I: ?Sized>(rules: &[Rule<I, String>], input: &I) -> Vec<String> {
    rules.iter().filter_map(|rule| (rule.says)(input)).collect()
}

/// Names for a sentence. A long list is cut.
pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const MOST: usize = 8;
    let mut names: Vec<&str> = names.into_iter().collect();
    let more = names.len().saturating_sub(MOST);
    names.truncate(MOST);
    let text = names.join(", ");
    if more == 0 {
        text
    } else {
        format!("{text} and {more} more")
    }
}

#[cfg(test)]
mod tests {
    use super::{Rule, all, first, named};

    const RULES: &[Rule<i32, String>] = &[
        Rule {
            name: "even",
            says: |n| (n % 2 == 0).then(|| format!("{n} is even")),
        },
        Rule {
            name: "small",
            says: |n| (*n < 10).then(|| format!("{n} is small")),
        },
    ];

    #[test]
    fn the_first_that_speaks_is_heard() {
        assert_eq!(first(RULES, &4), Some(("even", "4 is even".into())));
        assert_eq!(first(RULES, &3), Some(("small", "3 is small".into())));
        assert_eq!(first(RULES, &11), None);
        assert_eq!(all(RULES, &4), ["4 is even", "4 is small"]);
    }

    #[test]
    fn many_names_are_cut_short() {
        assert_eq!(named(["A", "B"]), "A, B");
        assert_eq!(named(["A"; 10]), "A, A, A, A, A, A, A, A and 2 more");
    }
}
