//! Reads a stream into an [`Answer`]: status, redirect, and the body up to a limit.

use std::io::{self, Read, Write};

/// Most bytes of the body that are read; the text that a check looks for has to be within them.
const MAX_BODY: usize = 1 << 20;
const MAX_HEAD: usize = 64 << 10;
const MAX_HEADERS: usize = 128;

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) location: Option<String>,
    pub(super) body: Vec<u8>,
}

/// How the end of the body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    UntilClosed,
}

struct Head {
    status: u16,
    location: Option<String>,
    framing: Framing,
}

/// Sends `request` and reads the answer. If the `whole` body is not needed, a body that breaks off is no failure.
pub(super) fn exchange(
    mut stream: impl Read + Write,
    request: &str,
    whole: bool,
) -> io::Result<Answer> {
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut bytes = Vec::new();
    let head = loop {
        let length = loop {
            if let Some(length) = head_length(&bytes) {
                break length;
            }
            if bytes.len() > MAX_HEAD {
                return Err(odd("its headers are too long"));
            }
            if !fill(&mut stream, &mut bytes)? {
                return Err(broken_off());
            }
        };
        let head = parsed(bytes.get(..length).unwrap_or_default())?;
        bytes.drain(..length);
        // An answer with 1xx comes before the final one.
        if head.status >= 200 {
            break head;
        }
    };
    let body = match body(&mut stream, bytes, head.framing) {
        Ok(body) => body,
        Err(error) if whole => return Err(error),
        Err(_) => Vec::new(),
    };
    Ok(Answer {
        status: head.status,
        location: head.location,
        body,
    })
}

/// Length of the head, once it has arrived completely.
fn head_length(bytes: &[u8]) -> Option<usize> {
    let crlf = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map(|at| at + 4);
    let lf = bytes
        .windows(2)
        .position(|window| window == b"\n\n")
        .map(|at| at + 2);
    crlf.into_iter().chain(lf).min()
}

fn parsed(bytes: &[u8]) -> io::Result<Head> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    response
        .parse(bytes)
        .map_err(|error| odd(error.to_string()))?;
    let status = response.code.ok_or_else(|| odd("it has no status"))?;
    let value = |name: &str| {
        let header = response
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name))?;
        Some(String::from_utf8_lossy(header.value).trim().to_owned())
    };
    let chunked = value("transfer-encoding")
        .is_some_and(|coding| coding.to_ascii_lowercase().ends_with("chunked"));
    let framing = if matches!(status, 100..=199 | 204 | 304) {
        Framing::Length(0)
    } else if chunked {
        Framing::Chunked
    } else if let Some(length) = value("content-length") {
        Framing::Length(
            length
                .parse()
                .map_err(|_| odd("its Content-Length is no number"))?,
        )
    } else {
        Framing::UntilClosed
    };
    Ok(Head {
        status,
        location: value("location").filter(|to| !to.is_empty()),
        framing,
    })
}

fn body(stream: &mut impl Read, mut bytes: Vec<u8>, framing: Framing) -> io::Result<Vec<u8>> {
    match framing {
        Framing::Length(length) => {
            while bytes.len() < length.min(MAX_BODY) {
                if !fill(stream, &mut bytes)? {
                    return Err(broken_off());
                }
            }
            bytes.truncate(length);
            Ok(bytes)
        }
        Framing::UntilClosed => {
            while bytes.len() < MAX_BODY && fill(stream, &mut bytes)? {}
            Ok(bytes)
        }
        Framing::Chunked => chunks(stream, bytes),
    }
}

fn chunks(stream: &mut impl Read, mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    while body.len() < MAX_BODY {
        let (start, size) = loop {
            match httparse::parse_chunk_size(&bytes) {
                Ok(httparse::Status::Complete(found)) => break found,
                Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => {}
                _ => return Err(odd("its chunks have no length")),
            }
            if !fill(stream, &mut bytes)? {
                return Err(broken_off());
            }
        };
        let size = usize::try_from(size).map_err(|_| odd("a chunk of it is too long"))?;
        if size == 0 {
            break;
        }
        bytes.drain(..start);
        // Long chunks are read in pieces; each chunk ends with two more bytes.
        let wanted = size.min(MAX_BODY);
        while bytes.len() < wanted.saturating_add(2) {
            if !fill(stream, &mut bytes)? {
                return Err(broken_off());
            }
        }
        body.extend(bytes.drain(..wanted));
        if wanted < size {
            break;
        }
        bytes.drain(..2);
    }
    Ok(body)
}

/// Reads more bytes; `false` at the end of the stream.
fn fill(stream: &mut impl Read, bytes: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 8192];
    let count = loop {
        match stream.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Some TLS peers close the connection without a close_notify; that ends the stream, too.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break 0,
            result => break result?,
        }
    };
    bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
    Ok(count > 0)
}

fn odd(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

fn broken_off() -> io::Error {
    odd("the connection ended before the answer did")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns its bytes in pieces, and discards what is written.
    struct Pieces(Vec<u8>, usize);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            buffer[..count].copy_from_slice(&self.0.drain(..count).collect::<Vec<_>>());
            Ok(count)
        }
    }

    impl Write for Pieces {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn a_body_is_the_same_in_any_framing_and_pieces(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 0..6), piece in 1_usize..50,
        ) {
            let whole = parts.concat();
            let mut chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
            for part in &parts {
                chunked.extend(format!("{:x}\r\n", part.len()).bytes());
                chunked.extend(part);
                chunked.extend(b"\r\n");
            }
            chunked.extend(b"0\r\n\r\n");
            let length = [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", whole.len()).into_bytes(), whole.clone()].concat();
            let closed = [b"HTTP/1.0 200 OK\r\n\r\n".to_vec(), whole.clone()].concat();
            for bytes in [chunked, length, closed] {
                let answer = exchange(Pieces(bytes, piece), "GET", true).unwrap();
                prop_assert_eq!((answer.status, &answer.body), (200, &whole));
            }
        }

        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..300), piece in 1_usize..50) {
            let _ = exchange(Pieces(bytes.clone(), piece), "GET", true);
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            let _ = exchange(Pieces([head, bytes].concat(), piece), "GET", true);
        }
    }

    #[test]
    fn a_body_without_end_is_read_to_a_bound() {
        let endless = [
            b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
            vec![b'x'; 3 * MAX_BODY],
        ]
        .concat();
        let answer = exchange(Pieces(endless, 8192), "GET", true).unwrap();
        assert!(
            (MAX_BODY..MAX_BODY + 8192).contains(&answer.body.len()),
            "{}",
            answer.body.len()
        );
    }
}
