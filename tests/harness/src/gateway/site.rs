//! The parts round the gateway, and one gateway with its scenarios.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use postern_rig::authority::Authority;
use postern_rig::client::{Content, Request, exchange};
use postern_rig::gateway::{self, Config, Kind, Launch};
use postern_rig::message::{Line, Message};
use postern_rig::server::{After, Handler, Server};
use postern_rig::upstream::{self, Framing, Instead, Upstream};
use postern_rig::wait::until;

use serde_json::Value;

use super::Clients;
use crate::canary;
use crate::capability;
use crate::certificates::{self, Connection};
use crate::dpop;
use crate::faults::{self, Exchange, Fault, Outcome};
use crate::observation::{Answer, Observation, Seen, comparable};
use crate::root;
use crate::run::{folder, now, shipped};
use crate::scenario::{
    AnswerSpec, Boundary, FieldList, Named, RequestSpec, Scenario, Step, duration,
};
use crate::signature::settle;
use crate::template::{Names, expand};
use crate::world::introspection::Question;
use crate::world::{Backend, OFTEN, Said, World, first_keys};

const PATIENCE: Duration = Duration::from_secs(10);
/// How long whoever is called `late` takes to answer.
const LATE: Duration = Duration::from_millis(450);
/// How long everybody who polls may take to ask.
const POLLED: Duration = Duration::from_secs(60);
/// Between two pieces of an answer, so that the proxy reads them one by one.
const PACE: Duration = Duration::from_millis(3);

/// Where `cargo xtask build` puts the modules.
pub fn plugins() -> PathBuf {
    root().join("target/plugins")
}

/// What stays while gateways come and go.
pub struct Site {
    /// Which boundary this is.
    pub boundary: Boundary,
    /// The program that its gateways are.
    pub kind: Kind,
    /// Key services, base file and environment.
    pub world: Rc<World>,
    /// Upstreams by cluster.
    pub upstreams: BTreeMap<String, Upstream>,
    /// Issues the certificates of this run.
    pub authority: Authority,
    /// Its root certificate.
    pub ca: PathBuf,
    /// Gateways that nobody uses now and that take another configuration.
    pub idle: RefCell<Vec<Gateway>>,
    /// How often modules were given new roots.
    roots: Cell<u32>,
    front: Server,
}

impl Site {
    /// Starts upstreams and the key service.
    pub fn new(boundary: Boundary, kind: Kind) -> Result<Self> {
        let config = Config::read(&root().join("envoy/envoy.yaml"))?;
        let world = World::new(&folder(), &|module| shipped(&config, module), now())?;
        let authority = Authority::new()?;
        let ca = world.folder.path().join("ca.pem");
        postern_files::write_atomic(&ca, authority.root_pem().as_bytes())?;
        let front = Front { backend: Arc::clone(&world.backend) };
        let front = Server::start(Arc::new(front), Some(authority.server("localhost")?))?;
        let mut upstreams = BTreeMap::new();
        for route in &world.base.routes {
            upstreams.insert(route.cluster.clone(), Upstream::start(None)?);
        }
        let world = Rc::new(world);
        let (idle, roots) = (RefCell::default(), Cell::default());
        Ok(Self { boundary, kind, world, upstreams, authority, ca, idle, roots, front })
    }

