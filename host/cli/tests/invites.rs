//! Invites against a real key service that is killed while many exchange one.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use ed25519_dalek::SigningKey;
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use postern_crp::Identity;
use postern_crp::evidence::{Seen, Trust, appraise};
use postern_crp::exchange::{Asker, ask};
use postern_crp::message::{Answer, Message, exchange};
use serde_json::Value;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

const SERVE: &[&str] = &["keys", "serve", "--data-dir", "keys", "--while-stdin"];
/// Who exchange it at once.
const GUESTS: u8 = 12;

struct Service {
    folder: tempfile::TempDir,
    process: Child,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn postern(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
    command.args(args).current_dir(folder).env("POSTERN_OPERATOR", "gateway/operator.json");
    command
}

fn started(folder: &Path) -> Child {
    let url = folder.join("keys/url");
    let _ = std::fs::remove_file(&url);
    let mut serve = postern(folder, SERVE);
    let process =
        serve.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let up = postern_rig::wait::until(Duration::from_secs(30), || url.exists().then_some(()));
    assert!(up.is_some(), "the key service does not start");
    process
}

impl Service {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let process = started(folder.path());
        let service = Self { folder, process };
        let enrol =
            ["enrol", "--local", "--data-dir", "keys", "--out", "gateway", "--tenant", "acme"];
        service.run(&enrol);
        service
    }

    /// Kills it with requests in progress, and starts it on the same data.
    fn killed_and_started_again(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = started(self.folder.path());
        let mut operator: Value =
            serde_json::from_str(&self.text("gateway/operator.json")).unwrap();
        operator["url"] = self.text("keys/url").into();
        let file = self.folder.path().join("gateway/operator.json");
        postern_files::write_private(file, operator.to_string().as_bytes()).unwrap();
    }

    fn run(&self, args: &[&str]) -> String {
        let output = postern(self.folder.path(), args).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    /// The gate of the enrolled gateway.
    fn gate(&self) -> Gate {
        let operator: Value = serde_json::from_str(&self.text("gateway/operator.json")).unwrap();
        let gateway: Value = serde_json::from_str(&self.text("gateway/gateway.json")).unwrap();
        let variables = self.text("gateway/gateway.env");
        let seed = variables.lines().find_map(|line| line.strip_prefix("POSTERN_GATE_KEY="));
        let seed = B64.decode(seed.unwrap().trim_matches(['"', '\''])).unwrap();
        let ca = Certificate::from_pem(operator["ca"].as_str().unwrap().as_bytes()).unwrap();
        let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[ca])).build();
        let agent = Agent::config_builder().tls_config(tls).http_status_as_error(false);
        let agent = agent.timeout_global(Some(Duration::from_secs(10))).build().into();
        let simulated = operator["danger_allow_simulated"].as_str().unwrap();
        Gate {
            agent,
            url: operator["url"].as_str().unwrap().to_owned(),
            simulated: B64.decode(simulated).unwrap().try_into().unwrap(),
            id: postern_core::hex::read(gateway["gateway_id"].as_str().unwrap().as_bytes())
                .unwrap(),
            identity: Identity::from_seed(&Secret::new(seed)).unwrap(),
        }
    }
}

struct Gate {
    agent: Agent,
    url: String,
    simulated: [u8; 32],
    id: [u8; 16],
    identity: Identity,
}

impl Gate {
    /// The token of an exchange; `Err(true)` when it is refused, `Err(false)` without an answer.
    fn exchange(&self, invite: &str, guest: u8) -> Result<String, bool> {
        let url = |path| format!("{}{path}", self.url.trim_end_matches('/'));
        let got = self.agent.get(url("/crp/v1/evidence")).call().map_err(|_| false)?;
        let document = got.into_body().read_to_vec().map_err(|_| false)?;
        let now = postern_core::time::UnixMillis(now());
        let trust = Trust::Simulated(self.simulated);
        let evidence = appraise(&document, &trust, Seen::default(), now).map_err(|_| false)?;
        let holder = *SigningKey::from_bytes(&[guest; 32]).verifying_key().as_bytes();
        let message = Message::Exchange(exchange::Request {
            invite: Secret::new(invite.as_bytes().to_vec()),
            holder,
            audience: "https://gateway.test".into(),
            max_life_s: 900,
        });
        let asker = Asker { identity: &self.identity, gateway_id: self.id, tenant: "acme", now };
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).unwrap();
        let (body, awaiting) = ask(&evidence, &asker, &message, &seed).unwrap();
        let request = self.agent.post(url("/crp/v1/message"));
        let reply = request.header("content-type", "application/crp").send(&body[..]);
        let reply = reply.map_err(|_| false)?;
        if reply.status() != 200 {
            return Err(false);
        }
        let reply = reply.into_body().read_to_vec().map_err(|_| false)?;
        match awaiting.open(&reply).map_err(|_| false)? {
            Answer::Exchange(answer) => Ok(answer.token),
            _ => Err(true),
        }
    }
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    UnixMillis(u64::try_from(since.as_millis()).unwrap()).0
}

