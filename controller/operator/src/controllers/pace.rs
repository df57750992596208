//! How many of those that a process finds when it starts stand in the queue of a controller at a time.
//!
//! Each that waits takes a task, and who comes anew stands behind all of them: so the ten thousand that are there already
//! come a few at a time, and an App that is made meanwhile waits for a few and no more.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use tokio::sync::Notify;

use slipway_k8s::cache::Key;

/// Most that wait: enough to keep every place of a controller busy.
const MOST: usize = 32;

/// Those that were let into the queue and have not had their turn.
#[derive(Debug, Default)]
pub struct Pace {
    waiting: Mutex<HashSet<(String, String)>>,
    turn: Notify,
}

impl Pace {
    /// Waits until there is room, and lets this one into the queue.
    pub async fn enter(&self, (namespace, name): &Key) {
        loop {
            let turn = self.turn.notified();
            {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                if waiting.len() < MOST {
                    waiting.insert((namespace.to_string(), name.to_string()));
                    return;
                }
            }
            turn.await;
        }
    }

    /// This one has its turn, or is gone.
    pub fn leave(&self, key: &(String, String)) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.remove(key) {
            self.turn.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, Pace};
    use futures::FutureExt as _;

    #[test]
    fn who_leaves_makes_room_once() {
        let pace = Pace::default();
        let key = |number: usize| ("n".into(), number.to_string().into());
        let enters = |number| pace.enter(&key(number)).now_or_never().is_some();
        assert!((0..MOST).all(enters));
        assert!(!enters(MOST));
        let name = ("n".to_owned(), "3".to_owned());
        pace.leave(&name);
        pace.leave(&name);
        assert!(enters(MOST));
        assert!(!enters(MOST + 1));
    }
}
