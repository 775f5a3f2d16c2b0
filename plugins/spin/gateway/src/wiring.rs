//! Documents and keys to a gateway.
//!
//! Invariant: permits are made and opened under a key that this instance has drawn and that
//! nobody else ever has; the gate's client cannot ask for a value.

use std::rc::Rc;

use postern_core::commons::Seal;
use postern_core::config::{ConfigError, Problems, audit, credential, gate};
use postern_core::gate::Loaded;
use postern_core::key_service::Background;
use postern_core::ledger::Ledger;
use postern_core::mac::MacKeys;
use postern_core::nonces::{MEMORY, Table};
use postern_core::permit::PermitKeys;
use postern_core::secret::Secret;
use postern_core::{credential as releasing, gate as deciding, keyring, tally};
use postern_crp::Role;
use postern_crp::client::{Client, Settings};
use postern_identity::Services;
use postern_jose::Pure;
use postern_scrub::{MarkerDetector, PatternScrubbing};
use postern_spin::hosts::Hosts;
use postern_spin::memory::{InstanceCommons, InstanceNonces, InstanceTallies};
use postern_spin_component::Documents;
use postern_spin_component::gateway::{Gateway, Part, Parts};
use postern_spin_component::host::{now, random};

const NONCES: &[u8] = b"postern spin nonces/1\0";
/// What the gate's document calls the variable `introspection_secret`, unless it says otherwise;
/// there is no other here.
const INTROSPECTION_SECRET: &str = "POSTERN_INTROSPECTION_SECRET";

/// Reads the documents, reporting every problem below its variable's name.
pub fn configure(documents: &Documents) -> Result<Gateway, ConfigError> {
    let mut problems = Problems::default();
    let gate = problems.part("gate", gate::Config::parse(documents.gate.as_bytes()));
    let values = credential::Config::parse(documents.credential.as_bytes());
    let values = problems.part("credential", values);
    let audit = problems.part("audit", audit::Config::parse(documents.audit.as_bytes()));
    let seed = |text: &Option<String>| keyring::identity_seed(text.as_deref());
    let gate_seed = problems.part("gate_key", seed(&documents.gate_key));
    let values_seed = problems.part("credential_key", seed(&documents.credential_key));
    let audit_seed = problems.part("audit_key", seed(&documents.audit_key));
    let permit_key: Option<[u8; 32]> = problems.required("randomness", random());
    let read = (|| {
        let seeds = (gate_seed?, values_seed?, audit_seed?);
        Some((gate?, values?, audit?, seeds, permit_key?))
    })();
    let (gate, values, audit, seeds, permit_key) = problems.finish(read)?;
    let hosts = Hosts::new(gate.upstreams.clone(), &documents.plain)?;
    let holds = gate.body == gate::BodyMode::Hold;
    let collector = audit.key_service.clone();
    let ledger = ledger(audit, seeds.2)?;
    let given = Given {
        seed: seeds.0,
        nonces: of_all_instances(seed(&documents.gate_key)?)?,
        introspection: documents.introspection_secret.clone(),
    };
    let (gate, background) = deciding(gate, PermitKeys::new(mac(permit_key)?), given)?;
    let credential = releasing(values, PermitKeys::new(mac(permit_key)?), seeds.1)?;
    let parts = Parts { gate, credential, background, collector, hosts, holds };
    Ok(Gateway::new(parts, ledger))
}

/// What the deciding part has of the component's variables.
struct Given {
    seed: Secret,
    nonces: MacKeys,
    introspection: Option<String>,
}

type Deciding = (Part<deciding::Pipeline>, Vec<Rc<dyn Background>>);

