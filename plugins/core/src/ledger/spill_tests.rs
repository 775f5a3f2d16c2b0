//! What a VM leaves in shared data, and who delivers it.

use std::rc::Rc;
use std::time::Duration;

use super::tests::{Fake, Shared, config, keys};
use super::*;
use crate::chain::{START, edge_link};
use crate::config::audit::WhenFull;
use crate::secret::Secret;
use crate::time::Entropy;

const T0: UnixMillis = UnixMillis(1_000_000);
const BOUND: usize = 65_536;

/// Several VMs of one process.
struct Process {
    shared: Shared,
    fake: Rc<Fake>,
    now: UnixMillis,
}

impl Process {
    fn new() -> Self {
        Self { shared: Shared::default(), fake: Rc::default(), now: T0 }
    }

    fn vm(&mut self, id: u8) -> Ledger {
        self.vm_with(id, keys())
    }

    fn vm_with(&mut self, id: u8, keys: MacKeys) -> Ledger {
        self.vm_of(id, keys, config(BOUND, WhenFull::All))
    }

    fn vm_of(&mut self, id: u8, keys: MacKeys, config: Config) -> Ledger {
        let ledger = Ledger::new(config, keys, self.fake.clone(), [8; 16], [id; 16], self.now);
        let mut ledger = ledger.spilling();
        ledger.keep(&mut self.shared, self.now);
        ledger
    }

    fn at(&self) -> Moment {
        Moment { now: self.now, entropy: Entropy([0; 32]) }
    }

    fn log(&mut self, vm: &mut Ledger, count: usize) {
        for _ in 0..count {
            let draft = Draft::new(T0).encode();
            let logged = Logged { draft: Some(&draft), ..Logged::default() };
            vm.log(logged, &mut self.shared, self.now);
        }
    }

    /// A second goes by in this VM.
    fn tick(&mut self, vm: &mut Ledger) {
        self.now = self.now.after(Duration::from_secs(1));
        vm.keep(&mut self.shared, self.now);
        let at = self.at();
        vm.submit(&mut self.shared, at);
        while vm.poll().is_some() {}
    }

    /// The collector takes the last batch, or part of it.
    fn take(&mut self, vm: &mut Ledger, next: Option<u64>) {
        let end = next.unwrap_or_else(|| self.fake.end());
        *self.fake.answer.borrow_mut() = Some(Ok(end));
        let call = CallId(*self.fake.calls.borrow());
        let at = self.at();
        vm.heard(call, Err(crate::key_service::CallFailure::NotSent), at);
        vm.tell(&mut self.shared, self.now);
    }

    /// Ticks and takes for so many seconds.
    fn run(&mut self, vm: &mut Ledger, seconds: usize) {
        for _ in 0..seconds {
            self.tick(vm);
            self.take(vm, None);
        }
    }

    /// How many records of a VM the collector has, each verified to follow the one before.
    fn collected(&self, vm: u8) -> usize {
        let mut heads = vec![START];
        for batch in self.fake.batches.borrow().iter().filter(|batch| batch.vm == [vm; 16]) {
            let first = usize::try_from(batch.first).unwrap();
            assert_eq!(batch.prev, heads[first], "batch from {first}");
            heads.truncate(first + 1);
            let mut head = batch.prev;
            for record in &batch.records {
                head = edge_link(&head, record);
                heads.push(head);
            }
        }
        heads.len() - 1
    }

    /// What is in slots, without heads.
    fn in_slots(&self) -> usize {
        let slots = self.shared.0.iter().filter(|(key, _)| key.matches('/').count() == 4);
        slots.filter(|(_, (value, _))| !value.is_empty()).count()
    }

    /// The value whose key ends so.
    fn shared_at(&mut self, end: &str) -> &mut Vec<u8> {
        let parts = end.matches('/').count() + 2;
        let mut all = self.shared.0.iter_mut();
        let found = all.find(|(key, _)| key.ends_with(end) && key.matches('/').count() == parts);
        &mut found.unwrap().1.0
    }

