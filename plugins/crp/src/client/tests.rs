//! The client against a service in memory, in virtual time.

mod invites;

use std::rc::Rc;
use std::time::Duration;

use postern_core::key_service::*;
use postern_core::revocation::Limits;
use postern_core::secret::Secret;
use postern_core::time::{Entropy, Moment, UnixMillis};

use super::question::MAX_PENDING;
use super::{Client, Settings};
use crate::identity::Role;
use crate::message::{Answer, Message, Receipt, Status, audit, directory, store};
use crate::service;
use crate::tests::fixture::{self, NOW};
use postern_core::credential::Want;

fn client(role: Role) -> Client {
    let settings = Settings {
        gateway_id: fixture::GATEWAY,
        tenant: fixture::TENANT.into(),
        role,
        seed: Secret::new(fixture::IDENTITY_SEED.to_vec()),
        trust: fixture::trust(),
        service: [0x5e; 32],
        revocation: Limits::LONGEST,
        cache_ttl: Duration::from_secs(60),
        modules: Some([0x3d; 32]),
        cache_entries: 256,
    };
    Client::new(settings).unwrap()
}

fn at(after_ms: u64) -> Moment {
    Moment { now: UnixMillis(NOW.0 + after_ms), entropy: Entropy([0xee; 32]) }
}

fn want() -> Want {
    let request = fixture::release_request();
    Want {
        tenant: fixture::TENANT.into(),
        agent: request.agent,
        credential: request.credential,
        host: request.host,
        method: request.method,
        path: request.path,
        caller_hash: request.caller_hash,
        request_digest: request.request_digest,
        binding_hash: request.binding_hash,
        policy_hash: [0x90; 32],
        approval: None,
    }
}

fn ok(body: Vec<u8>) -> CallResult {
    Ok(CallAnswer::of(200, body))
}

fn status(status: u16) -> CallResult {
    Ok(CallAnswer::of(status, Vec::new()))
}

/// What the service replies to `call`.
fn serve(call: &Call, answer: impl Fn(&Message) -> Answer) -> Vec<u8> {
    if call.method == "GET" {
        return fixture::document();
    }
    let opened = service::open(&call.body, &[&fixture::epoch_key()]).unwrap();
    let Ok(verified) = opened.verify(&fixture::identity().public_key(), NOW) else {
        panic!("signed by the gateway")
    };
    verified.seal(&answer(verified.message()), &fixture::reply_entropy()).unwrap()
}

fn released(_: &Message) -> Answer {
    Answer::Release(fixture::release_answer())
}

fn known(message: &Message) -> Answer {
    let Message::Directory(request) = message else { panic!("a look-up") };
    let entries = request.ids.iter().map(|id| (*id, Some(fixture::key_entry()))).collect();
    Answer::Directory(directory::Answer { entries })
}

fn unknown(message: &Message) -> Answer {
    let Message::Directory(request) = message else { panic!("a look-up") };
    Answer::Directory(directory::Answer {
        entries: request.ids.iter().map(|id| (*id, None)).collect(),
    })
}

fn asked<A>(turn: Turn<A>) -> Call {
    match turn {
        Turn::Ask(call) => call,
        Turn::Answer(_) => panic!("answered"),
        Turn::Failed(fault) => panic!("{fault}"),
    }
}

fn answered<A>(turn: Turn<A>) -> A {
    match turn {
        Turn::Answer(answer) => answer,
        Turn::Ask(call) => panic!("asked {}", call.path),
        Turn::Failed(fault) => panic!("{fault}"),
    }
}

fn failed<A>(turn: Turn<A>) -> KeyServiceFault {
    match turn {
        Turn::Failed(fault) => fault,
        _ => panic!("not failed"),
    }
}

/// A credential client that holds evidence already.
fn warm() -> Client {
    let client = client(Role::Credential);
    let message = get_evidence(&client, &want(), 0);
    Releases::abandon(&client, message.id);
    client
}

