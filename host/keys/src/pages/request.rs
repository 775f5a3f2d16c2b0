//! One request: what it is, and yes or no.
//!
//! Shown by its parts, in the order of the text ([`visible`]); nothing in it is a link, and
//! what is cut says how much is missing. Invariant: who may not decide has no form, and a
//! request of the passkey class is approved by a passkey over this request alone.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use maud::{Markup, html};
use postern_core::hex;

use super::form::Form;
use super::inbox::{ago, live, span, standing, state_of, verdict};
use super::signing_in::answering;
use super::{Asked, Page, layout, told, visible};
use crate::approvals::{
    self, Approval, Content, Decider, GRANT_SECONDS, MOST_PAIRS, MOST_TEXT, Preview, Ruling, State,
    Verdict,
};
use crate::fault::Fault;
use crate::people::{SignedIn, challenge_of};
use crate::service::Service;

/// For how long alike requests may be approved with one: what is offered.
const GRANTS: [(u32, &str); 4] = [
    (0, "this request alone"),
    (GRANT_SECONDS, "alike requests for 30 minutes"),
    (4 * 3600, "alike requests for 4 hours"),
    (24 * 3600, "alike requests for 24 hours"),
];

impl Service {
    /// The approval, if this person may see it.
    async fn one_for(&self, who: &SignedIn, id: &str) -> Result<Option<Approval>, Fault> {
        let Some(id) = hex::read(id.as_bytes()) else { return Ok(None) };
        let found = approvals::show(self, &who.person().tenant, &id).await?;
        Ok(found.filter(|it| who.person().decides_for(&it.requester.organisation)))
    }

    pub(super) async fn request_page(
        &self,
        asked: &Asked<'_>,
        who: &SignedIn,
        id: &str,
    ) -> Result<Page, Fault> {
        match self.one_for(who, id).await? {
            Some(approval) => self.shown(asked, who, &approval, None).await,
            None => Ok(layout::missing(Some(who))),
        }
    }

    async fn shown(
        &self,
        asked: &Asked<'_>,
        who: &SignedIn,
        approval: &Approval,
        refusal: Option<(u16, &str)>,
    ) -> Result<Page, Fault> {
        let token = self.form_token(who.browser());
        let state = state_of(std::slice::from_ref(approval), asked.now);
        let main = html! {
            (live(&hex::lower(&approval.id), &state, false))
            (layout::notice(refusal.map(|(_, text)| text)))
            (facts(approval, asked))
            h2 { "Request" }
            @match &approval.preview {
                Some(preview) => (previewed(preview)),
                None => p { "What was asked for is not kept any longer, so it cannot be approved." },
            }
            h2 { "Decision" }
            (said(approval, asked))
            @match self.reason_not_to_ask(who, approval, asked) {
                Some(reason) => p { (reason) },
                None => (self.asks(who, approval, &token).await?),
            }
        };
        let page = layout::page("Request", Some((who, &token)), main);
        Ok(Page::html(refusal.map_or(200, |(status, _)| status), page))
    }

    fn reason_not_to_ask(
        &self,
        who: &SignedIn,
        approval: &Approval,
        asked: &Asked<'_>,
    ) -> Option<&'static str> {
        let name = &who.person().name;
        if approval.state(asked.now) != State::Pending {
            return Some("This is over.");
        }
        if [&approval.requester.user, &approval.requester.agent].contains(&name) {
            return Some("You asked for this, so somebody else decides.");
        }
        let decided = approval.decisions.iter().any(|decision| &decision.by == name);
        decided.then_some("You have decided; it waits for somebody else.")
    }

    /// The form. Denying needs no passkey.
    async fn asks(
        &self,
        who: &SignedIn,
        approval: &Approval,
        token: &str,
    ) -> Result<Markup, Fault> {
        let known =
            if approval.passkey { self.passkeys(&who.person().handle).await? } else { Vec::new() };
        let known: Vec<String> =
            known.iter().map(|passkey| B64.encode(&passkey.credential)).collect();
        let path = format!("/.postern/approvals/{}", hex::lower(&approval.id));
        Ok(html! {
            form.card method="post" action=(path) data-passkey=[approval.passkey.then_some("get")] {
                input type="hidden" name="form" value=(token);
                @if approval.passkey {
                    p { "Approving this needs your passkey, which signs this very request." }
                    (answering(&B64.encode(challenge_of(approval)), self.site(), &known.join(" ")))
                } @else {
                    label for="grant" { "Approve" }
                    select #grant name="grant" {
                        @for (seconds, text) in GRANTS { option value=(seconds) { (text) } }
                    }
                }
                label for="reason" { "Reason (kept with the decision)" }
                @if approval.preview.as_ref().is_some_and(|preview| !preview.is_whole()) {
                    label.check {
                        input type="checkbox" name="in_part" value="yes" required;
                        " Not all of this request is shown above. I approve what is not shown, too."
                    }
                }
                // No field whose Enter would be a yes.
                textarea #reason name="reason" rows="2" maxlength="200" autocomplete="off" {}
                div.actions {
                    button.main type="submit" name="verdict" value="approve" { "Approve" }
                    button.danger type="submit" name="verdict" value="deny" data-plain="" formnovalidate { "Deny" }
                }
            }
        })
    }

    pub(super) async fn decide_page(
        &self,
        asked: &Asked<'_>,
        who: &SignedIn,
        id: &str,
        form: &Form,
    ) -> Result<Page, Fault> {
        let Some(approval) = self.one_for(who, id).await? else {
            return Ok(layout::missing(Some(who)));
        };
        let verdict = match form.text("verdict") {
            "approve" => Verdict::Approve,
            "deny" => Verdict::Deny,
            _ => return self.shown(asked, who, &approval, Some((400, "Say yes or no."))).await,
        };
        let decider = match self.decider(asked, who, &approval, verdict, form).await? {
            Ok(decider) => decider,
            Err(text) => return self.shown(asked, who, &approval, Some((403, text))).await,
        };
        let grant = form.text("grant").parse().ok().filter(|seconds| *seconds > 0);
        let ruling = Ruling {
            verdict,
            reason: form.text("reason").split_whitespace().collect::<Vec<_>>().join(" "),
            grant_seconds: grant.filter(|_| verdict == Verdict::Approve),
            in_part: form.text("in_part") == "yes",
        };
        match approvals::decide(self, &approval.id, &decider, &ruling, asked.now).await? {
            Ok(_) => Ok(Page::see(&format!("/.postern/approvals/{}", hex::lower(&approval.id)))),
            Err(refusal) => {
                let text = refusal.to_string();
                self.shown(asked, who, &approval, Some((409, &text))).await
            }
        }
    }

    /// As whom it is decided: with a passkey where the request is of that class.
    async fn decider(
        &self,
        asked: &Asked<'_>,
        who: &SignedIn,
        approval: &Approval,
        verdict: Verdict,
        form: &Form,
    ) -> Result<Result<Decider, &'static str>, Fault> {
        if !approval.passkey || verdict == Verdict::Deny {
            return Ok(Ok(Decider::person(who)));
        }
        let Some(answer) = form.assertion() else {
            return Ok(Err("Approving this needs your passkey."));
        };
        let used = self.step_up(who, approval, answer, asked.now).await?;
        Ok(used.map(|used| Decider::stepped_up(&used)).map_err(told))
    }
}

