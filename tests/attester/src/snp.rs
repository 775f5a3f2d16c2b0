//! Reports, certificates and endorsements as AMD and Microsoft write them.

use crate::keys::{Chip, Rsa};
use crate::{CHIP_ID, HOST_DATA, MEASUREMENT, cbor, der, hex, sha256};

/// 1.3.6.1.4.1.3704.1
const AMD: [u8; 8] = [0x2b, 6, 1, 4, 1, 0x9c, 0x78, 1];
const PSS_OID: [u8; 11] = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
const SHA384_OID: [u8; 13] = [6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2, 5, 0];
const MGF1_OID: [u8; 11] = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 8];
const RSA_SHA384: [u8; 13] = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12, 5, 0];
const VALIDITY: (&str, &str) = ("220101000000Z", "391231235959Z");

/// A good report for `runtime` from the test chip (Genoa); `change` alters it before it is
/// signed.
#[must_use]
pub fn report(runtime: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    report_by(runtime, change, |signature| signature)
}

/// The same; `encode` turns r and s, big-endian, into what stands in their fields.
#[must_use]
pub fn report_by(
    runtime: &[u8],
    change: impl FnOnce(&mut [u8]),
    encode: impl FnOnce([Vec<u8>; 2]) -> [Vec<u8>; 2],
) -> Vec<u8> {
    let mut report = vec![0; 1184];
    let mut put = |at: usize, bytes: &[u8]| report[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x00, &3_u32.to_le_bytes());
    put(0x08, &0x3_001f_u64.to_le_bytes());
    put(0x34, &1_u32.to_le_bytes());
    put(0x50, &sha256(runtime));
    put(0x90, &MEASUREMENT);
    put(0xc0, &HOST_DATA);
    put(0x180, &[7, 0, 0, 0, 0, 0, 0x14, 0xd3]);
    put(0x188, &[0x19, 0x11, 1]);
    put(0x1a0, &CHIP_ID);
    change(&mut report);
    let [r, s] = Chip::new().sign(&report[..0x2a0]);
    let little = |mut number: Vec<u8>| {
        number.reverse();
        number
    };
    let [r, s] = encode([little(r), little(s)]);
    report[0x2a0..0x2a0 + r.len()].copy_from_slice(&r);
    report[0x2e8..0x2e8 + s.len()].copy_from_slice(&s);
    report
}

/// The chip's certificate.
#[derive(Clone, Debug)]
pub struct Vcek {
    /// `Genoa-B1`.
    pub product: &'static str,
    /// Versions by the last number of their identifier.
    pub versions: Vec<(u8, u8)>,
    /// The chip.
    pub hardware_id: Vec<u8>,
    /// A cloud provider's, which makes it a VLEK's.
    pub provider: Option<&'static str>,
    /// First and last second.
    pub validity: (&'static str, &'static str),
    /// Who seems to have signed it.
    pub issuer: &'static str,
}

impl Default for Vcek {
    fn default() -> Self {
        Self {
            product: "Genoa-B1",
            versions: vec![(1, 7), (2, 0), (4, 0), (5, 0), (6, 0), (7, 0), (3, 0x14), (8, 0xd3)],
            hardware_id: CHIP_ID.to_vec(),
            provider: None,
            validity: VALIDITY,
            issuer: "SEV-Genoa",
        }
    }
}

/// What differs on Turin: an eight-byte chip id and the firmware's layout.
#[derive(Clone, Copy, Debug)]
pub struct Turin;

impl Turin {
    /// The chip's certificate.
    #[must_use]
    pub fn vcek() -> Vcek {
        let versions = vec![(9, 1), (1, 2), (2, 3), (3, 4), (5, 0), (6, 0), (7, 0), (8, 5)];
        Vcek { product: "Turin", versions, hardware_id: vec![0xc1; 8], ..Vcek::default() }
    }

    /// A change of a report to one of this chip.
    pub fn report(report: &mut [u8]) {
        report[0x180..0x188].copy_from_slice(&[1, 2, 3, 4, 0, 0, 0, 5]);
        report[0x1a8..0x1e0].fill(0);
    }
}

impl Vcek {
    /// Signed by the test ASK.
    #[must_use]
    pub fn der(&self) -> Vec<u8> {
        let amd = |last: &[u8], value: &[u8]| der::extension(&[&AMD, last].concat(), false, value);
        let mut extensions = vec![
            amd(&[1], &der::small(0)),
            amd(&[2], &der::element(0x16, self.product.as_bytes())),
        ];
        let versions = self.versions.iter();
        extensions
            .extend(versions.map(|(which, version)| amd(&[3, *which], &der::small(*version))));
        extensions.push(amd(&[4], &self.hardware_id));
        extensions
            .extend(self.provider.map(|name| amd(&[5], &der::element(0x16, name.as_bytes()))));
        let algorithm = [6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 5, 0x2b, 0x81, 4, 0, 0x22];
        let info = der::sequence(&[
            der::sequence(&[algorithm.to_vec()]),
            der::bits(&Chip::new().public()),
        ]);
        let body = Body {
            serial: 0,
            issuer: self.issuer,
            subject: "SEV-VCEK",
            validity: self.validity,
            info,
            extensions,
        };
        body.signed(&pss(), |it| Rsa::ask().pss_sha384(it))
    }
}

/// The certificate between chip and root.
#[must_use]
pub fn ask() -> Vec<u8> {
    ask_body().signed(&pss(), |it| Rsa::ark().pss_sha384(it))
}

