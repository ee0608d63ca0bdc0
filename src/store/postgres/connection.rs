//! One session with a PostgreSQL server: statements out, rows in, all of it within a budget.
//!
//! Only simple queries, which is all that a verb needs: a library would bring a runtime, or twenty crates for the dozen
//! kinds of messages that come, and none bounds how long a server may drip an answer.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::address::{Address, Host, SslMode};
use super::message::{self, Brought, Complaint, Demand, Message};
use super::scram::{self, Scram};
use super::{habits, refusal, tls};
use crate::store::Error;
use crate::store::wire::{self, Budget, Stream};

/// No honest reply is longer: 200 holders and 32 waiters with the longest tickets, or a list of very many locks.
const LONGEST_REPLY: usize = 64 << 20;

/// An open session. After a failure of the line it must be dropped: a reply may still be under way.
pub(super) struct Connection {
    stream: Stream,
    pub host: Host,
    /// What came and was not read yet.
    came: Vec<u8>,
    /// The process that serves this session, as it said at the start. A pooler makes a number up.
    process: Option<i32>,
    takes_writes: Option<bool>,
    encoding: String,
    /// The channel that is listened to.
    pub listens: Option<String>,
}

/// Why statements brought nothing.
#[derive(Debug)]
pub(super) enum Fault {
    /// The line broke, the budget is used up, or what came is no protocol.
    Line(io::Error),
    Strange,
    /// The server's own word. All statements of the message are undone, and unless it is fatal the session goes on.
    Said(Box<Complaint>),
}

impl Connection {
    /// Opens a session with the first host that will do.
    ///
    /// # Errors
    /// Unreachable in time, or refused: what the last host said, or the first that did not let us in.
    pub fn open(address: &Address, budget: Budget) -> Result<Connection, Error> {
        let mut last = None;
        for (tried, host) in address.hosts.iter().enumerate() {
            let left = budget.left().map_err(|error| refusal::line(address, host, &error, budget.whole))?;
            // One that swallows everything must leave time for the next.
            let share = left / (address.hosts.len() - tried) as u32;
            let share = address.connect_timeout.map_or(share, |most| share.min(most));
            match Connection::open_one(address, host, Budget::new(share)) {
                Ok(line) => return Ok(line),
                Err((error, Next::Ends)) => return Err(error),
                Err((error, Next::Passes)) => last = Some(error),
            }
        }
        Err(last.expect("an address has a host"))
    }

    fn open_one(address: &Address, host: &Host, budget: Budget) -> Result<Connection, (Error, Next)> {
        let line = |error: io::Error| (refusal::line(address, host, &error, budget.whole), Next::Passes);
        let stream = dial(host, budget).map_err(line)?;
        let stream = secured(stream, address, host, budget)?;
        let mut session = Connection {
            stream,
            host: host.clone(),
            came: Vec::new(),
            process: None,
            takes_writes: None,
            encoding: String::new(),
            listens: None,
        };
        session.enter(address, host, budget)?;
        if address.wants_primary && address.hosts.len() > 1 {
            session.must_take_writes(address, host, budget)?;
        }
        Ok(session)
    }

    /// Carries statements out, as one transaction; what each of them brought.
    ///
    /// # Errors
    /// Nothing of them was done, or with [`Fault::Line`] nobody knows.
    pub fn ask(&mut self, statements: &str, budget: Budget) -> Result<Vec<Brought>, Fault> {
        self.stream.begin(budget);
        self.stream.send(&message::query(statements)).map_err(Fault::Line)?;
        let (mut all, mut one, mut complaint) = (Vec::new(), Brought::default(), None);
        loop {
            match self.next()? {
                Message::Row(row) => one.rows.push_back(row),
                Message::Done(changed) => {
                    one.changed = changed;
                    all.push(std::mem::take(&mut one));
                }
                Message::Error(said) if said.is_fatal() => return Err(Fault::Said(said)),
                Message::Error(said) => complaint = Some(said),
                Message::Ready => break,
                _ => {}
            }
        }
        complaint.map_or(Ok(all), |said| Err(Fault::Said(said)))
    }

