//! From the head of a token endpoint's answer to its delivery: held, read, stored, replaced.
//!
//! ```text
//! Forwarded ──> Holding ──> Storing ──> Answered
//!                  └───────────┴──> Refused
//! ```
//!
//! Invariant: nothing of such an answer goes on before every declared value in it is in the
//! key service's keeping, under a name that nobody had, and a placeholder stands in its place;
//! anything that does not fit refuses, while the client has nothing yet.

use std::rc::Rc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::answer;
use super::forwarded::Upload;
use super::run::Run;
use super::session::Looked;
use super::stream::State;
use super::tokens::{self, Found};
use crate::binding::{Binding, Mint, minted_name};
use crate::denial::{Denial, Ours, Unscannable};
use crate::effect::{Effect, Part};
use crate::event::Event;
use crate::fields::Fields;
use crate::inject::InPlay;
use crate::key_service::{CallId, KeyServiceFault, Minted, Origin, Stored, Turn};
use crate::secret::Secret;
use crate::time::{Entropy, Moment, UnixMillis};

/// Most content of a token endpoint's answer, as it comes and as it is decoded.
const LARGEST: usize = 64 * 1024;
/// An answer that has not come to its end so long after its head is refused.
const LONGEST_ANSWER: Duration = Duration::from_secs(5);
/// The key service's client gives up after 2 s; this is for one that does not.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What a request is that left for a token endpoint.
pub(super) struct Endpoint {
    /// Credentials that it carried, with the bindings that mint.
    sources: Vec<(String, Binding)>,
    agent: String,
    caller: [u8; 32],
    entropy: Entropy,
}

impl Endpoint {
    /// `None` when nothing is minted under any of these.
    pub(super) fn new(
        sources: Vec<(String, Binding)>,
        (agent, caller): (String, [u8; 32]),
        entropy: Entropy,
    ) -> Option<Self> {
        (!sources.is_empty()).then_some(Self { sources, agent, caller, entropy })
    }

    fn rules(&self) -> Vec<(&String, &Binding, &Mint)> {
        self.sources
            .iter()
            .flat_map(|(name, binding)| binding.mints().iter().map(move |it| (name, binding, it)))
            .collect()
    }

    fn mints(&self) -> Vec<&Mint> {
        self.rules().into_iter().map(|(_, _, mint)| mint).collect()
    }

    /// Whether the head alone refuses the answer.
    pub(super) fn check(&self, fields: &Fields, over: bool) -> Result<(), Denial> {
        let refused = |why| Err(Denial::UpstreamUnscannable(why));
        if tokens::in_fields(fields, &self.mints()) {
            return refused(Unscannable::MintField);
        }
        // The host can hold back one direction at a time.
        if over { Ok(()) } else { refused(Unscannable::MintEarly) }
    }

    /// The value as the key service takes it.
    fn minted(&self, found: &Found, name: &str, now: UnixMillis) -> Option<Minted> {
        let (source, binding, mint) = self.rules().get(found.rule).copied()?;
        Some(Minted {
            credential: name.to_owned(),
            value: Secret::new(found.value.as_bytes().to_vec()),
            not_after: now.after(found.life),
            binding: binding.minted(mint).canonical(),
            origin: Origin {
                agent: self.agent.clone(),
                caller_hash: self.caller,
                source: source.clone(),
                source_binding: binding.hash(),
            },
        })
    }
}

/// The head is here, and nothing of the answer goes on.
pub(super) struct Holding {
    endpoint: Endpoint,
    fields: Fields,
    looked: Looked,
    upload: Upload,
    content: Zeroizing<Vec<u8>>,
    since: UnixMillis,
}

impl Holding {
    pub(super) fn new(
        endpoint: Endpoint,
        fields: Fields,
        (looked, upload): (Looked, Upload),
        since: UnixMillis,
    ) -> Self {
        Self { endpoint, fields, looked, upload, content: Zeroizing::default(), since }
    }

    /// Refuses what could not be read anyway.
    pub(super) fn begin(self, run: &mut Run) -> State {
        match answer::scannable(&self.fields, run.pipeline.config.allow_partial) {
            Ok(()) => self.wait(run),
            Err(denial) => run.refuse(denial),
        }
    }

    fn wait(self, run: &mut Run) -> State {
        run.pause();
        State::Holding(Box::new(self))
    }

