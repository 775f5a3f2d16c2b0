//! What has been revoked, as the pipelines see it, and how old that knowledge is.
//!
//! Owns the names of revoked things and the ages at which knowledge is too old; knows no
//! signature and no call. `postern-crp` implements the traits. Invariant: an entry names
//! its tenant, so nobody revokes what is another's; no knowledge is never "not revoked"
//! for long.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::binding::is_safe_method;
use crate::effect::Metric;
use crate::key_service::{Call, CallId, CallResult};
use crate::receipt::SharedData;
use crate::time::{Moment, UnixMillis};

/// Bytes of an [`Entry`].
pub const ENTRY: usize = 17;

macro_rules! kinds {
    ($($variant:ident $code:literal $name:literal $doc:literal),+ $(,)?) => {
        /// Kinds of things that can be revoked.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {
            $(#[doc = $doc] $variant,)+
        }

        impl Kind {
            /// Every kind, by code.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// As written in an entry.
            pub fn code(self) -> u8 {
                match self { $(Self::$variant => $code,)+ }
            }

            /// As operators write it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

kinds! {
    ApiKey 1 "api-key" "An API key, by key id.",
    Gateway 2 "gateway" "A gateway, by its 16 bytes.",
    Credential 3 "credential" "A credential, by name.",
    Agent 4 "agent" "An agent, by name.",
    Measurement 5 "measurement" "A measurement of the key service (hostdata).",
    Tenant 6 "tenant" "A tenant; the id is empty.",
    Token 7 "token" "A token: `jti`, or `cti` of any block.",
    User 8 "user" "A user, by name.",
    Session 9 "session" "A browser session.",
    Approval 10 "approval" "An approval, by its 16 bytes.",
    IssuerKey 11 "issuer-key" "A key that signs tokens, by key id.",
}

impl Kind {
    /// The kind of a code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.code() == code)
    }

    /// The kind of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

/// One revoked thing, as lists carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entry(pub [u8; ENTRY]);

impl Entry {
    /// The entry of `id` of `tenant`.
    pub fn of(kind: Kind, tenant: &str, id: &[u8]) -> Self {
        let length = u8::try_from(tenant.len()).unwrap_or(u8::MAX);
        let hash = Sha256::new_with_prefix(b"crp rev\0")
            .chain_update([kind.code(), length])
            .chain_update(tenant.as_bytes())
            .chain_update(id)
            .finalize();
        let mut entry = [kind.code(); ENTRY];
        entry.iter_mut().skip(1).zip(hash).for_each(|(to, from)| *to = from);
        Self(entry)
    }
}

/// How far the knowledge of revocations can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Freshness {
    /// Signed seconds ago: what was learnt may be kept for its whole life.
    Live,
    /// None yet, or an old one: nothing is kept for longer than three seconds.
    Late,
    /// Too old for anything but reads.
    StaleForWrites,
    /// Too old for anything.
    Stale,
}

impl Freshness {
    /// Whether a request with this method may be decided on it.
    pub fn allows(self, method: &[u8]) -> bool {
        match self {
            Self::Live | Self::Late => true,
            Self::StaleForWrites => is_safe_method(method),
            Self::Stale => false,
        }
    }
}

/// Ages of a head from which requests are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From here on everything but reads.
    pub writes: Duration,
    /// From here on everything.
    pub all: Duration,
}

impl Limits {
    /// The longest there may be, and the default.
    pub const LONGEST: Self =
        Self { writes: Duration::from_secs(30), all: Duration::from_secs(300) };
    /// Shortest: a head may be five seconds old when all goes well.
    pub const SHORTEST: Duration = Duration::from_secs(6);
}

/// What has been revoked, to those who decide about a request.
pub trait Revocations {
    /// How far this can be relied on now.
    fn freshness(&self, now: UnixMillis) -> Freshness;
    /// Whether the list has `id` of the gateway's tenant.
    fn is_revoked(&self, kind: Kind, id: &[u8]) -> bool;
    /// Whether the gateway itself or its tenant is revoked.
    fn shuts_gateway(&self) -> bool;
}

/// Keeps the knowledge fresh: what a host drives every second.
pub trait Feed {
    /// Time passed: looks at shared data; the call to make, if it is this VM's turn.
    fn tick(&self, shared: &mut dyn SharedData, at: Moment) -> Option<Call>;
    /// Takes the reply of a call that this asked for; a further call, if one is needed.
    fn heard(
        &self,
        call: CallId,
        result: CallResult,
        shared: &mut dyn SharedData,
        at: Moment,
    ) -> Option<Call>;
    /// What is to be counted since the last time.
    fn counts(&self) -> Vec<Metric>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_by_code_and_name() {
        for (code, kind) in (1_u8..).zip(Kind::ALL) {
            assert_eq!((kind.code(), Kind::from_code(code)), (code, Some(*kind)));
            assert_eq!(Kind::from_name(kind.name()), Some(*kind));
        }
        assert_eq!((Kind::from_code(0), Kind::from_code(12)), (None, None));
    }

    #[test]
    fn an_entry_differs_by_kind_tenant_and_id() {
        let entry = Entry::of(Kind::Agent, "acme", b"bot");
        let other = [
            Entry::of(Kind::User, "acme", b"bot"),
            Entry::of(Kind::Agent, "acm", b"ebot"),
            Entry::of(Kind::Agent, "acme", b"bot2"),
        ];
        assert!(!other.contains(&entry));
        assert_eq!(entry.0[0], 4);
    }

    #[test]
    fn only_reads_are_allowed_on_what_is_stale_for_writes() {
        use Freshness::*;
        let allowed = |method: &[u8]| [Live, Late, StaleForWrites, Stale].map(|f| f.allows(method));
        assert_eq!(allowed(b"GET"), [true, true, true, false]);
        for method in [&b"POST"[..], b"PUT", b"DELETE", b"get", b"", b"PROPFIND"] {
            assert_eq!(allowed(method), [true, true, false, false], "{method:?}");
        }
    }
}
