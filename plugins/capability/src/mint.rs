//! Making tokens, narrowing them and signing requests: for issuers and holders.
//!
//! A gateway has no use for this module. Randomness is an argument. Invariant: what is
//! made here is what the verifier accepts, or it is not made.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD as B64};
use ed25519_dalek::{Signer, SigningKey};
use thiserror::Error;

use crate::block::{self, Block};
use crate::cbor::{self, Value};
use crate::claims::{Claims, label};
use crate::form::{self, Set};
use crate::key::PublicKey;
use crate::proof::{self, Request};
use crate::refusal::Refusal;
use crate::token;

/// Why nothing was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MintError {
    /// The verifier would refuse it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The key is not the one that the token names last.
    #[error("expected the key of the token's holder")]
    WrongKey,
}

/// The first block, signed by an issuer.
pub fn mint(claims: &Claims, key_id: &str, key: &SigningKey) -> Result<String, MintError> {
    claims.check(true)?;
    if !form::key_id(key_id) {
        return Err(Refusal::Header.into());
    }
    let payload = claims.encode()?;
    let block = block::seal(Some(key_id), payload, |signed| sign(key, signed));
    assemble(vec![block.ok_or(Refusal::Encoding)?])
}

/// One more block, signed by the holder so far; sets `previous`.
pub fn attenuate(parent: &str, claims: Claims, key: &SigningKey) -> Result<String, MintError> {
    let mut blocks = token::blocks(parent.as_bytes())?;
    let last = blocks.last().ok_or(Refusal::Blocks)?;
    let last = Block::parse(last, blocks.len() == 1)?;
    if last.claims()?.holder != public(key) {
        return Err(MintError::WrongKey);
    }
    let claims = Claims { previous: Some(last.digest()), ..claims };
    claims.check(false)?;
    let block = block::seal(None, claims.encode()?, |signed| sign(key, signed));
    blocks.push(block.ok_or(Refusal::Encoding)?);
    assemble(blocks)
}

fn sign(key: &SigningKey, message: &[u8]) -> Vec<u8> {
    key.sign(message).to_bytes().to_vec()
}

/// The public half of a key.
pub fn public(key: &SigningKey) -> Option<PublicKey> {
    PublicKey::parse(key.verifying_key().as_bytes())
}

/// The text of a chain.
pub(crate) fn assemble(blocks: Vec<Vec<u8>>) -> Result<String, MintError> {
    let chain = Value::Array(blocks.into_iter().map(Value::Bytes).collect());
    let text = text(&cbor::encode(&chain).ok_or(Refusal::Encoding)?);
    token::blocks(text.as_bytes())?;
    Ok(text)
}

/// The text of a chain's bytes.
pub(crate) fn text(chain: &[u8]) -> String {
    format!("{}{}", token::PREFIX, B64.encode(chain))
}

/// The fields to send with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    /// `signature-input`.
    pub signature_input: String,
    /// `signature`.
    pub signature: String,
    /// `content-digest`, with content.
    pub content_digest: Option<String>,
}

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub struct Unsigned<'a> {
    /// Method.
    pub method: &'a str,
    /// `https` or `http`.
    pub scheme: &'a str,
    /// Authority.
    pub authority: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// The token.
    pub token: &'a str,
    /// Content, if there is any.
    pub content: Option<&'a [u8]>,
    /// Further fields to sign: names in lower case, ascending, and values.
    pub fields: &'a [(&'a str, &'a str)],
}

/// Signs a request at `created` (seconds), with 16 random bytes for a nonce.
pub fn sign_request(
    request: &Unsigned<'_>,
    key: &SigningKey,
    created: u64,
    random: &[u8; 16],
) -> Result<Fields, MintError> {
    sign_request_with(request, key, created, ("", random))
}

