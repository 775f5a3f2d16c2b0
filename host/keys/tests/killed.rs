//! Processes that are killed while they write: nothing that was acknowledged is lost, no
//! message is accepted twice, and the chain is whole. One process on SQLite; two replicas on
//! one database of PostgreSQL, of which one dies.
//!
//! `POSTERN_SOAK_SECONDS` makes the load longer than a few seconds.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use postern_crp::Role;
use postern_crp::exchange::Awaiting;
use postern_crp::message::{Answer, Message, Receipt, Status};
use postern_keys::config::Database;
use postern_keys::{Config, Service, http, tls};
use postern_rig::wait::until;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use support::*;

/// Names the configuration to a copy of this program that is to serve it.
const SERVE: &str = "POSTERN_TEST_SERVE";
/// Least messages of every run.
const LEAST: u64 = 1000;

/// Not a test of its own: what [`Replica::start`] runs, until its input ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica() {
    let Some(file) = std::env::var_os(SERVE).map(PathBuf::from) else { return };
    let config = Config::load(&file).unwrap();
    let service = Service::open(&config, http::now()).await.unwrap();
    let running = http::start(service, &config).await.unwrap();
    let address = running.address().to_string();
    postern_files::write_atomic(file.with_extension("address"), address.as_bytes()).unwrap();
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    let _ = ended.await;
    running.stop().await;
}

/// A process that serves the database of `world`.
struct Replica {
    child: Child,
    address: SocketAddr,
}

impl Replica {
    fn start(world: &World, name: &str) -> Self {
        let file = world.dir.path().join(format!("{name}.yaml"));
        let database = match &world.config.database {
            Database::Postgres(at) => at.to_string(),
            _ => "sqlite:keys.sqlite".to_owned(),
        };
        let yaml = format!("data_dir: data\nlisten: 127.0.0.1:0\ndatabase: {database}\n");
        postern_files::write_atomic(&file, yaml.as_bytes()).unwrap();
        let written = file.with_extension("address");
        let _ = std::fs::remove_file(&written);
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "a_replica", "--nocapture"]).env(SERVE, &file);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let child = command.spawn().unwrap();
        let there = until(Duration::from_secs(30), || written.exists().then_some(()));
        assert!(there.is_some(), "{name} does not start");
        let address = std::fs::read_to_string(written).unwrap().parse().unwrap();
        Self { child, address }
    }

    /// SIGKILL.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One connection that is used again.
struct Client {
    address: SocketAddr,
    config: Arc<ClientConfig>,
    stream: Option<StreamOwned<ClientConnection, TcpStream>>,
}

impl Client {
    fn new(world: &World, address: SocketAddr) -> Self {
        let pem = std::fs::read(tls::authority_file(&world.config).unwrap()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { address, config: Arc::new(config), stream: None }
    }

    /// The answer, unless the other side is gone before it was all said.
    fn post(&mut self, body: &[u8]) -> Option<(u16, Vec<u8>)> {
        let answer = self.tried(body).ok();
        if answer.is_none() {
            self.stream = None;
        }
        answer
    }

    fn tried(&mut self, body: &[u8]) -> std::io::Result<(u16, Vec<u8>)> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let socket = TcpStream::connect(self.address)?;
                socket.set_read_timeout(Some(Duration::from_secs(20)))?;
                socket.set_nodelay(true)?;
                let name = ServerName::try_from("localhost").unwrap();
                let client = ClientConnection::new(Arc::clone(&self.config), name).unwrap();
                self.stream.insert(StreamOwned::new(client, socket))
            }
        };
        let length = body.len();
        let head = format!(
            "POST /crp/v1/message HTTP/1.1\r\nhost: localhost\r\n\
             content-type: application/crp\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(&[head.as_bytes(), body].concat())?;
        let mut read = Vec::new();
        let end = loop {
            if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            let mut some = [0; 4096];
            match stream.read(&mut some)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                n => read.extend_from_slice(&some[..n]),
            }
        };
        let head = String::from_utf8_lossy(&read[..end]).to_lowercase();
        let status = head[9..12].parse().unwrap();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        let mut content = read.split_off(end);
        let have = content.len();
        content.resize(length.map_or(0, |length| length.parse().unwrap()), 0);
        stream.read_exact(&mut content[have..])?;
        Ok((status, content))
    }
}

/// What was acknowledged.
#[derive(Default)]
struct Told {
    /// Places on the chain.
    receipts: Vec<Receipt>,
    /// Versions of the one credential that is written again and again.
    versions: Vec<u32>,
    refused: u64,
    lost: u64,
}

impl Told {
    /// Takes an answer; whether it acknowledges.
    fn take(&mut self, answer: Option<(u16, Vec<u8>)>, awaiting: &Awaiting) -> bool {
        let Some((200, body)) = answer else {
            self.lost += 1;
            return false;
        };
        match awaiting.open(&body).unwrap() {
            Answer::Release(answer) if answer.status == Status::Ok => {
                self.receipts.push(answer.receipt);
                true
            }
            Answer::Store(answer) => {
                self.receipts.push(answer.receipt);
                self.versions.push(answer.version);
                true
            }
            _ => {
                self.refused += 1;
                false
            }
        }
    }
}

/// The parties that ask.
struct Parties {
    credential: Party,
    operator: Party,
}

async fn enrol(world: &World, token: postern_core::secret::Secret, role: Role) -> Party {
    let (mut party, now) = (Party::new(""), http::now());
    match world.ask(&party, &enrolment(token, role, &party), now).await {
        Answer::Enrol(answer) => (party.id, party.tenant) = (answer.gateway_id, answer.tenant),
        _ => panic!("not enrolled"),
    }
    party
}

