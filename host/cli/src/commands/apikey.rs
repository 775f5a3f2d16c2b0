//! `postern apikey`: keys are made here and shown once.
//!
//! Invariant: only id, salt and hash leave this process over the network; the whole key
//! goes to stdout and nowhere else.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_core::api_key::{ALPHABET, ID_LENGTH, KeyId, SECRET_LENGTH, StoredKey, assemble};
use postern_core::identity::{ROLES, TRUST_LEVELS};
use postern_core::scopes;
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::failure::{Failure, Outcome, Sort};
use crate::operator::{Operator, OperatorArgs};
use crate::output::{Output, table};
use crate::{random, span};

/// API keys.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Make a key and print it, once.
    Create(CreateArgs),
    /// List keys: ids, owners, scopes, last use; never a key.
    List(ListArgs),
    /// Make a successor; the old key works for the overlap.
    Rotate(RotateArgs),
    /// End a key now.
    Revoke(RevokeArgs),
    /// List the scopes there are.
    Scopes,
}

/// Make a key.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern apikey create --user ada --organisation acme --agent triage-bot
  postern apikey create --user ada --organisation acme --agent triage-bot \\
      --scope documents:read --scope documents:write --expires 30d --platform cursor
  postern apikey create --user ada --organisation acme --agent triage-bot --clearance internal

Without --scope the key may read documents and nothing else. `postern apikey scopes` lists
what there is.")]
pub struct CreateArgs {
    #[command(flatten)]
    operator: OperatorArgs,
    /// User the key belongs to.
    #[arg(long)]
    user: String,
    /// Organisation in which the user's roles hold.
    #[arg(long)]
    organisation: String,
    /// Agent that will present it.
    #[arg(long)]
    agent: String,
    /// Scope, repeated for several.
    #[arg(long, value_parser = scope, default_values = scopes::DEFAULT)]
    scope: Vec<String>,
    /// Role in the organisation, repeated for several.
    #[arg(long, value_parser = ROLES)]
    role: Vec<String>,
    /// Trust level.
    #[arg(long, default_value = "observer", value_parser = TRUST_LEVELS)]
    trust: String,
    /// Clearance: a level of the framework in the gate's `barriers`.
    #[arg(long, value_parser = clearance)]
    clearance: Option<String>,
    /// Ends by itself after this long.
    #[arg(long, value_parser = span::parse, default_value = "90d")]
    expires: Duration,
    /// Connector platform, such as cursor or claude-api.
    #[arg(long)]
    platform: Option<String>,
    /// What the key starts with; one of the gate's prefixes.
    #[arg(long, default_value = "pk_")]
    prefix: String,
}

/// List keys.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern apikey list
  postern apikey list --json | jq '.keys[] | select(.state == \"active\")'")]
pub struct ListArgs {
    #[command(flatten)]
    operator: OperatorArgs,
}

/// Make a successor.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern apikey rotate AbCd0123 --overlap 1h
  postern apikey rotate AbCd0123 --overlap 7d --expires 30d

The new key takes over user, scopes and trust, and lives anew. While both work, the old one
does not count towards the 10 active keys of its user; until it ends, the new one cannot be
rotated itself.")]
pub struct RotateArgs {
    #[command(flatten)]
    operator: OperatorArgs,
    /// Id of the key to replace: the eight characters after its prefix.
    #[arg(value_parser = key_id)]
    id: String,
    /// How long the old key goes on working.
    #[arg(long, value_parser = span::parse, default_value = "1h")]
    overlap: Duration,
    /// The new key ends by itself after this long.
    #[arg(long, value_parser = span::parse, default_value = "90d")]
    expires: Duration,
    /// What the new key starts with.
    #[arg(long, default_value = "pk_")]
    prefix: String,
}

/// End a key now.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern apikey revoke AbCd0123")]
pub struct RevokeArgs {
    #[command(flatten)]
    operator: OperatorArgs,
    /// Id of the key: the eight characters after its prefix.
    #[arg(value_parser = key_id)]
    id: String,
}

