//! `postern approval` against a real key service, which a gate asks as it does in life.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_core::approvals::{Ask, Requested, Standing, State};
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use postern_crp::Identity;
use postern_crp::evidence::{Seen, Trust, appraise};
use postern_crp::exchange::{Asker, ask};
use postern_crp::message::{Answer, Message, approval};
use serde_json::Value;
use sha2::{Digest, Sha256};
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

const SERVE: &[&str] = &["keys", "serve", "--data-dir", "keys", "--while-stdin"];
const ENROL: &[&str] =
    &["enrol", "--local", "--data-dir", "keys", "--out", "gateway", "--tenant", "acme"];

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

impl Service {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut serve = postern(folder.path(), SERVE);
        let serve = serve.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let service = Self { process: serve.spawn().unwrap(), folder };
        let url = service.folder.path().join("keys/url");
        let up = postern_rig::wait::until(Duration::from_secs(30), || url.exists().then_some(()));
        assert!(up.is_some(), "the key service does not start");
        assert_eq!(service.run(ENROL).0, 0);
        service
    }

    fn run(&self, args: &[&str]) -> (i32, String) {
        self.fed(args, "")
    }

    fn fed(&self, args: &[&str], input: &str) -> (i32, String) {
        let mut command = postern(self.folder.path(), args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap())
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    /// Asks as the gate of the enrolled gateway.
    fn asks(&self, content: &str, named: Option<[u8; 16]>) -> Standing {
        let operator: Value = serde_json::from_str(&self.text("gateway/operator.json")).unwrap();
        let gateway: Value = serde_json::from_str(&self.text("gateway/gateway.json")).unwrap();
        let variables = self.text("gateway/gateway.env");
        let seed = variables.lines().find_map(|line| line.strip_prefix("POSTERN_GATE_KEY="));
        let seed = B64.decode(seed.unwrap().trim_matches(['"', '\''])).unwrap();
        let identity = Identity::from_seed(&Secret::new(seed)).unwrap();
        let ca = Certificate::from_pem(operator["ca"].as_str().unwrap().as_bytes()).unwrap();
        let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[ca])).build();
        let agent = Agent::config_builder().tls_config(tls);
        let agent: Agent = agent.timeout_global(Some(Duration::from_secs(10))).build().into();
        let simulated = B64.decode(operator["danger_allow_simulated"].as_str().unwrap()).unwrap();
        let base = operator["url"].as_str().unwrap().trim_end_matches('/').to_owned();
        let document = agent.get(format!("{base}/crp/v1/evidence")).call().unwrap();
        let document = document.into_body().read_to_vec().unwrap();
        let trust = Trust::Simulated(simulated.try_into().unwrap());
        let evidence = appraise(&document, &trust, Seen::default(), now()).unwrap();
        let gateway_id =
            postern_core::hex::read(gateway["gateway_id"].as_str().unwrap().as_bytes());
        let asker = Asker {
            identity: &identity,
            gateway_id: gateway_id.unwrap(),
            tenant: "acme",
            now: now(),
        };
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).unwrap();
        let message = Message::Approval(approval::Request::Ask(Box::new(asking(content, named))));
        let (body, awaiting) = ask(&evidence, &asker, &message, &seed).unwrap();
        let request = agent.post(format!("{base}/crp/v1/message"));
        let reply = request.header("content-type", "application/crp").send(&body[..]).unwrap();
        let reply = reply.into_body().read_to_vec().unwrap();
        match awaiting.open(&reply).unwrap() {
            Answer::Approval(answer) => answer.standing,
            _ => panic!("no standing"),
        }
    }
}

fn now() -> UnixMillis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    UnixMillis(u64::try_from(since.as_millis()).unwrap())
}

fn asking(content: &str, named: Option<[u8; 16]>) -> Ask {
    Ask {
        agent: "deploy-bot".into(),
        user: "ann".into(),
        organisation: "acme".into(),
        subject_hash: [1; 32],
        passkey: false,
        life: Duration::from_secs(600),
        named,
        requested: Requested {
            method: "POST".into(),
            scheme: "https".into(),
            authority: "api.test".into(),
            path: "/api/deploy?to=prod".into(),
            fields: vec![("content-type".into(), b"text/plain".to_vec())],
            content_digest: Some(Sha256::digest(content).into()),
            content_length: content.len() as u64,
            content: content.into(),
        },
        credentials: vec!["slack".into()],
    }
}

