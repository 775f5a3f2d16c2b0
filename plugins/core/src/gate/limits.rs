//! Holds a request, as it will leave, against the limits of its caller's credentials.
//!
//! Invariant: every one of several credentials admits the request and whatever is put into it.

use crate::denial::{Denial, NotAllowed, Ours};
use crate::gate::outcome::Request;
use crate::gate::references::Asked;

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
pub(super) fn check_credentials(request: &Request, asked: &[Asked]) -> Result<(), Denial> {
    let admitted = |one: &Asked| {
        let name = one.reference.credential.as_str();
        request.limits.iter().all(|limits| limits.admits_credential(name))
    };
    let all = asked.iter().all(admitted);
    all.then_some(()).ok_or(Denial::CredentialNotAllowed(NotAllowed::Token))
}
