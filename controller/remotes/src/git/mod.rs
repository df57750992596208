//! Runs the program `git`, hardened: a repository's address → a command that may connect to it, and the meaning of
//! git's messages.
//!
//! Git gets only the environment that is set here: no configuration of user or system, no prompt, no hook, and only the
//! allowed protocols. It gets credentials through its environment and for the repository's own server only; they never
//! appear in an argument, an address, a file or a message.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Write as _},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
};

use tempfile::NamedTempFile;

use crate::web::variable;
use slipway_base::text;

pub mod client;
mod packet;

/// A credential helper that answers with the credentials in git's environment.
const HELPER: &str = r#"!f() { test "$1" = get && printf 'username=%s\npassword=%s\n' "$SLIPWAY_GIT_USERNAME" "$SLIPWAY_GIT_PASSWORD"; }; f"#;

/// A repository, and how git may reach it.
#[derive(Clone, Copy, Debug)]
pub struct Remote<'a> {
    /// Its address.
    pub url: &'a str,
    /// The addresses that git connects to instead of resolving the name: `host:port:address,…`. Git follows no
    /// redirect, so it connects to no other server.
    pub pinned: Option<&'a str>,
    /// The name that git sends to a git:// server, when `url` holds its IP address.
    pub virtual_host: Option<&'a str>,
    /// The credentials for its server.
    pub credentials: Option<Credentials<'a>>,
    /// Protocols that git may use.
    pub protocols: &'a [String],
    /// Certificates that git trusts instead of the system's: see [`bundle`].
    pub certificates: Option<&'a Path>,
    /// Environment variables for proxies.
    pub env: &'a BTreeMap<String, String>,
}

/// A user name and a password.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// User name.
    pub username: &'a str,
    /// Password, or token.
    pub password: &'a str,
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Credentials<'_> {
    /// Whether git can read them: its credential protocol has one value a line.
    pub fn fit(&self) -> bool {
        let texts = [self.username, self.password];
        !texts.iter().any(|text| text.contains(['\n', '\r', '\0']))
    }
}

/// The proxy variables in lower case, which git and its library read for every protocol.
fn proxies(env: &BTreeMap<String, String>) -> impl Iterator<Item = (&'static str, &String)> {
    ["all_proxy", "http_proxy", "https_proxy", "no_proxy"]
        .into_iter()
        .filter_map(|name| Some((name, variable(env, name)?)))
}

impl Remote<'_> {
    /// A git command with only the environment that is set here, in a process group of its own.
    pub fn command(&self) -> Command {
        let mut command = Command::new("git");
        command
            .env_clear()
            .envs(self.env)
            .envs(proxies(self.env))
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", "/nonexistent")
            .env("LC_ALL", "C.UTF-8")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "/bin/false")
            .env("GIT_OPTIONAL_LOCKS", "0")
            // An empty value makes git ask no other credential helper.
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "credential.helper")
            .env("GIT_CONFIG_VALUE_0", "")
            .stdin(Stdio::null())
            .process_group(0);
        let mut settings = vec![
            "core.hooksPath=/dev/null".to_owned(),
            "core.fsmonitor=false".to_owned(),
            "http.followRedirects=false".to_owned(),
            "transfer.credentialsInUrl=die".to_owned(),
            "protocol.version=2".to_owned(),
            "protocol.allow=never".to_owned(),
        ];
        for protocol in self.protocols {
            settings.push(format!("protocol.{protocol}.allow=always"));
        }
        if let Some(pinned) = self.pinned {
            settings.push(format!("http.curloptResolve={pinned}"));
        }
        if let Some(host) = self.virtual_host {
            command.env("GIT_OVERRIDE_VIRTUAL_HOST", host);
        }
        if let Some(Credentials { username, password }) = self.credentials {
            // The setting's name holds the server's origin, which may contain `=`. As an argument, git would split it
            // there.
            command
                .env("GIT_CONFIG_COUNT", "2")
                .env(
                    "GIT_CONFIG_KEY_1",
                    format!("credential.{}.helper", self.origin()),
                )
                .env("GIT_CONFIG_VALUE_1", HELPER)
                .env("SLIPWAY_GIT_USERNAME", username)
                .env("SLIPWAY_GIT_PASSWORD", password);
        }
        if let Some(certificates) = self.certificates {
            command.env("GIT_SSL_CAINFO", certificates);
        }
        for setting in settings {
            command.args(["-c", &setting]);
        }
        command
    }

    /// `https://host:port` of the address.
    fn origin(&self) -> String {
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("", self.url));
        format!("{scheme}://{}", rest.split('/').next().unwrap_or_default())
    }

    /// Git's message for people, without credentials and without the address' query.
    pub fn redacted(&self, said: &str) -> String {
        let mut text = said.replace(self.url, &text::public_url(self.url));
        if let Some((_, query)) = self.url.split_once('?').filter(|(_, q)| q.len() > 3) {
            text = text.replace(query, "[redacted]");
        }
        if let Some(Credentials { username, password }) = self.credentials {
            for secret in [password, username] {
                if secret.len() > 3 {
                    text = text.replace(secret, "[redacted]");
                }
            }
        }
        text
    }
}

/// Why git failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The server asks for credentials, or refuses those that it got.
    Denied,
    /// There is no such repository, or these credentials may not see it.
    NoRepository,
    /// The server cannot be reached, or closed the connection.
    Away,
    /// Anything else.
    Other,
}

/// The reason behind git's message.
pub fn trouble(said: &str) -> Trouble {
    let has = |texts: &[&str]| texts.iter().any(|text| said.contains(text));
    if has(&[
        "Authentication failed",
        "could not read Username",
        "could not read Password",
        "terminal prompts disabled",
        "returned error: 401",
        "returned error: 403",
        "Access denied",
    ]) {
        Trouble::Denied
    } else if has(&[
        "returned error: 404",
        "repository not found",
        "Repository not found",
        "does not appear to be a git repository",
        "not found: did you run git update-server-info",
        "' not found",
        "repository not exported",
    ]) {
        Trouble::NoRepository
    } else if has(&[
        "Could not resolve host",
        "Couldn't resolve host",
        "unable to look up",
        "Connection refused",
        "Connection reset",
        "Connection timed out",
        "Operation timed out",
        "timed out",
        "Failed to connect",
        "unable to connect",
        "early EOF",
        "hung up unexpectedly",
        "RPC failed",
        "Operation too slow",
        "returned error: 5",
        "returned error: 429",
        "Empty reply",
    ]) {
        Trouble::Away
    } else {
        Trouble::Other
    }
}

/// The end of git's message, in one line.
pub fn last_words(said: &str) -> String {
    let mut lines: Vec<&str> = said
        .lines()
        .map(str::trim)
        .filter(|line| {
            !line.is_empty() && !line.starts_with("hint:") && !line.starts_with("warning:")
        })
        .collect();
    let from = lines.len().saturating_sub(2);
    let text = lines.split_off(from).join("; ");
    if text.is_empty() {
        return "git said nothing".to_owned();
    }
    text::line(&text, 400)
}

/// Writes certificates to a file, because git reads them from one. It has to exist as long as git runs.
pub fn bundle(ca_pem: &str) -> io::Result<NamedTempFile> {
    let mut file = NamedTempFile::new()?;
    file.write_all(ca_pem.as_bytes())?;
    file.flush()?;
    Ok(file)
}

#[cfg(test)]
mod tests;
