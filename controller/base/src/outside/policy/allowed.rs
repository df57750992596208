//! An entry of the administrator's list → the server that may be connected to.

use std::{fmt, net::SocketAddr, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::outside::policy::network::{Malformed, Network};

/// What an administrator allows: `10.0.0.0/8`, `10.1.2.3:3000`, `git.example.com`, `[fd00::1]:443`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Allowed {
    pub(super) server: Server,
    pub(super) port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Server {
    Network(Network),
    /// Lower case, and without a dot at the end.
    Host(String),
}

impl FromStr for Allowed {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if let Ok(network) = text.parse() {
            return Ok(Self {
                server: Server::Network(network),
                port: None,
            });
        }
        let malformed = || Malformed {
            text: text.to_owned(),
            wanted: "a network, an address or a host name, with or without :port",
        };
        if let Ok(address) = text.parse::<SocketAddr>() {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            return Ok(Self {
                server: Server::Network(Network {
                    address: address.ip(),
                    bits,
                }),
                port: Some(address.port()),
            });
        }
        let (host, port) = match text.split_once(':') {
            None => (text, None),
            Some((host, port)) => (host, Some(port.parse().map_err(|_| malformed())?)),
        };
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let of_a_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if host.is_empty() || !host.chars().all(of_a_name) {
            return Err(malformed());
        }
        Ok(Self {
            server: Server::Host(host),
            port,
        })
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.server, self.port) {
            (Server::Network(network), None) => write!(f, "{network}"),
            (Server::Network(network), Some(port)) => {
                write!(f, "{}", SocketAddr::new(network.address, port))
            }
            (Server::Host(host), None) => f.write_str(host),
            (Server::Host(host), Some(port)) => write!(f, "{host}:{port}"),
        }
    }
}
