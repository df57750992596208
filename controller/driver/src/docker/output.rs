//! Reads a container's log and report. Untrusted code may have written both, so their size is limited.

use std::{io::Read as _, time::Duration};

use bollard::{
    Docker,
    query_parameters::{DownloadFromContainerOptionsBuilder, LogsOptionsBuilder},
};
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use tokio::time::timeout;

use crate::{
    contract::{DriverError, Output},
    docker::connection::{self, Connection},
};
use slipway_base::zone::{layout, report::MAX_BYTES};

/// Most bytes of the archive that holds one report: header, content, padding, end.
const ARCHIVE_BYTES: usize = MAX_BYTES + 16 * 1024;

/// How long an engine may take to send the next part of data that it already has.
const SILENCE: Duration = Duration::from_mins(1);

/// The next part of such data; an error if the engine takes too long.
async fn next<T>(
    pieces: &mut (impl Stream<Item = T> + Unpin),
    action: &str,
) -> Result<Option<T>, DriverError> {
    timeout(SILENCE, pieces.next())
        .await
        .map_err(|_| DriverError::Troubled {
            action: action.to_owned(),
            message: format!("nothing came for {} s", SILENCE.as_secs()),
        })
}

/// A container's standard output and standard error as one stream.
pub(super) fn read(client: &Docker, address: &str, container: &str, follow: bool) -> Output {
    let options = LogsOptionsBuilder::new()
        .follow(follow)
        .stdout(true)
        .stderr(true)
        .tail("all")
        .build();
    let (address, action) = (address.to_owned(), format!("read the log of {container}"));
    let waited_for = action.clone();
    let output: Output = client
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
fn patient(output: Output, action: String) -> Output {
    stream::try_unfold((output, action), |(mut output, action)| async move {
        let piece = next(&mut output, &action).await?.transpose()?;
        Ok(piece.map(|piece| (piece, (output, action))))
    })
    .boxed()
}

/// The report that a zone wrote.
pub(super) async fn report(
    connection: &Connection,
    container: &str,
) -> Result<Option<Vec<u8>>, DriverError> {
    let client = connection.client().await?;
    let options = DownloadFromContainerOptionsBuilder::new()
        .path(layout::REPORT)
        .build();
    let mut chunks = Box::pin(client.download_from_container(container, Some(options)));
    let mut archive: Vec<u8> = Vec::new();
    let action = format!("hand out the report of {container}");
    while let Some(chunk) = next(&mut chunks, &action).await? {
        match chunk {
            Ok(chunk) => archive.extend_from_slice(&chunk),
            Err(e) if connection::status(&e) == Some(404) => return Ok(None),
            Err(e) => return Err(connection.failure(&action, e)),
        }
        if archive.len() > ARCHIVE_BYTES {
            return Ok(None);
        }
    }
    Ok(only_file(&archive))
}

/// The content of the first entry, if it is a regular file within the size limit. A link is refused, because it could
/// lead anywhere.
fn only_file(archive: &[u8]) -> Option<Vec<u8>> {
    let mut archive = tar::Archive::new(archive);
    let entry = archive.entries().ok()?.next()?.ok()?;
    if entry.header().entry_type() != tar::EntryType::Regular {
        return None;
    }
    let mut content = Vec::new();
    let limit = u64::try_from(MAX_BYTES).ok()?;
    entry.take(limit + 1).read_to_end(&mut content).ok()?;
    (content.len() <= MAX_BYTES).then_some(content)
}

#[cfg(test)]
mod tests {
    use super::{only_file, patient};
    use crate::contract::DriverError;
    use bytes::Bytes;
    use futures::{StreamExt as _, TryStreamExt as _, stream};
    use slipway_base::zone::report::MAX_BYTES;

    fn archive(kind: tar::EntryType, content: &[u8]) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        let mut builder = tar::Builder::new(Vec::new());
        if kind == tar::EntryType::Symlink {
            header.set_link_name("/etc/passwd").unwrap();
        }
        builder
            .append_data(&mut header, "report.json", content)
            .unwrap();
        builder.into_inner().unwrap()
    }

    #[test]
    fn a_report_is_a_plain_file_of_bearable_size() {
        let plain = archive(tar::EntryType::Regular, b"{}");
        assert_eq!(only_file(&plain).as_deref(), Some(b"{}".as_slice()));
        assert_eq!(only_file(&archive(tar::EntryType::Symlink, b"")), None);
        let big = vec![b' '; MAX_BYTES + 1];
        assert_eq!(only_file(&archive(tar::EntryType::Regular, &big)), None);
        assert_eq!(only_file(b"no archive"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_output_that_hangs_ends_in_an_error() {
        let hangs = stream::iter([Ok(Bytes::from("one"))]).chain(stream::pending());
        let mut output = patient(hangs.boxed(), "read the log".to_owned());
        assert_eq!(output.try_next().await.unwrap().unwrap(), "one");
        let error = output.try_next().await.unwrap_err();
        assert!(matches!(error, DriverError::Troubled { .. }), "{error:?}");
    }
}
