//! How many logs are read at once: in all, by one user and of one namespace, so that nobody takes them all. Users are
//! easily had where somebody may make ServiceAccounts; namespaces are not.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Most logs that one replica serves at once.
const ALL: usize = 128;
/// Most of them for one user.
const EACH: usize = 8;
/// Most of them of Builds of one namespace.
const OF_NAMESPACE: usize = 32;

/// Readers of logs.
#[derive(Debug, Default)]
pub struct Seats(Mutex<Readers>);

/// By user, and by namespace of what they read.
#[derive(Debug, Default)]
struct Readers {
    users: BTreeMap<String, usize>,
    namespaces: BTreeMap<String, usize>,
}

/// Held while a log is read.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    user: String,
    namespace: String,
}

/// Why there is no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The user has enough.
    #[error(
        "you are reading {EACH} logs already, the most for one user: end one of them, then try again"
    )]
    Own,
    /// The namespace has enough.
    #[error(
        "{OF_NAMESPACE} logs of this namespace are being read already, the most of one at a time: end one of them, or try again later"
    )]
    Namespace,
    /// All together have enough.
    #[error(
        "{ALL} logs are being read, the most that this replica of the operator serves at once: try again later"
    )]
    All,
}

impl Seats {
    /// One for `user`, who reads a log of `namespace`, until it is dropped.
    pub fn take(self: &Arc<Self>, user: &str, namespace: &str) -> Result<Seat, Full> {
        let mut readers = self.readers();
        if held(&readers.users, user) >= EACH {
            return Err(Full::Own);
        }
        if held(&readers.namespaces, namespace) >= OF_NAMESPACE {
            return Err(Full::Namespace);
        }
        if readers.users.values().sum::<usize>() >= ALL {
            return Err(Full::All);
        }
        *readers.users.entry(user.to_owned()).or_default() += 1;
        *readers.namespaces.entry(namespace.to_owned()).or_default() += 1;
        Ok(Seat {
            seats: Arc::clone(self),
            user: user.to_owned(),
            namespace: namespace.to_owned(),
        })
    }

    fn readers(&self) -> MutexGuard<'_, Readers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn held(by: &BTreeMap<String, usize>, name: &str) -> usize {
    by.get(name).copied().unwrap_or_default()
}

fn give_back(by: &mut BTreeMap<String, usize>, name: &str) {
    if let Some(count) = by.get_mut(name) {
        *count -= 1;
        if *count == 0 {
            by.remove(name);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut readers = self.seats.readers();
        give_back(&mut readers.users, &self.user);
        give_back(&mut readers.namespaces, &self.namespace);
    }
}

#[cfg(test)]
mod tests {
    use super::{ALL, EACH, Full, OF_NAMESPACE, Seats};
    use std::sync::Arc;

    #[test]
    fn nobody_takes_all_seats_and_those_who_go_make_room() {
        let seats = Arc::new(Seats::default());
        let take = |user: usize, namespace: usize| {
            seats.take(&format!("user-{user}"), &format!("ns-{namespace}"))
        };
        let mut own: Vec<_> = (0..EACH).map(|_| take(0, 0).unwrap()).collect();
        assert_eq!(take(0, 1).unwrap_err(), Full::Own);
        let mut others = Vec::new();
        while let Ok(seat) = take(1 + others.len() / EACH, 1 + others.len() / OF_NAMESPACE) {
            others.push(seat);
        }
        assert_eq!(own.len() + others.len(), ALL);
        assert_eq!(take(1000, 1000).unwrap_err(), Full::All);
        own.pop();
        take(1000, 1000).unwrap();
        drop((own, others));
        let readers = seats.readers();
        assert!(readers.users.is_empty() && readers.namespaces.is_empty());
    }

    #[test]
    fn many_users_of_one_namespace_leave_seats_for_others() {
        let seats = Arc::new(Seats::default());
        let mut held = Vec::new();
        while let Ok(seat) = seats.take(&format!("robot-{}", held.len()), "greedy") {
            held.push(seat);
        }
        assert_eq!(held.len(), OF_NAMESPACE);
        assert_eq!(seats.take("robot", "greedy").unwrap_err(), Full::Namespace);
        seats.take("robot", "modest").unwrap();
    }
}