    /// Whether the server really is at the other end: a pooler lends its sessions out between two messages.
    pub fn is_direct(&self, backend: i32) -> bool {
        self.process == Some(backend)
    }

    /// What came without having been asked for: whether a wake was among it.
    ///
    /// # Errors
    /// The session is over.
    pub fn overheard(&mut self) -> io::Result<bool> {
        let more = self.stream.drain()?;
        self.came.extend_from_slice(&more);
        let mut woken = false;
        while let Some(message) = self.first().map_err(|_| io::ErrorKind::InvalidData)? {
            match message {
                Message::Notification(channel) => woken |= Some(channel) == self.listens,
                Message::Error(_) => return Err(io::ErrorKind::ConnectionAborted.into()),
                _ => {}
            }
        }
        Ok(woken)
    }

    /// Can be read when something has come.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.stream.fd()
    }

    /// Says who we are and proves it.
    fn enter(&mut self, address: &Address, host: &Host, budget: Budget) -> Result<(), (Error, Next)> {
        let mut parameters = vec![
            ("user", address.user.as_str()),
            ("database", address.dbname.as_str()),
            ("application_name", address.application_name.as_str()),
            ("client_encoding", "UTF8"),
        ];
        parameters.extend(address.options.as_deref().map(|options| ("options", options)));
        self.stream.begin(budget);
        let fault = |fault: Fault| entrance(address, host, fault, budget.whole);
        self.stream.send(&message::startup(&parameters)).map_err(|error| fault(Fault::Line(error)))?;
        let mut scram = None;
        loop {
            match self.next().map_err(fault)? {
                Message::Authentication(demand) => {
                    if let Some(answer) = answer(address, host, demand, &mut scram).map_err(|error| (error, Next::Ends))? {
                        self.stream.send(&answer).map_err(|error| fault(Fault::Line(error)))?;
                    }
                }
                Message::KeyData(process) => self.process = Some(process),
                Message::ParameterStatus(name, value) => self.note(&name, &value),
                Message::Error(said) => return Err(fault(Fault::Said(said))),
                Message::Ready => break,
                _ => {}
            }
        }
        match self.encoding.as_str() {
            "" | "UTF8" | "SQL_ASCII" => Ok(()),
            other => Err((refusal::encoding(address, host, other), Next::Ends)),
        }
    }

    fn note(&mut self, name: &str, value: &str) {
        match (name, value) {
            ("in_hot_standby" | "default_transaction_read_only", "on") => self.takes_writes = Some(false),
            ("in_hot_standby", _) => self.takes_writes = self.takes_writes.or(Some(true)),
            ("server_encoding", encoding) => encoding.clone_into(&mut self.encoding),
            _ => {}
        }
    }

    /// Servers before 14, and poolers, say nothing of it by themselves.
    fn must_take_writes(&mut self, address: &Address, host: &Host, budget: Budget) -> Result<(), (Error, Next)> {
        if self.takes_writes.is_none() {
            let asked = self.ask("SELECT pg_is_in_recovery()::text, current_setting('transaction_read_only')", budget);
            let brought = asked.map_err(|fault| entrance(address, host, fault, budget.whole))?;
            let row = brought.first().and_then(|brought| brought.rows.front());
            let says = |at: usize, text: &str| row.and_then(|row| row.get(at)?.as_deref()) == Some(text);
            self.takes_writes = Some(says(0, "false") && says(1, "off"));
        }
        match self.takes_writes {
            Some(true) => Ok(()),
            _ => Err((refusal::standby(address, host), Next::Passes)),
        }
    }

    fn next(&mut self) -> Result<Message, Fault> {
        loop {
            if let Some(message) = self.first()? {
                return Ok(message);
            }
            self.stream.read_on(&mut self.came).map_err(Fault::Line)?;
        }
    }

    fn first(&mut self) -> Result<Option<Message>, Fault> {
        let parsed = message::parse(&self.came, LONGEST_REPLY).map_err(|message::Strange| Fault::Strange)?;
        Ok(parsed.map(|(message, length)| {
            self.came.drain(..length);
            message
        }))
    }
}

/// Whether the next host may be tried.
enum Next {
    Passes,
    /// As libpq has it: who is not let in by one server does not try the password on others.
    Ends,
}