/// Asks until the message is out.
fn get_evidence(client: &Client, want: &Want, after: u64) -> Call {
    let evidence = asked(client.ask(want, at(after)));
    assert_eq!((evidence.method, &*evidence.path), ("GET", "/crp/v1/evidence"));
    asked(Releases::heard(client, evidence.id, ok(fixture::document()), at(after)))
}

fn hear(client: &Client, call: &Call, result: CallResult, after: u64) -> Turn<Released> {
    Releases::heard(client, call.id, result, at(after))
}

#[test]
fn a_release_asks_for_evidence_then_for_the_value_and_is_cached_for_three_seconds() {
    let client = client(Role::Credential);
    let evidence = asked(client.ask(&want(), at(0)));
    let message = asked(hear(&client, &evidence, ok(fixture::document()), 300));
    assert_eq!((message.method, &*message.path), ("POST", "/crp/v1/message"));
    assert_eq!(message.timeout, Duration::from_millis(1700));
    let first = answered(hear(&client, &message, ok(serve(&message, released)), 400)).unwrap();
    assert_eq!(first.field("").unwrap().expose(), b"xoxb-not-a-real-value");
    let again = answered(client.ask(&want(), at(3399))).unwrap();
    assert!(Rc::ptr_eq(&first, &again));
    assert_eq!(asked(client.ask(&want(), at(3400))).method, "POST");
}

#[test]
fn another_agent_caller_host_method_binding_policy_or_an_approval_is_not_served_from_the_cache() {
    let client = warm();
    let message = asked(client.ask(&want(), at(0)));
    answered(hear(&client, &message, ok(serve(&message, released)), 0)).unwrap();
    let others: [fn(&mut Want); 8] = [
        |want| want.agent = "agent-8".into(),
        |want| want.credential = "github".into(),
        |want| want.host = "other.example:443".into(),
        |want| want.method = "GET".into(),
        |want| want.caller_hash = [0; 32],
        |want| want.binding_hash = [0; 32],
        |want| want.policy_hash = [0; 32],
        |want| want.approval = Some([1; 16]),
    ];
    for change in others {
        let mut other = want();
        change(&mut other);
        asked(client.ask(&other, at(1)));
    }
    let other_tenant = Want { tenant: "other".into(), ..want() };
    assert_eq!(answered(client.ask(&other_tenant, at(1))).err(), Some(ReleaseDenied::Denied));
}

#[test]
fn a_release_says_what_the_gateway_runs() {
    let client = warm();
    let call = asked(client.ask(&want(), at(0)));
    let said = |message: &Message| {
        let Message::Release(asked) = message else { panic!("a release") };
        assert_eq!((asked.module_digest, asked.policy_hash), (Some([0x3d; 32]), Some([0x90; 32])));
        released(message)
    };
    answered(hear(&client, &call, ok(serve(&call, said)), 0)).unwrap();
}

#[test]
fn a_value_is_used_as_often_as_the_service_says_and_not_kept_when_it_says_so() {
    for (ttl_s, max_uses, served) in [(60, 3, 2), (60, 1, 0), (60, 0, 0), (0, 9, 0)] {
        let client = warm();
        let message = asked(client.ask(&want(), at(0)));
        let mut answer = fixture::release_answer();
        (answer.ttl_s, answer.max_uses) = (ttl_s, max_uses);
        let opened = service::open(&message.body, &[&fixture::epoch_key()]).unwrap();
        let Ok(verified) = opened.verify(&fixture::identity().public_key(), NOW) else {
            panic!("verifies")
        };
        let reply = verified.seal(&Answer::Release(answer), &fixture::reply_entropy()).unwrap();
        answered(hear(&client, &message, ok(reply), 0)).unwrap();
        for _ in 0..served {
            answered(client.ask(&want(), at(1))).unwrap();
        }
        asked(client.ask(&want(), at(1)));
    }
}

