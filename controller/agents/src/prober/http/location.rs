//! Where a redirect leads, if it stays with the same process.

use crate::prober::Scheme;
use std::net::IpAddr;

/// An address to ask: what the request says (`authority`, `target`), and the port that it is sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) scheme: Scheme,
    pub(super) authority: String,
    pub(super) port: u16,
    pub(super) target: String,
}

/// The address that `to` names, relative to `at`. `None` if it is on another host, or if the scheme changes and no port
/// is given: that means the public port of a proxy in front of the app, where this process does not listen.
pub(super) fn resolve(at: &Location, to: &str, host: IpAddr) -> Option<Location> {
    let to = to.split('#').next().unwrap_or_default();
    if to.chars().any(char::is_control) {
        return None;
    }
    let lower = to.to_ascii_lowercase();
    let (scheme, rest) = if lower.starts_with("http://") {
        (Scheme::Http, to.get(7..)?)
    } else if lower.starts_with("https://") {
        (Scheme::Https, to.get(8..)?)
    } else if let Some(rest) = to.strip_prefix("//") {
        (at.scheme, rest)
    } else if has_scheme(&lower) {
        return None;
    } else {
        return Some(Location {
            target: joined(&at.target, to),
            ..at.clone()
        });
    };
    let cut = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(cut);
    let (name, port) = split(authority)?;
    let same = name.eq_ignore_ascii_case(split(&at.authority)?.0)
        || name.eq_ignore_ascii_case("localhost")
        || name.trim_matches(['[', ']']).parse() == Ok(host);
    let port = match port {
        Some(port) => port,
        None if scheme == at.scheme => at.port,
        None => return None,
    };
    let target = joined("/", path);
    same.then(|| Location {
        scheme,
        authority: authority.to_owned(),
        port,
        target,
    })
}

fn has_scheme(to: &str) -> bool {
    let name = to.split_once(':').map_or("", |(name, _)| name);
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// Host and port of an authority; an IPv6 address keeps its brackets.
fn split(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port.parse().ok()?)),
        _ => (authority, None),
    };
    (!host.is_empty() && !host.contains('@')).then_some((host, port))
}

/// Joins a reference without a host to the target that it came from.
fn joined(base: &str, to: &str) -> String {
    let path = base.split('?').next().unwrap_or("/");
    let joined = if to.starts_with('/') {
        to.to_owned()
    } else if to.is_empty() {
        base.to_owned()
    } else if to.starts_with('?') {
        format!("{path}{to}")
    } else {
        let folder = path
            .rfind('/')
            .and_then(|at| path.get(..=at))
            .unwrap_or("/");
        format!("{folder}{to}")
    };
    joined.replace(' ', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prober::LOCAL;

    #[test]
    fn a_redirect_is_followed_as_long_as_this_process_answers() {
        let at = Location {
            scheme: Scheme::Http,
            authority: "hello.example.com".into(),
            port: 5000,
            target: "/a/b?c=d".into(),
        };
        for (to, expected) in [
            ("/in", "http hello.example.com 5000 /in"),
            ("in", "http hello.example.com 5000 /a/in"),
            ("?x=y", "http hello.example.com 5000 /a/b?x=y"),
            ("", "http hello.example.com 5000 /a/b?c=d"),
            ("/in#part", "http hello.example.com 5000 /in"),
            ("/two words", "http hello.example.com 5000 /two%20words"),
            ("http://hello.example.com", "http hello.example.com 5000 /"),
            (
                "HTTP://HELLO.example.com/in",
                "http HELLO.example.com 5000 /in",
            ),
            ("//hello.example.com?q", "http hello.example.com 5000 /?q"),
            ("http://localhost:5001/in", "http localhost:5001 5001 /in"),
            ("http://127.0.0.1:5000/in", "http 127.0.0.1:5000 5000 /in"),
            (
                "https://hello.example.com:5443/",
                "https hello.example.com:5443 5443 /",
            ),
            ("https://hello.example.com/", ""),
            ("http://other.example.com/", ""),
            ("http://hello.example.com@evil.example.com/", ""),
            ("http://hello.example.com:port/", ""),
            ("mailto:a@example.com", ""),
            ("/in\r\nX: y", ""),
        ] {
            let told = resolve(&at, to, LOCAL).map_or_else(String::new, |location| {
                format!(
                    "{} {} {} {}",
                    location.scheme.as_str(),
                    location.authority,
                    location.port,
                    location.target
                )
            });
            assert_eq!(told, expected, "{to}");
        }
    }
}
