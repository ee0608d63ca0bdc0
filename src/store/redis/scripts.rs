//! The scripts: each is one verb, all or nothing, and knows versions and guards but no locks.

use std::borrow::Cow;
use std::sync::LazyLock;

use crate::mutant::{self, Mutant};

/// A script and the digest by which a server knows it.
pub(super) struct Script {
    pub code: Cow<'static, str>,
    pub digest: String,
}

macro_rules! script {
    ($name:ident, $($file:literal),+) => {
        pub(super) static $name: LazyLock<Script> = LazyLock::new(|| {
            let code = as_chosen(concat!($(include_str!(concat!("scripts/", $file))),+));
            Script { digest: redis::Script::new(&code).get_hash().to_owned(), code }
        });
    };
}

script!(TAKE, "store.lua", "view.lua", "take.lua");
script!(BEAT, "store.lua", "beat.lua");
script!(LOOK, "store.lua", "view.lua", "look.lua");
script!(COMMIT, "store.lua", "view.lua", "commit.lua");

fn as_chosen(code: &'static str) -> Cow<'static, str> {
    if mutant::on(Mutant::BlindCommit) { code.replace("ARGV[6] ~= version", "false").into() } else { code.into() }
}
