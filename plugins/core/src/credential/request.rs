//! From the request's head to its injection.
//!
//! Invariant: the only way on with a credential is [`inject`], with a permit that this
//! module opened and that fits what leaves.

use std::rc::Rc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::canary;
use super::check::{self, ContentFacts, Planned};
use super::content::Content;
use super::forwarded::{Forwarded, Upload};
use super::minting::Endpoint;
use super::release::Release;
use super::run::Run;
use super::stream::State;
use super::tunnel::Handshake;
use crate::canary::MARK;
use crate::denial::{Denial, NotAllowed, Ours, PolicyReason};
use crate::effect::{Effect, Part};
use crate::event::{Event, Surroundings};
use crate::fields::Fields;
use crate::inject::{NotInjected, Placed, Put, inject};
use crate::key_service::{CallId, KeyServiceFault, Released, Turn};
use crate::permit::{CredentialUse, Permit, PermitFault};
use crate::record::ReleaseSource;
use crate::time::{Entropy, Moment, UnixMillis};
use crate::websocket;

/// The key service's client gives up after 2 s; this is for one that does not.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Everything that is decided on the request's head.
pub(super) fn head(
    fields: &Fields,
    end: bool,
    around: &Surroundings,
    entropy: Entropy,
    now: UnixMillis,
    run: &mut Run,
) -> State {
    let (decision, entropy) = entropy.split();
    let fresh = decision.0.first_chunk().copied().unwrap_or_default();
    run.begin(around.record.as_deref(), fresh, now);
    if fields.has(MARK) {
        return canary::head(fields, end, around, now, run);
    }
    match examine(fields, end, around, now, run) {
        Err(denial) => run.refuse(denial),
        Ok(Leaving::Plain(content)) => {
            run.proceed();
            State::Passing(Box::new(Upload::new(*content, None, end)))
        }
        Ok(Leaving::WithCredentials(request)) => {
            tidy(fields, run);
            request.ask(entropy, now, run)
        }
    }
}

/// What a permit lets go on.
enum Leaving {
    /// It names no credential.
    Plain(Box<Content>),
    WithCredentials(Box<Request>),
}

fn examine(
    fields: &Fields,
    end: bool,
    around: &Surroundings,
    now: UnixMillis,
    run: &mut Run,
) -> Result<Leaving, Denial> {
    let policy = |reason| Denial::PolicyDenied(reason);
    let sealed = around.permit.as_deref().ok_or(policy(PolicyReason::PermitMissing))?;
    let permit = run.pipeline.keys.open(sealed, now).map_err(|fault| match fault {
        PermitFault::Expired => policy(PolicyReason::PermitExpired),
        PermitFault::Forged | PermitFault::Malformed => policy(PolicyReason::PermitInvalid),
    })?;
    run.decided(permit.decision_id());
    run.part.credentials = permit.uses().iter().map(name).collect();
    run.part.binding_hash = permit.uses().first().map(|used| used.binding_hash);
    let cluster = around.cluster.as_deref();
    check::region(&run.pipeline.config, cluster).map_err(Denial::RegionDenied)?;
    let guarded = run.guarded()?;
    guarded.fields(fields)?;
    if permit.uses().is_empty() {
        return Ok(Leaving::Plain(Box::new(Content::new(None, guarded))));
    }
    let mut content = Content::new(permit.content_digest(), guarded);
    if end {
        content.end()?;
    }
    let facts = facts(&permit, end, around);
    let plan = check::plan(&run.pipeline.config, &permit, fields, cluster, facts)?;
    let websocket = websocket::is_asked(fields);
    let (released, kept) = (Vec::new(), Vec::new());
    let request = Request { permit, plan, released, content, kept, ended: end, websocket };
    Ok(Leaving::WithCredentials(Box::new(request)))
}

/// A form that anybody may have put there counts only as what the permit's digest names.
fn facts<'a>(permit: &Permit, end: bool, around: &'a Surroundings) -> ContentFacts<'a> {
    let nothing = || <[u8; 32]>::from(Sha256::digest(b""));
    let digest = permit.content_digest().or_else(|| end.then(nothing));
    let read = |form: &&[u8]| digest == Some(Sha256::digest(form).into());
    ContentFacts { digest, form: around.form.as_deref().filter(read), absent: end }
}

fn name(used: &CredentialUse) -> String {
    match used.field.as_str() {
        "" => used.credential.clone(),
        field => format!("{}.{field}", used.credential),
    }
}

