//! Workloads that show an X.509-SVID on their connection.
//!
//! Invariant: the certificate is the connection's, verified by the host's TLS against the
//! authorities of its listener; nothing that a request says stands in for it.

use std::rc::Rc;

use postern_core::authenticator::{
    Attempt, Authenticator, Established, Presented, Progress, Sight, Verdict,
};
use postern_core::config::gate::Workloads;
use postern_core::denial::{Denial, Ours, TokenReason};
use postern_core::identity::Kind;
use postern_core::key_service::{CallId, CallResult};
use postern_core::time::{Moment, UnixMillis};

use crate::certificate::Leaf;
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
        let Some(pem) = presented.certificate else { return Sight::Absent };
        let leaf = Leaf::read(pem);
        // A certificate that names no workload may be there for other reasons.
        if leaf.as_ref().is_some_and(|leaf| !leaf.claims_spiffe_id()) {
            return Sight::Unlike(TokenReason::NoSpiffeId);
        }
        let attempt = MtlsAttempt { known: Rc::clone(&self.0), leaf };
        Sight::Recognised { place: PLACE.to_owned(), attempt: Box::new(attempt) }
    }
}

/// One certificate; its verdict needs nobody else.
struct MtlsAttempt {
    known: Rc<Known>,
    /// `None` where it cannot be read.
    leaf: Option<Leaf>,
}

impl MtlsAttempt {
    fn verdict(&self, now: UnixMillis) -> Result<Established, TokenReason> {
        let leaf = self.leaf.as_ref().ok_or(TokenReason::Certificate)?;
        let id = leaf.spiffe_id(now)?;
        let document = workload::Document {
            kind: Kind::Mtls,
            token_id: workload::fingerprint(&leaf.thumbprint),
            expires: leaf.until,
        };
        let known = &self.known;
        let identity = workload::identity(&known.workloads, &id, document, &known.tenant)?;
        Ok(Established::verified(identity).known_by(workload::revocable(&id)))
    }
}

impl Attempt for MtlsAttempt {
    fn start(&mut self, at: Moment) -> Progress {
        Progress::Done(self.verdict(at.now).map_err(Denial::InvalidToken))
    }

    fn heard(&mut self, _: CallId, _: CallResult, _: Moment) -> Progress {
        Progress::Done(Err(Denial::Internal(Ours::Unexpected)))
    }

    fn look(&mut self, _: UnixMillis) -> Option<Verdict> {
        None
    }

    fn abandon(&mut self) {}

    fn late(&self) -> Denial {
        Denial::Internal(Ours::Unexpected)
    }
}
