//! The hosts of a cluster on one worker: looked up where they are names, taken in turn.
//!
//! Invariant: what is known stays in use while a name is looked up again, and after a look-up
//! that has failed; a request waits for one only when nothing is known yet, and all that wait
//! wait for the same one, so that a name server that does not answer is not asked by each.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use tokio::net::lookup_host;
use tokio::sync::Notify;
use tokio::task::spawn_local;

use super::process::ClusterCounts;
use crate::config::{self, Address, Discovery, Family};
use crate::proxy::failure::Failure;

/// The hosts of one cluster.
pub(super) struct Hosts {
    config: config::Hosts,
    counts: Arc<ClusterCounts>,
    known: RefCell<Vec<SocketAddr>>,
    /// When they were looked up; never for addresses that need none.
    looked_up: Cell<Option<Instant>>,
    looking: Cell<bool>,
    /// Whoever waits for that.
    told: Notify,
    turn: Cell<usize>,
}

/// Where a request goes: the addresses of one host.
pub(super) struct Choice {
    /// Tried in this order.
    pub addresses: Vec<SocketAddr>,
    /// A connection that was made to another one serves as well.
    pub any: bool,
}

impl Hosts {
    pub fn new(config: config::Hosts, counts: Arc<ClusterCounts>) -> Self {
        let number = |it: &Address| Some(SocketAddr::new(it.host.parse().ok()?, it.port));
        let known: Option<Vec<SocketAddr>> = config.addresses.iter().map(number).collect();
        let hosts = Self {
            config,
            counts,
            known: RefCell::default(),
            looked_up: Cell::new(None),
            looking: Cell::new(false),
            told: Notify::new(),
            turn: Cell::new(0),
        };
        hosts.learn(known.unwrap_or_default());
        hosts
    }

    /// The host whose turn it is.
    pub async fn next(self: &Rc<Self>) -> Result<Choice, Failure> {
        if self.is_old() {
            let told = self.told.notified();
            if !self.looking.replace(true) {
                let hosts = Rc::clone(self);
                spawn_local(async move { hosts.look_up().await });
            }
            if self.known.borrow().is_empty() {
                told.await;
            }
        }
        self.choose().ok_or(Failure::NoHost)
    }

    /// Whether it is still one of them.
    pub fn has(&self, host: SocketAddr) -> bool {
        self.config.discovery == Discovery::LogicalDns || self.known.borrow().contains(&host)
    }

    fn choose(&self) -> Option<Choice> {
        let known = self.known.borrow();
        if self.config.discovery == Discovery::LogicalDns {
            let some = !known.is_empty();
            return some.then(|| Choice { addresses: known.clone(), any: true });
        }
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let host = known.get(turn.checked_rem(known.len())?)?;
        Some(Choice { addresses: vec![*host], any: false })
    }

    fn is_old(&self) -> bool {
        let fresh = |at: Instant| at.elapsed() < self.config.refresh;
        let needs =
            self.config.addresses.iter().any(|it| it.host.parse::<std::net::IpAddr>().is_err());
        needs && !self.looked_up.get().is_some_and(fresh)
    }

    async fn look_up(&self) {
        let mut found = Vec::new();
        for address in &self.config.addresses {
            match lookup_host((address.host.as_str(), address.port)).await {
                Ok(addresses) => found.extend(self.wanted(addresses.collect())),
                Err(error) => tracing::warn!(host = address.host, %error, "no address"),
            }
        }
        found.dedup();
        self.looked(found);
    }

    /// A look-up has come to its end.
    fn looked(&self, found: Vec<SocketAddr>) {
        self.looking.set(false);
        self.looked_up.set(Some(Instant::now()));
        if !found.is_empty() {
            self.learn(found);
        } else if self.known.borrow().is_empty() {
            // The next request tries again.
            self.looked_up.set(None);
        }
        self.told.notify_waiters();
    }

    fn learn(&self, found: Vec<SocketAddr>) {
        let mut shown = self.counts.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        shown.clone_from(&found);
        drop(shown);
        self.known.replace(found);
    }