#[test]
fn whenever_the_service_is_killed_an_invite_makes_one_token_and_loses_none() {
    let mut service = Service::new();
    let mut answered_before = 0;
    for round in 0..6_u64 {
        let create = ["invite", "create", "--document", "d1", "--organisation", "acme"];
        let invite = service.run(&create);
        let gate = service.gate();
        let over = AtomicBool::new(false);
        // Everybody asks until the service is gone, which it soon is.
        let before: BTreeSet<String> = std::thread::scope(|scope| {
            let guest = |guest| {
                let (gate, invite, over) = (&gate, &invite, &over);
                move || {
                    let mut tokens = BTreeSet::new();
                    while !over.load(Ordering::SeqCst) {
                        tokens.extend(gate.exchange(invite, guest));
                    }
                    tokens
                }
            };
            let guests: Vec<_> = (1..=GUESTS).map(|one| scope.spawn(guest(one))).collect();
            let _ = postern_rig::wait::until(Duration::from_millis(40 * round), || None::<()>);
            service.process.kill().unwrap();
            over.store(true, Ordering::SeqCst);
            guests.into_iter().flat_map(|one| one.join().unwrap()).collect()
        });
        assert!(before.len() <= 1, "round {round}: {} tokens", before.len());
        answered_before += before.len();
        service.killed_and_started_again();
        let gate = service.gate();
        let after: BTreeSet<String> =
            (1..=GUESTS).filter_map(|guest| gate.exchange(&invite, guest).ok()).collect();
        assert_eq!(after.len(), 1, "round {round}");
        assert!(before.is_subset(&after), "round {round}: a token was lost");
    }
    println!("answered before it was killed in {answered_before} of 6 rounds");
    let list: Value = serde_json::from_str(&service.run(&["invite", "list", "--json"])).unwrap();
    let states = list["invites"].as_array().unwrap().iter().map(|one| one["state"].as_str());
    assert!(states.eq([Some("exchanged"); 6]), "{list}");
}

#[test]
fn the_command_makes_lists_and_takes_back_and_never_prints_one_again() {
    let service = Service::new();
    let create = ["invite", "create", "--document", "q3-report", "--organisation", "acme"];
    let more = ["--trust", "suggester", "--scope", "documents:read", "--path", "/api/documents"];
    let made: Value =
        serde_json::from_str(&service.run(&[&create[..], &more, &["--json"]].concat())).unwrap();
    let (id, invite) = (made["id"].as_str().unwrap(), made["invite"].as_str().unwrap());
    assert!(invite.starts_with(&format!("inv_{id}_")) && invite.len() == 62);
    let issuer: Value =
        serde_json::from_str(&service.run(&["invite", "issuer", "--json"])).unwrap();
    assert!(issuer["kid"].as_str().unwrap().starts_with("invites-"));
    assert_eq!(service.run(&["invite", "issuer"]).matches("key: ").count(), 1);
    let next = service.run(&["invite", "issuer", "--next"]);
    assert!(!next.contains(issuer["kid"].as_str().unwrap()));
    assert_eq!(service.run(&["invite", "issuer", "--change"]), next);
    assert_eq!(service.run(&["invite", "issuer"]), next);
    let list = service.run(&["invite", "list"]);
    assert!(list.contains("q3-report") && list.contains("open"), "{list}");
    assert!(!list.contains(&invite[13..]), "{list}");
    service.gate().exchange(invite, 1).unwrap();
    let said = service.run(&["invite", "revoke", id]);
    assert!(said.contains("and its token"), "{said}");
    let revocations = service.run(&["revocation", "list", "--json"]);
    assert!(revocations.contains("\"token\""), "{revocations}");
    for (words, code) in [
        (vec!["invite", "revoke", "NoSuch00"], 1),
        (vec!["invite", "revoke", "short"], 2),
        (vec!["invite", "create", "--document", "a b", "--organisation", "acme"], 1),
        (vec!["invite", "create", "--document", "d", "--organisation", "acme", "--trust", "x"], 2),
        (vec!["invite", "accept", "--url", "http://gw.test/i", "--new-holder", "h"], 1),
    ] {
        let mut command = postern(service.folder.path(), &words);
        assert_eq!(
            command.stdin(Stdio::null()).output().unwrap().status.code(),
            Some(code),
            "{words:?}"
        );
    }
    // Not over a network in clear, however good the invite is.
    let file = service.folder.path().join("invite");
    postern_files::write_private(&file, invite.as_bytes()).unwrap();
    let words = [
        "invite",
        "accept",
        "--invite",
        "invite",
        "--url",
        "http://gw.test/i",
        "--new-holder",
        "h",
    ];
    let output = postern(service.folder.path(), &words).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!service.folder.path().join("h").exists());
}