/// Asks for an answer that can be scrubbed: whole, in no content coding and not as a
/// difference to another (`a-im`, RFC 3229), over a connection without transfer codings
/// (`te`; its one other member, `trailers`, stays for gRPC).
fn tidy(fields: &Fields, run: &mut Run) {
    run.set(Part::Request, "accept-encoding", b"identity");
    let partial = run.pipeline.config.allow_partial;
    for name in ["range", "if-range", "a-im"] {
        if fields.has(name) && (name == "a-im" || !partial) {
            run.remove(Part::Request, name);
        }
    }
    if fields.has(websocket::EXTENSIONS) {
        // With one, frames would mean what nobody here reads.
        run.remove(Part::Request, websocket::EXTENSIONS);
    }
    if fields.all("te").any(|value| !value.eq_ignore_ascii_case(b"trailers")) {
        run.remove(Part::Request, "te");
    }
}

/// Content that is filled in has another length and other digests (RFC 9530, RFC 3230,
/// RFC 1864); removing a field that is not there changes nothing.
fn about_content(run: &mut Run) {
    for name in ["content-length", "content-digest", "repr-digest", "digest", "content-md5"] {
        run.remove(Part::Request, name);
    }
}

/// A request that fits its permit and has not got all its values.
struct Request {
    permit: Permit,
    plan: Vec<Planned>,
    released: Vec<Rc<Release>>,
    content: Content,
    /// Content that came while the head was held, where something is to be filled in.
    kept: Vec<u8>,
    /// All of it is here.
    ended: bool,
    /// It is a handshake, and what follows is frames.
    websocket: bool,
}

impl Request {
    /// Asks for the next value; injects when there is none left to ask for.
    fn ask(self, entropy: Entropy, now: UnixMillis, run: &mut Run) -> State {
        let Some(next) = self.plan.get(self.released.len()) else {
            return self.inject(now, entropy, run);
        };
        let (entropy, rest) = entropy.split();
        let turn = run.pipeline.releases.ask(&next.want, Moment { now, entropy });
        let cached = matches!(turn, Turn::Answer(_));
        self.turn(turn, cached, now, rest, now, run)
    }

    fn turn(
        mut self,
        turn: Turn<Released>,
        cached: bool,
        since: UnixMillis,
        entropy: Entropy,
        now: UnixMillis,
        run: &mut Run,
    ) -> State {
        match turn {
            Turn::Ask(call) => {
                let wait = AwaitRelease { request: self, call: call.id, since };
                run.emit(Effect::Call(call));
                run.pause();
                State::AwaitRelease(Box::new(wait))
            }
            Turn::Answer(Ok(release)) => {
                note(&release, cached, now.since(since), run);
                self.released.push(release);
                self.ask(entropy, now, run)
            }
            Turn::Answer(Err(denied)) => run.refuse(denied.into()),
            Turn::Failed(fault) => run.refuse(fault.into()),
        }
    }

    /// Where it goes, if the answer of that mints.
    fn endpoint(&mut self, entropy: Entropy) -> Option<Endpoint> {
        let mints = |planned: &mut Planned| {
            let binding = planned.mints.take()?;
            Some((planned.placement.used.credential.clone(), binding))
        };
        let sources = self.plan.iter_mut().filter_map(mints).collect();
        let caller = (self.permit.agent().to_owned(), self.permit.subject_hash());
        Endpoint::new(sources, caller, entropy)
    }

    /// Content that comes while the head is held.
    fn take(&mut self, chunk: &[u8], end: bool) -> Result<(), Denial> {
        if self.ended {
            return Err(Denial::Internal(Ours::Unexpected));
        }
        self.content.chunk(chunk)?;
        let filled = |one: &Planned| matches!(one.placement.put, Put::Content(_));
        if self.plan.iter().any(filled) {
            self.kept.extend_from_slice(chunk);
        }
        if end { self.end() } else { Ok(()) }
    }

    fn end(&mut self) -> Result<(), Denial> {
        self.ended = true;
        self.content.end()
    }

