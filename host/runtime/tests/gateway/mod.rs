//! A small gateway on its sockets, for tests of what is spoken on them.
#![allow(dead_code, reason = "each test binary uses its part")]

#[path = "../support/bootstrap.rs"]
mod bootstrap;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bootstrap::{Parts, bootstrap};
use postern_runtime::config::Gateway;
use postern_runtime::serve::{Options, Running, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

pub const PATIENCE: Duration = Duration::from_secs(20);

/// A gateway with one listener and one cluster; what is added to each, and where it leads.
pub fn gateway(manager: &str, cluster: &str, upstream: u16) -> Running {
    let parts = Parts { manager, filters: "", route: "timeout: 60s", cluster };
    let text = bootstrap(&parts, upstream);
    start(Gateway::parse(&text).unwrap(), Options::default()).unwrap()
}

pub fn front(running: &Running) -> SocketAddr {
    running.report().listeners[0].address
}

/// Runs a test on one thread, and not for ever.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async { timeout(PATIENCE, test).await.unwrap() });
}

/// The value of a counter or gauge.
pub async fn stat(running: &Running, name: &str) -> u64 {
    let mut admin = TcpStream::connect(running.report().admin.unwrap()).await.unwrap();
    admin.write_all(b"GET /stats HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    admin.read_to_string(&mut text).await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    line.unwrap_or_else(|| panic!("{name}: {text}")).trim().parse().unwrap()
}

pub async fn wait_for(running: &Running, name: &str, value: u64) {
    while stat(running, name).await != value {
        sleep(Duration::from_millis(10)).await;
    }
}
