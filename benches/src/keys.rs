//! API keys (P8): what one costs among a hundred thousand, at the key service and in the gate.
//!
//! Both sides answer the same sealed messages about as many keys, spread over all that there
//! are; one service has a hundred keys and the other a hundred thousand. Each key was looked up
//! before, so that both find it in use within this minute. What is counted is processor time of the
//! whole process: waiting for a disk, which each look-up does once, is the same for both.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use postern_core::api_key::{KeyId, PresentedKey};
use postern_core::key_service::{CallAnswer, Directory, KeyEntry, Turn};
use postern_core::revocation::Limits;
use postern_core::secret::Secret;
use postern_core::time::{Entropy, Moment, UnixMillis};
use postern_crp::client::{Client, Settings};
use postern_crp::evidence::{Evidence, Seen, Trust, appraise};
use postern_crp::exchange::{Asker, ask};
use postern_crp::message::{Answer, Message, directory, enrol};
use postern_crp::{Identity, Role};
use postern_harness::world::entropy;
use postern_keys::bench::key;
use postern_keys::{Config, Service};
use tokio::runtime::Runtime;

use postern_bench_line::{Line, Op, Pair};

const NOW: UnixMillis = UnixMillis(1_795_332_600_000);
const FEW: u32 = 100;
const MANY: u32 = 100_000;
/// Keys that are looked up.
const ASKED: u32 = 64;
/// Look-ups of a turn at the key service, and in the gate.
const TURN: u32 = 256;
const HITS: u32 = 20_000;

/// A key service with so many keys, and its gate.
struct Side {
    runtime: Runtime,
    service: Service,
    count: u32,
    seed: [u8; 32],
    gateway: [u8; 16],
    _folder: tempfile::TempDir,
}

impl Side {
    fn new(count: u32) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let folder = tempfile::tempdir()?;
        let config = Config::local(&folder.path().join("data"));
        let opened = runtime.block_on(Service::open(&config, NOW));
        let service = opened.map_err(anyhow::Error::msg)?;
        let minted = runtime.block_on(service.mint("acme", NOW));
        let (tokens, _) = minted.map_err(anyhow::Error::msg)?;
        let filled = runtime.block_on(service.fill("acme", count, NOW));
        filled.map_err(anyhow::Error::msg)?;
        let (seed, gateway) = (entropy().0, [0; 16]);
        let mut side = Self { runtime, service, count, seed, gateway, _folder: folder };
        let request = enrol::Request {
            join_token: tokens.gate,
            role: Role::Gate,
            public_key: side.identity()?.public_key(),
            label: "bench".to_owned(),
        };
        let Answer::Enrol(enrolled) = side.ask(&Message::Enrol(request))? else {
            bail!("not enrolled");
        };
        side.gateway = enrolled.gateway_id;
        side.turn()?;
        Ok(side)
    }

    fn identity(&self) -> Result<Identity> {
        Ok(Identity::from_seed(&Secret::new(self.seed.to_vec()))?)
    }

    fn trust(&self) -> Result<Trust> {
        Ok(Trust::Simulated(self.service.sim_key().context("simulated evidence")?))
    }

    fn evidence(&self) -> Result<Evidence> {
        let document = self.runtime.block_on(self.service.evidence(None, NOW)).body;
        Ok(appraise(&document, &self.trust()?, Seen::default(), NOW)?)
    }

    fn ask(&self, message: &Message) -> Result<Answer> {
        let identity = self.identity()?;
        let tenant = if self.gateway == [0; 16] { "" } else { "acme" };
        let asker = Asker { identity: &identity, gateway_id: self.gateway, tenant, now: NOW };
        let (body, awaiting) = ask(&self.evidence()?, &asker, message, &entropy().0)?;
        let reply = self.runtime.block_on(self.service.message(&body, NOW));
        Ok(awaiting.open(&reply.body)?)
    }

    /// The key with this number of those that are asked for.
    fn id(&self, number: u32) -> Result<(KeyId, Secret)> {
        let step = self.count / ASKED;
        key((number % ASKED) * step).context("a key")
    }

    /// Microseconds of the service for one look-up.
    fn turn(&self) -> Result<f64> {
        let (identity, evidence) = (self.identity()?, self.evidence()?);
        let asker =
            Asker { identity: &identity, gateway_id: self.gateway, tenant: "acme", now: NOW };
        let mut bodies = Vec::new();
        for number in 0..TURN {
            let message = Message::Directory(directory::Request { ids: vec![self.id(number)?.0] });
            bodies.push(ask(&evidence, &asker, &message, &entropy().0)?);
        }
        let start = processor()?;
        let mut replies = Vec::with_capacity(bodies.len());
        for (body, _) in &bodies {
            replies.push(self.runtime.block_on(self.service.message(body, NOW)));
        }
        let spent = processor()?.saturating_sub(start);
        for ((_, awaiting), reply) in bodies.iter().zip(&replies) {
            match awaiting.open(&reply.body)? {
                Answer::Directory(answer) if answer.entries.iter().all(|(_, it)| it.is_some()) => {}
                _ => bail!("a key was not found"),
            }
        }
        Ok(spent.as_secs_f64() * 1e6 / f64::from(TURN))
    }
}

