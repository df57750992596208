//! Connections that have not shown a certificate of the front proxy yet. Any pod can open them, so their number is
//! bounded. A new one is always let in: if all places are taken, the oldest connection of the address that holds the
//! most places is sent away. The API server shows its certificate within milliseconds, so silent connections never keep
//! it out.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// Most connections that wait at once.
const ALL: usize = 128;

/// Connections that wait, in the order of their arrival.
#[derive(Debug, Default)]
pub struct Door(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    callers: BTreeMap<u64, (IpAddr, CancellationToken)>,
}

/// The place of a waiting connection, given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    door: Arc<Door>,
    number: u64,
    /// Cancelled when another connection needs the place.
    pub sent_away: CancellationToken,
}

impl Door {
    /// A place for a connection from `address`.
    pub fn wait(self: &Arc<Self>, address: IpAddr) -> Place {
        let mut waiting = self.waiting();
        if waiting.callers.len() >= ALL {
            waiting.send_away();
        }
        let number = waiting.next;
        waiting.next += 1;
        let sent_away = CancellationToken::new();
        waiting.callers.insert(number, (address, sent_away.clone()));
        Place {
            door: Arc::clone(self),
            number,
            sent_away,
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Sends away the oldest connection of the address that holds the most places.
    fn send_away(&mut self) {
        let mut held: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for (address, _) in self.callers.values() {
            *held.entry(*address).or_default() += 1;
        }
        let Some((greediest, _)) = held.into_iter().max_by_key(|(_, count)| *count) else {
            return;
        };
        let mut callers = self.callers.iter();
        let oldest = callers.find(|(_, (address, _))| *address == greediest);
        let Some(number) = oldest.map(|(number, _)| *number) else {
            return;
        };
        if let Some((_, sent_away)) = self.callers.remove(&number) {
            sent_away.cancel();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.door.waiting().callers.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::{ALL, Door};
    use std::{net::IpAddr, sync::Arc};

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn the_oldest_of_whoever_holds_the_most_makes_room() {
        let door = Arc::new(Door::default());
        let quiet = door.wait(address(1));
        let mut greedy: Vec<_> = (1..ALL).map(|_| door.wait(address(2))).collect();
        assert!(greedy.iter().all(|place| !place.sent_away.is_cancelled()));
        let late = door.wait(address(3));
        assert!(greedy[0].sent_away.is_cancelled());
        assert!(!greedy[1].sent_away.is_cancelled());
        assert!(!quiet.sent_away.is_cancelled() && !late.sent_away.is_cancelled());
        // A connection that ends makes room for another one, so none is sent away.
        greedy.pop();
        drop(door.wait(address(4)));
        assert!(!greedy[1].sent_away.is_cancelled());
        drop((quiet, greedy, late));
        assert!(door.waiting().callers.is_empty());
    }
}
