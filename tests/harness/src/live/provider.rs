//! Tokens of a provider that we did not write: npm's `oidc-provider`, which is certified.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use postern_rig::client::{Request, exchange};
use postern_rig::wait::until;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Caller, Seen, expect};
use crate::dpop;
use crate::gateway::{Gateway, Site};
use crate::root;
use crate::run::now;
use crate::world::introspection::{CLIENT, SECRET};

const PATIENCE: Duration = Duration::from_secs(20);
const AUDIENCE: &str = "https://gateway.test";
/// The client of the provider that asks for tokens.
const AGENT: (&str, &str) = ("agent", "agent-s3cret/7Gq+Zk4~Qw");
const ALGORITHMS: [&str; 5] = ["RS256", "PS256", "ES256", "ES384", "EdDSA"];
const HOLDER: &str = "p256-holder";
/// Nothing is changed about a proof.
const NONE: (&Value, &Value) = (&Value::Null, &Value::Null);

/// The running provider; it ends with its input.
struct Provider {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    port: u16,
}

impl Provider {
    fn start() -> Result<Self> {
        let folder = root().join("target/tools/oidc");
        let installed = folder.join("node_modules/oidc-provider").exists();
        ensure!(installed, "no oidc-provider: run `cargo xtask setup`");
        let mut command = Command::new("node");
        command.arg(root().join("tests/clients/oidc/provider.mjs")).arg(folder);
        command.env("GATEWAY_SECRET", SECRET).stderr(Stdio::null());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().context("input")?;
        let output = BufReader::new(child.stdout.take().context("output")?);
        let mut provider = Self { child, input, output, port: 0 };
        provider.port = provider.heard("ready")?.parse()?;
        Ok(provider)
    }

    /// What it says behind a word; other lines are its library's.
    fn heard(&mut self, word: &str) -> Result<String> {
        let mut line = String::new();
        while self.output.read_line(&mut line)? > 0 {
            if let Some(rest) = line.trim().strip_prefix(word) {
                return Ok(rest.trim().to_owned());
            }
            line.clear();
        }
        anyhow::bail!("the provider has ended")
    }

    fn told(&mut self, command: &str) -> Result<String> {
        writeln!(self.input, "{command}")?;
        self.heard(command)
    }

    fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A form from the agent's client, with a proof where a token is to be bound.
    fn post(&self, path: &str, form: &[(&str, &str)], bound: bool) -> Result<Value> {
        let encode = |text| form_urlencoded::byte_serialize(text).collect::<String>();
        let pair = format!("{}:{}", encode(AGENT.0.as_bytes()), encode(AGENT.1.as_bytes()));
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut request = Request::new("POST", &format!("127.0.0.1:{}", self.port), path)
            .with("authorization", format!("Basic {}", STANDARD.encode(pair)))
            .with("content-type", "application/x-www-form-urlencoded");
        if bound {
            let about = json!({"htm": "POST", "htu": format!("{}{path}", self.issuer())});
            request = request.with("dpop", dpop::proof(HOLDER, about, NONE, now()));
        }
        let answer = exchange(self.port, &request.sized(body), PATIENCE)?.context("no answer")?;
        let said = String::from_utf8_lossy(&answer.content).into_owned();
        ensure!(answer.status() == 200, "{path}: {} {said}", answer.status());
        Ok(serde_json::from_str(&said).unwrap_or_default())
    }

