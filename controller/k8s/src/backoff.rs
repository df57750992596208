//! How often in a row each object has failed. `error::retry_after` turns the number into a delay.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Failures in a row, by object.
#[derive(Debug)]
pub struct Failures<K>(Mutex<HashMap<K, u32>>);

impl<K> Default for Failures<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash + Clone> Failures<K> {
    /// Counts one more failure. Returns how many came before it.
    pub fn record(&self, object: &K) -> u32 {
        let mut counts = self.lock();
        let count = counts.entry(object.clone()).or_default();
        let before = *count;
        *count = count.saturating_add(1);
        before
    }

    /// Forgets the failures of an object that succeeded or no longer exists.
    pub fn reset(&self, object: &K) {
        self.lock().remove(object);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::Failures;

    #[test]
    fn each_object_counts_for_itself_and_success_forgets() {
        let failures = Failures::default();
        assert_eq!(
            [
                failures.record(&"a"),
                failures.record(&"a"),
                failures.record(&"b")
            ],
            [0, 1, 0]
        );
        failures.reset(&"a");
        assert_eq!([failures.record(&"a"), failures.record(&"b")], [0, 1]);
    }
}
