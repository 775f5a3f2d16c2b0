//! What a token endpoint mints: values of its answer that become credentials.
//!
//! A binding with `mints` says which strings of the answer are secrets, and where each of
//! them may be used from then on. A minted credential is called `<name>-<26 characters>`,
//! and has the binding that [`Binding::minted`] makes of its rule: a *family*, which names
//! no one credential but all that are called so.
//!
//! Invariant: no other binding of its authority covers a request that a minting one covers,
//! unless it mints the same: its answer would pass as it came. And everything that a minted value may be used for is part of the binding, and of
//! the hash, under which the request to the token endpoint was made; an operator has stored
//! that binding.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Binding, CanonicalSite, Site, SiteWire, methods, paths};
use crate::authority::Authority;
use crate::config::{ConfigError, Problems, units};
use crate::path::PathPattern;
use crate::placeholder::Name;

/// One value of an answer, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MintWire {
    /// JSON pointer (RFC 6901) to the string in the answer. Required.
    pub value: Option<String>,
    /// Minted credentials are called `<name>-<26 characters>`. Required, at most 36 characters.
    pub name: Option<String>,
    /// The one upstream that the value may go to. Required.
    pub authority: Option<String>,
    /// Methods that may carry it. Required, at least one.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Paths, as in a binding. Required, at least one.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Where it stands in the request. Required; no signature, which needs several values.
    pub site: Option<SiteWire>,
    /// Longest life. Default `1h`, whole seconds, limit `720h`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_life: Option<String>,
    /// JSON pointer to the number of seconds that it lives, where that is less. Default
    /// `/expires_in`; with `again` none, since that is said of the access token (RFC 6749 5.1).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expires_in: Option<String>,
    /// What this value is exchanged for is minted by the same rules: a refresh token.
    /// Default false.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub again: bool,
}

/// One value of an answer that is minted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mint {
    value: String,
    name: Name,
    authority: Authority,
    methods: Vec<String>,
    paths: Vec<PathPattern>,
    site: Site,
    max_life: Duration,
    expires_in: Option<String>,
    again: bool,
}

impl Mint {
    /// JSON pointer to the string in the answer.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// How the names of such credentials begin.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Longest life.
    pub fn max_life(&self) -> Duration {
        self.max_life
    }

    /// JSON pointer to the number of seconds that it lives.
    pub fn expires_in(&self) -> Option<&str> {
        self.expires_in.as_deref()
    }
}

/// Rules of one binding.
pub(super) const MOST_MINTS: usize = 8;
const DEFAULT_LIFE: Duration = Duration::from_secs(3600);
const LONGEST_LIFE: Duration = Duration::from_secs(720 * 3600);
const EXPIRES_IN: &str = "/expires_in";
/// 128 bits in base32.
const RANDOM: usize = 26;
/// With a hyphen and the random part it is a name.
const LONGEST_NAME: usize = 36;
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The name of one credential of the family `name`.
pub fn minted_name(name: &Name, random: [u8; 16]) -> String {
    let mut left = u128::from_be_bytes(random);
    let mut text = format!("{}-", name.as_str());
    for _ in 0..RANDOM {
        let index = usize::try_from(left & 31).unwrap_or_default();
        text.push(ALPHABET.get(index).copied().map_or('a', char::from));
        left >>= 5;
    }
    text
}

/// Whether `credential` is called as one of the family `name`.
pub(super) fn is_minted(name: &Name, credential: &Name) -> bool {
    family_of(credential) == Some(name.as_str())
}

/// The family that a credential is called as one of; there may be none of this name.
pub(crate) fn family_of(credential: &Name) -> Option<&str> {
    let (family, random) = credential.as_str().rsplit_once('-')?;
    let made = random.len() == RANDOM && random.bytes().all(|byte| ALPHABET.contains(&byte));
    made.then_some(family)
}

impl Binding {
    /// What its answers mint; empty for all but token endpoints.
    pub fn mints(&self) -> &[Mint] {
        &self.mints
    }

    /// Whether it is for all credentials that are called so, and not for one.
    pub fn is_family(&self) -> bool {
        self.family
    }

