//! X.509 certificates (RFC 5280), as much of them as chains of AMD and of Microsoft's
//! utility VMs need.
//!
//! Hand-written because AMD's certificates have the serial number 0, which strict parsers
//! refuse, and because of their size in a module. Invariant: a certificate whose critical
//! extensions are not all understood, or that has one twice, is none.

use super::rsa::Key;
use crate::der::{self, Element, Reader};

/// `[3]` and `[0]`, constructed; `[1]` and `[2]`, primitive.
const EXTENSIONS: u8 = 0xa3;
const VERSION: u8 = 0xa0;
const UNIQUE_IDS: [u8; 2] = [0x81, 0x82];
/// 1.2.840.113549.1.1.x
const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const RSASSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
const SHA256_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
const SHA384_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12];
/// 2.5.29.x
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 37];
/// Bit 5 of a key usage, keyCertSign.
const CERT_SIGN: u8 = 0x04;
/// Most extensions.
const MOST: usize = 32;
/// Longest certificate.
const LENGTH: usize = 8 << 10;

/// A certificate that nobody has verified.
#[derive(Clone, Debug)]
pub struct Certificate<'a> {
    signed: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
    /// Who has signed it, as encoded.
    pub issuer: &'a [u8],
    /// Whose it is, as encoded.
    pub subject: &'a [u8],
    /// First second.
    pub not_before: u64,
    /// Second after the last one that counts.
    pub not_after: u64,
    key_algorithm: &'a [u8],
    key: &'a [u8],
    extensions: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Certificate<'a> {
    /// Reads a certificate that fills `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() > LENGTH {
            return None;
        }
        let mut outer = Reader::new(der::only(bytes, der::SEQUENCE)?);
        let signed = outer.any().filter(|element| element.tag == der::SEQUENCE)?;
        let algorithm = outer.any()?.whole;
        let signature = der::bits(outer.take(der::BIT_STRING)?)?;
        outer.end()?;
        Self::read(signed, algorithm, signature)
    }

    fn read(signed: Element<'a>, algorithm: &'a [u8], signature: &'a [u8]) -> Option<Self> {
        let mut fields = Reader::new(signed.content);
        // Version 3, since there are extensions; the serial number may be 0 (AMD's is).
        (fields.take(VERSION)? == [2, 1, 2]).then_some(())?;
        der::unsigned(fields.take(der::INTEGER)?)?;
        (fields.any()?.whole == algorithm).then_some(())?;
        let issuer = fields.any()?.whole;
        let mut validity = fields.inside(der::SEQUENCE)?;
        let (not_before, not_after) = (time(validity.any()?)?, time(validity.any()?)?);
        validity.end()?;
        let subject = fields.any()?.whole;
        let mut info = fields.inside(der::SEQUENCE)?;
        let (key_algorithm, key) = (info.take(der::SEQUENCE)?, info.take(der::BIT_STRING)?);
        info.end()?;
        for tag in UNIQUE_IDS {
            fields.optional(tag);
        }
        let extensions = extensions(fields.take(EXTENSIONS)?)?;
        fields.end()?;
        let (signed, key) = (signed.whole, der::bits(key)?);
        Some(Self {
            signed,
            algorithm,
            signature,
            issuer,
            subject,
            not_before,
            not_after,
            key_algorithm,
            key,
            extensions,
        })
    }

    /// The value of an extension.
    pub fn extension(&self, oid: &[u8]) -> Option<&'a [u8]> {
        self.extensions.iter().find(|(have, _)| *have == oid).map(|(_, value)| *value)
    }

    /// Bits of the subject's key, if its algorithm is encoded so.
    pub(super) fn key_of(&self, algorithm: &[u8]) -> Option<&'a [u8]> {
        (self.key_algorithm == algorithm).then_some(self.key)
    }

    /// The subject's RSA key.
    pub(super) fn rsa_key(&self) -> Option<Key> {
        let mut algorithm = Reader::new(self.key_algorithm);
        (algorithm.take(der::OID)? == RSA_ENCRYPTION).then(|| Key::read(self.key)).flatten()
    }

    /// The subject's RSA key, if it may sign certificates.
    pub(super) fn authority_key(&self) -> Option<Key> {
        let constraints = der::only(self.extension(BASIC_CONSTRAINTS)?, der::SEQUENCE)?;
        let authority = Reader::new(constraints).take(der::BOOLEAN)? == [0xff];
        let signs = self.extension(KEY_USAGE).is_none_or(|usage| {
            let bits = der::only(usage, der::BIT_STRING).and_then(|bits| bits.get(1));
            bits.is_some_and(|bits| bits & CERT_SIGN != 0)
        });
        (authority && signs).then(|| self.rsa_key()).flatten()
    }

    /// Whether `key` has signed it as AMD signs: RSASSA-PSS with SHA-384.
    pub(super) fn is_signed_pss(&self, key: &Key) -> bool {
        self.is_algorithm(RSASSA_PSS) && key.verify_pss(self.signed, self.signature)
    }

    /// Whether `key` has signed it with PKCS #1 v1.5 and SHA-256 or SHA-384.
    pub(super) fn is_signed_pkcs1(&self, key: &Key) -> bool {
        if self.is_algorithm(SHA384_RSA) {
            return key.verify_pkcs1_sha384(self.signed, self.signature);
        }
        self.is_algorithm(SHA256_RSA) && key.verify_pkcs1_sha256(self.signed, self.signature)
    }

    fn is_algorithm(&self, oid: &[u8]) -> bool {
        let inside = der::only(self.algorithm, der::SEQUENCE);
        inside.and_then(|inside| Reader::new(inside).take(der::OID)) == Some(oid)
    }

    /// Whether its extended key usage names `oid`.
    pub(super) fn is_used_for(&self, oid: &[u8]) -> bool {
        let usages = self.extension(EXTENDED_KEY_USAGE);
        let Some(usages) = usages.and_then(|usages| der::only(usages, der::SEQUENCE)) else {
            return false;
        };
        let mut usages = Reader::new(usages);
        while let Some(usage) = usages.take(der::OID) {
            if usage == oid {
                return true;
            }
        }
        false
    }
}

