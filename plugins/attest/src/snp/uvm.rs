//! Endorsements of utility VMs: a `COSE_Sign1` (RFC 9052) in which Microsoft names the
//! measurement that its container host launches.
//!
//! The issuer is a `did:x509:0:sha256:<CA>::eku:<OID>`: a chain (`x5chain`, RFC 9360) that
//! leads to a certificate of that fingerprint, and a leaf of that usage. Invariant: issuer
//! and feed are the pinned ones exactly. The times of these certificates are not looked at:
//! an endorsement outlives its signing certificate, and the floor of its version number is
//! what retires one.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use minicbor::data::{Tag, Type};
use minicbor::{Decoder, Encoder};
use sha2::{Digest, Sha256};

use super::certificate::Certificate;
use postern_core::hex;

/// COSE_Sign1.
const SIGN1: u64 = 18;
/// PS384 (RFC 8230).
const PS384: i64 = -38;
const ALGORITHM: i64 = 1;
const CONTENT_TYPE: i64 = 3;
const X5CHAIN: i64 = 33;
/// Longest chain.
const CHAIN: usize = 5;
/// Longest endorsement.
const LENGTH: usize = 20 << 10;
const DID: &str = "did:x509:0:sha256:";
const EKU: &str = "::eku:";

/// Whose endorsements are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endorser {
    issuer: String,
    fingerprint: [u8; 32],
    usage: Vec<u8>,
    feed: String,
    least: u64,
}

impl Endorser {
    /// An issuer of the one form that is understood, a feed, and the least
    /// `x-ms-sevsnpvm-guestsvn`.
    pub fn new(issuer: &str, feed: &str, least: u64) -> Option<Self> {
        let (fingerprint, usage) = issuer.strip_prefix(DID)?.split_once(EKU)?;
        let fingerprint = B64.decode(fingerprint).ok()?.try_into().ok()?;
        let (issuer, feed) = (issuer.to_owned(), feed.to_owned());
        Some(Self { issuer, fingerprint, usage: oid(usage)?, feed, least })
    }
}

/// DER content of a dotted object identifier.
fn oid(dotted: &str) -> Option<Vec<u8>> {
    let arcs: Option<Vec<u32>> = dotted.split('.').map(|arc| arc.parse().ok()).collect();
    let arcs = arcs?;
    let [first @ 0..=2, second @ 0..=39, rest @ ..] = arcs.as_slice() else { return None };
    let mut bytes = vec![u8::try_from(first.checked_mul(40)?.checked_add(*second)?).ok()?];
    for arc in rest {
        let mut groups = vec![u8::try_from(arc & 0x7f).ok()?];
        let mut left = arc >> 7;
        while left > 0 {
            groups.push(u8::try_from(left & 0x7f).ok()? | 0x80);
            left >>= 7;
        }
        bytes.extend(groups.into_iter().rev());
    }
    Some(bytes)
}

/// The measurement that a pinned endorser names.
pub fn open(bytes: &[u8], endorsers: &[Endorser]) -> Option<[u8; 48]> {
    if bytes.len() > LENGTH {
        return None;
    }
    let signed = Sign1::parse(bytes)?;
    let head = Head::parse(signed.protected)?;
    let named = |it: &&Endorser| it.issuer == head.issuer && it.feed == head.feed;
    let endorser = endorsers.iter().find(named)?;
    let leaf = chain(&head.chain, endorser)?;
    let statement = signed.statement();
    leaf.rsa_key().filter(|key| key.verify_pss(&statement, signed.signature))?;
    measurement(signed.payload, endorser.least)
}

/// The leaf, if the chain leads to the endorser's certificate and the leaf has its usage.
fn chain<'a>(chain: &[&'a [u8]], endorser: &Endorser) -> Option<Certificate<'a>> {
    let (first, above) = chain.split_first()?;
    let leaf = Certificate::parse(first).filter(|leaf| leaf.is_used_for(&endorser.usage))?;
    let mut below = leaf.clone();
    for bytes in above {
        let issuer = Certificate::parse(bytes)?;
        let key = issuer.authority_key()?;
        let linked = below.issuer == issuer.subject && below.is_signed_pkcs1(&key);
        linked.then_some(())?;
        let hash: [u8; 32] = Sha256::digest(bytes).into();
        if hash == endorser.fingerprint {
            return Some(leaf);
        }
        below = issuer;
    }
    None
}

