//! `postern keys rotate identity`: new keys for the modules of a gateway.
//!
//! Invariant: a new key is in a file of mode 0600 before the service is told of it, and the old
//! ones stay in a file until somebody deletes it: whatever ends half-way is done again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use ed25519_dalek::SigningKey;
use postern_core::hex;
use postern_core::secret::Secret;
use postern_crp::evidence::Evidence;
use postern_crp::message::{Answer, Message, enrol};
use postern_crp::{Identity, Role};
use postern_keys::renewal::Renewal;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use crate::failure::{Failure, Outcome, Sort};
use crate::output::Output;
use crate::service::{Endpoint, Sender, Service};
use crate::{random, span};

/// Largest file that is read here.
const MAX_FILE: usize = 64 << 10;
const EXPECTED: &str = "expected the output of postern enrol";
/// The modules' keys as their environment names them.
const KEYS: [(&str, Role); 3] = [
    ("POSTERN_GATE_KEY", Role::Gate),
    ("POSTERN_CREDENTIAL_KEY", Role::Credential),
    ("POSTERN_AUDIT_KEY", Role::Audit),
];

/// Give a gateway's modules new keys, by the word of the ones in use.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern keys rotate identity --gateway ./gateway
  postern keys rotate identity --gateway ./gateway --overlap 10m

