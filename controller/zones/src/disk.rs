//! Stops work before it fills the disk, which all builds share.

use std::{future::Future, path::Path, time::Duration};

use tokio::{select, time::interval};

use slipway_base::disk::{INODES, is_short};

/// How often the free space of the disk is checked.
const LOOK: Duration = Duration::from_millis(500);

/// A zone was stopped, or did not start, for want of disk space.
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

/// Does the work as long as the disk of `path` has enough free space. Work that was started on other threads goes on
/// until the process ends.
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
        // The free space is checked before the work starts.
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