fn hex(standing: Standing) -> String {
    postern_core::hex::lower(&standing.id)
}

#[test]
fn requests_are_listed_shown_let_go_and_refused_in_a_terminal() {
    let service = Service::new();
    let put = [
        "credential",
        "put",
        "slack",
        "--authority",
        "api.test",
        "--method",
        "GET,POST",
        "--path",
        "/api/**",
        "--approval",
        "writes",
        "--approvers",
        "2",
    ];
    assert_eq!(service.fed(&put, "xoxb-made-up").0, 0);
    let (_, list) = service.run(&["credential", "list"]);
    assert!(list.contains("writes, 2 people"), "{list}");
    let first = service.asks("ship \u{202e}it", None);
    let id = hex(first);
    let (code, list) = service.run(&["approval", "list"]);
    assert!(code == 0 && list.contains(&id) && list.contains("deploy-bot"), "{list}");
    assert!(list.contains("0/2") && !list.contains("ship"), "{list}");
    let (code, shown) = service.run(&["approval", "show", &id]);
    assert_eq!(code, 0, "{shown}");
    for part in [
        "request      POST https://api.test/api/deploy",
        "query        to = prod",
        "field        content-type = text/plain",
        "  | ship \\u{202e}it",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let (code, said) = service.run(&["approval", "approve", &id, "--reason", "asked for"]);
    assert!(code == 0 && said.contains("somebody else"), "{said}");
    let (code, said) = service.run(&["approval", "approve", &id]);
    assert!(code == 1 && said.contains("already"), "{said}");
    let (code, said) = service.run(&["approval", "deny", &id, "--json"]);
    assert!(code == 1 && said.contains("409"), "{said}");

    let (_, put) = service.fed(&[&put[..11], &["--replace"]].concat(), "xoxb-made-up");
    assert!(put.contains("version 2"), "{put}");
    let second = service.asks("other", None);
    let (code, said) = service.run(&["approval", "approve", &hex(second), "--grant", "--json"]);
    assert_eq!(code, 0, "{said}");
    let document: Value = serde_json::from_str(said.lines().next().unwrap_or_default())
        .or_else(|_| serde_json::from_str(&said))
        .unwrap();
    assert_eq!(document["state"], "approved");
    assert!(document["grant_until"].as_u64().unwrap() > now().0 + 1_700_000, "{said}");
    let used = service.asks("other", Some(second.id));
    assert!(used.claimed && used.state == State::Used);
    let alike = service.asks("alike", None);
    assert!(alike.claimed, "the grant covers it");
    let (_, all) = service.run(&["approval", "list", "--all"]);
    assert!(all.matches("used").count() == 2 && all.contains("pending"), "{all}");
    let (_, shown) = service.run(&["approval", "show", &hex(second)]);
    assert!(shown.contains("not kept any more"), "{shown}");
}

#[test]
fn what_is_called_wrongly_ends_with_two_and_what_is_not_there_with_one() {
    let service = Service::new();
    let none = "0".repeat(32);
    let long = "x".repeat(201);
    for (words, want) in [
        (vec!["approval", "show", none.as_str()], 1),
        (vec!["approval", "approve", none.as_str()], 1),
        (vec!["approval", "deny", none.as_str()], 1),
        (vec!["approval", "show", "../keys"], 2),
        (vec!["approval", "approve", none.as_str(), "--reason", long.as_str()], 2),
        (vec!["approval", "approve", none.as_str(), "--grant", "soon"], 2),
        (
            vec![
                "credential",
                "put",
                "x",
                "--authority",
                "a.test",
                "--method",
                "GET",
                "--path",
                "/**",
                "--require-passkey",
            ],
            2,
        ),
    ] {
        let (code, said) = service.run(&words);
        assert_eq!(code, want, "{words:?}: {said}");
    }
}
