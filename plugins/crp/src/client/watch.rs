//! The revocation feed of a [`Client`]: what a host drives each second, and what the
//! pipelines ask it.
//!
//! Owns how a head and evidence come together. Invariant: everything fails closed: without
//! a list nothing is known not to be revoked for longer than the limits allow.

use postern_core::credential::Want;
use postern_core::effect::Metric;
use postern_core::key_service::{Call, CallId, CallResult};
use postern_core::receipt::SharedData;
use postern_core::revocation::{Entry, Feed as RevocationFeed, Freshness, Kind, Revocations};
use postern_core::time::{Moment, UnixMillis};

use super::feed::{Stage, Taken};
use super::question::{Content, Origin, content};
use super::{Client, State};

impl RevocationFeed for Client {
    fn tick(&self, shared: &mut dyn SharedData, at: Moment) -> Option<Call> {
        let mut state = self.state.try_borrow_mut().ok()?;
        state.observe(at.now);
        state.look(shared, at.now);
        if !state.feed.is_due(&at) {
            return None;
        }
        // Each VM needs evidence of its own; heads are fetched for all.
        if state.questions.signing_key(at.now).is_none() {
            return Some(state.feed.call(Stage::Evidence, at.now));
        }
        let mine = state.feed.takes_lease(shared, at.now);
        mine.then(|| state.feed.call(Stage::Head, at.now))
    }

    fn heard(
        &self,
        call: CallId,
        result: CallResult,
        shared: &mut dyn SharedData,
        at: Moment,
    ) -> Option<Call> {
        let mut state = self.state.try_borrow_mut().ok()?;
        state.observe(at.now);
        let stage = state.feed.answered(call)?;
        let Content::Body(body) = content(result) else {
            state.feed.failed();
            return None;
        };
        match stage {
            Stage::Evidence => state.heard_evidence(&self.origin, &body, shared, at.now),
            Stage::Head => state.heard_head(&body, shared, at.now),
        }
    }

    fn counts(&self) -> Vec<Metric> {
        let Ok(mut state) = self.state.try_borrow_mut() else { return Vec::new() };
        let now = state.latest;
        state.feed.counts(now)
    }
}

impl State {
    fn heard_evidence(
        &mut self,
        origin: &Origin,
        body: &[u8],
        shared: &mut dyn SharedData,
        now: UnixMillis,
    ) -> Option<Call> {
        if !self.questions.take_evidence(origin, body, now) {
            self.feed.failed();
            return None;
        }
        self.look(shared, now);
        let mine = self.feed.takes_lease(shared, now);
        mine.then(|| self.feed.call(Stage::Head, now))
    }

    fn heard_head(
        &mut self,
        body: &[u8],
        shared: &mut dyn SharedData,
        now: UnixMillis,
    ) -> Option<Call> {
        match self.take(body, now) {
            Taken::Newer => self.feed.share(body, shared),
            Taken::UnknownKey if self.questions.may_refresh(now) => {
                return Some(self.feed.call(Stage::Evidence, now));
            }
            Taken::UnknownKey => self.feed.failed(),
            Taken::Same | Taken::Refused => {}
        }
        None
    }

    /// What another VM has fetched.
    fn look(&mut self, shared: &mut dyn SharedData, now: UnixMillis) {
        let Some(body) = self.feed.found(shared) else { return };
        if self.take(&body, now) == Taken::UnknownKey {
            self.feed.look_again();
        }
    }

    fn take(&mut self, body: &[u8], now: UnixMillis) -> Taken {
        let Some(key) = self.questions.signing_key(now) else { return Taken::UnknownKey };
        let before = self.feed.list().forget();
        let taken = self.feed.take(body, &key, now);
        if self.feed.list().forget() != before {
            self.keys.clear();
            self.unknown.clear();
            self.releases.clear();
        }
        taken
    }
}

impl Revocations for Client {
    fn freshness(&self, now: UnixMillis) -> Freshness {
        let state = self.state.try_borrow();
        state.map_or(Freshness::Stale, |state| state.feed.freshness(now))
    }

    fn is_revoked(&self, kind: Kind, id: &[u8]) -> bool {
        let state = self.state.try_borrow();
        state.map_or(true, |state| self.lists(&state, kind, id))
    }

    fn shuts_gateway(&self) -> bool {
        let state = self.state.try_borrow();
        state.map_or(true, |state| self.shut(&state))
    }
}

impl Client {
    fn lists(&self, state: &State, kind: Kind, id: &[u8]) -> bool {
        let list = state.feed.list();
        list.has_any(kind) && list.has(&Entry::of(kind, &self.origin.tenant, id))
    }

    fn shut(&self, state: &State) -> bool {
        self.lists(state, Kind::Gateway, &self.origin.gateway_id)
            || self.lists(state, Kind::Tenant, b"")
    }

    /// Whether a release is for something that is revoked.
    pub(super) fn revokes(&self, state: &State, want: &Want) -> bool {
        self.shut(state)
            || self.lists(state, Kind::Credential, want.credential.as_bytes())
            || self.lists(state, Kind::Agent, want.agent.as_bytes())
    }
}
