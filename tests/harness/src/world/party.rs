//! An enrolled identity that speaks to the genuine service in its own protocol.

use anyhow::{Context, Result, bail, ensure};
use ed25519_dalek::SigningKey;
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use postern_crp::evidence::{Seen, Trust, appraise};
use postern_crp::exchange::{Asker, ask};
use postern_crp::message::{Answer, Message, enrol};
use postern_crp::{Identity, Role};
use postern_keys::operator_auth::{self, Claim};

use super::keys::{derive, entropy, short};
use super::{Backend, Outcome};

/// Who asks.
pub struct Party {
    /// Seed of its Ed25519 key.
    pub seed: [u8; 32],
    id: [u8; 16],
    tenant: String,
}

impl Party {
    /// Enrols a new key of `role` with a join token.
    pub fn enrol(backend: &Backend, role: Role, token: Secret, now: UnixMillis) -> Result<Self> {
        let seed = derive(&format!("{} {}", role.name(), hex(&short(&entropy().0))));
        let mut party = Self { seed, id: [0; 16], tenant: String::new() };
        let public_key = party.identity()?.public_key();
        let label = role.name().to_owned();
        let request = enrol::Request { join_token: token, role, public_key, label };
        let Answer::Enrol(enrolled) = party.ask(backend, &Message::Enrol(request), now)? else {
            bail!("{} was not enrolled", role.name());
        };
        party.id = enrolled.gateway_id;
        party.tenant = enrolled.tenant;
        Ok(party)
    }

    fn identity(&self) -> Result<Identity> {
        Ok(Identity::from_seed(&Secret::new(self.seed.to_vec()))?)
    }

    /// A sealed message and its opened answer.
    pub fn ask(&self, backend: &Backend, message: &Message, now: UnixMillis) -> Result<Answer> {
        let Outcome::Answer(200, document) = backend.exchange("/crp/v1/evidence", b"", now) else {
            bail!("no evidence");
        };
        let trust = Trust::Simulated(backend.genuine.sim_key().context("simulated evidence")?);
        let evidence = appraise(&document, &trust, Seen::default(), now)?;
        let identity = self.identity()?;
        let asker = Asker { identity: &identity, gateway_id: self.id, tenant: &self.tenant, now };
        let (body, awaiting) = ask(&evidence, &asker, message, &entropy().0)?;
        let Outcome::Answer(200, reply) = backend.exchange("/crp/v1/message", &body, now) else {
            bail!("no answer");
        };
        Ok(awaiting.open(&reply)?)
    }

    /// A signed request of an operator; anything but 200 and 204 is an error.
    pub fn operate(
        &self,
        backend: &Backend,
        path: &str,
        body: &[u8],
        now: UnixMillis,
    ) -> Result<()> {
        self.operated(backend, ("POST", path), body, now).map(drop)
    }

    /// The same with another method, and the content of the answer.
    pub fn operated(
        &self,
        backend: &Backend,
        (method, path): (&str, &str),
        body: &[u8],
        now: UnixMillis,
    ) -> Result<Vec<u8>> {
        let request =
            operator_auth::Request { method, authority: "localhost", path, query: "", body };
        let nonce = short(&entropy().0);
        let claim = Claim { operator: self.id, created: now.seconds(), nonce };
        let fields = operator_auth::sign(&request, &claim, &SigningKey::from_bytes(&self.seed));
        let answer = backend.operate(&request, &fields, now);
        let said = String::from_utf8_lossy(&answer.body);
        ensure!(matches!(answer.status, 200 | 204), "{path}: {} {said}", answer.status);
        Ok(answer.body)
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