fn outcome(change: impl Fn(&mut crate::message::release::Answer)) -> Turn<Released> {
    let client = warm();
    let message = asked(client.ask(&want(), at(0)));
    let reply = serve(&message, |_| {
        let mut answer = fixture::release_answer();
        change(&mut answer);
        if !matches!(answer.status, Status::Ok | Status::NeedsApproval) {
            answer.fields.clear();
        }
        Answer::Release(answer)
    });
    hear(&client, &message, ok(reply), 0)
}

#[test]
fn each_sealed_status_has_its_outcome() {
    for (status, denied) in [
        (Status::Denied, ReleaseDenied::Denied),
        (Status::UnknownCredential, ReleaseDenied::Unknown),
        (Status::NeedsPasskey, ReleaseDenied::NeedsApproval { approval: None }),
        (Status::Revoked, ReleaseDenied::Revoked),
        (Status::Expired, ReleaseDenied::Expired),
    ] {
        assert_eq!(answered(outcome(|answer| answer.status = status)).err(), Some(denied));
    }
    for status in [Status::KekUnavailable, Status::Rate] {
        assert_eq!(failed(outcome(|a| a.status = status)), KeyServiceFault::NotReady);
    }
    let pending = outcome(|answer| {
        answer.status = Status::NeedsApproval;
        answer.fields = vec![(String::new(), Secret::new(vec![5; 16]))];
    });
    let approval = Some([5; 16]);
    assert_eq!(answered(pending).err(), Some(ReleaseDenied::NeedsApproval { approval }));
    let over = outcome(|answer| answer.not_after = NOW);
    assert_eq!(answered(over).err(), Some(ReleaseDenied::Expired));
    let other_binding = outcome(|answer| answer.binding_hash = [0; 32]);
    assert_eq!(failed(other_binding), KeyServiceFault::NotAuthentic);
}

#[test]
fn a_refusal_is_remembered_for_five_seconds() {
    let client = warm();
    let message = asked(client.ask(&want(), at(0)));
    let refused = |_: &Message| {
        let hash = want().binding_hash;
        let status = Status::UnknownCredential;
        Answer::Release(crate::message::release::Answer::refused(status, hash, Receipt::default()))
    };
    let first = hear(&client, &message, ok(serve(&message, refused)), 0);
    assert_eq!(answered(first).err(), Some(ReleaseDenied::Unknown));
    assert_eq!(answered(client.ask(&want(), at(4999))).err(), Some(ReleaseDenied::Unknown));
    asked(client.ask(&want(), at(5000)));
}

#[test]
fn a_409_refreshes_evidence_once_and_retries_with_a_new_nonce() {
    let client = warm();
    let first = asked(client.ask(&want(), at(0)));
    let refresh = asked(hear(&client, &first, status(409), 10));
    assert_eq!(refresh.method, "GET");
    let second = asked(hear(&client, &refresh, ok(fixture::document()), 20));
    assert_ne!(first.body, second.body);
    assert_eq!(failed(hear(&client, &second, status(409), 30)), KeyServiceFault::Unreachable);
    // Within ten seconds nobody on the path can make us fetch it again.
    let third = asked(client.ask(&want(), at(40)));
    assert_eq!(asked(hear(&client, &third, status(409), 50)).method, "POST");
    let later = asked(client.ask(&want(), at(10_010)));
    assert_eq!(asked(hear(&client, &later, status(409), 10_020)).method, "GET");
}

#[test]
fn a_fast_failure_is_retried_once() {
    for result in [status(503), Err(CallFailure::NotSent), Err(CallFailure::TooLarge)] {
        let client = warm();
        let first = asked(client.ask(&want(), at(0)));
        let second = asked(hear(&client, &first, result.clone(), 10));
        assert_eq!(second.method, "POST");
        assert_ne!(first.body, second.body);
        assert_eq!(failed(hear(&client, &second, result, 20)), KeyServiceFault::Unreachable);
    }
}

