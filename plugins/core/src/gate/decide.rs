//! What is decided on the head alone, once the caller is known.
//!
//! Order: scopes, placeholder positions, bindings, what the head says of the content.

use crate::config::gate::BodyMode;
use crate::denial::{Denial, PolicyReason};
use crate::gate::bind::{self, Bound};
use crate::gate::outcome::Request;
use crate::gate::{Pipeline, references, strip};
use crate::identity::Identity;
use crate::record::ScopeCheck;

/// A head that may go on, if its content may.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Decided {
    pub(super) bound: Bound,
    /// Fields to remove.
    pub(super) removed: Vec<String>,
}

impl Pipeline {
    pub(super) fn decide(
        &self,
        request: &mut Request,
        caller: &Identity,
    ) -> Result<Decided, Denial> {
        self.check_scopes(request, caller)?;
        let head = &request.head;
        let asked = references::find(&self.config, &head.fields, &*self.detector)?;
        let credential = |one: &references::Asked| one.reference.to_string();
        request.draft.credentials = asked.iter().map(credential).collect();
        let cluster = request.cluster.as_deref();
        let bound = bind::bind(&self.config, &asked, &caller.tenant, head, cluster)?;
        self.check_content_fields(request, &bound)?;
        let removed = strip::fields(&self.config, &request.head.fields, &bound);
        Ok(Decided { bound, removed })
    }

    /// A path with parameters is another one to some servers: both need their scopes.
    fn check_scopes(&self, request: &mut Request, caller: &Identity) -> Result<(), Denial> {
        let Request { head, draft, .. } = request;
        draft.scope_check = ScopeCheck::Failed;
        let bare = head.path.without_parameters();
        for path in bare.iter().chain([&head.path]) {
            let rule = self.config.rule(&head.method, path);
            let rule = rule.ok_or(Denial::PolicyDenied(PolicyReason::NoScopeRule))?;
            rule.path.as_str().clone_into(&mut draft.route);
            if !rule.require.iter().all(|scope| caller.scopes.contains(scope)) {
                return Err(Denial::InsufficientScope { scope: rule.require.join(" ") });
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
