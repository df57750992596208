//! Reads what a container wrote.

use std::time::Duration;

use bollard::{Docker, query_parameters::LogsOptionsBuilder};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::timeout;

use crate::{contract::DriverError, docker::connection, frames::Log};

/// How long an engine may take to send the next part of data that it already has.
const SILENCE: Duration = Duration::from_mins(1);

/// A container's standard output and standard error as one stream.
pub(super) fn read(client: &Docker, address: &str, container: &str, follow: bool) -> Log {
    let options = LogsOptionsBuilder::new()
        .follow(follow)
        .stdout(true)
        .stderr(true)
        .tail("all")
        .build();
    let (address, action) = (address.to_owned(), format!("read the log of {container}"));
    let waited_for = action.clone();
    let output: Log = client
        .logs(container, Some(options))
        .map_ok(bollard::container::LogOutput::into_bytes)
        .filter_map(move |item| {
            std::future::ready(match item {
                Err(e) if matches!(connection::status(&e), Some(404 | 409)) => None,
                other => Some(other.map_err(|e| connection::classify(&address, &action, e))),
            })
        })
        .boxed();
    if follow {
        return output;
    }
    patient(output, waited_for)
}

/// The same stream, which ends with an error if the engine takes too long.
fn patient(output: Log, action: String) -> Log {
    stream::try_unfold((output, action), |(mut output, action)| async move {
        let piece = timeout(SILENCE, output.try_next()).await;
        let piece = piece.map_err(|_| DriverError::Troubled {
            action: action.clone(),
            message: format!("nothing came for {} s", SILENCE.as_secs()),
        })??;
        Ok(piece.map(|piece| (piece, (output, action))))
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::patient;
    use crate::contract::DriverError;
    use bytes::Bytes;
    use futures::{StreamExt as _, TryStreamExt as _, stream};

    #[tokio::test(start_paused = true)]
    async fn an_output_that_hangs_ends_in_an_error() {
        let hangs = stream::iter([Ok(Bytes::from("one"))]).chain(stream::pending());
        let mut output = patient(hangs.boxed(), "read the log".to_owned());
        assert_eq!(output.try_next().await.unwrap().unwrap(), "one");
        let error = output.try_next().await.unwrap_err();
        assert!(matches!(error, DriverError::Troubled { .. }), "{error:?}");
    }
}
