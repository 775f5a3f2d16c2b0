//! An authenticator in software, that can be told to lie.

use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use sha2::{Digest, Sha256};

use super::world::ORIGIN;
use crate::people::ceremony::Challenge;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;

pub const PRESENT: u8 = 1;
pub const VERIFIED: u8 = 4;

/// One passkey, and how it answers.
#[derive(Clone)]
pub struct Authenticator {
    key: SigningKey,
    pub credential: Vec<u8>,
    pub handle: Option<[u8; 16]>,
    pub counter: u32,
    pub flags: u8,
    pub origin: String,
    pub site: String,
    /// Members that are added to `clientDataJSON`.
    pub more: &'static str,
}

pub fn authenticator(number: u8) -> Authenticator {
    Authenticator {
        key: SigningKey::from_slice(&[number; 32]).unwrap(),
        credential: vec![number; 32],
        handle: None,
        counter: 0,
        flags: PRESENT | VERIFIED,
        origin: ORIGIN.to_owned(),
        site: "approve.example".to_owned(),
        more: "",
    }
}

impl Authenticator {
    fn client_data(&self, kind: &str, challenge: &Challenge) -> Vec<u8> {
        format!(
            r#"{{"type":"webauthn.{kind}","challenge":"{}","origin":"{}","crossOrigin":{}}}"#,
            B64.encode(challenge),
            self.origin,
            if self.more.is_empty() { "false" } else { self.more }
        )
        .into_bytes()
    }

    fn data(&self, flags: u8) -> Vec<u8> {
        let mut data = Sha256::digest(&self.site).to_vec();
        data.push(flags);
        data.extend_from_slice(&self.counter.to_be_bytes());
        data
    }

    /// The fields of a form that registers it.
    pub fn attest(&self, challenge: &Challenge) -> Vec<(&'static str, String)> {
        let point = self.key.verifying_key().to_sec1_point(false);
        let bytes = point.as_bytes();
        let mut data = self.data(self.flags | 0x40);
        data.extend_from_slice(&[0; 16]);
        data.extend_from_slice(&(self.credential.len() as u16).to_be_bytes());
        data.extend_from_slice(&self.credential);
        // COSE_Key: {1: 2, 3: -7, -1: 1, -2: x, -3: y}
        data.extend_from_slice(&[0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32]);
        data.extend_from_slice(&bytes[1..33]);
        data.extend_from_slice(&[0x22, 0x58, 32]);
        data.extend_from_slice(&bytes[33..]);
        // {"fmt": "none", "attStmt": {}, "authData": data}
        let mut object = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58".to_vec();
        object.push(data.len() as u8);
        object.extend_from_slice(&data);
        vec![
            ("client-data", B64.encode(self.client_data("create", challenge))),
            ("attestation", B64.encode(object)),
        ]
    }

    /// The fields of a form that uses it; the counter goes up.
    pub fn assert(&mut self, challenge: &Challenge) -> Vec<(&'static str, String)> {
        self.counter += 1;
        self.assert_again(challenge)
    }

    /// The same without the counter going up.
    pub fn assert_again(&self, challenge: &Challenge) -> Vec<(&'static str, String)> {
        let (data, client) = (self.data(self.flags), self.client_data("get", challenge));
        let mut signed = data.clone();
        signed.extend_from_slice(&Sha256::digest(&client));
        let signature: Signature = self.key.sign(&signed);
        vec![
            ("credential", B64.encode(&self.credential)),
            ("client-data", B64.encode(client)),
            ("authenticator-data", B64.encode(data)),
            ("signature", B64.encode(signature.to_der())),
            ("user-handle", self.handle.map(|handle| B64.encode(handle)).unwrap_or_default()),
        ]
    }
}
