//! The scripts: each is one verb, all or nothing, and knows versions and guards but no locks.

use std::borrow::Cow;

use crate::mutant::{self, Mutant};

/// A script and the digest by which a server knows it.
pub(super) struct Script {
    code: &'static str,
    digest: [u8; 20],
    /// Whether a lease hangs on its answer.
    pub renews: bool,
}

impl Script {
    pub fn code(&self) -> Cow<'static, str> {
        if mutant::on(Mutant::BlindCommit) { self.code.replace("ARGV[6] ~= version", "false").into() } else { self.code.into() }
    }

    pub fn digest(&self) -> String {
        if mutant::on(Mutant::BlindCommit) {
            return sha1_smol::Sha1::from(self.code().as_bytes()).digest().to_string();
        }
        self.digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

macro_rules! script {
    ($name:ident, $renews:literal, $($file:literal),+) => {
        pub(super) static $name: Script = {
            const CODE: &str = concat!($(include_str!(concat!("scripts/", $file))),+);
            const DIGEST: [u8; 20] = sha1(CODE.as_bytes());
            Script { code: CODE, digest: DIGEST, renews: $renews }
        };
    };
}

script!(TAKE, true, "store.lua", "view.lua", "take.lua");
script!(BEAT, true, "store.lua", "beat.lua");
script!(LOOK, false, "store.lua", "view.lua", "look.lua");
script!(COMMIT, false, "store.lua", "view.lua", "commit.lua");

/// SHA-1 (RFC 3174) at compile time: digesting its scripts anew would cost each run as much as asking the server.
const fn sha1(text: &[u8]) -> [u8; 20] {
    let mut state: [u32; 5] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0];
    let bits = (text.len() as u64 * 8).to_be_bytes();
    let blocks = (text.len() + 9).div_ceil(64);
    let mut block = 0;
    while block < blocks {
        let mut words = [0u32; 80];
        let mut at = 0;
        while at < 64 {
            let place = block * 64 + at;
            let byte = if place < text.len() {
                text[place]
            } else if place == text.len() {
                0x80
            } else if place >= blocks * 64 - 8 {
                bits[place + 8 - blocks * 64]
            } else {
                0
            };
            words[at / 4] = words[at / 4] << 8 | byte as u32;
            at += 1;
        }
        state = round(state, words);
        block += 1;
    }
    let mut digest = [0; 20];
    let mut at = 0;
    while at < 20 {
        digest[at] = state[at / 4].to_be_bytes()[at % 4];
        at += 1;
    }
    digest
}

const fn round(state: [u32; 5], mut words: [u32; 80]) -> [u32; 5] {
    let [mut a, mut b, mut c, mut d, mut e] = state;
    let mut at = 0;
    while at < 80 {
        if at >= 16 {
            words[at] = (words[at - 3] ^ words[at - 8] ^ words[at - 14] ^ words[at - 16]).rotate_left(1);
        }
        let (mixed, constant) = match at / 20 {
            0 => (b & c | !b & d, 0x5A82_7999),
            1 => (b ^ c ^ d, 0x6ED9_EBA1),
            2 => (b & c | b & d | c & d, 0x8F1B_BCDC),
            _ => (b ^ c ^ d, 0xCA62_C1D6u32),
        };
        let next = a.rotate_left(5).wrapping_add(mixed).wrapping_add(e).wrapping_add(constant).wrapping_add(words[at]);
        (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
        at += 1;
    }
    [
        state[0].wrapping_add(a),
        state[1].wrapping_add(b),
        state[2].wrapping_add(c),
        state[3].wrapping_add(d),
        state[4].wrapping_add(e),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digests_are_those_a_server_makes() {
        for length in 0..300 {
            let text = vec![b'x'; length];
            assert_eq!(sha1(&text), sha1_smol::Sha1::from(&text).digest().bytes(), "{length} bytes");
        }
        for script in [&TAKE, &BEAT, &LOOK, &COMMIT] {
            assert_eq!(script.digest(), redis::Script::new(&script.code()).get_hash());
        }
    }
}
