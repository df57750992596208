//! Connects to the engine that the settings name, when the connection is first needed and again after it was lost.
//! Turns the engine's errors into [`DriverError`].

use std::{path::PathBuf, time::Duration};

use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker, errors::Error};
use http::HeaderValue;
use tokio::sync::Mutex;

use crate::{contract::DriverError, docker::transport};
use slipway_core::settings::EngineSettings;

/// Longest wait for the start of an answer. Removing a big volume takes longest.
const TIMEOUT: Duration = Duration::from_mins(3);
/// Longest wait for the first answer of an engine.
const CONNECT: Duration = Duration::from_secs(10);

/// The engine, connected or not.
#[derive(Debug)]
pub(super) struct Connection {
    address: String,
    certificates: Option<PathBuf>,
    client: Mutex<Option<Docker>>,
}

impl Connection {
    pub(super) fn new(engine: &EngineSettings) -> Self {
        Self {
            address: engine.address.clone(),
            certificates: engine.certificates.clone(),
            client: Mutex::new(None),
        }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// A client that speaks the engine's API version.
    pub(super) async fn client(&self) -> Result<Docker, DriverError> {
        // If this call waits too long for another one that is connecting, it fails and makes no attempt of its own.
        let mut client = tokio::time::timeout(CONNECT, self.client.lock())
            .await
            .map_err(|_| self.failure("say its version", Error::RequestTimeoutError))?;
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        let connected = tokio::time::timeout(CONNECT, self.connect()?.negotiate_version())
            .await
            .unwrap_or(Err(Error::RequestTimeoutError))
            .map_err(|e| self.failure("say its version", e))?
            .with_request_modifier(url_safe_credentials);
        *client = Some(connected.clone());
        Ok(connected)
    }

    fn connect(&self) -> Result<Docker, DriverError> {
        let address = self.address.as_str();
        let connected = if address.starts_with("unix://") {
            Docker::connect_with_unix(address, TIMEOUT.as_secs(), API_DEFAULT_VERSION)
        } else {
            transport::client(address, self.certificates.as_deref(), TIMEOUT)
        };
        connected.map_err(|e| self.failure("be connected", e))
    }

    /// The error for a failed request.
    pub(super) fn failure(&self, action: &str, error: Error) -> DriverError {
        let failure = classify(&self.address, action, error);
        if matches!(failure, DriverError::Unreachable { .. }) {
            // The engine that answers next may speak another API version.
            if let Ok(mut client) = self.client.try_lock() {
                *client = None;
            }
        }
        failure
    }
}

/// The HTTP status that the engine answered with.
pub(super) fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// Whether the engine made no network because one of this name exists.
pub(super) fn is_there_already(error: &Error) -> bool {
    match error {
        Error::DockerResponseServerError {
            status_code: 403 | 409,
            message,
        } => message.contains("already exists"),
        _ => false,
    }
}

/// Turns an engine's error into a [`DriverError`].
pub(super) fn classify(address: &str, action: &str, error: Error) -> DriverError {
    let action = action.to_owned();
    match error {
        Error::DockerResponseServerError {
            status_code,
            message,
        } => {
            // The engine reports an image or a command that cannot run as an error of its own, but asking again cannot
            // help. It reports two other errors as refusals, but they may pass: two networks of one name, when another
            // installation created one at the same moment, and a lack of addresses, which ended builds still hold.
            let final_word = status_code < 500 || message.contains("OCI runtime");
            let passes = ["is ambiguous", "address pools"];
            if final_word && !passes.iter().any(|words| message.contains(words)) {
                DriverError::Refused { action, message }
            } else {
                DriverError::Troubled { action, message }
            }
        }
        Error::DockerStreamError { error } => DriverError::Troubled {
            action,
            message: error,
        },
        other => DriverError::Unreachable {
            address: address.to_owned(),
            source: other.into(),
        },
    }
}

/// Encodes the registry's credentials as URL-safe base64, as engines expect. An engine ignores credentials that it
/// cannot read. The client library uses the standard alphabet, which differs if the password holds `?`, `>` or `~`.
fn url_safe_credentials(mut request: BollardRequest) -> BollardRequest {
    const HEADER: &str = "x-registry-auth";
    let Some(value) = request.headers().get(HEADER) else {
        return request;
    };
    let safe: Vec<u8> = value
        .as_bytes()
        .iter()
        .map(|byte| match byte {
            b'+' => b'-',
            b'/' => b'_',
            other => *other,
        })
        .collect();
    if let Ok(mut value) = HeaderValue::from_bytes(&safe) {
        value.set_sensitive(true);
        request.headers_mut().insert(HEADER, value);
    }
    request
}

#[cfg(test)]
mod tests {
    use super::{classify, url_safe_credentials};
    use crate::contract::DriverError;
    use bollard::errors::Error;

    fn answered(status_code: u16, message: &str) -> DriverError {
        classify(
            "tcp://engine:2376",
            "start it",
            Error::DockerResponseServerError {
                status_code,
                message: message.to_owned(),
            },
        )
    }

    #[test]
    fn what_the_engine_answers_decides_whether_to_ask_again() {
        assert!(matches!(
            answered(400, "bad parameter"),
            DriverError::Refused { .. }
        ));
        assert!(matches!(
            answered(
                400,
                "all predefined address pools have been fully subnetted"
            ),
            DriverError::Troubled { .. }
        ));
        assert!(matches!(
            answered(500, "no space left on device"),
            DriverError::Troubled { .. }
        ));
        assert!(matches!(
            answered(500, "OCI runtime create failed: no such file"),
            DriverError::Refused { .. }
        ));
        assert!(matches!(
            classify("tcp://engine:2376", "start it", Error::RequestTimeoutError),
            DriverError::Unreachable { .. }
        ));
    }

    #[test]
    fn credentials_are_written_in_the_alphabet_that_engines_read() {
        let request = http::Request::builder()
            .header("X-Registry-Auth", "a+b/c=")
            .body(bollard::body_full("".into()))
            .unwrap();
        let request = url_safe_credentials(request);
        assert_eq!(request.headers()["x-registry-auth"], "a-b_c=");
    }
}
