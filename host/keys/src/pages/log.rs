//! The audit log, for auditors: search, one event with what belongs to it, whether it is whole.
//!
//! Owns what is shown and nothing that is verified: `audit` does that. Invariant: nothing here
//! changes anything; only who audits gets here, and sees the events of the own tenant and of the
//! service itself.

use std::collections::BTreeMap;

use maud::{Markup, html};
use postern_core::time::UnixMillis;
use serde_json::Value;

use super::inbox::ago;
use super::{Asked, Page, layout, visible};
use crate::audit::export;
use crate::fault::Fault;
use crate::people::SignedIn;
use crate::service::Service;
use crate::store::Reach;

/// Most events of one page, and most that are looked at for it.
const SHOWN: usize = 50;
const LOOKED_AT: i64 = 5_000;
/// Longest search, and most of a value that is shown.
const MOST_SEARCH: usize = 200;
const MOST_VALUE: usize = 2_000;
/// Length of the longest bar, and height of a row.
const LENGTH: usize = 150;
const ROW: usize = 22;
/// Members by which events belong together: a decision, the digest of a request, an approval.
const TIES: [&str; 4] = ["decision_id", "digest", "request", "approval"];

/// An event that may be shown.
struct Shown {
    n: i64,
    /// `None` where its content was taken out.
    event: Option<Value>,
    gone: Option<i64>,
}

impl Shown {
    fn of(row: export::Row) -> Self {
        let event = serde_json::from_slice(&row.bytes).ok().filter(|_| row.gone.is_none());
        Self { n: row.n, gone: row.gone, event: event.map(decoded) }
    }

    fn text(&self, member: &str) -> &str {
        let event = self.event.as_ref();
        let own = event.and_then(|event| event[member].as_str());
        let record = event.and_then(|event| event["record"][member].as_str());
        own.or(record).unwrap_or_default()
    }

    fn has(&self, words: &[String]) -> bool {
        let text = self.event.as_ref().map(|event| event.to_string().to_lowercase());
        words.is_empty() || text.is_some_and(|text| words.iter().all(|word| text.contains(word)))
    }

    fn at(&self) -> UnixMillis {
        UnixMillis(self.text("at").parse().unwrap_or(0))
    }

    /// What ties it to others: a digest is the same under either of its names.
    fn ties(&self) -> Vec<&str> {
        TIES.iter().map(|name| self.text(name)).filter(|tie| !tie.is_empty()).collect()
    }

    fn kind(&self) -> &str {
        match self.event {
            Some(_) => self.text("kind"),
            None => "content taken out",
        }
    }
}

/// With a gateway's record as what it is.
fn decoded(mut event: Value) -> Value {
    let record = event["record"].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    if let Some(record) = record {
        event["record"] = record;
    }
    event
}

/// What is asked for.
#[derive(Default)]
struct Query {
    search: String,
    before: Option<i64>,
    check: bool,
}

impl Query {
    fn read(text: &str) -> Self {
        let mut query = Self::default();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            match &*name {
                "q" => query.search = value.chars().take(MOST_SEARCH).collect(),
                "before" => query.before = value.parse().ok(),
                "check" => query.check = true,
                _ => {}
            }
        }
        query
    }

    fn words(&self) -> Vec<String> {
        self.search.split_whitespace().map(str::to_lowercase).collect()
    }

    fn older(&self, before: i64) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("q", &self.search).append_pair("before", &before.to_string());
        format!("/.postern/log?{}", query.finish())
    }
}

/// Newest first, below `before`.
const NEWEST: &str = "SELECT n, tenant, prev, hash, sig, bytes, gone FROM audit_events
    WHERE n < $1 AND n >= $2 AND (tenant = $3 OR tenant IS NULL) ORDER BY n DESC";

impl Service {
    /// Events of `tenant` and the service's own, from `from` on and below `before`.
    async fn events_of(&self, tenant: &str, from: i64, before: i64) -> Result<Vec<Shown>, Fault> {
        let mut db = self.inner.pool.read(Reach::All).await?;
        let rows: Vec<export::Row> =
            sqlx::query_as(NEWEST).bind(before).bind(from).bind(tenant).fetch_all(&mut *db).await?;
        Ok(rows.into_iter().map(Shown::of).collect())
    }

    async fn newest_event(&self) -> Result<i64, Fault> {
        let mut db = self.inner.pool.read(Reach::All).await?;
        let head = crate::audit::head(&mut db).await?;
        i64::try_from(head.n).map_err(|_| Fault::Malformed("event number"))
    }

    pub(super) async fn log_page(&self, asked: &Asked<'_>, who: &SignedIn) -> Result<Page, Fault> {
        if !who.person().audits {
            return Ok(layout::missing(Some(who)));
        }
        let query = Query::read(asked.request.query);
        let newest = self.newest_event().await?;
        let before = query.before.unwrap_or(i64::MAX).clamp(1, newest.saturating_add(1));
        let from = before.saturating_sub(LOOKED_AT).max(1);
        let mut events = self.events_of(&who.person().tenant, from, before).await?;
        let words = query.words();
        events.retain(|event| event.has(&words));
        let next = events.get(SHOWN).map_or(from, |event| event.n.saturating_add(1));
        let integrity = self.integrity_of(&query, newest).await?;
        let main = html! {
            (integrity)
            form.card method="get" action="/.postern/log" role="search" {
                label for="q" { "Search" }
                input #q type="text" name="q" value=(query.search) maxlength=(MOST_SEARCH)
                    aria-describedby="q-help";
                p.small #q-help { "Words that an event has: a kind, an agent, a credential, a reason, a decision." }
                button.main type="submit" { "Search" }
            }
            (charts(&events))
            h2 { "Events" }
            @if events.is_empty() { p { "None of the events " (from) " to " (before.saturating_sub(1)) " has these words." } }
            ul.list { @for event in events.iter().take(SHOWN) { (entry(event, asked.now)) } }
            @if next > 1 { p { a.button href=(query.older(next)) { "Older events" } } }
        };
        let token = self.form_token(who.browser());
        Ok(Page::html(200, layout::page("Log", Some((who, &token)), main)))
    }

