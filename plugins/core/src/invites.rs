//! Invites: what somebody unknown exchanges, once, for a capability token.
//!
//! Owns the interface only; `postern-identity` implements it with the tokens of the gate's
//! configuration. Invariant: an [`Issued`] is of a token that was verified here like any
//! other, for the key whose holder has signed the request.

use crate::authenticator::Established;
use crate::denial::Denial;
use crate::fields::Fields;
use crate::key_service::{CallId, CallResult, Turn};
use crate::time::Moment;

/// Exchanges the invites of a tenant.
pub trait Invites {
    /// What a request for the endpoint presents. Verifies nothing.
    fn presented(&self, fields: &Fields) -> Box<dyn Exchange>;
}

/// One invite on its way to a token.
pub trait Exchange {
    /// Begins; called once.
    fn start(&mut self, at: Moment) -> Turn<Outcome>;
    /// Takes the reply of the call that was asked for last.
    fn heard(&mut self, call: CallId, result: CallResult, at: Moment) -> Turn<Outcome>;
    /// The request is gone: forget its call.
    fn abandon(&mut self);
}

/// A token, or why there is none.
pub type Outcome = Result<Issued, Denial>;

/// A token and whom it names.
#[derive(Debug, PartialEq, Eq)]
pub struct Issued {
    /// The token: no good without the holder's key.
    pub token: String,
    /// Whom it names and what of it can be revoked.
    pub established: Established,
}
