//! Load on one server: callers on threads, each asking again as soon as it has its answer.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustls::ClientConfig;

use crate::client::{Client, trusting};
use crate::server::Server;
use crate::world::{Sealed, Store, World, is_released};

/// Callers at once.
pub const CALLERS: usize = 32;
/// Releases of a turn of one caller.
const ALONE: usize = 300;
/// Those before, which open connections and fill caches.
const WARM: usize = 50;
/// More than any machine answers in a second: so many messages are sealed for each.
const MOST: f64 = 4500.0;

/// What one turn gave.
pub struct Turn {
    pub alone: Figures,
    pub many: Figures,
}

/// Milliseconds, releases a second, and microseconds of the service's processor time.
pub struct Figures {
    pub p50: f64,
    pub p99: f64,
    pub rate: f64,
    pub processor: f64,
}

/// A server with its load.
pub struct Stand {
    world: World,
    server: Server,
    trust: Arc<ClientConfig>,
    released: AtomicUsize,
}

impl Stand {
    /// Starts it on `store`.
    pub fn start(store: Store, programs: &Path) -> Result<Self> {
        let world = World::make(store, programs)?;
        let server = world.serve("one")?;
        let trust = trusting(&world.authority()?)?;
        let stand = Self { world, server, trust, released: AtomicUsize::new(0) };
        stand.turn(CALLERS, CALLERS * WARM, Duration::from_secs(60))?;
        Ok(stand)
    }

    /// One caller.
    pub fn alone(&self) -> Result<Figures> {
        self.turn(1, ALONE, Duration::from_secs(60))
    }

    /// Many, for so long.
    pub fn many(&self, seconds: f64) -> Result<Figures> {
        let messages = (MOST * seconds).ceil() as usize;
        self.turn(CALLERS, messages, Duration::from_secs_f64(seconds))
    }

    /// Ends the server; then the log has to be whole and to hold every release.
    pub fn end(self) -> Result<()> {
        drop(self.server);
        let (released, logged) = (self.released.into_inner() as u64, self.world.released()?);
        ensure!(logged >= released, "{released} releases and {logged} events");
        Ok(())
    }

    fn turn(&self, callers: usize, messages: usize, time: Duration) -> Result<Figures> {
        let sealed = self.world.releases(messages)?;
        let next = AtomicUsize::new(0);
        let (busy, start) = (self.server.processor_time()?, Instant::now());
        let answers = std::thread::scope(|scope| {
            let caller = || self.caller(&sealed, &next, start, time);
            let all: Vec<_> = (0..callers).map(|_| scope.spawn(caller)).collect();
            all.into_iter()
                .map(|one| one.join().map_err(|_| anyhow::anyhow!("a caller panicked"))?)
                .collect::<Result<Vec<_>>>()
        })?;
        let took = start.elapsed().as_secs_f64();
        let busy = self.server.processor_time()? - busy;
        let answers: Vec<Answered> = answers.into_iter().flatten().collect();
        for answer in &answers {
            let (_, awaiting) = sealed.get(answer.message).context("a message")?;
            ensure!(is_released(awaiting, &answer.body)?, "a release was refused");
        }
        self.released.fetch_add(answers.len(), Ordering::Relaxed);
        let count = answers.len() as f64;
        let mut times: Vec<f64> = answers.iter().map(|answer| answer.took).collect();
        times.sort_by(f64::total_cmp);
        let part = |part: usize| times.get(times.len() * part / 100).copied();
        Ok(Figures {
            p50: part(50).context("no answer")?,
            p99: part(99).context("no answer")?,
            rate: count / took,
            processor: busy * 1e6 / count,
        })
    }

    /// Takes the next message that nobody has sent, until there is none or no time.
    fn caller(
        &self,
        sealed: &[Sealed],
        next: &AtomicUsize,
        start: Instant,
        time: Duration,
    ) -> Result<Vec<Answered>> {
        let mut client = Client::connect(&self.trust, self.server.address)?;
        let mut answers = Vec::new();
        while start.elapsed() < time {
            let message = next.fetch_add(1, Ordering::Relaxed);
            let Some((body, _)) = sealed.get(message) else { break };
            let begun = Instant::now();
            let (status, body) = client.post(body)?;
            ensure!(status == 200, "a release was answered {status}");
            let took = begun.elapsed().as_secs_f64() * 1e3;
            answers.push(Answered { message, took, body });
        }
        Ok(answers)
    }
}

struct Answered {
    message: usize,
    took: f64,
    body: Vec<u8>,
}
