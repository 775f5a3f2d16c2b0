//! Evidence: which key to seal to, and who vouches for it (RFC 9334: the Evidence, and
//! its appraisal by a Relying Party).
//!
//! Owns the evidence document, runtime data R and the appraisal of kind `sim`; hardware's is
//! in [`hardware`]. Knows no transport. Invariant: an [`Evidence`] comes only from
//! [`appraise`], so a key that was not vouched for cannot be sealed to.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer, SigningKey};
use postern_core::config::ConfigError;
use postern_core::config::key_service::Evidence as Accepted;
use postern_core::time::UnixMillis;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

pub mod challenge;
pub mod hardware;

use self::hardware::{Hardware, Members};
use crate::identity;
use crate::json::{self, Unexpected};

/// Largest evidence document.
pub const MAX_DOCUMENT: usize = 32 * 1024;
const SIM_LABEL: &[u8] = b"crp/1 sim\0";
/// Seconds by which evidence may seem to start in the future.
const SKEW_S: u64 = 60;

/// Whose word is taken: a development key's or hardware's, never the one for the other.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Kind `sim` under this development key.
    Simulated([u8; 32]),
    /// What hardware has to show.
    Hardware(Box<Hardware>),
}

impl Trust {
    /// From a module's configuration, with every problem that it has.
    ///
    /// # Errors
    /// Keys that are none, and kinds that this module was built without.
    pub fn of(evidence: &Accepted) -> Result<Self, ConfigError> {
        match evidence {
            Accepted::Simulated { key } => Ok(Self::Simulated(*key)),
            Accepted::Hardware(pins) => Ok(Self::Hardware(Box::new(Hardware::of(pins)?))),
        }
    }
}

/// The newest that was seen so far: evidence does not go back behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Newest epoch.
    pub epoch: u64,
    /// Highest sequence number of a release set.
    pub releases: u64,
}

/// A key to seal to that was vouched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    kex: [u8; 32],
    runtime_hash: [u8; 32],
    epoch: u64,
    not_after: u64,
    signing_key: [u8; 32],
    challenge: Option<[u8; 32]>,
    path: Vec<challenge::Hash>,
    releases: u64,
}

/// Why evidence is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Larger than [`MAX_DOCUMENT`].
    #[error("evidence is larger than 32 KiB")]
    TooLarge,
    /// Not the strict JSON that is specified, or no version and suite spoken here.
    #[error("evidence is malformed")]
    Malformed,
    /// Of a kind that the configuration does not accept.
    #[error("evidence is of a kind that is not accepted")]
    Kind,
    /// The signature does not verify.
    #[error("evidence is not signed by the configured key")]
    Signature,
    /// Not valid now.
    #[error("evidence is not valid at this time")]
    Time,
    /// From an epoch that is over.
    #[error("evidence is of an epoch that is over")]
    Epoch,
    /// Does not answer our challenge.
    #[error("evidence does not answer the challenge")]
    Challenge,
    /// Hardware's evidence, or what authorises it, breaks a rule.
    #[error("evidence is refused: {0}")]
    Attestation(postern_attest::Refusal),
}

impl Evidence {
    /// The X25519 key to seal to.
    pub fn kex(&self) -> &[u8; 32] {
        &self.kex
    }

    /// SHA-256 of the exact bytes of R.
    pub fn runtime_hash(&self) -> &[u8; 32] {
        &self.runtime_hash
    }

    /// Number of the epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Sequence number of the release set behind it; 0 for kind `sim`.
    pub fn releases(&self) -> u64 {
        self.releases
    }

    /// The service's Ed25519 key of this epoch.
    pub fn signing_key(&self) -> &[u8; 32] {
        &self.signing_key
    }

    /// Whether it may be sealed to at `now`.
    pub fn is_valid(&self, now: UnixMillis) -> bool {
        now.seconds() < self.not_after
    }

    /// Whether it was made for `nonce`, alone or together with others.
    pub fn answers(&self, nonce: &[u8]) -> Result<(), Refusal> {
        let expected = challenge::root(challenge::leaf(nonce), &self.path);
        if self.challenge == Some(expected) { Ok(()) } else { Err(Refusal::Challenge) }
    }