    /// The shipped file with our addresses, our key service and the base's routes.
    pub fn config(&self, scenario: Option<&Scenario>) -> Result<Config> {
        let mut config = Config::read(&root().join("envoy/envoy.yaml"))?;
        config.modules_from(&plugins());
        config.cluster_at("key_service", self.front.port())?;
        config.cluster_trusts("key_service", &self.ca, "localhost")?;
        config.cluster_at("slack", self.front.port())?;
        config.cluster_at("local", self.front.port())?;
        for route in &self.world.base.routes {
            config.copy_cluster("local", &route.cluster)?;
            let upstream = self.upstreams.get(&route.cluster).context("upstream")?;
            config.cluster_at(&route.cluster, upstream.port())?;
            config.route("ingress", &route.domain, &route.cluster, &route.domain)?;
            if let Some(scenario) = scenario {
                config.route_action("ingress", &route.domain, &scenario.route)?;
            }
        }
        for name in ["gate", "credential", "audit"] {
            let overlay = scenario.and_then(|scenario| scenario.config.get(name));
            config.module(name, |document| {
                *document = self.world.module(name, document.take(), overlay);
            });
        }
        if scenario.is_some_and(introspects) {
            knows_the_introspection_secret(&mut config);
        }
        for route in &self.world.base.routes {
            head_waits(config.cluster(&route.cluster)?, &route.domain);
        }
        if scenario.is_some_and(|scenario| !scenario.seed.certificates.is_empty()) {
            let roots = certificates::authority()?.root_pem();
            let front = certificates::front()?;
            super::speak(self, &mut config, &front, Clients::Optional(&roots))?;
        }
        Ok(config)
    }

    /// How its gateways are started.
    pub fn launch(&self) -> Launch {
        Launch::new(self.kind.clone())
    }

    /// The same with roots that no module has yet, one for each place: one with the same name
    /// and configuration would go on, with what it knows. Shared data stays.
    fn with_new_roots(&self, config: &Config) -> Config {
        let mut config = config.clone();
        for name in ["gate", "credential", "audit"] {
            config.plugin(name, |plugin| {
                self.roots.set(self.roots.get().wrapping_add(1));
                plugin["root_id"] = Value::from(format!("root-{}", self.roots.get()));
            });
        }
        config
    }

    /// Everybody answers as usual, and nobody has been asked anything yet.
    pub fn calm(&self) {
        self.world.backend.stand.set(Fault::default());
        self.world.backend.stand.set_feed(faults::Kind::Well);
        self.upstreams.values().for_each(|upstream| upstream.answer(upstream::Answer::default()));
        self.take_forwarded();
    }

    /// The server of bundles says this from now on, and was asked about it. On Spin only
    /// requests make an instance ask.
    fn publish(&self, scenario: &str, said: Said) -> Result<()> {
        let policies = &self.world.backend.policies;
        policies.publish(scenario, said);
        if self.boundary == Boundary::Spin {
            return Ok(());
        }
        let asked = until(POLLED, || (policies.asked(scenario) >= OFTEN).then_some(()));
        asked.context("nobody asks for bundles")
    }

    /// Everything that any upstream got since the last call.
    pub fn take_forwarded(&self) -> Vec<Message> {
        self.upstreams.values().flat_map(Upstream::take).collect()
    }

    /// Waits for the next audit records of requests.
    pub fn wait_for_records(&self, count: usize) -> Result<Vec<Vec<u8>>> {
        let mut records = Vec::new();
        let waited = until(PATIENCE, || {
            match self.world.take_records() {
                Ok(more) => records.extend(more),
                Err(error) => return Some(Err(error)),
            }
            (records.len() >= count).then_some(Ok(()))
        });
        waited.transpose()?;
        Ok(records)
    }
}

/// Lets the gate see the secret for the introspection endpoint, once.
fn knows_the_introspection_secret(config: &mut Config) {
    let name = Value::from("POSTERN_INTROSPECTION_SECRET");
    config.plugin("gate", |plugin| {
        let names = &mut plugin["vm_config"]["environment_variables"]["host_env_keys"];
        let names = names.as_array_mut().into_iter();
        names.filter(|names| !names.contains(&name)).for_each(|names| names.push(name.clone()));
    });
}

/// Whether its gate needs the secret for the introspection endpoint.
fn introspects(scenario: &Scenario) -> bool {
    let gate = scenario.config.get("gate");
    let list = gate.and_then(|gate| gate["authenticators"].as_array());
    list.is_some_and(|list| list.iter().any(|one| !one["introspected"].is_null()))
}

