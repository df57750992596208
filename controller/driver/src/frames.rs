//! A zone's output → its log and its report. The only place where the operator takes the frames of a report out of an
//! output: [`Output`] hands out nothing else, so that no log shows them, and positions in a log do not count them.

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _, future::ready, stream::BoxStream};

use crate::error::DriverError;
use slipway_base::zone::frame::{Collector, Mark, Piece, Splitter};

/// The log of a zone.
pub type Log = BoxStream<'static, Result<Bytes, DriverError>>;

/// The output of a zone, as its program wrote it. [`slipway_base::zone::frame`] says what is in it.
pub struct Output(BoxStream<'static, Result<Bytes, DriverError>>);

impl Output {
    /// From its bytes, in pieces of any size.
    pub fn new(pieces: impl Stream<Item = Result<Bytes, DriverError>> + Send + 'static) -> Self {
        Self(pieces.boxed())
    }

    /// What people read: everything but frames, whatever their mark.
    pub fn log(self) -> Log {
        let mut splitter = Splitter::default();
        let pieces = self.0.map_ok(move |bytes| {
            let mut log = Vec::with_capacity(bytes.len());
            splitter.push(&bytes, |piece| {
                if let Piece::Log(bytes) = piece {
                    log.extend_from_slice(bytes);
                }
            });
            Bytes::from(log)
        });
        pieces.try_filter(|bytes| ready(!bytes.is_empty())).boxed()
    }

    /// The report of the zone with this mark, if it wrote a whole one. Reads to the end of the output, and passes each
    /// piece of the log to `hear`.
    pub async fn report(
        mut self,
        mark: Mark,
        mut hear: impl FnMut(&[u8]),
    ) -> Result<Option<Vec<u8>>, DriverError> {
        let (mut splitter, mut collector) = (Splitter::default(), Collector::new(mark));
        while let Some(bytes) = self.0.try_next().await? {
            splitter.push(&bytes, |piece| match piece {
                Piece::Log(bytes) => hear(bytes),
                Piece::Frame(frame) => collector.take(frame),
            });
        }
        Ok(collector.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::Output;
    use bytes::Bytes;
    use futures::{TryStreamExt as _, stream};
    use slipway_base::zone::frame::{Mark, frames};

    fn mark() -> Mark {
        Mark::new("f00d".to_owned())
    }

    /// Two lines with a report behind them, in pieces of so many bytes.
    fn output(size: usize) -> Output {
        let report = format!("{{\"notes\":[\"{}\"]}}", "x".repeat(9000));
        let frames = frames(&mark(), &report).unwrap().concat();
        let whole = format!("one\ntwo\n{frames}");
        let pieces: Vec<_> = whole
            .as_bytes()
            .chunks(size)
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect();
        Output::new(stream::iter(pieces))
    }

    #[tokio::test]
    async fn a_log_has_no_frames_and_a_report_nothing_else_however_they_come() {
        for size in [1, 7, 4096, 16 * 1024, 1 << 20] {
            let log: Vec<_> = output(size).log().try_collect().await.unwrap();
            assert!(log.iter().all(|piece| !piece.is_empty()));
            assert_eq!(log.concat(), b"one\ntwo\n");

            let mut log = Vec::new();
            let report = output(size).report(mark(), |piece| log.extend_from_slice(piece));
            let report = report.await.unwrap().unwrap();
            assert!(report.starts_with(b"{\"notes\":[\"x") && report.ends_with(b"\"]}"));
            assert_eq!(log, b"one\ntwo\n");

            let other = Mark::new("beef".to_owned());
            let report = output(size).report(other, |_| {}).await.unwrap();
            assert_eq!(report, None);
        }
    }

    #[tokio::test]
    async fn a_piece_of_a_line_is_shown_before_the_line_ends() {
        let half = stream::iter([Ok(Bytes::from("half"))]);
        let mut log = Output::new(half).log();
        assert_eq!(log.try_next().await.unwrap().unwrap(), "half");
    }
}
