//! Which text git accepts as the name of a branch, a tag or a commit. Pure.

/// Most characters of a name.
const MAX: usize = 255;

/// The rule for names, for messages.
pub const RULE: &str = "git takes no blanks and none of ~ ^ : ? * [ \\ in it, no \"..\", \"//\" or \"@{\", and no part that begins with a dot or ends with \".lock\"";

/// Whether git accepts `name` as a name (the rule of `git check-ref-format --allow-onelevel`) and no program can
/// mistake it for an option or a refspec.
pub fn is_reference(name: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty() && !part.starts_with('.') && part.strip_suffix(".lock").is_none()
    };
    name.chars().count() <= MAX
        && name != "@"
        && !name.starts_with(['-', '+'])
        && !name.ends_with('.')
        && !name.contains("..")
        && !name.contains("@{")
        && !name
            .chars()
            .any(|c| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c))
        && name.split('/').all(part)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::is_reference;

    #[test]
    fn names_are_told_from_options_and_patterns() {
        for good in [
            "main",
            "feature/a-b_c.1",
            "refs/heads/x",
            "HEAD",
            "bugfix/#31-löschen",
            "user@host",
            "{a}",
            "v1.0,rc'1\"",
            "日本語",
            "a!$%&()=;<>|`]",
        ] {
            assert!(is_reference(good), "{good}");
        }
        for bad in [
            "", "@", "-o", "+main", "/main", "main/", "a//b", "a..b", "a.", ".a", "a/.b", "a.lock",
            "a.lock/b", "a b", "a\tb", "a\u{7f}", "a~1", "a^", "a:b", "a?", "a*", "a[b]", "a\\b",
            "main@{1}", "a\u{a0}b",
        ] {
            assert!(!is_reference(bad), "{bad:?}");
        }
        assert!(is_reference(&"ö".repeat(255)) && !is_reference(&"a".repeat(256)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn git_says_the_same(name in "[a-z#ö./@{~^:?*\\[\\\\-]{1,8}|[a-z]{1,3}/[a-z.#ü]{1,5}([.]lock)?") {
            let asked = Command::new("git")
                .args(["check-ref-format", &format!("refs/heads/{name}")])
                .status()
                .unwrap();
            let ours = name.starts_with(['-', '+']) || name == "@";
            prop_assert_eq!(is_reference(&name), asked.success() && !ours, "{}", name);
        }
    }
}
