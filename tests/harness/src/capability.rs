//! Capability tokens of scenarios: minted, narrowed and used to sign a request when it is sent,
//! since a proof has the time in it.
//!
//! Owns the fixed keys: the issuer's, and one for each holder. Invariant: the same
//! description gives a token that differs in its times only.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ed25519_dalek::SigningKey;
use postern_capability::claims::Claims;
use postern_capability::form::Set;
use postern_capability::mint::{self, Unsigned};
use postern_capability::token::{PREFIX, blocks};
use postern_core::time::UnixMillis;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::hostile::{self, Flaw};
use crate::scenario::RequestSpec;
use crate::template::{Names, expand};

/// What the gate's configuration in scenarios calls the issuer's key.
pub const KEY_ID: &str = "issuer-1";
/// `iss` of tokens.
pub const ISSUER: &str = "https://issuer.test";
/// `aud` of tokens.
pub const AUDIENCE: &str = "https://gateway.test";

/// A token and how the request is signed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spec {
    /// Claims of the first block beside those that it must have.
    pub claims: Block,
    /// This text instead of a token, such as `${invite NAME}`; holder 1 signs.
    pub text: Option<String>,
    /// The token that came up as this number in exchange for an invite; holder 1 signs.
    pub issued: Option<usize>,
    /// Blocks that were added to it.
    pub further: Vec<Block>,
    /// Which further block was made for another token, by its place.
    pub spliced: Option<usize>,
    /// Which blocks are sent, in this order. Default: all, as they were made.
    pub order: Option<Vec<usize>>,
    /// What is wrong with the last block.
    pub flaw: Option<Flaw>,
    /// How the signature of the request is changed.
    pub signature: Option<String>,
    /// Whose key signs the request: 1 is the holder of the first block. Default: the last.
    pub signer: Option<u8>,
    /// Whose key signs the first block. Default 0, the issuer's.
    pub issuer: u8,
    /// When the request was signed, in seconds from now.
    pub created: i64,
    /// Sixteen bytes of this are the nonce. Default: one that was not used.
    pub nonce: Option<u8>,
    /// What the nonce begins with: the one that came up as this number in a challenge.
    pub issued_nonce: Option<usize>,
    /// The same, as it stands.
    pub own_nonce: String,
    /// What is signed instead of what is sent.
    pub signed: SignedInstead,
    /// Leave these fields away.
    pub without: Vec<String>,
    /// Fields that name a credential and are not signed all the same.
    pub unsigned: Vec<String>,
}

/// Parts of another request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SignedInstead {
    /// Method.
    pub method: Option<String>,
    /// Authority.
    pub authority: Option<String>,
    /// Path and query.
    pub path: Option<String>,
    /// Content; an empty one is none.
    pub body: Option<String>,
    /// Further fields, beside or instead of those that name a credential.
    pub fields: BTreeMap<String, String>,
}

/// Claims of a block; times in seconds from now.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "the names are those of SPEC.md, section 3")]
pub struct Block {
    pub sub: Option<String>,
    pub aud: Option<String>,
    pub exp: Option<i64>,
    pub nbf: Option<i64>,
    pub iat: Option<i64>,
    pub tenant: Option<String>,
    pub organisation: Option<String>,
    pub scopes: Option<Set>,
    pub roles: Option<Set>,
    pub trust: Option<u8>,
    pub clearance: Option<u8>,
    pub credentials: Option<Set>,
    pub hosts: Option<Set>,
    pub methods: Option<Set>,
    pub paths: Option<Set>,
    pub tools: Option<Set>,
    pub models: Option<Set>,
    pub budget: Option<u64>,
    pub document: Option<String>,
    pub approval: Option<u8>,
    pub depth: Option<u8>,
    /// The byte that fills `cti`; `a0`, and one more in each further block, when absent.
    pub cti: Option<u8>,
}

