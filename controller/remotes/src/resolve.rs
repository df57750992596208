//! Resolves a host's name to the addresses that the policy allows.

use std::{net::SocketAddr, time::Duration};

use tokio::{net::lookup_host, time::timeout};

use slipway_base::outside::policy::{Policy, Refused};

/// How long a name server may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// Most addresses of one host that are used.
const MOST: usize = 8;

/// Why a host has no usable address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The policy refuses one of the host's addresses. Then all are refused: the others could be a cover for that one.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The host has no address, or no name server answered.
    #[error("{host} has no address: {message}")]
    Unknown {
        /// The host.
        host: String,
        /// What the system said.
        message: String,
    },
}

/// The addresses of `host`, a name or an IP address: at least one, and all allowed by the policy. Callers must connect
/// to these addresses, because resolving the name again may give others.
pub async fn addresses(
    policy: &Policy,
    host: &str,
    port: u16,
) -> Result<Vec<SocketAddr>, ResolveError> {
    let unknown = |message: String| ResolveError::Unknown {
        host: host.to_owned(),
        message,
    };
    let literal = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let found = timeout(DEADLINE, lookup_host((literal.unwrap_or(host), port))).await;
    let found = found
        .map_err(|_| unknown(format!("no answer in {} s", DEADLINE.as_secs())))?
        .map_err(|error| unknown(error.to_string()))?;
    let allowed = all_allowed(policy, host, port, found)?;
    if allowed.is_empty() {
        return Err(unknown("it is known, and has none".to_owned()));
    }
    Ok(allowed)
}

fn all_allowed(
    policy: &Policy,
    host: &str,
    port: u16,
    found: impl Iterator<Item = SocketAddr>,
) -> Result<Vec<SocketAddr>, Refused> {
    let mut allowed: Vec<SocketAddr> = Vec::new();
    for address in found {
        policy.check(host, port, address.ip())?;
        if !allowed.contains(&address) && allowed.len() < MOST {
            allowed.push(address);
        }
    }
    Ok(allowed)
}

#[cfg(test)]
mod tests {
    use super::{ResolveError, addresses, all_allowed};
    use slipway_base::outside::policy::Policy;

    #[tokio::test]
    async fn names_and_spellings_of_this_machine_are_seen_through() {
        let policy = Policy::default();
        for host in [
            "localhost",
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
        ] {
            let error = addresses(&policy, host, 80).await.unwrap_err();
            assert!(matches!(error, ResolveError::Refused(_)), "{host}: {error}");
        }
        let allowed = Policy {
            allow: vec!["localhost".parse().unwrap()],
            ..Policy::default()
        };
        assert!(
            !addresses(&allowed, "localhost", 80)
                .await
                .unwrap()
                .is_empty()
        );
        assert!(addresses(&allowed, "127.0.0.1", 80).await.is_err());
    }

    #[test]
    fn one_refused_address_among_others_is_enough() {
        let found = |addresses: &[&str]| {
            let addresses = addresses.iter().map(|a| a.parse().unwrap());
            let addresses: Vec<_> = addresses.collect();
            all_allowed(&Policy::default(), "h", 80, addresses.into_iter())
        };
        let good = ["198.51.100.1:80", "198.51.100.2:80", "198.51.100.1:80"];
        assert_eq!(found(&good).unwrap().len(), 2);
        assert!(found(&[good[0], "169.254.169.254:80"]).is_err());
        let many: Vec<_> = (0..20).map(|n| format!("198.51.100.{n}:80")).collect();
        let mut many: Vec<_> = many.iter().map(String::as_str).collect();
        assert_eq!(found(&many).unwrap().len(), 8);
        many.push("127.0.0.1:80");
        assert!(found(&many).is_err());
    }

    #[tokio::test]
    async fn a_name_that_nobody_knows_is_told() {
        let error = addresses(&Policy::default(), "no-such-host.invalid", 80)
            .await
            .unwrap_err();
        assert!(matches!(error, ResolveError::Unknown { .. }), "{error}");
    }
}
