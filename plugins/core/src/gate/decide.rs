//! What is decided on the head alone, once the caller is known.
//!
//! Order: scopes, the token's document, other limits of the token, the upstream's region, placeholder
//! positions, bindings, what the head says of the content.

use crate::config::gate::BodyMode;
use crate::denial::{Ambiguity, Denial, Place, PolicyReason};
use crate::gate::bind::{self, Bound, Destination};
use crate::gate::outcome::Request;
use crate::gate::references::Asked;
use crate::gate::{Pipeline, forward, limits, references, region, strip};
use crate::identity::Identity;
use crate::permit::MOST_USES;
use crate::record::ScopeCheck;

/// A head that may go on, if its content may.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Decided {
    asked: Vec<Asked>,
    pub(super) bound: Bound,
    /// Fields to remove.
    pub(super) removed: Vec<String>,
}

impl Pipeline {
    /// Rewrites a request for the forward endpoint; any other stays as it is.
    pub(super) fn forward(&self, request: &mut Request) -> Result<(), Denial> {
        let Some(asked) = request.asked.take() else { return Ok(()) };
        if let Some(forward) = &self.config.forward {
            forward.text.clone_into(&mut request.draft.route);
        }
        let target = forward::rewrite(&self.config, &mut request.head, &asked)?;
        request.destination = Destination::To(target.authority.clone());
        request.draft.method.clone_from(&request.head.method);
        request.draft.route.clear();
        request.target = Some(target);
        Ok(())
    }

    pub(super) fn decide(
        &self,
        request: &mut Request,
        caller: &Identity,
    ) -> Result<Decided, Denial> {
        self.check_scopes(request, caller)?;
        limits::check(request)?;
        region::check(&self.config, request)?;
        let asked = references::find(&self.config, &request.head.fields, &*self.detector)?;
        self.place(request, caller, asked)
    }

    /// Binds what the content asks for as well, once that is known.
    pub(super) fn decide_content(
        &self,
        request: &mut Request,
        caller: &Identity,
        decided: Decided,
        more: &[Asked],
    ) -> Result<Decided, Denial> {
        if more.is_empty() {
            return Ok(decided);
        }
        let mut asked = decided.asked;
        asked.extend_from_slice(more);
        if asked.len() > MOST_USES {
            return Err(Denial::PlaceholderMisplaced(Place::Twice));
        }
        self.place(request, caller, asked)
    }

    fn place(
        &self,
        request: &mut Request,
        caller: &Identity,
        asked: Vec<Asked>,
    ) -> Result<Decided, Denial> {
        let credential = |one: &Asked| one.reference.to_string();
        request.draft.credentials = asked.iter().map(credential).collect();
        limits::check_credentials(&self.config, request, &asked)?;
        let (head, to) = (&request.head, &request.destination);
        let bound = bind::bind(&self.config, &asked, &caller.tenant, head, to)?;
        if request.head.websocket && bound.uses.is_empty() {
            // The leave is a binding's, and there is none.
            return Err(Denial::RequestAmbiguous(Ambiguity::Upgrade));
        }
        self.check_content_fields(request, &bound)?;
        let removed = strip::fields(&self.config, &request.head, &bound);
        Ok(Decided { asked, bound, removed })
    }

    /// A path with parameters is another one to some servers: both need their scopes.
    fn check_scopes(&self, request: &mut Request, caller: &Identity) -> Result<(), Denial> {
        let Request { head, draft, limits, .. } = request;
        let limited = limits.iter().filter_map(|one| one.document());
        let documents: Vec<&str> = caller.document.as_deref().into_iter().chain(limited).collect();
        draft.scope_check = ScopeCheck::Failed;
        let bare = head.path.without_parameters();
        for path in bare.iter().chain([&head.path]) {
            let rule = self.config.rule(&head.method, path);
            let rule = rule.ok_or(Denial::PolicyDenied(PolicyReason::NoScopeRule))?;
            rule.path.as_str().clone_into(&mut draft.route);
            if !rule.require.iter().all(|scope| caller.scopes.contains(scope)) {
                return Err(Denial::InsufficientScope { scope: rule.require.join(" ") });
            }
            if !documents.iter().all(|document| rule.is_about(document, path)) {
                return Err(Denial::PolicyDenied(PolicyReason::TokenDocument));
            }
        }
        draft.scope_check = ScopeCheck::Passed;
        Ok(())
    }

    /// Content that cannot be read, or not wholly, is refused before it comes. Where content
    /// is not read at all, only a credentialed request has to be readable.
    fn check_content_fields(&self, request: &Request, bound: &Bound) -> Result<(), Denial> {
        let mode = self.config.body;
        let must_read = mode != BodyMode::Off || !bound.uses.is_empty();
        if must_read && request.head.has_coded_content() {
            return Err(Denial::EncodingUnsupported);
        }
        let limit = u64::try_from(self.config.body_limit).unwrap_or(u64::MAX);
        if mode == BodyMode::Hold && request.head.content_length().is_some_and(|n| n > limit) {
            return Err(Denial::BodyTooLarge);
        }
        Ok(())
    }
}
