//! Exchanges invites for capability tokens (`plugins/capability/SPEC.md`, section 6).
//!
//! Owns what is checked before the key service is asked and what of its answer is believed.
//! Invariant: an invite whose form or checksum is wrong, or whose request the named key has
//! not signed, asks nobody; a token is handed out only if this gate would take it, from the
//! holder of that key. Nonces are not remembered here: an exchange that is sent again gives
//! the same token, and anybody could fill the table that signed requests share.

use std::rc::Rc;

use postern_capability::{PublicKey, Strict, proof};
use postern_core::api_key::PresentedKey;
use postern_core::config::gate::CAPABILITY_FIELD;
use postern_core::denial::{Denial, KeysReason, TokenReason};
use postern_core::fields::Fields;
use postern_core::invites::{Exchange, Invites, Issued, Outcome};
use postern_core::key_service::{
    CallId, CallResult, Exchanged, Exchanges, NotExchanged, Redemption, Turn,
};
use postern_core::time::{Moment, UnixMillis};

use crate::capability::{Capabilities, Signed, Verifier, invalid};

/// The invites of a tenant.
pub struct CapabilityInvites {
    verifier: Rc<Verifier>,
    exchanges: Rc<dyn Exchanges>,
}

impl CapabilityInvites {
    /// For tokens that `tokens` verifies.
    pub fn new(tokens: &Capabilities, exchanges: &Rc<dyn Exchanges>) -> Self {
        Self { verifier: Rc::clone(&tokens.0), exchanges: Rc::clone(exchanges) }
    }
}

impl Invites for CapabilityInvites {
    fn presented(&self, fields: &Fields) -> Box<dyn Exchange> {
        let text = fields.only(CAPABILITY_FIELD).and_then(|value| str::from_utf8(value).ok());
        let shown = text.map(|text| {
            let invite = PresentedKey::parse_invite(text.as_bytes());
            invite.map(|invite| (invite, Signed::read(fields, text)))
        });
        Box::new(InviteExchange {
            verifier: Rc::clone(&self.verifier),
            exchanges: Rc::clone(&self.exchanges),
            shown: match shown {
                None if !fields.has(CAPABILITY_FIELD) => Err(Denial::CredentialsMissing),
                None | Some(None) => Err(Denial::InvalidToken(TokenReason::Syntax)),
                Some(Some(shown)) => Ok(Some(shown)),
            },
            holder: None,
            call: None,
        })
    }
}

/// One invite.
struct InviteExchange {
    verifier: Rc<Verifier>,
    exchanges: Rc<dyn Exchanges>,
    /// `Ok(None)` when the key service has it.
    shown: Result<Option<(PresentedKey, Signed)>, Denial>,
    holder: Option<PublicKey>,
    call: Option<CallId>,
}

impl Exchange for InviteExchange {
    fn start(&mut self, at: Moment) -> Turn<Outcome> {
        let now = at.now;
        match self.redemption(now) {
            Ok(redemption) => {
                let turn = self.exchanges.exchange(redemption, at);
                self.turn(turn, now)
            }
            Err(denial) => Turn::Answer(Err(denial)),
        }
    }

    fn heard(&mut self, call: CallId, result: CallResult, at: Moment) -> Turn<Outcome> {
        let now = at.now;
        let turn = self.exchanges.heard(call, result, at);
        self.turn(turn, now)
    }

    fn abandon(&mut self) {
        if let Some(call) = self.call.take() {
            self.exchanges.abandon(call);
        }
    }
}

impl InviteExchange {
    /// What to ask for, once the key that the proof names has signed the request.
    fn redemption(&mut self, now: UnixMillis) -> Result<Redemption, Denial> {
        let shown = self.shown.as_mut().map_err(|denial| denial.clone())?;
        let (invite, signed) = shown.take().ok_or(Denial::InvalidToken(TokenReason::Syntax))?;
        let fields: Vec<(&str, &str)> =
            signed.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let request = signed.request(&fields).map_err(Denial::InvalidToken)?;
        let named = proof::named_key(&request).ok_or(Denial::InvalidToken(TokenReason::Proof))?;
        proof::verify(&request, &named, self.verifier.window(now), &Strict).map_err(invalid)?;
        let holder = *named.as_bytes();
        self.holder = Some(named);
        Ok(Redemption {
            invite: invite.into_whole(),
            holder,
            audience: self.verifier.config.audience.clone(),
            max_life: self.verifier.config.max_life,
        })
    }

    fn turn(&mut self, turn: Turn<Exchanged>, now: UnixMillis) -> Turn<Outcome> {
        self.call = None;
        match turn {
            Turn::Ask(call) => {
                self.call = Some(call.id);
                Turn::Ask(call)
            }
            Turn::Failed(fault) => Turn::Failed(fault),
            Turn::Answer(Ok(token)) => Turn::Answer(self.issued(token, now)),
            Turn::Answer(Err(NotExchanged::Refused)) => {
                Turn::Answer(Err(Denial::InvalidToken(TokenReason::Invite)))
            }
            Turn::Answer(Err(NotExchanged::Rate)) => Turn::Answer(Err(Denial::RateLimited)),
        }
    }

    fn issued(&self, token: String, now: UnixMillis) -> Outcome {
        let holder = self.holder.as_ref();
        let established = holder.and_then(|holder| self.verifier.issued(&token, holder, now));
        let established = established.ok_or(Denial::KeysUnavailable(KeysReason::Invites))?;
        Ok(Issued { token, established })
    }
}

#[cfg(test)]
mod tests;
