//! `postern init`: a folder from which the key service and a gateway start as they are.
//!
//! Invariant: a file that is there is replaced only with `--force`, and only after the
//! enrolment has worked; private keys are made in files of mode 0600.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use postern_keys::{Config, Service, http};
use serde_json::json;

use super::enrol::{self, Made, Plan};
use super::keys;
use crate::failure::{Failure, Outcome, Sort};
use crate::init::{self, Upstream, Values};
use crate::output::Output;
use crate::span;

/// Folder of the identities, in the working folder.
const GATEWAY: &str = "gateway";
const MODULES: [&str; 3] = ["gate.wasm", "credential.wasm", "audit.wasm"];

/// Write a working folder.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern init
  postern init ./gw --tenant acme --upstream slack=slack.com
  postern init ./gw --upstream billing=api.billing.example:8443 --modules /usr/lib/postern
  postern init ./gw --force

Writes into DIR (made with mode 0700 if it is not there):
  keys.yaml, data/    the key service's configuration, keys, certificate and database
  envoy.yaml          the gateway, for `postern gateway` and for Envoy, with absolute paths
  gateway/            what `postern enrol` writes: gateway.env, gateway.json, keys-ca.pem,
                      operator.json
  policy/policy.rego  the policy that envoy.yaml holds: writes wait for a person's approval
  README.txt          the next commands

Writes wait for a person (postern approval list), since an agent can be talked into one by
whatever it reads; take `policy` and `approvals` out of envoy.yaml to let them go as reads do.

It enrols a gateway and an operator at a key service that runs just for this, on a free port of
127.0.0.1; `postern keys serve` and `postern gateway` then start from the folder as it is.

With --force configurations and identities are made anew; data/ stays as it is, and the
identities that were there before stay enrolled.")]
pub struct Args {
    /// Working folder.
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Tenant; made if it is not there.
    #[arg(long, value_name = "NAME", default_value = "default", value_parser = enrol::tenant)]
    tenant: String,
    /// A service that needs a credential: NAME=HOST or NAME=HOST:PORT, repeated for several.
    #[arg(
        long,
        value_name = "NAME=AUTHORITY",
        default_value = "slack=slack.com",
        value_parser = Upstream::parse
    )]
    upstream: Vec<Upstream>,
    /// Folder with gate.wasm, credential.wasm and audit.wasm.
    #[arg(long, value_name = "DIR", default_value = "target/plugins")]
    modules: PathBuf,
    /// Replace files that are there.
    #[arg(long)]
    force: bool,
}

/// Writes the folder.
pub fn run(args: &Args, out: Output) -> Outcome {
    distinct(&args.upstream)?;
    let modules = modules(&args.modules)?;
    let dir = folder(&args.dir, args.force)?;
    let config = Config::parse(init::KEYS_YAML.as_bytes(), &dir).or_bug("keys.yaml")?;
    let made = enrolled(&config, &dir, &args.tenant, out)?;
    let envoy = init::envoy_yaml(&Values {
        tenant: &made.tenant,
        gateway_id: &made.gateway_id,
        simulated: &made.simulated,
        modules: &modules,
        ca: &dir.join(GATEWAY).join("keys-ca.pem"),
        upstreams: &args.upstream,
    })?;
    let first = args.upstream.first().ok_or_else(|| Failure::bug("no upstream"))?;
    let readme = init::readme(&made.tenant, first);
    postern_files::create_private_dir(dir.join("policy")).or_environment("cannot write")?;
    for (name, text) in TEXTS.iter().zip([init::KEYS_YAML, &envoy, init::POLICY, &readme]) {
        let written = postern_files::write_atomic(dir.join(name), text.as_bytes());
        written.or_environment("cannot write")?;
    }
    report(&args.dir, &made, out)
}

/// Written last, in the order of their texts.
const TEXTS: [&str; 4] = ["keys.yaml", "envoy.yaml", "policy/policy.rego", "README.txt"];

/// Every file that is written, in the working folder.
fn names() -> impl Iterator<Item = String> {
    let identities = enrol::FILES.iter().map(|name| format!("{GATEWAY}/{name}"));
    TEXTS.iter().map(|name| (*name).to_owned()).chain(identities)
}

