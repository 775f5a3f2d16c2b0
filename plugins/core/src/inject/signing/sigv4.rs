//! AWS Signature Version 4, header form.
//!
//! Covered are `host`, `content-type`, `content-md5` and every `x-amz-*` field, the query,
//! and the content by its SHA-256. The signature's own fields (`x-amz-date`,
//! `x-amz-content-sha256`, `x-amz-security-token`) are always ours: whatever a caller wrote
//! there goes. `X-Amz-Signature` and the other parameters of a signature in the query are
//! refused, and so is a `+` in a query, which some services take for a blank and others do
//! not; a caller writes `%20` or `%2B`.
//!
//! Source: "AWS Signature Version 4 for API requests" in the IAM User Guide, and "Signature
//! Calculations for the Authorization Header" in the S3 API Reference for its paths, which
//! alone are not escaped a second time.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::pairs;
use super::{NotInjected, Signable, Signed, Signer, maybe, value};
use crate::binding::SigV4;
use crate::credential::Release;
use crate::hex;
use crate::secret::Secret;
use crate::slots;
use crate::time::{Moment, UnixMillis};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE: &str = "x-amz-date";
const CONTENT: &str = "x-amz-content-sha256";
const TOKEN: &str = "x-amz-security-token";
/// Parameters of a signature in the query, and of the version before it.
const PARAMETERS: [&[u8]; 9] = [
    b"x-amz-algorithm",
    b"x-amz-credential",
    b"x-amz-date",
    b"x-amz-expires",
    b"x-amz-signedheaders",
    b"x-amz-signature",
    b"x-amz-security-token",
    b"x-amz-content-sha256",
    b"awsaccesskeyid",
];

/// Fields that are signed. One of them may be a secret.
pub(super) type Headers = BTreeMap<String, Zeroizing<Vec<u8>>>;

impl Signer for SigV4 {
    fn claims(&self, parameter: &[u8]) -> bool {
        PARAMETERS.contains(&parameter.to_ascii_lowercase().as_slice())
    }

    fn plus_is_blank(&self) -> bool {
        false
    }

    fn covers(&self, field: &str) -> bool {
        let own = [DATE, CONTENT, TOKEN].contains(&field);
        let named = ["content-type", "content-md5"].contains(&field);
        named || (field.starts_with("x-amz-") && !own)
    }

    fn sign(
        &self,
        request: &Signable,
        release: &Release,
        at: &Moment,
    ) -> Result<Signed, NotInjected> {
        let keys = Keys::of(release)?;
        let stamp = Stamp::of(at.now);
        let digest = request.digest.map(|digest| hex::lower(&digest));
        let digest = digest.unwrap_or_else(|| "UNSIGNED-PAYLOAD".to_owned());
        let mut headers = Headers::new();
        let mut add = |name: &str, value: &[u8]| {
            headers.insert(name.to_owned(), Zeroizing::new(value.to_vec()));
        };
        request.fields.iter().for_each(|(name, value)| add(name, value));
        add("host", &request.authority);
        add(DATE, stamp.time.as_bytes());
        add(CONTENT, digest.as_bytes());
        keys.token.iter().for_each(|token| add(TOKEN, token));
        let proof = self.prove(request, &headers, &digest, &keys, &stamp)?;
        let secret = |value: &[u8]| Secret::new(value.to_vec());
        let mut fields =
            vec![(DATE, secret(stamp.time.as_bytes())), (CONTENT, secret(digest.as_bytes()))];
        fields.extend(keys.token.map(|token| (TOKEN, secret(token))));
        Ok(Signed {
            authorization: proof.authorization,
            fields,
            absent: if keys.token.is_none() { vec![TOKEN] } else { Vec::new() },
            signature: secret(proof.signature.as_bytes()),
            derived: Some(secret(proof.key.as_slice())),
        })
    }
}

/// The values of a credential of this kind.
pub(super) struct Keys<'a> {
    pub(super) id: &'a [u8],
    pub(super) secret: &'a [u8],
    pub(super) token: Option<&'a [u8]>,
}

impl<'a> Keys<'a> {
    fn of(release: &'a Release) -> Result<Self, NotInjected> {
        let id = value(release, "access_key_id")?;
        let secret = value(release, "secret_access_key")?;
        let token = maybe(release, "session_token")?;
        // The id stands between separators, the token in a field of its own.
        let plain = |byte: &u8| byte.is_ascii_graphic() && !b"/,=\"".contains(byte);
        let fits = id.iter().all(plain)
            && token.is_none_or(|token| token.iter().all(u8::is_ascii_graphic));
        fits.then_some(Self { id, secret, token }).ok_or(NotInjected::BadValue)
    }
}

/// A signature and what it was made with.
pub(super) struct Proof {
    pub(super) authorization: Zeroizing<Vec<u8>>,
    pub(super) signature: String,
    key: Zeroizing<[u8; 32]>,
}

