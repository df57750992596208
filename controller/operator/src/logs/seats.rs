//! Limits how many logs are read at once: in all, by one user, and of one namespace, so that nobody takes all seats.
//! The limit for a user is not enough, because somebody who may make ServiceAccounts can be many users; namespaces are
//! harder to get.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Most logs that one replica serves at once.
const ALL: usize = 128;
/// Most requests of one user at once, including requests that are then forbidden.
const EACH: usize = 8;
/// Most logs of one namespace's Builds that one replica serves at once.
const OF_NAMESPACE: usize = 32;
/// How many of all seats are reserved for namespaces that hold fewer than [`FEW`], so that busy namespaces cannot take
/// them all.
const KEPT: usize = 32;
/// A namespace that holds so many seats gets no reserved one.
const FEW: usize = 4;

/// Counts the readers of logs.
#[derive(Debug, Default)]
pub struct Seats(Mutex<Readers>);

/// Requests by user, and seats by the Build's namespace.
#[derive(Debug, Default)]
struct Readers {
    users: BTreeMap<String, usize>,
    namespaces: BTreeMap<String, usize>,
}

/// A user's request; it counts until it is dropped. It takes a seat only once it is known that the user may read the
/// log.
#[derive(Debug)]
pub struct Reader {
    seats: Arc<Seats>,
    user: String,
    namespace: Option<String>,
}

/// Why there is no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The user has as many as one user may.
    #[error(
        "you are reading {EACH} logs already, the most for one user: end one of them, then try again"
    )]
    Own,
    /// The namespace has as many as one namespace may.
    #[error(
        "{OF_NAMESPACE} logs of this namespace are being read already, the most of one at a time: end one of them, or try again later"
    )]
    Namespace,
    /// The replica has no seat for this namespace.
    #[error(
        "{0} logs are being read, about as many as this replica of the operator serves at once: try again later"
    )]
    All(usize),
}

impl Seats {
    /// Counts a request of `user`.
    pub fn ask(self: &Arc<Self>, user: &str) -> Result<Reader, Full> {
        let mut readers = self.readers();
        if held(&readers.users, user) >= EACH {
            return Err(Full::Own);
        }
        *readers.users.entry(user.to_owned()).or_default() += 1;
        Ok(Reader {
            seats: Arc::clone(self),
            user: user.to_owned(),
            namespace: None,
        })
    }

    fn readers(&self) -> MutexGuard<'_, Readers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    /// Takes a seat for a log of `namespace` that the user may read.
    pub fn sit(mut self, namespace: &str) -> Result<Self, Full> {
        let mut readers = self.seats.readers();
        let own = held(&readers.namespaces, namespace);
        let all = readers.namespaces.values().sum::<usize>();
        if own >= OF_NAMESPACE {
            return Err(Full::Namespace);
        }
        if all >= ALL || (own >= FEW && all >= ALL - KEPT) {
            return Err(Full::All(all));
        }
        *readers.namespaces.entry(namespace.to_owned()).or_default() += 1;
        drop(readers);
        self.namespace = Some(namespace.to_owned());
        Ok(self)
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

impl Drop for Reader {
    fn drop(&mut self) {
        let mut readers = self.seats.readers();
        give_back(&mut readers.users, &self.user);
        if let Some(namespace) = &self.namespace {
            give_back(&mut readers.namespaces, namespace);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ALL, EACH, FEW, Full, KEPT, OF_NAMESPACE, Reader, Seats};
    use std::sync::Arc;

    fn take(seats: &Arc<Seats>, user: &str, namespace: &str) -> Result<Reader, Full> {
        seats.ask(user)?.sit(namespace)
    }

    #[test]
    fn nobody_takes_all_seats_and_those_who_go_make_room() {
        let seats = Arc::new(Seats::default());
        let mut own: Vec<_> = (0..EACH)
            .map(|n| take(&seats, "user", &format!("ns-{n}")).unwrap())
            .collect();
        assert_eq!(take(&seats, "user", "ns").unwrap_err(), Full::Own);
        let mut others = Vec::new();
        while let Ok(seat) = take(
            &seats,
            &format!("user-{}", others.len()),
            &format!("other-{}", others.len()),
        ) {
            others.push(seat);
        }
        assert_eq!(own.len() + others.len(), ALL);
        assert_eq!(take(&seats, "late", "late").unwrap_err(), Full::All(ALL));
        own.pop();
        take(&seats, "late", "late").unwrap();
        drop((own, others));
        let readers = seats.readers();
        assert!(readers.users.is_empty() && readers.namespaces.is_empty());
    }

    #[test]
    fn many_users_of_some_namespaces_leave_seats_for_others() {
        let seats = Arc::new(Seats::default());
        let mut held = Vec::new();
        for namespace in 0..ALL {
            while let Ok(seat) = take(
                &seats,
                &format!("robot-{}", held.len()),
                &format!("greedy-{namespace}"),
            ) {
                held.push(seat);
            }
            if namespace == 0 {
                assert_eq!(held.len(), OF_NAMESPACE);
                let full = take(&seats, "robot", "greedy-0").unwrap_err();
                assert_eq!(full, Full::Namespace);
            }
            if namespace == 2 {
                break;
            }
        }
        assert_eq!(held.len(), ALL - KEPT);
        let mut modest: Vec<_> = (0..FEW)
            .map(|n| take(&seats, &format!("modest-{n}"), "modest").unwrap())
            .collect();
        let full = take(&seats, "modest", "modest").unwrap_err();
        assert_eq!(full, Full::All(ALL - KEPT + FEW));
        modest.pop();
        take(&seats, "modest", "modest").unwrap();
    }

    #[test]
    fn who_may_not_read_takes_no_seat_of_those_who_may() {
        let seats = Arc::new(Seats::default());
        let asking: Vec<_> = (0..ALL)
            .map(|n| seats.ask(&format!("stranger-{n}")).unwrap())
            .collect();
        take(&seats, "user", "namespace").unwrap();
        drop(asking);
    }
}
