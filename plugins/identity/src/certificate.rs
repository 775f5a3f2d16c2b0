//! What a client certificate says: its URIs, its time, what it may sign (RFC 5280).
//!
//! Owns no trust: the host's TLS has verified the chain. Invariant: a certificate that is not
//! read whole is no certificate; every name of it counts, not only the first that a host shows.

use postern_core::denial::TokenReason;
use postern_core::spiffe::{SpiffeId, claims_to_be};
use postern_core::time::UnixMillis;
use sha2::{Digest as _, Sha256};
use x509_cert::Certificate;
use x509_cert::TbsCertificate;
use x509_cert::der::{Decode, pem};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, SubjectAltName};

use crate::cache::Digest;

/// Most bytes of a certificate in PEM.
const LARGEST: usize = 64 * 1024;

/// A certificate that ends a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// SHA-256 of its DER: what `x5t#S256` of RFC 8705 (3.1) and fingerprints are.
    pub thumbprint: Digest,
    /// The end of its time, in seconds.
    pub until: u64,
    from: u64,
    uris: Vec<String>,
    issues: bool,
}

/// The thumbprint of a certificate in PEM.
pub fn thumbprint(pem: &[u8]) -> Option<Digest> {
    Some(Sha256::digest(decoded(pem)?).into())
}

fn decoded(pem: &[u8]) -> Option<Vec<u8>> {
    let (label, der) = pem::decode_vec(pem).ok().filter(|_| pem.len() <= LARGEST)?;
    (label == "CERTIFICATE").then_some(der)
}

impl Leaf {
    /// Reads a certificate in PEM.
    pub fn read(pem: &[u8]) -> Option<Self> {
        let der = decoded(pem)?;
        let certificate = Certificate::from_der(&der).ok()?;
        let body = certificate.tbs_certificate();
        let seconds = |time: &x509_cert::time::Time| time.to_unix_duration().as_secs();
        let validity = body.validity();
        Some(Self {
            thumbprint: Sha256::digest(&der).into(),
            from: seconds(&validity.not_before),
            until: seconds(&validity.not_after),
            uris: uris(body)?,
            issues: issues(body)?,
        })
    }

    /// Whether a name of it says that it is a SPIFFE ID, well formed or not.
    pub fn claims_spiffe_id(&self) -> bool {
        self.uris.iter().any(|uri| claims_to_be(uri))
    }

    /// The SPIFFE ID, of an X.509-SVID as of now (X509-SVID, 4 and 5): one URI and no more,
    /// and no authority's certificate.
    pub fn spiffe_id(&self, now: UnixMillis) -> Result<SpiffeId, TokenReason> {
        if !self.claims_spiffe_id() {
            return Err(TokenReason::NoSpiffeId);
        }
        let [uri] = self.uris.as_slice() else { return Err(TokenReason::SpiffeIds) };
        if self.issues {
            return Err(TokenReason::Certificate);
        }
        if now.seconds() < self.from {
            return Err(TokenReason::NotYet);
        }
        if now.seconds() > self.until {
            return Err(TokenReason::Expired);
        }
        SpiffeId::parse(uri).ok_or(TokenReason::SpiffeId)
    }
}

fn uris(body: &TbsCertificate) -> Option<Vec<String>> {
    let names = body.get_extension::<SubjectAltName>().ok()?;
    let names = names.map(|(_, names)| names.0).unwrap_or_default();
    let uri = |name: GeneralName| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
        _ => None,
    };
    Some(names.into_iter().filter_map(uri).collect())
}

