//! Room on the engine's disk, which all builds share: each zone stops before it fills it.

use std::path::Path;

use rustix::fs::{StatVfs, statvfs};

/// Of so many inodes one stays free: where there are none left, nobody makes a file, whatever room there is.
const INODES: u64 = 50;

/// Whether fewer bytes than the reserve are free where this path is, or few inodes. Where nobody can tell, there is room.
pub fn is_short(path: &Path, reserve: u64) -> bool {
    statvfs(path).is_ok_and(|disk| has_little(&disk, reserve))
}

fn has_little(disk: &StatVfs, reserve: u64) -> bool {
    disk.f_bavail.saturating_mul(disk.f_frsize) < reserve || disk.f_favail < disk.f_files / INODES
}

#[cfg(feature = "operator")]
pub use watched::{NearlyFull, within};

#[cfg(feature = "operator")]
mod watched {
    use std::{future::Future, path::Path, time::Duration};

    use tokio::{select, time::interval};

    use crate::zone::disk::{INODES, is_short};

    /// How often the disk is looked at.
    const LOOK: Duration = Duration::from_millis(500);

    /// A zone was stopped, or did not begin.
    #[derive(Debug, PartialEq, Eq, thiserror::Error)]
    #[error(
        "the build engine's disk is nearly full, and {zone} was stopped before it filled it: less than {} MB or one inode in {INODES} are left; whoever runs the engine has to make room (docker system df says what takes it, df --inodes how many files there may be)",
        .reserve / 1_000_000
    )]
    pub struct NearlyFull {
        /// The zone.
        pub zone: &'static str,
        /// Bytes that have to stay free.
        pub reserve: u64,
    }

    /// Does the work as long as there is room where `path` is. What it has begun on other threads goes on until the
    /// process ends.
    pub async fn within<T>(
        zone: &'static str,
        path: &Path,
        reserve: u64,
        work: impl Future<Output = T>,
    ) -> Result<T, NearlyFull> {
        let short = async {
            let mut looks = interval(LOOK);
            loop {
                looks.tick().await;
                if is_short(path, reserve) {
                    return;
                }
            }
        };
        select! {
            // It is looked at before anything is done.
            biased;
            () = short => Err(NearlyFull { zone, reserve }),
            done = work => Ok(done),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::within;
        use std::{
            future::{pending, ready},
            path::Path,
        };

        #[tokio::test]
        async fn work_ends_where_there_is_no_room() {
            let place = Path::new("/");
            assert_eq!(within("fetch", place, 0, ready(7)).await, Ok(7));
            let error = within("fetch", place, u64::MAX, pending::<()>()).await;
            let error = error.unwrap_err().to_string();
            assert!(
                error.contains("nearly full, and fetch was stopped"),
                "{error}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rustix::fs::statvfs;

    use super::{INODES, has_little};

    #[test]
    fn bytes_and_inodes_run_out() {
        let mut disk = statvfs(Path::new("/")).unwrap();
        (disk.f_frsize, disk.f_bavail) = (4096, 100);
        for (files, free, reserve, little) in [
            (1000, 1000, 4096 * 100, false),
            (1000, 1000, 4096 * 100 + 1, true),
            (1000, 1000 / INODES, 0, false),
            (1000, 1000 / INODES - 1, 0, true),
            // File systems that make inodes as they need them say that they have none.
            (0, 0, 0, false),
        ] {
            (disk.f_files, disk.f_favail) = (files, free);
            assert_eq!(
                has_little(&disk, reserve),
                little,
                "{files} {free} {reserve}"
            );
        }
    }
}
