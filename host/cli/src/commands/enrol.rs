//! `postern enrol`: the three identities of a gateway, and an operator.
//!
//! Invariant: every private key is made here, and only public keys leave; the files that
//! hold private keys have mode 0600. Nothing is minted or enrolled before every file that
//! will hold the outcome is there: an identity whose key cannot be kept is not asked for.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_core::hex;
use postern_core::secret::Secret;
use postern_crp::evidence::Evidence;
use postern_crp::message::{Answer, Message, enrol};
use postern_crp::{Identity, Role};
use postern_keys::join::{GatewayTokens, OperatorToken};
use postern_keys::{Config, Fault};
use serde_json::json;
use zeroize::Zeroizing;

use super::keys::{self, ConfigArgs};
use crate::failure::{Failure, Outcome, Sort};
use crate::operator::Operator;
use crate::output::Output;
use crate::service::{Endpoint, Sender, Service};
use crate::{random, span};

/// Make the identities of a gateway and of its operator.
///
/// With access to the key service's files (--local): mints single-use join tokens there,
/// then enrols four keys over the wire, each in a sealed message to the attested service.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern enrol --local --config keys.yaml --out ./gateway
  set -a; . ./gateway/gateway.env; envoy -c envoy.yaml

Writes into DIR:
  gateway.env    the five keys of the gateway's modules, for Envoy's environment (mode 0600)
  gateway.json   gateway id, tenant, and the key of simulated evidence or the pins of real
                 evidence, for the configurations
  keys-ca.pem    the authority that the key service's certificate comes from
  operator.json  the operator's key, for this command (mode 0600)")]
pub struct Args {
    /// Use the key service's own files to mint the join tokens. The only way for now.
    #[arg(long, required = true)]
    local: bool,
    #[command(flatten)]
    config: ConfigArgs,
    /// Folder to write to; made (0700) if it is not there.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Tenant; made if it is not there.
    #[arg(long, default_value = "default", value_parser = tenant)]
    tenant: String,
    /// For people: what this gateway is.
    #[arg(long, default_value = "gateway")]
    label: String,
    /// Where the service is, if not where its files say.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Authority of the service's certificate (PEM), where the service was given its own.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Pins of the service's hardware evidence (as `key_service.evidence`, in JSON), where it
    /// does not show simulated evidence.
    #[arg(long, value_name = "FILE")]
    pins: Option<PathBuf>,
}

/// Largest file of pins.
const MAX_PINS: usize = 64 << 10;

/// A gateway to be, and where its service is.
pub struct Plan<'a> {
    /// The service's configuration.
    pub config: &'a Config,
    /// Folder to write to.
    pub dir: &'a Path,
    /// Tenant; made if it is not there.
    pub tenant: &'a str,
    /// What the gateway is.
    pub label: &'a str,
    /// Authority of the service's certificate, where the service was given its own.
    pub ca: Option<&'a Path>,
    /// Where the service answers now.
    pub reach: &'a str,
    /// Where it will be, which is what is written down.
    pub url: &'a str,
    /// Pins of its evidence, where that is not simulated.
    pub evidence: Option<serde_json::Value>,
}

/// What an enrolment has made.
pub struct Made {
    /// Id of the gateway.
    pub gateway_id: String,
    /// Tenant.
    pub tenant: String,
    /// Id of the operator.
    pub operator_id: String,
    /// End of the gateway's keys.
    not_after: u64,
    /// Key of simulated evidence, base64url.
    pub simulated: String,
}

/// Enrols a gateway and an operator.
pub fn run(args: &Args, out: Output) -> Outcome {
    let config = args.config.load()?;
    let url = keys::url(&config, args.url.as_deref())?;
    let made = enrol(
        &Plan {
            config: &config,
            dir: &args.out,
            tenant: &args.tenant,
            label: &args.label,
            ca: args.ca.as_deref(),
            reach: &url,
            url: &url,
            evidence: args.pins.as_deref().map(pins).transpose()?,
        },
        out,
    )?;
    let dir = args.out.display();
    let document = json!({
        "gateway_id": made.gateway_id,
        "tenant": made.tenant,
        "operator_id": made.operator_id,
        "ends": made.not_after,
        "files": FILES,
        "dir": dir.to_string(),
    });
    let Made { gateway_id, tenant, .. } = made;
    out.result(&document, &format!("enrolled gateway {gateway_id} of {tenant}; files in {dir}"))
}