    pub(super) fn on(mut self, event: Event, now: UnixMillis, run: &mut Run) -> State {
        let unscannable = Denial::UpstreamUnscannable;
        match event {
            Event::ResponseBody { chunk, end } => {
                self.content.extend_from_slice(&chunk);
                if self.content.len() > LARGEST {
                    return run.refuse(unscannable(Unscannable::MintLarge));
                }
                if end { self.read(now, run) } else { self.wait(run) }
            }
            Event::ResponseTrailers(_) => run.refuse(unscannable(Unscannable::MintTrailers)),
            Event::Tick if now.since(self.since) < LONGEST_ANSWER => self.wait(run),
            // Or the host does not deliver content while it holds the head.
            Event::Tick => run.refuse(unscannable(Unscannable::MintSlow)),
            Event::EffectFailed => run.refuse(Denial::Internal(Ours::EffectFailed)),
            Event::Done => State::Over,
            Event::RequestHeaders { .. }
            | Event::RequestBody { .. }
            | Event::RequestTrailers(_)
            | Event::CallReply { .. }
            | Event::ResponseHeaders { .. } => run.refuse(Denial::Internal(Ours::Unexpected)),
        }
    }

    fn read(self, now: UnixMillis, run: &mut Run) -> State {
        let found = self.plain(run).and_then(|plain| {
            let found = tokens::read(&self.fields, &plain, &self.endpoint.mints());
            found.map(|found| (plain, found)).map_err(Denial::UpstreamUnscannable)
        });
        let (plain, found) = match found {
            Ok(found) => found,
            Err(denial) => return run.refuse(denial),
        };
        let Self { mut endpoint, fields, looked, upload, .. } = self;
        let answer = Answer { fields, looked, upload, plain, caller: endpoint.caller };
        let names = endpoint.draw();
        let named = endpoint.named(found, names);
        Storing { endpoint, answer, named, stored: 0, call: None, since: now }.go_on(now, run)
    }

    /// The content without its codings. What the request carried is still in it: a value that
    /// is minted may be one of those.
    fn plain(&self, run: &Run) -> Result<Zeroizing<Vec<u8>>, Denial> {
        let mut decoder = run.pipeline.scrubbing.known(&[]).scrubber();
        decoder.decode(&answer::codings(&self.fields)?);
        let decoded = decoder.chunk(&self.content, true).map_err(Denial::UpstreamUnscannable)?;
        let plain = decoded.replace.map_or_else(|| self.content.clone(), Zeroizing::new);
        if plain.len() > LARGEST {
            return Err(Denial::UpstreamUnscannable(Unscannable::MintLarge));
        }
        Ok(plain)
    }
}

impl Endpoint {
    /// Randomness for one purpose.
    fn draw(&mut self) -> Entropy {
        let (drawn, rest) = Entropy(self.entropy.0).split();
        self.entropy = rest;
        drawn
    }

    fn named(&self, found: Vec<Found>, mut entropy: Entropy) -> Vec<(Found, String)> {
        let rules = self.rules();
        let mut named = Vec::with_capacity(found.len());
        for one in found {
            let (random, rest) = entropy.split();
            entropy = rest;
            let random = random.0.first_chunk().copied().unwrap_or_default();
            if let Some((_, _, mint)) = rules.get(one.rule) {
                named.push((one, minted_name(mint.name(), random)));
            }
        }
        named
    }
}

/// A whole answer that waits to be delivered.
struct Answer {
    fields: Fields,
    looked: Looked,
    upload: Upload,
    plain: Zeroizing<Vec<u8>>,
    caller: [u8; 32],
}

/// Value after value goes to the key service.
pub(super) struct Storing {
    endpoint: Endpoint,
    answer: Answer,
    named: Vec<(Found, String)>,
    stored: usize,
    call: Option<CallId>,
    since: UnixMillis,
}

impl Storing {
    pub(super) fn on(mut self, event: Event, now: UnixMillis, run: &mut Run) -> State {
        match event {
            Event::CallReply { id, result, entropy } if Some(id) == self.call => {
                self.call = None;
                let vault = Rc::clone(&run.pipeline.vault);
                let turn = vault.heard(id, result, Moment { now, entropy });
                self.turn(turn, now, run)
            }
            Event::Tick if now.since(self.since) < LONGEST_WAIT => {
                run.pause();
                State::Storing(Box::new(self))
            }
            Event::Tick => self.give_up(KeyServiceFault::TimedOut.into(), run),
            Event::EffectFailed => self.give_up(Denial::Internal(Ours::EffectFailed), run),
            Event::Done => {
                self.abandon(run);
                State::Over
            }
            Event::CallReply { .. }
            | Event::RequestHeaders { .. }
            | Event::RequestBody { .. }
            | Event::RequestTrailers(_)
            | Event::ResponseHeaders { .. }
            | Event::ResponseBody { .. }
            | Event::ResponseTrailers(_) => self.give_up(Denial::Internal(Ours::Unexpected), run),
        }
    }

