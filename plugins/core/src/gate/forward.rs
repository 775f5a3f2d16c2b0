//! The forward endpoint: a request says in two fields where it is for, and becomes that
//! request before anything is decided.
//!
//! Owns which requests are for the endpoint and how one is rewritten. The place that was
//! asked for counts only once the caller is known, so a stranger learns nothing about the
//! `upstreams` table.
//!
//! Invariant: a rewritten head has the method, authority and path of one parsed
//! [`Target`] whose authority an upstream has, and neither field; it is rewritten once,
//! and never to the path of a forward endpoint, so a request cannot come round.

use crate::binding::is_refused_method;
use crate::config::gate::{Config, METHOD, TARGET};
use crate::denial::{Ambiguity, Denial, NotAllowed};
use crate::effect::{Effect, Part};
use crate::gate::Step;
use crate::gate::head::Head;
use crate::target::Target;

/// What a request for the endpoint asks for, as written.
pub(super) struct Asked {
    target: Vec<u8>,
    method: String,
}

/// The fields of a request for the endpoint; `None` for any other request. Half of one, or
/// one elsewhere, is refused: it would be forwarded as something that nobody asked for.
pub(super) fn asked(config: &Config, head: &Head) -> Result<Option<Asked>, Denial> {
    let Some(forward) = &config.forward else { return Ok(None) };
    let ambiguous = || Denial::RequestAmbiguous(Ambiguity::Forward);
    let fields = &head.fields;
    let here = head.method == "POST" && head.path == forward.path;
    if !here {
        let strays = fields.has(TARGET) || fields.has(METHOD);
        return if strays { Err(ambiguous()) } else { Ok(None) };
    }
    // A query would be lost, and another `Host` would stay.
    let lost = fields.only(":path").is_none_or(|path| path.contains(&b'?'));
    if lost || fields.has("host") {
        return Err(ambiguous());
    }
    let target = fields.only(TARGET).ok_or_else(ambiguous)?.to_vec();
    let method = fields.only(METHOD).and_then(|value| str::from_utf8(value).ok());
    let method = method.filter(|method| is_name(method)).ok_or_else(ambiguous)?;
    if is_refused_method(method) || method.eq_ignore_ascii_case("HEAD") {
        // An answer to HEAD ends at its head; one to the caller's POST does not.
        return Err(Denial::MethodRefused);
    }
    Ok(Some(Asked { target, method: method.to_owned() }))
}

/// Letters and hyphens: a comma would be two lines that somebody has joined.
fn is_name(method: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'-';
    (1..=32).contains(&method.len()) && method.bytes().all(letter)
}

/// Makes the head that of the request that was asked for.
pub(super) fn rewrite(config: &Config, head: &mut Head, asked: &Asked) -> Result<Target, Denial> {
    let target = Target::parse(&asked.target).map_err(Denial::CredentialNotAllowed)?;
    if !config.upstreams.has_authority(&target.authority) {
        return Err(Denial::CredentialNotAllowed(NotAllowed::TargetUnknown));
    }
    if comes_back(config, &target) {
        return Err(Denial::CredentialNotAllowed(NotAllowed::TargetLoop));
    }
    head.fields.0.retain(|field| {
        !field.name.eq_ignore_ascii_case(TARGET.as_bytes())
            && !field.name.eq_ignore_ascii_case(METHOD.as_bytes())
    });
    for (name, value) in lines(&asked.method, &target) {
        head.fields.put(name, value.as_bytes());
    }
    asked.method.clone_into(&mut head.method);
    head.path.clone_from(&target.path);
    Ok(target)
}

/// Whether the target is the path of a forward endpoint, to servers that drop parameters too.
fn comes_back(config: &Config, target: &Target) -> bool {
    let bare = target.path.without_parameters();
    config.forward.as_ref().is_some_and(|forward| {
        forward.path == target.path || bare.is_some_and(|bare| bare == forward.path)
    })
}

/// The pseudo-fields that change. The scheme is the target's, whatever the caller came by.
fn lines(method: &str, target: &Target) -> [(&'static str, String); 4] {
    [
        (":method", method.to_owned()),
        (":scheme", "https".to_owned()),
        (":authority", target.authority.to_string()),
        (":path", target.origin_form.clone()),
    ]
}

/// Writes the rewritten head; the proxy chooses the route again when it is written.
pub(super) fn write(step: &mut Step<'_>, head: &Head, target: &Target) {
    for name in [TARGET, METHOD] {
        step.emit(Effect::RemoveField { part: Part::Request, name: name.to_owned() });
    }
    for (name, value) in lines(&head.method, target) {
        let (part, name, value) = (Part::Request, name.to_owned(), value.into_bytes());
        step.emit(Effect::SetField { part, name, value });
    }
}
