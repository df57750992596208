//! Escapes command lines for a pod, so that the container gets what the user wrote.

/// Kubernetes expands `$(X)` in commands and in exec probes, reads `$$` as `$`, and breaks a non-ASCII character behind
/// a `$`. Any other `$` is not escaped, so that commands stay readable in `kubectl`.
pub(crate) fn escaped(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        written.push(character);
        let left_alone = characters
            .peek()
            .is_none_or(|next| next.is_ascii() && !matches!(next, '$' | '('));
        if character == '$' && !left_alone {
            written.push('$');
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::escaped;
    use proptest::prelude::*;

    /// What Kubernetes makes of a command if it knows no variable. It would leave `$(X)` as it is; here it is marked.
    fn expanded(text: &str) -> String {
        let characters: Vec<char> = text.chars().collect();
        let (mut read, mut at) = (String::new(), 0);
        while at < characters.len() {
            let next = characters.get(at + 1);
            match (characters[at], next) {
                ('$', Some('$')) => {
                    read.push('$');
                    at += 2;
                }
                ('$', Some('(')) => {
                    read.push_str("EXPANDED");
                    at += 2;
                }
                ('$', Some(next)) if !next.is_ascii() => {
                    read.push_str("BROKEN");
                    at += 2;
                }
                ('$', Some(next)) => {
                    read.push('$');
                    read.push(*next);
                    at += 2;
                }
                (character, _) => {
                    read.push(character);
                    at += 1;
                }
            }
        }
        read
    }

    #[test]
    fn what_kubernetes_leaves_alone_stays_readable() {
        for (text, written) in [
            ("gunicorn --bind :$PORT app", "gunicorn --bind :$PORT app"),
            ("echo ${HOME} $", "echo ${HOME} $"),
            ("echo $(date)", "echo $$(date)"),
            ("echo $$", "echo $$$"),
            ("echo $$(date)", "echo $$$$(date)"),
        ] {
            assert_eq!(escaped(text), written);
        }
    }

    proptest! {
        #[test]
        fn the_container_sees_what_was_written(text in "[a$({é ]{0,12}") {
            prop_assert_eq!(expanded(&escaped(&text)), text);
        }
    }
}
