//! A key service that misbehaves: what stands between the gateway and the real one.
//!
//! The same decisions on every boundary: the core asks [`Stand::decide`] in process, the
//! real gateway through a TLS server. Whoever plays this holds no key of the service.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Deserialize;

use crate::world::Flaw;

/// How the key service behaves during a step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    /// What happens to an exchange.
    pub is: Kind,
    /// Which exchanges it happens to; all but audit batches and revocation heads when empty.
    pub to: Vec<Exchange>,
    /// What is wrong with the genuine service's evidence, where `seed.evidence` names kinds.
    pub flaw: Option<Flaw>,
}

/// What happens to an exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Nothing.
    #[default]
    Well,
    /// The connection closes without an answer.
    Down,
    /// No answer comes.
    Slow,
    /// 200 with text that is no answer.
    Rubbish,
    /// 500 with the genuine answer.
    Error,
    /// Another service answers, with keys of its own.
    WrongKey,
    /// The genuine answer to an earlier exchange of this kind.
    Replayed,
    /// The genuine answer to an earlier exchange of another kind.
    Swapped,
    /// The genuine answer with one bit changed.
    Forged,
}

/// The kinds of exchange, told apart by what an outsider can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exchange {
    /// `/crp/v1/evidence`.
    Evidence,
    /// Message type 3.
    Directory,
    /// Message type 1.
    Release,
    /// Message type 5.
    Audit,
    /// `/crp/v1/revocations`.
    Revocations,
    /// Message type 4.
    Store,
    /// Message type 6.
    Exchange,
    /// Message type 7.
    Approval,
    /// Anything else.
    Other,
}

impl Exchange {
    /// What a request is, by its path and the clear type byte.
    pub fn of(path: &str, body: &[u8]) -> Self {
        match (path.split('?').next(), body.get(1)) {
            (Some("/crp/v1/evidence"), _) => Self::Evidence,
            (Some("/crp/v1/revocations"), _) => Self::Revocations,
            (_, Some(1)) => Self::Release,
            (_, Some(3)) => Self::Directory,
            (_, Some(4)) => Self::Store,
            (_, Some(5)) => Self::Audit,
            (_, Some(6)) => Self::Exchange,
            (_, Some(7)) => Self::Approval,
            _ => Self::Other,
        }
    }
}

/// What the gateway gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An HTTP answer.
    Answer(u16, Vec<u8>),
    /// 200 with this `etag`.
    Tagged(String, Vec<u8>),
    /// The connection closes.
    HangUp,
    /// Nothing, for as long as the fault lasts.
    Silence,
}

/// Where the genuine answer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// The real key service.
    Genuine,
    /// Another one with keys of its own.
    Impostor,
}

/// The fault of the moment, and the answers that went by.
#[derive(Debug, Default)]
pub struct Stand {
    state: Mutex<State>,
}

/// What goes on without any request.
const BACKGROUND: [Exchange; 2] = [Exchange::Audit, Exchange::Revocations];

#[derive(Debug, Default)]
struct State {
    fault: Fault,
    /// What happens to revocation heads, from step to step.
    feed: Kind,
    seen: BTreeMap<Exchange, Vec<u8>>,
    asked: Vec<Exchange>,
}

impl Stand {
    /// Sets how the following exchanges go.
    pub fn set(&self, fault: Fault) {
        self.lock().fault = fault;
    }

    /// The flaw of the evidence now.
    pub fn flaw(&self) -> Option<Flaw> {
        self.lock().fault.flaw
    }

    /// Sets how revocation heads go from now on.
    pub fn set_feed(&self, feed: Kind) {
        self.lock().feed = feed;
    }

    /// The exchanges since the last call, in order.
    pub fn take_asked(&self) -> Vec<Exchange> {
        std::mem::take(&mut self.lock().asked)
    }

    /// What happens to an exchange now.
    pub fn kind(&self, exchange: Exchange) -> Kind {
        let state = self.lock();
        if exchange == Exchange::Revocations && state.feed != Kind::Well {
            return state.feed;
        }
        let meant = match state.fault.to.as_slice() {
            [] => !BACKGROUND.contains(&exchange),
            some => some.contains(&exchange),
        };
        if meant { state.fault.is } else { Kind::Well }
    }

    /// Decides about one exchange; `ask` gives a service's own answer.
    pub fn decide(
        &self,
        exchange: Exchange,
        ask: impl FnOnce(Service) -> (u16, Vec<u8>),
    ) -> Outcome {
        if exchange != Exchange::Revocations {
            self.lock().asked.push(exchange);
        }
        let kind = self.kind(exchange);
        let answer = |(status, body)| Outcome::Answer(status, body);
        match kind {
            Kind::Down => Outcome::HangUp,
            Kind::Slow => Outcome::Silence,
            Kind::Rubbish => Outcome::Answer(200, b"{\"this is\": \"no answer\"}".to_vec()),
            Kind::Error => Outcome::Answer(500, ask(Service::Genuine).1),
            Kind::WrongKey => answer(ask(Service::Impostor)),
            Kind::Replayed => self.earlier(|seen| seen == exchange),
            Kind::Swapped => self.earlier(|seen| seen != exchange && !BACKGROUND.contains(&seen)),
            Kind::Forged => {
                let (status, body) = ask(Service::Genuine);
                // A head may have signatures of two keys behind its text, one of which nobody
                // looks at: what is bent is the text.
                let at = if exchange == Exchange::Revocations { 4 } else { 2 };
                let at = body.len() / at;
                Outcome::Answer(status, bent(body, at))
            }
            Kind::Well => {
                let (status, body) = ask(Service::Genuine);
                let mut state = self.lock();
                // Of heads the first one stays: what is replayed is to be old.
                if exchange != Exchange::Revocations || !state.seen.contains_key(&exchange) {
                    state.seen.insert(exchange, body.clone());
                }
                Outcome::Answer(status, body)
            }
        }
    }

    fn earlier(&self, wanted: impl Fn(Exchange) -> bool) -> Outcome {
        let state = self.lock();
        let found = state.seen.iter().find(|(exchange, _)| wanted(**exchange));
        Outcome::Answer(200, found.map(|(_, body)| body.clone()).unwrap_or_default())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bent(mut body: Vec<u8>, at: usize) -> Vec<u8> {
    if let Some(byte) = body.get_mut(at) {
        *byte ^= 1;
    }
    body
}
