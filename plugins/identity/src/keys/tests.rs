//! Fetches of one worker, and of two that share what they have fetched.

use std::collections::BTreeMap;

use postern_core::commons::Found;
use postern_core::key_service::{CallAnswer, CallFailure};

use super::*;

/// Shared data, which may refuse to be written or be changed by others.
#[derive(Default)]
struct Shared {
    values: RefCell<BTreeMap<String, (Found, u32)>>,
    refuses: bool,
}

impl Commons for Shared {
    fn find(&self, name: &str) -> Found {
        self.values.borrow().get(name).map_or(Found::Nothing, |(found, _)| found.clone())
    }

    fn replace(&self, name: &str, value: &[u8], version: u32) -> bool {
        if self.refuses || self.find(name).version() != version {
            return false;
        }
        let mut values = self.values.borrow_mut();
        let next = values.get(name).map_or(1, |(_, version)| version + 1);
        values.insert(name.to_owned(), (Found::Value(value.to_vec(), next), next));
        true
    }
}

impl Shared {
    /// Somebody else writes over everything.
    fn deface(&self) {
        for (found, version) in self.values.borrow_mut().values_mut() {
            *version += 1;
            *found = Found::Forged(*version);
        }
    }
}

const SET: &[u8] = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k1",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

fn at(seconds: u64) -> UnixMillis {
    UnixMillis(1_800_000_000_000).after(Duration::from_secs(seconds))
}

fn keys() -> Keys {
    keys_of(&Rc::<Shared>::default())
}

/// A worker's keys.
fn keys_of(shared: &Rc<Shared>) -> Keys {
    let shared: Rc<dyn Commons> = Rc::clone(shared) as _;
    let text = |text: &str| text.to_owned();
    let from = Endpoint { cluster: text("idp"), authority: text("idp.test"), path: text("/j") };
    let (refresh, keep) = (Duration::from_secs(300), Duration::from_secs(600));
    let source = KeySource::Fetched { from, refresh, keep };
    Keys::new(&source, Usage::Signatures, &shared).unwrap()
}

fn answer(status: u16, body: &[u8]) -> CallResult {
    Ok(CallAnswer::of(status, body.to_vec()))
}

/// The next fetch is due and ends like this.
fn fetch(keys: &Keys, seconds: u64, result: CallResult) {
    let call = keys.due(at(seconds)).unwrap();
    assert!(keys.heard(call.id, result, at(seconds)));
}

fn has_set(keys: &Keys, seconds: u64) -> bool {
    keys.standing(at(seconds)).set.is_some()
}

#[test]
fn a_set_is_fetched_at_once_and_again_when_its_time_has_come() {
    let keys = keys();
    assert!(!has_set(&keys, 0));
    fetch(&keys, 0, answer(200, SET));
    assert!(has_set(&keys, 0) && keys.due(at(299)).is_none());
    let call = keys.due(at(300)).unwrap();
    assert_eq!((call.method, call.path.as_ref()), ("GET", "/j"));
    assert!(keys.due(at(301)).is_none(), "one at a time");
}

