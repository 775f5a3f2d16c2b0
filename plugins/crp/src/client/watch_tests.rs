//! The revocation feed against a service in memory, in virtual time: several VMs that
//! share data, and a path that lies.

use std::collections::BTreeMap;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use postern_core::key_service::*;
use postern_core::receipt::{ABSENT, SharedData};
use postern_core::revocation::{Entry, Feed, Freshness, Kind, Limits, Revocations};
use postern_core::secret::Secret;
use postern_core::time::{Entropy, Moment, UnixMillis};
use zeroize::Zeroizing;

use super::{Client, Settings};
use crate::evidence::{Runtime, simulate};
use crate::identity::Role;
use crate::revocation::{Head, List, answer};
use crate::tests::fixture::{self, NOW};

#[derive(Default)]
struct Shared(BTreeMap<String, (Vec<u8>, u32)>);

impl SharedData for Shared {
    fn read(&mut self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.0.get(key).cloned()
    }

    fn replace(&mut self, key: &str, value: &[u8], version: u32) -> bool {
        let have = self.0.get(key).map_or(ABSENT, |(_, version)| *version);
        if have == version {
            self.0.insert(key.to_owned(), (value.to_vec(), version.wrapping_add(1)));
        }
        have == version
    }
}

fn vm() -> Client {
    vm_with(Limits::LONGEST)
}

fn vm_with(revocation: Limits) -> Client {
    let settings = Settings {
        gateway_id: fixture::GATEWAY,
        tenant: fixture::TENANT.into(),
        role: Role::Gate,
        seed: Secret::new(fixture::IDENTITY_SEED.to_vec()),
        trust: fixture::trust(),
        service: [1; 32],
        cache_ttl: Duration::from_secs(60),
        modules: None,
        cache_entries: 256,
        revocation,
    };
    Client::new(settings).unwrap()
}

fn signer(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn evidence() -> Vec<u8> {
    let signing_key = signer(1).verifying_key().to_bytes();
    let runtime = Runtime { signing_key, ..fixture::runtime() };
    simulate(&runtime.to_bytes(), &Zeroizing::new(fixture::DEV_SEED))
}

fn list(agents: &[&str], forget: u64) -> List {
    let entry = |name: &&str| Entry::of(Kind::Agent, fixture::TENANT, name.as_bytes());
    List::new(agents.iter().map(entry).collect(), forget)
}

/// What a service that holds `list` since `epoch` answers at `after` milliseconds.
fn signed(list: &List, epoch: u64, after: u64) -> Vec<u8> {
    let head = Head::of(list, epoch, at(after).now.seconds());
    answer(&head.sign(&[&signer(9), &signer(1)]), Some(list)).unwrap()
}

fn at(after: u64) -> Moment {
    Moment { now: UnixMillis(NOW.0 + after), entropy: Entropy([7; 32]) }
}

fn at_of(who: u8, after: u64) -> Moment {
    Moment { entropy: Entropy([who; 32]), ..at(after) }
}

fn ok(body: Vec<u8>) -> CallResult {
    Ok(CallAnswer::of(200, body))
}

/// A tick whose calls are answered so; what was asked for.
fn tick(vm: &Client, shared: &mut Shared, after: u64, body: &[u8]) -> Vec<String> {
    let mut asked = Vec::new();
    let mut next = vm.tick(shared, at(after));
    while let Some(call) = next {
        let wants_evidence = call.path == "/crp/v1/evidence";
        let body = if wants_evidence { evidence() } else { body.to_vec() };
        asked.push(call.path.to_string());
        assert!(asked.len() < 5);
        next = Feed::heard(vm, call.id, ok(body), shared, at(after));
    }
    asked
}

fn knows(vm: &Client, agent: &str) -> bool {
    vm.is_revoked(Kind::Agent, agent.as_bytes())
}

fn freshness(vm: &Client, after: u64) -> Freshness {
    vm.freshness(at(after).now)
}

fn counted(vm: &Client) -> Vec<&'static str> {
    vm.counts()
        .into_iter()
        .map(|metric| metric.0.trim_start_matches("postern.revocation."))
        .collect()
}