/// Runs one of them.
pub fn run(command: Command, out: Output) -> Outcome {
    match command {
        Command::Create(args) => create(&args, out),
        Command::List(args) => list(&args, out),
        Command::Rotate(args) => rotate(&args, out),
        Command::Revoke(args) => revoke(&args, out),
        Command::Scopes => catalogue(out),
    }
}

pub(super) fn scope(name: &str) -> Result<String, String> {
    match scopes::find(name) {
        Some(scope) => Ok(scope.name.to_owned()),
        None => Err("expected a scope of the catalogue (postern apikey scopes)".to_owned()),
    }
}

/// Which levels there are is the gate's to know: a name that is none of them is refused there.
fn clearance(name: &str) -> Result<String, String> {
    let fits = (1..=64).contains(&name.len()) && !name.chars().any(char::is_control);
    fits.then(|| name.to_owned())
        .ok_or_else(|| "expected 1 to 64 bytes without control characters".to_owned())
}

pub(super) fn key_id(text: &str) -> Result<String, String> {
    let id = KeyId::new(text.as_bytes());
    id.map(|id| id.as_str().to_owned())
        .ok_or_else(|| "expected eight letters and digits".to_owned())
}

/// A new key or invite, and what the service learns of it.
pub(super) struct Made {
    id: KeyId,
    whole: Secret,
    stored: StoredKey,
}

impl Made {
    /// Draws one.
    pub(super) fn new(prefix: &str) -> Outcome<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if prefix.is_empty() || prefix.len() > 32 || !prefix.bytes().all(allowed) {
            return Err(Failure::usage("expected a prefix of 1 to 32 letters, digits, _ and -"));
        }
        let id = KeyId::new(&*base62::<ID_LENGTH>()?).ok_or_else(|| Failure::bug("key id"))?;
        let whole = assemble(prefix, &id, &*base62::<SECRET_LENGTH>()?);
        let whole = whole.ok_or_else(|| Failure::bug("key"))?;
        let stored = StoredKey::of(random::bytes()?, &whole);
        Ok(Self { id, whole, stored })
    }

    /// Its public part.
    pub(super) fn id(&self) -> &str {
        self.id.as_str()
    }

    /// What the service is sent.
    pub(super) fn record(&self) -> Value {
        json!({
            "id": self.id.as_str(),
            "salt": B64.encode(self.stored.salt),
            "hash": B64.encode(self.stored.hash),
        })
    }

    /// The key itself, for stdout.
    pub(super) fn text(&self) -> Outcome<&str> {
        str::from_utf8(self.whole.expose()).or_bug("key")
    }
}

/// `N` base62 digits, each equally likely: bytes of 248 and more are drawn again.
fn base62<const N: usize>() -> Outcome<Zeroizing<[u8; N]>> {
    let mut digits = Zeroizing::new([0; N]);
    let mut filled = 0;
    while filled < N {
        let drawn = Zeroizing::new(random::bytes::<64>()?);
        for byte in drawn.iter().filter(|byte| **byte < 248).take(N - filled) {
            digits[filled] = ALPHABET[usize::from(byte % 62)];
            filled += 1;
        }
    }
    Ok(digits)
}

fn create(args: &CreateArgs, out: Output) -> Outcome {
    let operator = Operator::load(&args.operator)?;
    let made = Made::new(&args.prefix)?;
    let end = span::now().after(args.expires);
    let mut record = made.record();
    record["grant"] = json!({
        "user": args.user,
        "organisation": args.organisation,
        "agent": args.agent,
        "scopes": args.scope,
        "roles": args.role,
        "trust": args.trust,
        "clearance": args.clearance,
        "platform": args.platform,
        "not_after": end.0,
    });
    operator.service()?.signed(&operator, "POST", "/api/v1/keys", Some(&record))?;
    out.note(&format!(
        "key {} for {}: {}; ends {}; shown once, keep it now",
        made.id.as_str(),
        args.agent,
        args.scope.join(" "),
        span::shown(end)
    ));
    print_key(&made, json!({"scopes": args.scope, "ends": end.0}), out)
}

fn print_key(made: &Made, mut document: Value, out: Output) -> Outcome {
    let key = made.text()?;
    document["id"] = json!(made.id.as_str());
    document["key"] = json!(key);
    out.result(&document, key)
}

