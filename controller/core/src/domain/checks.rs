//! The checks of a process: those of the App's spec, else those of app.json, with every default filled in.
//!
//! The rules are Dokku's, with one difference: a `web` that does not listen on its port is not ready, where Dokku only
//! warns. The result always satisfies the schema of a Release; a check that cannot be run is left out with a note.

#[cfg(test)]
mod tests;

use slipway_crds::v1alpha1::{Check, CheckType, Checks, HttpHeader, Scheme};

/// The process type that gets traffic.
pub const WEB: &str = "web";

/// Default number of failed tries in a row after which a check fails.
const ATTEMPTS: i32 = 3;
/// Default seconds between tries.
const WAIT: i32 = 5;
/// Default timeout of a try in seconds.
const TIMEOUT: i32 = 5;
/// Default seconds from the container's start to the first try.
const INITIAL_DELAY: i32 = 0;
/// Seconds that a process without a startup check has to run before it counts as started.
const UPTIME: i32 = 10;
/// Seconds between tries whether `web` listens. It is short because traffic waits for it and a connection is cheap.
const GATE_WAIT: i32 = 1;
/// Most checks of one process. A Release may have one more, which is left for [`gate`].
const MOST: usize = 31;

/// A note about a check for the App's author, in one line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note(pub String);

/// What a check tests. If a check names several things, the first in this order counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A process has to accept connections on the port.
    Listening,
    /// A program in the container has to exit with 0.
    Command,
    /// The process has to answer a request with a status from 200 to 299.
    Path,
    /// The container has to run for so long without a restart.
    Uptime,
}

/// What `check` tests.
pub fn kind(check: &Check) -> Kind {
    if check.listening == Some(true) {
        Kind::Listening
    } else if !check.command.is_empty() {
        Kind::Command
    } else if check.uptime.is_some() && !asks(check) {
        Kind::Uptime
    } else {
        Kind::Path
    }
}

fn asks(check: &Check) -> bool {
    check.path.is_some()
        || check.content.is_some()
        || !check.http_headers.is_empty()
        || check.scheme.is_some()
}

/// What a check tests, in words, for messages.
pub fn asked(check: &Check) -> String {
    let port = check.port.unwrap_or_default();
    match kind(check) {
        Kind::Listening => format!("something listening on port {port}"),
        Kind::Command => format!("`{}` ending with 0", check.command.join(" ")),
        Kind::Uptime => format!("{} s without a restart", check.uptime.unwrap_or_default()),
        Kind::Path => {
            let scheme = match check.scheme.unwrap_or_default() {
                Scheme::Http => "http",
                Scheme::Https => "https",
            };
            let path = check.path.as_deref().unwrap_or("/");
            let body = check
                .content
                .as_deref()
                .map(|text| format!(" with {text:?} in the body"))
                .unwrap_or_default();
            format!("GET {scheme}://pod:{port}{path} answered with 2xx{body}")
        }
    }
}