Run where the gateway's files are: no operator is needed. gateway.env then holds the new keys and
gateway.previous.env the old ones, which the service takes until the overlap ends. Start the
gateway's workers again with the new environment before that. Where it ends half-way, run it
again.")]
pub struct Args {
    /// Folder of the gateway, as `postern enrol` wrote it.
    #[arg(long, value_name = "DIR")]
    gateway: PathBuf,
    /// For how long the old keys are taken beside the new ones; a day at most.
    #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = span::parse)]
    overlap: Duration,
    /// Where the service is, if not where the gateway's files say.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// `gateway.json`, as far as it is needed here.
#[derive(Deserialize)]
struct Wire {
    gateway_id: String,
    url: String,
    danger_allow_simulated: Option<Simulated>,
    evidence: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Simulated {
    key: String,
}

/// Renews the three identities of a gateway.
pub fn run(args: &Args, out: Output) -> Outcome {
    let overlap = u32::try_from(args.overlap.as_secs()).ok();
    let overlap = overlap.filter(|overlap| *overlap <= postern_keys::renewal::LONGEST_OVERLAP_S);
    let overlap = overlap.ok_or_else(|| Failure::usage("--overlap: expected a day at most"))?;
    let dir = &args.gateway;
    let (endpoint, gateway) = endpoint(dir, args.url.as_deref())?;
    let (now, next) = (dir.join("gateway.env"), dir.join("gateway.next.env"));
    let old = Environment::read(&now)?;
    let begun = if next.exists() { Some(Environment::read(&next)?) } else { None };
    let new = old.another(&next, begun.as_ref())?;
    let service = Service::new(&endpoint)?;
    let evidence = service.evidence()?;
    for (name, role) in KEYS {
        let renewing =
            Renewing { old: old.key(name)?, new: new.key(name)?, gateway, role, overlap };
        renewing.done(&service, &evidence)?;
    }
    let previous = dir.join("gateway.previous.env");
    postern_files::write_private(&previous, old.0.as_bytes()).or_environment("cannot write")?;
    std::fs::rename(&next, &now).or_environment("cannot write gateway.env")?;
    let document = json!({"gateway_id": hex::lower(&gateway), "overlap_seconds": overlap});
    let text = "gateway.env holds new keys: start the gateway's workers again with them; the old \
                ones are in gateway.previous.env and end with the overlap";
    out.result(&document, text)
}

fn endpoint(dir: &Path, url: Option<&str>) -> Outcome<(Endpoint, [u8; 16])> {
    let read = |name: &str| {
        let path = dir.join(name);
        postern_files::read_bounded(&path, MAX_FILE).or_environment(path.display())
    };
    let wire: Wire = serde_json::from_slice(&read("gateway.json")?).or_environment(EXPECTED)?;
    let key = |simulated: Simulated| B64.decode(simulated.key).ok()?.try_into().ok();
    let endpoint = Endpoint {
        url: url.map_or(wire.url, str::to_owned),
        ca: String::from_utf8(read("keys-ca.pem")?).or_environment("keys-ca.pem")?,
        simulated: wire.danger_allow_simulated.and_then(key),
        evidence: wire.evidence,
    };
    let gateway = hex::read(wire.gateway_id.as_bytes());
    Ok((endpoint, gateway.ok_or_else(|| Failure::environment(EXPECTED))?))
}

/// The environment of the gateway's process: `NAME=value` lines.
struct Environment(Zeroizing<String>);

impl Environment {
    fn read(path: &Path) -> Outcome<Self> {
        let bytes = postern_files::read_private(path, MAX_FILE).map(Zeroizing::new);
        let bytes = bytes.or_environment(path.display())?;
        let text = str::from_utf8(&bytes).or_environment(EXPECTED)?;
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// The same with other keys for the modules, written to `path`: those of a hand-over that
    /// was `begun` before, or new ones. What else has changed since then stays changed.
    fn another(&self, path: &Path, begun: Option<&Self>) -> Outcome<Self> {
        let mut text = Zeroizing::new(String::with_capacity(self.0.len().saturating_mul(2)));
        for line in self.0.lines() {
            let name = line.split('=').next().unwrap_or_default();
            if KEYS.iter().any(|(key, _)| *key == name) {
                let seed = match begun.and_then(|begun| begun.value(name)) {
                    Some(seed) => seed.to_owned(),
                    None => B64.encode(*Zeroizing::new(random::bytes::<32>()?)),
                };
                let seed = Zeroizing::new(seed);
                text.push_str(name);
                text.push('=');
                text.push_str(&seed);
            } else {
                text.push_str(line);
            }
            text.push('\n');
        }
        postern_files::write_private(path, text.as_bytes()).or_environment("cannot write")?;
        Ok(Self(text))
    }

    fn value(&self, name: &str) -> Option<&str> {
        let mut values = self.0.lines().filter_map(|line| line.split_once('='));
        values.rfind(|(key, _)| *key == name).map(|(_, value)| value)
    }

    fn key(&self, name: &str) -> Outcome<Secret> {
        let seed = self.value(name).and_then(|value| B64.decode(value).ok()).map(Secret::new);
        let seed = seed.filter(|seed| seed.len() == 32);
        seed.ok_or_else(|| Failure::environment(format_args!("{name}: {EXPECTED}")))
    }
}

/// One of the three.
struct Renewing {
    old: Secret,
    new: Secret,
    gateway: [u8; 16],
    role: Role,
    overlap: u32,
}

impl Renewing {
    /// One type-2 exchange, signed by the new key, with the word of the old one.
    fn done(&self, service: &Service<'_>, evidence: &Evidence) -> Outcome {
        let identity = Identity::from_seed(&self.new).or_bug("seed")?;
        let seed: &[u8; 32] = self.old.expose().try_into().or_bug("seed")?;
        let (old, public_key) = (SigningKey::from_bytes(seed), identity.public_key());
        let terms = (self.overlap, span::now());
        let renewal = Renewal::sign(&old, self.gateway, self.role, &public_key, terms);
        let message = Message::Enrol(enrol::Request {
            join_token: renewal.written(),
            role: self.role,
            public_key,
            label: String::new(),
        });
        let sender = Sender { identity: &identity, id: [0; 16], tenant: "" };
        match service.exchange(evidence, &sender, &message)? {
            Answer::Enrol(answer) if answer.gateway_id == self.gateway => Ok(()),
            _ => Err(Failure::bug("the reply opened as another type")),
        }
    }
}
