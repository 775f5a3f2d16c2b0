//! Finds the one API key of a request and checks its form, offline.
//!
//! Invariant: a key comes from exactly one line of exactly one field; a value that is
//! exactly a placeholder of a site is not a key.

use crate::api_key::PresentedKey;
use crate::config::gate::{ApiKeyField, Config};
use crate::denial::{Ambiguity, Denial, TokenReason};
use crate::fields::Fields;
use crate::gate::references::is_site_value;

/// The key that the caller presents.
pub(super) fn presented(config: &Config, fields: &Fields) -> Result<PresentedKey, Denial> {
    // Whether or not it holds our key: servers differ on which of two they believe, and
    // proxies join lines by a comma (RFC 9110 5.3).
    one_value(config, fields, "authorization")?;
    let mut found = Vec::new();
    for field in &config.keys {
        if let Some(value) = one_value(config, fields, &field.header)? {
            found.push((field, value));
        }
    }
    let (field, value) = choose(&found)?;
    let key = bare(field, value).ok_or(Denial::InvalidToken(TokenReason::Scheme))?;
    PresentedKey::parse(key, &field.prefixes).ok_or(Denial::InvalidToken(TokenReason::Syntax))
}

/// The only value of a field, unless it is a placeholder in its site.
fn one_value<'a>(
    config: &Config,
    fields: &'a Fields,
    name: &'a str,
) -> Result<Option<&'a [u8]>, Denial> {
    let Some(value) = fields.all(name).next() else { return Ok(None) };
    let invalid = |reason| Err(Denial::InvalidToken(reason));
    if fields.all(name).count() > 1 {
        return invalid(TokenReason::Repeated);
    }
    if is_site_value(config, name, value) {
        return Ok(None);
    }
    if str::from_utf8(value).is_err() {
        return invalid(TokenReason::NotUtf8);
    }
    if value.contains(&b',') {
        return invalid(TokenReason::Joined);
    }
    Ok(Some(value))
}

/// Of several fields the one that holds something with a key's prefix: callers often send
/// their own `Authorization` beside our key. Two of those are refused (RFC 6750 2).
fn choose<'a>(
    found: &[(&'a ApiKeyField, &'a [u8])],
) -> Result<(&'a ApiKeyField, &'a [u8]), Denial> {
    let mut keys = found.iter().filter(|(field, value)| looks_like_key(field, value));
    match (keys.next(), keys.next()) {
        (Some(key), None) => Ok(*key),
        (Some(_), Some(_)) => Err(Denial::RequestAmbiguous(Ambiguity::Keys)),
        (None, _) => found.first().copied().ok_or(Denial::CredentialsMissing),
    }
}

fn looks_like_key(field: &ApiKeyField, value: &[u8]) -> bool {
    let prefixed = |key: &[u8]| field.prefixes.iter().any(|p| key.starts_with(p.as_bytes()));
    bare(field, value).is_some_and(prefixed)
}

fn bare<'a>(field: &ApiKeyField, value: &'a [u8]) -> Option<&'a [u8]> {
    if !field.is_bearer() {
        return Some(value);
    }
    let (scheme, rest) = value.split_at_checked("Bearer".len())?;
    scheme.eq_ignore_ascii_case(b"bearer").then_some(())?;
    rest.strip_prefix(b" ")
}
