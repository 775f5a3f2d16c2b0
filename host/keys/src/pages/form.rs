//! Forms, as browsers send them.
//!
//! Invariant: a field that comes twice, or too many of them, is no form of ours.

use std::collections::HashMap;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_core::time::UnixMillis;

use crate::people::ceremony::{Assertion, Attestation};

/// Most fields of a form.
const MOST: usize = 16;

/// The fields of a form.
pub(super) struct Form(HashMap<String, String>);

impl Form {
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let mut fields = HashMap::new();
        for (name, value) in form_urlencoded::parse(body) {
            let twice = fields.insert(name.into_owned(), value.into_owned()).is_some();
            if twice || fields.len() > MOST {
                return None;
            }
        }
        Some(Self(fields))
    }

    /// A field; empty where it is missing.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// What says that this browser was given the form.
    pub(super) fn token(&self) -> &str {
        self.text("form")
    }

    /// When the challenge ends that the form brings back.
    pub(super) fn ends(&self) -> UnixMillis {
        UnixMillis(self.text("ends").parse().unwrap_or_default())
    }

    fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        B64.decode(self.text(name)).ok().filter(|bytes| !bytes.is_empty())
    }

    /// What an authenticator answered to a sign-in or step-up.
    pub(super) fn assertion(&self) -> Option<Assertion> {
        let handle = match self.text("user-handle") {
            "" => None,
            text => Some(B64.decode(text).ok()?.try_into().ok()?),
        };
        Some(Assertion {
            credential: self.bytes("credential")?,
            client_data: self.bytes("client-data")?,
            authenticator_data: self.bytes("authenticator-data")?,
            signature: self.bytes("signature")?,
            handle,
        })
    }

    /// What an authenticator answered to a registration.
    pub(super) fn attestation(&self) -> Option<Attestation> {
        let (client_data, object) = (self.bytes("client-data")?, self.bytes("attestation")?);
        Some(Attestation { client_data, object })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_comes_twice_is_no_form() {
        let form = Form::read(b"a=1&b=%C3%A4+x").unwrap();
        assert_eq!((form.text("a"), form.text("b"), form.text("c")), ("1", "ä x", ""));
        assert!(Form::read(b"a=1&a=1").is_none());
        let many: Vec<String> = (0..=MOST).map(|n| format!("f{n}=1")).collect();
        assert!(Form::read(many.join("&").as_bytes()).is_none());
    }
}
