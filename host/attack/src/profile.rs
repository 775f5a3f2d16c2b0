//! How a gateway is used: what a runner needs to know to attack anyone's.
//!
//! Owns the profile file. Invariant: a feature that a profile does not name is not there, and
//! cases that need it are shown as not applicable.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::template::Error;

/// The profile of a folder that `postern init` has written.
pub const INIT: &str = include_str!("../../../tests/conformance/attacks/profiles/init.yaml");

/// One gateway.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// What it describes, in one sentence.
    pub note: String,
    /// `Host` of the route that leads to the runner.
    pub authority: String,
    /// Start of the paths that the caller may ask for; the runner appends `/ID`.
    pub path: String,
    /// Method of requests without content.
    #[serde(default = "get")]
    pub read: String,
    /// Method of requests with content.
    #[serde(default = "post")]
    pub write: String,
    /// How a caller says who it is.
    pub caller: Caller,
    /// The field that names a credential.
    pub credential_header: Option<String>,
    /// A placeholder, with `{name}` where the name stands.
    pub placeholder: Option<String>,
    /// The beginning that gives a placeholder away.
    pub marker: Option<String>,
    /// What stands in a secret's place.
    #[serde(default = "redacted")]
    pub redacted: String,
    /// Answers are compared byte by byte; otherwise only what must not be in them counts.
    #[serde(default = "yes")]
    pub exact: bool,
    /// Stored credentials by the roles that cases use; `main` is needed.
    pub credentials: BTreeMap<String, Credential>,
    /// Names that must not work.
    #[serde(default)]
    pub names: Names,
    /// `Host` of another route, where the credential is not bound.
    pub other_authority: Option<String>,
    /// Most content that a request may have, in bytes.
    pub body_limit: Option<usize>,
    /// Fields that are for the gateway and for nobody else.
    #[serde(default)]
    pub never_forwarded: Vec<String>,
    /// Members of a refusal's JSON that differ from one to the next.
    #[serde(default = "varies")]
    pub varies: Vec<String>,
    /// What a refusal of each class looks like.
    pub refusals: BTreeMap<String, Refusal>,
    /// Capabilities that cases ask for by name.
    #[serde(default)]
    pub features: BTreeSet<String>,
    /// Why a feature or a role is not there; shown beside cases that need it.
    #[serde(default)]
    pub without: BTreeMap<String, String>,
}

/// A caller's own credential.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Caller {
    /// Field.
    pub header: String,
    /// Value, with `{key}` where the key stands.
    pub value: String,
    /// The key itself; or
    pub key: Option<String>,
    /// the environment variable that holds it.
    pub key_env: Option<String>,
}

/// A stored credential. Its value is a canary: made up, and given to the runner.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// What callers call it.
    pub name: String,
    /// The value.
    pub secret: String,
    /// The value that it had before.
    pub former: Option<String>,
    /// The request field that it is put into.
    pub header: Option<String>,
    /// That field's whole value, a template.
    pub rendered: Option<String>,
    /// Start of the paths that it is bound to, when it is another than the profile's.
    pub path: Option<String>,
}

/// Names that must not work, each for another reason and with the same answer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Names {
    /// Never stored.
    pub unknown: Option<String>,
    /// Another tenant's.
    pub foreign: Option<String>,
    /// Stored, and bound to another path, method or host.
    pub elsewhere: Option<String>,
}

/// What a class of refusals looks like.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Refusal {
    /// Statuses; none means any from 400.
    pub status: Vec<u16>,
    /// The `code` of the problem document.
    pub code: Option<String>,
}

fn get() -> String {
    "GET".into()
}

fn post() -> String {
    "POST".into()
}

fn redacted() -> String {
    "[REDACTED]".into()
}

fn varies() -> Vec<String> {
    vec!["decision".into()]
}

fn yes() -> bool {
    true
}

impl Profile {
    /// Reads a profile and checks that it says enough.
    pub fn read(text: &str) -> Result<Self, String> {
        let profile: Self = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        if !profile.credentials.contains_key("main") {
            return Err("credentials: expected one called main".into());
        }
        let short = profile
            .credentials
            .iter()
            .find(|(role, credential)| credential.secret.len() < 12 && *role != "short");
        if let Some((role, _)) = short {
            return Err(format!("credentials.{role}.secret: expected at least 12 bytes"));
        }
        profile.caller.key().map_err(|error| error.to_string())?;
        Ok(profile)
    }

    /// Whether a feature is there.
    pub fn has(&self, feature: &str) -> bool {
        self.features.contains(feature)
    }

    /// The caller's field as a line of a header section.
    pub(crate) fn caller_lines(&self) -> Result<Vec<u8>, Error> {
        let (name, value) = self.caller_field()?;
        Ok(format!("{name}: {value}\r\n").into_bytes())
    }

    /// The caller's field.
    pub(crate) fn caller_field(&self) -> Result<(String, String), Error> {
        let value = self.caller.value.replace("{key}", &self.caller.key()?);
        Ok((self.caller.header.clone(), value))
    }
}

impl Caller {
    /// The key, from the file or from the environment.
    pub fn key(&self) -> Result<String, Error> {
        let from_env = || {
            let name = self.key_env.as_ref()?;
            std::env::var(name).ok().filter(|key| !key.is_empty())
        };
        let absent = || match &self.key_env {
            Some(name) => format!("key of the caller: set {name}"),
            None => "key of the caller: expected key or key_env".to_owned(),
        };
        self.key.clone().or_else(from_env).ok_or_else(|| Error::Absent(absent()))
    }
}

impl Credential {
    /// Start of the paths that it is bound to.
    pub fn path<'a>(&'a self, profile: &'a Profile) -> &'a str {
        self.path.as_deref().unwrap_or(&profile.path)
    }
}

#[cfg(test)]
pub(crate) fn sample() -> Profile {
    Profile::read(
        "note: a sample
authority: api.test
path: /api
caller: {header: x-key, value: '{key}', key: k1}
credential_header: x-tap-credential
placeholder: '<CREDENTIAL:{name}>'
credentials:
  main: {name: slack, secret: s3cret/value+1, header: authorization, rendered: 'Bearer ${secret}'}
refusals: {misplaced: {status: [400], code: placeholder_misplaced}}
",
    )
    .unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_without_a_key_or_a_main_credential_is_refused() {
        let base = "note: x
authority: a
path: /a
refusals: {}
";
        let key = "caller: {header: a, value: '{key}', key: k}\n";
        let main = "credentials: {main: {name: a, secret: 0123456789ab}}\n";
        assert!(Profile::read(&format!("{base}{key}{main}")).is_ok());
        for (caller, credentials, said) in [
            ("caller: {header: a, value: b}\n", main, "expected key or key_env"),
            ("caller: {header: a, value: b, key_env: NO_SUCH_VARIABLE_1}\n", main, "set NO_SUCH"),
            (key, "credentials: {}\n", "one called main"),
            (key, "credentials: {main: {name: a, secret: short}}\n", "at least 12 bytes"),
            (key, "credentials: {main: {name: a}}\n", "secret"),
        ] {
            let error = Profile::read(&format!("{base}{caller}{credentials}")).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
