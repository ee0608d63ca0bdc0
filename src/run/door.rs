//! A keeper's door: hears on a thread of its own what those with the handle ask, for whoever stands in the loop.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use super::handle::{Answer, Ask, Handle, hear_line, is_ours};
use crate::bell::Bell;

/// Who has come has its question ready, and takes its answer at once.
const PATIENCE: Duration = Duration::from_secs(1);
const STACK: usize = 128 * 1024;

pub struct Door(Receiver<Visitor>);

/// Somebody with the handle, waiting for an answer.
pub struct Visitor {
    pub ask: Ask,
    stream: UnixStream,
}

impl Door {
    /// Rings `bell` for each visitor.
    ///
    /// # Errors
    /// Out of descriptors or threads.
    pub fn open(handle: &Handle, bell: Bell) -> io::Result<Door> {
        let (listener, handle) = (handle.listen()?, handle.clone());
        let (sender, visitors) = channel();
        let stand = move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else {
                    // Out of descriptors: others may give some back.
                    thread::sleep(PATIENCE);
                    continue;
                };
                if let Some(ask) = question(&stream, &handle)
                    && sender.send(Visitor { ask, stream }).is_ok()
                {
                    bell.ring();
                }
            }
        };
        thread::Builder::new().name("door".into()).stack_size(STACK).spawn(stand)?;
        Ok(Door(visitors))
    }

    pub fn next(&self) -> Option<Visitor> {
        self.0.try_recv().ok()
    }
}

impl Visitor {
    /// One that has left does not hear it.
    pub fn tell(mut self, answer: &Answer) {
        let _ = self.stream.write_all(answer.line().as_bytes());
    }
}

fn question(stream: &UnixStream, handle: &Handle) -> Option<Ask> {
    if !is_ours(stream) {
        return None;
    }
    stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.set_write_timeout(Some(PATIENCE))).ok()?;
    Ask::read(&hear_line(stream).ok()?, handle)
}