fn facts(approval: &Approval, asked: &Asked<'_>) -> Markup {
    let requester = &approval.requester;
    html! {
        dl.facts {
            dt { "Agent" } dd { (visible::name(&requester.agent)) }
            dt { "For" } dd { (visible::name(&requester.user)) }
            dt { "Organisation" } dd { (visible::name(&requester.organisation)) }
            dt { "Credentials" }
            dd {
                @if approval.credentials.is_empty() { "none" }
                @for (n, name) in approval.credentials.iter().enumerate() {
                    @if n > 0 { ", " } (visible::name(name))
                }
            }
            dt { "Asked" } dd { (ago(approval.created, asked.now)) }
            dt { "State" }
            dd {
                (standing(approval, asked.now))
                @if approval.state(asked.now) == State::Pending {
                    ", ends in " (span(approval.expires.0.saturating_sub(asked.now.0)))
                }
            }
        }
    }
}

fn previewed(preview: &Preview) -> Markup {
    html! {
        dl.facts.card {
            dt { "Method" } dd { strong { (visible::name(&preview.method)) } }
            dt { "To" } dd { strong { (visible::name(&preview.scheme)) "://" (visible::name(&preview.authority)) } }
            dt { "Path" } dd { (visible::name(&preview.path)) }
        }
        (pairs("Query", &preview.query))
        (pairs("Fields", &preview.fields))
        h3 #content { "Content" }
        @match &preview.content {
            Content::None => p { "none" },
            Content::Unread => p.notice { "The gateway did not read it: a decision does not cover it." },
            Content::Binary { bytes } => p { "binary, " (bytes) " bytes" },
            Content::Text { text, more } => {
                div.content role="region" aria-labelledby="content" tabindex="0" {
                    (visible::text(text, MOST_TEXT, true))
                }
                @if *more > 0 { p.left { (more) " more bytes are not shown" } }
            },
        }
    }
}

fn pairs(title: &str, pairs: &[(String, String)]) -> Markup {
    html! {
        @if !pairs.is_empty() {
            h3 { (title) }
            dl.facts.card {
                @for (name, value) in pairs.iter().take(MOST_PAIRS) {
                    dt { (visible::name(name)) } dd { (visible::name(value)) }
                }
            }
            @if pairs.len() > MOST_PAIRS { p.left { (pairs.len() - MOST_PAIRS) " more are not shown" } }
        }
    }
}

fn said(approval: &Approval, asked: &Asked<'_>) -> Markup {
    html! {
        @for decision in &approval.decisions {
            p {
                (verdict(decision.verdict)) " by " (visible::name(&decision.by)) " (" (decision.how) "), "
                (ago(postern_core::time::UnixMillis(decision.at), asked.now))
                @if !decision.reason.is_empty() { ": " (visible::name(&decision.reason)) }
                @if decision.grant_seconds > 0 {
                    ", and alike requests for " (span(u64::from(decision.grant_seconds).saturating_mul(1000)))
                }
            }
        }
        @if approval.needed > 1 { p.small { (approval.needed) " people have to approve it." } }
    }
}
