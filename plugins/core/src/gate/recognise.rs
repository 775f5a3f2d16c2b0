//! Finds the credential of a request by field and form, offline.
//!
//! Invariant: a credential comes from exactly one line of a field, and a value that is
//! exactly a placeholder of a site is none. Of what stands in one place the first configured
//! authenticator decides; credentials in two places are refused unless `combine` has both.

use crate::authenticator::{Attempt, Presented, Sight};
use crate::config::gate::Config;
use crate::denial::{Ambiguity, Denial, TokenReason};
use crate::fields::Fields;
use crate::gate::Pipeline;
use crate::gate::references::is_site_value;
use crate::identity::Kind;

/// What was recognised, by whom and where.
struct Found {
    kind: Kind,
    place: String,
    attempt: Box<dyn Attempt>,
}

/// The attempts that have to succeed, all of them; the last one is who the caller is.
pub(super) fn recognise(
    pipeline: &Pipeline,
    fields: &Fields,
    certificate: Option<&[u8]>,
) -> Result<Vec<Box<dyn Attempt>>, Denial> {
    let presented = presented(&pipeline.config, fields, certificate)?;
    let mut found: Vec<Found> = Vec::new();
    let mut unlike = None;
    for authenticator in &pipeline.authenticators {
        match authenticator.sight(&presented) {
            Sight::Absent => {}
            Sight::Unlike(reason) => {
                let earlier = unlike.filter(|earlier| rank(*earlier) >= rank(reason));
                unlike = earlier.or(Some(reason));
            }
            Sight::Recognised { place, attempt } => {
                if found.iter().all(|earlier| earlier.place != place) {
                    found.push(Found { kind: authenticator.kind(), place, attempt });
                }
            }
        }
    }
    if found.is_empty() {
        return Err(unlike.map_or(Denial::CredentialsMissing, Denial::InvalidToken));
    }
    combined(&pipeline.config.combine, found)
}

/// How much a reason says about a credential that nobody recognised: the record has the one
/// that says most.
fn rank(reason: TokenReason) -> u8 {
    match reason {
        TokenReason::Scheme | TokenReason::Syntax => 0,
        TokenReason::Form => 1,
        _ => 2,
    }
}

/// Two identities need a rule (RFC 6750, 2: a client must not use more than one method).
fn combined(combine: &[Kind], mut found: Vec<Found>) -> Result<Vec<Box<dyn Attempt>>, Denial> {
    if found.len() > 1 {
        let at = |one: &Found| combine.iter().position(|kind| *kind == one.kind);
        let mut places: Vec<Option<usize>> = found.iter().map(at).collect();
        places.sort_unstable();
        let twice = places.windows(2).any(|pair| pair.first() == pair.last());
        if twice || places.contains(&None) {
            return Err(Denial::RequestAmbiguous(Ambiguity::Identities));
        }
        found.sort_by_key(at);
    }
    Ok(found.into_iter().map(|one| one.attempt).collect())
}

/// What authenticators may look at.
fn presented<'a>(
    config: &'a Config,
    fields: &'a Fields,
    certificate: Option<&'a [u8]>,
) -> Result<Presented<'a>, Denial> {
    // Whether or not it holds our token: servers differ on which of two they believe, and
    // proxies join lines by a comma (RFC 9110 5.3).
    one_value(config, fields, "authorization")?;
    let mut values = Vec::new();
    for name in config.credential_fields() {
        if let Some(value) = one_value(config, fields, name)? {
            values.push((name, value));
        }
    }
    Ok(Presented { fields, values, certificate })
}

/// The only value of a field, unless it is a placeholder in its site.
fn one_value<'a>(
    config: &Config,
    fields: &'a Fields,
    name: &'a str,
) -> Result<Option<&'a str>, Denial> {
    let Some(value) = fields.all(name).next() else { return Ok(None) };
    let invalid = |reason| Err(Denial::InvalidToken(reason));
    if fields.all(name).count() > 1 {
        return invalid(TokenReason::Repeated);
    }
    if is_site_value(config, name, value) {
        return Ok(None);
    }
    let Ok(value) = str::from_utf8(value) else { return invalid(TokenReason::NotUtf8) };
    if value.contains(',') {
        return invalid(TokenReason::Joined);
    }
    Ok(Some(value))
}