fn deciding(
    config: gate::Config,
    keys: PermitKeys,
    Given { seed, nonces, introspection }: Given,
) -> Result<Deciding, ConfigError> {
    let is_mtls = |one: &gate::Authentication| matches!(one, gate::Authentication::Mtls(_));
    if config.authenticators.iter().any(is_mtls) {
        let problem = "mtls needs a host that shows certificates, and wasi:http does not";
        return Err(ConfigError::one("gate.authenticators", problem));
    }
    if config.taints.is_some() {
        let problem = "labels of a session would end with this instance, after a second without \
                       requests";
        return Err(ConfigError::one("gate.taints", problem));
    }
    if config.barriers.is_some() {
        let problem = "answers do not pass the gate of this component: nothing would be removed";
        return Err(ConfigError::one("gate.barriers", problem));
    }
    let key_service = config.key_service.clone();
    let settings = Settings::of(&key_service, &config.tenant, Role::Gate, seed)?;
    let client = client("gate_key", settings)?;
    let services = Services {
        directory: Rc::clone(&client) as _,
        exchanges: Rc::clone(&client) as _,
        nonces: Rc::new(InstanceNonces::new(Table::new(nonces, MEMORY))),
        commons: Rc::new(InstanceCommons::new(Seal::new(mac(drawn()?)?))),
        signatures: Rc::new(Pure),
        variable: Rc::new(move |name| {
            introspection.clone().filter(|_| name == INTROSPECTION_SECRET)
        }),
    };
    let callers = postern_identity::assemble(&config, &services)?;
    let tallies = InstanceTallies::new(tally::Table::new(mac(drawn()?)?));
    let (detector, scrubbing) = (Rc::new(MarkerDetector), Rc::new(PatternScrubbing::new()));
    let (known, feed) = (callers.authenticators, Rc::clone(&client));
    let policy = postern_rego::of_gate(&config)?;
    let background = callers.background.into_iter().chain(policy.background).collect();
    let policy = policy.policies;
    let tallies = Some(Rc::new(tallies) as _);
    let approvals = Some(Rc::clone(&client) as _);
    let loaded = Loaded { config, policy, tallies, invites: callers.invites, approvals };
    let vm = drawn()?;
    let pipeline = deciding::Pipeline::new(loaded, keys, known, client, detector, scrubbing, vm);
    Ok((Part { pipeline, feed, key_service }, background))
}

fn releasing(
    config: credential::Config,
    keys: PermitKeys,
    seed: Secret,
) -> Result<Part<releasing::Pipeline>, ConfigError> {
    let key_service = config.key_service.clone();
    let settings = Settings::of(&key_service, &config.tenant, Role::Credential, seed)?;
    let (cache_ttl, cache_entries) = (config.cache_ttl, config.cache_entries);
    let modules = config.modules;
    let client =
        client("credential_key", Settings { cache_ttl, cache_entries, modules, ..settings })?;
    let (feed, vault) = (Rc::clone(&client), Rc::clone(&client));
    let scrubbing = Rc::new(PatternScrubbing::new());
    let pipeline = releasing::Pipeline::new(config, keys, client, vault, scrubbing);
    Ok(Part { pipeline, feed, key_service })
}

/// A chain of its own for each instance: there is no process that several of them share.
fn ledger(config: audit::Config, seed: Secret) -> Result<Ledger, ConfigError> {
    let settings = Settings::of(&config.key_service, &config.tenant, Role::Audit, seed)?;
    let client = client("audit_key", settings)?;
    Ok(Ledger::new(config, mac(drawn()?)?, client, drawn()?, drawn()?, now()))
}

fn client(variable: &str, settings: Settings) -> Result<Rc<Client>, ConfigError> {
    let client = Client::new(settings);
    client.map(Rc::new).map_err(|bad| ConfigError::one(variable, bad.to_string()))
}

fn drawn<const N: usize>() -> Result<[u8; N], ConfigError> {
    random().ok_or_else(|| ConfigError::one("randomness", "missing"))
}

/// A key for the nonces that are handed out, from the gate's identity, so that one instance takes
/// those of another.
fn of_all_instances(seed: Secret) -> Result<MacKeys, ConfigError> {
    let seed = MacKeys::new(seed, None);
    let seed = seed.ok_or_else(|| ConfigError::one("gate_key", "not usable"))?;
    mac(seed.sign(NONCES, &[]))
}

fn mac(key: [u8; 32]) -> Result<MacKeys, ConfigError> {
    let keys = MacKeys::new(Secret::new(key.to_vec()), None);
    keys.ok_or_else(|| ConfigError::one("randomness", "not usable"))
}
