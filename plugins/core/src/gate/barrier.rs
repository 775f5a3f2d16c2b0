//! What an answer may show its caller: obligations of the policy, and the filter that
//! removes sections from the answer as it passes.
//!
//! It is the gate that filters. It knows the caller's clearance and organisation, so that
//! neither has to travel; it stands before every upstream, with a credential or without; it
//! reads hostile JSON anyway, which the module that holds secrets does not; and it gets the
//! answer after that module has scrubbed it.
//!
//! Invariant: an answer with sections is read to its end as strict JSON, or the client does
//! not get it. An obligation that this gate cannot keep refuses.

use std::rc::Rc;

use crate::barrier::{Fault, Filter, Level, Reader, Section};
use crate::config::gate::Barriers;
use crate::credential::answer;
use crate::denial::{Denial, PolicyReason, Unscannable};
use crate::effect::{Effect, Flow, Metric, Part};
use crate::event::Event;
use crate::fields::Fields;
use crate::gate::outcome::Request;
use crate::gate::{Pipeline, Step};
use crate::identity::Identity;
use crate::policy::{Changes, Obligations};
use crate::scrubbing::Scrubber;

const REDACTED: Metric = Metric("postern.gate.redacted.total");

/// Fields by which a client asks for less than the whole answer (RFC 9110 14.2, 13.1.5), or
/// for the difference to another (RFC 3229 10.5.3).
const PARTS: [&str; 3] = ["a-im", "if-range", "range"];

/// What is removed from one answer.
pub(super) struct Barrier {
    filter: Filter,
    /// Undoes content codings.
    decoder: Option<Box<dyn Scrubber>>,
}

impl Pipeline {
    /// Keeps the obligations about the answer, or refuses where one is unknown. Gives the
    /// filter for the answer, if there is anything to remove from it.
    pub(super) fn oblige(
        &self,
        request: &Request,
        caller: &Identity,
        duties: &Obligations,
        changes: &mut Changes,
    ) -> Result<Option<Barrier>, Denial> {
        if !self.remembers(duties) {
            return Err(Denial::PolicyDenied(PolicyReason::Obligation));
        }
        let barrier = self.barrier(request, caller, duties)?;
        if barrier.is_some() {
            ask_for_all(changes);
        }
        Ok(barrier)
    }

    fn barrier(
        &self,
        request: &Request,
        caller: &Identity,
        duties: &Obligations,
    ) -> Result<Option<Barrier>, Denial> {
        let denied = Denial::PolicyDenied;
        let Some(barriers) = &self.config.barriers else {
            let none = duties.redact_above.is_empty();
            return none.then_some(None).ok_or(denied(PolicyReason::Obligation));
        };
        let sections = sections(barriers, request).ok_or(denied(PolicyReason::NoBarrierRule))?;
        let clearance = barriers.clearance(caller);
        let clearance = clearance.map_err(|_| denied(PolicyReason::Clearance))?;
        let clearance = lowest(barriers, clearance, &duties.redact_above)?;
        if sections.is_empty() {
            return Ok(None);
        }
        if request.head.websocket {
            return Err(denied(PolicyReason::BarrierUpgrade));
        }
        let reader = Reader { clearance, organisation: caller.organisation.clone() };
        let framework = Rc::clone(&barriers.framework);
        let filter = Filter::new(framework, sections, reader, barriers.hold);
        Ok(Some(Barrier { filter, decoder: None }))
    }
}

/// Sections of the answer. A path with parameters is another one to some servers: what
/// either has is removed.
fn sections(barriers: &Barriers, request: &Request) -> Option<Rc<[Section]>> {
    let path = &request.head.path;
    let rule = barriers.rule(path)?;
    let Some(bare) = path.without_parameters() else { return Some(Rc::clone(&rule.sections)) };
    let more = barriers.rule(&bare)?;
    Some(rule.sections.iter().chain(more.sections.iter()).cloned().collect())
}

/// A policy only lowers what the identity has.
fn lowest(
    barriers: &Barriers,
    clearance: Option<Level>,
    above: &[String],
) -> Result<Option<Level>, Denial> {
    above.iter().try_fold(clearance, |clearance, name| {
        let level = barriers.framework.level(name);
        let level = level.ok_or(Denial::PolicyDenied(PolicyReason::Obligation))?;
        Ok(clearance.map(|clearance| clearance.min(level)))
    })
}

