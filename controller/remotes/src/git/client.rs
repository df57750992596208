//! Lists a repository's branches and tags, one at a time, as its git server sends them.
//!
//! The client speaks git's protocol in versions 2, 1 and 0, and reads the list that servers without the protocol
//! publish as a file. The memory that the program `git` needs for such an answer depends on the server; this client
//! holds at most one packet. It connects only where [`Web`] allows it, also after a redirect. It sends credentials only
//! to the server that the address names, and only over TLS or where an administrator trusts the connection.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures::TryStreamExt as _;
use percent_encoding::percent_decode_str;
use reqwest::{
    Response, StatusCode, Url,
    header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, LOCATION, USER_AGENT},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_util::io::StreamReader;

use crate::{
    git::{
        Credentials, Trouble,
        packet::{Packet, PacketError, Packets, packet},
        trouble,
    },
    resolve::{ResolveError, addresses},
    web::{Server, ServerError, Web},
};
use slipway_base::{error::chain, text};

/// Most bytes of one answer that are read. Only one packet of it is held in memory.
const ANSWER: u64 = 64 << 20;
/// Most redirects that are followed.
const REDIRECTS: usize = 10;
/// Port of git:// servers.
const DAEMON: u16 = 9418;
/// Some servers answer only clients that call themselves git.
const AGENT: &str = concat!("git/2.0 (slipway ", env!("CARGO_PKG_VERSION"), ")");
/// Longest message of a server that is shown.
const SAID: usize = 300;

/// Why a server did not list its refs.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server asks for credentials, or refuses those that it got.
    #[error("the server refused access")]
    Denied,
    /// The server has no such repository.
    #[error("the server knows no such repository")]
    NoRepository,
    /// The server asks for credentials over a connection that others can read.
    #[error(
        "credentials are not sent over plain http: use https://, or have an administrator name the server in outside.allow of the chart's values"
    )]
    Readable,
    /// The server's address is refused.
    #[error("{0}")]
    Refused(String),
    /// The server cannot be reached, or closed the connection.
    #[error("{0}")]
    Away(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl From<PacketError> for ClientError {
    fn from(error: PacketError) -> Self {
        match error {
            PacketError::Broken(_) | PacketError::Ended => Self::Away(chain(&error)),
            PacketError::Malformed | PacketError::TooMuch(_) => Self::Other(error.to_string()),
        }
    }
}

impl From<ResolveError> for ClientError {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::Refused(refused) => Self::Refused(refused.to_string()),
            ResolveError::Unknown { .. } => Self::Away(error.to_string()),
        }
    }
}