/// `[protected, {…}, payload, signature]`; the unprotected header, a time stamp, is skipped.
struct Sign1<'a> {
    protected: &'a [u8],
    payload: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Sign1<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut cbor = Decoder::new(bytes);
        (cbor.tag().ok()? == Tag::new(SIGN1)).then_some(())?;
        (cbor.array().ok()? == Some(4)).then_some(())?;
        let protected = cbor.bytes().ok()?;
        (cbor.datatype().ok()? == Type::Map).then_some(())?;
        cbor.skip().ok()?;
        let (payload, signature) = (cbor.bytes().ok()?, cbor.bytes().ok()?);
        (cbor.position() == bytes.len()).then_some(Self { protected, payload, signature })
    }

    /// Sig_structure (RFC 9052, 4.4).
    fn statement(&self) -> Vec<u8> {
        let mut cbor = Encoder::new(Vec::new());
        // Writing to memory does not fail.
        let _ = cbor.array(4).and_then(|cbor| {
            cbor.str("Signature1")?.bytes(self.protected)?.bytes(&[])?.bytes(self.payload)
        });
        cbor.into_writer()
    }
}

/// The protected header.
#[derive(Default)]
struct Head<'a> {
    chain: Vec<&'a [u8]>,
    issuer: &'a str,
    feed: &'a str,
    algorithm: bool,
}

impl<'a> Head<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut cbor = Decoder::new(bytes);
        let mut head = Self::default();
        let (mut numbers, mut names) = (Vec::new(), Vec::new());
        for _ in 0..cbor.map().ok()?.filter(|count| *count <= 16)? {
            let fresh = if cbor.datatype().ok()? == Type::String {
                let name = cbor.str().ok()?;
                head.named(name, &mut cbor)?;
                fresh(&mut names, name)
            } else {
                let number = cbor.i64().ok()?;
                head.numbered(number, &mut cbor)?;
                fresh(&mut numbers, number)
            };
            fresh.then_some(())?;
        }
        (cbor.position() == bytes.len() && head.algorithm).then_some(head)
    }

    fn named(&mut self, name: &str, cbor: &mut Decoder<'a>) -> Option<()> {
        match name {
            "iss" => self.issuer = cbor.str().ok()?,
            "feed" => self.feed = cbor.str().ok()?,
            _ => cbor.skip().ok()?,
        }
        Some(())
    }

    fn numbered(&mut self, label: i64, cbor: &mut Decoder<'a>) -> Option<()> {
        match label {
            ALGORITHM => self.algorithm = cbor.i64().ok()? == PS384,
            CONTENT_TYPE => (cbor.str().ok()? == "application/json").then_some(())?,
            X5CHAIN => {
                let count = cbor.array().ok()?.filter(|count| *count <= CHAIN as u64)?;
                let chain = (0..count).map(|_| cbor.bytes().ok());
                self.chain = chain.collect::<Option<_>>()?;
            }
            // `crit` (2) asks for more to be understood.
            2 => return None,
            _ => cbor.skip().ok()?,
        }
        Some(())
    }
}

fn fresh<T: PartialEq>(seen: &mut Vec<T>, item: T) -> bool {
    let known = seen.contains(&item);
    seen.push(item);
    !known
}

fn measurement(payload: &[u8], least: u64) -> Option<[u8; 48]> {
    let claims = postern_jose::json::object(payload)?;
    let version: u64 = claims.get("x-ms-sevsnpvm-guestsvn")?.as_str()?.parse().ok()?;
    let measurement = claims.get("x-ms-sevsnpvm-launchmeasurement")?.as_str()?;
    (version >= least).then(|| hex::read(measurement.as_bytes())).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_identifiers_are_encoded_as_der_has_them() {
        let expected = [0x2b, 6, 1, 4, 1, 0x82, 0x37, 0x4c, 0x3b, 1, 2];
        assert_eq!(oid("1.3.6.1.4.1.311.76.59.1.2").as_deref(), Some(&expected[..]));
        for bad in ["", "1", "3.1", "1.40.1", "1.3.x", "1.3.99999999999"] {
            assert_eq!(oid(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_endorser_has_the_one_form_that_is_understood() {
        let hash = B64.encode([7; 32]);
        let good = format!("did:x509:0:sha256:{hash}::eku:1.3.6.1");
        assert!(Endorser::new(&good, "feed", 1).is_some());
        for bad in [
            good.replace(":0:", ":1:"),
            good.replace("sha256", "sha384"),
            good.replace("::eku", "::subject"),
            good.replace(&hash, "AAAA"),
            format!("{good}::eku:1.3.6"),
        ] {
            assert_eq!(Endorser::new(&bad, "feed", 1), None, "{bad}");
        }
    }
}