/// Reads a file of pins; their own reader checks them when they are used.
fn pins(path: &Path) -> Outcome<serde_json::Value> {
    let bytes = postern_files::read_bounded(path, MAX_PINS).or_environment(path.display())?;
    serde_json::from_slice(&bytes).or_environment(path.display())
}

/// Mints join tokens from the service's files, enrols four keys over the wire, and writes
/// [`FILES`].
pub fn enrol(plan: &Plan<'_>, out: Output) -> Outcome<Made> {
    let files = Reserved::take(plan.dir)?;
    let Minted { endpoint, gateway: tokens, operator } = keys::runtime()?.block_on(mint(plan))?;
    let service = Service::new(&endpoint)?;
    let progress = out.progress("enrolling");
    let evidence = service.evidence()?;
    if endpoint.simulated.is_some() {
        out.note("warning: SIMULATED evidence: no hardware stands behind this key service");
    }
    let enrolment = Enrolment { service: &service, evidence: &evidence, label: plan.label };
    let gate = enrolment.one(Role::Gate, tokens.gate)?;
    let credential = enrolment.one(Role::Credential, tokens.credential)?;
    let audit = enrolment.one(Role::Audit, tokens.audit)?;
    let operator = enrolment.one(Role::Operator, operator.token)?;
    drop(progress);
    let endpoint = Endpoint { url: plan.url.to_owned(), ..endpoint };
    write_env(plan.dir, [&gate, &credential, &audit])?;
    write_gateway(plan.dir, &gate, &endpoint)?;
    write(plan.dir, "keys-ca.pem", endpoint.ca.as_bytes())?;
    let made = Made {
        gateway_id: hex::lower(&gate.id),
        tenant: gate.tenant,
        operator_id: hex::lower(&operator.id),
        not_after: gate.not_after,
        simulated: endpoint.simulated.map(|key| B64.encode(key)).unwrap_or_default(),
    };
    let (id, tenant, seed) = (operator.id, operator.tenant, operator.seed);
    Operator { endpoint, id, tenant, seed }.save(&plan.dir.join("operator.json"))?;
    drop(files);
    Ok(made)
}

/// What the service's own files tell.
struct Minted {
    endpoint: Endpoint,
    gateway: GatewayTokens,
    operator: OperatorToken,
}

/// What is written.
pub const FILES: [&str; 4] = ["gateway.env", "gateway.json", "keys-ca.pem", "operator.json"];

/// A tenant's name.
pub fn tenant(name: &str) -> Result<String, String> {
    let good = postern_core::placeholder::Name::new(name).is_some();
    good.then(|| name.to_owned()).ok_or_else(|| "expected [a-z0-9][a-z0-9_-]{0,62}".to_owned())
}

/// The files of the outcome, made empty before anything else happens. Those that are still
/// empty at the end are taken away again, so that another try finds nothing in its way.
struct Reserved<'a> {
    dir: &'a Path,
    made_dir: bool,
    names: Vec<&'static str>,
}

impl<'a> Reserved<'a> {
    fn take(dir: &'a Path) -> Outcome<Self> {
        let made_dir = !dir.exists();
        postern_files::create_private_dir(dir).or_environment("cannot make the folder")?;
        let mut reserved = Self { dir, made_dir, names: Vec::new() };
        for name in FILES {
            let made = postern_files::reserve(dir.join(name));
            made.map_err(|error| match error.kind() {
                // An old key in use is worth more than the comfort of running this twice.
                ErrorKind::AlreadyExists => {
                    let file = dir.join(name);
                    Failure::usage(format!("{} exists; choose another --out", file.display()))
                }
                _ => Failure::environment(format_args!("cannot write: {error}")),
            })?;
            reserved.names.push(name);
        }
        Ok(reserved)
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        // Best effort: what is left is empty, and the next try names it.
        for path in self.names.iter().map(|name| self.dir.join(name)) {
            if std::fs::metadata(&path).is_ok_and(|file| file.len() == 0) {
                let _ = std::fs::remove_file(path);
            }
        }
        if self.made_dir {
            // Fails, as it should, unless the folder is empty.
            let _ = std::fs::remove_dir(self.dir);
        }
    }
}

async fn mint(plan: &Plan<'_>) -> Outcome<Minted> {
    let now = span::now();
    let service = postern_keys::Service::open(plan.config, now).await;
    let service = service.or_environment("cannot open the key service's files")?;
    if plan.evidence.is_some() && service.sim_key().is_some() {
        return Err(Failure::usage(
            "--pins are for evidence of hardware, and this service's files ask for simulated \
             evidence: give its own --config, or leave --pins out",
        ));
    }
    let (gateway, operator) = minted(service.mint(plan.tenant, now).await)?;
    let endpoint = Endpoint {
        url: plan.reach.to_owned(),
        ca: keys::authority(plan.config, plan.ca)?,
        simulated: service.sim_key(),
        evidence: plan.evidence.clone(),
    };
    service.close(now).await;
    Ok(Minted { endpoint, gateway, operator })
}

