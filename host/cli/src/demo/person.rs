//! A write that waits for a person: by command in the table, on the page while it stays up.

use postern_keys::tls;
use postern_rig::client::Request;
use serde_json::Value;

use super::stage::Stage;
use super::verdict::Seen;
use crate::failure::{Failure, Outcome, Sort};

/// The one who decides on the page. Who asks is ada.
const PERSON: &str = "grace";
const CONTENT: &str = r#"{"text":"release 1.4 is out"}"#;

fn write(stage: &Stage) -> Request {
    let request = Request::new("POST", "slack.com", "/api/chat.postMessage");
    let request = request.with("X-TAP-Key", &stage.key).with("X-TAP-Credential", "slack");
    request.with("Content-Type", "application/json").sized(CONTENT)
}

fn approved(stage: &Stage) -> Outcome<Seen> {
    stage.ask(&write(stage).with("Postern-Approval", &stage.approval))
}

/// Asked for, and refused until somebody has decided.
pub fn waits(stage: &mut Stage) -> Outcome<Seen> {
    let mut seen = stage.ask(&write(stage))?;
    let problem: Value = serde_json::from_slice(&seen.content).unwrap_or_default();
    let part = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
    stage.approval = part("approval");
    if stage.approval.is_empty() {
        seen.problems.push("expected the id of an approval".to_owned());
    }
    seen.text = format!("{} {}, {}: {}", seen.status, part("code"), part("state"), part("link"));
    Ok(seen)
}

/// Somebody says yes in a terminal.
pub fn decided(stage: &mut Stage) -> Outcome<Seen> {
    let args = ["approval", "approve", &stage.approval];
    stage.commands.run(&args, b"")?.good("approval approve")?;
    approved(stage)
}

/// It was for one request.
pub fn again(stage: &mut Stage) -> Outcome<Seen> {
    approved(stage)
}

/// How to be the person.
pub fn invitation(stage: &Stage) -> Outcome<String> {
    let args = ["person", "add", PERSON, "--organisation", "acme", "--link-life", "1h", "--json"];
    let added = stage.commands.run(&args, b"")?.good("person add")?;
    let added: Value = serde_json::from_str(&added.stdout).or_bug("person add")?;
    let link = added["link"].as_str().ok_or_else(|| Failure::bug("person add: no link"))?;
    let pin = tls::key_pin(&stage.path("keys/tls/server.pem")).or_bug("certificate")?;
    let (port, key) = (stage.port()?, &stage.key);
    let profile = stage.path("browser").display().to_string();
    Ok(format!(
        "A write waits for a person. Be that person:\n\n\
         1. Open this link, good for an hour, and register a passkey:\n\n  \
         {link}\n\n   \
         Its certificate is of the demonstration's own making, and a browser has to take it before it\n   \
         lets passkeys be used. A Chromium with a profile that goes when the demonstration ends:\n\n  \
         chromium --user-data-dir={profile} \\\n       \
         --ignore-certificate-errors-spki-list={pin} \\\n       \
         '{link}'\n\n   \
         No phone, key or fingerprint reader at hand? Developer tools, More tools, WebAuthn, Enable\n   \
         virtual authenticator environment, Add (ctap2, internal, with user verification).\n\n\
         2. Ask. The answer is 428, with the id of an approval and the link to the page that shows it:\n\n  \
         curl -i -H 'Host: slack.com' -H 'X-TAP-Key: {key}' -H 'X-TAP-Credential: slack' \\\n       \
         -H 'Content-Type: application/json' -d '{CONTENT}' \\\n       \
         http://127.0.0.1:{port}/api/chat.postMessage\n\n\
         3. Approve it on the page, and ask again with  -H 'Postern-Approval: ID'  added."
    ))
}