/// The head of a token endpoint's answer waits for its content, as `postern check` has it.
fn head_waits(cluster: &mut Value, authority: &str) {
    let options = &mut cluster["typed_extension_protocol_options"];
    let http = &mut options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
    let plugin = &mut http["http_filters"][0]["typed_config"]["config"];
    let bindings = plugin["configuration"]["value"]["bindings"].as_array();
    let mints = |one: &Value| one["authority"] == *authority && !one["mints"].is_null();
    if bindings.is_some_and(|bindings| bindings.iter().any(mints)) {
        plugin["allow_on_headers_stop_iteration"] = Value::Bool(true);
    }
}

/// A running gateway.
pub struct Gateway {
    /// The process.
    pub process: gateway::Gateway,
    port: u16,
}

impl Gateway {
    /// Starts a gateway for scenarios configured like this one.
    pub fn start(site: &Site, scenario: Option<&Scenario>) -> Result<Self> {
        let at_start = scenario.map(Scenario::at_start).unwrap_or_default();
        site.world.backend.stand.set(at_start);
        Self::with(site, &site.config(scenario)?)
    }

    /// A gateway with a configuration, whose modules hold nothing from before. Most of an Envoy's
    /// start is compiling the modules: one that is idle takes the configuration instead, as it
    /// does from a control plane.
    pub fn with(site: &Site, config: &Config) -> Result<Self> {
        let Some(mut gateway) = site.idle.borrow_mut().pop() else {
            let mut config = config.clone();
            if let Kind::Envoy { .. } = site.kind {
                // It keeps the environment of a module's first load for those that come after.
                knows_the_introspection_secret(&mut config);
            }
            return Self::launched(site, &Launch { changes: true, ..site.launch() }, &config);
        };
        gateway.change(site, config)?;
        Ok(gateway)
    }

    /// One that takes other configurations while it runs: [`Gateway::change`].
    pub fn changing(site: &Site, config: &Config) -> Result<Self> {
        Self::launched(site, &Launch { changes: true, ..site.launch() }, config)
    }

    /// Puts a configuration in the place of the one that it serves; modules get new roots.
    pub fn change(&mut self, site: &Site, config: &Config) -> Result<()> {
        self.process.change(&site.with_new_roots(config))?;
        self.port = self.process.port("ingress")?;
        Ok(())
    }

    /// A gateway of which nothing was asked yet.
    pub fn fresh(site: &Site, config: &Config) -> Result<Self> {
        Self::launched(site, &site.launch(), config)
    }

    /// The same, launched otherwise.
    pub fn launched(site: &Site, launch: &Launch, config: &Config) -> Result<Self> {
        let process = launch.start(config, &site.world.environment)?;
        let port = process.port("ingress")?;
        Ok(Self { process, port })
    }

    /// The port of the listener `ingress`.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// One request to the listener `ingress`.
    pub fn ask(&self, request: &Request) -> Result<Message> {
        self.ask_at(self.port, request)
    }

    /// One request to a port.
    pub fn ask_at(&self, port: u16, request: &Request) -> Result<Message> {
        exchange(port, request, PATIENCE)?.context("the gateway closed without an answer")
    }

    /// Runs a scenario; one observation a step.
    pub fn run(&self, site: &Site, named: &Named) -> Result<Vec<Observation>> {
        site.world.seed(named, now())?;
        site.world.take_records()?;
        site.take_forwarded();
        let names = site.world.names(named);
        site.world.backend.issuer.publish(first_keys());
        site.world.backend.policies.publish(&named.name, named.scenario.bundle_at_start());
        let mut observations = Vec::new();
        for (index, (step, want)) in
            named.scenario.steps.iter().zip(&named.scenario.want).enumerate()
        {
            if let Some(keys) = &step.issuer {
                site.world.backend.issuer.publish(keys.clone());
            }
            site.world.change_answers(named, &step.answers);
            if let Some(said) = step.bundle {
                site.publish(&named.name, said)?;
            }
            if let Some(feed) = step.feed {
                site.world.backend.stand.set_feed(feed);
            }
            if let Some(key) = &step.revoke {
                site.world.revoke(named, key, now())?;
            }
            if let Some(sets) = &step.authorised {
                site.world.authorise(named, sets, now())?;
            }
            if let Some(ruling) = &step.decide {
                site.world.decide(ruling, now())?;
            }
            let connection = Connection::of(&named.scenario, &step.request)?;
            let seen = self.settled(site, step, (&connection, &names), want.status);
            observations.push(seen.with_context(|| format!("step {}", index + 1))?);
        }
        Ok(observations)
    }

