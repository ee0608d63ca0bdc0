//! The handle of a keeper: who has it may ask the keeper, and have the locks given back. It is a secret, and the only way to
//! find the keeper's socket, an abstract one (unix(7)): nothing is left of it when the keeper dies, however it does.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Uid, geteuid};
use sha2::{Digest, Sha256};

const PREFIX: &str = "vl-";
const DIGITS: usize = 32;
/// What is said in one line, either way, is no longer.
const LONGEST_LINE: u64 = 1000;

/// `vl-` and 128 random bits in hexadecimal.
#[derive(Clone, PartialEq, Eq)]
pub struct Handle(String);

/// What a keeper can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Do you still hold?
    Check,
    /// Give the locks back, and say when that is done.
    Release,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    Yes,
    /// It is no longer the holder.
    Lost,
    /// The locks could not be given back; why.
    Failed(String),
}

impl Handle {
    /// # Errors
    /// The kernel gives no random numbers.
    pub fn random() -> Result<Handle, getrandom::Error> {
        let mut bytes = [0; DIGITS / 2];
        getrandom::getrandom(&mut bytes)?;
        Ok(Handle(format!("{PREFIX}{:032x}", u128::from_be_bytes(bytes))))
    }

    /// The handle that was typed, if it is one.
    pub fn parse(text: &str) -> Option<Handle> {
        let digits = text.strip_prefix(PREFIX)?;
        let good = digits.len() == DIGITS && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        good.then(|| Handle(text.to_owned()))
    }

    /// For the one who asked for it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The keeper's end.
    ///
    /// # Errors
    /// Out of descriptors, or no UNIX sockets.
    pub(super) fn listen(&self) -> io::Result<UnixListener> {
        UnixListener::bind_addr(&self.address()?)
    }

    /// Asks the keeper, and waits for the answer for so long; `None` for as long as the keeper lives.
    ///
    /// # Errors
    /// It lives and does not answer in time.
    pub fn ask(&self, ask: Ask, patience: Option<Duration>) -> io::Result<Answer> {
        let stream = match UnixStream::connect_addr(&self.address()?) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(Answer::Lost),
            connected => connected?,
        };
        // The socket's name can be seen by all, and be taken by anybody once the keeper is dead.
        if !is_ours(&stream) {
            return Ok(Answer::Lost);
        }
        stream.set_read_timeout(patience)?;
        let said = (&stream).write_all(format!("{} {}\n", ask.word(), self.0).as_bytes()).and_then(|()| hear_line(&stream));
        match said {
            Ok(line) => Ok(Answer::read(&line)),
            // It was killed before it could say: then the locks lapse.
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => Ok(Answer::Lost),
            Err(error) => Err(error),
        }
    }

    fn address(&self) -> io::Result<SocketAddr> {
        let digest = Sha256::digest(format!("the keeper of {}", self.0));
        let name: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        SocketAddr::from_abstract_name(format!("vaultlock-{name}"))
    }
}

/// Shows nothing of it.
impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle(..)")
    }
}

impl Ask {
    fn word(self) -> &'static str {
        match self {
            Ask::Check => "check",
            Ask::Release => "release",
        }
    }

    /// What a line asks of the keeper with this handle; nothing if it is not for it.
    pub(super) fn read(line: &str, handle: &Handle) -> Option<Ask> {
        let (word, theirs) = line.split_once(' ')?;
        // Digests are compared, whose likeness tells nothing.
        if Sha256::digest(theirs) != Sha256::digest(&handle.0) {
            return None;
        }
        [Ask::Check, Ask::Release].into_iter().find(|ask| ask.word() == word)
    }
}

impl Answer {
    pub(super) fn line(&self) -> String {
        match self {
            Answer::Yes => "yes\n".to_owned(),
            Answer::Lost => "lost\n".to_owned(),
            Answer::Failed(why) => format!("failed {}\n", why.replace('\n', " ")),
        }
    }

    fn read(line: &str) -> Answer {
        match line.split_once(' ') {
            Some(("failed", why)) => Answer::Failed(why.to_owned()),
            _ if line == "yes" => Answer::Yes,
            _ => Answer::Lost,
        }
    }
}

/// Whether the other end is a process of this user, or of root.
pub(super) fn is_ours(stream: &impl AsFd) -> bool {
    let theirs = getsockopt(stream, PeerCredentials).map(|peer| Uid::from_raw(peer.uid()));
    theirs.is_ok_and(|theirs| theirs == geteuid() || theirs.is_root())
}

/// One line without its end.
pub(super) fn hear_line(stream: &UnixStream) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(io::Read::take(stream, LONGEST_LINE)).read_line(&mut line)?;
    line.strip_suffix('\n').map(str::to_owned).ok_or_else(|| io::ErrorKind::ConnectionReset.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_read_to_the_letter() {
        let handle = Handle::random().unwrap();
        assert_eq!(Handle::parse(handle.reveal()), Some(handle.clone()));
        assert_ne!(Handle::random().unwrap(), handle);
        for bad in ["", "vl-", "vl-12", &handle.reveal()[1..], &handle.reveal().to_uppercase(), &format!("{}0", handle.reveal())]
        {
            assert_eq!(Handle::parse(bad), None, "{bad}");
        }
        assert_eq!(format!("{handle:?}"), "Handle(..)");
    }

    #[test]
    fn a_keeper_answers_to_its_own_handle_alone() {
        let (mine, other) = (Handle::random().unwrap(), Handle::random().unwrap());
        assert_eq!(Ask::read(&format!("check {}", mine.reveal()), &mine), Some(Ask::Check));
        assert_eq!(Ask::read(&format!("release {}", mine.reveal()), &mine), Some(Ask::Release));
        for bad in [format!("check {}", other.reveal()), format!("end {}", mine.reveal()), "check ".into(), "check".into()] {
            assert_eq!(Ask::read(&bad, &mine), None, "{bad}");
        }
        for answer in [Answer::Yes, Answer::Lost, Answer::Failed("it is full".into())] {
            assert_eq!(Answer::read(answer.line().trim_end()), answer);
        }
    }
}
