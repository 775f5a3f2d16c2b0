//! What a vault does with a key: release, wrap, unwrap.

use aes_kw::{KeyInit, KwpAes256};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD as STD, BASE64_URL_SAFE_NO_PAD as B64};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use rsa::pkcs8::DecodePrivateKey;
use rsa::{BoxedUint, PrivateKey, PublicKey};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::authority::{Authority, sign};
use crate::policy::{good, satisfied};
use crate::server::Trick;

const KEK: &[u8] = include_bytes!("../../attester/keys/uvm-root.pkcs8");
const CUSTOMER: &[u8] = include_bytes!("../../attester/keys/stranger.pkcs8");

/// What a key is made of.
#[derive(Clone, Debug)]
pub enum Material {
    /// AES.
    Oct(Vec<u8>),
    /// RSA, in PKCS#8.
    Rsa(Vec<u8>),
    /// Bytes that are called an elliptic curve's.
    Ec(Vec<u8>),
}

/// A key of the vault.
#[derive(Clone, Debug)]
pub struct Key {
    /// Itself.
    pub material: Material,
    /// As in its attributes.
    pub enabled: bool,
    /// As in its attributes.
    pub exportable: bool,
    /// Seconds, as in its attributes.
    pub nbf: u64,
    /// Seconds, as in its attributes.
    pub exp: u64,
    /// Its release policy.
    pub policy: Value,
    /// Whether the identity has its role.
    pub allowed: bool,
}

impl Key {
    /// A key that is released to the test machine.
    #[must_use]
    pub fn released(material: Material) -> Self {
        let (enabled, exportable, allowed) = (true, true, true);
        Self { material, enabled, exportable, nbf: 0, exp: u64::MAX, policy: good(), allowed }
    }

    /// An AES key of 256 bits, all of this byte.
    #[must_use]
    pub fn oct(byte: u8) -> Self {
        Self::released(Material::Oct(vec![byte; 32]))
    }

    /// An RSA key.
    #[must_use]
    pub fn rsa() -> Self {
        Self::released(Material::Rsa(KEK.to_vec()))
    }

    /// A customer's RSA key, which stays in its vault.
    #[must_use]
    pub fn customer() -> Self {
        let key = Self::released(Material::Rsa(CUSTOMER.to_vec()));
        Self { exportable: false, policy: Value::Null, ..key }
    }

    fn kind(&self) -> (&'static str, &[u8]) {
        match &self.material {
            Material::Oct(bytes) => ("oct-HSM", bytes),
            Material::Rsa(bytes) => ("RSA-HSM", bytes),
            Material::Ec(bytes) => ("EC-HSM", bytes),
        }
    }

    /// Why the vault does nothing with it.
    fn barred(&self, now: u64) -> Option<&'static str> {
        [
            (!self.allowed, "ForbiddenByRbac"),
            (!self.enabled, "KeyDisabled"),
            (now < self.nbf, "KeyNotYetValid"),
            (now >= self.exp, "KeyExpired"),
        ]
        .into_iter()
        .find_map(|(is, code)| is.then_some(code))
    }
}

pub(crate) type Answer = (u16, Value);

pub(crate) fn refusal(status: u16, code: &str) -> Answer {
    let outer = if status == 403 { "Forbidden" } else { code };
    let inner = json!({"code": code});
    (status, json!({"error": {"code": outer, "message": "no", "innererror": inner}}))
}

/// What a request is about.
pub(crate) struct Asked<'a> {
    pub(crate) key: &'a Key,
    pub(crate) kid: &'a str,
    pub(crate) body: &'a Value,
    pub(crate) trick: &'a Trick,
    pub(crate) authority: &'a Authority,
    pub(crate) now: u64,
}