    fn inject(mut self, now: UnixMillis, entropy: Entropy, run: &mut Run) -> State {
        let (entropy, rest) = entropy.split();
        let endpoint = self.endpoint(rest);
        let at = &Moment { now, entropy };
        let placements = self.plan.into_iter().map(|planned| planned.placement);
        let pipeline = Rc::clone(&run.pipeline);
        let placed = placements.zip(self.released).map(|(placement, release)| {
            let name = &placement.used.credential;
            let former = pipeline.former.try_borrow_mut().ok();
            let former = former.and_then(|mut former| former.note(name, &release, at.now));
            Placed { placement, release, former }
        });
        let placed: Vec<Placed> = placed.collect();
        let caller = self.permit.subject_hash();
        match inject(self.permit, &placed, at) {
            Ok(injected) => {
                let looked = match run.looked(caller, injected.in_play, at.now) {
                    Ok(looked) => looked,
                    Err(denial) => return run.refuse(denial),
                };
                for name in injected.removed {
                    run.remove(Part::Request, name);
                }
                for injection in injected.injections {
                    run.emit(Effect::Inject(injection));
                }
                if injected.filling.is_some() {
                    about_content(run);
                }
                run.count("postern.credential.injected.total");
                run.record();
                run.proceed();
                if self.websocket {
                    return State::Handshake(Box::new(Handshake::new(
                        looked,
                        self.content.into_guarded(),
                    )));
                }
                let upload = Upload::new(self.content, injected.filling, self.ended);
                let mut upload = upload.with(self.kept);
                if let Err(denial) = upload.start(run) {
                    return run.refuse(denial);
                }
                State::Forwarded(Box::new(Forwarded::new(looked, upload, endpoint)))
            }
            Err(why) => run.refuse(refusal(why)),
        }
    }
}

fn note(release: &Release, cached: bool, waited: Duration, run: &mut Run) {
    run.part.release = Some(ReleaseSource { audit_seq: release.audit_seq, cached });
    run.part.release_ms = u32::try_from(waited.as_millis()).ok();
    run.part.attestation = Some(run.pipeline.config.key_service.evidence.label().to_owned());
}

fn refusal(why: NotInjected) -> Denial {
    match why {
        NotInjected::PermitExpired => Denial::PolicyDenied(PolicyReason::PermitExpired),
        NotInjected::NotPermitted => Denial::Internal(Ours::Unreachable),
        NotInjected::NoField => Denial::CredentialNotAllowed(NotAllowed::Field),
        NotInjected::ValueExpired => Denial::CredentialNotAllowed(NotAllowed::KeyServiceExpired),
        NotInjected::BadValue => Denial::Internal(Ours::Value),
    }
}

/// A call is out and the request is held.
pub(super) struct AwaitRelease {
    request: Request,
    call: CallId,
    since: UnixMillis,
}

impl AwaitRelease {
    pub(super) fn on(mut self, event: Event, now: UnixMillis, run: &mut Run) -> State {
        match event {
            // Where the head waits alone (`allow_on_headers_stop_iteration`), content comes.
            Event::RequestBody { chunk, end } => {
                let taken = self.request.take(&chunk, end);
                self.held(taken, run)
            }
            Event::RequestTrailers(fields) if !self.request.ended => {
                self.request.ended = true;
                let taken = self.request.content.trailers(&fields);
                self.held(taken, run)
            }
            Event::CallReply { id, result, entropy } if id == self.call => {
                let (entropy, rest) = entropy.split();
                let releases = Rc::clone(&run.pipeline.releases);
                let turn = releases.heard(id, result, Moment { now, entropy });
                self.request.turn(turn, false, self.since, rest, now, run)
            }
            Event::Tick if now.since(self.since) < LONGEST_WAIT => {
                State::AwaitRelease(Box::new(self))
            }
            Event::Tick => self.give_up(KeyServiceFault::TimedOut.into(), run),
            Event::EffectFailed => self.give_up(Denial::Internal(Ours::EffectFailed), run),
            Event::Done => {
                run.pipeline.releases.abandon(self.call);
                State::Over
            }
            // No answer can come before the request has left.
            Event::CallReply { .. }
            | Event::RequestHeaders { .. }
            | Event::RequestTrailers(_)
            | Event::ResponseHeaders { .. }
            | Event::ResponseBody { .. }
            | Event::ResponseTrailers(_) => self.give_up(Denial::Internal(Ours::Unexpected), run),
        }
    }

    fn held(self, taken: Result<(), Denial>, run: &mut Run) -> State {
        match taken {
            Ok(()) => {
                run.pause();
                State::AwaitRelease(Box::new(self))
            }
            Err(denial) => self.give_up(denial, run),
        }
    }

    fn give_up(self, denial: Denial, run: &mut Run) -> State {
        run.pipeline.releases.abandon(self.call);
        run.refuse(denial)
    }
}
