//! Calls to the key service in virtual time, with the failure shapes of Envoy.

use std::cell::Cell;

use postern_core::key_service::{Call, CallAnswer, CallFailure, CallId, CallResult};
use postern_core::time::{Moment, UnixMillis};

use crate::faults::Outcome;
use crate::world::introspection::Question;
use crate::world::{Backend, entropy};

/// A moment with fresh randomness.
pub fn moment(now: UnixMillis) -> Moment {
    Moment { now, entropy: entropy() }
}

/// Makes the call; time passes only when nothing answers.
pub fn perform(backend: &Backend, call: Call, now: &Cell<UnixMillis>) -> (CallId, CallResult) {
    let answer = |status, body: &[u8]| Ok(CallAnswer::of(status, body.to_vec()));
    let shown = call.authorization.as_ref().and_then(|shown| shown.perform(str::to_owned));
    let authorization = shown.as_ref().map(String::as_bytes);
    let unless = call.unless.as_deref().map(str::as_bytes);
    let question = Question { path: &call.path, body: &call.body, authorization, unless };
    let result = match backend.answer(&question, now.get()) {
        Outcome::Answer(_, body) | Outcome::Tagged(_, body) if body.len() > call.most => {
            Err(CallFailure::TooLarge)
        }
        Outcome::Answer(status, body) => answer(status, &body),
        Outcome::Tagged(tag, body) => {
            let fields = [("etag", tag.as_str())].into_iter().collect();
            Ok(CallAnswer { fields, ..CallAnswer::of(200, body) })
        }
        // What Envoy hands to a module in these cases looks like an answer.
        Outcome::HangUp => {
            answer(503, b"upstream connect error or disconnect/reset before headers")
        }
        Outcome::Silence => {
            now.set(now.get().after(call.timeout));
            answer(504, b"upstream request timeout")
        }
    };
    (call.id, result)
}
