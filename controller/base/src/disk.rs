//! Free space on the engine's disk, which all builds share. A zone fails before it fills the disk.

use std::path::Path;

use rustix::fs::{StatVfs, statvfs};

/// One inode in this many stays free: without free inodes no file can be made, however many bytes are free.
pub const INODES: u64 = 50;

/// Whether the disk of `path` has fewer free bytes than `reserve`, or too few free inodes. False if `statvfs` fails.
pub fn is_short(path: &Path, reserve: u64) -> bool {
    statvfs(path).is_ok_and(|disk| has_little(&disk, reserve))
}

fn has_little(disk: &StatVfs, reserve: u64) -> bool {
    disk.f_bavail.saturating_mul(disk.f_frsize) < reserve || disk.f_favail < disk.f_files / INODES
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
            // A filesystem that makes inodes on demand reports 0 of them.
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
