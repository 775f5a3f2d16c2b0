//! What Postern adds to a request in Envoy, beside what Envoy's own filters add: processor time
//! of the whole process a request, all configurations in turns on one core.
//!
//! Each side is an Envoy of its own with the same listener, route, upstream and answer (4 KiB of
//! JSON); only the filters differ. What a side adds is its median less that of the Envoy
//! without filters.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use postern_harness::gateway::{Gateway, Site};
use postern_harness::live::Caller;
use postern_harness::root;
use postern_harness::scenario::{Boundary, TokenSeed};
use postern_rig::gateway::{Config, Kind};
use postern_rig::upstream::{Answer, Upstream};
use serde_json::{Value, json};

use crate::load::{self, Until};
use crate::machine;
use crate::natives;
use postern_bench_line::{Line, Op, Pair};

/// Connections at once.
const CALLERS: usize = 8;
/// Before anything counts: caches fill, code gets warm.
const WARM: Duration = Duration::from_millis(1500);
/// Keys of the issuer, each of another algorithm; the first one signs where it does not matter.
const KEYS: [&str; 3] = ["k1", "es1", "rs1"];
/// Tokens of each in turn, more than any cache here keeps.
const TOKENS: usize = 4000;
/// Bytes of the answer.
const ANSWER: usize = 4096;

const POLICY: &str = r#"package envoy.authz

import rego.v1

default allow := false

allow if {
  input.attributes.request.http.method in {"GET", "HEAD"}
  startswith(input.attributes.request.http.path, "/api/")
  "documents:read" in input.postern.scopes
}
"#;

/// One Envoy and what is asked of it.
struct Side {
    name: &'static str,
    gateway: Gateway,
    requests: Vec<Vec<u8>>,
    /// Microseconds of processor time a request, one figure a run.
    cpu: Vec<f64>,
}

/// A module that is measured alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Module {
    Gate,
    Audit,
}

/// What the sides share.
struct Stage {
    site: Site,
    /// Answers `ext_authz`.
    judge: Upstream,
    key: Vec<u8>,
    /// In the order of [`KEYS`].
    tokens: Vec<Vec<Vec<u8>>>,
}

impl Stage {
    fn new() -> Result<Self> {
        let site = Site::new(Boundary::Envoy, Kind::envoy(&root()))?;
        let item = r#"{"id": 1048576, "name": "a document", "open": true, "tags": ["a", "b"]},"#;
        let answer = Answer {
            fields: vec![(b"content-type".to_vec(), b"application/json".to_vec())],
            chunks: vec![item.bytes().cycle().take(ANSWER).collect()],
            ..Answer::default()
        };
        site.upstreams.values().for_each(|upstream| upstream.answer(answer.clone()));
        site.world.backend.issuer.publish(KEYS.map(str::to_owned).to_vec());
        let name = |key: &str, index: usize| format!("{key}-{index}");
        let seed = |(key, index): (&str, usize)| {
            let claims = json!({"jti": format!("token-{index}"), "exp": "+3000"});
            let seed = TokenSeed { key: Some(key.into()), claims, ..TokenSeed::default() };
            (name(key, index), seed)
        };
        let all = KEYS.into_iter().flat_map(|key| (0..TOKENS).map(move |index| (key, index)));
        let caller = Caller::with_tokens(&site, "bench", all.map(seed).collect())?;
        let token = |key, index| caller.token(&site, &name(key, index)).context("token");
        let of = |key| (0..TOKENS).map(|index| token(key, index)).collect::<Result<Vec<_>>>();
        let tokens = KEYS.into_iter().map(of).collect::<Result<_>>()?;
        let key = caller.key(&site).context("key")?;
        Ok(Self { judge: Upstream::start(None)?, site, key, tokens })
    }

