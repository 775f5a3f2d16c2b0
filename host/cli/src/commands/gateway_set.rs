//! `postern gateway-set`: what gateways may run, and whether a file says what is true.
//!
//! Owns the reading of module files. Invariant: what is authorised is what the gateway's own file
//! makes it say, and never while a module file there has another digest than the one it names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use postern_core::hex;
use postern_keys::admin::{NamedSet, NewSet};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::check::Running;
use crate::failure::{Failure, Outcome, Sort};
use crate::operator::{Operator, OperatorArgs};
use crate::output::{Output, table};

const PATH: &str = "/api/v1/gateway-sets";
/// Largest configuration, and largest module.
const MAX_FILE: usize = 64 << 20;

/// Sets of modules, policy and bindings.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Let a gateway run what its file says, besides what it may run already.
    Authorise(AuthoriseArgs),
    /// List what gateways may run.
    List(ListArgs),
    /// Take a set back.
    Remove(RemoveArgs),
    /// Show what a file makes its gateway say, with the digests of its modules.
    Show(ShowArgs),
}

/// Let a gateway run something.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern gateway-set show envoy.yaml                 the lines for `modules`, from the module files
  postern gateway-set authorise 2026-11 --config envoy.yaml
  postern gateway-set authorise 2026-11 --config envoy.yaml --every-gateway
  postern gateway-set list
  postern gateway-set remove 2026-10

Once a gateway has a set, the key service releases values to it only while modules, policy and
binding are those of one set. A new version: authorise, roll out, remove the old one. This finds
drift. A gateway says of itself what it runs, so it is no proof against who operates it.")]
pub struct AuthoriseArgs {
    #[command(flatten)]
    operator: OperatorArgs,
    /// Name of the set.
    name: String,
    /// The gateway's envoy.yaml or spin.toml.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// For every gateway of the tenant that has no set of its own, not only the file's.
    #[arg(long)]
    every_gateway: bool,
}

/// List sets.
#[derive(clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    operator: OperatorArgs,
}

/// Take a set back.
#[derive(clap::Args)]
pub struct RemoveArgs {
    #[command(flatten)]
    operator: OperatorArgs,
    /// Name of the set.
    name: String,
    /// Id of its gateway; without it the set of that name for every gateway.
    #[arg(long, value_name = "ID")]
    gateway: Option<String>,
    /// Even if it is the only one, after which nothing is compared any more.
    #[arg(long)]
    last: bool,
}

/// Show what a file says.
#[derive(clap::Args)]
pub struct ShowArgs {
    /// An envoy.yaml or a spin.toml.
    file: PathBuf,
}

/// Runs one of them.
pub fn run(command: Command, out: Output) -> Outcome {
    match command {
        Command::Authorise(args) => authorise(&args, out),
        Command::List(args) => list(&args, out),
        Command::Remove(args) => remove(args, out),
        Command::Show(args) => show(&args, out),
    }
}

fn read(path: &Path) -> Outcome<Running> {
    let bytes = postern_files::read_bounded(path, MAX_FILE).or_environment(path.display())?;
    let text = String::from_utf8(bytes).or_found(path.display())?;
    Running::read(path, &text).or_found(path.display())
}

/// SHA-256 of each module file that is there.
fn digests(running: &Running) -> BTreeMap<String, String> {
    let hash = |(name, file): (&String, &String)| {
        let bytes = postern_files::read_bounded(file, MAX_FILE).ok()?;
        Some((name.clone(), hex::lower(&<[u8; 32]>::from(Sha256::digest(bytes)))))
    };
    running.files.iter().filter_map(hash).collect()
}

/// Modules whose file is there and has not the digest that the configuration says.
fn untrue(running: &Running) -> Vec<String> {
    if running.declared.is_empty() {
        return Vec::new();
    }
    let found = digests(running);
    let differs = |(name, said): (&String, &String)| {
        let file = running.files.get(name)?;
        found
            .get(name)
            .filter(|is| *is != said)
            .map(|is| format!("modules.{name}: expected {is}, the SHA-256 of {file}"))
    };
    running.declared.iter().filter_map(differs).collect()
}

