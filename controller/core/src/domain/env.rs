//! Literals and values behind references → one config snapshot: names and values, byte for byte. Pure.
//!
//! No message, name or `Debug` output contains a value. Names that are derived from values use a keyed hash, so that a
//! user who may list Secrets cannot verify a guess of a value by the name.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Most bytes of `NAME=value` and the NUL after it: Linux passes no longer string to a process.
const ENTRY_MAX: usize = 128 * 1024;
/// Most bytes of names and values together: the size of one Secret.
pub const TOTAL_MAX: usize = 1024 * 1024;

/// Most bytes that the value of this variable can have.
pub const fn value_max(name: &str) -> usize {
    ENTRY_MAX.saturating_sub(name.len() + 2)
}

/// The operator's key for names that are derived from values.
#[derive(Clone, PartialEq, Eq)]
pub struct HashKey([u8; 32]);

impl HashKey {
    /// Bytes that a key has.
    pub const LENGTH: usize = 32;

    /// From its bytes; `None` if there are not [`Self::LENGTH`] of them.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// A hash of these parts, from which nobody without the key can learn anything about them.
    pub fn digest<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> String {
        // HMAC accepts a key of any length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else {
            return String::new();
        };
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        hex::encode(mac.finalize().into_bytes())
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Where a variable comes from, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `spec.env`, literally.
    Literal,
    /// A key of a Secret.
    Secret {
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// A key of a ConfigMap.
    ConfigMap {
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal => f.write_str("spec.env"),
            Self::Secret { name, key } => write!(f, "key {key} of Secret {name}"),
            Self::ConfigMap { name, key } => write!(f, "key {key} of ConfigMap {name}"),
        }
    }
}

/// One variable before the merge.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its value, as it was found.
    pub value: Vec<u8>,
    /// Where it was found.
    pub origin: Origin,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", self.name, self.origin)
    }
}

/// Why no snapshot can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// A value is not UTF-8.
    #[error(
        "{name}: the value of {origin} is not UTF-8 text; an environment variable can hold nothing else (encode it, for example with base64)"
    )]
    NotText {
        /// The variable.
        name: String,
        /// Where its value is.
        origin: Origin,
    },
    /// A value contains a NUL byte.
    #[error(
        "{name}: the value of {origin} has a NUL byte in it, which no environment variable can hold"
    )]
    Nul {
        /// The variable.
        name: String,
        /// Where its value is.
        origin: Origin,
    },
    /// A value is too long.
    #[error(
        "{name}: the value of {origin} has {bytes} bytes; a variable of this name can have at most {} (put it into a file)",
        value_max(.name)
    )]
    TooLong {
        /// The variable.
        name: String,
        /// Where its value is.
        origin: Origin,
        /// How long it is.
        bytes: usize,
    },
    /// All variables together are too long.
    #[error(
        "all environment variables together have {bytes} bytes; there is room for {TOTAL_MAX} (the longest is {longest})"
    )]
    TooMuch {
        /// How many bytes they have.
        bytes: usize,
        /// Name of the variable with the longest value.
        longest: String,
    },
}

/// Whether a shell can have a variable of this name.
pub fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// A config snapshot.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Config {
    values: BTreeMap<String, String>,
    /// Names of the variables that do not come from a Secret.
    open: BTreeSet<String>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

impl Config {
    /// Merges entries. A later entry wins over an earlier one of the same name.
    pub fn merge(entries: impl IntoIterator<Item = Entry>) -> Result<Self, EnvError> {
        let winners: BTreeMap<String, Entry> = entries
            .into_iter()
            .map(|entry| (entry.name.clone(), entry))
            .collect();
        let mut merged = BTreeMap::new();
        let mut open = BTreeSet::new();
        for (name, Entry { value, origin, .. }) in winners {
            let bytes = value.len();
            if bytes > value_max(&name) {
                return Err(EnvError::TooLong {
                    name,
                    origin,
                    bytes,
                });
            }
            let Ok(value) = String::from_utf8(value) else {
                return Err(EnvError::NotText { name, origin });
            };
            if value.contains('\0') {
                return Err(EnvError::Nul { name, origin });
            }
            if !matches!(origin, Origin::Secret { .. }) {
                open.insert(name.clone());
            }
            merged.insert(name, value);
        }
        let bytes: usize = merged.iter().map(|(k, v)| k.len() + v.len()).sum();
        if bytes > TOTAL_MAX {
            let longest = merged
                .iter()
                .max_by_key(|(_, value)| value.len())
                .map(|(name, _)| name.clone())
                .unwrap_or_default();
            return Err(EnvError::TooMuch { bytes, longest });
        }
        Ok(Self {
            values: merged,
            open,
        })
    }

    /// A snapshot that was stored earlier, from the data of its Secret. Values that are not UTF-8 are left out: the
    /// operator did not write them.
    pub fn stored(data: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let text = |(name, value)| Some((name, String::from_utf8(value).ok()?));
        Self {
            values: data.into_iter().filter_map(text).collect(),
            open: BTreeSet::new(),
        }
    }

    /// Names and values, for the one Secret that holds them.
    pub fn values(&self) -> &BTreeMap<String, String> {
        &self.values
    }

    /// Names of variables whose values do not come from a Secret. The digest does not depend on them.
    pub fn open(&self) -> &BTreeSet<String> {
        &self.open
    }