async fn parties(world: &World) -> Parties {
    let (gateway, operator) = world.service.mint("acme", http::now()).await.unwrap();
    let credential = enrol(world, gateway.credential, Role::Credential).await;
    let operator = enrol(world, operator.token, Role::Operator).await;
    let stored = Message::Store(storing("acme", b"value"));
    assert_eq!(status(&world.ask(&operator, &stored, http::now()).await), Status::Ok);
    Parties { credential, operator }
}

/// Asks every replica the same, message after message, until there was enough.
fn load(
    world: &World,
    parties: &Parties,
    addresses: &[SocketAddr],
    sent: &AtomicU64,
    is_enough: &(dyn Fn(u64) -> bool + Sync),
    runtime: &tokio::runtime::Handle,
) -> Told {
    let mut clients: Vec<Client> =
        addresses.iter().map(|address| Client::new(world, *address)).collect();
    let mut told = Told::default();
    loop {
        let number = sent.fetch_add(1, Ordering::Relaxed);
        if is_enough(number) {
            return told;
        }
        let (party, message) = match number % 4 {
            0 => (&parties.operator, Message::Store(storing("acme", b"another value"))),
            _ => (&parties.credential, Message::Release(releasing("acme"))),
        };
        let (body, awaiting) = runtime.block_on(world.sealed(party, &message, http::now()));
        let mut accepted = 0;
        // At the same time, as a gateway never would and an attacker does.
        let answers: Vec<_> = std::thread::scope(|threads| {
            let all: Vec<_> =
                clients.iter_mut().map(|client| threads.spawn(|| client.post(&body))).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        for answer in answers {
            accepted += u32::from(told.take(answer, &awaiting));
        }
        assert!(accepted <= 1, "message {number} was accepted {accepted} times");
    }
}

/// Every event that was acknowledged is on the chain, which is whole; and of a credential's
/// versions none was acknowledged twice or lost.
async fn nothing_is_lost(world: &World, told: &Told) {
    let report = world.service.integrity().await.unwrap();
    assert_eq!(report.broken, None);
    let pool = world.database().await;
    for receipt in &told.receipts {
        let find = "SELECT hash FROM audit_events WHERE n = $1";
        let row: Option<(Vec<u8>,)> = sqlx::query_as(find)
            .bind(i64::try_from(receipt.seq).unwrap())
            .fetch_optional(&pool)
            .await
            .unwrap();
        assert_eq!(row.unwrap().0, receipt.hash, "event {}", receipt.seq);
    }
    let places: HashSet<u64> = told.receipts.iter().map(|receipt| receipt.seq).collect();
    assert_eq!(places.len(), told.receipts.len(), "two answers for one event");
    let versions: HashSet<u32> = told.versions.iter().copied().collect();
    assert_eq!(versions.len(), told.versions.len(), "two writers of one version");
    let (newest,): (i64,) =
        sqlx::query_as("SELECT version FROM credentials").fetch_one(&pool).await.unwrap();
    assert!(newest >= told.versions.iter().copied().max().unwrap().into());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_kill() {
    let world = World::on_disk().await;
    let parties = parties(&world).await;
    let names: &[&str] = if world.on_postgres() { &["one", "two"] } else { &["one"] };
    let mut replicas: Vec<Replica> =
        names.iter().map(|name| Replica::start(&world, name)).collect();
    let seconds = std::env::var("POSTERN_SOAK_SECONDS").ok().and_then(|text| text.parse().ok());
    let (sent, begun) = (AtomicU64::new(0), Instant::now());
    let enough = Duration::from_secs(seconds.unwrap_or(0));
    // The last of them dies in the middle; SQLite's only one is started again.
    let half = |number| number >= LEAST / 2 && begun.elapsed() >= enough / 2;
    let whole = |number| number >= LEAST && begun.elapsed() >= enough;
    let runtime = tokio::runtime::Handle::current();
    let mut told = Told::default();
    let mut merge = |one: Told| {
        told.receipts.extend(one.receipts);
        told.versions.extend(one.versions);
        told.refused += one.refused;
        told.lost += one.lost;
    };
    for phase in 0..2 {
        let addresses: Vec<SocketAddr> = replicas.iter().map(|one| one.address).collect();
        let last = replicas.last_mut().unwrap();
        let (world, parties, sent, runtime) = (&world, &parties, &sent, &runtime);
        let all: Vec<Told> = tokio::task::block_in_place(|| {
            std::thread::scope(|threads| {
                let ends = |number: u64| match phase {
                    // Goes on for a while behind the kill, if somebody is left to answer.
                    0 => number >= LEAST * 3 / 4 && half(number),
                    _ => whole(number),
                };
                let addresses = &addresses;
                let workers: Vec<_> = (0..4)
                    .map(|_| {
                        threads.spawn(move || load(world, parties, addresses, sent, &ends, runtime))
                    })
                    .collect();
                if phase == 0 {
                    let under_way = || half(sent.load(Ordering::Relaxed)).then_some(());
                    assert!(until(Duration::from_secs(300), under_way).is_some(), "too slow");
                    last.kill();
                }
                workers.into_iter().map(|one| one.join().unwrap()).collect()
            })
        });
        all.into_iter().for_each(&mut merge);
        if phase == 0 {
            let name = names.last().unwrap();
            *replicas.last_mut().unwrap() = Replica::start(world, name);
        }
    }
    let Told { receipts, refused, lost, .. } = &told;
    println!("acknowledged {}, refused {refused}, unanswered {lost}", receipts.len());
    assert!(receipts.len() as u64 > LEAST / 4, "hardly anything was acknowledged");
    assert!(*lost > 0, "the kill was not noticed");
    assert!(!world.on_postgres() || *refused > 0, "no copy was refused");
    nothing_is_lost(&world, &told).await;
}