/// The key of the issuer (0) or of a holder.
pub fn key(place: u8) -> SigningKey {
    SigningKey::from_bytes(&[0x11_u8.wrapping_add(place); 32])
}

/// The public half of a key, as configurations write it.
pub fn public(place: u8) -> String {
    URL_SAFE_NO_PAD.encode(key(place).verifying_key().as_bytes())
}

/// The request with the token's fields, signed now. Without a description it stays as it is.
pub fn signed(request: &RequestSpec, names: &dyn Names, now: UnixMillis) -> Result<RequestSpec> {
    let Some(spec) = &request.capability else { return Ok(request.clone()) };
    let token = match (&spec.text, spec.issued) {
        (Some(text), _) => String::from_utf8(expand(text, names)?)?,
        (None, Some(number)) => names.issued(number).context("no such token yet")?,
        (None, None) => token(spec, now)?,
    };
    let chunks = request.chunks.as_ref().map(|chunks| chunks.concat());
    let content = spec.signed.body.clone().or(request.body.clone()).or(chunks);
    let further = spec.further_fields(request, names)?;
    let fields: Vec<_> =
        further.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let unsigned = Unsigned {
        method: spec.signed.method.as_deref().unwrap_or(&request.method),
        scheme: "http",
        authority: spec.signed.authority.as_deref().unwrap_or(&request.authority),
        target: spec.signed.path.as_deref().unwrap_or(&request.path),
        token: &token,
        content: content.as_deref().filter(|text| !text.is_empty()).map(str::as_bytes),
        fields: &fields,
    };
    let holder = u8::try_from(spec.further.len())?.checked_add(1).context("too many blocks")?;
    let key = key(spec.signer.unwrap_or(holder));
    let created = now.seconds().checked_add_signed(spec.created).context("created")?;
    let fresh = || crate::world::short(&crate::world::entropy().0);
    let nonce = spec.nonce.map_or_else(fresh, |byte| [byte; 16]);
    let issued = match spec.issued_nonce {
        Some(number) => names.nonce(number).context("no such nonce yet")?,
        None => spec.own_nonce.clone(),
    };
    let mut fields = mint::sign_request_with(&unsigned, &key, created, (&issued, &nonce))?;
    if let Some(how) = &spec.signature {
        let text = fields.signature.trim_start_matches("pop=:").trim_end_matches(':');
        let changed = STANDARD.encode(hostile::changed(&STANDARD.decode(text)?, how)?);
        fields.signature = format!("pop=:{changed}:");
    }
    let all = [
        ("postern-capability", Some(token.clone())),
        ("signature-input", Some(fields.signature_input)),
        ("signature", Some(fields.signature)),
        ("content-digest", fields.content_digest),
    ];
    let mut request = request.clone();
    for (name, value) in all {
        let wanted = !spec.without.iter().any(|without| without == name);
        let line = value.filter(|_| wanted).map(|value| (name.to_owned(), value));
        request.fields.extend(line.map(|line| [line].into()));
    }
    Ok(request)
}

impl Spec {
    /// Fields that name a credential, as they are sent, but for what is signed instead or not.
    fn further_fields(
        &self,
        request: &RequestSpec,
        names: &dyn Names,
    ) -> Result<BTreeMap<String, String>> {
        let mut fields = BTreeMap::new();
        for (name, value) in request.fields.iter().flatten() {
            let name = name.to_ascii_lowercase();
            let value = String::from_utf8(expand(value, names)?)?;
            if name == "x-tap-credential" || value.contains("<CREDENTIAL:") {
                fields.insert(name, value);
            }
        }
        fields.extend(self.signed.fields.clone());
        fields.retain(|name, _| !self.unsigned.contains(name));
        Ok(fields)
    }
}

