//! Lists a repository's branches and tags, one at a time, as its git server sends them.
//!
//! The client speaks git's protocol in versions 2, 1 and 0, and reads the list that servers without the protocol
//! publish as a file. The memory that the program `git` needs for such an answer depends on the server; this client
//! holds at most one packet. It connects only where [`Web`] allows it, also after a redirect. It sends credentials only
//! to the server that the address names, and only over TLS or where an administrator trusts the connection.

mod error;
mod http;
mod refs;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use percent_encoding::percent_decode_str;
use reqwest::Url;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    git::{
        Credentials,
        packet::{PacketError, Packets, packet},
    },
    resolve::addresses,
    web::{Server, Web},
};
pub use error::ClientError;
use refs::{Advertised, advertised, answers, question};

/// Most bytes of one answer that are read. Only one packet of it is held in memory.
const ANSWER: u64 = 64 << 20;
/// Port of git:// servers.
const DAEMON: u16 = 9418;

/// Sends requests to git servers.
#[derive(Clone, Debug)]
pub struct Client {
    web: Web,
    protocols: Vec<String>,
    timeout: Duration,
    answer: u64,
}

/// A repository on a web server, at the address that redirects have led to.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its address, with a `/` at the end.
    pub base: String,
    /// The server.
    pub server: Server,
    /// Whether it is the server that the original address names.
    pub own: bool,
}

impl Place {
    /// The value for git's `http.curloptResolve`. `None` if the host is an address, which needs no resolving, or if
    /// only a proxy knows the addresses.
    pub fn pinned(&self) -> Option<String> {
        let url = Url::parse(&self.base).ok()?;
        let host = url.domain()?;
        let port = url.port_or_known_default()?;
        let addresses: Vec<String> = self
            .server
            .addresses
            .iter()
            .map(|address| match address.ip() {
                IpAddr::V4(address) => address.to_string(),
                IpAddr::V6(address) => format!("[{address}]"),
            })
            .collect();
        (!addresses.is_empty()).then(|| format!("{host}:{port}:{}", addresses.join(",")))
    }
}

/// A git:// repository whose server is named by IP address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    /// The repository's address, with the server's IP address as its host.
    pub url: String,
    /// The server's name, with the port if the repository's address has one.
    pub host: String,
}

impl Client {
    /// Speaks `protocols` and spends at most `timeout` on each question.
    pub fn new(web: Web, protocols: Vec<String>, timeout: Duration) -> Self {
        Self {
            web,
            protocols,
            timeout,
            answer: ANSWER,
        }
    }

    /// Calls `see` with the commit and the name of each ref; for an annotated tag with the tag object and, as `…^{}`,
    /// with its commit. All refs that begin with one of `prefixes` are reported; an old server reports every ref.
    pub async fn refs(
        &self,
        url: &str,
        credentials: Option<Credentials<'_>>,
        prefixes: &[String],
        see: &mut (dyn FnMut(&str, &str) + Send),
    ) -> Result<(), ClientError> {
        let parsed = self.parse(url)?;
        let asking = async {
            if parsed.scheme() == "git" {
                self.ask_daemon(&parsed, prefixes, see).await
            } else {
                self.web(&parsed, url, credentials, prefixes, see).await
            }
        };
        self.in_time(asking).await
    }

    /// Follows a web server's redirects once; git then connects to that address without resolving it again.
    pub async fn place(
        &self,
        url: &str,
        credentials: Option<Credentials<'_>>,
    ) -> Result<Place, ClientError> {
        let parsed = self.parse(url)?;
        let asking = self.discover(&parsed, url, credentials);
        let (place, _, _) = self.in_time(asking).await?;
        Ok(place)
    }

    /// Resolves the server of a git:// address.
    pub async fn daemon(&self, url: &str) -> Result<Daemon, ClientError> {
        let mut url = self.parse(url)?;
        let addresses = self.daemon_addresses(&url).await?;
        let host = host(&url);
        let address = addresses.first().map(|address| address.ip().to_string());
        let none = || ClientError::Other("it is no address".to_owned());
        let address = address.map(|a| if a.contains(':') { format!("[{a}]") } else { a });
        url.set_host(address.as_deref()).map_err(|_| none())?;
        Ok(Daemon {
            url: url.into(),
            host,
        })
    }

    async fn daemon_addresses(&self, url: &Url) -> Result<Vec<SocketAddr>, ClientError> {
        let policy = self.web.outside().policy();
        let host = url.host_str().unwrap_or_default();
        Ok(addresses(&policy, host, url.port().unwrap_or(DAEMON)).await?)
    }

    async fn in_time<T>(
        &self,
        asking: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        timeout(self.timeout, asking).await.unwrap_or_else(|_| {
            let seconds = self.timeout.as_secs();
            Err(ClientError::Away(format!("no whole answer in {seconds} s")))
        })
    }

    fn parse(&self, url: &str) -> Result<Url, ClientError> {
        let parsed = Url::parse(url)
            .map_err(|error| ClientError::Other(format!("it is no address: {error}")))?;
        self.speaks(&parsed)?;
        Ok(parsed)
    }

    fn speaks(&self, url: &Url) -> Result<(), ClientError> {
        let scheme = url.scheme();
        if self.protocols.iter().any(|p| p == scheme) && ["https", "http", "git"].contains(&scheme)
        {
            return Ok(());
        }
        Err(ClientError::Other(format!(
            "{scheme}:// is not allowed, only {}",
            self.protocols.join(", ")
        )))
    }

    /// git://: the same protocol over a connection of its own.
    async fn ask_daemon(
        &self,
        url: &Url,
        prefixes: &[String],
        see: &mut (dyn FnMut(&str, &str) + Send),
    ) -> Result<(), ClientError> {
        let addresses = self.daemon_addresses(url).await?;
        let broken = |error: io::Error| ClientError::Away(format!("cannot connect: {error}"));
        let stream = TcpStream::connect(&*addresses).await.map_err(broken)?;
        let mut packets = Packets::new(stream, self.answer);
        let host = host(url);
        let path = percent_decode_str(url.path()).decode_utf8_lossy();
        if path.contains(char::is_control) {
            return Err(ClientError::Other("it is no address".to_owned()));
        }
        // Git asks for `~user/…` without a leading slash.
        let path = path
            .strip_prefix('/')
            .filter(|p| p.starts_with('~'))
            .unwrap_or(&path);
        let hello = format!("git-upload-pack {path}\0host={host}\0\0version=2\0");
        write(packets.stream(), &packet(&hello)).await?;
        if let Advertised::Version2 { format } = advertised(&mut packets, see).await? {
            let question = question(format.as_deref(), prefixes);
            write(packets.stream(), &question).await?;
            answers(&mut packets, see).await?;
        }
        // Tells the server that nothing more comes. If it has hung up already, its answer is complete all the same.
        drop(write(packets.stream(), "0000").await);
        Ok(())
    }
}

/// `host:port` as in the address.
fn host(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}"));
    let host = url.host_str().unwrap_or_default();
    host.to_owned() + &port.unwrap_or_default()
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), text: &str) -> Result<(), ClientError> {
    let written = stream.write_all(text.as_bytes()).await;
    written.map_err(|error| PacketError::Broken(error).into())
}

#[cfg(test)]
mod tests;