/// What a file says of its modules that is not so; nothing where it says nothing of them.
pub fn drift(path: &Path, text: &str) -> Vec<String> {
    Running::read(path, text).map(|running| untrue(&running)).unwrap_or_default()
}

fn authorise(args: &AuthoriseArgs, out: Output) -> Outcome {
    let running = read(&args.config)?;
    if let Some(untrue) = untrue(&running).first() {
        return Err(Failure::found(format_args!("{}: {untrue}", args.config.display())));
    }
    if running.modules.is_none() {
        out.note("the file does not say which modules it loads, so they are not compared");
    }
    let set = NewSet {
        name: args.name.clone(),
        gateway: (!args.every_gateway).then(|| running.gateway.clone()),
        modules: running.modules.map(|name| hex::lower(&name)),
        policy: Some(hex::lower(&running.policy)),
        bindings: running.bindings.iter().map(|hash| hex::lower(hash)).collect(),
    };
    let operator = Operator::load(&args.operator)?;
    let body = serde_json::to_value(&set).map_err(Failure::bug)?;
    let document = operator.service()?.signed(&operator, "POST", PATH, Some(&body))?;
    let whose =
        set.gateway.map_or_else(|| "every gateway".to_owned(), |id| format!("gateway {id}"));
    out.result(&document, &format!("{whose} may run {}", args.name))
}

fn remove(args: RemoveArgs, out: Output) -> Outcome {
    let RemoveArgs { operator, name, gateway, last } = args;
    let operator = Operator::load(&operator)?;
    let named = json!(NamedSet { name: name.clone(), gateway, last });
    operator.service()?.signed(&operator, "DELETE", PATH, Some(&named))?;
    out.result(&json!({"removed": named}), &format!("{name} is not authorised any more"))
}

fn list(args: &ListArgs, out: Output) -> Outcome {
    let operator = Operator::load(&args.operator)?;
    let document = operator.service()?.signed(&operator, "GET", PATH, None)?;
    let all = document.get("sets").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut rows =
        vec![["name", "gateway", "modules", "policy", "bindings"].map(str::to_owned).to_vec()];
    rows.extend(all.iter().map(|set| {
        let text = |key: &str| set.get(key).and_then(Value::as_str);
        let short =
            |key: &str| text(key).and_then(|hash| hash.get(..12)).unwrap_or("any").to_owned();
        let bindings = set.get("bindings").and_then(Value::as_array).map_or(0, Vec::len);
        let bindings = if bindings == 0 { "any".to_owned() } else { bindings.to_string() };
        let named = |key: &str, none: &str| text(key).unwrap_or(none).to_owned();
        vec![
            named("name", "-"),
            named("gateway", "every"),
            short("modules"),
            short("policy"),
            bindings,
        ]
    }));
    out.result(&document, &table(&rows))
}

fn show(args: &ShowArgs, out: Output) -> Outcome {
    let running = read(&args.file)?;
    let found = digests(&running);
    let bindings: Vec<String> = running.bindings.iter().map(|hash| hex::lower(hash)).collect();
    let modules = running.modules.map(|name| hex::lower(&name));
    let document = json!({
        "gateway": running.gateway, "modules": modules, "declared": running.declared,
        "files": found, "policy": hex::lower(&running.policy), "bindings": bindings,
    });
    let mut lines = vec![format!("gateway {}", running.gateway), "modules:".to_owned()];
    lines.extend(found.iter().map(|(name, digest)| format!("  {name}: \"{digest}\"")));
    lines.push(match modules {
        Some(name) => format!("said by the file, together {name}"),
        None => "not said by the file: put them into each credential module's document".to_owned(),
    });
    lines.push(format!("policy {}", hex::lower(&running.policy)));
    lines.extend(bindings.iter().map(|hash| format!("binding {hash}")));
    lines.extend(untrue(&running));
    out.result(&document, &lines.join("\n"))?;
    if untrue(&running).is_empty() { Ok(()) } else { Err(Failure::reported()) }
}
