//! Proving to know a password without sending it: SCRAM-SHA-256 (RFC 5802, RFC 7677), and MD5 for servers of old. Pure but
//! for the nonce.

use std::num::NonZeroU32;

use md5::{Digest, Md5};
use ring::{digest, hmac, pbkdf2};

use crate::secret::Secret;

pub(super) const SCRAM: &str = "SCRAM-SHA-256";
/// A server that wants more rounds wants our time, not our password.
const MOST_ROUNDS: u32 = 2_000_000;

/// The exchange once our first message is out.
pub(super) struct Scram {
    nonce: String,
    bare: String,
    /// What the server must sign, once it has been answered.
    expected: Option<String>,
}

impl Scram {
    /// Begins with a nonce that nobody else has.
    pub fn new(nonce: &[u8]) -> Scram {
        let nonce = base64(nonce);
        // PostgreSQL knows the user from the first message of the session.
        let bare = format!("n=,r={nonce}");
        Scram { nonce, bare, expected: None }
    }

    /// What to say first: no channel binding, and why a proxy can't slip itself in is TLS's matter.
    pub fn first(&self) -> String {
        format!("n,,{}", self.bare)
    }

    /// The answer to the server's challenge; `None` if that is none.
    pub fn answer(&mut self, challenge: &str, password: &Secret) -> Option<String> {
        let mut fields = challenge.split(',');
        let mut field = |name: &str| fields.next()?.strip_prefix(name);
        let (nonce, salt, rounds) = (field("r=")?, unbase64(field("s=")?)?, field("i=")?.parse::<u32>().ok()?);
        let rounds = NonZeroU32::new(rounds).filter(|rounds| rounds.get() <= MOST_ROUNDS)?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return None;
        }
        let mut salted = [0; digest::SHA256_OUTPUT_LEN];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password.reveal().as_bytes(), &mut salted);
        let end = format!("c=biws,r={nonce}");
        let all = format!("{},{challenge},{end}", self.bare);
        let client_key = sign(&salted, b"Client Key");
        let signature = sign(digest::digest(&digest::SHA256, client_key.as_ref()).as_ref(), all.as_bytes());
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        self.expected = Some(base64(sign(sign(&salted, b"Server Key").as_ref(), all.as_bytes()).as_ref()));
        Some(format!("{end},p={}", base64(&proof)))
    }

    /// Whether the server knows the password too.
    pub fn is_genuine(&self, end: &str) -> bool {
        let said = end.split(',').next().and_then(|field| field.strip_prefix("v="));
        self.expected.is_some() && said == self.expected.as_deref()
    }
}

fn sign(key: &[u8], text: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text)
}

/// What stands for the password where MD5 is asked for.
pub(super) fn md5(user: &str, password: &Secret, salt: [u8; 4]) -> String {
    let inner = hex(&Md5::new().chain_update(password.reveal()).chain_update(user).finalize());
    format!("md5{}", hex(&Md5::new().chain_update(inner).chain_update(salt).finalize()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let letter = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize] as char;
            text.push(if place <= three.len() { letter } else { '=' });
        }
    }
    text
}

fn unbase64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for four in text.as_bytes().chunks(4) {
        let filled = four.iter().take_while(|letter| **letter != b'=').count();
        if four.len() != 4 || filled < 2 || four[filled..].iter().any(|letter| *letter != b'=') {
            return None;
        }
        let value = |letter: &u8| ALPHABET.iter().position(|known| known == letter);
        let bits = four[..filled].iter().try_fold(0usize, |bits, letter| Some(bits << 6 | value(letter)?))? << (6 * (4 - filled));
        bytes.extend_from_slice(&(bits as u32).to_be_bytes()[1..filled]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677, but for the user, whom PostgreSQL leaves out: so the proof is another, and was checked by a server.
    #[test]
    fn a_proof_needs_the_password_and_so_does_the_answer_to_it() {
        let mut scram = Scram::new(b"eighteen bytes ...");
        let nonce = scram.first().split("r=").nth(1).unwrap().to_owned();
        let challenge = format!("r={nonce}%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        let right = scram.answer(&challenge, &Secret::new("pencil")).unwrap();
        let signed = scram.expected.clone().unwrap();
        assert!(scram.is_genuine(&format!("v={signed}")) && !scram.is_genuine("v=AAAA") && !scram.is_genuine("e=no"));
        let wrong = scram.answer(&challenge, &Secret::new("pencils")).unwrap();
        assert_ne!(right, wrong);
        for bad in ["", "r=other,s=AAAA,i=4096", &challenge.replace("4096", "0"), &challenge.replace("4096", "4000000000")] {
            assert_eq!(Scram::new(b"x").answer(bad, &Secret::new("pencil")), None, "{bad}");
        }
        assert_eq!(scram.answer(&format!("r={nonce},s=AAAA,i=4096"), &Secret::new("x")), None, "our own nonce, unlengthened");
    }

    #[test]
    fn base64_goes_there_and_back() {
        for (bytes, text) in
            [(&b""[..], ""), (b"f", "Zg=="), (b"fo", "Zm8="), (b"foo", "Zm9v"), (b"\xff\xfe\xfd\xfc", "//79/A==")]
        {
            assert_eq!(base64(bytes), text);
            assert_eq!(unbase64(text).as_deref(), Some(bytes));
        }
        for wrong in ["Z", "Zg=", "Z===", "Zg=x", "Z*==", "===="] {
            assert_eq!(unbase64(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn md5_is_what_servers_of_old_expect() {
        assert_eq!(md5("md5_user", &Secret::new("password"), [0x2a, 0x3d, 0x8f, 0xe0]), "md562af4dd09bbb41884907a838a3233294");
    }
}