/// Two routes for one authority, or two clusters of one name, are no configuration.
fn distinct(upstreams: &[Upstream]) -> Outcome {
    for (index, upstream) in upstreams.iter().enumerate() {
        let mut before = upstreams[..index].iter();
        if before.any(|it| it.name == upstream.name || it.authority == upstream.authority) {
            let (name, authority) = (&upstream.name, &upstream.authority);
            return Err(Failure::usage(format_args!("--upstream {name}={authority}: twice")));
        }
    }
    Ok(())
}

fn modules(dir: &Path) -> Outcome<PathBuf> {
    for file in MODULES.map(|name| dir.join(name)) {
        if !file.is_file() {
            return Err(Failure::environment(format_args!(
                "expected {} (cargo xtask build makes it; --modules says where it is)",
                file.display()
            )));
        }
    }
    dir.canonicalize().or_environment(dir.display())
}

/// The working folder, absolute, and without what would be overwritten.
fn folder(dir: &Path, force: bool) -> Outcome<PathBuf> {
    postern_files::create_private_dir(dir).or_environment("cannot make the folder")?;
    let taken = names().map(|name| dir.join(name)).find(|file| file.symlink_metadata().is_ok());
    match taken {
        Some(file) if !force => {
            let file = file.display();
            Err(Failure::usage(format_args!("{file} exists; --force makes everything anew")))
        }
        _ => dir.canonicalize().or_environment(dir.display()),
    }
}

/// Runs the key service while a gateway and an operator are enrolled at it.
fn enrolled(config: &Config, dir: &Path, tenant: &str, out: Output) -> Outcome<Made> {
    let runtime = keys::runtime()?;
    // The configured port may be in use, by the service of this very folder.
    let moment = Config { listen: (Ipv4Addr::LOCALHOST, 0).into(), ..config.clone() };
    let running = runtime.block_on(async {
        let service = Service::open(&moment, span::now()).await;
        let service = service.or_environment("cannot open the key service")?;
        http::start(service, &moment).await.or_environment("cannot start the key service")
    })?;
    // Beside the final place: a failure leaves the identities that were there.
    let made = tempfile::Builder::new().prefix(".gateway-").tempdir_in(dir);
    let made = made.or_environment("cannot write").and_then(|beside| {
        let plan = Plan {
            config: &moment,
            dir: beside.path(),
            tenant,
            label: "gateway",
            ca: None,
            reach: &format!("https://{}", running.address()),
            url: &keys::url(config, None)?,
            evidence: None,
        };
        let made = enrol::enrol(&plan, out)?;
        moved(beside.path(), &dir.join(GATEWAY))?;
        Ok(made)
    });
    runtime.block_on(running.stop());
    made
}

fn moved(from: &Path, to: &Path) -> Outcome {
    postern_files::create_private_dir(to).or_environment("cannot write")?;
    for name in enrol::FILES {
        std::fs::rename(from.join(name), to.join(name)).or_environment(to.join(name).display())?;
    }
    Ok(())
}

fn report(dir: &Path, made: &Made, out: Output) -> Outcome {
    let next = [
        format!("cd {}", dir.display()),
        "postern keys serve --config keys.yaml".to_owned(),
        "postern gateway --config envoy.yaml --env-file gateway/gateway.env".to_owned(),
    ];
    let here = dir == Path::new(".");
    let next = if here { &next[1..] } else { &next[..] };
    let names: Vec<String> = names().collect();
    let document = json!({
        "dir": dir.display().to_string(),
        "written": names,
        "gateway_id": made.gateway_id,
        "operator_id": made.operator_id,
        "tenant": made.tenant,
        "next": next,
    });
    let lines =
        |lines: &[String]| lines.iter().map(|line| format!("  {line}\n")).collect::<String>();
    let text = format!(
        "wrote {}:\n{}\nnext (README.txt has the rest):\n{}",
        dir.display(),
        lines(&names),
        lines(next)
    );
    out.result(&document, &text)
}
