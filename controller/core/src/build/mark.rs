//! The key of the installation, a Build and a zone → the mark of the zone's report. Pure.

use slipway_base::zone::{Zone, frame::Mark};

use crate::domain::env::HashKey;

/// Keeps these hashes apart from all others that are made with the key.
const USE: &str = "mark of a zone's report";

/// The mark of the zone of the Build with this UID. It is derived from the key alone, so that a restarted operator
/// computes the same mark, and nobody without the key can guess it.
pub fn mark(key: &HashKey, uid: &str, zone: Zone) -> Mark {
    let parts = [USE, uid, zone.as_str()].map(str::as_bytes);
    Mark::new(key.digest(parts))
}

#[cfg(test)]
mod tests {
    use super::mark;
    use crate::domain::env::HashKey;
    use slipway_base::zone::Zone;

    #[test]
    fn each_zone_of_each_build_has_a_mark_of_its_own_that_stays() {
        let key = |byte| HashKey::from_bytes(&[byte; 32]).unwrap();
        let marks = [
            mark(&key(1), "u", Zone::Fetch),
            mark(&key(1), "u", Zone::Build),
            mark(&key(1), "v", Zone::Fetch),
            mark(&key(2), "u", Zone::Fetch),
        ];
        for (at, one) in marks.iter().enumerate() {
            assert!(marks.iter().skip(at + 1).all(|other| one != other));
        }
        assert_eq!(mark(&key(1), "u", Zone::Fetch), marks[0]);
    }
}