#[test]
fn rubbish_replayed_and_swapped_replies_end_as_not_authentic() {
    let client = warm();
    let old = asked(client.ask(&want(), at(0)));
    let old_reply = serve(&old, released);
    Releases::abandon(&client, old.id);
    for body in [b"rubbish".to_vec(), Vec::new(), old_reply, vec![1; MAX_ANSWER + 1]] {
        let mut call = asked(client.ask(&want(), at(1)));
        let end = loop {
            let evidence = call.method == "GET";
            let body = if evidence { fixture::document() } else { body.clone() };
            match hear(&client, &call, ok(body), 2) {
                Turn::Ask(next) => call = next,
                Turn::Failed(fault) => break fault,
                Turn::Answer(_) => panic!("believed"),
            }
        };
        assert_eq!(end, KeyServiceFault::NotAuthentic);
    }
}

#[test]
fn a_late_reply_is_refused_and_the_deadline_includes_retries() {
    let client = warm();
    let call = asked(client.ask(&want(), at(0)));
    assert_eq!(call.timeout, Duration::from_secs(2));
    let reply = serve(&call, released);
    assert_eq!(failed(hear(&client, &call, ok(reply), 2000)), KeyServiceFault::TimedOut);
    let call = asked(client.ask(&want(), at(0)));
    let retry = asked(hear(&client, &call, status(504), 1500));
    assert_eq!(retry.timeout, Duration::from_millis(500));
    assert_eq!(failed(hear(&client, &retry, status(504), 2000)), KeyServiceFault::TimedOut);
}

#[test]
fn bad_evidence_is_refused_and_good_evidence_survives_it() {
    let client = client(Role::Credential);
    let call = asked(client.ask(&want(), at(0)));
    let forged = crate::evidence::simulate(
        &fixture::runtime().to_bytes(),
        &zeroize::Zeroizing::new([9; 32]),
    );
    assert_eq!(failed(hear(&client, &call, ok(forged.clone()), 1)), KeyServiceFault::Evidence);
    get_evidence(&client, &want(), 2);
    let message = asked(client.ask(&want(), at(3)));
    let refresh = asked(hear(&client, &message, status(409), 4));
    assert_eq!(failed(hear(&client, &refresh, ok(forged), 5)), KeyServiceFault::Evidence);
    assert_eq!(asked(client.ask(&want(), at(6))).method, "POST");
}

#[test]
fn an_old_epoch_that_is_replayed_is_refused() {
    let client = client(Role::Credential);
    let with_epoch = |epoch| {
        let runtime = crate::evidence::Runtime { epoch, ..fixture::runtime() };
        let seed = zeroize::Zeroizing::new(fixture::DEV_SEED);
        crate::evidence::simulate(&runtime.to_bytes(), &seed)
    };
    let call = asked(client.ask(&want(), at(0)));
    let message = asked(hear(&client, &call, ok(with_epoch(9)), 0));
    let refresh = asked(hear(&client, &message, status(409), 0));
    assert_eq!(failed(hear(&client, &refresh, ok(with_epoch(7)), 0)), KeyServiceFault::Evidence);
}

#[test]
fn a_clock_that_jumps_back_wipes_evidence_and_cache() {
    let client = client(Role::Credential);
    let message = get_evidence(&client, &want(), 200_000);
    let reply = service_reply_at(&message, NOW.0 + 200_000);
    answered(hear(&client, &message, ok(reply), 200_000)).unwrap();
    let Turn::Answer(_) = client.ask(&want(), at(80_000)) else { panic!("still cached") };
    assert_eq!(asked(client.ask(&want(), at(79_999))).method, "GET");
}

fn service_reply_at(call: &Call, now: u64) -> Vec<u8> {
    let opened = service::open(&call.body, &[&fixture::epoch_key()]).unwrap();
    let Ok(verified) = opened.verify(&fixture::identity().public_key(), UnixMillis(now)) else {
        panic!("verifies")
    };
    let mut answer = fixture::release_answer();
    answer.not_after = UnixMillis(now + 60_000);
    verified.seal(&Answer::Release(answer), &fixture::reply_entropy()).unwrap()
}

