//! Words of the contract that this version does not have yet: refused with a clear word, never ignored.

use anyhow::anyhow;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::exit::Exit;

/// Verbs and options to come; each leaves this list when it arrives.
pub const LATER: &[&str] = &[
    "history",
    "reserve",
    "turn",
    "--reservation",
    "--keys",
    "--key-window",
    "--metrics-file",
    "--on-lost",
    "--on-wait",
    "--health",
    "--health-every",
];

/// Makes of clap's verdict what our users get: help and version on standard output, everything else a usage error.
pub fn explain(error: clap::Error) -> Result<Exit, (Exit, anyhow::Error)> {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return super::print(error.render().to_string().as_bytes());
    }
    if let Some(word) = culprit(&error).filter(|word| LATER.contains(&word.as_str())) {
        return Err((Exit::Usage, anyhow!("{word} is not in this version of vaultlock yet: vaultlock --help lists what is")));
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        eprint!("{}", error.render());
        return Ok(Exit::Usage);
    }
    Err((Exit::Usage, anyhow!("{}\n\nsee vaultlock --help", told(&error))))
}

/// What clap says, as a fragment of ours.
pub fn told(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.trim().strip_prefix("error: ").unwrap_or(text.trim());
    text.split("\n\nFor more information").next().unwrap_or(text).to_owned()
}

/// The word that clap stumbled over, without a value glued to it.
fn culprit(error: &clap::Error) -> Option<String> {
    let kind = match error.kind() {
        ErrorKind::UnknownArgument => ContextKind::InvalidArg,
        ErrorKind::InvalidSubcommand => ContextKind::InvalidSubcommand,
        _ => return None,
    };
    match error.get(kind) {
        Some(ContextValue::String(word)) => {
            let bare = word.split(['=', ' ']).next().unwrap_or(word);
            Some(bare.to_owned())
        }
        _ => None,
    }
}