    /// The step's observation; where time has to pass, the last one before it has.
    fn settled(
        &self,
        site: &Site,
        step: &Step,
        (connection, names): (&Connection, &dyn Names),
        status: u16,
    ) -> Result<Observation> {
        let caller = (connection, names);
        let Some(span) = &step.advance else { return self.step(site, step, caller) };
        let mut last = None;
        let _ = until(duration(span)?, || {
            let seen = self.step(site, step, caller);
            let done = !matches!(&seen, Ok(seen) if seen.answer.status != status);
            last = Some(seen);
            done.then_some(())
        });
        last.context("no observation")?
    }

    fn step(
        &self,
        site: &Site,
        step: &Step,
        (connection, names): (&Connection, &dyn Names),
    ) -> Result<Observation> {
        let answer = upstream_answer(&step.upstream, names)?;
        for upstream in site.upstreams.values() {
            let (answer, canary) = (answer.clone(), step.canary.clone());
            upstream.script(move |request| match canary::is_one(&request.word(1)) {
                true => canary_answer(&canary, request),
                false => answer.clone(),
            });
        }
        site.world.backend.stand.set(step.key_service.clone());
        let start = Instant::now();
        let signed = capability::signed(&step.request, names, now())?;
        let signed = dpop::signed(&signed, connection.tls, names, now())?;
        let request = request(&signed, names)?;
        let message = connection.ask(self.port, &request, PATIENCE);
        let took = start.elapsed();
        site.world.backend.stand.set(Fault::default());
        let message = message?;
        let records = site.wait_for_records(1)?;
        ensure!(records.len() <= 1, "{} audit records for one request", records.len());
        // Last: of a request that is cut the caller has its answer before the upstream has
        // seen the end of it.
        let came = site.take_forwarded();
        let is_canary = |message: &Message| canary::is_one(&message.word(1));
        let (canaries, forwarded): (Vec<_>, Vec<_>) = came.into_iter().partition(is_canary);
        let canaries = canaries.iter().map(|it| Seen::of(it).settled_canary()).collect();
        ensure!(forwarded.len() <= 1, "{} requests reached an upstream", forwarded.len());
        let mut upstream = forwarded.first().map(Seen::of);
        upstream.iter_mut().for_each(|seen| settle(seen, &site.world.base, now()));
        Ok(site.world.number(Observation {
            answer: Answer::of(&message),
            upstream,
            canaries,
            audit: records.first().and_then(|record| comparable(record)),
            asked: site.world.backend.introspection.take_asked(),
            took,
        }))
    }
}

/// The key service's TLS port, played by us so that it can misbehave.
struct Front {
    backend: Arc<Backend>,
}

