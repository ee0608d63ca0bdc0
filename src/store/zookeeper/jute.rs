//! ZooKeeper's encoding of numbers, texts and lists: big-endian, each of unknown length behind its length. Pure.

/// What came is not what ZooKeeper writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Strange;

/// Bytes to send.
#[derive(Debug, Default)]
pub(super) struct Writer(pub Vec<u8>);

impl Writer {
    pub fn int(&mut self, value: i32) -> &mut Writer {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn long(&mut self, value: i64) -> &mut Writer {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn bool(&mut self, value: bool) -> &mut Writer {
        self.0.push(u8::from(value));
        self
    }

    pub fn bytes(&mut self, value: &[u8]) -> &mut Writer {
        self.int(i32::try_from(value.len()).expect("no request is that long"));
        self.0.extend_from_slice(value);
        self
    }

    pub fn text(&mut self, value: &str) -> &mut Writer {
        self.bytes(value.as_bytes())
    }

    /// The bytes behind their length, as a packet.
    pub fn packet(self) -> Vec<u8> {
        let mut packet = Writer::default();
        packet.bytes(&self.0);
        packet.0
    }
}

/// Takes the first whole packet from the front of what came.
///
/// # Errors
/// It would be longer than `longest`.
pub(super) fn packet(came: &mut Vec<u8>, longest: usize) -> Result<Option<Vec<u8>>, Strange> {
    let Some(head) = came.first_chunk::<4>() else { return Ok(None) };
    let length = usize::try_from(i32::from_be_bytes(*head)).map_err(|_| Strange)?;
    if length > longest {
        return Err(Strange);
    }
    if came.len() < 4 + length {
        return Ok(None);
    }
    let rest = came.split_off(4 + length);
    let whole = std::mem::replace(came, rest);
    Ok(Some(whole[4..].to_vec()))
}

/// Bytes that came, read from the front.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn int(&mut self) -> Result<i32, Strange> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub fn long(&mut self) -> Result<i64, Strange> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub fn bool(&mut self) -> Result<bool, Strange> {
        Ok(self.array::<1>()? != [0])
    }

    /// A missing value, which has the length -1, is an empty one.
    pub fn bytes(&mut self) -> Result<&'a [u8], Strange> {
        match self.int()? {
            -1 => Ok(&[]),
            length => self.take(usize::try_from(length).map_err(|_| Strange)?),
        }
    }

    pub fn text(&mut self) -> Result<String, Strange> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| Strange)
    }

    pub fn texts(&mut self) -> Result<Vec<String>, Strange> {
        let count = self.int()?.max(0);
        (0..count).map(|_| self.text()).collect()
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Strange> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Strange)?;
        self.0 = rest;
        Ok(*head)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Strange> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(Strange)?;
        self.0 = rest;
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_cut_is_refused() {
        let mut writer = Writer::default();
        writer.int(-7).long(1 << 40).bool(true).text("é").bytes(&[1, 2]);
        let whole = writer.packet();
        for cut in 0..whole.len() {
            assert_eq!(packet(&mut whole[..cut].to_vec(), 100), Ok(None));
        }
        assert_eq!(packet(&mut whole.clone(), 10), Err(Strange));
        assert_eq!(packet(&mut vec![255; 8], 10), Err(Strange));
        let mut came = [whole.clone(), vec![9]].concat();
        let body = packet(&mut came, 100).unwrap().unwrap();
        assert_eq!(came, [9]);
        let mut reader = Reader(&body);
        assert_eq!((reader.int(), reader.long(), reader.bool()), (Ok(-7), Ok(1 << 40), Ok(true)));
        assert_eq!((reader.text(), reader.bytes(), reader.int()), (Ok("é".to_owned()), Ok(&[1, 2][..]), Err(Strange)));
        assert_eq!(Reader(&[0, 0, 0, 9, 1]).bytes(), Err(Strange));
    }
}