/// Asks for an answer that can be read: whole, and in no content coding.
fn ask_for_all(changes: &mut Changes) {
    changes.set.retain(|(name, _)| name != "accept-encoding" && !PARTS.contains(&name.as_str()));
    changes.set.push(("accept-encoding".to_owned(), "identity".to_owned()));
    changes.remove.extend(PARTS.map(str::to_owned));
}

impl Barrier {
    /// The answer, event by event. `Ok(true)` once it is over.
    pub(super) fn on(&mut self, event: Event, step: &mut Step<'_>) -> Result<bool, Denial> {
        let over = match event {
            Event::ResponseHeaders { fields, end } => self.head(&fields, end, step)?,
            Event::ResponseBody { chunk, end } => self.content(&chunk, end, step)?,
            Event::ResponseTrailers(_) => self.trailers()?,
            _ => return Ok(false),
        };
        step.flow(Flow::Continue);
        if over && self.filter.removed() > 0 {
            step.emit(Effect::Count(REDACTED));
        }
        Ok(over)
    }

    /// How many sections were removed so far.
    pub(super) fn removed(&self) -> u64 {
        self.filter.removed()
    }

    fn head(&mut self, fields: &Fields, end: bool, step: &mut Step<'_>) -> Result<bool, Denial> {
        answer::scannable(fields, false)?;
        let empty = end && fields.only("content-length") == Some(b"0".as_slice());
        let about = answer::ABOUT_CONTENT.into_iter().filter(|name| fields.has(name));
        let mut gone: Vec<&str> =
            about.filter(|name| !(empty && *name == "content-length")).collect();
        if !end {
            if !is_json(fields) {
                return Err(Denial::UpstreamUnscannable(Unscannable::BarrierType));
            }
            let codings = answer::codings(fields)?;
            if !codings.is_empty() {
                let mut decoder = step.pipeline.scrubbing.known(&[]).scrubber();
                decoder.decode(&codings);
                self.decoder = Some(decoder);
                gone.push("content-encoding");
            }
        }
        for name in gone {
            step.emit(Effect::RemoveField { part: Part::Response, name: name.to_owned() });
        }
        // What one caller may see is not for another.
        let (name, value) = ("cache-control".to_owned(), b"no-store".to_vec());
        step.emit(Effect::SetField { part: Part::Response, name, value });
        Ok(end)
    }

    fn content(&mut self, chunk: &[u8], end: bool, step: &mut Step<'_>) -> Result<bool, Denial> {
        let decoded = match &mut self.decoder {
            // Nothing is looked for, so nothing of it waits at the host.
            Some(decoder) => {
                let decoded = decoder.chunk(chunk, end).map_err(Denial::UpstreamUnscannable)?;
                Some(decoded.replace.unwrap_or_default())
            }
            None => None,
        };
        let content = self.filter.chunk(decoded.as_deref().unwrap_or(chunk)).map_err(denial)?;
        if end {
            self.filter.end().map_err(denial)?;
        }
        step.emit(Effect::ReplaceBody { part: Part::Response, content });
        Ok(end)
    }

    /// Content cannot be added any more, so all of it has to be out.
    fn trailers(&mut self) -> Result<bool, Denial> {
        let last = self.decoder.as_mut().map(|decoder| decoder.end_by_trailers()).transpose();
        let last = last.map_err(Denial::UpstreamUnscannable)?.flatten().unwrap_or_default();
        let left = self.filter.chunk(&last).map_err(denial)?;
        self.filter.end().map_err(denial)?;
        if left.is_empty() {
            return Ok(true);
        }
        Err(Denial::UpstreamUnscannable(Unscannable::Undeliverable))
    }
}

fn denial(fault: Fault) -> Denial {
    Denial::UpstreamUnscannable(match fault {
        Fault::Form => Unscannable::BarrierForm,
        Fault::Twice => Unscannable::BarrierTwice,
        Fault::Size => Unscannable::BarrierSize,
        Fault::Held => Unscannable::BarrierHeld,
    })
}

/// One content type, `application/json` or one with the suffix `+json` (RFC 6839 3.1), in no
/// other charset than JSON's (RFC 8259 8.1).
fn is_json(fields: &Fields) -> bool {
    let Some(kind) = fields.only("content-type").and_then(|kind| str::from_utf8(kind).ok()) else {
        return false;
    };
    let kind = kind.to_ascii_lowercase();
    let mut parts = kind.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let json = name == "application/json"
        || name.strip_prefix("application/").is_some_and(|rest| rest.ends_with("+json"));
    let charset = |part: &str| match part.split_once('=') {
        Some(("charset", value)) => value.trim_matches('"') == "utf-8",
        _ => true,
    };
    json && parts.all(charset)
}
