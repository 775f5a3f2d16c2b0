//! A server of policy bundles, as OPA's bundle plugin asks one, in good and bad ways.
//!
//! Every bundle allows the methods of its data. What a gate must not take allows `DELETE`, so
//! that taking it would show.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer, SigningKey};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use postern_rego::bundle::{self, Files, signature};
use serde::Deserialize;
use serde_json::json;

use crate::faults::Outcome;

/// So often it has to be asked before everything that polls has seen what it says: each of two
/// workers has then ended one question at least.
pub const OFTEN: usize = 4;

/// What the server says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// 404.
    #[default]
    Nothing,
    /// `GET` is allowed: serial 5, revision `r5`.
    First,
    /// `GET` and `POST` are allowed: serial 6, revision `r6`.
    Second,
    /// 304 to who has something, 500 to anybody else.
    Unchanged,
    /// The connection closes.
    Down,
    /// No answer comes.
    Slow,
    /// 500, with a bundle.
    Error,
    /// 3 MiB.
    Huge,
    /// A bundle without its last bytes.
    Truncated,
    /// Text that is no archive.
    Rubbish,
    /// Without a signature.
    Unsigned,
    /// Signed by another key.
    WrongKey,
    /// Changed after it was signed.
    Forged,
    /// With a file that leads out of the archive.
    Traversing,
    /// Serial 4.
    Older,
    /// Serial 5 again, with other rules.
    Same,
    /// Without a serial.
    Unnumbered,
    /// With rules that do not parse.
    Broken,
}

/// The server: `/policy/NAME.tar.gz` for each scenario, since gateways of earlier ones still ask.
#[derive(Default)]
pub struct Policies(Mutex<BTreeMap<String, State>>);

#[derive(Clone, Copy, Default)]
struct State {
    said: Said,
    asked: usize,
}

impl Policies {
    /// It says this to a scenario's gateway from now on.
    pub fn publish(&self, scenario: &str, said: Said) {
        self.states().insert(short(scenario).to_owned(), State { said, asked: 0 });
    }

    /// How often that has asked since then.
    pub fn asked(&self, scenario: &str) -> usize {
        self.states().get(short(scenario)).map_or(0, |state| state.asked)
    }

    /// Whether nothing answers a question for this path now.
    pub fn is_silent(&self, path: &str) -> bool {
        let states = self.states();
        of(path).and_then(|name| states.get(name)).is_some_and(|state| state.said == Said::Slow)
    }

    /// What it answers to who has `unless`; `None` for a path that is not its own.
    pub fn exchange(&self, path: &str, unless: Option<&[u8]>) -> Option<Outcome> {
        let name = of(path)?;
        let mut states = self.states();
        let state = states.entry(name.to_owned()).or_default();
        state.asked = state.asked.saturating_add(1);
        let tag = format!("\"{:?}\"", state.said);
        Some(match state.said {
            Said::Nothing => Outcome::Answer(404, Vec::new()),
            Said::Down => Outcome::HangUp,
            Said::Slow => Outcome::Silence,
            Said::Error => Outcome::Answer(500, content(Said::Second)),
            Said::Unchanged if unless.is_some() => Outcome::Answer(304, Vec::new()),
            Said::Unchanged => Outcome::Answer(500, Vec::new()),
            _ if unless == Some(tag.as_bytes()) => Outcome::Answer(304, Vec::new()),
            said => Outcome::Tagged(tag, content(said)),
        })
    }

    fn states(&self) -> MutexGuard<'_, BTreeMap<String, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn of(path: &str) -> Option<&str> {
    path.strip_prefix("/policy/")?.strip_suffix(".tar.gz")
}

/// The name without its folder.
fn short(scenario: &str) -> &str {
    scenario.rsplit('/').next().unwrap_or(scenario)
}

const RULE: &str =
    "package envoy.authz\n\nallow if input.attributes.request.http.method in data.methods\n";

fn content(said: Said) -> Vec<u8> {
    let (serial, methods, rule) = match said {
        Said::First => (Some(5), json!(["GET"]), RULE.to_owned()),
        Said::Second => (Some(6), json!(["GET", "POST"]), RULE.to_owned()),
        Said::Older => (Some(4), all(), RULE.to_owned()),
        Said::Same => (Some(5), all(), RULE.to_owned()),
        Said::Unnumbered => (None, all(), RULE.to_owned()),
        Said::Broken => (Some(9), all(), "package envoy.authz\n\nallow if {\n".to_owned()),
        _ => (Some(9), all(), RULE.to_owned()),
    };
    let mut manifest = json!({"revision": "r9", "roots": [""], "rego_version": 1});
    if let Some(serial) = serial {
        manifest["revision"] = json!(format!("r{serial}"));
        manifest["metadata"] = json!({"serial": serial});
    }
    let mut files = Files::new();
    files.insert(bundle::MANIFEST.to_owned(), manifest.to_string().into_bytes());
    files.insert(bundle::DATA.to_owned(), json!({"methods": methods}).to_string().into_bytes());
    files.insert("authz.rego".to_owned(), rule.into_bytes());
    if said == Said::Traversing {
        files.insert(PLAIN.to_owned(), b"package other\n".to_vec());
    }
    if said != Said::Unsigned {
        sign(&mut files, if said == Said::WrongKey { 10 } else { 9 });
    }
    if said == Said::Forged {
        files.insert(bundle::DATA.to_owned(), json!({"methods": ["DELETE"]}).to_string().into());
    }
    let mut packed = bundle::pack(&files).expect("a bundle");
    match said {
        Said::Huge => packed.resize(3 << 20, 0),
        Said::Truncated => packed.truncate(packed.len().saturating_sub(20)),
        Said::Traversing => packed = traversing(&packed),
        Said::Rubbish => packed = b"{\"this is\": \"no archive\"}".to_vec(),
        _ => {}
    }
    packed
}

/// A name that is as long as one that leads out.
const PLAIN: &str = "up/other.rego";

/// The same archive with the name of one file changed, as no tool of ours packs it.
fn traversing(packed: &[u8]) -> Vec<u8> {
    let mut archive = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut archive).expect("an archive");
    let header = archive.chunks_mut(512).find(|block| block[1..].starts_with(PLAIN.as_bytes()));
    let header = header.expect("the file's header");
    header[1..3].copy_from_slice(b"..");
    // The checksum (POSIX ustar): the sum of all bytes, with blanks in its own place.
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&archive).expect("memory");
    encoder.finish().expect("memory")
}

fn all() -> serde_json::Value {
    json!(["GET", "POST", "DELETE"])
}

fn sign(files: &mut Files, seed: u8) {
    let payload = signature::payload(files).expect("digests");
    let text = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", text("{\"alg\":\"EdDSA\"}"), text(&payload.to_string()));
    let signature = SigningKey::from_bytes(&[seed; 32]).sign(signed.as_bytes());
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()));
    let document = json!({"signatures": [token]}).to_string();
    files.insert(bundle::SIGNATURES.to_owned(), document.into_bytes());
}
