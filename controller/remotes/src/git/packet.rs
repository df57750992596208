//! Reads what a git server sends, one packet (pkt-line) at a time. Only one packet is held in memory, and only as many
//! bytes are read as allowed.

use std::io;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};

/// Longest packet, including the four digits of its length.
const LONGEST: usize = 65_520;

/// Why there is no next packet.
#[derive(Debug, thiserror::Error)]
pub(super) enum PacketError {
    /// The connection broke.
    #[error("the server broke off: {0}")]
    Broken(io::Error),
    /// The server closed the connection within a packet or before the end.
    #[error("the server broke off in the middle of its answer")]
    Ended,
    /// The server does not send packets.
    #[error("what it sends is not git's protocol")]
    Malformed,
    /// The answer is longer than allowed.
    #[error("its list of branches and tags is longer than the {} MB that are read", .0 >> 20)]
    TooMuch(u64),
}

impl From<io::Error> for PacketError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            Self::Ended
        } else {
            Self::Broken(error)
        }
    }
}

/// A packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packet<'a> {
    /// A line, without its end.
    Line(&'a [u8]),
    /// The end of a section.
    Flush,
    /// A delimiter within a section.
    Delimiter,
}

/// Reads packets.
#[derive(Debug)]
pub(super) struct Packets<R> {
    from: BufReader<R>,
    line: Vec<u8>,
    most: u64,
    left: u64,
}

impl<R: AsyncRead + Unpin> Packets<R> {
    /// Reads at most `most` bytes of a stream.
    pub(super) fn new(from: R, most: u64) -> Self {
        Self {
            from: BufReader::new(from),
            line: Vec::new(),
            most,
            left: most,
        }
    }

    /// The next packet.
    pub(super) async fn next(&mut self) -> Result<Packet<'_>, PacketError> {
        let mut digits = [0; 4];
        self.from.read_exact(&mut digits).await?;
        let length = std::str::from_utf8(&digits)
            .ok()
            .filter(|text| text.chars().all(|c| c.is_ascii_hexdigit()))
            .and_then(|text| usize::from_str_radix(text, 16).ok())
            .ok_or(PacketError::Malformed)?;
        self.count(length.max(digits.len()))?;
        match length {
            0 => Ok(Packet::Flush),
            1 => Ok(Packet::Delimiter),
            4..=LONGEST => {
                self.line.resize(length - digits.len(), 0);
                self.from.read_exact(&mut self.line).await?;
                Ok(Packet::Line(
                    self.line.strip_suffix(b"\n").unwrap_or(&self.line),
                ))
            }
            _ => Err(PacketError::Malformed),
        }
    }

    /// The next line of a stream that holds plain lines and no packets; `None` at its end.
    pub(super) async fn next_line(&mut self) -> Result<Option<&[u8]>, PacketError> {
        self.line.clear();
        let most = u64::try_from(LONGEST).unwrap_or(u64::MAX);
        let read = (&mut self.from)
            .take(most)
            .read_until(b'\n', &mut self.line)
            .await?;
        if read == LONGEST {
            return Err(PacketError::Malformed);
        }
        self.count(read)?;
        let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        Ok((read > 0).then_some(line))
    }

    /// The stream that packets are read from, for writing to it.
    pub(super) fn stream(&mut self) -> &mut R {
        self.from.get_mut()
    }

    fn count(&mut self, bytes: usize) -> Result<(), PacketError> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.left = self
            .left
            .checked_sub(bytes)
            .ok_or(PacketError::TooMuch(self.most))?;
        Ok(())
    }
}

/// A line as a packet.
pub(super) fn packet(line: &str) -> String {
    format!("{:04x}{line}", line.len() + 4)
}

#[cfg(test)]
mod tests {
    use super::{Packet, PacketError, Packets, packet};

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio_test::block_on(future)
    }

    #[test]
    fn packets_are_lines_and_ends() {
        let text = format!("{}{}00010000", packet("a\n"), packet("b"));
        let mut packets = Packets::new(text.as_bytes(), 100);
        for expected in [
            Packet::Line(b"a"),
            Packet::Line(b"b"),
            Packet::Delimiter,
            Packet::Flush,
        ] {
            assert_eq!(block_on(packets.next()).unwrap(), expected);
        }
        assert!(matches!(
            block_on(packets.next()).unwrap_err(),
            PacketError::Ended
        ));
    }

    #[test]
    fn what_is_no_packet_is_not_read() {
        for text in ["zzzz", "+001", "0002", "0003", "fff1", "<htm"] {
            let mut packets = Packets::new(text.as_bytes(), 100_000);
            let error = block_on(packets.next()).unwrap_err();
            assert!(matches!(error, PacketError::Malformed), "{text}: {error}");
        }
        let mut packets = Packets::new(&b"0009ab"[..], 100);
        let error = block_on(packets.next()).unwrap_err();
        assert!(matches!(error, PacketError::Ended), "{error}");
    }

    #[test]
    fn no_more_is_read_than_is_allowed() {
        // Packets without content count, too.
        for part in ["0006a\n", "0000"] {
            let text = part.repeat(100);
            let mut packets = Packets::new(text.as_bytes(), 60);
            let read = (0..).find_map(|n| block_on(packets.next()).err().map(|e| (n, e)));
            let (number, error) = read.unwrap();
            assert_eq!(number, 60 / part.len());
            assert!(matches!(error, PacketError::TooMuch(60)), "{error}");
        }
        let mut lines = Packets::new(&b"ab\nc"[..], 3);
        assert_eq!(block_on(lines.next_line()).unwrap(), Some(&b"ab"[..]));
        assert!(block_on(lines.next_line()).is_err());
        let endless = "x".repeat(70_000);
        let mut lines = Packets::new(endless.as_bytes(), 1 << 20);
        assert!(block_on(lines.next_line()).is_err());
    }
}