/// The same, with a nonce that the gateway has issued before the random bytes.
pub fn sign_request_with(
    request: &Unsigned<'_>,
    key: &SigningKey,
    created: u64,
    (issued, random): (&str, &[u8; 16]),
) -> Result<Fields, MintError> {
    let digest = request.content.map(proof::content_digest);
    let further: Vec<&str> = request.fields.iter().map(|(name, _)| *name).collect();
    let ascending = further.is_sorted_by(|one, next| one < next);
    if !ascending
        || further.len() > proof::MOST_FIELDS
        || !further.iter().all(|it| proof::is_further(it))
    {
        return Err(Refusal::ProofComponents.into());
    }
    let nonce = format!("{issued}{}", proof::nonce(random));
    if !proof::is_nonce(&nonce) {
        return Err(Refusal::ProofParameters.into());
    }
    let parameters = format!(
        "{};created={created};nonce=\"{nonce}\";keyid=\"{}\";tag=\"{}\"",
        proof::components(digest.is_some(), &further),
        B64.encode(key.verifying_key().as_bytes()),
        proof::TAG
    );
    let whole = Request {
        method: request.method,
        scheme: request.scheme,
        authority: request.authority,
        target: request.target,
        token: request.token,
        signature_input: "",
        signature: "",
        content_digest: digest.as_deref(),
        has_content: digest.is_some(),
        fields: request.fields,
    };
    let base = proof::base(&whole, &further, &parameters).ok_or(Refusal::ProofForm)?;
    let signature = BASE64_STANDARD.encode(sign(key, base.as_bytes()));
    Ok(Fields {
        signature_input: format!("pop={parameters}"),
        signature: format!("pop=:{signature}:"),
        content_digest: digest,
    })
}

impl Claims {
    /// The payload of a block; an error names a claim that is not of its form.
    pub fn encode(&self) -> Result<Vec<u8>, Refusal> {
        let payload = cbor::encode(&Value::Map(self.entries())).ok_or(Refusal::Encoding)?;
        // Whatever a caller has put in: only what can be read again is signed.
        Self::decode(&payload)?;
        Ok(payload)
    }

    /// In the order of their encodings.
    fn entries(&self) -> Vec<(Value, Value)> {
        let text = |value: &Option<String>| value.clone().map(Value::Text);
        let number = |value: Option<u64>| value.map(Value::from);
        let level = |value: Option<u8>| value.map(Value::from);
        let set = |value: &Option<Set>| value.clone().map(texts);
        let rows = [
            (label::ISSUER, text(&self.issuer)),
            (label::SUBJECT, text(&self.subject)),
            (label::AUDIENCE, text(&self.audience)),
            (label::EXPIRES, number(self.expires)),
            (label::NOT_BEFORE, number(self.not_before)),
            (label::ISSUED_AT, number(self.issued_at)),
            (label::ID, self.id.map(|id| Value::Bytes(id.to_vec()))),
            (label::CONFIRMATION, self.holder.as_ref().map(confirmation)),
            (label::PREVIOUS, self.previous.map(|hash| Value::Bytes(hash.to_vec()))),
            (label::TENANT, text(&self.tenant)),
            (label::ORGANISATION, text(&self.organisation)),
            (label::SCOPES, set(&self.scopes)),
            (label::ROLES, set(&self.roles)),
            (label::TRUST, level(self.trust)),
            (label::CLEARANCE, level(self.clearance)),
            (label::CREDENTIALS, set(&self.credentials)),
            (label::HOSTS, set(&self.hosts)),
            (label::METHODS, set(&self.methods)),
            (label::PATHS, set(&self.paths)),
            (label::TOOLS, set(&self.tools)),
            (label::MODELS, set(&self.models)),
            (label::BUDGET, number(self.budget)),
            (label::DOCUMENT, text(&self.document)),
            (label::APPROVAL, level(self.approval)),
            (label::DEPTH, level(self.depth)),
        ];
        rows.into_iter().filter_map(|(label, value)| Some((label.into(), value?))).collect()
    }
}

fn texts(set: Set) -> Value {
    Value::Array(set.into_iter().map(Value::Text).collect())
}

/// `cnf` with an OKP key (RFC 8747, 3.2).
fn confirmation(holder: &PublicKey) -> Value {
    let key = vec![
        (Value::from(1), Value::from(1)),
        (Value::from(-1), Value::from(6)),
        (Value::from(-2), Value::Bytes(holder.as_bytes().to_vec())),
    ];
    Value::Map(vec![(Value::from(1), Value::Map(key))])
}
