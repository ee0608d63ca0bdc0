//! A line between a client and a server that can be made to fail while it is in use.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::Duration;

/// What happens to the bytes that go one way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    Pass,
    /// Held back for so long, each piece by itself.
    Delay(Duration),
    /// One byte at a time, each held back for so long.
    Drip(Duration),
    /// Lost; both ends believe the line is well.
    Swallow,
    /// Kept, and delivered all together when the way passes again.
    Hold,
    /// So many more bytes pass, then the whole line is cut.
    CutAfter(usize),
}

#[derive(Debug)]
struct State {
    /// The server's port.
    server: u16,
    to_server: Way,
    to_client: Way,
    /// Subscribers hear nothing.
    deaf: bool,
    lines: Vec<Weak<Line>>,
    /// Lines ever taken, pieces that went to the server, and pieces that subscribers did not get.
    opened: usize,
    requests: usize,
    unheard: usize,
}

/// Both ends of one line; closed when nothing passes either way any more.
#[derive(Debug)]
struct Line {
    client: TcpStream,
    server: TcpStream,
    subscribed: AtomicBool,
}

/// A proxy in front of one port of this host.
pub struct Proxy {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    /// Passes everything on to this port.
    pub fn before(server: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (to_server, to_client, lines) = (Way::Pass, Way::Pass, Vec::new());
        let fresh = State { server, to_server, to_client, deaf: false, lines, opened: 0, requests: 0, unheard: 0 };
        let state = Arc::new(Mutex::new(fresh));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let port = shared.lock().unwrap().server;
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                for end in [&client, &server] {
                    end.set_nodelay(true).unwrap();
                }
                let line = Arc::new(Line { client, server, subscribed: AtomicBool::new(false) });
                let mut state = shared.lock().unwrap();
                state.opened += 1;
                state.lines.retain(|line| line.strong_count() > 0);
                state.lines.push(Arc::downgrade(&line));
                for up in [true, false] {
                    let (line, shared) = (Arc::clone(&line), Arc::clone(&shared));
                    thread::spawn(move || pump(&line, &shared, up));
                }
            }
        });
        Proxy { port, state }
    }

    /// The store URL through the proxy.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub fn to_server(&self, way: Way) {
        self.state.lock().unwrap().to_server = way;
    }

    pub fn to_client(&self, way: Way) {
        self.state.lock().unwrap().to_client = way;
    }

    /// Takes away what subscribers hear, the answer to their subscription too; requests and their answers pass.
    pub fn deafen(&self) {
        self.state.lock().unwrap().deaf = true;
    }

    /// How many pieces subscribers did not get.
    pub fn unheard(&self) -> usize {
        self.state.lock().unwrap().unheard
    }

    /// Lines opened from now on lead to another port, as after a fail-over.
    pub fn redirect(&self, server: u16) {
        self.state.lock().unwrap().server = server;
    }

    /// Cuts all lines; new ones can be made.
    pub fn cut(&self) {
        for line in self.state.lock().unwrap().lines.drain(..).filter_map(|line| line.upgrade()) {
            let _ = line.client.shutdown(Shutdown::Both);
            let _ = line.server.shutdown(Shutdown::Both);
        }
    }

    /// Tells the clients that nothing more will come; what they send still passes.
    pub fn half_close(&self) {
        for line in self.state.lock().unwrap().lines.iter().filter_map(Weak::upgrade) {
            let _ = line.client.shutdown(Shutdown::Write);
        }
    }

    /// How many lines were ever opened.
    pub fn opened(&self) -> usize {
        self.state.lock().unwrap().opened
    }

    /// How many pieces went to the server: with small commands one is one round trip.
    pub fn requests(&self) -> usize {
        self.state.lock().unwrap().requests
    }
}

/// How often a way is looked at that holds bytes back.
const LOOK: Duration = Duration::from_millis(5);

fn pump(line: &Line, state: &Mutex<State>, up: bool) {
    let [mut from, mut to] = if up { [&line.client, &line.server] } else { [&line.server, &line.client] };
    let mut piece = [0; 64 * 1024];
    let mut held = Vec::new();
    let mut ended = false;
    while !ended || !held.is_empty() {
        match from.read(&mut piece) {
            _ if ended => thread::sleep(LOOK),
            Ok(0) => ended = true,
            Ok(came) => held.extend_from_slice(&piece[..came]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => ended = true,
        }
        if held.is_empty() {
            continue;
        }
        if up && held.windows(9).any(|word| word == b"SUBSCRIBE") {
            line.subscribed.store(true, Ordering::Relaxed);
        }
        if !up && line.subscribed.load(Ordering::Relaxed) && goes_unheard(state) {
            held.clear();
            continue;
        }
        match way_now(state, up, held.len()) {
            Way::Hold => {
                from.set_read_timeout(Some(LOOK)).unwrap();
                continue;
            }
            Way::Swallow => held.clear(),
            Way::Delay(by) => thread::sleep(by),
            Way::Drip(by) => {
                for byte in held.drain(..) {
                    thread::sleep(by);
                    let _ = to.write_all(&[byte]);
                }
            }
            Way::Pass => {}
            Way::CutAfter(left) => {
                let _ = to.write_all(&held[..left.min(held.len())]);
                if held.len() >= left {
                    break;
                }
                held.clear();
            }
        }
        from.set_read_timeout(None).unwrap();
        if to.write_all(&held).is_err() {
            break;
        }
        held.clear();
    }
    let _ = to.shutdown(Shutdown::Write);
    if matches!(way_now(state, up, 0), Way::CutAfter(_)) {
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }
}

/// Whether a piece for a subscriber is lost.
fn goes_unheard(state: &Mutex<State>) -> bool {
    let mut state = state.lock().unwrap();
    state.unheard += usize::from(state.deaf);
    state.deaf
}

/// What to do with `came` bytes, which count against a coming cut.
fn way_now(state: &Mutex<State>, up: bool, came: usize) -> Way {
    let mut state = state.lock().unwrap();
    state.requests += usize::from(up && came > 0);
    let way = if up { &mut state.to_server } else { &mut state.to_client };
    let now = *way;
    if let Way::CutAfter(left) = way {
        *left = left.saturating_sub(came);
    }
    now
}

/// A server that sends the same bytes whatever it is asked, and counts nothing.
pub fn parrot(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut piece = [0; 64 * 1024];
                while client.read(&mut piece).is_ok_and(|n| n > 0) && client.write_all(answer).is_ok() {}
            });
        }
    });
    port
}
