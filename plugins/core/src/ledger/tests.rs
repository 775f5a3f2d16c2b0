//! Batches, backoff, gaps and a full buffer, in virtual time.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::*;
use crate::chain::{Hash, START, edge_link};
use crate::config::key_service::{Evidence, KeyService};
use crate::event::AuditState;
use crate::key_service::{Batch, KeyServiceFault, MAX_ANSWER};
use crate::receipt::Sequence;
use crate::secret::Secret;
use crate::time::Entropy;

const T0: UnixMillis = UnixMillis(1_000_000);

/// A collector that verifies chains; what it answers next is set by the test.
#[derive(Default)]
pub(super) struct Fake {
    pub(super) batches: RefCell<Vec<Batch>>,
    pub(super) answer: RefCell<Option<Result<u64, KeyServiceFault>>>,
    pub(super) calls: RefCell<u32>,
}

impl Fake {
    fn ask(&self) -> Turn<Acknowledged> {
        *self.calls.borrow_mut() += 1;
        Turn::Ask(Call {
            id: CallId(*self.calls.borrow()),
            to: crate::key_service::Destination::KeyService,
            method: "POST",
            path: "/crp/v1/message".into(),
            content_type: "application/crp",
            authorization: None,
            unless: None,
            most: MAX_ANSWER,
            body: Vec::new(),
            timeout: Duration::from_secs(2),
        })
    }

    /// Sequence number after the last batch.
    pub(super) fn end(&self) -> u64 {
        let batches = self.batches.borrow();
        batches.last().map_or(0, |batch| batch.first + batch.records.len() as u64)
    }
}

impl Collector for Fake {
    fn submit(&self, batch: &Batch, _: Moment) -> Turn<Acknowledged> {
        self.batches.borrow_mut().push(batch.clone());
        self.ask()
    }

    fn heard(&self, _: CallId, _: CallResult, _: Moment) -> Turn<Acknowledged> {
        match self.answer.borrow_mut().take() {
            Some(Ok(next)) => Turn::Answer(Acknowledged { next }),
            Some(Err(fault)) => Turn::Failed(fault),
            None => self.ask(),
        }
    }
}

/// Shared data; a deaf one takes nothing.
#[derive(Default)]
pub(super) struct Shared(pub(super) BTreeMap<String, (Vec<u8>, u32)>, u32, pub(super) bool);

impl SharedData for Shared {
    fn read(&mut self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.0.get(key).cloned()
    }
    fn replace(&mut self, key: &str, value: &[u8], version: u32) -> bool {
        let have = self.0.get(key).map_or(crate::receipt::ABSENT, |(_, have)| *have);
        if self.2 || ![have, crate::receipt::ANY].contains(&version) {
            return false;
        }
        self.1 += 1;
        self.0.insert(key.to_owned(), (value.to_vec(), self.1));
        true
    }
}

pub(super) fn config(buffer: usize, when_full: WhenFull) -> Config {
    Config {
        tenant: "acme".into(),
        key_service: KeyService {
            cluster: "keys".into(),
            authority: "keys.internal".into(),
            gateway_id: [1; 16],
            evidence: Evidence::Simulated { key: [0; 32] },
            revocation: crate::revocation::Limits::LONGEST,
        },
        records: 3,
        every: Duration::from_secs(1),
        buffer,
        when_full,
    }
}

pub(super) fn keys() -> MacKeys {
    MacKeys::new(Secret::new(vec![7; 32]), None).unwrap()
}

struct World {
    ledger: Ledger,
    fake: Rc<Fake>,
    shared: Shared,
    gate: Sequence,
    now: UnixMillis,
}

impl World {
    fn new(buffer: usize, when_full: WhenFull) -> Self {
        let fake = Rc::new(Fake::default());
        let config = config(buffer, when_full);
        let ledger = Ledger::new(config, keys(), fake.clone(), [8; 16], [9; 16], T0);
        let gate = Sequence::new([5; 16]);
        Self { ledger, fake, shared: Shared::default(), gate, now: T0 }
    }

    fn moment(&self) -> Moment {
        Moment { now: self.now, entropy: Entropy([0; 32]) }
    }

    fn log(&mut self) {
        let draft = Draft::new(T0).encode();
        let seq = self.gate.next();
        let logged = Logged { draft: Some(&draft), seq: seq.as_deref(), ..Logged::default() };
        self.ledger.log(logged, &mut self.shared, self.now);
    }

    fn request(&mut self) -> AuditState {
        let state = self.gate.state(&keys(), &mut self.shared, self.now);
        self.log();
        state
    }