    fn lost(&self) -> Vec<String> {
        let batches = self.fake.batches.borrow();
        let records = batches.iter().flat_map(|batch| batch.records.clone());
        let texts = records.map(|record| String::from_utf8(record).unwrap());
        texts.filter(|text| text.contains(r#""kind":"lost""#)).collect()
    }
}

#[test]
fn what_a_vm_left_is_delivered_by_another_on_its_own_chain() {
    let mut process = Process::new();
    let mut gone = process.vm(1);
    process.log(&mut gone, 100);
    drop(gone);
    let mut next = process.vm(2);
    process.run(&mut next, 12);
    assert_eq!((process.collected(1), process.collected(2)), (101, 1));
    assert_eq!((process.in_slots(), process.lost().len()), (0, 0));
}

#[test]
fn a_vm_that_only_tries_a_configuration_leaves_nothing() {
    let mut process = Process::new();
    let config = config(BOUND, WhenFull::All);
    let tried = Ledger::new(config, keys(), process.fake.clone(), [8; 16], [1; 16], T0).spilling();
    drop(tried);
    let mut next = process.vm(2);
    process.run(&mut next, 12);
    assert_eq!((process.collected(1), process.collected(2)), (0, 1));
}

#[test]
fn only_what_was_not_acknowledged_is_left() {
    let mut process = Process::new();
    let mut gone = process.vm(1);
    process.log(&mut gone, 9);
    process.tick(&mut gone);
    process.take(&mut gone, Some(4));
    process.log(&mut gone, 2);
    assert_eq!(process.in_slots(), 8);
    drop(gone);
    let before = process.fake.batches.borrow().len();
    let mut next = process.vm(2);
    process.run(&mut next, 12);
    let batches = process.fake.batches.borrow();
    let left = batches.iter().skip(before).find(|batch| batch.vm == [1; 16]).unwrap();
    assert_eq!((left.first, left.records.len()), (4, 8));
}

#[test]
fn a_vm_that_runs_keeps_what_is_its_own() {
    let mut process = Process::new();
    let (mut one, mut two) = (process.vm(1), process.vm(2));
    process.log(&mut one, 5);
    for _ in 0..30 {
        process.tick(&mut one);
        process.tick(&mut two);
    }
    let batches = process.fake.batches.borrow();
    assert!(batches.iter().all(|batch| batch.vm != [1; 16] || batch.records.len() == 6));
    assert_eq!(process.shared.0.keys().filter(|key| key.matches('/').count() == 3).count(), 2);
}

#[test]
fn a_vm_that_was_taken_for_dead_goes_on_in_another_area_and_nothing_is_lost() {
    let mut process = Process::new();
    let mut slow = process.vm(1);
    process.log(&mut slow, 5);
    let mut other = process.vm(2);
    process.run(&mut other, 12);
    assert_eq!(process.collected(1), 6);
    // It comes back, and still has everything.
    process.log(&mut slow, 3);
    assert_eq!(process.in_slots(), 9, "all that it holds, in an area of its own");
    drop(slow);
    process.run(&mut other, 12);
    assert_eq!((process.collected(1), process.lost().len()), (9, 0));
}

/// A collector that knows a chain further than what is sent now.
#[test]
fn two_vms_that_deliver_one_chain_both_get_on() {
    let mut process = Process::new();
    let mut slow = process.vm(1);
    process.log(&mut slow, 150);
    let mut other = process.vm(2);
    for _ in 0..12 {
        process.tick(&mut other);
        process.take(&mut other, None);
    }
    assert_eq!(process.collected(1), 151, "all of it, in batches");
    // The first sends from where it was, and hears how far the collector is.
    process.tick(&mut slow);
    process.take(&mut slow, Some(151));
    assert_eq!(slow.waiting(), 0);
    process.log(&mut slow, 2);
    process.run(&mut slow, 3);
    assert_eq!((process.collected(1), process.lost().len()), (153, 0));
}

#[test]
fn a_vm_with_another_buffer_finds_what_was_left() {
    let mut process = Process::new();
    let mut gone = process.vm(1);
    process.log(&mut gone, 200);
    drop(gone);
    let mut next = process.vm_of(2, keys(), config(1 << 20, WhenFull::All));
    process.run(&mut next, 16);
    assert_eq!((process.collected(1), process.lost().len()), (201, 0));
}

#[test]
fn another_tenants_or_gateways_logger_leaves_it_alone() {
    let mut process = Process::new();
    let mut gone = process.vm(1);
    process.log(&mut gone, 5);
    drop(gone);
    let other_tenant = Config { tenant: "other".into(), ..config(BOUND, WhenFull::All) };
    let mut other_gateway = config(BOUND, WhenFull::All);
    other_gateway.key_service.gateway_id = [2; 16];
    for config in [other_tenant, other_gateway] {
        let mut next = process.vm_of(2, keys(), config);
        process.run(&mut next, 12);
    }
    assert_eq!((process.collected(1), process.in_slots()), (0, 6));
}

#[test]
fn a_head_that_is_none_of_ours_is_told_once() {
    for take_head in [true, false] {
        let mut process = Process::new();
        let mut gone = process.vm(1);
        process.log(&mut gone, 5);
        drop(gone);
        let mut next = process.vm(2);
        if take_head {
            process.shared_at("/0")[3] ^= 1;
        } else {
            process.shared_at("/1")[3] ^= 1;
        }
        process.run(&mut next, 12);
        let batches = process.fake.batches.borrow();
        let records = batches.iter().flat_map(|batch| batch.records.clone());
        let texts = records.map(|record| String::from_utf8(record).unwrap());
        assert_eq!(texts.filter(|text| text.contains("spill_forged")).count(), 1);
    }
}

#[test]
fn a_clock_that_goes_back_stops_nothing() {
    let mut process = Process::new();
    process.now = UnixMillis(10_000_000);
    let mut gone = process.vm(1);
    process.log(&mut gone, 5);
    let mut next = process.vm(2);
    drop(gone);
    process.now = UnixMillis(1_000_000);
    process.run(&mut next, 12);
    assert_eq!(process.collected(1), 6);
}

#[test]
fn records_that_were_changed_or_taken_away_are_missed() {
    for change in [|value: &mut Vec<u8>| value[20] ^= 1, |value: &mut Vec<u8>| value.clear()] {
        let mut process = Process::new();
        let mut gone = process.vm(1);
        process.log(&mut gone, 5);
        process.tick(&mut gone);
        drop(gone);
        change(process.shared_at("/0/3"));
        let mut next = process.vm(2);
        process.run(&mut next, 14);
        assert_eq!(process.collected(1), 3);
        let lost = process.lost();
        assert_eq!(lost.len(), 1);
        assert!(lost[0].contains(r#""count":"3""#), "{lost:?}");
        assert!(lost[0].contains(&format!(r#""root":"{}""#, "01".repeat(16))));
    }
}

#[test]
fn a_collector_that_refuses_what_was_left_holds_nobody_else_up() {
    let mut process = Process::new();
    let mut gone = process.vm(1);
    process.log(&mut gone, 5);
    drop(gone);
    let mut next = process.vm(2);
    for _ in 0..30 {
        process.log(&mut next, 1);
        process.tick(&mut next);
        let last = process.fake.batches.borrow().last().unwrap().clone();
        let end = if last.vm == [1; 16] { 0 } else { process.fake.end() };
        process.take(&mut next, Some(end));
    }
    assert!(process.collected(2) > 25, "{}", process.collected(2));
    assert_eq!(process.in_slots(), 6 + next.waiting());
    let tries = process.fake.batches.borrow().iter().filter(|b| b.vm == [1; 16]).count();
    assert!((2..5).contains(&tries), "{tries}");
    process.run(&mut next, 130);
    assert_eq!((process.collected(1), process.in_slots()), (6, 0));
}

#[test]
fn a_shared_key_in_rotation_opens_what_the_old_one_sealed_and_no_other_does() {
    let key = |fill| Secret::new(vec![fill; 32]);
    for (keys, want) in
        [(MacKeys::new(key(9), Some(key(7))).unwrap(), 6), (MacKeys::new(key(9), None).unwrap(), 0)]
    {
        let mut process = Process::new();
        let mut gone = process.vm(1);
        process.log(&mut gone, 5);
        drop(gone);
        let mut next = process.vm_with(2, keys);
        process.run(&mut next, 12);
        assert_eq!(process.collected(1), want);
    }
}

#[test]
fn a_host_that_refuses_leaves_records_in_memory_and_says_so() {
    let mut process = Process::new();
    let mut vm = process.vm(1);
    while vm.poll().is_some() {}
    process.shared.2 = true;
    process.log(&mut vm, 1);
    let outputs: Vec<_> = std::iter::from_fn(|| vm.poll()).collect();
    assert_eq!(outputs, [Output::Count(Noticed::Refused.metric())]);
    process.run(&mut vm, 3);
    assert_eq!(process.collected(1), 2);
}

#[test]
fn with_all_areas_taken_records_wait_in_memory_until_one_is_free() {
    let mut process = Process::new();
    let all: Vec<Ledger> = (0..area::AREAS).map(|_| process.vm(1)).collect();
    let mut late = process.vm(2);
    let outputs: Vec<_> = std::iter::from_fn(|| late.poll()).collect();
    assert_eq!(outputs, [Output::Count(Noticed::NoArea.metric())]);
    process.log(&mut late, 3);
    assert_eq!(process.in_slots(), usize::from(area::AREAS));
    drop(all);
    process.run(&mut late, 14);
    assert!(process.in_slots() < usize::from(area::AREAS));
    process.log(&mut late, 3);
    assert!(process.in_slots() > 0);
}

#[test]
fn nothing_in_shared_data_can_be_read() {
    let mut process = Process::new();
    let mut vm = process.vm(1);
    process.log(&mut vm, 3);
    for (value, _) in process.shared.0.values() {
        let text = String::from_utf8_lossy(value);
        assert!(!text.contains("request") && !text.contains("chain_started"), "{text}");
    }
}