fn entrance(address: &Address, host: &Host, fault: Fault, within: Duration) -> (Error, Next) {
    match fault {
        Fault::Line(error) => (refusal::line(address, host, &error, within), Next::Passes),
        Fault::Strange => (refusal::stranger(host), Next::Passes),
        Fault::Said(said) => {
            let next = if said.code.starts_with("28") { Next::Ends } else { Next::Passes };
            (refusal::said(address, host, &said), next)
        }
    }
}

fn dial(host: &Host, budget: Budget) -> io::Result<Stream> {
    let socket = if host.is_socket() {
        wire::one(&socket2::SockAddr::unix(host.shown())?, budget.left()?)?
    } else {
        wire::host(host.address.as_ref().unwrap_or(&host.name), host.port, budget)?
    };
    let mut stream = Stream::plain(socket, LONGEST_REPLY);
    stream.begin(budget);
    Ok(stream)
}

/// Puts TLS around it, as far as it is wanted and the server has it.
fn secured(mut stream: Stream, address: &Address, host: &Host, budget: Budget) -> Result<Stream, (Error, Next)> {
    let mode = address.tls.mode_for(host);
    if mode == SslMode::Disable {
        return Ok(stream);
    }
    let line = |error: io::Error| (refusal::line(address, host, &error, budget.whole), Next::Passes);
    let client = match tls::client(&address.tls, mode, host) {
        Ok(client) => client,
        Err(why) => return Err((refusal::tls(host, &why), Next::Ends)),
    };
    stream.send(&message::ssl_request()).map_err(line)?;
    let mut answer = Vec::new();
    stream.read_on(&mut answer).map_err(line)?;
    match answer.as_slice() {
        b"S" => stream.secured(client, budget).map_err(line),
        b"N" if mode == SslMode::Prefer => Ok(stream),
        b"N" => Err((refusal::no_tls(host), Next::Passes)),
        // More than its one byte would have been slipped in before the handshake.
        _ => Err((refusal::stranger(host), Next::Passes)),
    }
}

/// What the server is to be told next; `None` if it is content.
fn answer(address: &Address, host: &Host, demand: Demand, scram: &mut Option<Scram>) -> Result<Option<Vec<u8>>, Error> {
    Ok(Some(match demand {
        // After SASL it is content only if it has shown that it knows the password as well.
        Demand::Nothing => return Ok(None),
        Demand::Password => message::password(password(address, host)?.reveal()),
        Demand::Md5(salt) => message::password(&scram::md5(&address.user, &password(address, host)?, salt)),
        Demand::Sasl(ways) if ways.iter().any(|way| way == scram::SCRAM) => {
            password(address, host)?;
            let mut nonce = [0; 18];
            getrandom::getrandom(&mut nonce).map_err(|_| refusal::no_randomness())?;
            let first = scram.insert(Scram::new(&nonce)).first();
            message::sasl_first(scram::SCRAM, &first)
        }
        Demand::SaslGoOn(challenge) => {
            let password = password(address, host)?;
            let answer = scram.as_mut().and_then(|scram| scram.answer(&challenge, &password));
            message::sasl_next(&answer.ok_or_else(|| refusal::stranger(host))?)
        }
        Demand::SaslEnd(end) => match scram {
            Some(scram) if scram.is_genuine(&end) => return Ok(None),
            _ => return Err(refusal::impostor(host)),
        },
        Demand::Sasl(_) | Demand::Unknown(_) => return Err(refusal::other_proof(host, &demand)),
    }))
}

fn password(address: &Address, host: &Host) -> Result<crate::secret::Secret, Error> {
    if let Some(password) = &address.password {
        return Ok(password.clone());
    }
    // To a password file every socket is this host.
    let name = if host.is_socket() { "localhost" } else { host.name.as_str() };
    match habits::password(address.passfile.as_deref(), name, host.port, &address.dbname, &address.user) {
        habits::Found::Password(password) => Ok(password),
        habits::Found::Nothing => Err(refusal::no_password(host, None)),
        habits::Found::Open(file) => Err(refusal::no_password(host, Some(&file))),
    }
}
