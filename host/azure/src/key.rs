//! Which key of which vault.
//!
//! Invariant: the managed identity's token is good for every vault that the identity may use,
//! so a [`KeyRef`] names a host of Azure's own and no other, unless tests allow any.

use std::fmt;

/// Longest URL of a vault.
pub const MAX_VAULT: usize = 120;

/// Hosts of vaults, and what a token for them is for.
const SERVICES: [(&str, &str); 2] = [
    (".vault.azure.net", "https://vault.azure.net"),
    (".managedhsm.azure.net", "https://managedhsm.azure.net"),
];

/// A key's version in a vault: `https://VAULT/keys/NAME/VERSION`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyRef {
    vault: String,
    name: String,
    version: String,
    resource: &'static str,
}

impl KeyRef {
    /// Reads a key identifier. The version is required: with the newest one, whoever may make
    /// versions would choose the key.
    #[must_use]
    pub fn parse(kid: &str, any_host: bool) -> Option<Self> {
        let (host, rest) = kid.strip_prefix("https://")?.split_once('/')?;
        let (name, version) = rest.strip_prefix("keys/")?.split_once('/')?;
        let part = |text: &str, most| {
            let byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            (1..=most).contains(&text.len()) && text.bytes().all(byte)
        };
        if !is_host(host) || !part(name, 127) || !part(version, 32) {
            return None;
        }
        let resource = resource(host).or(any_host.then_some(SERVICES[0].1))?;
        let owned = str::to_owned;
        Some(Self { vault: host.to_owned(), name: owned(name), version: owned(version), resource })
    }

    /// The vault's DNS name.
    #[must_use]
    pub fn host(&self) -> &str {
        self.vault.split_once(':').map_or(&self.vault, |(host, _)| host)
    }

    /// What the identity's token has to be for.
    #[must_use]
    pub fn resource(&self) -> &'static str {
        self.resource
    }
}

impl fmt::Display for KeyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}/keys/{}/{}", self.vault, self.name, self.version)
    }
}

fn resource(host: &str) -> Option<&'static str> {
    let own = SERVICES.iter().find(|(suffix, _)| {
        host.strip_suffix(suffix).is_some_and(|label| !label.is_empty() && !label.contains('.'))
    });
    own.map(|(_, resource)| *resource)
}

/// A name in lower case, with a port for tests.
fn is_host(host: &str) -> bool {
    let byte = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b':')
    };
    host.len() <= MAX_VAULT && host.bytes().all(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_with_its_version_at_a_host_of_azure() {
        for kid in [
            "https://contoso.vault.azure.net/keys/kek/0123abcd",
            "https://contoso-hsm.managedhsm.azure.net/keys/kek/0123abcd",
        ] {
            assert_eq!(KeyRef::parse(kid, false).unwrap().to_string(), kid);
        }
        let hsm = KeyRef::parse("https://a.managedhsm.azure.net/keys/k/1", false).unwrap();
        assert_eq!(hsm.resource(), "https://managedhsm.azure.net");
        assert_eq!(
            KeyRef::parse("https://localhost:1/keys/k/1", true).unwrap().host(),
            "localhost"
        );
    }

    #[test]
    fn other_hosts_would_get_the_token_and_are_refused() {
        for kid in [
            "http://contoso.vault.azure.net/keys/kek/1",
            "https://contoso.vault.azure.net/keys/kek",
            "https://contoso.vault.azure.net/keys/kek/",
            "https://contoso.vault.azure.net/keys//1",
            "https://contoso.vault.azure.net/keys/kek/1/2",
            "https://contoso.vault.azure.net/keys/kek/1?x",
            "https://contoso.vault.azure.net:8443/keys/kek/1",
            "https://contoso.vault.azure.net@evil.example/keys/kek/1",
            "https://evil.example/keys/kek/1",
            "https://contoso.vault.azure.net.evil.example/keys/kek/1",
            "https://evilvault.azure.net/keys/kek/1",
            "https://a.b.vault.azure.net/keys/kek/1",
            "https://.vault.azure.net/keys/kek/1",
            "https://localhost:1/keys/kek/1",
        ] {
            assert_eq!(KeyRef::parse(kid, false), None, "{kid}");
        }
    }
}