    /// A request as the gate treats it: refused, and said so, when the buffer is full.
    fn call(&mut self) -> AuditState {
        let state = self.gate.state(&keys(), &mut self.shared, self.now);
        let mut draft = Draft::new(T0);
        if state == AuditState::Full {
            let denial = Denial::AuditUnavailable(AuditReason::Full);
            let (code, reason) = (denial.code().as_str().into(), denial.reason().into());
            draft.decision = Decision::Deny { code, reason };
        }
        let (draft, seq) = (draft.encode(), self.gate.next());
        let logged = Logged { draft: Some(&draft), seq: seq.as_deref(), ..Logged::default() };
        self.ledger.log(logged, &mut self.shared, self.now);
        state
    }

    fn submit(&mut self) -> Vec<Output> {
        let at = self.moment();
        self.ledger.submit(&mut self.shared, at);
        self.outputs()
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.ledger.poll()).collect()
    }

    fn hear(&mut self, answer: Option<Result<u64, KeyServiceFault>>) -> Vec<Output> {
        *self.fake.answer.borrow_mut() = answer;
        let call = CallId(*self.fake.calls.borrow());
        self.ledger.heard(call, Err(crate::key_service::CallFailure::NotSent), self.moment());
        self.ledger.tell(&mut self.shared, self.now);
        self.outputs()
    }

    /// The collector takes what waits, until nothing does.
    fn drain(&mut self) {
        while self.ledger.buffer.len() > 0 {
            self.wait(1000);
            self.submit();
            let end = self.fake.end();
            self.hear(Some(Ok(end)));
        }
    }

    fn wait(&mut self, millis: u64) {
        self.now = self.now.after(Duration::from_millis(millis));
    }

    /// Everything the collector got, once each, after checking that the batches join up.
    fn collected(&self) -> Vec<String> {
        let mut records: Vec<Vec<u8>> = Vec::new();
        let mut heads: Vec<Hash> = vec![START];
        for batch in self.fake.batches.borrow().iter() {
            let first = usize::try_from(batch.first).unwrap();
            assert_eq!(batch.prev, heads[first], "batch from {first}");
            records.truncate(first);
            heads.truncate(first + 1);
            for record in &batch.records {
                heads.push(edge_link(heads.last().unwrap(), record));
                records.push(record.clone());
            }
        }
        records.into_iter().map(|record| String::from_utf8(record).unwrap()).collect()
    }

    fn kinds(&self) -> Vec<String> {
        let kind = |record: &String| {
            let value: serde_json::Value = serde_json::from_str(record).unwrap();
            value["kind"].as_str().unwrap().to_owned()
        };
        self.collected().iter().map(kind).collect()
    }
}

/// The count of a record of dropped ones.
fn dropped(record: &str) -> Option<u64> {
    let value: serde_json::Value = serde_json::from_str(record).unwrap();
    (value["kind"] == "dropped").then(|| value["count"].as_str().unwrap().parse().unwrap())
}

fn calls(outputs: &[Output]) -> usize {
    outputs.iter().filter(|output| matches!(output, Output::Call(_))).count()
}

#[test]
fn a_batch_leaves_when_enough_records_wait() {
    let mut world = World::new(65_536, WhenFull::All);
    world.request();
    assert!(!world.ledger.due(world.now));
    world.request();
    assert_eq!(calls(&world.submit()), 1);
    assert_eq!(world.kinds(), ["chain_started", "request", "request"]);
    // One batch at a time.
    (0..5).for_each(|_| world.log());
    assert!(!world.ledger.due(world.now));
    assert_eq!(world.hear(Some(Ok(3))), [Output::Count(DELIVERED)]);
    assert_eq!(calls(&world.submit()), 1);
    assert_eq!(world.collected().len(), 8, "all that waited, not only enough");
}

#[test]
fn a_record_waits_no_longer_than_every() {
    let mut world = World::new(65_536, WhenFull::All);
    world.wait(999);
    assert!(!world.ledger.due(world.now));
    world.wait(1);
    assert_eq!(calls(&world.submit()), 1);
}

#[test]
fn a_batch_is_kept_and_sent_again_until_it_is_acknowledged() {
    let mut world = World::new(65_536, WhenFull::All);
    world.wait(1000);
    let mut pauses = Vec::new();
    for _ in 0..7 {
        assert_eq!(calls(&world.submit()), 1);
        world.hear(Some(Err(KeyServiceFault::Unreachable)));
        let from = world.now;
        while !world.ledger.due(world.now) {
            world.wait(1000);
        }
        pauses.push(world.now.since(from).as_secs());
    }
    assert_eq!(pauses, [1, 2, 4, 5, 5, 5, 5]);
    world.submit();
    world.hear(Some(Ok(1)));
    world.request();
    world.wait(1000);
    world.submit();
    assert_eq!(world.kinds(), ["chain_started", "request"]);
}