    /// A request with these fields beside what an ordinary client sends.
    fn request(&self, fields: &[(&str, &[u8])]) -> Vec<u8> {
        let usual: [(&str, &[u8]); 5] = [
            ("host", b"api.test"),
            ("user-agent", b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/141.0.0.0"),
            ("accept", b"application/json, text/plain;q=0.9"),
            ("accept-encoding", b"gzip, deflate, br, zstd"),
            ("x-request-id", b"6f9619ff-8b86-4011-b42d-00cf4fc964ff"),
        ];
        let mut request = b"GET /api/things?page=2&limit=50 HTTP/1.1\r\n".to_vec();
        for (name, value) in usual.iter().chain(fields) {
            request.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        request.extend(b"\r\n");
        request
    }

    fn with_key(&self) -> Vec<Vec<u8>> {
        vec![self.request(&[("x-tap-key", &self.key), ("x-tap-credential", b"slack")])]
    }

    fn with_token(&self, name: &str) -> Vec<u8> {
        let token = self.tokens.iter().flatten().next().map_or(Vec::new(), |token| bearer(token));
        self.request(&[(name, &token), ("x-tap-credential", b"maps")])
    }

    /// One request for each token of a key.
    fn with_tokens(&self, key: usize) -> Vec<Vec<u8>> {
        let one = |token: &Vec<u8>| {
            self.request(&[("authorization", &bearer(token)), ("x-tap-credential", b"maps")])
        };
        self.tokens.get(key).into_iter().flatten().map(one).collect()
    }

    /// Envoy with `filter` in front of its router, or with nothing.
    fn native(
        &self,
        name: &'static str,
        filter: Option<Value>,
        requests: Vec<Vec<u8>>,
    ) -> Result<Side> {
        let mut config = self.site.config(None)?;
        natives::plain(&mut config, filter)?;
        config.copy_cluster("api", "judge")?;
        config.cluster_at("judge", self.judge.port())?;
        natives::secrets(&mut config);
        self.side(name, &config, requests)
    }

    /// Envoy with Postern, `gate` changed by this.
    fn postern(
        &self,
        name: &'static str,
        change: impl Fn(&mut Value),
        requests: Vec<Vec<u8>>,
    ) -> Result<Side> {
        let mut config = self.site.config(None)?;
        config.module("gate", |gate| change(gate));
        // As shipped; scenarios want each record at once.
        config.module("audit", |audit| audit["batch"] = json!({"records": 100, "every": "1s"}));
        let hcm = &mut config.listener("ingress")?["filter_chains"][0]["filters"][0];
        let loggers = hcm["typed_config"]["access_log"].as_array_mut().context("access_log")?;
        loggers.retain(|logger| logger["name"] == "postern.audit");
        self.side(name, &config, requests)
    }

    /// Envoy with one module of Postern; without records the gate would refuse what comes.
    fn alone(&self, module: Module, requests: Vec<Vec<u8>>) -> Result<Side> {
        let mut config = self.site.config(None)?;
        config.module("audit", |audit| audit["batch"] = json!({"records": 100, "every": "1s"}));
        let (mut filter, mut logger) = (Value::Null, Value::Null);
        let hcm = &config.listener("ingress")?["filter_chains"][0]["filters"][0]["typed_config"];
        for (from, to) in [("http_filters", &mut filter), ("access_log", &mut logger)] {
            *to = hcm[from].get(0).cloned().context("no module")?;
        }
        natives::plain(&mut config, (module == Module::Gate).then_some(filter))?;
        let hcm = &mut config.listener("ingress")?["filter_chains"][0]["filters"][0];
        hcm["typed_config"]["access_log"] = json!([logger]);
        let name = if module == Module::Gate { "gate and audit" } else { "audit alone" };
        self.side(name, &config, requests)
    }

    fn side(&self, name: &'static str, config: &Config, requests: Vec<Vec<u8>>) -> Result<Side> {
        let gateway = Gateway::fresh(&self.site, config).with_context(|| name.to_owned())?;
        machine::pin(gateway.process.pid(), 0);
        Ok(Side { name, gateway, requests, cpu: Vec::new() })
    }

    /// Load, and what it cost.
    fn load(&self, side: &Side, time: Duration) -> Result<f64> {
        let pid = side.gateway.process.pid();
        let before = machine::processor_time(pid)?;
        let done = load::run_all(side.gateway.port(), &side.requests, CALLERS, Until::Time(time))?;
        let used = machine::processor_time(pid)? - before;
        ensure!(
            done.wrong == 0 && done.right > 0,
            "{}: {} of {} answers were not 200",
            side.name,
            done.wrong,
            done.wrong + done.right
        );
        self.site.take_forwarded();
        self.judge.take();
        self.site.world.take_records()?;
        Ok(used * 1e6 / done.right as f64)
    }
}

fn bearer(token: &[u8]) -> Vec<u8> {
    [b"Bearer ", token].concat()
}

/// An authenticator of access tokens that keeps so many.
fn jwt(gate: &mut Value, keys: &Value, cache: usize) {
    gate["authenticators"] = json!([{"jwt": {
        "issuer": "https://issuer.test", "audience": ["https://gateway.test"], "type": "at+jwt",
        "jwks": {"inline": keys}, "cache": cache}}]);
}

fn sides(stage: &Stage) -> Result<Vec<Side>> {
    let keys = &stage.site.world.backend.issuer.set();
    let key = || stage.with_key();
    let policy = |gate: &mut Value| gate["policy"] = json!({"rego": {"inline": POLICY}});
    let none = |_: &mut Value| {};
    let one = || vec![stage.with_token("authorization")];
    let trivial = natives::wasm(stage.site.world.folder.path())?;
    Ok(vec![
        stage.native("direct", None, key())?,
        stage.native("ext_authz", Some(natives::ext_authz()), key())?,
        stage.native("empty wasm", Some(trivial), key())?,
        stage.native("api_key_auth", Some(natives::api_key_auth(&stage.key)), key())?,
        stage.native("credential_injector", Some(natives::credential_injector()), key())?,
        stage.native("lua", Some(natives::lua()), key())?,
        stage.native("jwt_authn", Some(natives::jwt_authn(keys, None)), stage.with_tokens(0))?,
        stage.native(
            "jwt_authn ES256",
            Some(natives::jwt_authn(keys, None)),
            stage.with_tokens(1),
        )?,
        stage.native(
            "jwt_authn RS256",
            Some(natives::jwt_authn(keys, None)),
            stage.with_tokens(2),
        )?,
        stage.native("jwt_authn cached", Some(natives::jwt_authn(keys, Some(100))), one())?,
        stage.alone(Module::Gate, vec![stage.request(&[("x-tap-key", &stage.key)])])?,
        stage.alone(Module::Audit, key())?,
        stage.postern(
            "chain without credential",
            none,
            vec![stage.request(&[("x-tap-key", &stage.key)])],
        )?,
        stage.postern("chain", none, key())?,
        stage.postern("chain with Rego", policy, key())?,
        stage.postern("chain jwt", |gate| jwt(gate, keys, 0), stage.with_tokens(0))?,
        stage.postern("chain jwt ES256", |gate| jwt(gate, keys, 0), stage.with_tokens(1))?,
        stage.postern("chain jwt RS256", |gate| jwt(gate, keys, 0), stage.with_tokens(2))?,
        stage.postern("chain jwt cached", |gate| jwt(gate, keys, 100), one())?,
    ])
}

/// All lines.
pub fn measure(seconds: f64, runs: usize) -> Result<Vec<Line>> {
    let stage = Stage::new()?;
    let alone = machine::pin(std::process::id(), 1);
    let mut sides = sides(&stage)?;
    for side in &sides {
        stage.load(side, WARM)?;
    }
    for _ in 0..runs {
        for side in &mut sides {
            let cost = stage.load(side, Duration::from_secs_f64(seconds))?;
            side.cpu.push(cost);
        }
    }
    let added = |name: &str, to: &str| -> Vec<f64> {
        let cpu = |name: &str| sides.iter().find(|side| side.name == name).map(|side| &side.cpu);
        let (Some(of), Some(to)) = (cpu(name), cpu(to)) else { return Vec::new() };
        of.iter().zip(to).map(|(of, to)| of - to).collect()
    };
    let direct = sides.first().map(|side| side.cpu.clone()).unwrap_or_default();
    let all = sides.iter().skip(1).map(|side| {
        let added = postern_bench_line::median(&added(side.name, "direct")).unwrap_or(f64::NAN);
        format!("{} {added:.1}", side.name)
    });
    let all = all.collect::<Vec<_>>().join(", ");
    let direct = postern_bench_line::median(&direct).unwrap_or(f64::NAN);
    let pinned = if alone { "" } else { "not pinned to cores; " };
    let note = format!("{pinned}microseconds added to {direct:.1}: {all}");
    let line = |id: &str, ours: &[f64], other: &[f64], goal: f64| {
        Line::new(id, &Pair { ours, other }, (Op::AtMost, goal), "us/request")
    };
    let (chain, judge) = (added("chain with Rego", "direct"), added("ext_authz", "direct"));
    let fresh = |id: &str, ours: &str, other: &str, goal: f64| {
        let (ours, other) = (added(ours, "chain jwt cached"), added(other, "jwt_authn cached"));
        line(id, &ours, &other, goal)
            .noted("a token not seen before, less the same configuration with one that was")
    };
    Ok(vec![
        line("P1", &chain, &judge, 1.0).noted(&note),
        fresh("P2.eddsa", "chain jwt", "jwt_authn", 0.65),
        fresh("P2.es256", "chain jwt ES256", "jwt_authn ES256", 1.0),
        fresh("P2.rs256", "chain jwt RS256", "jwt_authn RS256", 1.0),
    ])
}