/// The checks of `process`. `spec` is its entry in the App's `checks`; if there is one, `app_json` is ignored.
pub fn resolve(
    process: &str,
    spec: Option<&Checks>,
    app_json: &[Check],
    port: i32,
) -> (Vec<Check>, Vec<Note>) {
    let mut notes = Vec::new();
    let (wanted, from) = match spec {
        Some(Checks(checks)) => (checks.as_slice(), "spec.checks"),
        None => (app_json, "app.json"),
    };
    let mut checks = Vec::new();
    for (index, check) in wanted.iter().enumerate() {
        let name = check
            .name
            .clone()
            .unwrap_or_else(|| format!("number {}", index + 1));
        let mut note = |text: &str| {
            notes.push(Note(format!("{from}: {process}'s check {name}: {text}")));
        };
        if checks.len() == MOST {
            note("there are more than 31 checks: it is not run");
            continue;
        }
        match complete(check, port, &mut note) {
            Ok(check) => checks.push(check),
            Err(why) => note(&format!("{why}: it is not run")),
        }
    }
    // As in Dokku, staying up is the check of a process without any, and of one other than web without a startup check.
    let gated = checks.iter().any(|c| c.r#type == CheckType::Startup);
    if checks.is_empty() || (process != WEB && !gated) {
        checks.push(uptime());
    }
    if process == WEB && !show_listening(&checks, port) {
        checks.push(gate(port));
    }
    (checks, notes)
}

/// Whether the readiness checks show that a process listens on `port` of the pod's IP. A request shows this only if the
/// kubelet sends it, from outside the pod; the prober sends its requests inside, where 127.0.0.1 answers, too.
fn show_listening(checks: &[Check], port: i32) -> bool {
    let ready: Vec<&Check> = checks
        .iter()
        .filter(|check| check.r#type == CheckType::Readiness)
        .collect();
    let alone = ready.len() == 1;
    ready.into_iter().any(|check| {
        check.port == Some(port)
            && match kind(check) {
                Kind::Listening => true,
                Kind::Path => alone && check.content.is_none(),
                Kind::Command | Kind::Uptime => false,
            }
    })
}

fn uptime() -> Check {
    Check {
        r#type: CheckType::Startup,
        uptime: Some(UPTIME),
        ..Check::default()
    }
}

fn gate(port: i32) -> Check {
    Check {
        r#type: CheckType::Readiness,
        listening: Some(true),
        port: Some(port),
        attempts: Some(ATTEMPTS),
        wait: Some(GATE_WAIT),
        timeout: Some(TIMEOUT),
        initial_delay: Some(INITIAL_DELAY),
        ..Check::default()
    }
}

/// `check` with its defaults, reduced to the one thing that it tests.
fn complete(check: &Check, port: i32, note: &mut impl FnMut(&str)) -> Result<Check, &'static str> {
    // Without `..`, so that a new field has to be handled here.
    let Check {
        r#type,
        name,
        path,
        content,
        http_headers,
        scheme,
        command,
        listening: _,
        uptime,
        port: own_port,
        attempts,
        wait,
        timeout,
        initial_delay,
    } = check;
    let kind = kind(check);
    say_what_counts(check, kind, note);
    let name = name
        .as_deref()
        .map(|name| name.chars().take(64).collect::<String>())
        .filter(|name| !name.is_empty());
    if kind == Kind::Uptime {
        return of_uptime(*r#type, name, *uptime);
    }
    let asked_port = own_port.unwrap_or(port);
    if !(1..=65535).contains(&asked_port) {
        return Err("its port is not between 1 and 65535");
    }
    let mut whole = Check {
        r#type: *r#type,
        name,
        port: Some(asked_port),
        attempts: Some(attempts.unwrap_or(ATTEMPTS).clamp(1, 1000)),
        wait: Some(wait.unwrap_or(WAIT).clamp(1, 3600)),
        timeout: Some(timeout.unwrap_or(TIMEOUT).clamp(1, 3600)),
        initial_delay: Some(initial_delay.unwrap_or(INITIAL_DELAY).clamp(0, 3600)),
        ..Check::default()
    };
    match kind {
        Kind::Listening => whole.listening = Some(true),
        Kind::Command => {
            // A port means nothing to a command, and a Release has no fields without a meaning.
            whole.port = None;
            whole.command = fitting_command(command)?;
        }
        Kind::Path | Kind::Uptime => {
            let (path, content, http_headers) =
                fitting_request(path.as_deref(), content.as_deref(), http_headers)?;
            whole.path = Some(path);
            whole.content = content;
            whole.http_headers = http_headers;
            whole.scheme = Some(scheme.unwrap_or_default());
        }
    }
    Ok(whole)
}

/// A check that a container stays up.
fn of_uptime(
    r#type: CheckType,
    name: Option<String>,
    uptime: Option<i32>,
) -> Result<Check, &'static str> {
    if r#type != CheckType::Startup {
        return Err("`uptime` is a startup check and says nothing about a process that runs");
    }
    Ok(Check {
        r#type,
        name,
        uptime: uptime.map(|seconds| seconds.clamp(1, 3600)),
        ..Check::default()
    })
}

/// Notes of a check that says several things which of them counts.
fn say_what_counts(check: &Check, kind: Kind, note: &mut impl FnMut(&str)) {
    let said = [
        check.listening == Some(true),
        !check.command.is_empty(),
        asks(check),
        check.uptime.is_some(),
    ];
    if said.into_iter().filter(|said| *said).count() > 1 {
        note(match kind {
            Kind::Listening => "says several things: only `listening` counts",
            Kind::Command => "says several things: only `command` counts",
            Kind::Path | Kind::Uptime => "says several things: only the request counts",
        });
    }
}

/// `command`, if a Release can hold it.
fn fitting_command(command: &[String]) -> Result<Vec<String>, &'static str> {
    if command.len() > 64 || command.iter().any(|word| word.chars().count() > 4096) {
        return Err("its command has more than 64 words, or one of more than 4096 characters");
    }
    Ok(command.to_vec())
}

/// Path, content and headers of a request.
type Request = (String, Option<String>, Vec<HttpHeader>);

/// What a request asks for, if a Release can hold it and a probe can ask it.
fn fitting_request(
    path: Option<&str>,
    content: Option<&str>,
    headers: &[HttpHeader],
) -> Result<Request, &'static str> {
    let path = path.filter(|p| !p.is_empty()).unwrap_or("/");
    if !path.starts_with('/') || path.chars().count() > 1024 {
        return Err("its path does not begin with / or has more than 1024 characters");
    }
    let content = content.filter(|text| !text.is_empty());
    if content.is_some_and(|c| c.chars().count() > 1024) {
        return Err("its content has more than 1024 characters");
    }
    if headers.len() > 16 || !headers.iter().all(is_header) {
        return Err(
            "it has more than 16 headers, or one that no probe can send: a name has letters, digits and -",
        );
    }
    Ok((
        path.to_owned(),
        content.map(str::to_owned),
        headers.to_vec(),
    ))
}

/// Whether the schema and Kubernetes' probes accept the header.
fn is_header(header: &HttpHeader) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (1..=256).contains(&header.name.len())
        && header.name.chars().all(plain)
        && header.value.chars().count() <= 4096
        && !header.value.contains(['\r', '\n'])
}
