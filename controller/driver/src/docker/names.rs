//! Names of the objects on the engine. They depend only on the Build's UID and the zone, so that a restarted operator
//! finds every object again and makes none twice. An operator of another version uses the same names.

use slipway_base::zone::Zone;

/// Network of build containers on the engine. They reach the internet from it, but not each other.
pub const NETWORK: &str = "slipway-builds";

/// The container of a zone.
pub fn container(uid: &str, zone: Zone) -> String {
    format!("slipway-{uid}-{}", zone.as_str())
}

/// The volume that the zones share.
pub fn volume(uid: &str) -> String {
    format!("slipway-{uid}")
}

/// The network that only the build zone and its proxy are on.
pub fn closed_network(uid: &str) -> String {
    format!("slipway-{uid}")
}

/// The container of a build zone's proxy.
pub fn proxy(uid: &str) -> String {
    format!("slipway-{uid}-egress")
}
