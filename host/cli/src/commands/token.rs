//! `postern token`: capability tokens (plugins/capability/SPEC.md) without a network.
//!
//! Owns files and arguments; the format is `postern-capability`'s. Invariant: private keys
//! are read from private files and written to new private files; none is ever printed.

pub(super) mod files;
mod rights;

use std::path::PathBuf;
use std::time::Duration;

use postern_capability::chain::{Context, IssuerKey, verify};
use postern_capability::mint::{self, MintError, Unsigned};
use postern_capability::proof::{self, Request, Window};
use postern_capability::{PublicKey, Strict, reading};
use serde_json::{Value, json};

use crate::failure::{Failure, Outcome, Sort};
use crate::output::Output;
use crate::{random, span};
use rights::RightArgs;

/// Capability tokens.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Make a key pair for an issuer or a holder.
    Key(KeyArgs),
    /// Issue a token.
    Mint(Box<MintArgs>),
    /// Narrow a token and pass it on, without its issuer.
    Attenuate(Box<AttenuateArgs>),
    /// Show what a token says, verified or not.
    Inspect(InspectArgs),
    /// Verify a token, and a request made with it.
    Verify(Box<VerifyArgs>),
    /// Sign a request as the token's holder and print the fields to send.
    Sign(SignArgs),
}

/// Make a key pair.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern token key --out issuer.key
  postern token key --out holder.key --json | jq -r .public

The private half goes to the new file (mode 0600) and nowhere else; stdout is the public half.")]
pub struct KeyArgs {
    /// New file for the private key.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Whose key signs next: the holder's.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct HolderArgs {
    /// Public key of the holder (base64url), as `postern token key` prints it.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true, value_parser = files::public_key)]
    holder: Option<PublicKey>,
    /// Make the holder's key and write it to this new file (mode 0600).
    #[arg(long, value_name = "FILE")]
    new_holder: Option<PathBuf>,
}

impl HolderArgs {
    fn key(&self) -> Outcome<Option<PublicKey>> {
        match &self.new_holder {
            Some(path) => files::make_key(path).map(Some),
            None => Ok(self.holder.clone()),
        }
    }
}

/// Issue a token.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern token mint --key issuer.key --kid issuer-1 --issuer https://issuer.test \\
      --tenant acme --audience https://gateway.test --subject ada --new-holder holder.key \\
      --scope documents:read --method GET --path /api/v1 > token
  postern token mint --key issuer.key --kid issuer-1 --issuer https://issuer.test \\
      --tenant acme --audience https://gateway.test --subject ada \\
      --holder \"$(cat holder.pub)\" --credential slack --host api.slack.test --expires 5m

Scopes, roles, credentials, trust and clearance are granted: without them the token has none.
Hosts, methods, paths, tools, models, budget, document and approval limit: without them the
token does not limit.")]
pub struct MintArgs {
    /// The issuer's private key (mode 0600).
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The name of the issuer's key at the gateway.
    #[arg(long, value_name = "ID")]
    kid: String,
    /// Who issues.
    #[arg(long, value_name = "NAME")]
    issuer: String,
    /// For whom.
    #[arg(long, value_name = "NAME")]
    subject: String,
    /// The gateway that it is for.
    #[arg(long, value_name = "NAME")]
    audience: String,
    /// Tenant.
    #[arg(long, value_name = "NAME")]
    tenant: String,
    /// Ends by itself after this long.
    #[arg(long, value_name = "SPAN", value_parser = span::parse, default_value = "15m")]
    expires: Duration,
    #[command(flatten)]
    holder: HolderArgs,
    #[command(flatten)]
    rights: RightArgs,
}

/// Narrow a token.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern token attenuate --token token --key holder.key --new-holder agent.key \\
      --subject triage-bot --path /api/v1/issues --expires 2m > narrower
  postern token attenuate --token - --key holder.key --holder \"$(cat agent.pub)\" < token

What is asked for beyond what the token has gets nothing and shows in audit records.")]
pub struct AttenuateArgs {
    /// The token; - for stdin.
    #[arg(long, value_name = "FILE")]
    token: PathBuf,
    /// The private key of its holder (mode 0600).
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// To whom it is passed.
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// Ends by itself after this long.
    #[arg(long, value_name = "SPAN", value_parser = span::parse)]
    expires: Option<Duration>,
    #[command(flatten)]
    holder: HolderArgs,
    #[command(flatten)]
    rights: RightArgs,
}

/// Show a token.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern token inspect token
  postern token inspect - --json < token

Nothing is verified: `postern token verify` does that.")]
pub struct InspectArgs {
    /// The token; - for stdin.
    #[arg(value_name = "FILE")]
    token: PathBuf,
}