    /// A hash from which nobody without the key can learn anything about the values. `of` makes the hashes of equal
    /// snapshots of different Apps differ.
    pub fn digest(&self, key: &HashKey, of: &str) -> String {
        let pairs = self.values.iter().flat_map(|(name, value)| [name, value]);
        let pairs = pairs.map(String::as_bytes);
        key.digest(std::iter::once(of.as_bytes()).chain(pairs))
    }

    /// Names of variables whose value differs in `other`, or that only one of the two snapshots has.
    pub fn changed_names<'a>(&'a self, other: &'a Self) -> Vec<&'a str> {
        let mut names: Vec<&str> = self
            .values
            .iter()
            .filter(|(name, value)| other.values.get(*name) != Some(value))
            .map(|(name, _)| name.as_str())
            .chain(
                other
                    .values
                    .keys()
                    .filter(|name| !self.values.contains_key(*name))
                    .map(String::as_str),
            )
            .collect();
        names.sort_unstable();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, Entry, EnvError, HashKey, Origin, TOTAL_MAX, is_name, value_max};
    use proptest::prelude::*;

    fn entry(name: &str, value: impl Into<Vec<u8>>) -> Entry {
        Entry {
            name: name.into(),
            value: value.into(),
            origin: Origin::Secret {
                name: "db".into(),
                key: "password".into(),
            },
        }
    }

    fn key(byte: u8) -> HashKey {
        HashKey::from_bytes(&[byte; 32]).unwrap()
    }

    #[test]
    fn a_later_entry_wins() {
        let config = Config::merge([entry("A", "1"), entry("B", "2"), entry("A", "3")]).unwrap();
        assert_eq!(config.values()["A"], "3");
        assert_eq!(config.values()["B"], "2");
    }

    #[test]
    fn what_comes_from_no_secret_is_open_and_no_part_of_the_digest() {
        let literal = Entry {
            origin: Origin::Literal,
            ..entry("A", "1")
        };
        let open = Config::merge([entry("A", "0"), literal, entry("B", "2")]).unwrap();
        assert_eq!(open.open().iter().collect::<Vec<_>>(), ["A"]);
        let closed = Config::merge([entry("A", "1"), entry("B", "2")]).unwrap();
        assert!(closed.open().is_empty());
        assert_eq!(open.digest(&key(1), "u"), closed.digest(&key(1), "u"));
    }

    #[test]
    fn what_no_variable_can_hold_is_refused_without_the_value() {
        for (value, wanted) in [
            (b"hunter2\0".to_vec(), "NUL byte"),
            (b"hunter2\xff".to_vec(), "not UTF-8"),
            (
                [b"hunter2".as_slice(), &vec![b'x'; 131_072]].concat(),
                "131079 bytes; a variable of this name can have at most 131069",
            ),
        ] {
            let message = Config::merge([entry("A", value)]).unwrap_err().to_string();
            assert!(message.contains(wanted), "{message}");
            assert!(message.contains("key password of Secret db"), "{message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn the_longest_value_is_what_linux_takes() {
        let of = |bytes| Config::merge([entry("LONG", vec![b'x'; bytes])]);
        // LONG=xxx and a NUL are 128 KiB.
        assert!(of(131_066).is_ok());
        assert!(matches!(of(131_067), Err(EnvError::TooLong { .. })));
    }

    #[test]
    fn all_values_together_fit_a_secret() {
        let entries = (0..9).map(|i| {
            entry(
                &format!("V{i}"),
                vec![b'x'; value_max("V0") - usize::from(i == 3)],
            )
        });
        let error = Config::merge(entries).unwrap_err();
        assert!(matches!(error, EnvError::TooMuch { bytes, .. } if bytes > TOTAL_MAX));
    }

    #[test]
    fn debug_shows_names_only() {
        let config = Config::merge([entry("A", "hunter2")]).unwrap();
        assert_eq!(format!("{config:?}"), r#"{"A"}"#);
        assert!(!format!("{:?} {:?}", entry("A", "hunter2"), key(7)).contains("hunter2"));
    }

    #[test]
    fn the_digest_depends_on_key_app_names_and_values() {
        let of = |entries: &[(&str, &str)], k: u8, app: &str| {
            Config::merge(entries.iter().map(|(n, v)| entry(n, *v)))
                .unwrap()
                .digest(&key(k), app)
        };
        let base = of(&[("A", "1"), ("B", "2")], 1, "u");
        assert_eq!(base, of(&[("B", "2"), ("A", "1")], 1, "u"));
        for other in [
            of(&[("A", "1"), ("B", "2")], 2, "u"),
            of(&[("A", "1"), ("B", "2")], 1, "v"),
            of(&[("A", "1")], 1, "u"),
            of(&[("A", "1B"), ("2", "")], 1, "u"),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn changed_names_are_those_added_removed_and_changed() {
        let old = Config::merge([entry("A", "1"), entry("B", "2"), entry("C", "3")]).unwrap();
        let new = Config::merge([entry("B", "2"), entry("C", "4"), entry("D", "5")]).unwrap();
        assert_eq!(new.changed_names(&old), ["A", "C", "D"]);
    }

    #[test]
    fn names_are_what_a_shell_takes() {
        for (name, good) in [
            ("A", true),
            ("_a1", true),
            ("1A", false),
            ("a.b", false),
            ("a-b", false),
            ("", false),
        ] {
            assert_eq!(is_name(name), good, "{name}");
        }
    }

    proptest! {
        #[test]
        fn values_are_kept_to_the_byte(value in "[^\0]{0,64}") {
            let config = Config::merge([entry("A", value.clone())]).unwrap();
            prop_assert_eq!(&config.values()["A"], &value);
        }
    }
}
