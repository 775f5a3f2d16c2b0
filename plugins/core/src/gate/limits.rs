//! Holds a request, as it will leave, against the limits of its caller's credentials.
//!
//! Invariant: every one of several credentials admits the request and whatever is put into it,
//! and covers the fields that say what that is.

use crate::config::gate::Config;
use crate::denial::{Denial, NotAllowed, Ours, TokenReason};
use crate::gate::outcome::Request;
use crate::gate::references::Asked;
use crate::placeholder::Name;

/// Method, destination and path.
pub(super) fn check(request: &Request) -> Result<(), Denial> {
    if request.limits.is_empty() {
        return Ok(());
    }
    let head = &request.head;
    let target = head.fields.only(":path").and_then(|target| str::from_utf8(target).ok());
    let path = target.and_then(|target| target.split('?').next());
    let path = path.ok_or(Denial::Internal(Ours::Unreachable))?;
    let authority = request.destination.authority().map(ToString::to_string);
    let admits = |limits: &std::rc::Rc<dyn crate::limits::Limits>| {
        limits.admits(&head.method, authority.as_deref(), path)
    };
    request.limits.iter().try_for_each(admits).map_err(Denial::PolicyDenied)
}

/// Credentials that the head or the content asks for.
pub(super) fn check_credentials(
    config: &Config,
    request: &Request,
    asked: &[Asked],
) -> Result<(), Denial> {
    for limits in &request.limits {
        let field = |one: &Asked| field(config, one).is_none_or(|field| limits.covers(&field));
        if !asked.iter().all(field) {
            return Err(Denial::InvalidToken(TokenReason::ProofField));
        }
        let mut names = asked.iter().flat_map(|one| names(config, &one.reference.credential));
        if !names.all(|name| limits.admits_credential(name)) {
            return Err(Denial::CredentialNotAllowed(NotAllowed::Token));
        }
    }
    Ok(())
}

/// As limits name a credential: like the bindings that it may have, since what is minted has a
/// name that nobody could know before.
fn names<'a>(config: &'a Config, credential: &'a Name) -> Vec<&'a str> {
    let bindings = config.bindings.of(credential);
    let names: Vec<&str> = bindings.map(|binding| binding.credential().as_str()).collect();
    if names.is_empty() { vec![credential.as_str()] } else { names }
}

/// The field that names a credential; none where it stands in the target or the content.
fn field(config: &Config, asked: &Asked) -> Option<String> {
    let Some(site) = &asked.site else { return Some(config.credential_header.clone()) };
    match site.split_once(':') {
        Some(("cookie", _)) => Some("cookie".to_owned()),
        Some(("query" | "json" | "form", _)) => None,
        _ => Some(site.clone()),
    }
}
