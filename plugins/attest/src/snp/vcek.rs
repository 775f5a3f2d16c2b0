//! What a versioned chip endorsement key's certificate says about chip and firmware
//! (AMD 57230, "VCEK certificate").
//!
//! Invariant: every extension has its one encoding; a certificate of a cloud provider's key
//! (VLEK) is none of a chip.

use p384::ecdsa::VerifyingKey;

use super::Product;
use super::certificate::Certificate;
use super::tcb::Tcb;
use crate::Refusal;
use crate::der;

/// `id-ecPublicKey` with `secp384r1`.
const P384: &[u8] = &[6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 5, 0x2b, 0x81, 4, 0, 0x22];
/// 1.3.6.1.4.1.3704.1
const AMD: [u8; 9] = [0x2b, 6, 1, 4, 1, 0x9c, 0x78, 1, 0];
const PRODUCT: u8 = 2;
const HARDWARE_ID: u8 = 4;
const CSP_ID: u8 = 5;
/// Below 1.3.6.1.4.1.3704.1.3.
const BOOTLOADER: u8 = 1;
const TEE: u8 = 2;
const SNP: u8 = 3;
const MICROCODE: u8 = 8;
const FMC: u8 = 9;

/// The certified facts.
#[derive(Clone, Debug)]
pub struct Vcek<'a> {
    key: VerifyingKey,
    product: &'a str,
    tcb: Tcb,
    hardware_id: &'a [u8],
}

impl<'a> Vcek<'a> {
    /// Reads the extensions.
    ///
    /// # Errors
    /// [`Refusal::Certificate`] where one is missing or malformed; [`Refusal::SigningKey`]
    /// for a VLEK.
    pub fn read(certificate: &Certificate<'a>) -> Result<Self, Refusal> {
        if certificate.extension(&below_amd(CSP_ID)).is_some() {
            return Err(Refusal::SigningKey);
        }
        Self::extensions(certificate).ok_or(Refusal::Certificate)
    }

    fn extensions(certificate: &Certificate<'a>) -> Option<Self> {
        let key = VerifyingKey::from_sec1_bytes(certificate.key_of(P384)?).ok()?;
        let product = certificate.extension(&below_amd(PRODUCT))?;
        let product = str::from_utf8(der::only(product, der::IA5_STRING)?).ok()?;
        let number = |which| Some(certificate.extension(&version(which))).map(|it| it.map(small));
        let required = |which| number(which).flatten().flatten();
        let fmc = match number(FMC).flatten() {
            Some(fmc) => fmc?,
            None => 0,
        };
        let tcb = Tcb {
            fmc,
            bootloader: required(BOOTLOADER)?,
            tee: required(TEE)?,
            snp: required(SNP)?,
            microcode: required(MICROCODE)?,
        };
        let hardware_id = certificate.extension(&below_amd(HARDWARE_ID))?;
        Some(Self { key, product, tcb, hardware_id })
    }

    /// The key.
    pub fn key(&self) -> &VerifyingKey {
        &self.key
    }

    /// The firmware that it stands for.
    pub fn tcb(&self) -> Tcb {
        self.tcb
    }

    /// Whether it names this product, with or without a stepping ("Milan-B0").
    pub fn is_of(&self, product: Product) -> bool {
        let rest = self.product.strip_prefix(product.name());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }

    /// Whether it is for this chip: 64 bytes, on Turin 8 with zeros behind them.
    pub fn is_for_chip(&self, chip_id: &[u8; 64]) -> bool {
        let turin = self.is_of(Product::Turin);
        if self.hardware_id.len() != if turin { 8 } else { 64 } {
            return false;
        }
        let Some(rest) = chip_id.strip_prefix(self.hardware_id) else { return false };
        rest.iter().all(|byte| *byte == 0)
    }
}

fn below_amd(last: u8) -> [u8; 9] {
    let [a, b, c, d, e, f, g, h, _] = AMD;
    [a, b, c, d, e, f, g, h, last]
}

fn version(last: u8) -> [u8; 10] {
    let [a, b, c, d, e, f, g, h, _] = AMD;
    [a, b, c, d, e, f, g, h, 3, last]
}

/// An INTEGER from 0 to 255.
fn small(value: &[u8]) -> Option<u8> {
    match der::unsigned(der::only(value, der::INTEGER)?)? {
        [number] => Some(*number),
        _ => None,
    }
}