#[test]
fn a_head_is_fetched_each_second_tick_and_its_list_applies_at_once() {
    let (vm, mut shared) = (vm(), Shared::default());
    let first = tick(&vm, &mut shared, 0, &signed(&list(&[], 0), 4, 0));
    assert_eq!(first, ["/crp/v1/evidence", "/crp/v1/revocations"]);
    assert_eq!(freshness(&vm, 0), Freshness::Live);
    assert!(tick(&vm, &mut shared, 1000, b"").is_empty());
    let second = tick(&vm, &mut shared, 2000, &signed(&list(&["bot"], 0), 5, 2000));
    assert_eq!(second, ["/crp/v1/revocations?since=4"]);
    assert!(knows(&vm, "bot") && !knows(&vm, "other"));
    tick(&vm, &mut shared, 4000, &signed(&list(&[], 0), 6, 4000));
    assert!(!knows(&vm, "bot"), "taken back");
    assert!(counted(&vm).is_empty());
}

#[test]
fn age_decides_and_counts_from_the_start_where_there_is_no_head() {
    let (fed, never, mut shared) = (vm(), vm(), Shared::default());
    tick(&fed, &mut shared, 0, &signed(&list(&[], 0), 4, 0));
    assert!(never.tick(&mut Shared::default(), at(0)).is_some());
    // Heads are signed by the second: this one at 250 ms before `NOW`.
    for (after, with, without) in [
        (9_000, Freshness::Live, Freshness::Late),
        (9_750, Freshness::Late, Freshness::Late),
        (29_000, Freshness::Late, Freshness::Late),
        (30_000, Freshness::StaleForWrites, Freshness::StaleForWrites),
        (299_000, Freshness::StaleForWrites, Freshness::StaleForWrites),
        (300_000, Freshness::Stale, Freshness::Stale),
    ] {
        assert_eq!((freshness(&fed, after), freshness(&never, after)), (with, without), "{after}");
    }
    let short = Limits { writes: Duration::from_secs(6), all: Duration::from_secs(7) };
    let short = vm_with(short);
    tick(&short, &mut Shared::default(), 0, &signed(&list(&[], 0), 4, 0));
    assert_eq!(freshness(&short, 6_000), Freshness::StaleForWrites);
    assert_eq!(freshness(&short, 7_000), Freshness::Stale);
}

#[test]
fn a_frozen_path_is_noticed_by_the_age_of_what_it_shows() {
    let (vm, mut shared) = (vm(), Shared::default());
    let frozen = signed(&list(&[], 0), 4, 0);
    for after in (0..32_000).step_by(1000) {
        tick(&vm, &mut shared, after, &frozen);
    }
    assert_eq!(freshness(&vm, 31_000), Freshness::StaleForWrites);
    assert_eq!(counted(&vm), ["late.total"]);
    tick(&vm, &mut shared, 33_000, &signed(&list(&["bot"], 0), 5, 33_000));
    assert_eq!(freshness(&vm, 33_000), Freshness::Live);
    assert!(knows(&vm, "bot"));
}

#[test]
fn what_is_not_newer_genuine_and_of_our_time_changes_nothing() {
    let good = signed(&list(&["bot"], 0), 5, 10_000);
    let mut bent = signed(&list(&["bot"], 0), 6, 12_000);
    bent[20] ^= 1;
    let stranger = {
        let head = Head::of(&list(&[], 0), 6, at(12_000).now.seconds());
        answer(&head.sign(&[&signer(8)]), Some(&list(&[], 0))).unwrap()
    };
    let mut other_list = signed(&list(&["bot"], 0), 6, 12_000);
    *other_list.last_mut().unwrap() ^= 1;
    let unfounded = {
        let head = Head::of(&list(&[], 0), 6, at(12_000).now.seconds());
        answer(&head.sign(&[&signer(1)]), None).unwrap()
    };
    for (what, body, counts) in [
        ("lower epoch", signed(&list(&[], 0), 4, 12_000), "refused.reason=backwards.total"),
        ("earlier", signed(&list(&[], 0), 6, 8_000), "refused.reason=backwards.total"),
        ("same epoch, other list", signed(&list(&[], 0), 5, 12_000), "refused.reason=forged.total"),
        ("ahead", signed(&list(&[], 0), 6, 24_000), "refused.reason=ahead.total"),
        ("bent", bent, "refused.reason=forged.total"),
        ("another's key", stranger, "refused.reason=unreachable.total"),
        ("another list", other_list, "refused.reason=forged.total"),
        ("list not held", unfounded, "refused.reason=malformed.total"),
        ("rubbish", b"{}".to_vec(), "refused.reason=malformed.total"),
        ("nothing", Vec::new(), "refused.reason=malformed.total"),
    ] {
        let (vm, mut shared) = (vm(), Shared::default());
        tick(&vm, &mut shared, 10_000, &good);
        tick(&vm, &mut shared, 12_000, &body);
        assert!(knows(&vm, "bot"), "{what}");
        assert!(counted(&vm).contains(&counts), "{what}");
        assert_eq!(freshness(&vm, 20_000), Freshness::Late, "{what}: 10 s after the good one");
    }
}