    /// Stores the next value; delivers when there is none left to store.
    fn go_on(mut self, now: UnixMillis, run: &mut Run) -> State {
        let Some((found, name)) = self.named.get(self.stored) else {
            return self.answer.deliver(self.named, now, run);
        };
        let Some(minted) = self.endpoint.minted(found, name, now) else {
            return run.refuse(Denial::Internal(Ours::Unreachable));
        };
        let entropy = self.endpoint.draw();
        self.since = now;
        let vault = Rc::clone(&run.pipeline.vault);
        let turn = vault.store(minted, Moment { now, entropy });
        self.turn(turn, now, run)
    }

    fn turn(mut self, turn: Turn<Stored>, now: UnixMillis, run: &mut Run) -> State {
        match turn {
            Turn::Ask(call) => {
                self.call = Some(call.id);
                run.emit(Effect::Call(call));
                run.pause();
                State::Storing(Box::new(self))
            }
            Turn::Answer(Stored) => {
                self.stored = self.stored.saturating_add(1);
                self.go_on(now, run)
            }
            Turn::Failed(fault) => run.refuse(fault.into()),
        }
    }

    fn give_up(self, denial: Denial, run: &mut Run) -> State {
        self.abandon(run);
        run.refuse(denial)
    }

    fn abandon(&self, run: &Run) {
        if let Some(call) = self.call {
            run.pipeline.vault.abandon(call);
        }
    }
}

impl Answer {
    /// The answer with placeholders, scrubbed of everything that the request carried and of
    /// what was minted, wherever else it stands.
    fn deliver(self, named: Vec<(Found, String)>, now: UnixMillis, run: &mut Run) -> State {
        let Self { fields, looked, upload, plain, caller } = self;
        let minted = named.iter().map(|(found, _)| InPlay::minted(found.value.as_bytes()));
        let Looked { mut secrets, mut known } = looked;
        if !named.is_empty() {
            let noted = match run.looked(caller, minted.collect(), now) {
                Ok(noted) => noted,
                Err(denial) => return run.refuse(denial),
            };
            let new = |one: &Rc<InPlay>| !secrets.iter().any(|known| known.is_same(one));
            let new: Vec<_> = noted.secrets.into_iter().filter(new).collect();
            secrets.extend(new);
            known = run.pipeline.scrubbing.known(&secrets);
        }
        let mut scrubber = known.scrubber();
        if let Err(denial) = head(&fields, &secrets, scrubber.as_mut(), run) {
            return run.refuse(denial);
        }
        let content = tokens::replaced(&plain, &named);
        let scrubbed = match scrubber.chunk(&content, true) {
            Ok(scrubbed) => scrubbed.replace.unwrap_or(content),
            Err(why) => return run.refuse(Denial::UpstreamUnscannable(why)),
        };
        run.emit(Effect::ReplaceBody { part: Part::Response, content: scrubbed });
        run.part.scrub = Some(scrubber.receipt());
        run.found(scrubber.hits());
        run.part.minted = named.into_iter().map(|(_, name)| name).collect();
        if !run.part.minted.is_empty() {
            run.count("postern.credential.minted.total");
        }
        run.record();
        run.proceed();
        State::Answered(Box::new(upload))
    }
}

/// The head of content that is decoded already.
fn head(
    fields: &Fields,
    secrets: &[Rc<InPlay>],
    scrubber: &mut dyn crate::scrubbing::Scrubber,
    run: &mut Run,
) -> Result<(), Denial> {
    let coded = fields.has("content-encoding");
    let plain =
        fields.0.iter().filter(|field| !field.name.eq_ignore_ascii_case(b"content-encoding"));
    let plain = Fields(plain.cloned().collect());
    answer::head(&plain, false, secrets, scrubber, run)?;
    if coded {
        run.remove(Part::Response, "content-encoding");
    }
    Ok(())
}