/// Verify a token.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern token verify --token token --issuer https://issuer.test \\
      --issuer-key issuer-1=\"$(cat issuer.pub)\" --tenant acme --audience https://gateway.test
  postern token verify --token token --issuer https://issuer.test \\
      --issuer-key issuer-1=\"$(cat issuer.pub)\" --tenant acme --audience https://gateway.test \\
      --method GET --url https://api.test/api/v1 \\
      --signature-input 'pop=(…)…' --signature 'pop=:…:'

With --method and --url the request's proof of possession is verified too.

Exit codes: 0 good, 1 refused, 2 called wrongly, 3 a file cannot be read")]
pub struct VerifyArgs {
    /// The token; - for stdin.
    #[arg(long, value_name = "FILE")]
    token: PathBuf,
    /// Name of the issuer.
    #[arg(long, value_name = "NAME")]
    issuer: String,
    /// A key of the issuer, repeated for several.
    #[arg(long, value_name = "ID=KEY", required = true, value_parser = files::issuer_key)]
    issuer_key: Vec<(String, PublicKey)>,
    /// Tenant of the route.
    #[arg(long, value_name = "NAME")]
    tenant: String,
    /// Who the gateway is.
    #[arg(long, value_name = "NAME")]
    audience: String,
    /// Longest life that is accepted.
    #[arg(long, value_name = "SPAN", value_parser = span::parse, default_value = "15m")]
    life: Duration,
    /// Verify as of this second since 1970. Default: now.
    #[arg(long, value_name = "SECONDS")]
    at: Option<u64>,
    /// Method of the request.
    #[arg(long, requires = "url")]
    method: Option<String>,
    /// URL of the request.
    #[arg(long, requires_all = ["method", "signature_input", "signature"], value_parser = files::url)]
    url: Option<files::Url>,
    /// The request's signature-input.
    #[arg(long, value_name = "VALUE", requires = "url")]
    signature_input: Option<String>,
    /// The request's signature.
    #[arg(long, value_name = "VALUE", requires = "url")]
    signature: Option<String>,
    /// The request's content-digest.
    #[arg(long, value_name = "VALUE", requires = "url")]
    content_digest: Option<String>,
    /// The request's content.
    #[arg(long, value_name = "FILE", requires = "url")]
    content: Option<PathBuf>,
    /// A further field of the request, repeated for several.
    #[arg(long, value_name = "NAME: VALUE", requires = "url", value_parser = files::field)]
    field: Vec<files::Field>,
}

/// Sign a request.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern token sign --token token --key holder.key --method GET --url https://api.test/api/v1
  postern token sign --token token --key holder.key --method POST --url https://api.test/api/v1 \\
      --content body.json > fields && curl -H @fields --data-binary @body.json https://api.test/api/v1
  postern token sign --token token --key holder.key --method GET --url https://api.test/api/v1 \\
      --field 'X-TAP-Credential: slack'

A gateway refuses a field that names a credential and was not signed: give each with --field.
The fields are good for one request within 30 seconds.")]
pub struct SignArgs {
    /// The token; - for stdin.
    #[arg(long, value_name = "FILE")]
    token: PathBuf,
    /// The private key of its holder (mode 0600).
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Method.
    #[arg(long)]
    method: String,
    /// URL.
    #[arg(long, value_parser = files::url)]
    url: files::Url,
    /// Content.
    #[arg(long, value_name = "FILE")]
    content: Option<PathBuf>,
    /// A nonce that the gateway has sent in postern-nonce.
    #[arg(
        long,
        value_name = "NONCE",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    nonce: String,
    /// A further field to sign and send, repeated for several.
    #[arg(long, value_name = "NAME: VALUE", value_parser = files::field)]
    field: Vec<files::Field>,
}

/// Runs one of them.
pub fn run(command: Command, out: Output) -> Outcome {
    match command {
        Command::Key(args) => key(&args, out),
        Command::Mint(args) => issue(*args, out),
        Command::Attenuate(args) => attenuate(*args, out),
        Command::Inspect(args) => inspect(&args, out),
        Command::Verify(args) => check(&args, out),
        Command::Sign(args) => sign(&args, out),
    }
}

fn key(args: &KeyArgs, out: Output) -> Outcome {
    let public = files::shown(&files::make_key(&args.out)?);
    out.result(&json!({"public": public, "file": args.out}), &public)
}

fn seconds() -> u64 {
    span::now().seconds()
}

fn ends(span: Duration) -> u64 {
    seconds().saturating_add(span.as_secs())
}

fn issue(args: MintArgs, out: Output) -> Outcome {
    let key = files::private_key(&args.key)?;
    let mut claims = args.rights.claims()?;
    claims.issuer = Some(args.issuer);
    claims.subject = Some(args.subject);
    claims.audience = Some(args.audience);
    claims.tenant = Some(args.tenant);
    claims.issued_at = Some(seconds());
    claims.expires = Some(ends(args.expires));
    claims.id = Some(random::bytes()?);
    claims.holder = args.holder.key()?;
    let token = mint::mint(&claims, &args.kid, &key).map_err(unmade)?;
    printed(&token, out)
}

