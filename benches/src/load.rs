//! Load: callers on threads, each asking again as soon as it has its answer.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Done {
    /// Requests with the wanted status.
    pub right: usize,
    /// Requests with another.
    pub wrong: usize,
    /// Seconds.
    pub took: f64,
}

/// When the callers stop.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// After this time.
    Time(Duration),
    /// After this many requests, over all callers.
    Count(usize),
}

/// Asks on `callers` connections until it is time.
pub fn run(port: u16, request: &[u8], callers: usize, until: Until) -> Result<Done> {
    run_all(port, &[request], callers, until)
}

/// The same of requests that are to be answered with another status.
pub fn run_for(port: u16, request: &[u8], until: Until, status: u16) -> Result<Done> {
    let start = Instant::now();
    let done = call(port, std::iter::repeat(request), until, start, status)?;
    Ok(Done { took: start.elapsed().as_secs_f64(), ..done })
}

/// The same with several requests in turn; no two callers ask the same at once.
pub fn run_all<R: AsRef<[u8]> + Sync>(
    port: u16,
    requests: &[R],
    callers: usize,
    until: Until,
) -> Result<Done> {
    let start = Instant::now();
    let done = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..callers)
            .map(|index| {
                let turns = requests.iter().cycle().skip(index).step_by(callers);
                scope.spawn(move || call(port, turns, share(until, callers, index), start, 200))
            })
            .collect();
        callers
            .into_iter()
            .map(|caller| caller.join().map_err(|_| anyhow::anyhow!("a caller panicked"))?)
            .collect::<Result<Vec<_>>>()
    })?;
    let sum = done.iter().fold(Done::default(), |sum, one| Done {
        right: sum.right + one.right,
        wrong: sum.wrong + one.wrong,
        took: 0.0,
    });
    Ok(Done { took: start.elapsed().as_secs_f64(), ..sum })
}

fn share(until: Until, callers: usize, index: usize) -> Until {
    match until {
        Until::Count(count) => Until::Count(count / callers + usize::from(index < count % callers)),
        time => time,
    }
}

fn call<R: AsRef<[u8]>>(
    port: u16,
    requests: impl Iterator<Item = R>,
    until: Until,
    start: Instant,
    wanted: u16,
) -> Result<Done> {
    let mut caller = Caller::connect(port)?;
    let mut done = Done::default();
    for request in requests {
        let more = match until {
            Until::Time(time) => start.elapsed() < time,
            Until::Count(count) => done.right + done.wrong < count,
        };
        if !more {
            break;
        }
        match caller.ask(request.as_ref())? {
            status if status == wanted => done.right += 1,
            _ => done.wrong += 1,
        }
        if caller.closed {
            caller = Caller::connect(port)?;
        }
    }
    Ok(done)
}

/// One connection; answers are read no further than counting needs.
struct Caller {
    stream: TcpStream,
    buffer: Vec<u8>,
    closed: bool,
}

impl Caller {
    fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("connect")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, buffer: Vec::with_capacity(64 << 10), closed: false })
    }

    /// Sends one request and reads its answer whole; gives the status.
    fn ask(&mut self, request: &[u8]) -> Result<u16> {
        self.stream.write_all(request)?;
        self.buffer.clear();
        let end = loop {
            self.read()?;
            let end = self.buffer.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = end {
                break end + 4;
            }
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).to_ascii_lowercase();
        let status = head.get(9..12).and_then(|status| status.parse().ok()).context("status")?;
        let field = |name: &str| {
            head.lines().find_map(|line| line.strip_prefix(name).map(str::trim).map(str::to_owned))
        };
        self.closed = field("connection:").as_deref() == Some("close");
        match field("content-length:").map(|length| length.parse::<usize>()) {
            Some(length) => {
                let end = end + length.context("content-length")?;
                while self.buffer.len() < end {
                    self.read()?;
                }
                ensure!(self.buffer.len() == end, "more than one answer came");
            }
            None => {
                while !self.buffer.ends_with(b"0\r\n\r\n") {
                    self.read()?;
                }
            }
        }
        Ok(status)
    }

    fn read(&mut self) -> Result<()> {
        let mut chunk = [0; 16 << 10];
        match self.stream.read(&mut chunk)? {
            0 => bail!("the gateway closed the connection"),
            read => self.buffer.extend_from_slice(&chunk[..read]),
        }
        Ok(())
    }
}