/// A gate's client that keeps the records of so many keys.
struct Kept {
    client: Client,
    keys: Vec<(KeyId, PresentedKey)>,
}

impl Kept {
    fn new(side: &Side, count: u32) -> Result<Self> {
        let settings = Settings {
            gateway_id: side.gateway,
            tenant: "acme".to_owned(),
            role: Role::Gate,
            seed: Secret::new(side.seed.to_vec()),
            trust: side.trust()?,
            service: [0; 32],
            cache_ttl: Duration::ZERO,
            modules: None,
            cache_entries: 0,
            revocation: Limits::LONGEST,
        };
        let client = Client::new(settings)?;
        let mut keys = Vec::new();
        for number in 0..count {
            let (id, whole) = key(number).context("a key")?;
            let presented = PresentedKey::parse(whole.expose(), &["pk_".to_owned()]);
            keys.push((id, presented.context("a key")?));
        }
        let kept = Self { client, keys };
        for (id, _) in &kept.keys {
            kept.find(side, id)?.context("a key of the service")?;
        }
        Ok(kept)
    }

    fn find(&self, side: &Side, id: &KeyId) -> Result<Option<KeyEntry>> {
        let at = || Moment { now: NOW, entropy: Entropy(entropy().0) };
        let mut turn = self.client.find(id, at());
        loop {
            match turn {
                Turn::Answer(entry) => return Ok(entry),
                Turn::Failed(fault) => bail!("{fault}"),
                Turn::Ask(call) => {
                    let answer = side.runtime.block_on(async {
                        match call.method {
                            "GET" => side.service.evidence(None, NOW).await,
                            _ => side.service.message(&call.body, NOW).await,
                        }
                    });
                    let answer = CallAnswer::of(answer.status, answer.body);
                    turn = Directory::heard(&self.client, call.id, Ok(answer), at());
                }
            }
        }
    }

    /// Nanoseconds for a key that is kept: found and compared.
    fn turn(&self) -> Result<f64> {
        let start = Instant::now();
        for number in 0..HITS {
            let place = usize::try_from(number)? % self.keys.len();
            let (id, presented) = self.keys.get(place).context("a key")?;
            let at = Moment { now: NOW, entropy: Entropy([1; 32]) };
            let Turn::Answer(Some(entry)) = self.client.find(id, at) else {
                bail!("a key is not kept");
            };
            if !black_box(presented.matches(&entry.stored)) {
                bail!("a key is not the stored one");
            }
        }
        Ok(start.elapsed().as_secs_f64() * 1e9 / f64::from(HITS))
    }
}

/// Time that this process has had of the processors, all its threads.
fn processor() -> Result<Duration> {
    let mut spent = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let text = postern_files::read_bounded(task?.path().join("schedstat"), 256)?;
        let text = String::from_utf8(text)?;
        let first = text.split(' ').next().context("schedstat")?;
        spent += first.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(spent))
}

/// All lines.
pub fn measure(runs: usize) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    let (many, few) = (Side::new(MANY)?, Side::new(FEW)?);
    let (ours, other) = turns(runs, || many.turn(), || few.turn())?;
    let note = "processor time of a look-up at the key service, among 100 000 keys and among 100";
    lines.push(line("P8.keys.lookup", (&ours, &other), "us/look-up", note));
    let side = Side::new(1000)?;
    let (many, one) = (Kept::new(&side, 1000)?, Kept::new(&side, 1)?);
    let (ours, other) = turns(runs, || many.turn(), || one.turn())?;
    let note =
        "a key that the gate keeps, found and compared, among 1 000 and alone; it keeps 1 024";
    lines.push(line("P8.keys.gate", (&ours, &other), "ns/key", note));
    Ok(lines)
}

fn line(id: &str, (ours, other): (&[f64], &[f64]), unit: &'static str, note: &str) -> Line {
    Line::new(id, &Pair { ours, other }, (Op::AtMost, 1.2), unit).noted(note)
}

/// Both in turns.
fn turns(
    runs: usize,
    ours: impl Fn() -> Result<f64>,
    other: impl Fn() -> Result<f64>,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let mut figures = (Vec::new(), Vec::new());
    for _ in 0..runs {
        figures.0.push(ours()?);
        figures.1.push(other()?);
    }
    Ok(figures)
}
