//! `postern invite`: invites are made here and shown once; whoever has one exchanges it for a
//! capability token.
//!
//! Invariant: only id, salt and hash of an invite reach the key service from here, and the
//! invite reaches a gateway over TLS or on this machine alone.

mod accept;

use std::time::Duration;

use postern_core::api_key::INVITE_PREFIX;
use postern_core::identity::{ROLES, TRUST_LEVELS};
use postern_core::scopes;
use postern_core::time::UnixMillis;
use serde_json::{Value, json};

use super::apikey::{Made, key_id, scope};
use crate::failure::Outcome;
use crate::operator::{Operator, OperatorArgs};
use crate::output::{Output, table};
use crate::span;

/// Invites.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Make an invite to a document and print it, once.
    Create(Box<CreateArgs>),
    /// List invites: ids, documents, what became of them; never an invite.
    List(ListArgs),
    /// Take an invite back, and the token that it was exchanged for.
    Revoke(RevokeArgs),
    /// Show the key that signs such tokens, as the gate's configuration wants it.
    Issuer(IssuerArgs),
    /// Exchange an invite for a token, as whoever got it.
    Accept(accept::AcceptArgs),
}

/// Make an invite.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern invite create --document q3-report --organisation acme
  postern invite create --document q3-report --organisation acme --trust suggester \\
      --scope documents:read --scope comments:write --path /api/documents/q3-report --expires 2d

It is good for one exchange (postern invite accept). Without --scope the token may read
documents and nothing else; without --credential nothing is injected into its requests. The
gate refuses it wherever a scope rule does not say which document a request is about.")]
pub struct CreateArgs {
    #[command(flatten)]
    operator: OperatorArgs,
    /// The one document.
    #[arg(long, value_name = "ID")]
    document: String,
    /// Organisation in which roles hold.
    #[arg(long, value_name = "NAME")]
    organisation: String,
    /// Scope, repeated for several.
    #[arg(long, value_parser = scope, default_values = scopes::DEFAULT)]
    scope: Vec<String>,
    /// Role in the organisation, repeated for several.
    #[arg(long, value_parser = ROLES)]
    role: Vec<String>,
    /// Trust level.
    #[arg(long, default_value = "observer", value_parser = TRUST_LEVELS)]
    trust: String,
    /// Credential that may be used, repeated for several.
    #[arg(long, value_name = "NAME")]
    credential: Vec<String>,
    /// Host with an optional port, repeated for several. Default: any.
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,
    /// Method, repeated for several. Default: any.
    #[arg(long, value_name = "METHOD")]
    method: Vec<String>,
    /// Path with all below it, repeated for several. Default: any.
    #[arg(long, value_name = "PATH")]
    path: Vec<String>,
    /// How many times the token may be passed on.
    #[arg(long, value_name = "N", default_value = "0", value_parser = clap::value_parser!(u8).range(0..=7))]
    depth: u8,
    /// Life of the token, 30s to 24h; a gateway's max_life may make it shorter.
    #[arg(long, value_name = "SPAN", value_parser = span::parse, default_value = "15m")]
    token_life: Duration,
    /// Cannot be exchanged after this long, at most 90d.
    #[arg(long, value_name = "SPAN", value_parser = span::parse, default_value = "7d")]
    expires: Duration,
}

/// List invites.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern invite list
  postern invite list --json | jq '.invites[] | select(.state == \"open\")'
  postern invite issuer")]
pub struct ListArgs {
    #[command(flatten)]
    operator: OperatorArgs,
}

/// Show the key that signs the tokens, or change it.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern invite issuer
  postern invite issuer --next      # and put it beside the first, at every gate
  postern invite issuer --change    # then it signs; the first one's last token ends within 24h

If the first one may have been stolen: postern revocation add issuer-key KID")]
pub struct IssuerArgs {
    #[command(flatten)]
    operator: OperatorArgs,
    /// Show the key that signs after it, drawn now if there is none.
    #[arg(long, conflicts_with = "change")]
    next: bool,
    /// Let the next key sign from now on; the key before it is deleted.
    #[arg(long)]
    change: bool,
}