    /// A token in this form, or signed with this algorithm.
    fn token(&self, form: &str, bound: bool) -> Result<String> {
        let resource = format!("{AUDIENCE}/{form}");
        let scope = ("scope", "documents:read");
        let form = [("grant_type", "client_credentials"), scope, ("resource", &resource)];
        let said = self.post("/token", &form, bound)?;
        Ok(said["access_token"].as_str().context("no access token")?.to_owned())
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A gateway whose issuer is the provider.
fn gateway(site: &Site, provider: &Provider) -> Result<Gateway> {
    let caller = Caller::new(site, "provider")?;
    let mut scenario = caller.named.scenario.clone();
    let (issuer, authority) = (provider.issuer(), format!("127.0.0.1:{}", provider.port));
    let at = |path| json!({"cluster": "issuer", "authority": authority, "path": path});
    let gate = json!({"authenticators": [
        {"jwt": {
            "issuer": issuer, "audience": [AUDIENCE], "type": "at+jwt",
            "jwks": {"from": at("/jwks")}, "dpop": {},
        }},
        {"introspected": {
            "issuer": issuer, "audience": [AUDIENCE], "ttl": "1s", "dpop": {},
            "endpoint": at("/token/introspection"), "client": {"id": CLIENT},
        }},
    ]});
    scenario.config.insert("gate".to_owned(), gate);
    let mut config = site.config(Some(&scenario))?;
    config.copy_cluster("key_service", "issuer")?;
    config.cluster_at("issuer", provider.port)?;
    if let Some(cluster) = config.cluster("issuer")?.as_object_mut() {
        cluster.remove("transport_socket");
    }
    Gateway::with(site, &config)
}

/// What a request with a token leads to: status, and how its caller was authenticated or why not.
fn asked(site: &Site, gateway: &Gateway, fields: &[(&str, String)]) -> Result<(u16, String)> {
    let mut request = Request::new("GET", "api.test", "/api/things");
    for (name, value) in fields {
        request = request.with(name, value);
    }
    let status = gateway.ask(&request)?.status();
    let record = site.wait_for_records(1)?;
    let record: Value = serde_json::from_slice(record.first().context("no record")?)?;
    let word = if status == 200 { &record["identity"] } else { &record["reason"] };
    Ok((status, word.as_str().unwrap_or_default().to_owned()))
}

fn bearer(token: &str) -> [(&'static str, String); 1] {
    [("authorization", format!("Bearer {token}"))]
}

/// A token with a proof over the request.
fn proven(token: &str) -> [(&'static str, String); 2] {
    let about = json!({
        "htm": "GET", "htu": "http://api.test/api/things",
        "ath": URL_SAFE_NO_PAD.encode(Sha256::digest(token)),
    });
    let proof = dpop::proof(HOLDER, about, NONE, now());
    [("authorization", format!("DPoP {token}")), ("dpop", proof)]
}

fn good(kind: &str) -> (u16, String) {
    (200, kind.to_owned())
}

fn refused(reason: &str) -> (u16, String) {
    (401, reason.to_owned())
}

/// Client credentials, each algorithm, rotated keys, opaque and revoked tokens, bound ones.
pub fn tokens(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let mut provider = Provider::start()?;
    let gateway = gateway(site, &provider)?;
    site.world.take_records()?;
    let mut lines = Vec::new();
    rotated(site, &gateway, &mut provider, &mut lines).context("rotation")?;
    revoked(site, &gateway, &mut provider, &mut lines).context("revocation")?;
    bound(site, &gateway, &provider, &mut lines).context("proofs")?;
    site.take_forwarded();
    seen.keep(site, gateway)?;
    Ok(lines)
}

/// Tokens of the keys at hand are good, and those of keys that are gone are not.
fn rotated(
    site: &Site,
    gateway: &Gateway,
    provider: &mut Provider,
    lines: &mut Vec<String>,
) -> Result<()> {
    let old: Vec<String> =
        ALGORITHMS.iter().map(|one| provider.token(one, false)).collect::<Result<_>>()?;
    for (token, name) in old.iter().zip(ALGORITHMS) {
        expect(lines, name, good("jwt"), asked(site, gateway, &bearer(token))?);
    }
    provider.told("rotate")?;
    for name in ALGORITHMS {
        let token = provider.token(name, false)?;
        let what = format!("{name}, new key");
        expect(lines, &what, good("jwt"), asked(site, gateway, &bearer(&token))?);
    }
    for (token, name) in old.iter().zip(ALGORITHMS) {
        let what = format!("{name}, key that is gone");
        expect(lines, &what, refused("unknown_key"), asked(site, gateway, &bearer(token))?);
    }
    expect(lines, "questions about JWTs", "0".to_owned(), provider.told("asked")?);
    Ok(())
}

fn revoked(
    site: &Site,
    gateway: &Gateway,
    provider: &mut Provider,
    lines: &mut Vec<String>,
) -> Result<()> {
    let token = provider.token("opaque", false)?;
    expect(lines, "opaque", good("introspected"), asked(site, gateway, &bearer(&token))?);
    expect(lines, "questions", "1".to_owned(), provider.told("asked")?);
    provider.post("/token/revocation", &[("token", &token)], false)?;
    let mut last = good("introspected");
    let _ = until(Duration::from_secs(5), || {
        last = asked(site, gateway, &bearer(&token)).ok()?;
        (last != good("introspected")).then_some(())
    });
    expect(lines, "revoked", refused("inactive"), last);
    let invented = "x".repeat(43);
    let got = asked(site, gateway, &bearer(&invented))?;
    expect(lines, "invented", refused("inactive"), got);
    Ok(())
}

fn bound(
    site: &Site,
    gateway: &Gateway,
    provider: &Provider,
    lines: &mut Vec<String>,
) -> Result<()> {
    for (form, kind) in [("ES256", "jwt"), ("RS256", "jwt"), ("opaque", "introspected")] {
        let token = provider.token(form, true)?;
        let what = |how: &str| format!("{form}, {how}");
        let got = asked(site, gateway, &proven(&token))?;
        expect(lines, &what("with a proof"), good(kind), got);
        let got = asked(site, gateway, &bearer(&token))?;
        expect(lines, &what("as if it were anybody's"), refused("bound"), got);
        let [scheme, _] = proven(&token);
        let got = asked(site, gateway, &[scheme])?;
        expect(lines, &what("without a proof"), refused("proof_missing"), got);
    }
    Ok(())
}
