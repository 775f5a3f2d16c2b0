//! The parts of the demonstration, and what a step can do with them.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_rig::authority::Authority;
use postern_rig::client::{Request, exchange};
use postern_rig::gateway::{Config, Gateway, Launch};
use postern_rig::upstream::Upstream;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::commands::{Commands, KeyService};
use super::{secret, verdict::Seen};
use crate::failure::{Failure, Outcome, Sort};

/// The file that operators copy; the demonstration replaces addresses and identities.
const ENVOY_YAML: &str = include_str!("../../../../envoy/envoy.yaml");
/// What `postern init` puts into it as policy: writes wait for a person.
const POLICY: &str = include_str!("../init/policy.rego");
/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// Lines of each log that are shown when a line is bad.
const LOG_LINES: usize = 40;
/// Most bytes of a file that is looked at.
const MAX_FILE: usize = 256 << 20;

/// What is not made here.
pub struct Parts {
    /// Folder of the three modules.
    pub modules: PathBuf,
    /// The gateway that runs them.
    pub launch: Launch,
}

/// Everything that runs, and what was made so far.
pub struct Stage {
    parts: Parts,
    // Declared before the folder, so that processes end before their files go.
    gateway: Option<Gateway>,
    keys: Option<KeyService>,
    /// The upstream that needs a secret.
    pub slack: Upstream,
    /// Another upstream, to which the secret must not go.
    pub other: Upstream,
    authority: Authority,
    /// This program's commands.
    pub commands: Commands,
    folder: TempDir,
    /// The secret.
    pub secret: String,
    /// An API key that may read and write.
    pub key: String,
    /// An API key that may read.
    pub reader: String,
    /// What a person was asked for, in hex.
    pub approval: String,
}

impl Stage {
    /// Upstreams and a folder; nothing else runs yet.
    pub fn new(parts: Parts) -> Outcome<Self> {
        let folder = tempfile::tempdir().or_environment("cannot make a temporary folder")?;
        let authority = Authority::new().or_environment("cannot make certificates")?;
        let tls = authority.server("slack.com").or_environment("cannot make certificates")?;
        Ok(Self {
            parts,
            gateway: None,
            keys: None,
            slack: Upstream::start(Some(tls)).or_environment("cannot start an upstream")?,
            other: Upstream::start(None).or_environment("cannot start an upstream")?,
            authority,
            commands: Commands::new(folder.path())?,
            folder,
            secret: secret::draw()?,
            key: String::new(),
            reader: String::new(),
            approval: String::new(),
        })
    }

