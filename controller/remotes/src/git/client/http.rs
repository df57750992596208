//! Asks a git server over HTTP, through redirects and with the account where it is asked for.

use std::io;

use futures::TryStreamExt as _;
use reqwest::{
    Response, StatusCode, Url,
    header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, LOCATION, USER_AGENT},
};
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

use crate::git::{
    Credentials,
    client::{
        Client, Place,
        error::{ClientError, away, refusal},
        refs::{Advertised, advertised, answers, is_commit, question},
    },
    packet::Packets,
};
use slipway_base::error::chain;

/// Most redirects that are followed.
const REDIRECTS: usize = 10;
/// Some servers answer only clients that call themselves git.
const AGENT: &str = concat!("git/2.0 (slipway ", env!("CARGO_PKG_VERSION"), ")");

impl Client {
    /// Lists the refs of a repository on a web server.
    pub(super) async fn web(
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
    pub(super) async fn discover<'a>(
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
                    let next = self.followed(&asked, &response)?;
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

    /// Where a redirect leads: to an address that may be asked, and not from https to http.
    fn followed(&self, asked: &Url, response: &Response) -> Result<Url, ClientError> {
        let next = redirected(asked, response)?;
        self.speaks(&next)?;
        if asked.scheme() == "https" && next.scheme() != "https" {
            return Err(ClientError::Other(
                "it redirects from https to http, which nobody could trust".to_owned(),
            ));
        }
        Ok(next)
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
}

/// The credentials, once the server has asked for them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signature<'a>(Option<Credentials<'a>>);

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