#[test]
fn a_pause_between_batches_may_be_longer_than_the_longest_backoff() {
    let fake = Rc::new(Fake::default());
    let every = Duration::from_secs(60);
    let config = Config { every, ..config(65_536, WhenFull::All) };
    let mut ledger = Ledger::new(config, keys(), fake.clone(), [8; 16], [9; 16], T0);
    let at = |millis| Moment { now: UnixMillis(T0.0 + millis), entropy: Entropy([0; 32]) };
    ledger.submit(&mut Shared::default(), at(60_000));
    *fake.answer.borrow_mut() = Some(Err(KeyServiceFault::Unreachable));
    ledger.heard(CallId(1), Err(crate::key_service::CallFailure::NotSent), at(60_000));
    assert!(!ledger.due(UnixMillis(T0.0 + 119_999)));
    assert!(ledger.due(UnixMillis(T0.0 + 120_000)));
}

#[test]
fn a_question_of_several_calls_is_followed_to_its_end() {
    let mut world = World::new(65_536, WhenFull::All);
    world.wait(1000);
    world.submit();
    assert_eq!(calls(&world.hear(None)), 1);
    assert_eq!(world.hear(Some(Ok(1))), [Output::Count(DELIVERED)]);
}

#[test]
fn an_acknowledgement_of_more_or_nothing_new_forgets_nothing() {
    for next in [0, 2, u64::MAX] {
        let mut world = World::new(65_536, WhenFull::All);
        world.wait(1000);
        world.submit();
        world.log(); // On the chain, but not in the batch.
        assert_eq!(world.hear(Some(Ok(next))).last(), Some(&Output::Count(FAILED)));
        world.wait(1000);
        world.submit();
        assert_eq!(world.fake.batches.borrow().last().unwrap().first, 0, "{next}");
    }
}

#[test]
fn a_part_that_is_acknowledged_is_not_sent_again() {
    let mut world = World::new(65_536, WhenFull::All);
    world.log();
    world.log();
    world.submit();
    world.hear(Some(Ok(2)));
    world.wait(1000);
    world.submit();
    assert_eq!(world.fake.batches.borrow().last().unwrap().first, 2);
    assert_eq!(world.collected().len(), 3);
}

#[test]
fn a_call_that_never_comes_back_is_given_up_on() {
    let mut world = World::new(65_536, WhenFull::All);
    world.wait(1000);
    world.submit();
    world.wait(14_999);
    assert!(!world.ledger.due(world.now));
    world.wait(1);
    assert_eq!(calls(&world.submit()), 1);
    // Its late answer is not the answer of the new call.
    world.ledger.heard(CallId(1), Err(crate::key_service::CallFailure::NotSent), world.moment());
    assert_eq!(world.outputs(), []);
}

#[test]
fn requests_are_acknowledged_to_the_gate() {
    let mut world = World::new(65_536, WhenFull::All);
    for _ in 0..4 {
        assert_eq!(world.request(), AuditState::Acknowledged);
    }
}

