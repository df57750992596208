//! Pulls images that the engine does not have, in the background. So a registry that does not answer delays only Builds
//! that need its image, and the operator can still cancel those.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::contract::DriverError;
use slipway_base::error::{Class, chain, retry_after};
use slipway_core::build::zones::{Awaited, Preparing};

/// Pulls that run or are needed.
#[derive(Debug, Default)]
pub(super) struct Pulls {
    state: Mutex<State>,
    asked: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// By image.
    pulls: BTreeMap<String, Pull>,
    /// UIDs of Builds whose image was refused, with the reason.
    refused: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
struct Pull {
    /// UIDs of the Builds that need the image.
    waiting: BTreeSet<String>,
    runs: bool,
    stop: CancellationToken,
    /// Why the last attempt failed.
    trouble: Option<String>,
}

impl Pulls {
    /// Registers that the Build needs this image, which the engine does not have. Returns the state of the pull, or the
    /// reason why it was refused.
    pub(super) fn ask(&self, uid: &str, image: &str) -> Result<Preparing, DriverError> {
        let mut state = self.state();
        if let Some(message) = state.refused.remove(uid) {
            let action = format!("pull {image}");
            return Err(DriverError::Refused { action, message });
        }
        let pull = state.pulls.entry(image.to_owned()).or_default();
        pull.waiting.insert(uid.to_owned());
        let trouble = pull.trouble.clone();
        drop(state);
        self.asked.notify_one();
        Ok(Preparing {
            awaits: Awaited::Image(image.to_owned()),
            trouble,
        })
    }

    /// Removes the Build from all pulls. A pull that no other Build needs is cancelled.
    pub(super) fn forget(&self, uid: &str) {
        let mut state = self.state();
        state.refused.remove(uid);
        state.pulls.retain(|_, pull| {
            pull.waiting.remove(uid);
            let wanted = !pull.waiting.is_empty();
            if !wanted {
                pull.stop.cancel();
            }
            wanted
        });
    }

    /// Pulls the needed images as long as it is polled. Calls `tell` with the UIDs of Builds that should ask again.
    pub(super) async fn work<F>(&self, pull: impl Fn(String) -> F, tell: impl Fn(&str))
    where
        F: Future<Output = Result<(), DriverError>>,
    {
        // Pulls that ran when an earlier call of `work` was dropped run no longer.
        for pull in self.state().pulls.values_mut() {
            pull.runs = false;
        }
        let mut running = FuturesUnordered::new();
        loop {
            for (image, stop) in self.wanted() {
                let (pull, tell) = (&pull, &tell);
                running.push(async move {
                    let tries = self.bring(&image, pull, tell);
                    stop.run_until_cancelled(tries).await;
                });
            }
            tokio::select! {
                () = self.asked.notified() => {}
                Some(()) = running.next() => {}
            }
        }
    }

    /// Pulls that are needed and not running; marks them as running.
    fn wanted(&self) -> Vec<(String, CancellationToken)> {
        let mut state = self.state();
        let new = state.pulls.iter_mut().filter(|(_, pull)| !pull.runs);
        new.map(|(image, pull)| {
            pull.runs = true;
            (image.clone(), pull.stop.clone())
        })
        .collect()
    }

    /// Tries until the engine has the image, or until it is refused.
    async fn bring<F>(&self, image: &str, pull: &impl Fn(String) -> F, tell: &impl Fn(&str))
    where
        F: Future<Output = Result<(), DriverError>>,
    {
        let mut failures = 0;
        loop {
            let error = match pull(image.to_owned()).await {
                Ok(()) => return self.over(image, None, tell),
                Err(DriverError::Refused { message, .. }) => {
                    return self.over(image, Some(&message), tell);
                }
                Err(error) => error,
            };
            tracing::warn!(image, error = chain(&error), "cannot pull; tried again");
            self.trouble(image, said(&error), tell);
            let pause = retry_after(Class::Transient, failures, 0.5);
            tokio::time::sleep(pause).await;
            failures += 1;
        }
    }

    fn over(&self, image: &str, refused: Option<&str>, tell: &impl Fn(&str)) {
        let mut state = self.state();
        let Some(pull) = state.pulls.remove(image) else {
            return;
        };
        if let Some(why) = refused {
            let builds = pull.waiting.iter().cloned();
            state
                .refused
                .extend(builds.map(|uid| (uid, why.to_owned())));
        }
        drop(state);
        for uid in &pull.waiting {
            tell(uid);
        }
    }

