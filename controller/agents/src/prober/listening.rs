//! Whether a socket listens on all addresses at a port. Reads the kernel's tables of this network namespace, which is
//! the pod's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The kernel's code for a listening socket.
const LISTEN: &str = "0A";

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("container is not listening on any port: expected={expected}")]
    Nothing { expected: u16 },
    #[error("container listening on expected {family} interface with an unexpected port: expected={expected} actual={}", numbers(.actual))]
    Port {
        expected: u16,
        family: &'static str,
        actual: Vec<u16>,
    },
    #[error(
        "container listening on expected port ({port}) with unexpected {family} interface: expected={expected} actual={actual}"
    )]
    Interface {
        port: u16,
        family: &'static str,
        expected: IpAddr,
        actual: IpAddr,
    },
    #[error("container is not listening on port {expected}, only on {}", addresses(.actual))]
    Elsewhere {
        expected: u16,
        actual: Vec<SocketAddr>,
    },
    #[error("cannot read {path}: {why}")]
    Table { path: &'static str, why: String },
}

/// Whether a socket of this network namespace listens on `0.0.0.0` or `::` at `port`.
pub fn check(port: u16) -> Result<(), Error> {
    let mut sockets = table("/proc/net/tcp")?;
    // A kernel without IPv6 has no such table.
    sockets.extend(table("/proc/net/tcp6").unwrap_or_default());
    judge(port, &sockets)
}

fn table(path: &'static str) -> Result<Vec<SocketAddr>, Error> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::Table {
        path,
        why: error.to_string(),
    })?;
    Ok(listeners(&text))
}

/// The addresses of the listening sockets in a table of `/proc/net`.
fn listeners(table: &str) -> Vec<SocketAddr> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let local = fields.next()?;
            let state = fields.nth(1)?;
            let (address, port) = local.split_once(':')?;
            if state != LISTEN {
                return None;
            }
            Some(SocketAddr::new(
                parsed(address)?,
                u16::from_str_radix(port, 16).ok()?,
            ))
        })
        .collect()
}

/// An address in words of four bytes, each in this machine's byte order.
fn parsed(hex: &str) -> Option<IpAddr> {
    let bytes: Vec<u8> = hex
        .as_bytes()
        .chunks(8)
        .map(|word| {
            u32::from_str_radix(std::str::from_utf8(word).ok()?, 16)
                .ok()
                .map(u32::to_ne_bytes)
        })
        .collect::<Option<Vec<_>>>()?
        .concat();
    if let Ok(four) = <[u8; 4]>::try_from(bytes.as_slice()) {
        return Some(Ipv4Addr::from(four).into());
    }
    let six = Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?);
    // Some runtimes write an IPv4 address as `::ffff:a.b.c.d`.
    Some(six.to_ipv4_mapped().map_or(IpAddr::V6(six), IpAddr::V4))
}

fn judge(port: u16, sockets: &[SocketAddr]) -> Result<(), Error> {
    let open = |socket: &&SocketAddr| socket.ip().is_unspecified();
    if sockets
        .iter()
        .filter(open)
        .any(|socket| socket.port() == port)
    {
        return Ok(());
    }
    // The message prefers a socket at the right port over one on the right address.
    if let Some(actual) = sockets
        .iter()
        .find(|socket| socket.port() == port)
        .map(SocketAddr::ip)
    {
        let expected = if actual.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        return Err(Error::Interface {
            port,
            family: family(actual),
            expected,
            actual,
        });
    }
    if let Some(first) = sockets.iter().find(open) {
        let mut actual: Vec<u16> = sockets.iter().filter(open).map(SocketAddr::port).collect();
        actual.sort_unstable();
        actual.dedup();
        return Err(Error::Port {
            expected: port,
            family: family(first.ip()),
            actual,
        });
    }
    if sockets.is_empty() {
        return Err(Error::Nothing { expected: port });
    }
    Err(Error::Elsewhere {
        expected: port,
        actual: sockets.to_vec(),
    })
}

const fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn numbers(ports: &[u16]) -> String {
    ports
        .iter()
        .map(u16::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

fn addresses(sockets: &[SocketAddr]) -> String {
    sockets
        .iter()
        .map(SocketAddr::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n";

    fn seen(rows: &[&str]) -> Vec<SocketAddr> {
        listeners(&rows.iter().fold(HEAD.to_owned(), |table, row| {
            table + "   0: " + row + " 00:0 0 0 0 1\n"
        }))
    }

    // 0x1388 is 5000, 0x1389 is 5001.
    #[cfg(target_endian = "little")]
    #[test]
    fn the_kernels_tables_are_judged_in_dokkus_words() {
        let any = "00000000:1388 00000000:0000 0A";
        let local = "0100007F:1388 00000000:0000 0A";
        let other = "00000000:1389 00000000:0000 0A";
        let local_other = "0100007F:1389 00000000:0000 0A";
        let connected = "00000000:1388 0100007F:9999 01";
        let any6 = "00000000000000000000000000000000:1388 00000000000000000000000000000000:0000 0A";
        let local6 =
            "00000000000000000000000001000000:1388 00000000000000000000000000000000:0000 0A";
        let mapped =
            "0000000000000000FFFF000000000000:1388 00000000000000000000000000000000:0000 0A";
        for (rows, expected) in [
            (&[any][..], ""),
            (&[any6], ""),
            (&[mapped], ""),
            (&[local, any], ""),
            (&[], "container is not listening on any port: expected=5000"),
            (
                &[connected],
                "container is not listening on any port: expected=5000",
            ),
            (
                &[local],
                "container listening on expected port (5000) with unexpected IPv4 interface: expected=0.0.0.0 actual=127.0.0.1",
            ),
            (
                &[local6, other],
                "container listening on expected port (5000) with unexpected IPv6 interface: expected=:: actual=::1",
            ),
            (
                &[other],
                "container listening on expected IPv4 interface with an unexpected port: expected=5000 actual=5001",
            ),
            (
                &[local_other],
                "container is not listening on port 5000, only on 127.0.0.1:5001",
            ),
        ] {
            let said = judge(5000, &seen(rows))
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default();
            assert_eq!(said, expected, "{rows:?}");
        }
    }

    #[test]
    fn a_real_socket_is_found() {
        let open = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        check(open.local_addr().unwrap().port()).unwrap();
        let local = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = local.local_addr().unwrap().port();
        let error = check(port).unwrap_err().to_string();
        assert!(
            error.ends_with("unexpected IPv4 interface: expected=0.0.0.0 actual=127.0.0.1"),
            "{error}"
        );
    }
}
