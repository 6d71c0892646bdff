//! A peer's TCP MD5 password: from a file, from the environment, or the Secret that it is in. Never none where one was
//! asked for, and never shown.

use std::path::Path;
use std::sync::Arc;

use super::item::{Item, Mistake, Table};
use super::{Context, value};
use crate::model::Secret;
use crate::model::bgp::SecretKey;
use crate::watch::kubernetes::credentials::SERVICE_ACCOUNT;

/// TCP_MD5SIG_MAXKEYLEN (include/uapi/linux/tcp.h).
const LONGEST: usize = 80;

/// The key of a Secret's data where none is named.
const KEY: &str = "password";

/// The longest name of a key of a Secret (`IsConfigMapKey` in `k8s.io/apimachinery/pkg/util/validation`).
const LONGEST_KEY: usize = 253;

/// A password as far as it is known when the configuration is read.
pub(super) enum Password {
    /// None is asked for.
    None,
    /// This one.
    Known(Secret),
    /// What this Secret holds.
    In(SecretKey),
}

/// The password of the peer that `table` describes, in the file whose `context` that is or in an annotation.
pub(super) fn read(table: &Table, context: Option<&Context>) -> Result<Password, Mistake> {
    let given: Vec<&str> =
        ["passwordFile", "passwordEnv", "passwordSecret"].into_iter().filter(|key| table.get(key).is_some()).collect();
    match (given[..].first().and_then(|key| Some((*key, table.get(key)?))), context) {
        (None, _) => Ok(Password::None),
        (Some(_), _) if given.len() > 1 => {
            let problem = format!("has both {}; allowed: one of them", given.join(" and "));
            Err(table.whole().mistake(problem))
        }
        (Some(("passwordFile", file)), Some(context)) => from_file(file, context).map(Password::Known),
        (Some(("passwordEnv", variable)), Some(context)) => from_environment(variable, context).map(Password::Known),
        (Some((_, secret)), context) => secret_key(secret, context).map(Password::In),
    }
}

fn from_file(item: &Item, context: &Context) -> Result<Secret, Mistake> {
    const ALLOWED: &str = "a file that holds the password in one line";
    let path = context.path(item, ALLOWED)?;
    context.files.borrow_mut().insert(path.clone());
    let text = std::fs::read_to_string(path)
        .map_err(|error| item.conflict(format_args!("which cannot be read: {error}"), ALLOWED))?;
    one_line(&text).map_err(|trouble| item.conflict(format_args!("which {trouble}"), ALLOWED))
}

fn from_environment(item: &Item, context: &Context) -> Result<Secret, Mistake> {
    const ALLOWED: &str = "the name of an environment variable that holds the password";
    let name = item.parse(ALLOWED, |text| Some(text.to_owned()))?;
    let Some(text) = (context.env)(&name) else { return Err(item.conflict("which is not set", ALLOWED)) };
    password(&text).map_err(|trouble| item.conflict(format_args!("which {trouble}"), ALLOWED))
}

/// `passwordSecret`. In an annotation nothing says which namespace is meant, so it has to be given there.
fn secret_key(item: &Item, context: Option<&Context>) -> Result<SecretKey, Mistake> {
    let table = item.table(&["name", "key", "namespace"])?;
    let word = |item: &Item, allowed, is_one: fn(&str) -> bool| {
        item.parse(allowed, |text| is_one(text).then(|| Arc::<str>::from(text)))
    };
    const NAME: &str = "the name of a Secret (lower-case letters, digits, '-' and '.')";
    const NAMESPACE: &str = "the Secret's namespace";
    let name = word(table.require("name", NAME)?, NAME, value::is_node_name)?;
    let key =
        table.read("key", |item| word(item, "a key of the Secret (letters, digits, '-', '_' and '.')", is_key))?;
    let namespace = table.read("namespace", |item| word(item, NAMESPACE, is_namespace))?;
    let namespace = match namespace.or_else(|| context.and_then(own_namespace)) {
        Some(namespace) => namespace,
        None if context.is_none() => return Err(table.missing("namespace", NAMESPACE)),
        None => {
            let allowed =
                format!("{NAMESPACE}, as neither POD_NAMESPACE nor a service account tells this process's own");
            return Err(table.missing("namespace", &allowed));
        }
    };
    Ok(SecretKey { namespace, name, key: key.unwrap_or_else(|| KEY.into()) })
}

/// The namespace of this process's pod, if it is in one.
pub(super) fn own_namespace(context: &Context) -> Option<Arc<str>> {
    let told = (context.env)("POD_NAMESPACE");
    let account = || std::fs::read_to_string(Path::new(SERVICE_ACCOUNT).join("namespace")).ok();
    let name = told.filter(|name| !name.is_empty()).or_else(account)?;
    Some(name.trim()).filter(|name| is_namespace(name)).map(Arc::from)
}

/// Can a namespace be called so (RFC 1123 label)?
fn is_namespace(name: &str) -> bool {
    value::is_node_name(name) && name.len() <= 63 && !name.contains('.')
}

fn is_key(key: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=LONGEST_KEY).contains(&key.len()) && key.chars().all(allowed) && key != "." && !key.starts_with("..")
}

/// The password that is the only line of `text`, or what is wrong with it, in words that do not show it.
pub(crate) fn one_line(text: &str) -> Result<Secret, String> {
    let line = text.strip_suffix('\n').unwrap_or(text);
    password(line.strip_suffix('\r').unwrap_or(line))
}

fn password(text: &str) -> Result<Secret, String> {
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    if text.contains(['\n', '\r', '\0']) {
        return Err("holds more than one line".to_owned());
    }
    if text.len() > LONGEST {
        return Err(format!("holds {} bytes, where TCP MD5 takes {LONGEST} at most", text.len()));
    }
    Ok(Secret::new(text))
}