impl From<ServerError> for ClientError {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Resolve(error) => error.into(),
            ServerError::Client(message) => Self::Other(message),
        }
    }
}

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

    async fn web(
        &self,
        parsed: &Url,
        url: &str,
        credentials: Option<Credentials<'_>>,
        prefixes: &[String],
        see: &mut (dyn FnMut(&str, &str) + Send),
    ) -> Result<(), ClientError> {
        let (place, asked, response) = self.discover(parsed, url, credentials).await?;
        if !is_of_type(&response, "application/x-git-upload-pack-advertisement") {
            return self.published(&place, asked, response, see).await;
        }
        let mut packets = self.packets(response)?;
        let Advertised::Version2 { format } = advertised(&mut packets, see).await? else {
            return Ok(());
        };
        drop(packets);
        let request = place
            .server
            .client
            .post(format!("{}git-upload-pack", place.base))
            .header("Git-Protocol", "version=2")
            .header(CONTENT_TYPE, "application/x-git-upload-pack-request")
            .header(ACCEPT, "application/x-git-upload-pack-result")
            .body(question(format.as_deref(), prefixes));
        let response = asked.sign(request).send().await.map_err(|e| away(&e))?;
        if !response.status().is_success() {
            return Err(refusal(response.status()));
        }
        answers(&mut self.packets(response)?, see).await
    }

    /// Follows redirects as git does: only for the first request, and only to an address that ends in the same path.
    async fn discover<'a>(
        &self,
        parsed: &Url,
        url: &str,
        credentials: Option<Credentials<'a>>,
    ) -> Result<(Place, Signature<'a>, Response), ClientError> {
        let (base, tail) = parts(url);
        let mut asked: Url = format!("{base}{tail}")
            .parse()
            .map_err(|_| ClientError::Other("it is no address".to_owned()))?;
        let mut server = self.web.server(&asked).await?;
        let mut signature = Signature(None);
        for _ in 0..=REDIRECTS {
            let own = asked.origin() == parsed.origin();
            let request = server
                .client
                .get(asked.clone())
                .header("Git-Protocol", "version=2")
                .header(ACCEPT, "*/*")
                .header("Pragma", "no-cache");
            let signed = Signature(signature.0.filter(|_| own));
            let response = signed.sign(request).send().await.map_err(|e| away(&e))?;
            match response.status() {
                StatusCode::UNAUTHORIZED if own && signature.0.is_none() => {
                    let Some(credentials) = credentials else {
                        return Err(ClientError::Denied);
                    };
                    if !server.private {
                        return Err(ClientError::Readable);
                    }
                    signature = Signature(Some(credentials));
                }
                status if status.is_redirection() => {
                    let next = redirected(&asked, &response)?;
                    self.speaks(&next)?;
                    if asked.scheme() == "https" && next.scheme() != "https" {
                        return Err(ClientError::Other(
                            "it redirects from https to http, which nobody could trust".to_owned(),
                        ));
                    }
                    if next.origin() != asked.origin() {
                        server = self.web.server(&next).await?;
                    }
                    asked = next;
                }
                status if status.is_success() => {
                    let found = asked.as_str().strip_suffix(tail).ok_or_else(|| {
                        ClientError::Other(
                            "it redirects to where no git repository can be".to_owned(),
                        )
                    })?;
                    let place = Place {
                        base: found.to_owned(),
                        server,
                        own,
                    };
                    return Ok((place, signed, response));
                }
                status => return Err(refusal(status)),
            }
        }
        Err(ClientError::Other("it redirects without end".to_owned()))
    }

    /// Reads the refs that a server without git's protocol publishes as a file.
    async fn published(
        &self,
        place: &Place,
        signature: Signature<'_>,
        list: Response,
        see: &mut (dyn FnMut(&str, &str) + Send),
    ) -> Result<(), ClientError> {
        let none = || {
            ClientError::Other(
                "what answers there is no git repository: check the address".to_owned(),
            )
        };
        let head = place.server.client.get(format!("{}HEAD", place.base));
        let head = signature.sign(head).send().await.map_err(|e| away(&e))?;
        let mut default = None;
        if head.status().is_success() {
            let mut lines = self.packets(head)?;
            if let Ok(Some(line)) = lines.next_line().await {
                let line = String::from_utf8_lossy(line);
                match line.trim().strip_prefix("ref: ") {
                    Some(name) => default = Some(name.to_owned()),
                    None if is_commit(line.trim()) => see(line.trim(), "HEAD"),
                    None => {}
                }
            }
        }
        let mut lines = self.packets(list)?;
        while let Some(line) = lines.next_line().await? {
            let line = String::from_utf8_lossy(line);
            let (commit, name) = line.split_once('\t').ok_or_else(none)?;
            if !is_commit(commit) {
                return Err(none());
            }
            if default.as_deref() == Some(name) {
                see(commit, "HEAD");
            }
            see(commit, name);
        }
        Ok(())
    }

    fn packets(
        &self,
        response: Response,
    ) -> Result<Packets<impl AsyncRead + Unpin + Send + use<>>, ClientError> {
        let packed = response.headers().get(CONTENT_ENCODING);
        if packed.is_some_and(|encoding| encoding != "identity") {
            return Err(ClientError::Other(
                "the server compresses its answer, though it was not asked to".to_owned(),
            ));
        }
        let bytes = response
            .bytes_stream()
            .map_err(|error| io::Error::other(chain(&error.without_url())));
        Ok(Packets::new(
            StreamReader::new(Box::pin(bytes)),
            self.answer,
        ))
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

/// The credentials, once the server has asked for them.
#[derive(Clone, Copy, Debug)]
struct Signature<'a>(Option<Credentials<'a>>);

impl Signature<'_> {
    fn sign(self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        let request = request.header(USER_AGENT, AGENT);
        match self.0 {
            None => request,
            Some(who) => request.basic_auth(who.username, Some(who.password)),
        }
    }
}

/// A repository's address with a `/` at its end, and the path that the first request adds to it.
fn parts(url: &str) -> (String, &'static str) {
    let slash = if url.ends_with('/') { "" } else { "/" };
    let tail = if url.contains('?') {
        "info/refs&service=git-upload-pack"
    } else {
        "info/refs?service=git-upload-pack"
    };
    (format!("{url}{slash}"), tail)
}

fn redirected(asked: &Url, response: &Response) -> Result<Url, ClientError> {
    let to = response.headers().get(LOCATION);
    to.and_then(|to| std::str::from_utf8(to.as_bytes()).ok())
        .and_then(|to| asked.join(to).ok())
        .ok_or_else(|| ClientError::Other("it redirects to no address".to_owned()))
}

fn is_of_type(response: &Response, wanted: &str) -> bool {
    let type_ = response.headers().get(CONTENT_TYPE);
    let type_ = type_.and_then(|t| t.to_str().ok()).unwrap_or_default();
    type_.split(';').next().unwrap_or_default().trim() == wanted
}

fn away(error: &reqwest::Error) -> ClientError {
    let what = if error.is_connect() {
        "cannot connect"
    } else {
        "the server broke off"
    };
    let mut words = what.to_owned();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        source = cause.source();
        if source.is_none() {
            words = format!("{what}: {cause}");
        }
    }
    ClientError::Away(words)
}

