//! Checks of a running process that a kubelet probe cannot express, run inside its pod.
//!
//! A [`Check`] returns `Ok` or one line that says why it failed, in Dokku's words. Each call makes one attempt; the
//! kubelet repeats it. Targets are addresses, so nothing here resolves names.

pub mod command;
pub mod http;
pub mod install;
pub mod listening;

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// One check. The JSON form is what `slipway-prober all` reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Check {
    /// A GET whose answer must have a 2xx status and, if `content` is set, a body that contains it.
    Http {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        port: u16,
        #[serde(default = "root")]
        path: String,
        #[serde(default)]
        scheme: Scheme,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        headers: Vec<Header>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content: Option<String>,
        #[serde(default = "default_timeout")]
        timeout_seconds: u32,
    },
    /// A socket must listen on all addresses at `port`.
    Listening {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        port: u16,
    },
    /// A program must exit with 0.
    Command {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        command: Vec<String>,
        #[serde(default = "default_timeout")]
        timeout_seconds: u32,
    },
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    #[default]
    Http,
    Https,
}

impl Scheme {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

impl std::str::FromStr for Scheme {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "http" => Ok(Self::Http),
            "https" => Ok(Self::Https),
            _ => Err("invalid scheme specified, must be either http or https"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub name: String,
    pub value: String,
}

/// The address that checks talk to: the pod's own.
pub const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Dokku's default for one attempt.
pub const DEFAULT_TIMEOUT_SECONDS: u32 = 5;

const fn default_timeout() -> u32 {
    DEFAULT_TIMEOUT_SECONDS
}

fn root() -> String {
    "/".to_owned()
}

impl Check {
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Http { name, .. } | Self::Listening { name, .. } | Self::Command { name, .. } => {
                name.as_deref()
            }
        }
    }

    /// One attempt. The error is one line.
    pub fn run(&self, host: IpAddr) -> Result<(), String> {
        match self {
            Self::Http {
                name: _,
                port,
                path,
                scheme,
                headers,
                content,
                timeout_seconds,
            } => {
                let request = http::Request {
                    host,
                    port: *port,
                    path,
                    scheme: *scheme,
                    headers,
                    content: content.as_deref().filter(|content| !content.is_empty()),
                    timeout: seconds(*timeout_seconds),
                };
                http::check(&request).map_err(|error| error.to_string())
            }
            Self::Listening { name: _, port } => {
                listening::check(*port).map_err(|error| error.to_string())
            }
            Self::Command {
                name: _,
                command,
                timeout_seconds,
            } => command::check(command, seconds(*timeout_seconds))
                .map_err(|error| error.to_string()),
        }
    }
}

/// At least 1 second, so that no attempt is over before it begins.
fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(u64::from(seconds.max(1)))
}

/// Reads the checks of `slipway-prober all`: a JSON list, given as text or as the name of a file that holds it.
pub fn checks(text_or_file: &str) -> Result<Vec<Check>, String> {
    let text = if text_or_file.trim_start().starts_with('[') {
        text_or_file.to_owned()
    } else {
        std::fs::read_to_string(text_or_file)
            .map_err(|error| format!("cannot read checks from {text_or_file}: {error}"))?
    };
    serde_json::from_str(&text).map_err(|error| format!("cannot read the list of checks: {error}"))
}

/// Runs all checks at the same time. The error is one line that names each failed check, in the given order.
pub fn run_all(checks: &[Check], host: IpAddr) -> Result<(), String> {
    let results: Vec<Result<(), String>> = std::thread::scope(|scope| {
        let running: Vec<_> = checks
            .iter()
            .map(|check| scope.spawn(move || check.run(host)))
            .collect();
        running
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err("the check itself broke down".to_owned()))
            })
            .collect()
    });
    let failed: Vec<String> = checks
        .iter()
        .zip(results)
        .filter_map(|(check, result)| {
            let why = result.err()?;
            Some(
                check
                    .name()
                    .map_or_else(|| why.clone(), |name| format!("{name}: {why}")),
            )
        })
        .collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(failed.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_read_with_dokkus_defaults() {
        let read = checks(
            r#"[{"kind":"http","port":5000},{"kind":"listening","name":"l","port":80},{"kind":"command","command":["true"]}]"#,
        );
        assert_eq!(
            read.unwrap(),
            [
                Check::Http {
                    name: None,
                    port: 5000,
                    path: "/".into(),
                    scheme: Scheme::Http,
                    headers: vec![],
                    content: None,
                    timeout_seconds: 5
                },
                Check::Listening {
                    name: Some("l".into()),
                    port: 80
                },
                Check::Command {
                    name: None,
                    command: vec!["true".into()],
                    timeout_seconds: 5
                },
            ]
        );
        assert!(
            checks(r#"[{"kind":"http","port":5000,"pth":"/"}]"#)
                .unwrap_err()
                .contains("pth")
        );
        assert!(
            checks("/nowhere")
                .unwrap_err()
                .contains("cannot read checks from /nowhere")
        );
    }

    #[test]
    fn several_checks_have_one_line() {
        let command = |name: &str, program: &str| Check::Command {
            name: Some(name.into()),
            command: vec![program.into()],
            timeout_seconds: 5,
        };
        assert_eq!(
            run_all(&[command("a", "true"), command("b", "true")], LOCAL),
            Ok(())
        );
        let error = run_all(
            &[
                command("a", "false"),
                command("b", "true"),
                command("c", "false"),
            ],
            LOCAL,
        )
        .unwrap_err();
        assert_eq!(
            error,
            "a: command exited with code 1; c: command exited with code 1"
        );
    }
}