#[test]
fn a_known_key_is_cached_three_seconds_and_an_unknown_one_five() {
    let id = fixture::key_id("AbCd0123");
    for (reply, kept) in [(known as fn(&Message) -> Answer, 3000), (unknown, 5000)] {
        let client = client(Role::Gate);
        let call = asked(client.find(&id, at(0)));
        let call = asked(Directory::heard(&client, call.id, ok(fixture::document()), at(0)));
        let found = answered(Directory::heard(&client, call.id, ok(serve(&call, reply)), at(0)));
        assert_eq!(found.is_some(), kept == 3000);
        assert_eq!(answered(client.find(&id, at(kept - 1))), found);
        asked(client.find(&id, at(kept)));
    }
}

#[test]
fn a_record_of_another_key_or_tenant_is_not_authentic() {
    let other_key = |_: &Message| {
        let entries = vec![(fixture::key_id("OtherKey"), Some(fixture::key_entry()))];
        Answer::Directory(directory::Answer { entries })
    };
    let other_tenant = |message: &Message| {
        let Answer::Directory(mut answer) = known(message) else { panic!("a record") };
        answer.entries[0].1.as_mut().unwrap().record.tenant = "other".into();
        Answer::Directory(answer)
    };
    let rows: [&dyn Fn(&Message) -> Answer; 2] = [&other_key, &other_tenant];
    for row in rows {
        let client = client(Role::Gate);
        let call = asked(client.find(&fixture::key_id("AbCd0123"), at(0)));
        let call = asked(Directory::heard(&client, call.id, ok(fixture::document()), at(0)));
        let turn = Directory::heard(&client, call.id, ok(serve(&call, row)), at(0));
        assert_eq!(failed(turn), KeyServiceFault::NotAuthentic);
    }
}

#[test]
fn guessed_ids_run_into_the_bucket_and_known_keys_do_not() {
    let client = client(Role::Gate);
    let good = fixture::key_id("AbCd0123");
    let call = asked(client.find(&good, at(0)));
    let call = asked(Directory::heard(&client, call.id, ok(fixture::document()), at(0)));
    answered(Directory::heard(&client, call.id, ok(serve(&call, known)), at(0)));
    for guess in 0..64 {
        let call = asked(client.find(&fixture::key_id(&format!("Guess{guess:03}")), at(1)));
        answered(Directory::heard(&client, call.id, ok(serve(&call, unknown)), at(1)));
    }
    let guess = fixture::key_id("Guess999");
    assert_eq!(failed(client.find(&guess, at(2))), KeyServiceFault::Local);
    asked(client.find(&good, at(4000)));
}

#[test]
fn at_most_64_questions_are_in_flight_and_lost_ones_are_forgotten() {
    let client = client(Role::Gate);
    let ids: Vec<_> = (0..=MAX_PENDING).map(|n| fixture::key_id(&format!("Key{n:05}"))).collect();
    let calls: Vec<_> = ids[..MAX_PENDING].iter().map(|id| asked(client.find(id, at(0)))).collect();
    assert_eq!(failed(client.find(&ids[MAX_PENDING], at(0))), KeyServiceFault::Local);
    Directory::abandon(&client, calls[0].id);
    asked(client.find(&ids[MAX_PENDING], at(0)));
    asked(client.find(&ids[0], at(10_000)));
}

#[test]
fn nothing_is_sealed_without_randomness_or_for_another_role() {
    let client = warm();
    let dark = Moment { now: NOW, entropy: Entropy([0; 32]) };
    assert_eq!(failed(client.ask(&want(), dark)), KeyServiceFault::Local);
    assert_eq!(failed(client.find(&fixture::key_id("AbCd0123"), at(0))), KeyServiceFault::Local);
    assert_eq!(failed(hear(&client, &asked_again(), status(200), 0)), KeyServiceFault::Local);
}

/// A call this client never made.
fn asked_again() -> Call {
    Call {
        id: CallId(9999),
        to: postern_core::key_service::Destination::KeyService,
        method: "GET",
        path: "/".into(),
        content_type: "",
        authorization: None,
        unless: None,
        most: MAX_ANSWER,
        body: Vec::new(),
        timeout: Duration::ZERO,
    }
}

