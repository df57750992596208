//! A probe of a component → success, or a reason. Each uses the identity of a real client; none waits longer than two
//! seconds.

use std::fs;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use serde_json::Value;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

const LIMIT: Duration = Duration::from_secs(2);

/// What shows that a component works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// This address answers 200.
    Web(Web),
    /// Something listens on this unix socket.
    Socket(String),
    /// The node is Ready and takes pods.
    Node(Web),
    /// A resolver at this address and port finds the API server's Service.
    Resolves(String),
    /// The process runs; it serves nothing that could be probed.
    Process,
}

/// A URL and how to authenticate to it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Web {
    pub url: String,
    pub ca: Option<String>,
    /// Paths of certificate and key.
    pub client: Option<(String, String)>,
    /// User name and the path of the password.
    pub account: Option<(String, String)>,
}

impl Web {
    pub fn get(&self) -> Result<String> {
        let mut tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
        if let Some(ca) = &self.ca {
            tls = tls.root_certs(RootCerts::from([certificate(ca)?]));
        }
        if let Some((cert, key)) = &self.client {
            let pem = fs::read(key).with_context(|| format!("reading {key}"))?;
            tls = tls.client_cert(Some(ClientCert::new_with_certs(
                &[certificate(cert)?],
                PrivateKey::from_pem(&pem)?,
            )));
        }
        let agent = ureq::Agent::config_builder()
            .tls_config(tls.build())
            .proxy(None)
            .timeout_global(Some(LIMIT))
            .http_status_as_error(false)
            .build()
            .new_agent();
        let mut request = agent.get(&self.url);
        if let Some((user, password)) = &self.account {
            let password =
                fs::read_to_string(password).with_context(|| format!("reading {password}"))?;
            request = request.header("Authorization", basic(user, password.trim()));
        }
        let mut response = request
            .call()
            .with_context(|| format!("asking {}", self.url))?;
        let body = response
            .body_mut()
            .read_to_string()
            .with_context(|| format!("reading the answer of {}", self.url))?;
        if response.status() != 200 {
            bail!(
                "{} answered {}: {}",
                self.url,
                response.status(),
                body.lines().last().unwrap_or_default()
            );
        }
        Ok(body)
    }
}

/// The value of an Authorization header.
pub fn basic(user: &str, password: &str) -> String {
    format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"))
    )
}

fn certificate(path: &str) -> Result<Certificate<'static>> {
    let pem = fs::read(path).with_context(|| format!("reading {path}"))?;
    Ok(Certificate::from_pem(&pem)?)
}

impl Probe {
    pub fn ask(&self) -> Result<()> {
        match self {
            Self::Web(web) => web.get().map(drop),
            Self::Socket(path) => UnixStream::connect(path)
                .map(drop)
                .with_context(|| format!("connecting to {path}")),
            Self::Node(web) => {
                let node = serde_json::from_str(&web.get()?).context("reading the node")?;
                match trouble_of_node(&node) {
                    None => Ok(()),
                    Some(trouble) => bail!("{trouble}"),
                }
            }
            Self::Resolves(address) => resolves(address),
            Self::Process => Ok(()),
        }
    }
}

/// Why the node takes no pods yet.
fn trouble_of_node(node: &Value) -> Option<String> {
    let empty = Vec::new();
    let list = |at: &str| node.pointer(at).and_then(Value::as_array).unwrap_or(&empty);
    let ready = list("/status/conditions")
        .iter()
        .find(|condition| condition["type"] == "Ready");
    match ready {
        None => return Some("the node has not reported its state yet".to_owned()),
        Some(condition) if condition["status"] != "True" => {
            return Some(format!(
                "the node is not Ready: {}",
                condition["message"].as_str().unwrap_or("no message")
            ));
        }
        Some(_) => {}
    }
    let taint = list("/spec/taints")
        .iter()
        .find_map(|taint| taint["key"].as_str());
    taint.map(|taint| format!("the node is still tainted {taint}"))
}

/// Asks the resolver for the API server's Service, over TCP.
fn resolves(address: &str) -> Result<()> {
    use std::io::{Read, Write};
    let target = address
        .parse()
        .with_context(|| format!("{address} is no address"))?;
    let mut stream = TcpStream::connect_timeout(&target, LIMIT)
        .with_context(|| format!("connecting to {address}"))?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let question = dns_question(&format!(
        "kubernetes.default.svc.{}",
        crate::network::DNS_DOMAIN
    ));
    stream.write_all(&u16::try_from(question.len())?.to_be_bytes())?;
    stream.write_all(&question)?;
    let mut head = [0; 10];
    stream
        .read_exact(&mut head)
        .with_context(|| format!("reading the answer of {address}"))?;
    match (head[5] & 0x0f, u16::from_be_bytes([head[8], head[9]])) {
        (0, answers) if answers > 0 => Ok(()),
        (code, _) => bail!("{address} does not know the API server's Service yet (code {code})"),
    }
}

/// A DNS query for the address of `name`.
fn dns_question(name: &str) -> Vec<u8> {
    let mut question = vec![0x5c, 0x1b, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len()).unwrap_or(63));
        question.extend_from_slice(label.as_bytes());
    }
    question.extend_from_slice(&[0, 0, 1, 0, 1]);
    question
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_is_ready_only_when_it_says_so_and_takes_pods() {
        let ready = json!([{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": "True"}]);
        assert_eq!(
            trouble_of_node(&json!({"status": {"conditions": ready}})),
            None
        );
        let cases = [
            (json!({}), "not reported"),
            (
                json!({"status": {"conditions": [{"type": "Ready", "status": "False", "message": "no network"}]}}),
                "no network",
            ),
            (
                json!({"status": {"conditions": ready}, "spec": {"taints": [{"key": "node.kubernetes.io/not-ready"}]}}),
                "tainted",
            ),
        ];
        for (node, said) in cases {
            assert!(
                trouble_of_node(&node).expect("trouble").contains(said),
                "{node}"
            );
        }
    }

    #[test]
    fn a_question_is_laid_out_as_dns_wants_it() {
        assert_eq!(
            dns_question("a.bc"),
            b"\x5c\x1b\x01\0\0\x01\0\0\0\0\0\0\x01a\x02bc\0\0\x01\0\x01"
        );
    }

    #[test]
    fn nobody_there_is_a_reason_and_not_a_hang() {
        assert!(Probe::Socket("/nowhere.sock".to_owned()).ask().is_err());
        let web = Web {
            url: "http://127.0.0.1:9/".to_owned(),
            ..Web::default()
        };
        assert!(
            Probe::Web(web)
                .ask()
                .expect_err("nobody")
                .to_string()
                .contains("127.0.0.1:9")
        );
    }
}