/// Whether its key may sign certificates or lists of revoked ones (X509-SVID, 4.3).
fn issues(body: &TbsCertificate) -> Option<bool> {
    let constraints = body.get_extension::<BasicConstraints>().ok()?;
    let usage = body.get_extension::<KeyUsage>().ok()?;
    let signs = usage.is_some_and(|(_, usage)| usage.key_cert_sign() || usage.crl_sign());
    Some(signs || constraints.is_some_and(|(_, constraints)| constraints.ca))
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
    };

    use super::*;

    const ONE: &str = "spiffe://prod.test/one";

    fn now() -> UnixMillis {
        // 2026-11-26
        UnixMillis(1_795_651_200_000)
    }

    fn params(uris: &[&str]) -> CertificateParams {
        let mut params = CertificateParams::new(vec!["one.test".to_owned()]).unwrap();
        let uri = |uri: &&str| SanType::URI((*uri).try_into().unwrap());
        params.subject_alt_names.extend(uris.iter().map(uri));
        params
    }

    fn signed(params: CertificateParams) -> rcgen::Certificate {
        params.self_signed(&KeyPair::generate().unwrap()).unwrap()
    }

    fn id(params: CertificateParams) -> Result<String, TokenReason> {
        let leaf = Leaf::read(signed(params).pem().as_bytes()).unwrap();
        leaf.spiffe_id(now()).map(|id| id.as_str().to_owned())
    }

    fn changed(change: impl FnOnce(&mut CertificateParams)) -> Result<String, TokenReason> {
        let mut params = params(&[ONE]);
        change(&mut params);
        id(params)
    }

    #[test]
    fn an_svid_has_one_uri_and_is_no_authority() {
        assert_eq!(id(params(&[ONE])).as_deref(), Ok(ONE));
        for (uris, reason) in [
            (&[][..], TokenReason::NoSpiffeId),
            (&["https://prod.test/one"], TokenReason::NoSpiffeId),
            (&[ONE, "spiffe://prod.test/two"], TokenReason::SpiffeIds),
            (&["https://prod.test/one", ONE], TokenReason::SpiffeIds),
            (&["SPIFFE://prod.test/one"], TokenReason::SpiffeId),
            (&["spiffe://prod.test"], TokenReason::SpiffeId),
        ] {
            assert_eq!(id(params(uris)), Err(reason), "{uris:?}");
        }
        let ca = IsCa::Ca(BasicConstraints::Unconstrained);
        assert_eq!(changed(|params| params.is_ca = ca), Err(TokenReason::Certificate));
        for usage in [KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign] {
            let signs = changed(|params| params.key_usages = vec![usage]);
            assert_eq!(signs, Err(TokenReason::Certificate), "{usage:?}");
        }
        let usual = changed(|params| {
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.is_ca = IsCa::ExplicitNoCa;
        });
        assert_eq!(usual.as_deref(), Ok(ONE));
    }

    #[test]
    fn its_time_is_looked_at_for_every_request() {
        let until = |day| changed(|params| params.not_after = date_time_ymd(2026, 11, day));
        assert_eq!(until(25), Err(TokenReason::Expired));
        assert_eq!(until(26).as_deref(), Ok(ONE));
        let early = changed(|params| params.not_before = date_time_ymd(2026, 11, 27));
        assert_eq!(early, Err(TokenReason::NotYet));
    }

    #[test]
    fn what_is_not_one_certificate_is_none() {
        let good = signed(params(&[ONE])).pem();
        let (short, two) = (&good[..good.len() / 2], format!("{good}{good}"));
        let long = good.replace("-----END", &format!("{}-----END", "A".repeat(LARGEST)));
        let other = good.replace("CERTIFICATE", "PRIVATE KEY");
        for bad in ["", "x", short, &two, &long, &other] {
            assert_eq!(Leaf::read(bad.as_bytes()), None);
            assert_eq!(thumbprint(bad.as_bytes()), None);
        }
        for (at, byte) in [(30, b'A'), (300, b'!')] {
            let mut bad = good.clone().into_bytes();
            bad[at] = byte;
            assert_eq!(Leaf::read(&bad), None, "{at}");
        }
    }

    #[test]
    fn a_thumbprint_is_the_digest_of_the_certificate() {
        let certificate = signed(params(&[ONE]));
        let digest: Digest = Sha256::digest(certificate.der()).into();
        assert_eq!(thumbprint(certificate.pem().as_bytes()), Some(digest));
        assert_eq!(Leaf::read(certificate.pem().as_bytes()).unwrap().thumbprint, digest);
    }
}
