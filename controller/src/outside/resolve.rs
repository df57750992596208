//! A host's name → the addresses that may be connected to.

use std::{net::SocketAddr, time::Duration};

use tokio::{net::lookup_host, time::timeout};

use crate::outside::policy::{Policy, Refused};

/// A name server that takes longer is away.
const DEADLINE: Duration = Duration::from_secs(10);
/// Most addresses of one host that are used.
const MOST: usize = 8;

/// Why there is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// There are some, and none may be connected to.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// There are none, or nobody says.
    #[error("{host} has no address: {message}")]
    Unknown {
        /// The host.
        host: String,
        /// What the system said.
        message: String,
    },
}

/// The addresses of `host`, a name or an address itself, that may be connected to; at least one. Whoever connects has
/// to use these: another resolution may say something else.
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
    let mut refused = None;
    let mut allowed: Vec<SocketAddr> = Vec::new();
    for address in found {
        match policy.check(host, port, address.ip()) {
            Ok(()) if !allowed.contains(&address) && allowed.len() < MOST => allowed.push(address),
            Ok(()) => {}
            Err(error) => refused = Some(error),
        }
    }
    match (allowed.is_empty(), refused) {
        (false, _) => Ok(allowed),
        (true, Some(refused)) => Err(refused.into()),
        (true, None) => Err(unknown("it is known, and has none".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::{ResolveError, addresses};
    use crate::outside::policy::Policy;

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

    #[tokio::test]
    async fn a_name_that_nobody_knows_is_told() {
        let error = addresses(&Policy::default(), "no-such-host.invalid", 80)
            .await
            .unwrap_err();
        assert!(matches!(error, ResolveError::Unknown { .. }), "{error}");
    }
}