#[test]
fn what_is_no_set_replaces_nothing_and_the_last_good_one_ends() {
    let keys = keys();
    fetch(&keys, 0, answer(200, SET));
    let mut when = 300;
    for bad in [
        answer(200, b"{}"),
        answer(200, br#"{"keys":[]}"#),
        answer(503, SET),
        Err(CallFailure::TooLarge),
        Err(CallFailure::NotSent),
    ] {
        fetch(&keys, when, bad);
        assert!(has_set(&keys, when));
        when += 60;
    }
    assert!(has_set(&keys, 599));
    assert!(!has_set(&keys, 600));
}

#[test]
fn a_failed_fetch_is_tried_again_later_and_later() {
    let keys = keys();
    let mut when = 0;
    for pause in [1, 2, 4, 8, 16, 30, 30] {
        fetch(&keys, when, answer(500, b""));
        assert!(!keys.want(at(when)), "nothing to wait for");
        assert!(keys.due(at(when + pause - 1)).is_none());
        when += pause;
        assert!(keys.want(at(when)));
    }
}

#[test]
fn unknown_ids_cause_a_bounded_number_of_fetches() {
    let keys = keys();
    fetch(&keys, 0, answer(200, SET));
    for when in 1..=4 {
        assert!(keys.want(at(when)) && keys.want(at(when)));
        fetch(&keys, when, answer(200, SET));
    }
    assert!(!keys.want(at(5)) && keys.due(at(5)).is_none());
    assert!(keys.want(at(61)));
}

#[test]
fn a_reply_to_another_call_is_nobodys() {
    let keys = keys();
    let call = keys.due(at(0)).unwrap();
    assert!(!keys.heard(CallId(call.id.0 + 1), answer(200, SET), at(0)));
    assert!(!has_set(&keys, 0));
}

#[test]
fn configured_keys_are_never_fetched() {
    let shared: Rc<dyn Commons> = Rc::<Shared>::default();
    let new = |set: &[u8], usage| Keys::new(&KeySource::Inline(set.to_vec()), usage, &shared);
    let keys = new(SET, Usage::Signatures).unwrap();
    assert!(has_set(&keys, 1_000_000) && keys.due(at(0)).is_none() && !keys.want(at(0)));
    assert!(new(b"{\"keys\":[]}", Usage::Signatures).is_none());
}

#[test]
fn keys_of_a_trust_bundle_are_those_for_tokens() {
    let new = |said: &str, usage| {
        let set = String::from_utf8_lossy(SET).replace("\"kid\"", &format!("{said}\"kid\""));
        let shared: Rc<dyn Commons> = Rc::<Shared>::default();
        Keys::new(&KeySource::Inline(set.into_bytes()), usage, &shared).is_some()
    };
    let said = |word: &str| format!("\"use\":\"{word}\",");
    for (word, signatures, svids) in
        [("sig", true, true), ("jwt-svid", false, true), ("x509-svid", false, false)]
    {
        let (one, other) = (new(&said(word), Usage::Signatures), new(&said(word), Usage::Svids));
        assert_eq!((one, other), (signatures, svids), "{word}");
    }
}

/// Two workers of a process.
fn two() -> (Rc<Shared>, Keys, Keys) {
    let shared = Rc::<Shared>::default();
    let (one, other) = (keys_of(&shared), keys_of(&shared));
    (shared, one, other)
}

/// Nothing is to be fetched, but what others have fetched is seen.
fn rests(keys: &Keys, seconds: u64) -> bool {
    keys.due(at(seconds)).is_none()
}

#[test]
fn one_worker_fetches_for_all() {
    let (_, one, other) = two();
    let call = one.due(at(0)).unwrap();
    assert!(rests(&other, 0) && !has_set(&other, 0), "the lease is taken");
    assert!(one.heard(call.id, answer(200, SET), at(1)));
    assert!(rests(&other, 1) && has_set(&other, 1));
    let standing = other.standing(at(1));
    assert_eq!((standing.generation, standing.ended, standing.failing), (1, 1, false));
    assert!(rests(&one, 300) && rests(&other, 300), "it is as old as it is");
    fetch(&other, 301, answer(200, SET));
    assert!(rests(&one, 301));
    assert_eq!(one.standing(at(301)).generation, 2);
}

#[test]
fn a_worker_that_begins_later_has_the_set_at_once_and_as_old_as_it_is() {
    let (shared, one, _) = two();
    fetch(&one, 0, answer(200, SET));
    let late = keys_of(&shared);
    assert!(rests(&late, 299) && has_set(&late, 299));
    for when in [300, 599] {
        let call = late.due(at(when)).unwrap();
        assert!(late.heard(call.id, answer(503, SET), at(when)));
    }
    assert!(!has_set(&late, 600));
}

#[test]
fn the_lease_of_a_worker_that_is_gone_ends() {
    let (_, one, other) = two();
    assert!(one.due(at(0)).is_some());
    drop(one);
    assert!(rests(&other, 0) && rests(&other, 2));
    fetch(&other, 3, answer(200, SET));
}

#[test]
fn a_failed_fetch_is_no_reason_for_others_to_try_at_once() {
    let (_, one, other) = two();
    fetch(&one, 0, answer(500, b""));
    assert!(rests(&other, 0) && !other.want(at(0)));
    fetch(&other, 1, answer(500, b""));
    assert!(rests(&one, 2) && rests(&other, 2), "two seconds after the second");
    fetch(&one, 3, answer(200, SET));
    assert!(rests(&other, 3) && has_set(&other, 3));
}

#[test]
fn unknown_ids_cause_a_bounded_number_of_fetches_of_all_workers() {
    let (_, one, other) = two();
    fetch(&one, 0, answer(200, SET));
    assert!(rests(&other, 0));
    for (when, keys) in [(1, &one), (2, &other), (3, &one), (4, &other)] {
        assert!(keys.want(at(when)));
        fetch(keys, when, answer(200, SET));
    }
    let before = one.standing(at(5)).ended;
    assert!(one.want(at(5)) && rests(&one, 5), "it learns here that there were four");
    assert_ne!(one.standing(at(5)).ended, before, "who waited is told");
    assert!(!one.want(at(6)) && !other.want(at(6)));
    assert!(one.want(at(61)));
    fetch(&one, 61, answer(200, SET));
}

#[test]
fn a_set_that_was_fetched_before_a_request_asked_does_not_answer_it() {
    let (_, one, other) = two();
    fetch(&one, 0, answer(200, SET));
    assert!(rests(&other, 0) && one.want(at(8)));
    let call = one.due(at(8)).unwrap();
    assert!(other.want(at(9)) && rests(&other, 9), "the lease is taken");
    assert!(one.heard(call.id, answer(200, SET), at(9)));
    let before = other.standing(at(9));
    let call = other.due(at(10)).unwrap();
    let after = other.standing(at(10));
    assert_eq!((after.generation, after.ended), (before.generation + 1, before.ended));
    assert!(other.heard(call.id, answer(200, SET), at(10)));
    assert_ne!(other.standing(at(10)).ended, before.ended);
}

#[test]
fn what_is_not_ours_in_shared_data_is_not_believed_and_told_once() {
    let (shared, one, other) = two();
    fetch(&one, 0, answer(200, SET));
    assert!(one.told().is_empty());
    shared.deface();
    assert!(rests(&one, 1) && has_set(&one, 1), "it keeps its own");
    assert_eq!(one.told().len(), 1);
    assert!(one.told().is_empty());
    fetch(&other, 1, answer(200, SET));
    assert_eq!(other.told().len(), 1);
    assert!(rests(&one, 2) && one.told().is_empty(), "written over by the next fetch");
}

#[test]
fn a_lease_over_a_spoilt_notice_is_believed_by_who_has_seen_more() {
    let (shared, one, other) = two();
    fetch(&one, 0, answer(200, SET));
    assert!(rests(&other, 1) && one.want(at(2)));
    shared.deface();
    let call = one.due(at(2)).unwrap();
    assert_eq!(one.told().len(), 1);
    assert!(other.want(at(2)) && rests(&other, 3), "the lease is taken");
    assert!(other.told().is_empty(), "what it says is ours");
    let before = other.standing(at(3));
    assert!(one.heard(call.id, answer(200, SET), at(3)));
    assert!(rests(&other, 4));
    assert_ne!(other.standing(at(4)).ended, before.ended, "who waited is told");
}

#[test]
fn a_notice_that_was_put_back_is_not_believed() {
    let (shared, one, _) = two();
    fetch(&one, 0, answer(200, SET));
    let old = shared.values.borrow().clone();
    fetch(&one, 300, answer(200, SET));
    *shared.values.borrow_mut() = old;
    assert!(rests(&one, 301));
    assert_eq!((one.told().len(), one.standing(at(301)).generation), (1, 2));
}

#[test]
fn a_worker_whose_lease_cannot_be_written_fetches_for_itself() {
    let shared = Rc::new(Shared { refuses: true, ..Shared::default() });
    let keys = keys_of(&shared);
    assert!(rests(&keys, 0) && rests(&keys, 1));
    fetch(&keys, 2, answer(200, SET));
    assert!(has_set(&keys, 2));
}

#[test]
fn a_clock_that_steps_back_keeps_nothing_from_being_fetched() {
    let keys = keys();
    fetch(&keys, 1_000_000, answer(200, SET));
    fetch(&keys, 0, answer(200, SET));
    assert!(rests(&keys, 299) && has_set(&keys, 599));
    assert!(keys.due(at(300)).is_some());
}
