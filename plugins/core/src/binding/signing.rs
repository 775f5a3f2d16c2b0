//! Signatures: what a binding says of a request that is signed instead of carrying a value.
//!
//! Owns the parameters that are no secret: which scheme, and under which names. The
//! signature itself is made by [`crate::inject`], from values that come with the release:
//!
//! | style | fields of the credential |
//! | --- | --- |
//! | `sigv4` | `access_key_id`, `secret_access_key`, where it is temporary `session_token` |
//! | `oauth1` | `consumer_key`, `consumer_secret`, and where there is one `token`, `token_secret` |
//!
//! Invariant: a parameter is a plain word, so that it cannot end the part of a signature or
//! of a field that it stands in.

use serde::{Deserialize, Serialize};

use super::site::{SiteWire, Style};
use crate::config::{ConfigError, Problems};

/// How a request is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signing {
    /// AWS Signature Version 4, in the header form.
    SigV4(SigV4),
    /// OAuth 1.0a (RFC 5849).
    OAuth1(OAuth1),
}

/// The scope of a signature, and what it covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigV4 {
    /// Region, such as `eu-west-1`.
    pub region: String,
    /// Service, such as `s3`.
    pub service: String,
    /// Whether content has to be covered.
    pub payload: Payload,
}

/// Whether a signature covers the content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Payload {
    /// By its SHA-256, which the gate took when it held the content.
    #[default]
    Signed,
    /// Content that the gate has not read is left out (`UNSIGNED-PAYLOAD`): the service has
    /// to allow it, as S3 does over TLS.
    Unsigned,
}

/// How a provider of OAuth 1.0a wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuth1 {
    /// Hash of the HMAC.
    pub method: SignatureMethod,
    /// Realm, first in the field.
    pub realm: Option<String>,
}

/// The signature method (RFC 5849 3.4). `HMAC-SHA256` is not in the RFC and taken by
/// newer providers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SignatureMethod {
    /// `HMAC-SHA1` (RFC 5849 3.4.2).
    #[default]
    #[serde(rename = "hmac-sha1")]
    HmacSha1,
    /// `HMAC-SHA256`.
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
}

impl Signing {
    /// Whether the gate has to hold the content so that this can cover it.
    pub fn needs_content(&self) -> bool {
        matches!(self, Self::SigV4(SigV4 { payload: Payload::Signed, .. }))
    }

    /// Fields that a credential cannot sign without.
    pub fn fields(&self) -> &'static [&'static str] {
        match self {
            Self::SigV4(_) => &["access_key_id", "secret_access_key"],
            Self::OAuth1(_) => &["consumer_key", "consumer_secret"],
        }
    }

    pub(super) fn read(style: Style, wire: SiteWire) -> Result<Self, ConfigError> {
        let mut problems = Problems::default();
        let aws = style == Style::SigV4;
        unexpected(if aws { OAUTH1 } else { SIGV4 }, &wire, &mut problems);
        let read = if aws {
            let region = word("region", wire.region, &mut problems);
            let service = word("service", wire.service, &mut problems);
            let payload = wire.payload.unwrap_or_default();
            region
                .zip(service)
                .map(|(region, service)| Self::SigV4(SigV4 { region, service, payload }))
        } else {
            let realm = wire.realm.map(realm).transpose();
            let realm = problems.scalar("realm", realm);
            let method = wire.method.unwrap_or_default();
            realm.map(|realm| Self::OAuth1(OAuth1 { method, realm }))
        };
        problems.finish(read)
    }

    /// Notes every parameter of a signature in a site without one.
    pub(super) fn none(wire: &SiteWire, problems: &mut Problems) {
        unexpected(SIGV4, wire, problems);
        unexpected(OAUTH1, wire, problems);
    }

    pub(super) fn wire(&self) -> SiteWire {
        let bare = SiteWire::default();
        match self.clone() {
            Self::SigV4(SigV4 { region, service, payload }) => {
                let (region, service) = (Some(region), Some(service));
                SiteWire { region, service, payload: Some(payload), ..bare }
            }
            Self::OAuth1(OAuth1 { method, realm }) => {
                SiteWire { method: Some(method), realm, ..bare }
            }
        }
    }
}

