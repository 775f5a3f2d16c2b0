//! People who decide about requests: who they are, their passkeys, who is signed in.
//!
//! Owns the rules; rows are [`crate::store`]'s, pages [`crate::pages`]'s. Everything here is
//! off unless `people` stands in `keys.yaml`, which gives the one origin that counts: nothing
//! is derived from `Host`.
//!
//! Invariant: a [`SignedIn`] is made by looking up a live session and nowhere else, and a
//! [`SteppedUp`] by verifying a passkey of the same person over one request.

pub(crate) mod attempts;
pub mod ceremony;
pub(crate) mod challenge;
mod links;
mod passkeys;
mod sessions;

use std::sync::{Mutex, PoisonError};

pub(crate) use challenge::of_request as challenge_of;
pub(crate) use links::{LIFE as LINK_LIFE, LONGEST as LONGEST_LINK};
pub(crate) use passkeys::{SteppedUp, name as passkey_name};
pub(crate) use sessions::{SignedIn, Token, hash as browser};

use crate::config;
use crate::fault::Fault;
use crate::people::attempts::{Attempts, Source};
use crate::people::ceremony::RelyingParty;
use crate::store::people::{Handle, Record};
use postern_core::time::UnixMillis;

/// Roles that may decide. An agent is no person; a developer owns the agents that ask, and
/// would decide about his own work; an auditor has to stay outside of what is audited. An
/// administrator already decides what agents of the organisation may do, and the platform's
/// people for every organisation.
pub const ROLES: [&str; 2] = ["ADMIN", "PLATFORM"];

/// Roles of people on the pages: those, and auditors, who read the log and decide nothing.
pub const PEOPLE: [&str; 3] = ["ADMIN", "PLATFORM", "AUDITOR"];

const AUDITOR: &str = "AUDITOR";

/// A person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// What authenticators know the person by.
    pub handle: Handle,
    /// Tenant.
    pub tenant: String,
    /// Name, as the directory knows the user.
    pub name: String,
    /// Organisation in which the role holds.
    pub organisation: String,
    /// Decides for every organisation of the tenant.
    pub platform: bool,
    /// Decides at all.
    pub decides: bool,
    /// Reads the audit log of the tenant.
    pub audits: bool,
}

impl Person {
    /// The person of a row; `None` where its role is none of the pages (any more).
    pub(crate) fn of(record: Record) -> Option<Self> {
        let known = PEOPLE.contains(&record.role.as_str());
        known.then(|| Self {
            handle: record.handle,
            platform: record.role == "PLATFORM",
            decides: ROLES.contains(&record.role.as_str()),
            audits: [AUDITOR, "PLATFORM"].contains(&record.role.as_str()),
            tenant: record.tenant,
            name: record.person,
            organisation: record.organisation,
        })
    }

    /// Whether requests from `organisation` are for this person to see and decide.
    pub fn decides_for(&self, organisation: &str) -> bool {
        self.decides && (self.platform || self.organisation == organisation)
    }

    fn event(&self, kind: &'static str) -> crate::audit::Event {
        crate::audit::Event::new(kind, &self.tenant).with("person", self.name.as_str())
    }
}

/// Why something is not done. A browser learns only that it was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Too many attempts from there.
    Often,
    /// The answer, the challenge or the link is no good.
    NoGood,
    /// The counter of a passkey did not grow: there may be a copy of it.
    Copied,
    /// The last sign-in is too long ago for this.
    Stale,
    /// A person has as many passkeys as there may be, or only one is left.
    Count,
}

/// What is there while `people` is configured.
pub(crate) struct People {
    pub(crate) settings: config::People,
    pub(crate) site: RelyingParty,
    attempts: Mutex<Attempts>,
}

impl People {
    pub(crate) fn new(settings: &config::People) -> Result<Self, Fault> {
        let site = RelyingParty::new(&settings.origin, &settings.host);
        let site = site.ok_or(Fault::Malformed("people.origin"))?;
        let attempts = Mutex::new(Attempts::default());
        Ok(Self { settings: settings.clone(), site, attempts })
    }

    /// Counts an attempt; an error once there were too many.
    pub(crate) fn attempt(&self, source: Source, now: UnixMillis) -> Result<(), Refusal> {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        if attempts.count(source, now) { Ok(()) } else { Err(Refusal::Often) }
    }
}