/// The tenant's name was checked before: what fails now is the database.
fn minted<T>(tokens: Result<T, Fault>) -> Outcome<T> {
    tokens.or_environment("cannot mint join tokens")
}

struct Enrolment<'a> {
    service: &'a Service<'a>,
    evidence: &'a Evidence,
    label: &'a str,
}

/// An identity that the service has admitted.
struct Enrolled {
    id: [u8; 16],
    tenant: String,
    not_after: u64,
    seed: Secret,
}

impl Enrolment<'_> {
    /// One type-2 exchange, signed by the key that it enrols.
    fn one(&self, role: Role, join_token: Secret) -> Outcome<Enrolled> {
        let seed = Secret::new(random::bytes::<32>()?.to_vec());
        let identity = Identity::from_seed(&seed).or_bug("seed")?;
        let message = Message::Enrol(enrol::Request {
            join_token,
            role,
            public_key: identity.public_key(),
            label: format!("{} {}", self.label, role.name()),
        });
        let sender = Sender { identity: &identity, id: [0; 16], tenant: "" };
        match self.service.exchange(self.evidence, &sender, &message)? {
            Answer::Enrol(answer) => Ok(Enrolled {
                id: answer.gateway_id,
                tenant: answer.tenant,
                not_after: answer.not_after.0,
                seed,
            }),
            _ => Err(Failure::bug("the reply opened as another type")),
        }
    }
}

/// The environment of the Envoy process: identities, and two keys that only VMs share.
fn write_env(dir: &Path, identities: [&Enrolled; 3]) -> Outcome {
    let names = ["POSTERN_GATE_KEY", "POSTERN_CREDENTIAL_KEY", "POSTERN_AUDIT_KEY"];
    let mut text = Zeroizing::new(String::with_capacity(512));
    for (name, identity) in names.iter().zip(identities) {
        push(&mut text, name, identity.seed.expose());
    }
    for name in ["POSTERN_PERMIT_KEY", "POSTERN_SHARED_KEY"] {
        push(&mut text, name, &*Zeroizing::new(random::bytes::<32>()?));
    }
    let path = dir.join("gateway.env");
    postern_files::write_private(path, text.as_bytes()).or_environment("cannot write")
}

fn push(text: &mut Zeroizing<String>, name: &str, key: &[u8]) {
    let value = Zeroizing::new(B64.encode(key));
    text.push_str(name);
    text.push('=');
    text.push_str(&value);
    text.push('\n');
}

fn write_gateway(dir: &Path, gate: &Enrolled, endpoint: &Endpoint) -> Outcome {
    let document = json!({
        "v": 1,
        "gateway_id": hex::lower(&gate.id),
        "tenant": gate.tenant,
        "url": endpoint.url,
        "danger_allow_simulated": endpoint.simulated.map(|key| json!({"key": B64.encode(key)})),
        "evidence": endpoint.evidence,
    });
    write(dir, "gateway.json", format!("{document:#}\n").as_bytes())
}

fn write(dir: &Path, name: &str, bytes: &[u8]) -> Outcome {
    postern_files::write_atomic(dir.join(name), bytes).or_environment("cannot write")
}

#[cfg(test)]
mod tests {
    use postern_core::redacted::Redacted;

    use super::*;
    use crate::failure::Kind;

    #[test]
    fn a_failing_database_is_the_environments_fault() {
        let failed = minted::<()>(Err(Fault::Database(Redacted::new("disk is full"))));
        let failure = failed.unwrap_err();
        assert_eq!(failure.kind, Kind::Environment);
        assert!(failure.to_string().contains("disk is full"), "{failure}");
    }

    #[test]
    fn what_was_reserved_and_not_written_is_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("gateway");
        drop(Reserved::take(&out).unwrap());
        assert!(!out.exists());
        let reserved = Reserved::take(&out).unwrap();
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), FILES.len());
        postern_files::write_private(out.join("gateway.env"), b"keys").unwrap();
        drop(reserved);
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1);
        let taken = Reserved::take(&out).err().unwrap();
        assert!(taken.kind == Kind::Usage && taken.to_string().contains("gateway.env exists"));
    }
}