fn extensions(bytes: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut list = Reader::new(der::only(bytes, der::SEQUENCE)?);
    let mut extensions: Vec<(&[u8], &[u8])> = Vec::new();
    while !list.is_empty() {
        let mut extension = list.inside(der::SEQUENCE)?;
        let oid = extension.take(der::OID)?;
        let critical = match extension.optional(der::BOOLEAN) {
            None => false,
            Some([0xff]) => true,
            Some(_) => return None,
        };
        let value = extension.take(der::OCTET_STRING)?;
        extension.end()?;
        let known = [KEY_USAGE, BASIC_CONSTRAINTS, EXTENDED_KEY_USAGE].contains(&oid);
        let twice = extensions.iter().any(|(have, _)| *have == oid);
        if (critical && !known) || twice || extensions.len() >= MOST {
            return None;
        }
        extensions.push((oid, value));
    }
    Some(extensions)
}

/// Seconds since 1970 of a UTCTime or a GeneralizedTime in the form of RFC 5280 (4.1.2.5).
fn time(element: Element<'_>) -> Option<u64> {
    let text = str::from_utf8(element.content).ok()?.strip_suffix('Z')?;
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let (year, rest) = match (element.tag, text.len()) {
        (der::UTC_TIME, 12) if digits => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: u64 = year.parse().ok()?;
            (year.checked_add(if year < 50 { 2000 } else { 1900 })?, rest)
        }
        (der::GENERALIZED_TIME, 14) if digits => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let number = |at: usize| -> Option<u64> { rest.get(at..at.checked_add(2)?)?.parse().ok() };
    let (month, day) = (number(0)?, number(2)?);
    let (hour, minute, second) = (number(4)?, number(6)?, number(8)?);
    let sane = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24;
    if !sane || minute > 59 || second > 59 {
        return None;
    }
    let days = days(year, month, day)?;
    let hours = days.checked_mul(24)?.checked_add(hour)?;
    hours.checked_mul(60)?.checked_add(minute)?.checked_mul(60)?.checked_add(second)
}

/// Days from 1970-01-01 in the Gregorian calendar, counted in years that start in March, so
/// that the day of a leap year comes last.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let (year, month) = if month > 2 {
        (year, month.checked_sub(3)?)
    } else {
        (year.checked_sub(1)?, month.checked_add(9)?)
    };
    let leaps = (year / 4).checked_sub(year / 100)?.checked_add(year / 400)?;
    let before = month.checked_mul(153)?.checked_add(2)? / 5;
    let days = year.checked_mul(365)?.checked_add(leaps)?.checked_add(before)?;
    // 719 468 days lie between the first of March of year 0 and 1970-01-01.
    days.checked_add(day)?.checked_sub(719_469)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_since_1970() {
        let at = |tag, text: &str| time(Element { tag, content: text.as_bytes(), whole: &[] });
        for (tag, text, seconds) in [
            (der::UTC_TIME, "700101000000Z", Some(0)),
            (der::UTC_TIME, "000229120000Z", Some(951_825_600)),
            (der::UTC_TIME, "221129015556Z", Some(1_669_686_956)),
            (der::GENERALIZED_TIME, "20471118204834Z", Some(2_457_722_914)),
            (der::GENERALIZED_TIME, "20240301000000Z", Some(1_709_251_200)),
            (der::UTC_TIME, "691231235959Z", None),
            (der::UTC_TIME, "221329015556Z", None),
            (der::UTC_TIME, "221129015556", None),
            (der::UTC_TIME, "2211290155Z", None),
            (der::UTC_TIME, "2211290155+1Z", None),
            (der::GENERALIZED_TIME, "20471118204834.5Z", None),
            (der::INTEGER, "221129015556Z", None),
        ] {
            assert_eq!(at(tag, text), seconds, "{text}");
        }
    }
}
