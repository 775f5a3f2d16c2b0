//! What waits for a decision, what was decided, and whether something has changed.

use maud::{Markup, html};
use postern_core::hex;
use postern_core::time::UnixMillis;
use sha2::{Digest, Sha256};

use super::{Asked, Page, layout, visible};
use crate::approvals::{self, Approval, Filter, State, Verdict};
use crate::fault::Fault;
use crate::people::SignedIn;
use crate::service::Service;

/// Entries of the history.
const HISTORY: usize = 100;
/// Entries of the inbox; the rest waits until there is room.
const INBOX: usize = 100;
/// Milliseconds between two questions whether something has changed.
pub(super) const EVERY: u32 = 3000;

impl Service {
    /// Approvals that this person may see.
    async fn seen_by(
        &self,
        who: &SignedIn,
        filter: Filter,
        now: UnixMillis,
    ) -> Result<Vec<Approval>, Fault> {
        let person = who.person();
        let mut all = approvals::list(self, &person.tenant, filter, now).await?;
        all.retain(|approval| person.decides_for(&approval.requester.organisation));
        Ok(all)
    }

    pub(super) async fn inbox_page(
        &self,
        asked: &Asked<'_>,
        who: &SignedIn,
    ) -> Result<Page, Fault> {
        let waiting = self.seen_by(who, Filter::Pending, asked.now).await?;
        let main = html! {
            (live("inbox", &state_of(&waiting, asked.now), true))
            @if waiting.is_empty() { p { "Nothing waits for a decision." } }
            @else {
                p { (waiting.len()) @if waiting.len() == 1 { " request waits." } @else { " requests wait." } }
            }
            ul.list { @for approval in waiting.iter().take(INBOX) { (entry(approval, asked.now)) } }
            @if let Some(more) = waiting.len().checked_sub(INBOX).filter(|more| *more > 0) {
                p.small { (more) " more are not shown here." }
            }
        };
        let token = self.form_token(who.browser());
        Ok(Page::html(200, layout::page("Inbox", Some((who, &token)), main)))
    }

    pub(super) async fn history_page(
        &self,
        asked: &Asked<'_>,
        who: &SignedIn,
    ) -> Result<Page, Fault> {
        let all = self.seen_by(who, Filter::All, asked.now).await?;
        let past = all.iter().filter(|approval| approval.state(asked.now) != State::Pending);
        let past: Vec<&Approval> = past.take(HISTORY).collect();
        let main = html! {
            @if past.is_empty() { p { "Nothing was decided in the last 30 days." } }
            ul.list { @for approval in past { (entry(approval, asked.now)) } }
        };
        let token = self.form_token(who.browser());
        Ok(Page::html(200, layout::page("History", Some((who, &token)), main)))
    }

    /// `live?of=inbox` or `live?of=<id>`: a hash of where things stand.
    pub(super) async fn live_state(
        &self,
        asked: &Asked<'_>,
        who: &SignedIn,
    ) -> Result<Page, Fault> {
        let of = asked.request.query.strip_prefix("of=").unwrap_or_default();
        let seen = match hex::read::<16>(of.as_bytes()) {
            Some(id) => {
                let found = approvals::show(self, &who.person().tenant, &id).await?;
                let seen = found.filter(|it| who.person().decides_for(&it.requester.organisation));
                seen.into_iter().collect()
            }
            None => self.seen_by(who, Filter::Pending, asked.now).await?,
        };
        let body = serde_json::json!({ "state": state_of(&seen, asked.now) });
        Ok(Page::of(200, "application/json", body.to_string().into_bytes()))
    }
}

/// A sentence that shows when something has changed, or a reload where nothing is lost by it.
pub(super) fn live(of: &str, state: &str, reload: bool) -> Markup {
    let from = format!("/.postern/live?of={of}");
    html! {
        @if reload {
            div data-live=(state) data-from=(from) data-every=(EVERY) data-reload="" hidden {}
        } @else {
            p.changed role="status" data-live=(state) data-from=(from) data-every=(EVERY) hidden {
                "This has changed. " a href="" { "Load it again" }
            }
        }
    }
}

/// Where things stand, as a hash.
pub(super) fn state_of(approvals: &[Approval], now: UnixMillis) -> String {
    let mut hash = Sha256::new();
    for approval in approvals {
        hash.update(approval.id);
        hash.update(approval.state(now).name());
        hash.update(approval.decisions.len().to_be_bytes());
    }
    hex::lower(hash.finalize().get(..8).unwrap_or_default())
}

fn entry(approval: &Approval, now: UnixMillis) -> Markup {
    let requester = &approval.requester;
    let path = format!("/.postern/approvals/{}", hex::lower(&approval.id));
    html! {
        li {
            p { a href=(path) { (visible::name(&requester.agent)) " for " (visible::name(&requester.user)) } }
            p { (credentials(approval)) }
            p.small {
                (standing(approval, now)) " · asked " (ago(approval.created, now))
                @if approval.state(now) == State::Pending { " · ends in " (span(approval.expires.0.saturating_sub(now.0))) }
                @if approval.passkey { " · " strong { "needs a passkey" } }
            }
            @for decision in &approval.decisions {
                p.small {
                    (verdict(decision.verdict)) " by " (visible::name(&decision.by))
                    @if !decision.reason.is_empty() { ": " (visible::name(&decision.reason)) }
                }
            }
        }
    }
}

pub(super) fn credentials(approval: &Approval) -> Markup {
    html! {
        @if approval.credentials.is_empty() { "no credential" }
        @else { "with " @for (n, name) in approval.credentials.iter().enumerate() {
            @if n > 0 { ", " } strong { (visible::name(name)) }
        } }
    }
}

pub(super) fn standing(approval: &Approval, now: UnixMillis) -> String {
    match approval.state(now) {
        State::Pending if approval.needed > 1 => {
            format!("waits: {} of {}", approval.approvals(), approval.needed)
        }
        State::Pending => "waits".to_owned(),
        other => other.name().to_owned(),
    }
}

pub(super) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Approve => "approved",
        Verdict::Deny => "denied",
    }
}

pub(super) fn ago(at: UnixMillis, now: UnixMillis) -> String {
    match now.0.saturating_sub(at.0) {
        0..=999 => "now".to_owned(),
        past => format!("{} ago", span(past)),
    }
}

/// In its largest unit.
pub(super) fn span(ms: u64) -> String {
    match ms / 1000 {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} min", seconds / 60),
        seconds @ 7200..=172_799 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
