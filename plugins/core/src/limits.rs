//! What a caller's token allows at most, whatever the caller may do otherwise.
//!
//! Owns the question only: authenticators whose tokens have limits implement it, and the gate
//! asks it once the request is as it will leave. Invariant: what the gate cannot compare with
//! a limit (where a request goes, what it costs) is outside of that limit.

use std::fmt;

use crate::denial::PolicyReason;

/// The limits of one token.
pub trait Limits: fmt::Debug {
    /// Whether a request may be made: its method, the authority that it leaves for where that
    /// is known, and its path as it leaves, without the query.
    fn admits(&self, method: &str, authority: Option<&str>, path: &str)
    -> Result<(), PolicyReason>;
    /// Whether this credential may be used: its name, or that of its family (what a token
    /// endpoint has minted).
    fn admits_credential(&self, name: &str) -> bool;
    /// The one document that it is for, if it is for one. Which document a request is about
    /// is the gate's to say.
    fn document(&self) -> Option<&str> {
        None
    }
    /// Whether the caller has signed this field, lower case, which names a credential.
    fn covers(&self, field: &str) -> bool;
}

/// The same limits, not ones that are alike.
impl PartialEq for dyn Limits {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::addr_eq(self, other)
    }
}

impl Eq for dyn Limits {}