    /// The binding of what one of its rules mints.
    pub fn minted(&self, mint: &Mint) -> Self {
        let binding = Self {
            credential: mint.name.clone(),
            family: true,
            tenant: self.tenant.clone(),
            authority: mint.authority.clone(),
            methods: mint.methods.clone(),
            paths: mint.paths.clone(),
            site: mint.site.clone(),
            max_occurrences: 1,
            websocket: None,
            canary: None,
            mints: if mint.again { self.mints.clone() } else { Vec::new() },
            hash: [0; 32],
        };
        binding.hashed()
    }
}

/// `bindings` and those of all that they mint, each once; that is what a gateway knows. Both
/// modules read their bindings with this.
pub(crate) fn with_minted(bindings: Vec<Binding>, problems: &mut Problems) -> Vec<Binding> {
    let mut all = bindings;
    let minted: Vec<Binding> =
        all.iter().flat_map(|one| one.mints.iter().map(|m| one.minted(m))).collect();
    for family in minted {
        let same_name = all.iter().find(|one| one.family && one.credential == family.credential);
        match same_name {
            None => all.push(family),
            Some(known) if known.hash == family.hash => {}
            Some(_) => {
                let path = format!("bindings.mints ({})", family.credential.as_str());
                problems.note(path, "expected the same rules wherever this name is minted");
            }
        }
    }
    check_endpoints(&all, problems);
    all
}

/// Notes every binding that a request for a token endpoint could be made under without that its
/// answer is read as one: of the same authority, with a method and a path in common. That one
/// of the two is chosen first is no help, since a path may be spelt in more ways than a binding.
fn check_endpoints(bindings: &[Binding], problems: &mut Problems) {
    for (index, one) in bindings.iter().enumerate() {
        let meets = |other: &&Binding| one.mints != other.mints && one.meets(other);
        if let Some(other) = bindings.iter().take(index).find(meets) {
            let (one, other) = (one.credential.as_str(), other.credential.as_str());
            let expected =
                format!("expected other methods or paths than those of {other}, or the same mints");
            problems.note(format!("bindings ({one})"), &expected);
        }
    }
}

impl Binding {
    fn meets(&self, other: &Self) -> bool {
        let method = self.methods.iter().any(|method| other.methods.contains(method));
        let path = |mine: &PathPattern| other.paths.iter().any(|theirs| mine.meets(theirs));
        self.authority == other.authority && method && self.paths.iter().any(path)
    }
}

#[derive(Serialize)]
pub(super) struct CanonicalMint<'a> {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    again: bool,
    authority: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<&'a str>,
    max_life: String,
    methods: &'a [String],
    name: &'a str,
    paths: Vec<&'a str>,
    site: CanonicalSite<'a>,
    value: &'a str,
}

impl<'a> CanonicalMint<'a> {
    pub(super) fn of(mint: &'a Mint) -> Self {
        Self {
            again: mint.again,
            authority: mint.authority.to_string(),
            expires_in: mint.expires_in.as_deref(),
            max_life: life(mint.max_life),
            methods: &mint.methods,
            name: mint.name.as_str(),
            paths: mint.paths.iter().map(PathPattern::as_str).collect(),
            site: CanonicalSite::of(&mint.site),
            value: &mint.value,
        }
    }
}

fn life(life: Duration) -> String {
    format!("{}s", life.as_secs())
}

impl From<&Mint> for MintWire {
    fn from(mint: &Mint) -> Self {
        Self {
            value: Some(mint.value.clone()),
            name: Some(mint.name.as_str().to_owned()),
            authority: Some(mint.authority.to_string()),
            methods: mint.methods.clone(),
            paths: mint.paths.iter().map(|path| path.as_str().to_owned()).collect(),
            site: Some(SiteWire::from(&mint.site)),
            max_life: Some(life(mint.max_life)),
            expires_in: mint.expires_in.clone(),
            again: mint.again,
        }
    }
}

impl TryFrom<MintWire> for Mint {
    type Error = ConfigError;

