//! The scripts: each is one verb, all or nothing, and knows versions and guards but no locks.

use std::sync::LazyLock;

/// A script and the digest by which a server knows it.
pub(super) struct Script {
    pub code: &'static str,
    pub digest: String,
}

macro_rules! script {
    ($name:ident, $($file:literal),+) => {
        pub(super) static $name: LazyLock<Script> = LazyLock::new(|| {
            let code = concat!($(include_str!(concat!("scripts/", $file))),+);
            Script { code, digest: redis::Script::new(code).get_hash().to_owned() }
        });
    };
}

script!(TAKE, "store.lua", "view.lua", "take.lua");
script!(BEAT, "store.lua", "beat.lua");
script!(LOOK, "store.lua", "view.lua", "look.lua");
script!(COMMIT, "store.lua", "view.lua", "commit.lua");