    /// What the log's state is; the whole of it is verified where that is asked for.
    async fn integrity_of(&self, query: &Query, newest: i64) -> Result<Markup, Fault> {
        let note = self.last_checkpoint().await?;
        let covered = note.as_deref().and_then(|note| note.lines().nth(1)).unwrap_or("none");
        let report = if query.check { Some(self.integrity().await?) } else { None };
        Ok(html! {
            h2 { "Integrity" }
            @match report.as_ref().map(|report| (&report.broken, report)) {
                Some((Some(broken), _)) => p.notice role="alert" { "The log is broken: " (broken) "." },
                Some((None, report)) => p role="status" {
                    "The log is whole: " (report.good) " events verified"
                    ", content that was taken out included."
                },
                None => p {
                    (newest) " events; the newest signed checkpoint covers " (covered) ". "
                    a href="/.postern/log?check=" { "Verify all of them now" }
                },
            }
            p.small { "This is what the service says of itself. Without trusting it: " code { "postern audit verify" } " over an export, with a checkpoint that was kept elsewhere." }
        })
    }

    pub(super) async fn event_page(
        &self,
        asked: &Asked<'_>,
        who: &SignedIn,
        n: &str,
    ) -> Result<Page, Fault> {
        let n = n.parse::<i64>().ok().filter(|n| who.person().audits && *n > 0);
        let Some(n) = n else { return Ok(layout::missing(Some(who))) };
        let near = LOOKED_AT / 2;
        let (from, before) = (n.saturating_sub(near), n.saturating_add(near));
        let events = self.events_of(&who.person().tenant, from, before).await?;
        let Some(event) = events.iter().find(|event| event.n == n) else {
            return Ok(layout::missing(Some(who)));
        };
        let ties = event.ties();
        let tied = |other: &&Shown| other.ties().iter().any(|tie| ties.contains(tie));
        let story: Vec<&Shown> = events.iter().rev().filter(tied).collect();
        let main = html! {
            (facts(event))
            h2 { "What belongs to it" }
            @if story.len() < 2 { p { "No other event near it names the same decision, request or approval." } }
            @else { ul.list { @for other in story.iter().take(SHOWN) { (entry(other, asked.now)) } } }
            p { a href="/.postern/log" { "Back to the log" } }
        };
        let token = self.form_token(who.browser());
        let title = format!("Event {n}");
        Ok(Page::html(200, layout::page(&title, Some((who, &token)), main)))
    }
}

/// Every member, a record's as its own.
fn facts(event: &Shown) -> Markup {
    let members = event.event.as_ref().and_then(Value::as_object);
    let flat = members.into_iter().flatten().flat_map(|(name, value)| match value {
        Value::Object(record) => record.iter().collect(),
        _ => vec![(name, value)],
    });
    html! {
        @if let Some(tombstone) = event.gone {
            p { "Its content was taken out of the log: "
                a href=(path(tombstone)) { "event " (tombstone) } " says so. Number, hash and signature stayed." }
        }
        dl.facts {
            @for (name, value) in flat {
                dt { (name) }
                dd { (visible::text(&shown(value), MOST_VALUE, false)) }
            }
        }
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn path(n: i64) -> String {
    format!("/.postern/log/{n}")
}

fn entry(event: &Shown, now: UnixMillis) -> Markup {
    let said = ["decision", "reason", "method", "route", "credential", "agent", "person", "key"];
    let said: Vec<&str> =
        said.iter().map(|name| event.text(name)).filter(|text| !text.is_empty()).collect();
    html! {
        li {
            p { a href=(path(event.n)) { "Event " (event.n) } " " strong { (visible::name(event.kind())) } }
            p { (visible::text(&said.join(" · "), MOST_SEARCH, false)) }
            @if event.event.is_some() { p.small { (ago(event.at(), now)) } }
        }
    }
}

fn charts(events: &[Shown]) -> Markup {
    let decisions = events.iter().filter_map(|event| {
        let decision = event.event.as_ref()?["record"]["decision"].as_str()?;
        Some(decision.to_owned())
    });
    html! {
        (chart("Events by kind", events.iter().map(|event| event.kind().to_owned())))
        (chart("Requests by decision", decisions))
    }
}

/// Bars, the longest first. The numbers stand in the text too: nobody needs the picture.
fn chart(title: &str, names: impl Iterator<Item = String>) -> Markup {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    let mut bars: Vec<(String, usize)> = counts.into_iter().collect();
    bars.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    bars.truncate(12);
    let most = bars.first().map_or(1, |(_, count)| *count);
    let said: Vec<String> = bars.iter().map(|(name, count)| format!("{name} {count}")).collect();
    let height = bars.len() * ROW;
    html! {
        h2 { (title) }
        @if bars.is_empty() { p { "None." } } @else {
            svg.chart role="img" aria-label=(said.join(", ")) width="100%" viewBox=(format!("0 0 420 {height}")) {
                @for (row, (name, count)) in bars.iter().enumerate() {
                    text x="210" y=(row * ROW + 15) text-anchor="end" { (name.chars().take(28).collect::<String>()) }
                    rect x="218" y=(row * ROW + 3) width=((count * LENGTH / most).max(1)) height="15" {}
                    text x=(224 + count * LENGTH / most) y=(row * ROW + 15) { (count) }
                }
            }
        }
    }
}