fn attenuate(args: AttenuateArgs, out: Output) -> Outcome {
    let parent = files::token(&args.token)?;
    let key = files::private_key(&args.key)?;
    let mut claims = args.rights.claims()?;
    claims.subject = args.subject;
    claims.issued_at = Some(seconds());
    claims.expires = args.expires.map(ends);
    claims.id = Some(random::bytes()?);
    claims.holder = args.holder.key()?;
    printed(&mint::attenuate(&parent, claims, &key).map_err(unmade)?, out)
}

/// What was asked for is no token, or the token is not this key's to pass on.
fn unmade(error: MintError) -> Failure {
    match error {
        MintError::WrongKey => Failure::found(error),
        MintError::Refused(_) => Failure::usage(error),
    }
}

fn printed(token: &str, out: Output) -> Outcome {
    out.result(&json!({"token": token}), token)
}

fn inspect(args: &InspectArgs, out: Output) -> Outcome {
    let token = files::token(&args.token)?;
    let document = reading::inspect(&token).or_found(args.token.display())?;
    out.note("not verified");
    out.result(&document, &format!("{document:#}"))
}

fn check(args: &VerifyArgs, out: Output) -> Outcome {
    let token = files::token(&args.token)?;
    let issuers: Vec<IssuerKey> = args.issuer_key.iter().map(|key| args.issuer(key)).collect();
    let now = args.at.unwrap_or_else(seconds);
    let context = Context {
        tenant: &args.tenant,
        audience: &args.audience,
        issuers: &issuers,
        life: args.life.as_secs(),
        now,
    };
    let chain = verify(token.as_bytes(), &context, &Strict).or_found("refused")?;
    let mut document = reading::chain(&chain);
    if let Some(url) = &args.url {
        document["proof"] = args.proof(url, &token, chain.holder(), now)?;
        let method = args.method.as_deref().unwrap_or_default();
        if !chain.right().admits(method, &url.host()?, url.path()) {
            return Err(Failure::found("refused: the token does not allow this request"));
        }
    }
    document["good"] = json!(true);
    out.result(&document, &format!("good\n{:#}", document["right"]))
}

impl VerifyArgs {
    fn issuer(&self, (id, key): &(String, PublicKey)) -> IssuerKey {
        IssuerKey { id: id.clone(), issuer: self.issuer.clone(), key: key.clone() }
    }

    fn proof(&self, url: &files::Url, token: &str, holder: &PublicKey, now: u64) -> Outcome<Value> {
        let content = self.content.as_deref().map(files::content).transpose()?;
        let fields = files::borrowed(&self.field);
        let request = Request {
            method: self.method.as_deref().unwrap_or_default(),
            scheme: &url.scheme,
            authority: &url.authority,
            target: &url.target,
            token,
            signature_input: self.signature_input.as_deref().unwrap_or_default(),
            signature: self.signature.as_deref().unwrap_or_default(),
            content_digest: self.content_digest.as_deref(),
            has_content: content.is_some(),
            fields: &fields,
        };
        let window = Window::at(now);
        let proof = proof::verify(&request, holder, window, &Strict).or_found("refused")?;
        if !proof.covers(&content.unwrap_or_default()) {
            return Err(Failure::found("refused: the content is not the one that was signed"));
        }
        Ok(reading::proof(&proof))
    }
}

fn sign(args: &SignArgs, out: Output) -> Outcome {
    let token = files::token(&args.token)?;
    let key = files::private_key(&args.key)?;
    let content = args.content.as_deref().map(files::content).transpose()?;
    let further = files::borrowed(&args.field);
    let request = Unsigned {
        method: &args.method,
        scheme: &args.url.scheme,
        authority: &args.url.authority,
        target: &args.url.target,
        token: &token,
        content: content.as_deref(),
        fields: &further,
    };
    let fields =
        mint::sign_request_with(&request, &key, seconds(), (&args.nonce, &random::bytes()?));
    let fields = fields.map_err(unmade)?;
    let mut document = json!({
        proof::FIELD: token,
        "signature-input": fields.signature_input,
        "signature": fields.signature,
    });
    if let Some(digest) = fields.content_digest {
        document["content-digest"] = json!(digest);
    }
    for (name, value) in further {
        document[name] = json!(value);
    }
    let line = |(name, value): (&String, &Value)| {
        format!("{name}: {}", value.as_str().unwrap_or_default())
    };
    let lines: Vec<String> = document.as_object().into_iter().flatten().map(line).collect();
    out.result(&document, &lines.join("\n"))
}
