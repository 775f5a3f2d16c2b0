//! Proof of possession: a request signed by the token's holder (SPEC.md, 5; RFC 9421).
//!
//! Owns the fields and the signature base. Invariant: a [`Proof`] exists only of a request
//! whose method, authority, path, query, token and digest of content the holder has signed
//! within the window. Whether its nonce is new is the caller's to say.

mod fields;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use sha2::{Digest, Sha256};

use crate::key::{PublicKey, Signatures};
use crate::refusal::Refusal;
use fields::Parameters;

#[cfg(any(test, feature = "mint"))]
pub(crate) use fields::{MOST_FIELDS, components, is_further, is_nonce, nonce};
pub use fields::{content_digest, digest_field};

/// The field that carries the token.
pub const FIELD: &str = "postern-capability";
/// Characters of a nonce that a gateway hands out.
pub const ISSUED: usize = 27;
/// The value of the parameter `tag`.
pub const TAG: &str = "postern-pop";

/// A request as received.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Method.
    pub method: &'a str,
    /// `https` or `http`.
    pub scheme: &'a str,
    /// Authority, as received.
    pub authority: &'a str,
    /// Path and query, as received.
    pub target: &'a str,
    /// Value of `postern-capability`.
    pub token: &'a str,
    /// Value of `signature-input`; two lines joined by a comma are refused.
    pub signature_input: &'a str,
    /// Value of `signature`.
    pub signature: &'a str,
    /// Value of `content-digest`.
    pub content_digest: Option<&'a str>,
    /// Whether there is content, so that a digest has to be.
    pub has_content: bool,
    /// Other fields that have one line: names in lower case, and values. Those that the proof
    /// does not name may be left out.
    pub fields: &'a [(&'a str, &'a str)],
}

/// When a proof is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Seconds since 1970.
    pub now: u64,
    /// Seconds that it may be old.
    pub past: u64,
    /// Seconds that the holder's clock may be ahead.
    pub future: u64,
}

impl Window {
    /// The window of the specification: 30 seconds back, 5 ahead.
    pub fn at(now: u64) -> Self {
        Self { now, past: 30, future: 5 }
    }
}

/// The holder of the token has made this request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    nonce: String,
    created: u64,
    content: Option<[u8; 32]>,
    fields: Vec<String>,
    replay: [u8; 32],
}

impl Proof {
    /// The holder's nonce.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// Where a gateway that hands out nonces looks for its own: what comes before at least 16
    /// characters of the holder's. `None` for a nonce that has no room for one.
    pub fn issued(&self) -> Option<&str> {
        let issued = self.nonce.get(..ISSUED)?;
        (self.nonce.len() >= ISSUED.saturating_add(fields::LEAST_NONCE)).then_some(issued)
    }

    /// When the holder signed, in seconds.
    pub fn created(&self) -> u64 {
        self.created
    }

    /// What to remember until [`Window`] has passed, so that no proof is good twice.
    pub fn replay_key(&self) -> &[u8; 32] {
        &self.replay
    }

    /// SHA-256 that the content must have, as soon as it is known. `None`: no content.
    pub fn content(&self) -> Option<&[u8; 32]> {
        self.content.as_ref()
    }

    /// Fields that the holder has signed beside the token, in lower case.
    pub fn fields(&self) -> &[String] {
        &self.fields
    }

    /// Whether this is the content that was signed.
    pub fn covers(&self, content: &[u8]) -> bool {
        let digest: [u8; 32] = Sha256::digest(content).into();
        self.content.map_or(content.is_empty(), |signed| signed == digest)
    }
}

/// Verifies the proof in a request. The token in it must be the one that names `holder`.
pub fn verify(
    request: &Request<'_>,
    holder: &PublicKey,
    window: Window,
    signatures: &impl Signatures,
) -> Result<Proof, Refusal> {
    let content = request.content_digest.map(fields::parse_digest).transpose()?;
    if request.has_content && content.is_none() {
        return Err(Refusal::ProofDigest);
    }
    let (label, value) = fields::member(request.signature_input).ok_or(Refusal::ProofForm)?;
    let further = fields::further(value, content.is_some());
    let (further, rest) = further.ok_or(Refusal::ProofComponents)?;
    let parameters = Parameters::parse(rest).ok_or(Refusal::ProofParameters)?;
    parameters.check(holder, window)?;
    let base = base(request, &further, value).ok_or(Refusal::ProofForm)?;
    let signature = fields::signature(request.signature, label).ok_or(Refusal::ProofForm)?;
    if !signatures.hold(holder, base.as_bytes(), &signature) {
        return Err(Refusal::ProofSignature);
    }
    let Parameters { nonce, created, .. } = parameters;
    let (fields, replay) =
        (further.into_iter().map(str::to_owned).collect(), replay_key(holder, nonce));
    Ok(Proof { nonce: nonce.to_owned(), created, content, fields, replay })
}

/// The key that a proof names itself (`keyid`), for a request whose token names none yet: an
/// invite. What it says is good once [`verify`] has taken the proof with it.
pub fn named_key(request: &Request<'_>) -> Option<PublicKey> {
    let (_, value) = fields::member(request.signature_input)?;
    let (_, rest) = fields::further(value, request.content_digest.is_some())?;
    let id = Parameters::parse(rest)?.key_id?;
    PublicKey::parse(&B64.decode(id).ok()?)
}

/// The signature base (RFC 9421, 2.5), with these fields behind the token. `None` for a value
/// that cannot stand in a line, and for a field that is not there once.
pub(crate) fn base(request: &Request<'_>, further: &[&str], parameters: &str) -> Option<String> {
    let (path, query) = request.target.split_once('?').unwrap_or((request.target, ""));
    let path = if path.is_empty() { "/" } else { path };
    let authority = authority(request.scheme, request.authority)?;
    let digest = request.content_digest;
    let values = [request.method, &authority, path, query, request.token];
    let visible = |text: &&str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if !values.iter().all(visible) || request.method.is_empty() {
        return None;
    }
    let digest = digest.map(|it| format!("\"content-digest\": {it}\n")).unwrap_or_default();
    let mut more = String::new();
    for name in further {
        more.push_str(&format!("\"{name}\": {}\n", only(request.fields, name)?));
    }
    Some(format!(
        "\"@method\": {}\n\"@authority\": {authority}\n\"@path\": {path}\n\"@query\": ?{query}\n\
         {digest}\"{FIELD}\": {}\n{more}\"@signature-params\": {parameters}",
        request.method, request.token
    ))
}

/// The value of a field that has one line.
fn only<'a>(fields: &[(&str, &'a str)], name: &str) -> Option<&'a str> {
    let mut values = fields.iter().filter(|(field, _)| *field == name).map(|(_, value)| *value);
    let value = values.next().filter(|value| fields::is_value(value))?;
    values.next().is_none().then_some(value)
}

/// In lower case, without the default port of the scheme (RFC 9421, 2.2.3).
pub fn authority(scheme: &str, authority: &str) -> Option<String> {
    let lower = authority.to_ascii_lowercase();
    let port = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    let bare = lower.strip_suffix(port).unwrap_or(&lower);
    (!bare.is_empty()).then(|| bare.to_owned())
}

fn replay_key(holder: &PublicKey, nonce: &str) -> [u8; 32] {
    let label = Sha256::new_with_prefix(b"postern pop/1\0");
    label.chain_update(holder.as_bytes()).chain_update(nonce).finalize().into()
}

/// `keyid` of a holder.
pub(crate) fn key_id(holder: &PublicKey) -> String {
    B64.encode(holder.as_bytes())
}