    /// Whether both speak for the same keys and epoch.
    pub fn same_keys(&self, other: &Self) -> bool {
        (self.kex, self.signing_key, self.epoch) == (other.kex, other.signing_key, other.epoch)
    }
}

/// Appraises an evidence document.
pub fn appraise(
    document: &[u8],
    trust: &Trust,
    seen: Seen,
    now: UnixMillis,
) -> Result<Evidence, Refusal> {
    appraise_noting(document, trust, seen, now, &mut |_| ())
}

/// Appraises an evidence document and tells the name of each check that has passed.
pub fn appraise_noting(
    document: &[u8],
    trust: &Trust,
    seen: Seen,
    now: UnixMillis,
    passed: &mut dyn FnMut(&'static str),
) -> Result<Evidence, Refusal> {
    if document.len() > MAX_DOCUMENT {
        return Err(Refusal::TooLarge);
    }
    let document = Document::parse(document).map_err(|Unexpected| Refusal::Malformed)?;
    let runtime_hash: [u8; 32] = Sha256::digest(&document.runtime).into();
    let (end, releases) = match trust {
        Trust::Simulated(key) => {
            document.simulated(key, &runtime_hash)?;
            passed("signature of the development key (SIMULATED)");
            (u64::MAX, 0)
        }
        Trust::Hardware(pins) => {
            pins.appraise(&document.members, &runtime_hash, seen.releases, now, passed)?
        }
    };
    let runtime = Runtime::parse(&document.runtime).map_err(|Unexpected| Refusal::Malformed)?;
    runtime.acceptable(seen.epoch, now)?;
    passed("runtime data: well-formed, valid now, of a current epoch");
    Ok(Evidence {
        kex: runtime.kex,
        runtime_hash,
        epoch: runtime.epoch,
        // Good for as long as everything behind it is.
        not_after: runtime.not_after.min(end),
        signing_key: runtime.signing_key,
        challenge: runtime.challenge,
        path: document.path,
        releases,
    })
}

fn simulated_statement(runtime_hash: &[u8; 32]) -> Vec<u8> {
    [SIM_LABEL, runtime_hash].concat()
}

/// `{"v":1,"kind":…,"runtime":…,…}`: with `sim`, or the members of the kinds it names, and
/// `path` where it answers several challenges.
struct Document<'a> {
    runtime: Vec<u8>,
    path: Vec<challenge::Hash>,
    members: Members<'a>,
}

impl<'a> Document<'a> {
    fn parse(text: &'a [u8]) -> Result<Self, Unexpected> {
        let (mut version, mut kind, mut runtime, mut path) = (None, None, None, Vec::new());
        let mut members = Members::default();
        let mut reader = json::Reader::new(text);
        reader.object(|name, value| {
            match name {
                "v" => version = Some(value.number()?),
                "kind" => kind = Some(value.string()?),
                "runtime" => runtime = Some(bytes(value.string()?)?),
                "path" => path = challenge::read(&bytes(value.string()?)?).ok_or(Unexpected)?,
                _ => members.member(name, value)?,
            }
            Ok(())
        })?;
        reader.end()?;
        if version != Some(1) || !members.are_of(kind.ok_or(Unexpected)?) {
            return Err(Unexpected);
        }
        Ok(Self { runtime: runtime.ok_or(Unexpected)?, path, members })
    }

    /// Whether the development key has signed it.
    fn simulated(&self, key: &[u8; 32], runtime_hash: &[u8; 32]) -> Result<(), Refusal> {
        let signature = self.members.simulated.ok_or(Refusal::Kind)?;
        if identity::verify(key, &simulated_statement(runtime_hash), &signature) {
            Ok(())
        } else {
            Err(Refusal::Signature)
        }
    }
}

fn bytes(text: &str) -> Result<Vec<u8>, Unexpected> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Unexpected)
}

