//! Every message sent many times at once: to one server on SQLite, to two replicas on PostgreSQL.
//!
//! Good is: of each message one copy is answered with the value and all others are refused, and
//! the log is whole. A copy that is told *not now* is sent again until it has its answer.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rustls::ClientConfig;
use serde_json::json;

use crate::client::{Client, trusting};
use crate::server::Server;
use crate::world::{Sealed, Store, World, is_released};

/// Copies of one message, all at once, each on a connection of its own.
const COPIES: usize = 64;
/// Messages that are sealed at a time: they are young enough when their turn comes.
const BATCH: usize = 64;
/// How often a copy is sent again.
const TRIES: usize = 20;

/// What was seen.
#[derive(Default)]
struct Seen {
    messages: u64,
    copies: u64,
    refused: u64,
    /// Messages that were answered with the value more than once, or never.
    twice: u64,
    never: u64,
}

/// Runs it on both stores.
pub fn run(count: u64, programs: &Path, json: bool) -> Result<ExitCode> {
    let mut good = true;
    for store in [Store::Sqlite, Store::Postgres] {
        let begun = Instant::now();
        let (seen, servers) = on(store, count, programs)?;
        let seconds = begun.elapsed().as_secs_f64();
        good &= seen.twice == 0 && seen.never == 0;
        let Seen { messages, copies, refused, twice, never } = seen;
        let store = store.name();
        if json {
            let document = json!({"store": store, "servers": servers, "messages": messages,
                "copies": copies, "refused": refused, "accepted_twice": twice,
                "never_accepted": never, "seconds": seconds});
            println!("{document}");
        } else {
            println!(
                "copies: {store}, {servers} servers: {messages} messages sent {copies} times in \
                 {seconds:.0} s, {refused} refused, {twice} accepted twice, {never} never"
            );
        }
    }
    if !json {
        println!("copies: {} passed, {} failed", u8::from(good), u8::from(!good));
    }
    Ok(ExitCode::from(u8::from(!good)))
}

fn on(store: Store, count: u64, programs: &Path) -> Result<(Seen, usize)> {
    let world = World::make(store, programs)?;
    let names: &[&str] = if store == Store::Postgres { &["one", "two"] } else { &["one"] };
    let servers = names.iter().map(|name| world.serve(name)).collect::<Result<Vec<Server>>>()?;
    let trust = trusting(&world.authority()?)?;
    let mut clients = clients(&servers, &trust)?;
    let mut seen = Seen::default();
    while seen.copies < count {
        for sealed in world.releases(BATCH)? {
            if seen.copies < count {
                at_once(&mut clients, &sealed, &mut seen)?;
            }
        }
    }
    let count = servers.len();
    drop((clients, servers));
    ensure!(world.released()? >= seen.messages, "events are missing");
    Ok((seen, count))
}

fn clients(servers: &[Server], trust: &Arc<ClientConfig>) -> Result<Vec<Client>> {
    let addresses = servers.iter().map(|server| server.address).cycle();
    addresses.take(COPIES).map(|address| Client::connect(trust, address)).collect()
}

/// Sends one message on every connection.
fn at_once(clients: &mut [Client], (body, awaiting): &Sealed, seen: &mut Seen) -> Result<()> {
    let answers = std::thread::scope(|scope| {
        let sent = clients.iter_mut().map(|client| scope.spawn(|| answered(client, body)));
        let all: Vec<_> = sent.collect();
        all.into_iter()
            .map(|one| one.join().map_err(|_| anyhow::anyhow!("a caller panicked"))?)
            .collect::<Result<Vec<_>>>()
    })?;
    let mut accepted = 0;
    for answer in &answers {
        accepted += u64::from(is_released(awaiting, answer)?);
    }
    seen.messages += 1;
    seen.copies += answers.len() as u64;
    seen.refused += (answers.len() as u64).saturating_sub(accepted);
    seen.twice += u64::from(accepted > 1);
    seen.never += u64::from(accepted == 0);
    Ok(())
}

fn answered(client: &mut Client, body: &[u8]) -> Result<Vec<u8>> {
    for _ in 0..TRIES {
        let (status, answer) = client.post(body)?;
        if status == 200 {
            return Ok(answer);
        }
        ensure!(status == 503, "a copy was answered {status}");
    }
    None.context("a copy was not answered")
}