#[test]
fn after_a_reload_the_new_chain_starts_with_the_gap() {
    let mut world = World::new(65_536, WhenFull::All);
    world.request();
    let config = config(65_536, WhenFull::All);
    world.ledger = Ledger::new(config, keys(), world.fake.clone(), [8; 16], [10; 16], T0);
    world.gate.next(); // Ended while the logger was dead.
    assert_eq!(world.request(), AuditState::Behind);
    assert_eq!(world.request(), AuditState::Acknowledged);
    world.submit();
    assert_eq!(world.kinds(), ["chain_started", "unlogged", "request", "request"]);
    assert!(world.collected()[1].contains(r#""count":"1""#));
}

#[test]
fn a_forged_slot_leaves_a_record() {
    let mut world = World::new(65_536, WhenFull::All);
    world.request();
    world.shared.0.values_mut().for_each(|(value, _)| value[0] ^= 1);
    assert_eq!(world.request(), AuditState::Behind);
    world.submit();
    assert_eq!(world.kinds(), ["chain_started", "request", "receipt_forged", "request"]);
}

#[test]
fn a_full_buffer_stops_writes_or_all_and_the_loss_is_counted() {
    for (when_full, state) in
        [(WhenFull::Writes, AuditState::FullForWrites), (WhenFull::All, AuditState::Full)]
    {
        let mut world = World::new(65_536, when_full);
        let before_full = (0..).take_while(|_| world.request() == AuditState::Acknowledged).count();
        // Three quarters of the bound went by without a stop.
        assert!(before_full > 100, "{before_full}");
        while !world.outputs().contains(&Output::Count(DROPPED)) {
            assert_eq!(world.request(), state);
        }
        world.log();
        world.drain();
        // Nobody came meanwhile, and still the first one passes.
        assert_eq!(world.request(), AuditState::Acknowledged);
        let dropped = world.collected().into_iter().find(|text| text.contains("dropped"));
        assert!(dropped.unwrap().contains(r#""count":"2""#));
    }
}

#[test]
fn a_flood_of_refusals_leaves_the_room_that_was_delivered_to_others() {
    let mut world = World::new(65_536, WhenFull::All);
    let mut passed = 0;
    let mut refused = 0;
    for _ in 0..100 {
        // Ten requests for each record that the collector takes.
        (0..2000).for_each(|_| match world.call() {
            AuditState::Acknowledged => passed += 1,
            _ => refused += 1,
        });
        world.submit();
        let end = world.fake.end();
        world.hear(Some(Ok(end)));
    }
    let delivered = world.fake.end();
    assert!(passed * 10 > delivered * 9, "{passed} passed, {delivered} delivered");
    world.drain();
    // Each request once: in a record of its own or in a count.
    let records = world.collected();
    let counted: u64 = records.iter().filter_map(|text| dropped(text)).sum();
    let listed = records.iter().filter(|text| text.contains(r#""kind":"request""#)).count();
    assert_eq!(listed as u64 + counted, passed + refused);
}

#[test]
fn a_buffer_that_was_full_takes_requests_again_when_half_of_it_is_free() {
    let mut world = World::new(1 << 20, WhenFull::All);
    while world.call() == AuditState::Acknowledged {}
    let full = world.ledger.buffer.len();
    let mut left = full;
    while world.call() == AuditState::Full {
        world.submit();
        let end = world.fake.end();
        world.hear(Some(Ok(end)));
        left = world.ledger.buffer.len();
    }
    // Three quarters held `full` records, so a half holds two thirds of them.
    assert!((full / 2..=full * 2 / 3 + 3).contains(&left), "{left} of {full}");
}

#[test]
fn a_root_that_moved_on_is_not_told_of_room() {
    let mut world = World::new(65_536, WhenFull::All);
    while world.request() == AuditState::Acknowledged {}
    world.gate.next(); // Ended while the logger was dead.
    world.drain();
    assert_eq!(world.request(), AuditState::Behind);
    assert_eq!(world.request(), AuditState::Acknowledged);
}

#[test]
fn a_missing_or_unreadable_draft_is_recorded_as_that() {
    let mut world = World::new(65_536, WhenFull::All);
    for draft in [None, Some(b"rubbish".as_slice())] {
        world.ledger.log(Logged { draft, ..Logged::default() }, &mut world.shared, T0);
    }
    assert_eq!(world.outputs(), [Output::Count(NO_DRAFT), Output::Count(NO_DRAFT)]);
    world.submit();
    let records = world.collected();
    assert!(records[1].contains(r#""reason":"draft_absent""#));
    assert!(records[2].contains(r#""reason":"draft_unreadable""#));
}

#[test]
fn a_draft_too_long_for_a_batch_becomes_a_record_without_one() {
    let mut world = World::new(65_536, WhenFull::All);
    let long = vec!["\u{1}".repeat(128); 64];
    let draft = Draft { credentials: long, ..Draft::new(T0) }.encode();
    let logged = Logged { draft: Some(&draft), ..Logged::default() };
    world.ledger.log(logged, &mut world.shared, T0);
    world.wait(1000);
    world.submit();
    assert!(world.collected()[1].contains("draft_unreadable"));
}

#[test]
fn a_flush_sends_what_waits_unless_a_call_is_out() {
    let mut world = World::new(65_536, WhenFull::All);
    world.ledger.flush(world.moment());
    assert_eq!(calls(&world.outputs()), 1);
    world.ledger.flush(world.moment());
    assert_eq!(world.outputs(), []);
}

#[test]
fn all_vms_of_a_process_share_one_boot_id() {
    let mut shared = Shared::default();
    assert_eq!(boot_id(&keys(), &mut shared, [1; 16]), [1; 16]);
    assert_eq!(boot_id(&keys(), &mut shared, [2; 16]), [1; 16]);
    shared.0.values_mut().for_each(|(value, _)| value[0] ^= 1);
    assert_eq!(boot_id(&keys(), &mut shared, [3; 16]), [3; 16]);
}