    /// Those of the family that is wanted. A name that is one host may be tried in both.
    fn wanted(&self, all: Vec<SocketAddr>) -> Vec<SocketAddr> {
        let (six, four): (Vec<_>, Vec<_>) = all.into_iter().partition(SocketAddr::is_ipv6);
        let (first, second) = match self.config.family {
            Family::V4 => return four,
            Family::V6 => return six,
            Family::Auto => (six, four),
            Family::V4Preferred => (four, six),
        };
        match self.config.discovery {
            Discovery::LogicalDns => [first, second].concat(),
            Discovery::Static | Discovery::StrictDns if first.is_empty() => second,
            Discovery::Static | Discovery::StrictDns => first,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::{Context, Waker};
    use std::time::Duration;

    use tokio::task::LocalSet;

    use super::*;

    fn hosts(discovery: Discovery, family: Family, names: &[&str]) -> Rc<Hosts> {
        let address = |host: &&str| Address { host: (*host).to_owned(), port: 80 };
        let addresses = names.iter().map(address).collect();
        let refresh = Duration::from_secs(5);
        let config = config::Hosts { discovery, addresses, family, refresh };
        Rc::new(Hosts::new(config, Arc::default()))
    }

    #[tokio::test]
    async fn hosts_are_taken_in_turn() {
        let hosts = hosts(Discovery::Static, Family::Auto, &["127.0.0.1", "127.0.0.2"]);
        let mut taken = Vec::new();
        for _ in 0..3 {
            taken.extend(hosts.next().await.ok().map(|choice| choice.addresses[0].to_string()));
        }
        assert_eq!(taken, ["127.0.0.1:80", "127.0.0.2:80", "127.0.0.1:80"]);
        assert!(hosts.has("127.0.0.2:80".parse().unwrap()));
        assert!(!hosts.has("127.0.0.3:80".parse().unwrap()));
    }

    #[test]
    fn addresses_are_those_of_the_family_that_is_wanted() {
        let both: Vec<SocketAddr> =
            ["192.0.2.1:80", "[2001:db8::1]:80"].map(|it| it.parse().unwrap()).into();
        let (four, six) = (both[0], both[1]);
        for (discovery, family, want) in [
            (Discovery::StrictDns, Family::Auto, vec![six]),
            (Discovery::StrictDns, Family::V4Preferred, vec![four]),
            (Discovery::StrictDns, Family::V4, vec![four]),
            (Discovery::LogicalDns, Family::Auto, vec![six, four]),
            (Discovery::LogicalDns, Family::V4Preferred, vec![four, six]),
            (Discovery::LogicalDns, Family::V6, vec![six]),
        ] {
            let got = hosts(discovery, family, &["a.test"]).wanted(both.clone());
            assert_eq!(got, want, "{discovery:?} {family:?}");
        }
        let only = hosts(Discovery::StrictDns, Family::Auto, &["a.test"]).wanted(vec![four]);
        assert_eq!(only, [four]);
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_a_cluster_without_a_host() {
        // A label of 64 octets is no name, so nobody is asked.
        let label = "a".repeat(64);
        let hosts = hosts(Discovery::StrictDns, Family::Auto, &[&label]);
        let next = LocalSet::new().run_until(hosts.next()).await;
        assert_eq!(next.err(), Some(Failure::NoHost));
        assert!(hosts.is_old());
    }

    #[tokio::test]
    async fn requests_that_know_no_host_wait_for_one_look_up() {
        let hosts = hosts(Discovery::StrictDns, Family::Auto, &["a.test"]);
        // Somebody looks already.
        hosts.looking.set(true);
        let mut waiting = [(); 3].map(|()| Box::pin(hosts.next()));
        let mut context = Context::from_waker(Waker::noop());
        for next in &mut waiting {
            assert!(next.as_mut().poll(&mut context).is_pending());
        }
        let found: SocketAddr = "192.0.2.1:80".parse().unwrap();
        hosts.looked(vec![found]);
        for next in waiting {
            assert_eq!(next.await.ok().map(|choice| choice.addresses), Some(vec![found]));
        }
    }
}
