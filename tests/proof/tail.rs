//! The checker at the end of a log that is still being written.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::checker::{Checker, Rules, Verdict};
use crate::log::read_all;

pub struct Tail {
    file: File,
    /// The beginning of a line whose end is not there yet.
    rest: Vec<u8>,
    pub checker: Checker,
}

impl Tail {
    pub fn of(log: &Path, rules: Rules) -> io::Result<Tail> {
        Ok(Tail { file: File::open(log)?, rest: Vec::new(), checker: Checker::new(rules) })
    }

    /// Sees what has been written since.
    pub fn catch_up(&mut self) -> io::Result<()> {
        self.file.read_to_end(&mut self.rest)?;
        let text = std::str::from_utf8(&self.rest).map_err(io::Error::other)?;
        let (events, read) = read_all(text).map_err(io::Error::other)?;
        events.iter().for_each(|event| self.checker.see(event));
        self.rest.drain(..read);
        Ok(())
    }

    pub fn finish(mut self) -> io::Result<Verdict> {
        self.catch_up()?;
        Ok(self.checker.finish())
    }
}
