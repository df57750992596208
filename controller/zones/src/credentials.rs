//! Content of a Secret → credentials for a git server. Pure.

use std::collections::BTreeMap;

use slipway_base::zone::input::{GitCredentials, Secret};

/// User name that is sent with a token if the Secret has no `username`.
const TOKEN_USER: &str = "x-access-token";

/// The keys that a Secret has to have.
pub const KEYS: &str = "username and password, or token";

/// All keys that are read.
pub const NAMES: [&str; 3] = ["username", "password", "token"];

/// Credentials from `username` and `password`, or from `token` (with `username`, if the server needs a certain one).
/// `None` if the Secret has neither.
pub fn git(data: &BTreeMap<String, Vec<u8>>) -> Option<GitCredentials> {
    let text = |key: &str| {
        let value = std::str::from_utf8(data.get(key)?).ok()?;
        let value = value.trim_end_matches(['\r', '\n']);
        (!value.is_empty()).then(|| value.to_owned())
    };
    let username = text("username");
    let (username, password) = match (username, text("password"), text("token")) {
        (Some(username), Some(password), _) => (username, password),
        (username, _, Some(token)) => (username.unwrap_or_else(|| TOKEN_USER.to_owned()), token),
        (_, _, None) => return None,
    };
    Some(GitCredentials {
        username,
        password: Secret(password),
    })
}

#[cfg(test)]
mod tests {
    use super::git;
    use std::collections::BTreeMap;

    #[test]
    fn a_secret_has_a_name_and_a_password_or_a_token() {
        for (entries, expected) in [
            (
                &[("username", "u"), ("password", "p\n")][..],
                Some(("u", "p")),
            ),
            (&[("token", "t")], Some(("x-access-token", "t"))),
            (&[("username", "u"), ("token", "t")], Some(("u", "t"))),
            (&[("username", "u")], None),
            (&[("username", "u"), ("password", "")], None),
            (&[], None),
        ] {
            let data: BTreeMap<_, _> = entries
                .iter()
                .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
                .collect();
            let found = git(&data);
            let found = found
                .as_ref()
                .map(|c| (c.username.as_str(), c.password.0.as_str()));
            assert_eq!(found, expected, "{entries:?}");
        }
    }
}