fn token(spec: &Spec, now: UnixMillis) -> Result<String> {
    let first = Claims {
        issuer: Some(ISSUER.to_owned()),
        subject: Some(spec.claims.sub.clone().unwrap_or_else(|| "ada".to_owned())),
        audience: Some(spec.claims.aud.clone().unwrap_or_else(|| AUDIENCE.to_owned())),
        expires: after(now, Some(spec.claims.exp.unwrap_or(600)))?,
        issued_at: after(now, Some(spec.claims.iat.unwrap_or(0)))?,
        tenant: Some(spec.claims.tenant.clone().unwrap_or_else(|| "acme".to_owned())),
        ..claims(&spec.claims, now, 0)?
    };
    let mut token = mint::mint(&first, KEY_ID, &key(spec.issuer))?;
    let last = spec.further.len();
    if let Some(flaw) = spec.flaw.as_ref().filter(|_| last == 0) {
        let block = hostile::block(Some(KEY_ID), &first.encode()?, flaw, &key(spec.issuer))?;
        token = text(&[block]);
    }
    for (place, block) in (1..).zip(&spec.further) {
        let other = spec.spliced == Some(usize::from(place));
        let parent = if other {
            // Of the same keys, for somebody else.
            let first = Claims { subject: Some("eve".to_owned()), ..first.clone() };
            mint::mint(&first, KEY_ID, &key(spec.issuer))?
        } else {
            token.clone()
        };
        let longer = mint::attenuate(&parent, claims(block, now, place)?, &key(place))?;
        token = if other { with_last_of(&token, &longer)? } else { longer };
        if let Some(flaw) = spec.flaw.as_ref().filter(|_| usize::from(place) == last) {
            token = flawed(&parent, claims(block, now, place)?, flaw, &key(place))?;
        }
    }
    let Some(order) = &spec.order else { return Ok(token) };
    let all = blocks(token.as_bytes())?;
    let chosen: Option<Vec<_>> = order.iter().map(|at| all.get(*at).cloned()).collect();
    Ok(text(&chosen.context("a block that there is not")?))
}

/// A token and one more block with this flaw.
fn flawed(parent: &str, claims: Claims, flaw: &Flaw, key: &SigningKey) -> Result<String> {
    let mut blocks = blocks(parent.as_bytes())?;
    let previous = Sha256::digest(blocks.last().context("a block")?).into();
    let claims = Claims { previous: Some(previous), ..claims };
    blocks.push(hostile::block(None, &claims.encode()?, flaw, key)?);
    Ok(text(&blocks))
}

fn text(blocks: &[Vec<u8>]) -> String {
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(hostile::chain(blocks)))
}

/// A token with the last block of another behind its own.
fn with_last_of(token: &str, other: &str) -> Result<String> {
    let mut blocks = blocks(token.as_bytes())?;
    blocks.extend(self::blocks(other.as_bytes())?.pop());
    Ok(text(&blocks))
}

fn claims(block: &Block, now: UnixMillis, place: u8) -> Result<Claims> {
    let block = block.clone();
    Ok(Claims {
        subject: block.sub,
        audience: block.aud,
        expires: after(now, block.exp)?,
        not_before: after(now, block.nbf)?,
        issued_at: after(now, block.iat)?,
        id: Some([block.cti.unwrap_or(0xa0_u8.wrapping_add(place)); 16]),
        holder: mint::public(&key(place.wrapping_add(1))),
        tenant: block.tenant,
        organisation: block.organisation,
        scopes: block.scopes,
        roles: block.roles,
        trust: block.trust,
        clearance: block.clearance,
        credentials: block.credentials,
        hosts: block.hosts,
        methods: block.methods,
        paths: block.paths,
        tools: block.tools,
        models: block.models,
        budget: block.budget,
        document: block.document,
        approval: block.approval,
        depth: block.depth,
        ..Claims::default()
    })
}

fn after(now: UnixMillis, seconds: Option<i64>) -> Result<Option<u64>> {
    let at = |seconds| now.seconds().checked_add_signed(seconds).context("a time");
    seconds.map(at).transpose()
}
