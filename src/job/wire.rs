//! What sentry and worker tell each other: one pipe each way. End-of-file is a death notice.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use crate::job::kernel::{check, owned, read, write};

/// A close-on-exec pipe (reader, writer), non-blocking at both ends: neither process ever waits for the other to read.
pub(super) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: pipe2 fills the array of two.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) })?;
    Ok((owned(ends[0])?, owned(ends[1])?))
}

/// From the worker: two bytes, which a pipe never tears apart.
#[derive(Clone, Copy)]
pub(super) enum Message {
    /// The job was stopped by this signal.
    Stopped(i32),
    /// The keeper stands: let go of what is the caller's.
    Detach,
    /// The verdict is said, and nothing is left but to exit.
    Over,
}

impl Message {
    fn bytes(self) -> [u8; 2] {
        match self {
            Message::Stopped(signal) => [b'S', signal as u8],
            Message::Detach => [b'D', 0],
            Message::Over => [b'O', 0],
        }
    }

    fn from_bytes(bytes: [u8; 2]) -> Option<Message> {
        match bytes {
            [b'S', signal] => Some(Message::Stopped(signal.into())),
            [b'D', _] => Some(Message::Detach),
            [b'O', _] => Some(Message::Over),
            _ => None,
        }
    }
}

/// The worker's end, shared with the heartbeat thread.
#[derive(Clone)]
pub(super) struct ToSentry(Arc<OwnedFd>);

impl ToSentry {
    pub(super) fn new(fd: OwnedFd) -> ToSentry {
        ToSentry(Arc::new(fd))
    }

    /// A sentry that is gone gets nothing.
    pub(super) fn tell(&self, message: Message) {
        write(self.0.as_raw_fd(), &message.bytes());
    }
}

/// What there is to read at an end of a pipe.
pub(super) enum Heard<T> {
    Nothing,
    One(T),
    Death,
}

/// The worker's next message.
pub(super) fn hear_worker(fd: &OwnedFd) -> Heard<Message> {
    let mut bytes = [0; 2];
    match read(fd.as_raw_fd(), &mut bytes) {
        None => Heard::Nothing,
        Some(2) => Message::from_bytes(bytes).map_or(Heard::Death, Heard::One),
        Some(_) => Heard::Death,
    }
}

/// The next signal the sentry passes on.
pub(super) fn hear_sentry(fd: &OwnedFd) -> Heard<i32> {
    let mut byte = [0];
    match read(fd.as_raw_fd(), &mut byte) {
        None => Heard::Nothing,
        Some(1) => Heard::One(byte[0].into()),
        Some(_) => Heard::Death,
    }
}

/// Passes a signal to the worker.
pub(super) fn pass(fd: &OwnedFd, signal: i32) {
    write(fd.as_raw_fd(), &[signal as u8]);
}
