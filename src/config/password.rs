//! A peer's TCP MD5 password, from a file or from the environment. Never none where one was asked for, and never shown.

use super::Context;
use super::item::{Item, Mistake, Table};
use crate::model::Secret;

/// TCP_MD5SIG_MAXKEYLEN (include/uapi/linux/tcp.h).
const LONGEST: usize = 80;

/// The password of the peer that `table` describes.
pub(super) fn read(table: &Table, context: &Context) -> Result<Option<Secret>, Mistake> {
    match (table.get("passwordFile"), table.get("passwordEnv")) {
        (None, None) => Ok(None),
        (Some(file), None) => from_file(file, context).map(Some),
        (None, Some(variable)) => from_environment(variable, context).map(Some),
        (Some(_), Some(_)) => {
            let problem = "has both passwordFile and passwordEnv; allowed: one of them";
            Err(table.whole().mistake(problem))
        }
    }
}

fn from_file(item: &Item, context: &Context) -> Result<Secret, Mistake> {
    const ALLOWED: &str = "a file that holds the password in one line";
    let path = context.path(item, ALLOWED)?;
    let text = std::fs::read_to_string(path)
        .map_err(|error| item.conflict(format_args!("which cannot be read: {error}"), ALLOWED))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    secret(line.strip_suffix('\r').unwrap_or(line)).map_err(|trouble| item.conflict(trouble, ALLOWED))
}

fn from_environment(item: &Item, context: &Context) -> Result<Secret, Mistake> {
    const ALLOWED: &str = "the name of an environment variable that holds the password";
    let name = item.parse(ALLOWED, |text| Some(text.to_owned()))?;
    let Some(text) = (context.env)(&name) else { return Err(item.conflict("which is not set", ALLOWED)) };
    secret(&text).map_err(|trouble| item.conflict(trouble, ALLOWED))
}

/// `text` as a password, or what is wrong with it, in words that do not show it.
fn secret(text: &str) -> Result<Secret, String> {
    if text.is_empty() {
        return Err("which is empty".to_owned());
    }
    if text.contains(['\n', '\r', '\0']) {
        return Err("which holds more than one line".to_owned());
    }
    if text.len() > LONGEST {
        return Err(format!("which holds {} bytes, where TCP MD5 takes {LONGEST} at most", text.len()));
    }
    Ok(Secret::new(text))
}