/// The same, signed by a root that nobody pins.
#[must_use]
pub fn ask_by_stranger() -> Vec<u8> {
    ask_body().signed(&pss(), |it| Rsa::stranger().pss_sha384(it))
}

fn ask_body() -> Body {
    Body {
        serial: 1,
        issuer: "ARK-Genoa",
        subject: "SEV-Genoa",
        validity: VALIDITY,
        info: der::rsa_info(&Rsa::ask().public()),
        extensions: authority(),
    }
}

fn authority() -> Vec<Vec<u8>> {
    vec![
        der::extension(&[0x55, 0x1d, 19], true, &[0x30, 3, 1, 1, 0xff]),
        der::extension(&[0x55, 0x1d, 15], true, &[3, 2, 2, 4]),
    ]
}

fn pss() -> Vec<u8> {
    let sha384 = der::sequence(&[SHA384_OID.to_vec()]);
    let mask = der::sequence(&[MGF1_OID.to_vec(), sha384.clone()]);
    let parameters = der::sequence(&[
        der::element(0xa0, &sha384),
        der::element(0xa1, &mask),
        der::element(0xa2, &[2, 1, 48]),
        der::element(0xa3, &[2, 1, 1]),
    ]);
    der::sequence(&[PSS_OID.to_vec(), parameters])
}

struct Body {
    serial: u8,
    issuer: &'static str,
    subject: &'static str,
    validity: (&'static str, &'static str),
    info: Vec<u8>,
    extensions: Vec<Vec<u8>>,
}

impl Body {
    fn signed(self, algorithm: &[u8], sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let time = |text: &str| der::element(0x17, text.as_bytes());
        let body = der::sequence(&[
            vec![0xa0, 3, 2, 1, 2],
            der::small(self.serial),
            algorithm.to_vec(),
            der::name(self.issuer),
            der::sequence(&[time(self.validity.0), time(self.validity.1)]),
            der::name(self.subject),
            self.info,
            der::element(0xa3, &der::sequence(&self.extensions)),
        ]);
        let signature = der::bits(&sign(&body));
        der::sequence(&[body, algorithm.to_vec(), signature])
    }
}

/// An endorsement of a measurement.
#[derive(Clone, Debug)]
pub struct Uvm {
    /// What is endorsed.
    pub measurement: [u8; 48],
    /// Its version.
    pub version: &'static str,
    /// Feed.
    pub feed: &'static str,
    /// Algorithm; -38 is PS384.
    pub algorithm: i64,
    /// Whether the chain's root is the test root's certificate.
    pub chained: bool,
}

impl Default for Uvm {
    fn default() -> Self {
        Self {
            measurement: MEASUREMENT,
            version: "100",
            feed: "ContainerPlat-AMD-UVM",
            algorithm: -38,
            chained: true,
        }
    }
}

fn uvm_root() -> Vec<u8> {
    let body = Body {
        serial: 1,
        issuer: "UVM test root",
        subject: "UVM test root",
        validity: VALIDITY,
        info: der::rsa_info(&Rsa::uvm_root().public()),
        extensions: authority(),
    };
    body.signed(&der::sequence(&[RSA_SHA384.to_vec()]), |it| Rsa::uvm_root().pkcs1_sha384(it))
}

fn uvm_leaf() -> Vec<u8> {
    let usage = [0x30, 12, 6, 10, 0x2b, 6, 1, 4, 1, 0x82, 0x37, 0x4c, 0x3b, 2];
    let body = Body {
        serial: 2,
        issuer: "UVM test root",
        subject: "UVM test leaf",
        validity: ("230101000000Z", "240101000000Z"),
        info: der::rsa_info(&Rsa::uvm_leaf().public()),
        extensions: vec![der::extension(&[0x55, 0x1d, 37], false, &usage)],
    };
    body.signed(&der::sequence(&[RSA_SHA384.to_vec()]), |it| Rsa::uvm_root().pkcs1_sha384(it))
}

/// The issuer of the test endorsement.
#[must_use]
pub fn uvm_fingerprint() -> String {
    format!("did:x509:0:sha256:{}::eku:1.3.6.1.4.1.311.76.59.2", crate::b64(&sha256(&uvm_root())))
}

impl Uvm {
    /// `COSE_Sign1`.
    #[must_use]
    pub fn cose(&self) -> Vec<u8> {
        let above = if self.chained { uvm_root() } else { ask() };
        let chain = [cbor::bytes(&uvm_leaf()), cbor::bytes(&above)];
        let protected = cbor::map(&[
            (cbor::int(1), cbor::int(self.algorithm)),
            (cbor::int(3), cbor::text("application/json")),
            (cbor::int(33), cbor::array(&chain)),
            (cbor::text("iss"), cbor::text(&uvm_fingerprint())),
            (cbor::text("feed"), cbor::text(self.feed)),
        ]);
        let payload = format!(
            "{{\n  \"x-ms-sevsnpvm-guestsvn\": \"{}\",\n  \"x-ms-sevsnpvm-launchmeasurement\": \"{}\"\n}}",
            self.version,
            hex(&self.measurement),
        );
        let statement = cbor::array(&[
            cbor::text("Signature1"),
            cbor::bytes(&protected),
            cbor::bytes(b""),
            cbor::bytes(payload.as_bytes()),
        ]);
        let signature = Rsa::uvm_leaf().pss_sha384(&statement);
        let parts = [
            cbor::bytes(&protected),
            cbor::map(&[(cbor::text("timestamp"), cbor::bytes(b"none"))]),
            cbor::bytes(payload.as_bytes()),
            cbor::bytes(&signature),
        ];
        cbor::tag(18, &cbor::array(&parts))
    }
}
