//! As much of HTTP/1.1 as etcd's JSON gateway needs: requests that may go out together, and answers whole or in pieces.
//!
//! A client library has its sockets to itself. Here a waiter must hear its watch and its bell by one poll(2), a lease and the
//! ticket on it go out in one piece, and a holder hears its idle line die. So the sockets are ours, and what can be read wrong,
//! heads and chunks and dates, is read by `httparse` and `httpdate`. A gRPC client would bring a runtime and sixty crates more.

use std::time::UNIX_EPOCH;

use crate::time::Wall;

/// What comes is not HTTP.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Strange;

/// A head is no longer than this.
const LONGEST_HEAD: usize = 64 * 1024;
/// Nor a chunk than this, so that reckoning with what a stranger says can't overflow.
const LONGEST_CHUNK: u64 = 1 << 30;

/// The head of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub status: u16,
    /// The server's clock, to the second.
    pub date: Option<Wall>,
    pub body: Body,
    /// Nothing more will come on this connection.
    pub last: bool,
}

/// How the body's end is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Length(usize),
    Chunked,
}

/// The bytes of a POST.
pub(super) fn post(host: &str, path: &str, token: Option<&str>, body: &str) -> String {
    let token = token.map(|token| format!("Authorization: {token}\r\n")).unwrap_or_default();
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n{token}Content-Length: {length}\r\n\r\n{body}"
    )
}

/// Takes a head off the front of what came; `None` while its end has not.
pub(super) fn head(came: &mut Vec<u8>) -> Result<Option<Head>, Strange> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(came) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if came.len() <= LONGEST_HEAD => return Ok(None),
        _ => return Err(Strange),
    };
    let header = |name: &str| {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok()
    };
    let chunked = header("transfer-encoding").is_some_and(|how| how.eq_ignore_ascii_case("chunked"));
    let body = match header("content-length").map(str::parse) {
        _ if chunked => Body::Chunked,
        Some(Ok(length)) => Body::Length(length),
        _ => return Err(Strange),
    };
    let head = Head {
        status: response.code.ok_or(Strange)?,
        date: header("date").and_then(date),
        body,
        last: header("connection").is_some_and(|how| how.eq_ignore_ascii_case("close")),
    };
    came.drain(..length);
    Ok(Some(head))
}

/// Takes a body off the front of what came; `None` while its end has not. No honest one is longer than `longest`.
pub(super) fn body(how: Body, came: &mut Vec<u8>, into: &mut Vec<u8>, longest: usize) -> Result<Option<()>, Strange> {
    match how {
        Body::Length(length) if length > longest => Err(Strange),
        Body::Length(length) if came.len() < length => Ok(None),
        Body::Length(length) => {
            into.extend(came.drain(..length));
            Ok(Some(()))
        }
        Body::Chunked => loop {
            match chunk(came, into)? {
                Chunk::Partial => return Ok(None),
                Chunk::End => return Ok(Some(())),
                Chunk::Whole if into.len() > longest => return Err(Strange),
                Chunk::Whole => {}
            }
        },
    }
}

/// What [`chunk`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    Partial,
    Whole,
    End,
}

/// Takes one chunk off the front of what came and appends its bytes.
pub(super) fn chunk(came: &mut Vec<u8>, into: &mut Vec<u8>) -> Result<Chunk, Strange> {
    let (start, size) = match httparse::parse_chunk_size(came) {
        Ok(httparse::Status::Complete((start, size))) if size <= LONGEST_CHUNK => (start, size as usize),
        Ok(httparse::Status::Partial) if came.len() <= LONGEST_HEAD => return Ok(Chunk::Partial),
        _ => return Err(Strange),
    };
    if size == 0 {
        return trailers(came, start);
    }
    let end = start + size;
    match came.get(end..end + 2) {
        None => Ok(Chunk::Partial),
        Some(b"\r\n") => {
            into.extend_from_slice(&came[start..end]);
            came.drain(..end + 2);
            Ok(Chunk::Whole)
        }
        Some(_) => Err(Strange),
    }
}

/// After the last chunk come headers that nobody needs, and an empty line.
fn trailers(came: &mut Vec<u8>, start: usize) -> Result<Chunk, Strange> {
    let mut none = [httparse::EMPTY_HEADER; 16];
    match httparse::parse_headers(&came[start..], &mut none) {
        Ok(httparse::Status::Complete((length, _))) => {
            came.drain(..start + length);
            Ok(Chunk::End)
        }
        Ok(httparse::Status::Partial) if came.len() <= LONGEST_HEAD => Ok(Chunk::Partial),
        _ => Err(Strange),
    }
}

fn date(text: &str) -> Option<Wall> {
    let since = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(Wall(since.as_millis() as u64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLAIN: &str = "HTTP/1.1 200 OK\r\nDate: Wed, 25 Nov 2026 23:56:30 GMT\r\nContent-Length: 2\r\n\r\n{}";
    const CHUNKED: &str = "HTTP/1.1 400 Bad Request\r\nTrailer: Grpc-Trailer-Content-Type\r\nConnection: close\r\n\
        Transfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\nGrpc-Trailer-Content-Type: application/grpc\r\n\r\n";

    /// Status and body of the answer at the front.
    fn answer(came: &mut Vec<u8>) -> Result<Option<(Head, Vec<u8>)>, Strange> {
        let Some(head) = head(came)? else { return Ok(None) };
        let mut text = Vec::new();
        Ok(body(head.body, came, &mut text, 1000)?.map(|()| (head, text)))
    }

    #[test]
    fn answers_are_read_one_after_the_other_and_never_before_their_end() {
        let mut both = [PLAIN, CHUNKED, PLAIN].concat().into_bytes();
        let (first, text) = answer(&mut both).unwrap().unwrap();
        assert_eq!((first.status, first.date, first.last, &text[..]), (200, Some(Wall(1_795_650_990_000)), false, &b"{}"[..]));
        let (second, text) = answer(&mut both).unwrap().unwrap();
        assert_eq!((second.status, second.last, &text[..]), (400, true, &b"{\"a\":1}"[..]));
        assert_eq!(both, PLAIN.as_bytes());
        for whole in [PLAIN, CHUNKED] {
            for end in 0..whole.len() {
                assert_eq!(answer(&mut whole.as_bytes()[..end].to_vec()), Ok(None), "{:?}", &whole[..end]);
            }
        }
    }

    #[test]
    fn what_is_no_answer_is_strange() {
        for text in [
            "+PONG\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\naXX",
        ] {
            assert_eq!(answer(&mut text.as_bytes().to_vec()), Err(Strange), "{text:?}");
        }
        assert_eq!(answer(&mut vec![b'H'; 70_000]), Err(Strange));
    }

    proptest! {
        #[test]
        fn nothing_that_comes_panics(bytes in "[HTP/1. 20OK\r\n:0-9a-f-]{0,60}") {
            let mut came = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", bytes.as_bytes()].concat();
            let _ = answer(&mut came);
            let _ = answer(&mut bytes.into_bytes());
        }
    }
}
