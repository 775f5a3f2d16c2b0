//! Invites where many come at once, by our own command, and by a client of other libraries.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ed25519_dalek::SigningKey;
use postern_capability::mint::{self, Unsigned};
use postern_rig::client::{Request, exchange};
use postern_rig::gateway::{Kind, Launch};
use serde_json::{Value, json};

use super::{Caller, Seen, expect};
use crate::capability::AUDIENCE;
use crate::gateway::{Gateway, Site};
use crate::root;
use crate::run::now;
use crate::template::Names;
use crate::world::{InviteSeed, entropy, short};

const PATIENCE: Duration = Duration::from_secs(20);
const PATH: &str = "/.postern/invites";
const AT_ONCE: usize = 100;

fn gateway(site: &Site) -> Result<Gateway> {
    let mut config = site.config(None)?;
    let issuer = site.world.issuer().clone();
    config.module("gate", |gate| {
        let capability = json!({"audience": AUDIENCE, "issuers": [issuer], "invites": {}});
        gate["authenticators"] = json!([{"capability": capability}]);
        gate["scopes"] = json!([{"methods": ["GET"], "path": "/api/documents/{id}/**",
            "require": ["documents:read"], "document": "id"}]);
    });
    Gateway::launched(site, &Launch { workers: 2, ..site.launch() }, &config)
}

fn caller(site: &Site, check: &str) -> Result<(Caller, String)> {
    let invites = [("one".to_owned(), InviteSeed::default())].into();
    let caller = Caller::with_invites(site, check, invites)?;
    let invite = site.world.names(&caller.named).invite("one").context("invite")?;
    Ok((caller, String::from_utf8(invite)?))
}

/// The exchange as the holder of `key` signs it.
fn exchanging(invite: &str, key: &SigningKey) -> Result<Request> {
    let unsigned = Unsigned {
        method: "POST",
        scheme: "http",
        authority: "api.test",
        target: PATH,
        token: invite,
        content: None,
        fields: &[],
    };
    let fields = mint::sign_request(&unsigned, key, now().seconds(), &short(&entropy().0))?;
    Ok(Request::new("POST", "api.test", PATH)
        .with("postern-capability", invite)
        .with("signature-input", fields.signature_input)
        .with("signature", fields.signature))
}

/// A hundred strangers with one invite, on two workers.
pub fn at_once(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let gateway = gateway(site)?;
    let (_, invite) = caller(site, "invites_at_once")?;
    let keys: Vec<_> = (0..AT_ONCE).map(|_| SigningKey::from_bytes(&entropy().0)).collect();
    let mut lines = Vec::new();
    let requests: Vec<_> =
        keys.iter().map(|key| exchanging(&invite, key)).collect::<Result<_>>()?;
    let port = gateway.port();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let ask = |request| move || exchange(port, request, PATIENCE).ok().flatten();
        let asking: Vec<_> = requests.iter().map(|one| scope.spawn(ask(one))).collect();
        asking.into_iter().map(|one| one.join().ok().flatten()).collect()
    });
    let with = |status| answers.iter().flatten().filter(|one| one.status() == status).count();
    expect(&mut lines, "answers with a token", 1, with(200));
    expect(&mut lines, "answers", AT_ONCE, with(200) + with(401) + with(429));
    println!("        {} refused, {} too many", with(401), with(429));
    let winner = answers.iter().position(|one| one.as_ref().is_some_and(|one| one.status() == 200));
    let winner = keys.get(winner.context("nobody has a token")?).context("a key")?;
    let again = gateway.ask(&exchanging(&invite, winner)?)?;
    let first = answers.iter().flatten().find(|one| one.status() == 200).context("an answer")?;
    // The gateway may have had enough of strangers.
    if again.status() == 200 {
        expect(&mut lines, "the token, again", &first.content, &again.content);
    }
    expect(&mut lines, "requests at the upstream", 0, site.take_forwarded().len());
    site.wait_for_records(AT_ONCE + 1)?;
    seen.keep(site, gateway)?;
    Ok(lines)
}

/// `postern invite accept`, and the same from the specification alone.
pub fn by_clients(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let gateway = gateway(site)?;
    let mut lines = Vec::new();
    let (_, invite) = caller(site, "invites_by_command")?;
    let folder = tempfile::tempdir()?;
    postern_files::write_private(folder.path().join("invite"), invite.as_bytes())?;
    let Kind::Wasmtime { postern, .. } = Kind::wasmtime(&root())? else {
        anyhow::bail!("no command")
    };
    let accept = |holder: &[&str]| -> Result<(Option<i32>, String)> {
        let url = format!("http://127.0.0.1:{}{PATH}", gateway.port());
        let words = ["invite", "accept", "--invite", "invite", "--url", &url, "--json"];
        let mut command = Command::new(&postern);
        command.args(words).args(holder).current_dir(folder.path()).stdin(Stdio::null());
        let done = command.output()?;
        Ok((done.status.code(), String::from_utf8_lossy(&done.stdout).into_owned()))
    };
    let (code, first) = accept(&["--new-holder", "guest.key"])?;
    expect(&mut lines, "accept", (Some(0), true), (code, first.contains("pct1.")));
    let again = accept(&["--holder-key", "guest.key"])?;
    expect(&mut lines, "accept again", (Some(0), first), again);
    let (code, _) = accept(&["--new-holder", "other.key"])?;
    expect(&mut lines, "accept by another", Some(1), code);

    let (_, invite) = caller(site, "invites_by_python")?;
    let python = root().join("target/tools/python/bin/python");
    ensure!(python.exists(), "no libraries for the client: run `cargo xtask test --only identity`");
    let issuer = site.world.issuer();
    let text = |name: &str| issuer.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut command = Command::new(python);
    command.arg(root().join("tests/clients/python/capability.py"));
    command.args(["--invite", &gateway.port().to_string(), "api.test", &invite]);
    command.args([text("kid"), text("issuer"), text("key"), AUDIENCE]);
    let done = command.output().context("the client")?;
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    if !done.status.success() || !said.contains("1 passed, 0 failed") {
        lines.extend([said, String::from_utf8_lossy(&done.stderr).into_owned()]);
    }
    site.take_forwarded();
    site.world.take_records()?;
    seen.keep(site, gateway)?;
    Ok(lines)
}
