//! PostgreSQL's protocol, version 3, as far as simple queries need it: seven kinds of messages out, a dozen in. Pure.

use std::collections::VecDeque;

/// What came is not the protocol.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Strange;

/// A message from a server.
#[derive(Debug, PartialEq)]
pub(super) enum Message {
    Authentication(Demand),
    ParameterStatus(String, String),
    KeyData(i32),
    Ready,
    Columns,
    Row(Vec<Option<String>>),
    /// A statement is done; how many rows it changed, if it says so.
    Done(u64),
    Error(Box<Complaint>),
    Notification(String),
    /// Notices, empty queries, and whatever else asks nothing of us.
    Other,
}

/// How the server wants to know who this is.
#[derive(Debug, PartialEq)]
pub(super) enum Demand {
    Nothing,
    Password,
    Md5([u8; 4]),
    Sasl(Vec<String>),
    SaslGoOn(String),
    SaslEnd(String),
    /// By a way that is not known here: its number.
    Unknown(u32),
}

/// An error as the server tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Complaint {
    /// Not translated: ERROR, FATAL or PANIC.
    pub severity: String,
    /// Its SQLSTATE.
    pub code: String,
    pub text: String,
}

impl Complaint {
    /// Whether it ends the connection.
    pub fn is_fatal(&self) -> bool {
        self.severity != "ERROR"
    }
}

/// The first message in these bytes and how long it is; `None` while its end has not come.
pub(super) fn parse(bytes: &[u8], longest: usize) -> Result<Option<(Message, usize)>, Strange> {
    let Some((head, rest)) = bytes.split_at_checked(5) else { return Ok(None) };
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let length = length.checked_sub(4).filter(|length| *length <= longest).ok_or(Strange)?;
    let known = head[0].is_ascii_alphanumeric();
    let Some(body) = rest.get(..length).filter(|_| known) else {
        return if known { Ok(None) } else { Err(Strange) };
    };
    Ok(Some((message(head[0], Body(body))?, 5 + length)))
}

fn message(kind: u8, mut body: Body<'_>) -> Result<Message, Strange> {
    Ok(match kind {
        b'R' => Message::Authentication(demand(&mut body)?),
        b'S' => Message::ParameterStatus(body.text()?, body.text()?),
        b'K' => Message::KeyData(body.number()?),
        b'Z' => Message::Ready,
        b'T' => Message::Columns,
        b'D' => Message::Row(row(&mut body)?),
        b'C' => Message::Done(body.text()?.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0)),
        b'E' => Message::Error(Box::new(complaint(&mut body)?)),
        b'A' => {
            body.number()?;
            Message::Notification(body.text()?)
        }
        // CopyIn, CopyOut, CopyBoth: nothing of ours asks for them, and they would never end.
        b'G' | b'H' | b'W' => return Err(Strange),
        _ => Message::Other,
    })
}

fn demand(body: &mut Body<'_>) -> Result<Demand, Strange> {
    Ok(match body.number()? {
        0 => Demand::Nothing,
        3 => Demand::Password,
        5 => Demand::Md5(body.0.try_into().map_err(|_| Strange)?),
        10 => {
            let mut ways = Vec::new();
            while let Some(way) = Some(body.text()?).filter(|way| !way.is_empty()) {
                ways.push(way);
            }
            Demand::Sasl(ways)
        }
        11 => Demand::SaslGoOn(String::from_utf8(body.0.to_vec()).map_err(|_| Strange)?),
        12 => Demand::SaslEnd(String::from_utf8(body.0.to_vec()).map_err(|_| Strange)?),
        other => Demand::Unknown(other as u32),
    })
}

fn row(body: &mut Body<'_>) -> Result<Vec<Option<String>>, Strange> {
    let many = u16::from_be_bytes(body.bytes(2)?.try_into().map_err(|_| Strange)?);
    (0..many)
        .map(|_| match body.number()? {
            -1 => Ok(None),
            length => {
                let bytes = body.bytes(usize::try_from(length).map_err(|_| Strange)?)?;
                Ok(Some(String::from_utf8(bytes.to_vec()).map_err(|_| Strange)?))
            }
        })
        .collect()
}

fn complaint(body: &mut Body<'_>) -> Result<Complaint, Strange> {
    let mut complaint = Complaint::default();
    loop {
        match body.bytes(1)?[0] {
            0 => break,
            b'S' if complaint.severity.is_empty() => complaint.severity = body.text()?,
            b'V' => complaint.severity = body.text()?,
            b'C' => complaint.code = body.text()?,
            b'M' => complaint.text = body.text()?,
            _ => drop(body.text()?),
        }
    }
    Ok(complaint)
}

struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn bytes(&mut self, many: usize) -> Result<&'a [u8], Strange> {
        let (bytes, rest) = self.0.split_at_checked(many).ok_or(Strange)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn number(&mut self) -> Result<i32, Strange> {
        Ok(i32::from_be_bytes(self.bytes(4)?.try_into().map_err(|_| Strange)?))
    }

    /// Up to the zero that ends it. A server complains in an encoding of its own while it does not know ours.
    fn text(&mut self) -> Result<String, Strange> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(Strange)?;
        let text = String::from_utf8_lossy(self.bytes(end)?).into_owned();
        self.bytes(1)?;
        Ok(text)
    }
}

/// Asks whether the server speaks TLS; it answers with one byte.
pub(super) fn ssl_request() -> Vec<u8> {
    counted(&80_877_103u32.to_be_bytes())
}

/// The first message of a session.
pub(super) fn startup(parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = (3u32 << 16).to_be_bytes().to_vec();
    for (key, value) in parameters {
        for word in [key, value] {
            body.extend_from_slice(word.as_bytes());
            body.push(0);
        }
    }
    body.push(0);
    counted(&body)
}

/// A password, or what stands for one.
pub(super) fn password(text: &str) -> Vec<u8> {
    told(b'p', &[text.as_bytes(), &[0]])
}

pub(super) fn sasl_first(way: &str, text: &str) -> Vec<u8> {
    told(b'p', &[way.as_bytes(), &[0], &(text.len() as u32).to_be_bytes(), text.as_bytes()])
}

pub(super) fn sasl_next(text: &str) -> Vec<u8> {
    told(b'p', &[text.as_bytes()])
}

/// Statements in one message: one transaction, which the server begins when it has all of them and ends by itself. A
/// client that is cut off or frozen halfway leaves nothing locked.
pub(super) fn query(statements: &str) -> Vec<u8> {
    told(b'Q', &[statements.as_bytes(), &[0]])
}

fn told(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut message = vec![kind];
    message.extend(counted(&parts.concat()));
    message
}

fn counted(body: &[u8]) -> Vec<u8> {
    let mut counted = (body.len() as u32 + 4).to_be_bytes().to_vec();
    counted.extend_from_slice(body);
    counted
}

/// What a statement brought.
#[derive(Debug, Default)]
pub(super) struct Brought {
    pub rows: VecDeque<Vec<Option<String>>>,
    pub changed: u64,
}