#[test]
fn equal_randomness_never_seals_two_messages_alike() {
    let client = warm();
    let first = asked(client.ask(&want(), at(0)));
    let second = asked(client.ask(&want(), at(0)));
    assert_ne!(first.body[12..44], second.body[12..44]);
}

#[test]
fn a_batch_is_acknowledged_without_a_visible_status() {
    let client = client(Role::Audit);
    let unseen = |body| Ok(CallAnswer::unseen(body));
    let call = asked(client.submit(&fixture::batch(), at(0)));
    let call = asked(Collector::heard(&client, call.id, unseen(fixture::document()), at(0)));
    let reply = serve(&call, |_| Answer::Audit(audit::Answer { next: 14 }));
    let done = answered(Collector::heard(&client, call.id, unseen(reply), at(0)));
    assert_eq!(done, Acknowledged { next: 14 });
    let call = asked(client.submit(&fixture::batch(), at(1)));
    let synthetic = unseen(b"upstream connect error".to_vec());
    assert_eq!(asked(Collector::heard(&client, call.id, synthetic, at(2))).method, "GET");
    let call = asked(client.submit(&fixture::batch(), at(3)));
    let refused = serve(&call, |_| Answer::Denied(Status::Denied));
    let turn = Collector::heard(&client, call.id, unseen(refused), at(3));
    assert_eq!(failed(turn), KeyServiceFault::NotReady);
}

#[test]
fn a_seed_of_the_wrong_length_makes_no_client() {
    let settings = Settings {
        gateway_id: [0; 16],
        tenant: String::new(),
        role: Role::Gate,
        seed: Secret::new(vec![1; 31]),
        trust: fixture::trust(),
        service: [0; 32],
        revocation: Limits::LONGEST,
        cache_ttl: Duration::ZERO,
        modules: None,
        cache_entries: 0,
    };
    assert!(Client::new(settings).is_err());
}

fn kept(message: &Message) -> Answer {
    assert!(matches!(message, Message::Store(request) if request.minted.is_some()));
    Answer::Store(store::Answer { version: 1, receipt: Receipt { seq: 1, hash: [1; 32] } })
}

/// A client with evidence, and the call that stores a minted value.
fn storing() -> (Client, Call) {
    let client = warm();
    let call = asked(client.store(fixture::minted(), at(10)));
    assert_eq!((call.method, &*call.path), ("POST", "/crp/v1/message"));
    (client, call)
}

#[test]
fn a_minted_value_is_stored_when_the_service_says_so_under_its_key() {
    let (client, call) = storing();
    let reply = ok(serve(&call, kept));
    assert_eq!(answered(Vault::heard(&client, call.id, reply, at(20))), Stored);
}

#[test]
fn a_minted_value_is_sent_again_with_another_nonce_and_then_given_up() {
    let (client, first) = storing();
    let again = asked(Vault::heard(&client, first.id, status(503), at(20)));
    assert_ne!(first.body, again.body);
    assert!(serve(&again, kept).len() > 100, "the same message");
    let fault = failed(Vault::heard(&client, again.id, status(503), at(30)));
    assert_eq!(fault, KeyServiceFault::Unreachable);
}

#[test]
fn a_refusal_or_another_answer_does_not_count_as_stored() {
    for status in [Status::Denied, Status::Rate, Status::VersionConflict] {
        let (client, call) = storing();
        let reply = ok(serve(&call, |_| Answer::Denied(status)));
        let fault = failed(Vault::heard(&client, call.id, reply, at(20)));
        assert_eq!(fault, KeyServiceFault::NotReady);
    }
    let client = client(Role::Audit);
    let evidence = asked(client.store(fixture::minted(), at(0)));
    let turn = Vault::heard(&client, evidence.id, ok(fixture::document()), at(0));
    assert_eq!(failed(turn), KeyServiceFault::Local, "not of this role");
}
