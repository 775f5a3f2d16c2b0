//! A signed webhook, by [Standard Webhooks](https://www.standardwebhooks.com): receivers have
//! libraries for it, which RFC 9421 does not have in as many languages.
//!
//! ```text
//! webhook-id: <id>    webhook-timestamp: <seconds>
//! webhook-signature: v1,<base64 of HMAC-SHA256(key, id "." timestamp "." content)>
//! ```
//! The id is the approval's, also when it is sent again.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use postern_core::hex;
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use serde_json::json;
use sha2::Sha256;
use ureq::http;

use super::{Adapter, Notice, call};
use crate::fault::Fault;

pub(super) struct Webhook {
    url: String,
    key: Secret,
}

impl Webhook {
    /// `secret` is `whsec_` and base64 of 24 to 64 bytes.
    pub(super) fn new(url: &str, secret: &Secret) -> Result<Self, Fault> {
        let text = secret.expose().strip_prefix(b"whsec_").unwrap_or_default();
        let key = BASE64_STANDARD.decode(text).map(Secret::new).ok();
        let key = key.filter(|key| (24..=64).contains(&key.len()));
        let key = key.ok_or(Fault::Malformed("webhook secret: expected whsec_ and base64"))?;
        Ok(Self { url: url.to_owned(), key })
    }

    fn sign(&self, signed: &[u8]) -> Result<String, Fault> {
        let mac = Hmac::<Sha256>::new_from_slice(self.key.expose());
        let mut mac = mac.map_err(|_| Fault::Malformed("webhook secret"))?;
        mac.update(signed);
        Ok(format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes())))
    }
}

impl Adapter for Webhook {
    fn call(&self, notice: &Notice, now: UnixMillis) -> Result<http::Request<Vec<u8>>, Fault> {
        let id = hex::lower(&notice.approval);
        let body = json!({
            "type": "approval.requested",
            "data": { "approval": id, "link": notice.link, "expires_ms": notice.expires.0 },
        });
        let timestamp = now.seconds().to_string();
        let signature = self.sign(format!("{id}.{timestamp}.{body}").as_bytes())?;
        let fields = [
            ("webhook-id", id.as_str()),
            ("webhook-timestamp", &timestamp),
            ("webhook-signature", &signature),
        ];
        call("POST", &self.url, &fields, &body)
    }

    fn took(&self, status: u16, _: &[u8]) -> bool {
        (200..300).contains(&status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_standard() {
        // The example of the specification.
        let secret = Secret::new(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_vec());
        let webhook = Webhook::new("https://a.example", &secret).unwrap();
        let signed = b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{\"test\": 2432232314}";
        let want = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(webhook.sign(signed).unwrap(), want);
        for secret in ["", "whsec_", "whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            let secret = Secret::new(secret.as_bytes().to_vec());
            assert!(Webhook::new("https://a.example", &secret).is_err());
        }
    }
}
