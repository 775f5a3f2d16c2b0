//! Workloads that show an X.509-SVID on their connection, or on the one to a hop in front.
//!
//! Invariant: the certificate is the connection's, verified by the host's TLS against the
//! authorities of its listener. What a request says of another one is believed only on the
//! connection of a configured hop, which its own certificate names; who revokes the hop
//! revokes its word.

use std::rc::Rc;

use postern_core::authenticator::{
    Attempt, Authenticator, Established, Presented, Progress, Revocable, Sight,
};
use postern_core::config::gate::Workloads;
use postern_core::denial::{Denial, TokenReason};
use postern_core::hex;
use postern_core::identity::Kind;
use postern_core::revocation;
use postern_core::spiffe::SpiffeId;
use postern_core::time::{Moment, UnixMillis};

use crate::cache::Digest;
use crate::certificate::Leaf;
use crate::forwarded::{FIELD, Forwarded};
use crate::workload;

/// What names the connection as the place of a credential; no field has such a name.
const PLACE: &str = "(connection)";

/// The workloads that a gate knows by their certificates.
pub struct Mtls(Rc<Known>);

struct Known {
    workloads: Workloads,
    tenant: String,
}

impl Mtls {
    /// Workloads as configured; all are of `tenant`.
    pub fn new(workloads: Workloads, tenant: &str) -> Self {
        Self(Rc::new(Known { workloads, tenant: tenant.to_owned() }))
    }
}

impl Authenticator for Mtls {
    fn kind(&self) -> Kind {
        Kind::Mtls
    }

    fn sight(&self, presented: &Presented<'_>) -> Sight {
        let forwarded = match self.0.workloads.hops.is_empty() {
            true => None,
            false => presented.fields.has(FIELD).then(|| presented.fields.only(FIELD)),
        };
        let forwarded = forwarded.map(|line| line.map(<[u8]>::to_vec));
        let leaf = match presented.certificate {
            Some(pem) => Leaf::read(pem),
            None if forwarded.is_some() => return Sight::Unlike(TokenReason::Hop),
            None => return Sight::Absent,
        };
        // A certificate that names no workload may be there for other reasons.
        if leaf.as_ref().is_some_and(|leaf| !leaf.claims_spiffe_id()) {
            let reason = forwarded.map_or(TokenReason::NoSpiffeId, |_| TokenReason::Hop);
            return Sight::Unlike(reason);
        }
        let attempt = MtlsAttempt { known: Rc::clone(&self.0), leaf, forwarded };
        Sight::Recognised { place: PLACE.to_owned(), attempt: Box::new(attempt) }
    }
}

/// One certificate; its verdict needs nobody else.
struct MtlsAttempt {
    known: Rc<Known>,
    /// `None` where it cannot be read.
    leaf: Option<Leaf>,
    /// What the connection's peer says of its caller; `Some(None)` where that is not one line.
    forwarded: Option<Option<Vec<u8>>>,
}

/// A certificate that speaks for a workload.
struct Svid {
    id: SpiffeId,
    thumbprint: Digest,
    /// Its end, where that is known.
    expires: Option<u64>,
    /// What can be revoked of the hop that has brought it.
    hop: Vec<Revocable>,
}

impl MtlsAttempt {
    fn verdict(&self, now: UnixMillis) -> Result<Established, TokenReason> {
        let Svid { id, thumbprint, expires, hop } = self.svid(now)?;
        let token_id = hex::lower(&thumbprint);
        let document = workload::Document { kind: Kind::Mtls, token_id, expires };
        let known = &self.known;
        let identity = workload::identity(&known.workloads, &id, document, &known.tenant)?;
        Ok(Established::verified(identity).known_by(workload::revocable(&id)).known_by(hop))
    }

    /// The peer's own, or its caller's where the peer is a hop.
    fn svid(&self, now: UnixMillis) -> Result<Svid, TokenReason> {
        let leaf = self.leaf.as_ref().ok_or(TokenReason::Certificate)?;
        let peer = leaf.spiffe_id(now)?;
        match (self.known.workloads.hops.contains(&peer), &self.forwarded) {
            (false, None) => Ok(Svid {
                id: peer,
                thumbprint: leaf.thumbprint,
                expires: Some(leaf.until),
                hop: Vec::new(),
            }),
            // Whoever forwards and is no hop is misconfigured, or lies.
            (false, Some(_)) => Err(TokenReason::Hop),
            // A hop calls for others only.
            (true, None) => Err(TokenReason::NotForwarded),
            (true, Some(line)) => {
                let read = line.as_deref().and_then(|line| Forwarded::read(line, now));
                let caller = read.ok_or(TokenReason::Forwarded)?;
                let certificate = (revocation::Kind::Token, hex::lower(&leaf.thumbprint));
                let hop = workload::revocable(&peer).into_iter().chain([certificate]).collect();
                let Forwarded { id, thumbprint, until: expires } = caller;
                Ok(Svid { id, thumbprint, expires, hop })
            }
        }
    }
}

impl Attempt for MtlsAttempt {
    fn start(&mut self, at: Moment) -> Progress {
        Progress::Done(self.verdict(at.now).map_err(Denial::InvalidToken))
    }
}