    fn trouble(&self, image: &str, trouble: String, tell: &impl Fn(&str)) {
        let mut state = self.state();
        let Some(pull) = state.pulls.get_mut(image) else {
            return;
        };
        if pull.trouble.as_ref() == Some(&trouble) {
            return;
        }
        pull.trouble = Some(trouble);
        let waiting = pull.waiting.clone();
        drop(state);
        for uid in &waiting {
            tell(uid);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The error without "cannot pull".
fn said(error: &DriverError) -> String {
    match error {
        DriverError::Troubled { message, .. } | DriverError::Refused { message, .. } => {
            message.clone()
        }
        DriverError::Unreachable { .. } => chain(error),
    }
}

#[cfg(test)]
mod tests {
    use super::Pulls;
    use crate::contract::DriverError;
    use slipway_core::build::zones::{Awaited, Preparing};
    use std::{
        cell::{Cell, RefCell},
        future::pending,
    };
    use tokio::{select, task::yield_now};

    fn error(last: bool, message: &str) -> DriverError {
        let (action, message) = ("pull it".to_owned(), message.to_owned());
        if last {
            DriverError::Refused { action, message }
        } else {
            DriverError::Troubled { action, message }
        }
    }

    fn pulling(image: &str, trouble: Option<&str>) -> Preparing {
        Preparing {
            awaits: Awaited::Image(image.to_owned()),
            trouble: trouble.map(str::to_owned),
        }
    }

    #[tokio::test]
    async fn one_that_hangs_holds_up_no_other_and_each_is_pulled_once() {
        let pulls = Pulls::default();
        let (begun, told) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        let pull = |image: String| {
            begun.borrow_mut().push(image.clone());
            async move {
                if image == "slow" {
                    pending::<()>().await;
                }
                Ok(())
            }
        };
        let tell = |uid: &str| told.borrow_mut().push(uid.to_owned());
        for (uid, image) in [("a", "slow"), ("b", "slow"), ("c", "fast")] {
            assert_eq!(pulls.ask(uid, image).unwrap(), pulling(image, None));
        }
        let enough = async {
            while told.borrow().is_empty() {
                yield_now().await;
            }
        };
        select! {
            () = pulls.work(pull, tell) => panic!("it ended"),
            () = enough => {}
        }
        begun.borrow_mut().sort();
        assert_eq!(*begun.borrow(), ["fast", "slow"]);
        assert_eq!(*told.borrow(), ["c"]);
    }

    struct Guard<'a>(&'a Cell<bool>);

    impl Drop for Guard<'_> {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }

    #[tokio::test]
    async fn what_nobody_wants_any_more_is_given_up() {
        let (pulls, dropped) = (Pulls::default(), Cell::new(false));
        let pull = |_| async {
            let _guard = Guard(&dropped);
            pending().await
        };
        for uid in ["a", "b"] {
            pulls.ask(uid, "image").unwrap();
        }
        let steps = async {
            yield_now().await;
            pulls.forget("a");
            yield_now().await;
            yield_now().await;
            assert!(!dropped.get(), "b wants it");
            pulls.forget("b");
            while !dropped.get() {
                yield_now().await;
            }
        };
        select! {
            () = pulls.work(pull, |_| {}) => panic!("it ended"),
            () = steps => {}
        }
        assert!(pulls.state().pulls.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn trouble_is_told_and_tried_again_and_a_refusal_is_handed_out_once() {
        let (pulls, tries, told) = (Pulls::default(), Cell::new(0), Cell::new(0));
        let pull = |_| {
            tries.set(tries.get() + 1);
            let result = match tries.get() {
                1 | 2 => Err(error(false, "connection refused")),
                _ => Err(error(true, "manifest unknown")),
            };
            async { result }
        };
        pulls.ask("a", "image").unwrap();
        let steps = async {
            while told.get() < 1 {
                yield_now().await;
            }
            assert_eq!(
                pulls.ask("a", "image").unwrap(),
                pulling("image", Some("connection refused"))
            );
            let began = tokio::time::Instant::now();
            while told.get() < 2 {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            assert!(began.elapsed().as_secs() >= 2, "it did not wait");
        };
        select! {
            () = pulls.work(pull, |_| told.set(told.get() + 1)) => panic!("it ended"),
            () = steps => {}
        }
        let refused = pulls.ask("a", "image").unwrap_err();
        assert!(
            matches!(&refused, DriverError::Refused { message, .. } if message == "manifest unknown"),
            "{refused:?}"
        );
        // Asking once more starts a new pull.
        assert_eq!(pulls.ask("a", "image").unwrap(), pulling("image", None));
    }
}
