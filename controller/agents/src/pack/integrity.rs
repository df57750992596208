//! Compares a file with a checksum as npm registries write it (`sha512-…` in base64).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Sha256, Sha384, Sha512};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Integrity {
    algorithm: Algorithm,
    digest: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Algorithm {
    Sha256,
    Sha384,
    Sha512,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "{0:?} holds no checksum that can be trusted (sha512, sha384 or sha256, then - and base64)"
    )]
    Unknown(String),
    #[error("cannot read {}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not what its checksum promises: wanted {wanted}, got {got}", .path.display())]
    Mismatch {
        path: PathBuf,
        wanted: String,
        got: String,
    },
}

impl std::str::FromStr for Integrity {
    type Err = Error;

    /// Parses the strongest of several checksums. Those weaker than SHA-256 are ignored.
    fn from_str(text: &str) -> Result<Self, Error> {
        text.split_ascii_whitespace()
            .filter_map(|item| {
                let (name, rest) = item.split_once('-')?;
                let (algorithm, length) = match name {
                    "sha256" => (Algorithm::Sha256, 32),
                    "sha384" => (Algorithm::Sha384, 48),
                    "sha512" => (Algorithm::Sha512, 64),
                    _ => return None,
                };
                let digest = STANDARD.decode(rest.split('?').next()?).ok()?;
                (digest.len() == length).then_some(Self { algorithm, digest })
            })
            .max_by_key(|found| found.algorithm)
            .ok_or_else(|| Error::Unknown(text.to_owned()))
    }
}

impl std::fmt::Display for Integrity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self.algorithm {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha384 => "sha384",
            Algorithm::Sha512 => "sha512",
        };
        write!(formatter, "{name}-{}", STANDARD.encode(&self.digest))
    }
}

impl Integrity {
    pub fn verify(&self, path: &Path) -> Result<(), Error> {
        let read = |source| Error::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(read)?;
        let digest = match self.algorithm {
            Algorithm::Sha256 => digest::<Sha256>(file),
            Algorithm::Sha384 => digest::<Sha384>(file),
            Algorithm::Sha512 => digest::<Sha512>(file),
        }
        .map_err(read)?;
        let got = Self {
            algorithm: self.algorithm,
            digest,
        };
        if got == *self {
            return Ok(());
        }
        Err(Error::Mismatch {
            path: path.to_owned(),
            wanted: self.to_string(),
            got: got.to_string(),
        })
    }
}

fn digest<D: sha2::Digest>(mut file: File) -> io::Result<Vec<u8>> {
    let mut hash = D::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(hash.finalize().to_vec());
        }
        hash.update(buffer.get(..count).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // echo -n hello | openssl dgst -sha512 -binary | base64
    const HELLO: &str = "sha512-m3HSJL1i83hdltRq0+o9czGb+8KJDKra4t/3JRlnPKcjI8PZm6XBHXx6zG4UuMXaDEZjR1wuXDre9G9zvN7AQw==";
    const HELLO256: &str = "sha256-LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=";

    #[test]
    fn a_file_is_held_against_the_strongest_checksum() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "hello").unwrap();
        let verify = |text: &str| {
            text.parse::<Integrity>()
                .and_then(|integrity| integrity.verify(&path))
        };
        verify(HELLO).unwrap();
        verify(HELLO256).unwrap();
        verify(&format!("sha1-qvTGHdzF6KLavt4PO0gs2a6pQ00= {HELLO}?option")).unwrap();
        let wrong = HELLO256.replace("LPJ", "LPK");
        verify(&format!("{wrong} {HELLO}")).unwrap();
        let error = verify(&wrong).unwrap_err().to_string();
        assert!(
            error.contains(&format!("wanted {wrong}, got {HELLO256}")),
            "{error}"
        );
        for weak in [
            "",
            "sha1-qvTGHdzF6KLavt4PO0gs2a6pQ00=",
            "sha512-aGVsbG8=",
            "sha512-%%%",
            "md5-XUFAKrxLKna5cZ2REBfFkg==",
        ] {
            assert!(
                matches!(weak.parse::<Integrity>(), Err(Error::Unknown(_))),
                "{weak}"
            );
        }
    }
}