fn rotate(args: &RotateArgs, out: Output) -> Outcome {
    let operator = Operator::load(&args.operator)?;
    let made = Made::new(&args.prefix)?;
    let mut record = made.record();
    let end = span::now().after(args.expires);
    record["overlap_seconds"] = json!(args.overlap.as_secs());
    record["not_after"] = json!(end.0);
    let path = format!("/api/v1/keys/{}/rotate", args.id);
    operator.service()?.signed(&operator, "POST", &path, Some(&record))?;
    out.note(&format!(
        "key {} takes the place of {}, which works for {} s more; ends {}; shown once, keep it now",
        made.id.as_str(),
        args.id,
        args.overlap.as_secs(),
        span::shown(end)
    ));
    print_key(&made, json!({"replaces": args.id, "ends": end.0}), out)
}

fn revoke(args: &RevokeArgs, out: Output) -> Outcome {
    let operator = Operator::load(&args.operator)?;
    let path = format!("/api/v1/keys/{}/revoke", args.id);
    operator.service()?.signed(&operator, "POST", &path, None)?;
    let text = format!("revoked {}; every gateway refuses it within seconds", args.id);
    out.result(&json!({"revoked": args.id}), &text)
}

fn list(args: &ListArgs, out: Output) -> Outcome {
    let operator = Operator::load(&args.operator)?;
    let document = operator.service()?.signed(&operator, "GET", "/api/v1/keys", None)?;
    let keys = document.get("keys").and_then(Value::as_array).cloned().unwrap_or_default();
    let header = ["id", "state", "user", "agent", "platform", "scopes", "ends", "last used"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(keys.iter().map(row));
    out.result(&document, &table(&rows))
}

fn row(key: &Value) -> Vec<String> {
    let text = |name: &str| key.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    let time = |name: &str| {
        let at = key.get(name).and_then(Value::as_u64);
        at.map_or_else(|| "-".to_owned(), |at| span::shown(UnixMillis(at)))
    };
    let scopes = key.get("scopes").and_then(Value::as_array);
    let scopes: Vec<&str> = scopes.into_iter().flatten().filter_map(Value::as_str).collect();
    let words = ["id", "state", "user", "agent", "platform"].map(text);
    let mut row = words.to_vec();
    row.extend([scopes.join(" "), time("not_after"), time("last_used")]);
    row
}

fn catalogue(out: Output) -> Outcome {
    let mut rows = vec![["scope", "risk", "what it allows"].map(str::to_owned).to_vec()];
    for scope in scopes::CATALOGUE {
        let risk = format!("{:?}", scope.risk).to_lowercase();
        let note = scope.note.map(|note| format!(" ({note})")).unwrap_or_default();
        rows.push(vec![scope.name.to_owned(), risk, format!("{}{note}", scope.label)]);
    }
    let document = json!({"scopes": scopes::CATALOGUE, "default": scopes::DEFAULT});
    out.result(&document, &table(&rows))
}

#[cfg(test)]
mod tests {
    use postern_core::api_key::PresentedKey;

    use super::*;

    #[test]
    fn a_made_key_is_one_that_the_gate_accepts() {
        let made = Made::new("tp_").unwrap();
        let presented = PresentedKey::parse(made.whole.expose(), &["tp_".to_owned()]).unwrap();
        assert_eq!(presented.id().as_str(), made.id.as_str());
        assert!(presented.matches(&made.stored));
    }

    #[test]
    fn the_record_does_not_hold_the_key() {
        let made = Made::new("pk_").unwrap();
        let secret = &made.text().unwrap()[12..];
        assert!(!made.record().to_string().contains(secret));
    }

    #[test]
    fn every_digit_of_base62_is_drawn() {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            seen.extend(base62::<43>().unwrap().iter().copied());
        }
        assert_eq!(seen.len(), 62);
    }

    #[test]
    fn a_bad_prefix_is_refused() {
        for prefix in ["", "a b", "ключ_", &"x".repeat(33)] {
            assert!(Made::new(prefix).is_err(), "{prefix}");
        }
    }
}
