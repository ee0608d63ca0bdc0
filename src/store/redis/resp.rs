//! Replies on the wire (RESP2), the few kinds that our commands can bring. The `redis` crate's parser asks the processor what
//! it can do before it reads a byte, which under a hypervisor takes as long as the server's answer.

use redis::Value;

/// Of a cluster's slots, their servers' names: no answer of ours goes deeper.
const DEEPEST: u32 = 4;

/// What came is no reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Strange;

/// The first reply in these bytes and how long it is; `None` while its end has not come. `longest` bounds every text in it.
pub(super) fn parse(bytes: &[u8], longest: usize) -> Result<Option<(Value, usize)>, Strange> {
    let mut at = 0;
    Ok(value(bytes, &mut at, longest, DEEPEST)?.map(|value| (value, at)))
}

fn value(bytes: &[u8], at: &mut usize, longest: usize, depth: u32) -> Result<Option<Value>, Strange> {
    let begin = *at;
    let Some(line) = line(bytes, at)? else { return Ok(None) };
    let (kind, text) = line.split_first().ok_or(Strange)?;
    Ok(Some(match kind {
        b'+' if text == b"OK" => Value::Okay,
        b'+' => Value::SimpleString(String::from_utf8(text.to_vec()).map_err(|_| Strange)?),
        // It knows the words that errors begin with.
        b'-' => redis::parse_redis_value(&bytes[begin..*at]).map_err(|_| Strange)?,
        b':' => Value::Int(number(text)?),
        b'$' => match number(text)? {
            -1 => Value::Nil,
            length => {
                let length = usize::try_from(length).ok().filter(|length| *length <= longest).ok_or(Strange)?;
                let Some(text) = bytes.get(*at..*at + length + 2) else { return Ok(None) };
                let text = text.strip_suffix(b"\r\n").ok_or(Strange)?;
                *at += length + 2;
                Value::BulkString(text.to_vec())
            }
        },
        b'*' if depth > 0 => match number(text)? {
            -1 => Value::Nil,
            count => {
                let mut values = Vec::new();
                for _ in 0..u64::try_from(count).map_err(|_| Strange)? {
                    let Some(value) = value(bytes, at, longest, depth - 1)? else { return Ok(None) };
                    values.push(value);
                }
                Value::Array(values)
            }
        },
        _ => return Err(Strange),
    }))
}

/// The next line without its end; `None` while that has not come.
fn line<'a>(bytes: &'a [u8], at: &mut usize) -> Result<Option<&'a [u8]>, Strange> {
    /// An error's text is the longest that stands on a line.
    const LONGEST_LINE: usize = 64 * 1024;
    let rest = &bytes[*at..];
    match rest.iter().position(|byte| *byte == b'\r') {
        Some(end) if rest.get(end + 1) == Some(&b'\n') => {
            *at += end + 2;
            Ok(Some(&rest[..end]))
        }
        Some(end) if rest.len() > end + 1 => Err(Strange),
        _ if rest.len() > LONGEST_LINE => Err(Strange),
        _ => Ok(None),
    }
}

fn number(text: &[u8]) -> Result<i64, Strange> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Strange)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(text: &[u8]) -> Result<Option<Value>, Strange> {
        Ok(parse(text, 1000)?.map(|(value, length)| {
            assert_eq!(length, text.len());
            value
        }))
    }

    #[test]
    fn replies_are_read_as_the_crate_reads_them_and_never_before_their_end() {
        for text in [
            "+OK\r\n",
            "+PONG\r\n",
            ":-7\r\n",
            "$-1\r\n",
            "$0\r\n\r\n",
            "$5\r\na\r\nbc\r\n",
            "*-1\r\n",
            "*0\r\n",
            "*4\r\n$1\r\nx\r\n:1\r\n$-1\r\n*1\r\n+y\r\n",
            "-NOSCRIPT no such script\r\n",
            "-VLDAMAGED a key\r\n",
            "-ERR\r\n",
        ] {
            assert_eq!(whole(text.as_bytes()), Ok(Some(redis::parse_redis_value(text.as_bytes()).unwrap())), "{text:?}");
            for end in 0..text.len() {
                assert_eq!(parse(&text.as_bytes()[..end], 1000), Ok(None), "{:?}", &text[..end]);
            }
        }
    }

    #[test]
    fn what_is_no_reply_is_strange() {
        for text in [
            "HTTP/1.1 400\r\n",
            "\r\n",
            "$x\r\n",
            "$1001\r\n",
            "$-2\r\n",
            "*-2\r\n",
            "$1\r\nxyz",
            ":\r\n",
            "+a\rb",
            "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
        ] {
            assert_eq!(parse(text.as_bytes(), 1000), Err(Strange), "{text:?}");
        }
        assert_eq!(parse(&[b'+'; 70_000], 1000), Err(Strange));
    }

    proptest! {
        #[test]
        fn nothing_that_comes_is_read_past_its_end(bytes in "[*$:+\\-0-3\r\nx]{0,40}") {
            if let Ok(Some((_, length))) = parse(bytes.as_bytes(), 1000) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
