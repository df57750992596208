//! Finds readers that stop reading. Such a reader holds a seat and the bytes that were read for it, so it is cut off
//! after a while. A reader that only waits for a log that does not grow is not cut off.

use std::time::Duration;

use futures::{Stream, StreamExt as _};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

/// How long a reader may leave a piece of the log unread. `slipway logs` continues where it was cut off.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// Since when a connection's reader has left a piece unread.
#[derive(Clone, Debug)]
pub struct Pace(watch::Sender<Option<Instant>>);

impl Default for Pace {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Pace {
    /// Passes the pieces on. A piece counts as read when the next one is asked for.
    pub fn watch<T>(
        &self,
        pieces: impl Stream<Item = T> + Send + 'static,
    ) -> impl Stream<Item = T> + Send + 'static
    where
        T: Send + 'static,
    {
        let asked = self.clone();
        let given = self.clone();
        let mut pieces = Box::pin(pieces);
        futures::stream::poll_fn(move |context| {
            asked.0.send_if_modified(|since| since.take().is_some());
            let piece = pieces.poll_next_unpin(context);
            if matches!(piece, std::task::Poll::Ready(Some(_))) {
                given.0.send_replace(Some(Instant::now()));
            }
            piece
        })
    }

    /// Returns once a piece has been unread for `patience`.
    pub async fn stalled(&self, patience: Duration) {
        let mut since = self.0.subscribe();
        loop {
            // Never an error: `self` holds the sender.
            let Ok(given) = since.wait_for(Option::is_some).await.map(|given| *given) else {
                return;
            };
            let Some(given) = given else { continue };
            let taken = since.wait_for(|now| *now != Some(given));
            if timeout_at(given + patience, taken).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pace;
    use futures::{StreamExt as _, stream};
    use std::{pin::pin, time::Duration};
    use tokio::time::{advance, timeout};

    const PATIENCE: Duration = Duration::from_mins(1);

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_takes_nothing_is_found_and_a_log_that_says_nothing_is_waited_for() {
        let pace = Pace::default();
        let pieces = stream::iter(["a", "b"]).chain(stream::pending());
        let mut read = pin!(pace.watch(pieces));
        let mut stalled = pin!(pace.stalled(PATIENCE));
        let soon = Duration::from_millis(1);
        assert_eq!(read.next().await, Some("a"));
        advance(PATIENCE / 2).await;
        timeout(soon, &mut stalled).await.unwrap_err();
        assert_eq!(read.next().await, Some("b"));
        advance(PATIENCE / 2).await;
        timeout(soon, &mut stalled).await.unwrap_err();
        // It asks for more and there is none, so it is not slow.
        timeout(soon, read.next()).await.unwrap_err();
        advance(PATIENCE * 10).await;
        timeout(soon, &mut stalled).await.unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn what_lies_there_too_long_ends_the_wait() {
        let pace = Pace::default();
        let mut read = pin!(pace.watch(stream::iter(["a", "b"])));
        assert_eq!(read.next().await, Some("a"));
        timeout(PATIENCE * 2, pace.stalled(PATIENCE)).await.unwrap();
    }
}