/// The error for an HTTP status.
fn refusal(status: StatusCode) -> ClientError {
    match status.as_u16() {
        401 | 403 => ClientError::Denied,
        404 | 410 => ClientError::NoRepository,
        429 | 500.. => ClientError::Away(format!("the server answered {status}")),
        _ => ClientError::Other(format!("the server answered {status}")),
    }
}

/// What a server sends first.
enum Advertised {
    /// It speaks version 2 and waits for a question.
    Version2 {
        /// Its hash format, if it names one.
        format: Option<String>,
    },
    /// It has listed all its refs.
    All,
}

/// Reads what a server sends first, in any version of the protocol.
async fn advertised<R: AsyncRead + Unpin + Send>(
    packets: &mut Packets<R>,
    see: &mut (dyn FnMut(&str, &str) + Send),
) -> Result<Advertised, ClientError> {
    let (mut first, mut service) = (true, false);
    loop {
        let line = match packets.next().await? {
            Packet::Line(line) => String::from_utf8_lossy(line),
            Packet::Flush if service => {
                service = false;
                continue;
            }
            Packet::Flush => return Ok(Advertised::All),
            Packet::Delimiter => return Err(PacketError::Malformed.into()),
        };
        // Some servers begin with this line in every version and end it with a flush packet.
        if first && line.starts_with("# service=") {
            service = true;
            continue;
        }
        if first && line == "version 1" {
            continue;
        }
        if first && line == "version 2" {
            return version2(packets).await;
        }
        if let Some(said) = line.strip_prefix("ERR ") {
            return Err(said_no(said));
        }
        first = false;
        if line.starts_with("shallow ") {
            continue;
        }
        let named = line.split('\0').next().unwrap_or_default();
        let (commit, name) = named.split_once(' ').ok_or(PacketError::Malformed)?;
        if !is_commit(commit) {
            return Err(PacketError::Malformed.into());
        }
        // An empty repository sends this name.
        if name != "capabilities^{}" {
            see(commit, name);
        }
    }
}

async fn version2<R: AsyncRead + Unpin + Send>(
    packets: &mut Packets<R>,
) -> Result<Advertised, ClientError> {
    let (mut lists, mut format) = (false, None);
    loop {
        let line = match packets.next().await? {
            Packet::Line(line) => String::from_utf8_lossy(line),
            Packet::Flush if lists => return Ok(Advertised::Version2 { format }),
            Packet::Flush | Packet::Delimiter => return Err(PacketError::Malformed.into()),
        };
        match line.split_once('=').unwrap_or((&line, "")) {
            ("ls-refs", _) => lists = true,
            ("object-format", value) if ["sha1", "sha256"].contains(&value) => {
                format = Some(value.to_owned());
            }
            _ => {}
        }
    }
}

/// The version 2 request for refs.
fn question(format: Option<&str>, prefixes: &[String]) -> String {
    let mut text = packet("command=ls-refs\n");
    if let Some(format) = format {
        text.push_str(&packet(&format!("object-format={format}\n")));
    }
    text.push_str("0001");
    text.push_str(&packet("peel\n"));
    for prefix in prefixes {
        text.push_str(&packet(&format!("ref-prefix {prefix}\n")));
    }
    text.push_str("0000");
    text
}

/// Reads the answer to that request.
async fn answers<R: AsyncRead + Unpin + Send>(
    packets: &mut Packets<R>,
    see: &mut (dyn FnMut(&str, &str) + Send),
) -> Result<(), ClientError> {
    loop {
        let line = match packets.next().await? {
            Packet::Line(line) => String::from_utf8_lossy(line),
            Packet::Flush => return Ok(()),
            Packet::Delimiter => return Err(PacketError::Malformed.into()),
        };
        if let Some(said) = line.strip_prefix("ERR ") {
            return Err(said_no(said));
        }
        let mut words = line.split(' ');
        let (Some(commit), Some(name)) = (words.next(), words.next()) else {
            return Err(PacketError::Malformed.into());
        };
        if !is_commit(commit) {
            return Err(PacketError::Malformed.into());
        }
        see(commit, name);
        let peeled = words.find_map(|word| word.strip_prefix("peeled:"));
        if let Some(peeled) = peeled.filter(|peeled| is_commit(peeled)) {
            see(peeled, &format!("{name}^{{}}"));
        }
    }
}

/// The error for a server's error message.
fn said_no(said: &str) -> ClientError {
    let shown = format!("the server said: {}", text::line(said.trim(), SAID));
    match trouble(said) {
        Trouble::Denied => ClientError::Denied,
        Trouble::NoRepository => ClientError::NoRepository,
        Trouble::Away => ClientError::Away(shown),
        Trouble::Other => ClientError::Other(shown),
    }
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.chars().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests;
