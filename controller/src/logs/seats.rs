//! How many logs are read at once: in all and by one user, so that nobody takes them all.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Most logs that one replica serves at once.
const ALL: usize = 128;
/// Most of them for one user.
const EACH: usize = 8;

/// Readers by user.
#[derive(Debug, Default)]
pub struct Seats(Mutex<BTreeMap<String, usize>>);

/// Held while a log is read.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    user: String,
}

/// Why there is no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The user has enough.
    #[error(
        "you are reading {EACH} logs already, the most for one user: end one of them, then try again"
    )]
    Own,
    /// All together have enough.
    #[error(
        "{ALL} logs are being read, the most that this replica of the operator serves at once: try again later"
    )]
    All,
}

impl Seats {
    /// One for `user`, until it is dropped.
    pub fn take(self: &Arc<Self>, user: &str) -> Result<Seat, Full> {
        let mut readers = self.readers();
        if readers.get(user).is_some_and(|count| *count >= EACH) {
            return Err(Full::Own);
        }
        if readers.values().sum::<usize>() >= ALL {
            return Err(Full::All);
        }
        *readers.entry(user.to_owned()).or_default() += 1;
        Ok(Seat {
            seats: Arc::clone(self),
            user: user.to_owned(),
        })
    }

    fn readers(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut readers = self.seats.readers();
        if let Some(count) = readers.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                readers.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ALL, EACH, Full, Seats};
    use std::sync::Arc;

    #[test]
    fn nobody_takes_all_seats_and_those_who_go_make_room() {
        let seats = Arc::new(Seats::default());
        let mut own: Vec<_> = (0..EACH).map(|_| seats.take("jane").unwrap()).collect();
        assert_eq!(seats.take("jane").unwrap_err(), Full::Own);
        let mut others = Vec::new();
        while let Ok(seat) = seats.take(&format!("user-{}", others.len() / EACH)) {
            others.push(seat);
        }
        assert_eq!(own.len() + others.len(), ALL);
        assert_eq!(seats.take("late").unwrap_err(), Full::All);
        own.pop();
        seats.take("late").unwrap();
        drop((own, others));
        assert!(seats.readers().is_empty());
    }
}