impl Handler for Front {
    fn handle(&self, request: Message, to: &mut dyn Write) -> io::Result<After> {
        let path = request.word(1);
        let authorization = request.text("authorization");
        let authorization = authorization.as_ref().map(String::as_bytes);
        let unless = request.text("if-none-match");
        let unless = unless.as_ref().map(String::as_bytes);
        let question = Question { path: &path, body: &request.content, authorization, unless };
        let outcome = self.backend.answer(&question, now());
        if path.ends_with("/late") {
            let _ = until(LATE, || None::<()>);
        }
        match outcome {
            Outcome::Answer(status, body) => upstream::Answer {
                status,
                fields: Vec::new(),
                chunks: vec![body],
                ..upstream::Answer::default()
            }
            .write(to, false),
            Outcome::Tagged(tag, body) => upstream::Answer {
                status: 200,
                fields: vec![("etag".into(), tag.into_bytes())],
                chunks: vec![body],
                ..upstream::Answer::default()
            }
            .write(to, false),
            Outcome::HangUp => Ok(After::Close),
            Outcome::Silence if path.starts_with("/policy/") => {
                let over = || (!self.backend.policies.is_silent(&path)).then_some(());
                let _ = until(Duration::from_secs(30), over);
                Ok(After::Close)
            }
            Outcome::Silence => {
                if path.starts_with("/issuer/") {
                    let _ = until(Duration::from_secs(3), || None::<()>);
                    return Ok(After::Close);
                }
                let exchange = Exchange::of(&path, &request.content);
                let over =
                    || (self.backend.stand.kind(exchange) != faults::Kind::Slow).then_some(());
                let _ = until(Duration::from_secs(30), over);
                Ok(After::Close)
            }
        }
    }
}

/// A request as a scenario describes it.
pub fn request(spec: &RequestSpec, names: &dyn Names) -> Result<Request> {
    let target = expand(&spec.path, names)?;
    let mut request = Request { target, ..Request::new(&spec.method, &spec.authority, "/") };
    if let Some(key) = &spec.key {
        request = request.with("x-tap-key", names.key(key).context("no such key")?);
    }
    request.fields.extend(lines(&spec.fields, names)?);
    let chunked = spec.chunks.is_some() || !spec.trailers.is_empty();
    let texts = spec.chunks.clone().or_else(|| spec.body.clone().map(|body| vec![body]));
    let pieces: Vec<_> =
        texts.into_iter().flatten().map(|text| expand(&text, names)).collect::<Result<_>>()?;
    request.content = match (chunked, spec.body.is_some()) {
        (true, _) => Content::Chunked(pieces, lines(&spec.trailers, names)?),
        (false, true) => Content::Sized(pieces.concat()),
        (false, false) => Content::None,
    };
    Ok(request)
}

/// What an upstream makes of a canary; a script that cannot be followed shows as 500.
fn canary_answer(spec: &AnswerSpec, request: &Message) -> upstream::Answer {
    let answer = canary::Echo::of(&Seen::of(request)).and_then(|it| upstream_answer(spec, &it));
    answer.unwrap_or(upstream::Answer { status: 500, ..upstream::Answer::default() })
}

fn upstream_answer(spec: &AnswerSpec, names: &dyn Names) -> Result<upstream::Answer> {
    let chunked = spec.chunks.is_some() || !spec.trailers.is_empty();
    let raw = spec.raw.as_deref().map(|raw| expand(raw, names)).transpose()?;
    let instead = if spec.silent {
        Some(Instead::Stall(raw.unwrap_or_default()))
    } else {
        raw.map(Instead::Close)
    };
    let framing = match spec.status {
        _ if chunked => Framing::Chunked,
        // Without content, so without a length of it (RFC 9110, 8.6).
        204 | 304 => Framing::None,
        _ => Framing::Length,
    };
    let texts = spec.chunks.clone().or_else(|| spec.body.clone().map(|body| vec![body]));
    let chunks: Vec<_> =
        texts.into_iter().flatten().map(|text| expand(&text, names)).collect::<Result<_>>()?;
    Ok(upstream::Answer {
        status: spec.status,
        fields: lines(&spec.fields, names)?,
        chunks,
        trailers: lines(&spec.trailers, names)?,
        framing,
        pace: PACE,
        instead,
    })
}

fn lines(list: &FieldList, names: &dyn Names) -> Result<Vec<Line>> {
    let lines = list.iter().flatten();
    lines.map(|(name, value)| Ok((name.clone().into_bytes(), expand(value, names)?))).collect()
}