    fn try_from(wire: MintWire) -> Result<Self, ConfigError> {
        let mut problems = Problems::default();
        let value = problems.required("value", wire.value);
        let value = value.and_then(|text| problems.scalar("value", pointer(text)));
        let name = problems.required("name", wire.name).and_then(|text| {
            let name = Name::new(&text).filter(|_| text.len() <= LONGEST_NAME);
            problems.scalar("name", name.ok_or("expected [a-z0-9][a-z0-9_-]{0,35}"))
        });
        let authority = problems.required("authority", wire.authority).and_then(|text| {
            let parsed = Authority::parse(&text).ok_or("expected a host or host:port");
            problems.scalar("authority", parsed)
        });
        let methods = methods(wire.methods, &mut problems);
        let paths = paths(wire.paths, &mut problems);
        let site = problems.required("site", wire.site);
        let site = site.and_then(|wire| problems.part("site", Site::try_from(wire)));
        if site.as_ref().is_some_and(|site| site.signing().is_some()) {
            problems.note("site.style", "expected no signature: a minted credential has one value");
        }
        let max_life = problems.scalar("max_life", max_life(wire.max_life.as_deref()));
        let default = (!wire.again).then(|| EXPIRES_IN.to_owned());
        let expires_in = wire.expires_in.or(default).map(pointer).transpose();
        let expires_in = problems.scalar("expires_in", expires_in);
        let read = (|| {
            Some(Self {
                value: value?,
                name: name?,
                authority: authority?,
                methods,
                paths,
                site: site?,
                max_life: max_life?,
                expires_in: expires_in?,
                again: wire.again,
            })
        })();
        problems.finish(read)
    }
}

fn pointer(text: String) -> Result<String, &'static str> {
    let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let fits = text.starts_with('/') && text.len() <= 256 && printable;
    fits.then_some(text).ok_or("expected a JSON pointer that begins with /")
}

fn max_life(text: Option<&str>) -> Result<Duration, &'static str> {
    let life = text.map_or(Ok(DEFAULT_LIFE), units::duration)?;
    let whole = life.subsec_nanos() == 0 && !life.is_zero();
    if whole && life <= LONGEST_LIFE { Ok(life) } else { Err("expected 1s to 720h, whole seconds") }
}

/// All rules of a binding; each value and each name once.
pub(super) fn read(written: Vec<MintWire>, problems: &mut Problems) -> Vec<Mint> {
    if written.len() > MOST_MINTS {
        problems.note("mints", "expected at most 8");
    }
    let mints: Vec<Mint> = problems.list("mints", written, Mint::try_from);
    for (index, mint) in mints.iter().enumerate() {
        let mut earlier = mints.iter().take(index);
        if earlier.any(|other| other.value == mint.value || other.name == mint.name) {
            problems.note(format!("mints[{index}]"), "expected a value and a name of its own");
        }
    }
    mints
}

#[cfg(test)]
mod tests {
    use super::super::Wire;
    use super::*;

    fn wire() -> Wire {
        serde_json::from_value(serde_json::json!({
            "credential": "oauth", "tenant": "acme", "authority": "auth.test",
            "methods": ["POST"], "paths": ["/token"],
            "site": {"style": "basic_password"},
            "mints": [
                {"value": "/access_token", "name": "access", "authority": "api.test:443",
                 "methods": ["POST", "GET"], "paths": ["/api/**"], "site": {"style": "bearer"}},
                {"value": "/refresh_token", "name": "refresh", "authority": "auth.test",
                 "methods": ["POST"], "paths": ["/token"], "site": {"form": "refresh_token"},
                 "max_life": "24h", "again": true},
            ],
        }))
        .unwrap()
    }

