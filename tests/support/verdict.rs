//! What an error must be: of the right kind, in words a person can use, and without a secret.

use vaultlock::store::Error;

/// A password for tests; it must turn up in no text.
pub const CANARY: &str = "c4n4ry-s3cret";

/// It is refused, and the text says this.
#[track_caller]
pub fn refused<T>(result: Result<T, Error>, part: &str) {
    match result.map(drop) {
        Err(Error::Refused(text)) => check(&text, part),
        other => panic!("not refused: {other:?}"),
    }
}

/// It could not be reached, and the text says this.
#[track_caller]
pub fn unreachable<T>(result: Result<T, Error>, part: &str) {
    match result.map(drop) {
        Err(Error::Unreachable(text)) => check(&text, part),
        other => panic!("not unreachable: {other:?}"),
    }
}

/// It is damaged, and the text says this.
#[track_caller]
pub fn damaged<T>(result: Result<T, Error>, part: &str) {
    match result.map(drop) {
        Err(Error::Damaged(text)) => check(&text, part),
        other => panic!("not damaged: {other:?}"),
    }
}

#[track_caller]
fn check(text: &str, part: &str) {
    assert!(text.contains(part), "{text:?} lacks {part:?}");
    let names_the_server = ["redis at ", "postgres at ", "etcd at ", "zookeeper at "].iter().any(|name| text.contains(name));
    assert!(names_the_server && !text.contains("os error") && !text.contains(CANARY), "{text}");
}