fn exactly<const N: usize>(text: &str) -> Result<[u8; N], Unexpected> {
    bytes(text)?.try_into().map_err(|_| Unexpected)
}

/// Runtime data: what the evidence speaks for. Seconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// X25519 public key of the epoch.
    pub kex: [u8; 32],
    /// Ed25519 public key of the epoch.
    pub signing_key: [u8; 32],
    /// Number of the epoch.
    pub epoch: u64,
    /// Not before this second.
    pub not_before: u64,
    /// Not at or after this second.
    pub not_after: u64,
    /// SHA-256 of the nonce of a challenge.
    pub challenge: Option<[u8; 32]>,
}

impl Runtime {
    /// R: RFC 8785 JSON of `{"crp":{…}}`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let challenge = self.challenge.map_or_else(String::new, |hash| {
            format!("\"challenge\":\"{}\",", URL_SAFE_NO_PAD.encode(hash))
        });
        format!(
            concat!(
                "{{\"crp\":{{{}\"epoch\":\"{}\",\"exp\":\"{}\",\"kex\":\"{}\",\"nbf\":\"{}\",",
                "\"sig\":\"{}\",\"suites\":[\"0001\"],\"v\":[1]}}}}"
            ),
            challenge,
            self.epoch,
            self.not_after,
            URL_SAFE_NO_PAD.encode(self.kex),
            self.not_before,
            URL_SAFE_NO_PAD.encode(self.signing_key),
        )
        .into_bytes()
    }

    fn acceptable(&self, last_epoch: u64, now: UnixMillis) -> Result<(), Refusal> {
        let now = now.seconds();
        if self.not_before > now.saturating_add(SKEW_S) || now >= self.not_after {
            return Err(Refusal::Time);
        }
        // One epoch back is still served while the next one starts.
        if self.epoch < last_epoch.saturating_sub(1) {
            return Err(Refusal::Epoch);
        }
        Ok(())
    }

    fn parse(text: &[u8]) -> Result<Self, Unexpected> {
        let mut parts = Parts::default();
        let mut reader = json::Reader::new(text);
        reader.object(|name, value| {
            if name != "crp" {
                return Err(Unexpected);
            }
            value.object(|name, value| parts.member(name, value))
        })?;
        reader.end()?;
        parts.whole()
    }
}

#[derive(Default)]
struct Parts {
    kex: Option<[u8; 32]>,
    signing_key: Option<[u8; 32]>,
    epoch: Option<u64>,
    not_before: Option<u64>,
    not_after: Option<u64>,
    challenge: Option<[u8; 32]>,
    suite: bool,
    version: bool,
}

impl Parts {
    fn member(&mut self, name: &str, value: &mut json::Reader<'_>) -> Result<(), Unexpected> {
        match name {
            "kex" => self.kex = Some(exactly(value.string()?)?),
            "sig" => self.signing_key = Some(exactly(value.string()?)?),
            "challenge" => self.challenge = Some(exactly(value.string()?)?),
            "epoch" => self.epoch = json::decimal(value.string()?),
            "nbf" => self.not_before = json::decimal(value.string()?),
            "exp" => self.not_after = json::decimal(value.string()?),
            "suites" => value.array(|item| {
                self.suite |= item.string()? == "0001";
                Ok(())
            })?,
            "v" => value.array(|item| {
                self.version |= item.number()? == 1;
                Ok(())
            })?,
            _ => return Err(Unexpected),
        }
        Ok(())
    }

    fn whole(self) -> Result<Runtime, Unexpected> {
        if !(self.suite && self.version) {
            return Err(Unexpected);
        }
        Ok(Runtime {
            kex: self.kex.ok_or(Unexpected)?,
            signing_key: self.signing_key.ok_or(Unexpected)?,
            epoch: self.epoch.ok_or(Unexpected)?,
            not_before: self.not_before.ok_or(Unexpected)?,
            not_after: self.not_after.ok_or(Unexpected)?,
            challenge: self.challenge,
        })
    }
}