    /// A file of the demonstration.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts the key service where it was, or on a free port the first time.
    pub fn start_keys(&mut self) -> Outcome<&KeyService> {
        if self.keys.is_some() {
            return Err(Failure::bug("the key service runs already"));
        }
        if !self.path("keys.yaml").exists() {
            // Its pages have an origin, so the port is chosen before it starts.
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|it| it.local_addr());
            let port = free.or_environment("no free port")?.port();
            let config = format!(
                "data_dir: keys\nlisten: 127.0.0.1:{port}\n\
                 people: {{origin: \"https://localhost:{port}\"}}\n"
            );
            self.write("keys.yaml", config.as_bytes())?;
        }
        Ok(self.keys.insert(self.commands.key_service()?))
    }

    /// Ends the key service without a goodbye.
    pub fn stop_keys(&mut self) {
        self.keys = None;
    }

    /// Enrols a gateway and starts it with its identities.
    pub fn start_gateway(&mut self) -> Outcome {
        let args =
            ["enrol", "--local", "--config", "keys.yaml", "--out", "gateway", "--tenant", "acme"];
        let url = self.keys.as_ref().map(|keys| keys.url.clone()).unwrap_or_default();
        self.commands.run(&[&args[..], &["--url", &url]].concat(), b"")?.good("enrol")?;
        let config = self.gateway_config()?;
        self.write("envoy.json", config.render().as_bytes())?;
        let environment = self.environment()?;
        let gateway = self.parts.launch.start(&config, &environment);
        self.gateway = Some(gateway.or_environment("cannot start the gateway")?);
        Ok(())
    }

    fn gateway_config(&self) -> Outcome<Config> {
        self.write("envoy.yaml", ENVOY_YAML.as_bytes())?;
        let root = self.path("upstream-ca.pem");
        self.write("upstream-ca.pem", self.authority.root_pem().as_bytes())?;
        let keys = self.keys.as_ref().ok_or_else(|| Failure::bug("no key service"))?;
        let port = keys.port()?;
        let gateway: Value =
            serde_json::from_str(&self.read("gateway/gateway.json")?).or_bug("json")?;
        let build = || {
            let mut config = Config::read(&self.path("envoy.yaml"))?;
            config.modules_from(&self.parts.modules);
            config.cluster_at("key_service", port)?;
            config.cluster_trusts("key_service", &self.path("gateway/keys-ca.pem"), "localhost")?;
            config.cluster_at("slack", self.slack.port())?;
            config.cluster_trusts("slack", &root, "slack.com")?;
            config.cluster_at("local", self.other.port())?;
            for module in ["gate", "credential", "audit"] {
                config.module(module, |document| identify(module, document, &gateway));
            }
            config.module("gate", |document| ask_a_person(document, port));
            Ok::<_, postern_rig::RigError>(config)
        };
        build().or_environment("cannot prepare envoy.yaml")
    }

    /// The five keys of `gateway.env`, for the gateway alone.
    fn environment(&self) -> Outcome<Vec<(String, String)>> {
        let text = self.read("gateway/gateway.env")?;
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// One request to the gateway.
    pub fn ask(&self, request: &Request) -> Outcome<Seen> {
        self.slack.take();
        self.other.take();
        let answer = exchange(self.port()?, request, PATIENCE);
        let answer = answer.or_environment("the gateway does not answer")?;
        let answer = answer.ok_or_else(|| Failure::environment("the gateway hung up"))?;
        let upstream = [self.slack.take(), self.other.take()].concat();
        Ok(Seen::answer(answer, upstream))
    }

    /// Where the gateway listens.
    pub fn port(&self) -> Outcome<u16> {
        self.gateway()?.port("ingress").or_environment("the gateway's port")
    }

    /// The running gateway.
    pub fn gateway(&self) -> Outcome<&Gateway> {
        self.gateway.as_ref().ok_or_else(|| Failure::bug("no gateway"))
    }

    /// What the key service has written.
    pub fn keys_log(&self) -> String {
        self.keys.as_ref().map(KeyService::log).unwrap_or_default()
    }

    /// The end of what gateway and key service have written.
    pub fn logs(&self) -> String {
        let gateway = self.gateway.as_ref().map(Gateway::log).unwrap_or_default();
        let end = |log: &str| {
            let lines: Vec<&str> = log.lines().collect();
            lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
        };
        format!("{}\n{}", end(&gateway), end(&self.keys_log()))
    }

    /// What to try while it stays up.
    pub fn invitation(&mut self) -> Outcome<String> {
        self.slack.script(super::steps::echo);
        let (port, key) = (self.port()?, &self.key);
        let decide = super::person::invitation(self)?;
        Ok(format!(
            "The gateway stays up. Its upstream sends back every field it gets. Try:\n\n  \
             curl -i -H 'Host: slack.com' -H 'X-TAP-Key: {key}' -H 'X-TAP-Credential: slack' \\\n       \
             http://127.0.0.1:{port}/api/whoami\n\n{decide}"
        ))
    }

    /// A file as text.
    pub fn read(&self, name: &str) -> Outcome<String> {
        let bytes =
            postern_files::read_bounded(self.path(name), MAX_FILE).or_environment("cannot read")?;
        String::from_utf8(bytes).or_environment(name)
    }

    /// Writes a file that only this user can read.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Outcome {
        postern_files::write_private(self.path(name), bytes).or_environment("cannot write")
    }

    /// Every place but memory in which the secret could have been left: the gateway's log,
    /// its admin interface, the key service's files, the exported audit chain.
    pub fn places(&self) -> Outcome<Vec<(String, Vec<u8>)>> {
        let gateway = self.gateway()?;
        let mut places = vec![("gateway log".to_owned(), gateway.log().into_bytes())];
        for (path, content) in gateway.pages().or_environment("admin interface")? {
            places.push((format!("admin {path}"), content));
        }
        for name in ["keys.log", "keys.out"] {
            places.push((name.to_owned(), self.read(name)?.into_bytes()));
        }
        for (name, bytes) in files_below(&self.path("keys"))? {
            places.push((name, bytes));
        }
        for (n, line) in self.read("audit.jsonl")?.lines().enumerate().skip(1) {
            let event: Value = serde_json::from_str(line).or_bug("audit export")?;
            let bytes = event["bytes"].as_str().and_then(|text| B64.decode(text).ok());
            places.push((format!("audit event {n}"), bytes.unwrap_or_default()));
        }
        Ok(places)
    }
}

fn files_below(folder: &Path) -> Outcome<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).or_environment(folder.display())? {
        let path = entry.or_environment(folder.display())?.path();
        if path.is_dir() {
            found.extend(files_below(&path)?);
        } else {
            let bytes =
                postern_files::read_bounded(&path, MAX_FILE).or_environment("cannot read")?;
            found.push((path.display().to_string(), bytes));
        }
    }
    Ok(found)
}

/// What an operator copies from `gateway.json` into the modules' configurations.
fn identify(module: &str, document: &mut Value, gateway: &Value) {
    document["key_service"]["gateway_id"] = gateway["gateway_id"].clone();
    document["danger_allow_simulated"] = gateway["danger_allow_simulated"].clone();
    if document.get("tenant").is_some() {
        document["tenant"] = gateway["tenant"].clone();
    }
    if module == "gate" {
        // A key in a field of its own leaves Authorization to placeholders.
        document["authenticators"] = json!([
            {"api_key": {"header": "x-tap-key", "prefixes": ["pk_"]}},
            {"api_key": {"header": "authorization", "prefixes": ["pk_"]}},
        ]);
    }
    if module == "audit" {
        document["batch"] = json!({"records": 10, "every": "1s"});
    }
}

/// Writes wait for a person, as in what `postern init` makes.
fn ask_a_person(document: &mut Value, port: u16) {
    let page = format!("https://localhost:{port}/.postern/approvals");
    document["approvals"] = json!({ "page": page });
    document["policy"] =
        json!({"rego": {"query": "data.postern.approval.result", "inline": POLICY}});
}