/// Take an invite back.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern invite revoke AbCd0123")]
pub struct RevokeArgs {
    #[command(flatten)]
    operator: OperatorArgs,
    /// Id of the invite: the eight characters after inv_.
    #[arg(value_parser = key_id)]
    id: String,
}

/// Runs one of them.
pub fn run(command: Command, out: Output) -> Outcome {
    match command {
        Command::Create(args) => create(&args, out),
        Command::List(args) => list(&args, out),
        Command::Revoke(args) => revoke(&args, out),
        Command::Issuer(args) => issuer(&args, out),
        Command::Accept(args) => accept::run(&args, out),
    }
}

fn create(args: &CreateArgs, out: Output) -> Outcome {
    let operator = Operator::load(&args.operator)?;
    let made = Made::new(INVITE_PREFIX)?;
    let end = span::now().after(args.expires);
    let mut record = made.record();
    record["not_after"] = json!(end.0);
    record["grant"] = json!({
        "document": args.document,
        "organisation": args.organisation,
        "scopes": args.scope,
        "roles": args.role,
        "trust": args.trust,
        "credentials": args.credential,
        "hosts": args.host,
        "methods": args.method,
        "paths": args.path,
        "depth": args.depth,
        "life_seconds": args.token_life.as_secs(),
    });
    operator.service()?.signed(&operator, "POST", "/api/v1/invites", Some(&record))?;
    out.note(&format!(
        "invite {} to {} as {}: {}; ends {}; shown once, keep it now",
        made.id(),
        args.document,
        args.trust,
        args.scope.join(" "),
        span::shown(end)
    ));
    let invite = made.text()?;
    let document = json!({
        "id": made.id(), "invite": invite, "document": args.document, "ends": end.0,
    });
    out.result(&document, invite)
}

fn list(args: &ListArgs, out: Output) -> Outcome {
    let operator = Operator::load(&args.operator)?;
    let document = operator.service()?.signed(&operator, "GET", "/api/v1/invites", None)?;
    let invites = document.get("invites").and_then(Value::as_array).cloned().unwrap_or_default();
    let header = ["id", "state", "document", "trust", "scopes", "ends", "token", "token ends"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(invites.iter().map(row));
    out.result(&document, &table(&rows))
}

fn row(invite: &Value) -> Vec<String> {
    let text = |name: &str| invite.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    let time = |name: &str| {
        let at = invite.get(name).and_then(Value::as_u64);
        at.map_or_else(|| "-".to_owned(), |at| span::shown(UnixMillis(at)))
    };
    let scopes = invite.get("scopes").and_then(Value::as_array);
    let scopes: Vec<&str> = scopes.into_iter().flatten().filter_map(Value::as_str).collect();
    let mut row = ["id", "state", "document", "trust"].map(text).to_vec();
    row.extend([scopes.join(" "), time("not_after"), text("token_id"), time("token_ends")]);
    row
}

fn revoke(args: &RevokeArgs, out: Output) -> Outcome {
    let operator = Operator::load(&args.operator)?;
    let path = format!("/api/v1/invites/{}/revoke", args.id);
    let document = operator.service()?.signed(&operator, "POST", &path, None)?;
    let text = match document.get("token").and_then(Value::as_str) {
        Some(_) => {
            format!("revoked {} and its token; every gateway refuses it within seconds", args.id)
        }
        None => format!("revoked {}", args.id),
    };
    out.result(&json!({"revoked": args.id, "token": document.get("token")}), &text)
}

fn issuer(args: &IssuerArgs, out: Output) -> Outcome {
    let operator = Operator::load(&args.operator)?;
    let (method, path) = match (args.next, args.change) {
        (true, _) => ("POST", "/api/v1/invites/issuer/next"),
        (_, true) => ("POST", "/api/v1/invites/issuer/change"),
        _ => ("GET", "/api/v1/invites/issuer"),
    };
    let document = operator.service()?.signed(&operator, method, path, None)?;
    let text = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or_default();
    let line =
        format!("{{kid: {}, issuer: {}, key: {}}}", text("kid"), text("issuer"), text("key"));
    out.note("one of the gate's authenticators[].capability.issuers:");
    out.result(&document, &line)
}