#[test]
fn one_vm_fetches_for_all_and_each_verifies() {
    let (first, second, mut shared) = (vm(), vm(), Shared::default());
    let head = |after| signed(&list(&["bot"], 0), 5, after);
    tick(&first, &mut shared, 0, &head(0));
    // The second VM fetches evidence alone, and finds the head.
    let call = second.tick(&mut shared, at_of(8, 500)).unwrap();
    assert_eq!(call.path, "/crp/v1/evidence");
    let next = Feed::heard(&second, call.id, ok(evidence()), &mut shared, at_of(8, 500));
    assert!(next.is_none());
    assert!(knows(&second, "bot"));
    // A lease holds two ticks: only one of them asks.
    assert!(!tick(&first, &mut shared, 2000, &head(2000)).is_empty());
    assert!(second.tick(&mut shared, at_of(8, 2500)).is_none());
    assert_eq!(freshness(&second, 11_000), Freshness::Live, "found what the first had fetched");
}

#[test]
fn a_dead_or_forged_lease_and_a_forged_head_cost_seconds() {
    let (vm, mut shared) = (vm(), Shared::default());
    tick(&vm, &mut shared, 0, &signed(&list(&["bot"], 0), 5, 0));
    let names: Vec<String> = shared.0.keys().cloned().collect();
    assert_eq!(names.len(), 2);
    for after in (1000..6000).step_by(1000) {
        let (_, version) = shared.0[&names[1]];
        let until = NOW.0 + after + 2400;
        let theirs = [[3; 16].as_slice(), &until.to_be_bytes()].concat();
        shared.0.insert(names[1].clone(), (theirs, version));
        shared.0.insert(names[0].clone(), (signed(&list(&[], 0), 4, after), 70));
        let asked = tick(&vm, &mut shared, after, &signed(&list(&["bot"], 0), 5, after));
        assert_eq!(asked.is_empty(), after < 5000, "{after}");
        assert!(knows(&vm, "bot"), "{after}");
    }
    // A lease that seems to hold for ever is none.
    let for_ever = [[3; 16].as_slice(), &u64::MAX.to_be_bytes()].concat();
    shared.0.insert(names[1].clone(), (for_ever, 1));
    assert!(!tick(&vm, &mut shared, 7000, &signed(&list(&[], 0), 6, 7000)).is_empty());
}

#[test]
fn a_clock_that_goes_back_leaves_no_head() {
    let (vm, mut shared) = (vm(), Shared::default());
    tick(&vm, &mut shared, 500_000, &signed(&list(&["bot"], 0), 5, 500_000));
    tick(&vm, &mut Shared::default(), 10_000, b"");
    assert_eq!(freshness(&vm, 10_000), Freshness::Late);
    assert!(knows(&vm, "bot"), "what was revoked still is");
}

#[test]
fn a_gateway_or_tenant_on_the_list_is_shut() {
    for (kind, id) in [(Kind::Gateway, &fixture::GATEWAY[..]), (Kind::Tenant, b"")] {
        let (vm, mut shared) = (vm(), Shared::default());
        let list = List::new(vec![Entry::of(kind, fixture::TENANT, id)], 0);
        assert!(!vm.shuts_gateway());
        tick(&vm, &mut shared, 0, &signed(&list, 5, 0));
        assert!(vm.shuts_gateway(), "{kind:?}");
    }
}