/// Makes an evidence document of kind `sim`, signed by the development key of `seed`.
pub fn simulate(runtime: &[u8], seed: &Zeroizing<[u8; 32]>) -> Vec<u8> {
    let runtime_hash: [u8; 32] = Sha256::digest(runtime).into();
    let signature = SigningKey::from_bytes(seed).sign(&simulated_statement(&runtime_hash));
    format!(
        "{{\"v\":1,\"kind\":\"sim\",\"runtime\":\"{}\",\"sim\":\"{}\"}}",
        URL_SAFE_NO_PAD.encode(runtime),
        URL_SAFE_NO_PAD.encode(signature.to_bytes()),
    )
    .into_bytes()
}

/// The document for one of several challenges: `document` with its path.
pub fn with_path(document: &[u8], path: &[challenge::Hash]) -> Vec<u8> {
    match document.strip_prefix(b"{\"v\":1,") {
        Some(rest) if !path.is_empty() => {
            let path = URL_SAFE_NO_PAD.encode(path.as_flattened());
            [format!("{{\"v\":1,\"path\":\"{path}\",").as_bytes(), rest].concat()
        }
        _ => document.to_vec(),
    }
}

/// Runtime data of any bytes; what parses and is in our own form comes out the same.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz_runtime(bytes: &[u8]) {
    if let Ok(runtime) = Runtime::parse(bytes) {
        assert_eq!(Runtime::parse(&runtime.to_bytes()), Ok(runtime));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixture::{self, DEV_SEED, NOW};

    fn seen(epoch: u64) -> Seen {
        Seen { epoch, releases: 0 }
    }

    fn judge(document: &[u8]) -> Result<Evidence, Refusal> {
        appraise(document, &fixture::trust(), seen(7), NOW)
    }

    fn changed(from: &str, to: &str) -> Vec<u8> {
        let runtime = String::from_utf8(fixture::runtime().to_bytes()).unwrap();
        assert!(runtime.contains(from), "{from}");
        simulate(runtime.replace(from, to).as_bytes(), &Zeroizing::new(DEV_SEED))
    }

    #[test]
    fn simulated_evidence_of_the_configured_key_is_accepted() {
        let evidence = judge(&fixture::document()).unwrap();
        assert_eq!(evidence.kex(), fixture::epoch_keys().public());
        assert_eq!(evidence.epoch(), 7);
    }

    #[test]
    fn evidence_of_another_development_key_is_refused() {
        let document = fixture::document();
        let other = Trust::Simulated([9; 32]);
        assert_eq!(appraise(&document, &other, seen(0), NOW), Err(Refusal::Signature));
        let signed_by_other = simulate(&fixture::runtime().to_bytes(), &Zeroizing::new([9; 32]));
        assert_eq!(judge(&signed_by_other), Err(Refusal::Signature));
    }

    #[test]
    fn evidence_that_is_not_strict_json_is_malformed() {
        let good = String::from_utf8(fixture::document()).unwrap();
        let rows = [
            good.clone() + "\n",
            good.clone() + "{}",
            good.replace("{\"v\":1,", "{\"v\":1,\"v\":1,"),
            good.replace("{\"v\":1,", "{\"v\":1,\"more\":1,"),
            good.replace("{\"v\":1,", "{ \"v\":1,"),
            good.replace("\"v\":1,", "\"v\":2,"),
            good.replace("\"v\":1,", ""),
            good.replace("\"v\":1,", "\"v\":01,"),
            good.replace("\"sim\",", "\"\\u0073im\","),
            good.replace("\",\"sim\":\"", "=\",\"sim\":\""),
            good.replace("\"v\":1,", "\"v\":[[[[[[1]]]]]],"),
            String::new(),
        ];
        for row in rows {
            assert_eq!(judge(row.as_bytes()), Err(Refusal::Malformed), "{row}");
        }
        assert_eq!(judge(&vec![b' '; MAX_DOCUMENT + 1]), Err(Refusal::TooLarge));
        let other = good.replace("\"sim\",", "\"maa\",");
        assert_eq!(judge(other.as_bytes()), Err(Refusal::Malformed));
    }

    #[test]
    fn evidence_for_several_challenges_answers_each_by_its_path() {
        let nonces = [[1; 32], [2; 32], [3; 32]];
        let (value, paths) = challenge::together(&nonces.map(|nonce| challenge::leaf(&nonce)));
        let runtime = Runtime { challenge: Some(value), ..fixture::runtime() };
        let document = simulate(&runtime.to_bytes(), &Zeroizing::new(DEV_SEED));
        for (nonce, path) in nonces.iter().zip(&paths) {
            let evidence = judge(&with_path(&document, path)).unwrap();
            assert_eq!(evidence.answers(nonce), Ok(()));
            assert_eq!(evidence.answers(&[9; 32]), Err(Refusal::Challenge));
            let without = judge(&document).unwrap();
            assert_eq!(without.answers(nonce), Err(Refusal::Challenge));
        }
        let long = with_path(&document, &[[0; 32]; 11]);
        assert_eq!(judge(&long), Err(Refusal::Malformed));
    }

    #[test]
    fn runtime_data_that_is_not_as_specified_is_malformed() {
        for (from, to) in [
            ("{\"crp\"", "{\"crq\""),
            ("\"epoch\":\"7\"", "\"epoch\":\"07\""),
            ("\"epoch\":\"7\"", "\"epoch\":7"),
            ("\"epoch\":\"7\"", "\"epoch\":\"7\",\"epoch\":\"8\""),
            ("\"epoch\":\"7\",", ""),
            ("\"epoch\":\"7\"", "\"epoch\":\"99999999999999999999\""),
            ("\"suites\":[\"0001\"]", "\"suites\":[\"0002\"]"),
            ("\"suites\":[\"0001\"]", "\"suites\":[]"),
            ("\"v\":[1]", "\"v\":[2]"),
            ("\"v\":[1]", "\"v\":[1],\"x\":1"),
        ] {
            assert_eq!(judge(&changed(from, to)), Err(Refusal::Malformed), "{from} -> {to}");
        }
    }

    #[test]
    fn runtime_data_in_another_order_is_other_evidence_with_the_same_keys() {
        let one = judge(&fixture::document()).unwrap();
        let two =
            judge(&changed("\"suites\":[\"0001\"],\"v\":[1]", "\"v\":[1],\"suites\":[\"0001\"]"))
                .unwrap();
        assert!(one.same_keys(&two));
        assert_ne!(one.runtime_hash(), two.runtime_hash());
    }

    #[test]
    fn evidence_is_valid_from_a_minute_before_nbf_until_exp() {
        let runtime = fixture::runtime();
        let at = |seconds: u64| {
            appraise(&fixture::document(), &fixture::trust(), seen(7), UnixMillis(seconds * 1000))
                .map(|_| ())
        };
        assert_eq!(at(runtime.not_before - 61), Err(Refusal::Time));
        assert_eq!(at(runtime.not_before - 60), Ok(()));
        assert_eq!(at(runtime.not_after - 1), Ok(()));
        assert_eq!(at(runtime.not_after), Err(Refusal::Time));
    }

    #[test]
    fn an_epoch_may_go_back_by_one_and_no_further() {
        let after =
            |epoch| appraise(&fixture::document(), &fixture::trust(), seen(epoch), NOW).map(|_| ());
        assert_eq!(after(8), Ok(()));
        assert_eq!(after(9), Err(Refusal::Epoch));
    }

    #[test]
    fn a_challenge_is_answered_only_by_its_own_evidence() {
        let mut runtime = fixture::runtime();
        runtime.challenge = Some(Sha256::digest(b"sixteen bytes ok").into());
        let evidence = judge(&simulate(&runtime.to_bytes(), &Zeroizing::new(DEV_SEED))).unwrap();
        assert_eq!(evidence.answers(b"sixteen bytes ok"), Ok(()));
        assert_eq!(evidence.answers(b"another nonce 16"), Err(Refusal::Challenge));
        assert_eq!(judge(&fixture::document()).unwrap().answers(b""), Err(Refusal::Challenge));
    }
}