/// Keys of one style, and what to say where they stand in another.
type Keys = (&'static [&'static str], &'static str);

const SIGV4: Keys = (&["region", "service", "payload"], "expected only with style sigv4");
const OAUTH1: Keys = (&["method", "realm"], "expected only with style oauth1");

fn unexpected((keys, expected): Keys, wire: &SiteWire, problems: &mut Problems) {
    let written = |key: &str| match key {
        "region" => wire.region.is_some(),
        "service" => wire.service.is_some(),
        "payload" => wire.payload.is_some(),
        "method" => wire.method.is_some(),
        _ => wire.realm.is_some(),
    };
    keys.iter().filter(|key| written(key)).for_each(|key| problems.note(*key, expected));
}

/// A part of the credential scope, whose parts a slash separates.
fn word(path: &'static str, written: Option<String>, problems: &mut Problems) -> Option<String> {
    let text = problems.required(path, written)?;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fits = (1..=64).contains(&text.len()) && text.bytes().all(plain);
    problems.scalar(path, fits.then_some(text).ok_or("expected lower-case letters, digits and -"))
}

/// A quoted string without escapes (RFC 9110 5.6.4).
fn realm(text: String) -> Result<String, &'static str> {
    let plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
    let fits = text.len() <= 255 && text.bytes().all(plain);
    fits.then_some(text).ok_or("expected printable ASCII without quotation mark and backslash")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binding::Site;

    fn read(text: &str) -> Result<Site, Vec<String>> {
        let wire: SiteWire = serde_json::from_str(text).unwrap();
        Site::try_from(wire)
            .map_err(|error| error.problems.into_iter().map(|problem| problem.path).collect())
    }

    #[test]
    fn a_signature_has_its_parameters_and_survives_a_round_trip() {
        let aws = read(r#"{"style": "sigv4", "region": "eu-west-1", "service": "s3"}"#).unwrap();
        let (region, service) = ("eu-west-1".to_owned(), "s3".to_owned());
        let scope = SigV4 { region, service, payload: Payload::Signed };
        assert_eq!(aws.signing(), Some(&Signing::SigV4(scope)));
        let text = r#"{"style": "oauth1", "method": "hmac-sha256", "realm": "Photos"}"#;
        let oauth = read(text).unwrap();
        let realm = Some("Photos".to_owned());
        let expected = OAuth1 { method: SignatureMethod::HmacSha256, realm };
        assert_eq!(oauth.signing(), Some(&Signing::OAuth1(expected)));
        for site in [aws, oauth] {
            assert_eq!(site.key(), "authorization");
            assert_eq!(Site::try_from(SiteWire::from(&site)), Ok(site));
        }
    }

    #[test]
    fn only_content_that_must_be_covered_has_to_be_held() {
        let needs = |text: &str| read(text).unwrap().signing().unwrap().needs_content();
        let aws = r#"{"style": "sigv4", "region": "eu-west-1", "service": "s3""#;
        assert!(needs(&format!("{aws}}}")));
        assert!(!needs(&format!(r#"{aws}, "payload": "unsigned"}}"#)));
        assert!(!needs(r#"{"style": "oauth1"}"#));
    }

    #[test]
    fn parameters_that_are_missing_odd_or_of_another_style_are_named() {
        for (text, paths) in [
            (r#"{"style": "sigv4"}"#, &["region", "service"][..]),
            (r#"{"style": "sigv4", "region": "a/b", "service": "S3"}"#, &["region", "service"]),
            (
                r#"{"style": "sigv4", "region": "a", "service": "b", "method": "hmac-sha1"}"#,
                &["method"],
            ),
            (r#"{"style": "oauth1", "realm": "a\"b"}"#, &["realm"]),
            (r#"{"style": "oauth1", "region": "a", "payload": "signed"}"#, &["region", "payload"]),
            (
                r#"{"style": "oauth1", "header": "x-sign", "template": "{}"}"#,
                &["header", "template"],
            ),
            (r#"{"style": "bearer", "region": "a", "realm": "b"}"#, &["region", "realm"]),
            (r#"{"query": "k", "service": "a"}"#, &["service"]),
        ] {
            assert_eq!(read(text).unwrap_err(), paths, "{text}");
        }
    }
}
