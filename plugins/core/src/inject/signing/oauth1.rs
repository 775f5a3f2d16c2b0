//! OAuth 1.0a (RFC 5849), signed requests with the parameters in `Authorization`.
//!
//! Covered are the method, the URI, the query and the parameters of form content (section
//! 3.4.1.3.1), nothing else: not the fields, and not content of another type. Parameters
//! `oauth_*` of a caller, in query or form, are refused, since they may be sent in one place
//! only (section 3.5). That leaves the dance for a token (section 2) out: a binding is for
//! protected resources.
//!
//! A credential without `token` and `token_secret` signs as the client alone.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::pairs;
use super::{NotInjected, Signable, Signed, Signer, maybe, value};
use crate::binding::{OAuth1, SignatureMethod};
use crate::credential::Release;
use crate::hex;
use crate::secret::Secret;
use crate::slots;
use crate::time::Moment;

impl Signer for OAuth1 {
    fn claims(&self, parameter: &[u8]) -> bool {
        parameter.starts_with(b"oauth_")
    }

    fn plus_is_blank(&self) -> bool {
        true
    }

    fn covers(&self, _: &str) -> bool {
        false
    }

    fn sign(
        &self,
        request: &Signable,
        release: &Release,
        at: &Moment,
    ) -> Result<Signed, NotInjected> {
        let keys = Keys::of(release)?;
        let nonce = at.entropy.0.first_chunk::<16>().map(|nonce| hex::lower(nonce));
        let nonce = nonce.unwrap_or_default();
        let timestamp = at.now.seconds().to_string();
        let mut parameters: Parameters<'_> = vec![
            ("oauth_consumer_key", keys.consumer),
            ("oauth_nonce", nonce.as_bytes()),
            ("oauth_signature_method", self.name().as_bytes()),
            ("oauth_timestamp", timestamp.as_bytes()),
        ];
        parameters.extend(keys.token.map(|token| ("oauth_token", token)));
        parameters.push(("oauth_version", b"1.0"));
        let signature = self.signature(&base(request, &parameters), &keys);
        let signature = signature.ok_or(NotInjected::BadValue)?;
        parameters.push(("oauth_signature", signature.as_bytes()));
        Ok(Signed {
            authorization: self.field(&parameters),
            fields: Vec::new(),
            absent: Vec::new(),
            signature: Secret::new(signature.as_bytes().to_vec()),
            derived: None,
        })
    }
}

/// Parameters of the protocol, not encoded.
pub(super) type Parameters<'a> = Vec<(&'a str, &'a [u8])>;

/// The values of a credential of this kind.
pub(super) struct Keys<'a> {
    pub(super) consumer: &'a [u8],
    pub(super) consumer_secret: &'a [u8],
    pub(super) token: Option<&'a [u8]>,
    pub(super) token_secret: &'a [u8],
}

impl<'a> Keys<'a> {
    fn of(release: &'a Release) -> Result<Self, NotInjected> {
        let token = maybe(release, "token")?;
        let token_secret = maybe(release, "token_secret")?;
        // Half of a pair would sign as somebody else.
        if token.is_some() != token_secret.is_some() {
            return Err(NotInjected::NoField);
        }
        Ok(Self {
            consumer: value(release, "consumer_key")?,
            consumer_secret: value(release, "consumer_secret")?,
            token,
            token_secret: token_secret.unwrap_or_default(),
        })
    }
}

/// The signature base string (section 3.4.1). It may hold a token.
pub(super) fn base(request: &Signable, parameters: &Parameters<'_>) -> Zeroizing<Vec<u8>> {
    let protocol = parameters.iter().map(|(name, value)| (name.as_bytes(), *value));
    let sent = request.query.iter().chain(&request.form);
    let sent = sent.map(|(name, value)| (name.as_slice(), value.as_slice()));
    let all = slots::percent(&pairs::sorted(protocol.chain(sent)));
    let uri = slots::percent(&[request.origin.as_bytes(), &request.path].concat());
    Zeroizing::new([&request.method, uri.as_slice(), &all].join(&b'&'))
}

impl OAuth1 {
    fn name(&self) -> &'static str {
        match self.method {
            SignatureMethod::HmacSha1 => "HMAC-SHA1",
            SignatureMethod::HmacSha256 => "HMAC-SHA256",
        }
    }

    /// Section 3.4.2.
    pub(super) fn signature(&self, base: &[u8], keys: &Keys<'_>) -> Option<Zeroizing<String>> {
        let (consumer, token) =
            (slots::percent(keys.consumer_secret), slots::percent(keys.token_secret));
        let key = Zeroizing::new([consumer.as_slice(), b"&", token.as_slice()].concat());
        let mac = match self.method {
            SignatureMethod::HmacSha1 => mac::<Hmac<Sha1>>(&key, base),
            SignatureMethod::HmacSha256 => mac::<Hmac<Sha256>>(&key, base),
        };
        mac.map(|mac| Zeroizing::new(STANDARD.encode(mac)))
    }

    /// Section 3.5.1.
    pub(super) fn field(&self, parameters: &Parameters<'_>) -> Zeroizing<Vec<u8>> {
        let one = |(name, value): &(&str, &[u8])| {
            Zeroizing::new([name.as_bytes(), b"=\"", &slots::percent(value), b"\""].concat())
        };
        let realm = self
            .realm
            .iter()
            .map(|realm| Zeroizing::new([b"realm=\"", realm.as_bytes(), b"\""].concat()));
        let all: Vec<Zeroizing<Vec<u8>>> = realm.chain(parameters.iter().map(one)).collect();
        let all: Vec<&[u8]> = all.iter().map(|one| one.as_slice()).collect();
        Zeroizing::new([b"OAuth ", all.join(b", ".as_slice()).as_slice()].concat())
    }
}

/// `None` never happens: HMAC takes keys of any length.
fn mac<M: KeyInit + Mac>(key: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    let mut mac = <M as KeyInit>::new_from_slice(key).ok()?;
    mac.update(text);
    Some(mac.finalize().into_bytes().to_vec())
}