impl Asked<'_> {
    pub(crate) fn answer(&self, operation: &str) -> Answer {
        // Somebody in the middle, or a vault that errs, shows the attributes to the client alone.
        let blind = matches!(self.trick, Trick::Blind);
        if let Some(code) = self.key.barred(self.now).filter(|_| !blind) {
            return refusal(403, code);
        }
        match operation {
            "release" => self.release(blind),
            "wrapkey" | "unwrapkey" => self.operate(operation == "wrapkey"),
            _ => refusal(404, "NotFound"),
        }
    }

    fn operate(&self, wraps: bool) -> Answer {
        let value = self.body["value"].as_str().and_then(|text| B64.decode(text).ok());
        let (Some(value), Material::Rsa(key)) = (value, &self.key.material) else {
            return refusal(400, "BadParameter");
        };
        if self.body["alg"] != "RSA-OAEP-256" {
            return refusal(400, "BadParameter");
        }
        let key = PrivateKey::from_pkcs8_der(key).expect("a key");
        let done = match wraps {
            true => key.to_public_key().oaep_encrypt::<Sha256>(&value),
            false => key.oaep_decrypt::<Sha256>(&value),
        };
        match done {
            Ok(done) => (200, json!({"kid": self.said_kid(), "value": B64.encode(done)})),
            Err(_) => refusal(400, "BadParameter"),
        }
    }

    fn said_kid(&self) -> String {
        match self.trick {
            Trick::OtherKey => format!("{}2", self.kid),
            _ => self.kid.to_owned(),
        }
    }

    fn release(&self, blind: bool) -> Answer {
        if !self.key.exportable && !blind {
            return refusal(403, "AccessDenied");
        }
        let Some(claims) = self.body["target"].as_str().and_then(claims) else {
            return refusal(400, "BadParameter");
        };
        if !satisfied(&self.key.policy, &claims) {
            return refusal(403, "AccessDenied");
        }
        if self.body["enc"] != "RSA_AES_KEY_WRAP_256" {
            return refusal(400, "BadParameter");
        }
        let Some(to) = transfer(&claims["x-ms-runtime"]["keys"][0]) else {
            return refusal(400, "BadParameter");
        };
        (200, json!({"value": self.signed(&self.payload(&to))}))
    }

    fn payload(&self, to: &PublicKey) -> Value {
        let (kty, plain) = self.key.kind();
        let kid = self.said_kid();
        let enc = match self.trick {
            Trick::OtherWrapping => "CKM_RSA_AES_KEY_WRAP",
            _ => "RSA_AES_KEY_WRAP_256",
        };
        let mut request = json!({"api-version": "7.4", "enc": enc, "kid": kid});
        match self.trick {
            Trick::EchoNonce => request["nonce"] = self.body["nonce"].clone(),
            Trick::OtherNonce => request["nonce"] = "another".into(),
            _ => {}
        }
        let ciphertext = B64.encode(self.wrapped(to, plain));
        let hsm = json!({"schema_version": "1.0", "header": {}, "ciphertext": ciphertext});
        let attributes = json!({
            "enabled": self.key.enabled, "exportable": self.key.exportable,
            "nbf": self.key.nbf, "exp": self.key.exp,
        });
        json!({"request": request, "response": {"key": {
            "attributes": attributes,
            "key": {"kid": kid, "kty": kty, "key_ops": [], "key_hsm": B64.encode(hsm.to_string())},
        }}})
    }

    fn wrapped(&self, to: &PublicKey, plain: &[u8]) -> Vec<u8> {
        let aes = [0xa5; 32];
        let first = to.oaep_encrypt::<Sha256>(&aes).expect("wraps");
        let mut buffer = vec![0; plain.len().div_ceil(8) * 8 + 8];
        let cipher = KwpAes256::new_from_slice(&aes).expect("a key");
        let mut second = cipher.wrap_key(plain, &mut buffer).expect("wraps").to_vec();
        match self.trick {
            Trick::ShortCiphertext(length) => {
                return [first, second].concat().into_iter().take(*length).collect();
            }
            Trick::BrokenWrap => second[0] ^= 1,
            _ => {}
        }
        [first, second].concat()
    }

    fn signed(&self, payload: &Value) -> String {
        let alg = match self.trick {
            Trick::Algorithm(alg) => alg,
            _ => "RS256",
        };
        let host = match self.trick {
            Trick::OtherHost => "other.vault.azure.net",
            _ => "localhost",
        };
        let expired = matches!(self.trick, Trick::ExpiredChain);
        let stranger = matches!(self.trick, Trick::StrangeChain).then(Authority::new);
        let signer = stranger.as_ref().unwrap_or(self.authority);
        let chain = [signer.signer(host, expired), signer.root()].map(|der| STD.encode(der));
        let mut header = json!({"alg": alg, "kid": "signer", "x5c": chain});
        match self.trick {
            Trick::Critical => header["crit"] = json!(["x"]),
            Trick::NoChain => header["x5c"] = json!([]),
            _ => {}
        }
        let signed =
            format!("{}.{}", B64.encode(header.to_string()), B64.encode(payload.to_string()));
        let signature = B64.encode(sign(alg, signed.as_bytes()));
        match self.trick {
            Trick::ChangedPayload => {
                let other = payload.to_string().replace("schema", "schemA").replace("7.4", "7.5");
                format!("{}.{}.{signature}", B64.encode(header.to_string()), B64.encode(other))
            }
            Trick::TwoParts => signed,
            _ => format!("{signed}.{signature}"),
        }
    }
}

/// The key in the token, which the report in it binds.
fn transfer(jwk: &Value) -> Option<PublicKey> {
    let number = |name: &str| {
        let bytes = B64.decode(jwk[name].as_str()?).ok()?;
        Some(BoxedUint::from_be_slice_vartime(&bytes))
    };
    PublicKey::new(number("n")?, number("e")?).ok()
}

/// Claims of a token that the test issuer signed.
fn claims(token: &str) -> Option<Value> {
    let (signed, signature) = token.rsplit_once('.')?;
    let jwk = postern_attester::maa_key();
    let part = |name: &str| B64.decode(jwk[name].as_str()?).ok();
    let key = RsaPublicKeyComponents { n: part("n")?, e: part("e").unwrap_or(vec![1, 0, 1]) };
    let signature = B64.decode(signature).ok()?;
    key.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature).ok()?;
    serde_json::from_slice(&B64.decode(signed.split_once('.')?.1).ok()?).ok()
}
