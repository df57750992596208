//! What a server says of its refs, in either version of git's protocol → each ref and its commit.

use tokio::io::AsyncRead;

use crate::git::{
    client::error::{ClientError, said_no},
    packet::{Packet, PacketError, Packets, packet},
};

/// What a server sends first.
pub(super) enum Advertised {
    /// It speaks version 2 and waits for a question.
    Version2 {
        /// Its hash format, if it names one.
        format: Option<String>,
    },
    /// It has listed all its refs.
    All,
}

/// Reads what a server sends first, in any version of the protocol.
pub(super) async fn advertised<R: AsyncRead + Unpin + Send>(
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
pub(super) fn question(format: Option<&str>, prefixes: &[String]) -> String {
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
pub(super) async fn answers<R: AsyncRead + Unpin + Send>(
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

pub(super) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.chars().all(|c| c.is_ascii_hexdigit())
}
