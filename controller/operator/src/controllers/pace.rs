//! How many of the objects that exist at the start of the process are in a controller's queue at a time.
//!
//! Each object that waits takes a task, and a new object is queued behind all of them. So existing objects, of which
//! there may be ten thousand, enter the queue a few at a time, and a new App waits for those few only.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use tokio::sync::Notify;

use slipway_k8s::cache::Key;

/// Most objects that wait: enough to keep all slots of a controller busy.
const MOST: usize = 32;

/// Objects that were let into the queue and have not been reconciled yet.
#[derive(Debug, Default)]
pub struct Pace {
    waiting: Mutex<HashSet<(String, String)>>,
    turn: Notify,
}

impl Pace {
    /// Waits until there is room, and lets this object into the queue.
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

    /// This object is being reconciled, or is gone.
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
