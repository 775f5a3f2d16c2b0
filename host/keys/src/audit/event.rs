//! One event of the service chain, and its exact bytes.
//!
//! Invariant: an event is written once, in RFC 8785 form (ASCII member names in order,
//! u64 as strings, no whitespace); the stored bytes are what was hashed. It names things
//! and never holds a value, key, token or body.

use std::collections::BTreeMap;

use postern_core::hex;
use postern_core::time::UnixMillis;
use serde_json::Value;

/// An event before it has a number.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    tenant: Option<String>,
    members: BTreeMap<&'static str, Value>,
}

impl Event {
    /// An event of `kind`, such as `credential_released`.
    pub fn new(kind: &'static str, tenant: &str) -> Self {
        let mut members = BTreeMap::from([("kind", Value::from(kind)), ("v", Value::from(1))]);
        if tenant.is_empty() {
            return Self { tenant: None, members };
        }
        members.insert("tenant", Value::from(tenant));
        Self { tenant: Some(tenant.to_owned()), members }
    }

    /// Adds a member of text.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.members.insert(name, Value::String(value.into()));
        self
    }

    /// Adds an id or hash in lower-case hexadecimal.
    #[must_use]
    pub fn with_hex(self, name: &'static str, bytes: &[u8]) -> Self {
        self.with(name, hex::lower(bytes))
    }

    /// Adds a list of texts.
    #[must_use]
    pub fn with_list(mut self, name: &'static str, values: &[String]) -> Self {
        self.members.insert(name, Value::from(values));
        self
    }

    /// Whose event it is; `None` for the service's own.
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// The bytes of event `n`.
    pub fn bytes(mut self, n: u64, at: UnixMillis, attestation: &'static str) -> Vec<u8> {
        self.members.insert("n", Value::String(n.to_string()));
        self.members.insert("at", Value::String(at.0.to_string()));
        self.members.insert("attestation", Value::from(attestation));
        serde_json::to_vec(&self.members).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_canonical() {
        let event = Event::new("key_created", "acme").with("key", "AbCd0123").with_hex("id", &[10]);
        assert_eq!(
            String::from_utf8(event.bytes(7, UnixMillis(9), "simulated")).unwrap(),
            r#"{"at":"9","attestation":"simulated","id":"0a","key":"AbCd0123","kind":"key_created","n":"7","tenant":"acme","v":1}"#
        );
    }
}
