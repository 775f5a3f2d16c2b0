//! The demonstration, as somebody does who follows what it prints: a passkey, a write that
//! waits, a click on `Approve`, and the write again.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use postern_browser::root;
use postern_rig::client::{Request, exchange};
use postern_rig::message::Message;
use serde_json::Value;
use support::Visit;

const PATIENCE: Duration = Duration::from_secs(15);

/// `postern demo`, up.
struct Demo {
    process: Child,
    /// What it tells its user to do.
    invitation: String,
}

impl Demo {
    fn start() -> Self {
        // Built beside the tests.
        let here = std::env::current_exe().unwrap();
        let postern = here.ancestors().nth(2).unwrap().join("postern");
        let mut command = Command::new(postern);
        command.args(["demo", "--modules", "target/plugins"]).current_dir(root());
        let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(process.stderr.take().unwrap());
        let lines = said.lines().map_while(Result::ok);
        let invitation: Vec<String> = lines.take_while(|line| line != "Ctrl-C ends it.").collect();
        Self { process, invitation: invitation.join("\n") }
    }

    /// The first word behind `mark`.
    fn word(&self, mark: &str) -> &str {
        let (_, rest) = self.invitation.split_once(mark).expect(&self.invitation);
        rest.split(['\'', ' ', '\n']).next().unwrap()
    }

    fn write(&self, approval: Option<&str>) -> Message {
        let port = self.word("http://127.0.0.1:").split('/').next().unwrap().parse().unwrap();
        let content = self.invitation.split_once("-d '").unwrap().1.split('\'').next().unwrap();
        let request = Request::new("POST", "slack.com", "/api/chat.postMessage");
        let request = request.with("X-TAP-Key", self.word("X-TAP-Key: "));
        let request = request.with("X-TAP-Credential", "slack");
        let mut request = request.with("Content-Type", "application/json");
        if let Some(id) = approval {
            request = request.with("Postern-Approval", id);
        }
        exchange(port, &request.sized(content), PATIENCE).unwrap().unwrap()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

#[test]
fn a_write_waits_until_somebody_approves_it_on_the_page() {
    let demo = Demo::start();
    let link = format!("https://localhost:{}", demo.word("https://localhost:"));
    let origin = link.split("/.postern").next().unwrap();
    let visit = Visit::new(origin, demo.word("--ignore-certificate-errors-spki-list="));
    let _authenticator = visit.browser.authenticator().unwrap();
    visit.register(&link);
    visit.sign_in("inbox");
    visit.on("Inbox");
    let waits = demo.write(None);
    let problem: Value = serde_json::from_slice(&waits.content).unwrap();
    assert_eq!((waits.status(), problem["code"].as_str()), (428, Some("approval_required")));
    visit.browser.go(problem["link"].as_str().unwrap()).unwrap();
    visit.on("Request");
    for part in ["POST", "slack.com", "/api/chat.postMessage", "release 1.4", "triage-bot", "ada"] {
        assert!(visit.text().contains(part), "{part}: {}", visit.text());
    }
    visit.picture("demo");
    visit.press("Approve");
    visit.browser.named("p", "This is over.").unwrap();
    let id = problem["approval"].as_str().unwrap();
    let sent = demo.write(Some(id));
    let content = String::from_utf8_lossy(&sent.content);
    assert_eq!(sent.status(), 200, "{content}");
    assert!(content.contains("authorization: [REDACTED]"), "{content}");
    assert_eq!(demo.write(Some(id)).status(), 409);
}
