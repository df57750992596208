//! The pipes of a running program → its output, until it ends, its time is over, or the disk is full.

use std::{
    io::{self, PipeReader, Read},
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use crate::builder::child::Pipe;

/// How often the free space of the disk is checked.
const LOOK: Duration = Duration::from_secs(1);

/// Why the builder stopped listening.
pub(super) enum Heard {
    End,
    Deadline,
    FullDisk,
}

/// Reads the pipes until the program ends or, without a program, until the last pipe closes. Stops earlier at the
/// deadline or when the disk is full.
pub(super) fn listen(
    pipes: &mut Vec<(Pipe, PipeReader)>,
    program: Option<&OwnedFd>,
    deadline: Instant,
    is_full: &dyn Fn() -> bool,
    hear: &mut dyn FnMut(Pipe, &[u8]),
) -> io::Result<Heard> {
    let mut buffer = vec![0; 64 * 1024];
    let mut look = Instant::now();
    loop {
        if program.is_none() && pipes.is_empty() {
            return Ok(Heard::End);
        }
        let now = Instant::now();
        if now >= deadline {
            return Ok(Heard::Deadline);
        }
        if now >= look {
            if is_full() {
                return Ok(Heard::FullDisk);
            }
            look = now + LOOK;
        }
        let timeout = Timespec::try_from(deadline.min(look) - now).map_err(io::Error::other)?;
        let ready: Vec<bool> = {
            let mut fds: Vec<PollFd<'_>> = pipes
                .iter()
                .map(|(_, pipe)| PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN))
                .chain(program.map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)))
                .collect();
            match poll(&mut fds, Some(&timeout)) {
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
                Ok(_) => fds.iter().map(|fd| !fd.revents().is_empty()).collect(),
            }
        };
        let mut ready = ready.into_iter();
        let mut open = Vec::new();
        for (from, mut pipe) in pipes.drain(..) {
            if ready.next() == Some(true) {
                let count = pipe.read(&mut buffer)?;
                if count == 0 {
                    continue;
                }
                hear(from, buffer.get(..count).unwrap_or_default());
            }
            open.push((from, pipe));
        }
        *pipes = open;
        if ready.next() == Some(true) {
            return Ok(Heard::End);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        io::pipe,
        time::{Duration, Instant},
    };

    use super::{Heard, Pipe, listen};

    #[test]
    fn the_disk_is_looked_at_also_while_nothing_is_said() {
        let (output, _writer) = pipe().unwrap();
        let looks = Cell::new(0);
        let is_full = || {
            looks.set(looks.get() + 1);
            looks.get() == 2
        };
        let deadline = Instant::now() + Duration::from_mins(1);
        let mut pipes = vec![(Pipe::Output, output)];
        let heard = listen(&mut pipes, None, deadline, &is_full, &mut |_, _| ()).unwrap();
        assert!(matches!(heard, Heard::FullDisk));
        assert!(Instant::now() < deadline);
    }
}