    fn problems(change: impl FnOnce(&mut Vec<MintWire>)) -> Vec<String> {
        let mut wire = wire();
        change(&mut wire.mints);
        let error = Binding::try_from(wire).unwrap_err();
        error.problems.into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn rules_are_part_of_the_canonical_form_with_their_defaults() {
        let binding = Binding::try_from(wire()).unwrap();
        let expected = r#"{"authority":"auth.test","credential":"oauth","max_occurrences":1,"methods":["POST"],"mints":[{"authority":"api.test","expires_in":"/expires_in","max_life":"3600s","methods":["GET","POST"],"name":"access","paths":["/api/**"],"site":{"header":"authorization","style":"bearer"},"value":"/access_token"},{"again":true,"authority":"auth.test","max_life":"86400s","methods":["POST"],"name":"refresh","paths":["/token"],"site":{"form":"refresh_token"},"value":"/refresh_token"}],"paths":["/token"],"site":{"header":"authorization","style":"basic_password"},"tenant":"acme"}"#;
        assert_eq!(String::from_utf8(binding.canonical()).unwrap(), expected);
        let again: Wire = serde_json::from_str(expected).unwrap();
        assert_eq!(Binding::try_from(again).as_ref(), Ok(&binding));
        assert_eq!(Binding::try_from(Wire::from(&binding)), Ok(binding));
    }

    #[test]
    fn a_family_is_for_every_credential_that_is_called_so_and_survives_a_round_trip() {
        let binding = Binding::try_from(wire()).unwrap();
        let [access, refresh] = binding.mints() else { panic!("two rules") };
        let (access, refresh) = (binding.minted(access), binding.minted(refresh));
        let expected = r#"{"authority":"api.test","max_occurrences":1,"methods":["GET","POST"],"minted":"access","paths":["/api/**"],"site":{"header":"authorization","style":"bearer"},"tenant":"acme"}"#;
        assert_eq!(String::from_utf8(access.canonical()).unwrap(), expected);
        for family in [&access, &refresh] {
            let wire: Wire = serde_json::from_slice(&family.canonical()).unwrap();
            assert_eq!(Binding::try_from(wire).as_ref(), Ok(family));
        }
        // What a refresh token is exchanged for has the bindings of what it came with.
        assert_eq!(refresh.minted(&refresh.mints()[0]), access);
        assert_eq!(refresh.minted(&refresh.mints()[1]), refresh);
        let name = minted_name(&Name::new("access").unwrap(), [0xa7; 16]);
        let called = |text: &str| access.is_of(&Name::new(text).unwrap());
        assert!(called(&name), "{name}");
        for other in ["access", "access-", "oauth", &name[1..], &name[..30], &format!("{name}a")] {
            assert!(!Name::new(other).is_some_and(|name| access.is_of(&name)), "{other}");
        }
        assert!(!refresh.is_of(&Name::new(&name).unwrap()));
        assert!(!called("access-abcdefghijklmnopqrstuvwxy1"));
    }

    #[test]
    fn names_differ_with_every_bit_that_they_are_made_of() {
        let name = Name::new("a").unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for bit in 0..128 {
            seen.insert(minted_name(&name, (1_u128 << bit).to_be_bytes()));
        }
        assert_eq!(seen.len(), 128);
        assert!(seen.iter().all(|text| Name::new(text).is_some_and(|it| is_minted(&name, &it))));
    }

    #[test]
    fn every_problem_of_a_rule_is_reported() {
        assert_eq!(problems(|mints| mints[0] = MintWire::default()).len(), 6);
        assert_eq!(problems(|mints| mints[0].value = Some("access".into())), ["mints[0].value"]);
        assert_eq!(problems(|mints| mints[0].name = Some("a".repeat(37))), ["mints[0].name"]);
        for life in ["0s", "721h", "1500ms", "1d"] {
            let found = problems(|mints| mints[1].max_life = Some(life.into()));
            assert_eq!(found, ["mints[1].max_life"], "{life}");
        }
        assert_eq!(problems(|mints| mints[1].name = Some("access".into())), ["mints[1]"]);
        assert_eq!(problems(|mints| mints[1].value = mints[0].value.clone()), ["mints[1]"]);
        let signed = SiteWire { style: Some(crate::binding::Style::OAuth1), ..SiteWire::default() };
        assert_eq!(problems(|mints| mints[0].site = Some(signed)), ["mints[0].site.style"]);
        let nine: fn(&mut Vec<MintWire>) = |mints| {
            *mints = (0..9)
                .map(|n| MintWire {
                    name: Some(format!("n{n}")),
                    value: Some(format!("/v{n}")),
                    ..mints[0].clone()
                })
                .collect();
        };
        assert_eq!(problems(nine), ["mints"]);
    }

    #[test]
    fn one_name_has_the_same_rules_everywhere() {
        let first = Binding::try_from(wire()).unwrap();
        let again = Wire { credential: Some("other".into()), ..wire() };
        let mut problems = Problems::default();
        let all =
            with_minted(vec![first.clone(), Binding::try_from(again).unwrap()], &mut problems);
        assert_eq!(all.len(), 4);
        assert!(problems.finish(Some(())).is_ok());
        let mut other = wire();
        other.mints.truncate(1);
        other.mints[0].paths = vec!["/other".into()];
        let mut problems = Problems::default();
        with_minted(vec![first, Binding::try_from(other).unwrap()], &mut problems);
        let found = problems.finish(Some(())).unwrap_err().problems;
        assert_eq!(found[0].path, "bindings.mints (access)");
    }
}