impl SigV4 {
    /// Signs exactly `headers`.
    pub(super) fn prove(
        &self,
        request: &Signable,
        headers: &Headers,
        digest: &str,
        keys: &Keys<'_>,
        stamp: &Stamp,
    ) -> Result<Proof, NotInjected> {
        let Self { region, service, .. } = self;
        let names: Vec<&str> = headers.keys().map(String::as_str).collect();
        let names = names.join(";");
        let scope = format!("{}/{region}/{service}/aws4_request", stamp.date);
        let canonical = self.canonical(request, headers, &names, digest);
        let canonical = canonical.ok_or(NotInjected::BadValue)?;
        let text = format!("{ALGORITHM}\n{}\n{scope}\n{}", stamp.time, hex::lower(&canonical));
        let made = self.key(keys.secret, &stamp.date).and_then(|key| {
            let signature = hex::lower(mac(key.as_slice(), text.as_bytes())?.as_slice());
            Some((key, signature))
        });
        let (key, signature) = made.ok_or(NotInjected::BadValue)?;
        let before = format!("{ALGORITHM} Credential=");
        let after = format!("/{scope}, SignedHeaders={names}, Signature={signature}");
        let authorization = [before.as_bytes(), keys.id, after.as_bytes()].concat();
        let authorization = Zeroizing::new(authorization);
        Ok(Proof { authorization, signature, key })
    }

    /// SHA-256 of the canonical request, which is never put together: it may hold a token.
    fn canonical(
        &self,
        request: &Signable,
        headers: &Headers,
        names: &str,
        digest: &str,
    ) -> Option<[u8; 32]> {
        let path = self.path(&request.path)?;
        let query = request.query.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
        let mut hash = Sha256::new();
        let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| hash.update(part));
        put(&[&request.method, b"\n", &path, b"\n", &pairs::sorted(query), b"\n"]);
        for (name, value) in headers {
            put(&[name.as_bytes(), b":"]);
            let words = value.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
            for (index, word) in words.enumerate() {
                put(&[if index == 0 { b"" } else { b" " }, word]);
            }
            put(&[b"\n"]);
        }
        put(&[b"\n", names.as_bytes(), b"\n", digest.as_bytes()]);
        Some(hash.finalize().into())
    }

    /// Each segment escaped: for S3 from its plain form, for every other service once more
    /// than it stands.
    fn path(&self, path: &[u8]) -> Option<Vec<u8>> {
        let service = self.service.as_str();
        let once = service == "s3" || service.starts_with("s3-") || service == "s3express";
        let segment = |segment: &[u8]| {
            let plain = if once { pairs::decoded(segment, false)? } else { segment.to_vec() };
            Some(slots::percent(&plain).to_vec())
        };
        let segments: Option<Vec<_>> = path.split(|byte| *byte == b'/').map(segment).collect();
        Some(segments?.join(&b'/'))
    }

    /// The signing key: good for a day in this region and service.
    fn key(&self, secret: &[u8], date: &str) -> Option<Zeroizing<[u8; 32]>> {
        let first = Zeroizing::new([b"AWS4", secret].concat());
        let day = mac(&first, date.as_bytes())?;
        let region = mac(day.as_slice(), self.region.as_bytes())?;
        let service = mac(region.as_slice(), self.service.as_bytes())?;
        mac(service.as_slice(), b"aws4_request")
    }
}

/// `None` never happens: HMAC takes keys of any length.
fn mac(key: &[u8], text: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(text);
    Some(Zeroizing::new(mac.finalize().into_bytes().into()))
}

/// A moment in the basic format of ISO 8601, in UTC.
pub(super) struct Stamp {
    date: String,
    time: String,
}

/// 9999-12-31T23:59:59Z, so that a year has four digits.
const LAST_SECOND: u64 = 253_402_300_799;

impl Stamp {
    pub(super) fn of(now: UnixMillis) -> Self {
        let seconds = now.seconds().min(LAST_SECOND);
        let (day, rest) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = date(day);
        let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
        let date = format!("{year:04}{month:02}{day:02}");
        let time = format!("{date}T{hour:02}{minute:02}{second:02}Z");
        Self { date, time }
    }
}

/// Year, month and day of the month, `days` after 1970-01-01.
fn date(days: u64) -> (u64, u64, u64) {
    let (mut left, mut year) = (days, 1970);
    while left >= length(year) {
        left = left.saturating_sub(length(year));
        year = year.saturating_add(1);
    }
    let february = length(year).saturating_sub(337);
    let mut month: u64 = 1;
    for days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if left < days {
            break;
        }
        left = left.saturating_sub(days);
        month = month.saturating_add(1);
    }
    (year, month, left.saturating_add(1))
}

fn length(year: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    if leap { 366 } else { 365 }
}
