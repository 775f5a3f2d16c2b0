//! Keys from the environment: base64url, 32 bytes each, `NEW,OLD` during a rotation.
//!
//! Invariant: an absent, short or malformed key is a [`ConfigError`], never an empty or
//! default key; no message repeats what the variable holds.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::config::ConfigError;
use crate::mac::{self, MacKeys};
use crate::permit::PermitKeys;
use crate::secret::Secret;

const COMMONS: &[u8] = b"postern gate commons/1\0";

/// The permit keys, from `POSTERN_PERMIT_KEY`.
pub fn permit_keys(text: Option<&str>) -> Result<PermitKeys, ConfigError> {
    mac_keys("POSTERN_PERMIT_KEY", text).map(PermitKeys::new)
}

/// The keys of what modules share through the host, from `POSTERN_SHARED_KEY`.
pub fn shared_keys(text: Option<&str>) -> Result<MacKeys, ConfigError> {
    mac_keys("POSTERN_SHARED_KEY", text)
}

/// The Ed25519 seed that a module signs with: the new one of `POSTERN_GATE_KEY`,
/// `POSTERN_CREDENTIAL_KEY` or `POSTERN_AUDIT_KEY`.
pub fn identity_seed(text: Option<&str>) -> Result<Secret, ConfigError> {
    keys("identity key", text).map(|(new, _)| new)
}

/// The keys of what workers of the gate leave one another ([`crate::commons`]), from
/// `POSTERN_GATE_KEY`: no other module can make such a value.
pub fn commons_keys(text: Option<&str>) -> Result<MacKeys, ConfigError> {
    let name = "POSTERN_GATE_KEY";
    let (new, old) = keys(name, text)?;
    let derived = |seed| {
        let seed = MacKeys::new(seed, None)?;
        Some(Secret::new(seed.sign(COMMONS, &[]).to_vec()))
    };
    let made = derived(new).and_then(|new| MacKeys::new(new, old.and_then(derived)));
    made.ok_or_else(|| ConfigError::one(path(name), EXPECTED))
}

/// A client's secret at an authorization server, from the variable `name`: 8 to 512 characters
/// of `VSCHAR` (RFC 6749, A.2).
pub fn client_secret(name: &str, text: Option<&str>) -> Result<Secret, ConfigError> {
    let text = text.ok_or_else(|| ConfigError::one(path(name), "missing"))?;
    let fits = (8..=512).contains(&text.len()) && text.bytes().all(|b| (0x20..=0x7e).contains(&b));
    let expected = || ConfigError::one(path(name), "expected 8 to 512 printable ASCII characters");
    fits.then(|| Secret::new(text.as_bytes().to_vec())).ok_or_else(expected)
}

fn mac_keys(name: &str, text: Option<&str>) -> Result<MacKeys, ConfigError> {
    let (new, old) = keys(name, text)?;
    MacKeys::new(new, old).ok_or_else(|| ConfigError::one(path(name), EXPECTED))
}

const EXPECTED: &str = "expected 32 bytes in base64url, or NEW,OLD";

fn path(name: &str) -> String {
    format!("environment.{name}")
}

fn keys(name: &str, text: Option<&str>) -> Result<(Secret, Option<Secret>), ConfigError> {
    let Some(text) = text else {
        return Err(ConfigError::one(path(name), "missing"));
    };
    let expected = || ConfigError::one(path(name), EXPECTED);
    let mut parts = text.split(',').map(|part| key(part.trim()));
    let new = parts.next().flatten().ok_or_else(expected)?;
    let old = match parts.next() {
        Some(old) => Some(old.ok_or_else(expected)?),
        None => None,
    };
    if parts.next().is_some() { Err(expected()) } else { Ok((new, old)) }
}

fn key(text: &str) -> Option<Secret> {
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
    // A key of one repeated byte is a template that nobody filled in.
    let filled_in = bytes.iter().any(|byte| Some(byte) != bytes.first());
    (bytes.len() == mac::LENGTH && filled_in).then(|| Secret::new(bytes.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(fill: u8) -> String {
        let mut bytes = [fill; 32];
        bytes[0] = 0xff;
        URL_SAFE_NO_PAD.encode(bytes)
    }

    #[test]
    fn one_key_or_two_are_taken() {
        assert!(shared_keys(Some(&text(1))).is_ok());
        assert!(permit_keys(Some(&format!("{},{}", text(1), text(2)))).is_ok());
        assert_eq!(identity_seed(Some(&text(3))).unwrap().len(), 32);
    }

    #[test]
    fn what_gates_leave_one_another_is_under_a_key_of_their_own() {
        let seal = |of: &MacKeys| of.sign(b"x", &[]);
        let shared = shared_keys(Some(&text(1))).unwrap();
        let old = commons_keys(Some(&text(1))).unwrap();
        let both = commons_keys(Some(&format!("{},{}", text(2), text(1)))).unwrap();
        assert_ne!(seal(&shared), seal(&old));
        assert!(both.verify(b"x", &[], &seal(&old)) && !old.verify(b"x", &[], &seal(&both)));
        let error = commons_keys(None).err();
        assert_eq!(error, Some(ConfigError::one("environment.POSTERN_GATE_KEY", "missing")));
    }

    #[test]
    fn a_client_secret_is_printable_and_no_message_repeats_it() {
        assert_eq!(client_secret("V", Some("pass word")).unwrap().len(), 9);
        let long = "x".repeat(513);
        for bad in ["", "seven77", "line\nbreak", "umlaut-äöü", &long] {
            let error = client_secret("V", Some(bad)).err();
            let expected = "expected 8 to 512 printable ASCII characters";
            assert_eq!(error, Some(ConfigError::one("environment.V", expected)));
        }
        let error = client_secret("V", None).err();
        assert_eq!(error, Some(ConfigError::one("environment.V", "missing")));
    }

    #[test]
    fn anything_else_is_a_config_error_that_repeats_nothing() {
        let zeros = URL_SAFE_NO_PAD.encode([0; 32]);
        let short = URL_SAFE_NO_PAD.encode([1; 31]);
        let three = format!("{0},{0},{0}", text(1));
        let half = format!("{},", text(1));
        for bad in ["", "x", &zeros, &short, &three, &half] {
            let error = shared_keys(Some(bad)).err();
            assert_eq!(error, Some(ConfigError::one("environment.POSTERN_SHARED_KEY", EXPECTED)));
        }
        let error = permit_keys(None).err();
        assert_eq!(error, Some(ConfigError::one("environment.POSTERN_PERMIT_KEY", "missing")));
    }
}
