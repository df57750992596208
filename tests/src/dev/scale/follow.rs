//! Reads the API server's audit log as it grows, also after the API server begins a new file.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Seek as _, SeekFrom},
    os::unix::fs::MetadataExt as _,
};

use anyhow::{Context as _, Result};

/// The position in the log.
pub(super) struct Follower {
    path: String,
    file: BufReader<File>,
    /// The beginning of a line whose end is not written yet.
    begun: Vec<u8>,
}

impl Follower {
    /// Begins at the end of the log.
    pub(super) fn new(path: &str) -> Result<Self> {
        let mut file = open(path)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            begun: Vec::new(),
        })
    }

    /// Passes on each line that was written since the last call.
    pub(super) fn read(&mut self, mut each: impl FnMut(&str)) -> Result<()> {
        self.rest(&mut each)?;
        let now = fs::metadata(&self.path).with_context(|| self.path.clone())?;
        if now.ino() == self.file.get_ref().metadata()?.ino() {
            return Ok(());
        }
        // The old file is complete, because nobody writes to it any more.
        self.rest(&mut each)?;
        self.begun.clear();
        self.file = open(&self.path)?;
        self.rest(&mut each)
    }

    fn rest(&mut self, each: &mut impl FnMut(&str)) -> Result<()> {
        while self.file.read_until(b'\n', &mut self.begun)? > 0 {
            if self.begun.last() == Some(&b'\n') {
                each(&String::from_utf8_lossy(&self.begun));
                self.begun.clear();
            }
        }
        Ok(())
    }
}

fn open(path: &str) -> Result<BufReader<File>> {
    let file = File::open(path).with_context(|| format!("the audit log {path}"))?;
    Ok(BufReader::new(file))
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use super::Follower;

    #[test]
    fn no_line_is_lost_or_cut_when_a_new_file_is_begun() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("audit.log");
        let path = path.to_str().expect("text");
        fs::write(path, "old\n").expect("written");
        let mut follower = Follower::new(path).expect("followed");
        let mut lines = Vec::new();
        let mut read = |follower: &mut Follower| {
            let mut found = Vec::new();
            follower
                .read(|line| found.push(line.trim().to_owned()))
                .expect("read");
            lines.extend(found);
        };
        let append = |text: &str| {
            let mut file = fs::File::options().append(true).open(path).expect("opened");
            file.write_all(text.as_bytes()).expect("written");
        };
        append("one\ntw");
        read(&mut follower);
        append("o\nthree\n");
        fs::rename(path, folder.path().join("audit-1.log")).expect("renamed");
        fs::write(path, "four\n").expect("written");
        read(&mut follower);
        append("five\n");
        read(&mut follower);
        assert_eq!(lines, ["one", "two", "three", "four", "five"]);
    }
}
