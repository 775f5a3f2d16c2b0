//! What both sides refuse, one row each: changed bytes, swapped names, old times.

use postern_core::time::{Entropy, UnixMillis};
use sha2::{Digest, Sha256};

use crate::envelope::{self, Header, MAX_BODY, Reply, Request};
use crate::evidence::Runtime;
use crate::exchange::NotAuthentic;
use crate::message::{Answer, Kind, Message, Receipt, Status, Subject, audit, release};
use crate::service::{self, ClearError, EpochKey, Opened, Reason, SealError, Verified};
use crate::suite::{self, KeyPair, Randomness, ReplyBinding, Sender};
use crate::tests::fixture::{self, NOW};
use crate::wire::Writer;

fn release_message() -> Message {
    Message::Release(fixture::release_request())
}

fn open(body: &[u8]) -> Result<Opened, ClearError> {
    service::open(body, &[&fixture::epoch_key()])
}

fn clear_error(body: &[u8]) -> Option<ClearError> {
    open(body).err()
}

fn verified(body: &[u8]) -> Verified {
    match open(body).unwrap().verify(&fixture::identity().public_key(), NOW) {
        Ok(verified) => verified,
        Err(refused) => panic!("{:?}", refused.reason),
    }
}

/// Seals a plaintext of the test's own making to the epoch key.
fn sealed(kind: Kind, unsigned: &[u8], runtime_hash: &[u8; 32]) -> Vec<u8> {
    let evidence = fixture::evidence();
    let header = Header::new(kind, evidence.kex());
    let info = envelope::request_info(evidence.runtime_hash());
    let mut random = Randomness::new(&[3; 32]);
    let sender = Sender::base(evidence.kex(), &info, &mut random).unwrap();
    let enc = *sender.enc();
    let signature =
        fixture::identity().sign(&envelope::signed(&header, &enc, runtime_hash, unsigned));
    let plain = [unsigned, signature.as_slice()].concat();
    let (sealed, _) = sender.seal(&header.bytes(), &plain).unwrap();
    Request { header, enc, sealed: &sealed }.bytes().unwrap()
}

/// `P` of a release whose tags are `tags`, with `tail` after the message.
fn unsigned(tags: &[(u8, &[u8])], flags: u16, padding: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new(1024);
    writer.put(&fixture::GATEWAY);
    writer.u64(NOW.0);
    writer.put(&[9; 16]);
    writer.put(KeyPair::derive(&[8; 32]).public());
    for text in [fixture::TENANT, "agent-7", "slack", "slack.example:443", "POST"] {
        writer.lp8(text.as_bytes()).unwrap();
    }
    writer.put(&[0xca; 32]);
    writer.lp16(b"").unwrap();
    writer.u16(u16::try_from(tags.len()).unwrap());
    for (tag, value) in tags {
        writer.u8(*tag);
        writer.lp16(value).unwrap();
    }
    writer.u32(0);
    writer.u16(flags);
    crate::padding::pad(&mut writer, 64);
    writer.put(padding);
    writer.bytes().to_vec()
}

const DIGEST: (u8, &[u8]) = (1, &[1; 32]);
const PATH: (u8, &[u8]) = (3, b"/api");
const BINDING: (u8, &[u8]) = (4, &[4; 32]);

fn plain_error(unsigned: &[u8]) -> Option<ClearError> {
    clear_error(&sealed(Kind::Release, unsigned, fixture::evidence().runtime_hash()))
}

#[test]
fn a_plaintext_is_read_in_its_one_encoding_only() {
    let good = [DIGEST, PATH, BINDING];
    assert_eq!(plain_error(&unsigned(&good, 0, b"")), None);
    let bad = Some(ClearError::Envelope);
    for tags in [
        [PATH, DIGEST, BINDING].as_slice(),
        &[DIGEST, DIGEST, PATH, BINDING],
        &[DIGEST, PATH, BINDING, (7, b"")],
        &[(0, b""), DIGEST, PATH, BINDING],
        &[DIGEST, PATH],
        &[DIGEST, BINDING],
        &[PATH, BINDING],
        &[DIGEST, (2, &[0; 15]), PATH, BINDING],
        &[(1, &[1; 31]), PATH, BINDING],
        &[DIGEST, (3, b"/\xff"), BINDING],
        &[DIGEST, (3, b"/\r\n"), BINDING],
    ] {
        assert_eq!(plain_error(&unsigned(tags, 0, b"")), bad, "{tags:?}");
    }
    assert_eq!(plain_error(&unsigned(&good, 1, b"")), bad, "flags");
    assert_eq!(plain_error(&unsigned(&good, 0, b"x")), bad, "a byte after the end");
    assert_eq!(plain_error(&unsigned(&good, 0, &[0; 64])), bad, "a block of padding too many");
    let mut dirty = unsigned(&good, 0, b"");
    *dirty.last_mut().unwrap() = 1;
    assert_eq!(plain_error(&dirty), bad, "padding that is not zero");
    assert_eq!(plain_error(b""), bad, "nothing but a signature");
}

#[test]
fn a_request_is_refused_in_clear_with_one_status_each() {
    let (body, _) = fixture::ask(&release_message());
    let with = |at: usize, value: u8| {
        let mut changed = body.clone();
        changed[at] = value;
        clear_error(&changed).map(ClearError::status)
    };
    assert_eq!(clear_error(&body), None);
    assert_eq!(with(0, 2), Some(400), "version");
    assert_eq!(with(1, 3), Some(400), "type is authenticated");
    assert_eq!(with(1, 9), Some(400), "unknown type");
    assert_eq!(with(3, 2), Some(400), "suite");
    assert_eq!(with(4, !body[4]), Some(409), "key id");
    assert_eq!(with(12, !body[12]), Some(400), "encapsulated key");
    assert_eq!(with(body.len() - 1, !body[body.len() - 1]), Some(400), "ciphertext");
    let mut zero = body.clone();
    zero[12..44].fill(0);
    assert_eq!(clear_error(&zero), Some(ClearError::Envelope), "all-zero enc");
    let mut one = zero;
    one[12] = 1;
    assert_eq!(clear_error(&one), Some(ClearError::Envelope), "small-order enc");
    assert_eq!(clear_error(&[body.as_slice(), b"x"].concat()), Some(ClearError::Envelope));
    for end in 0..body.len() {
        assert_eq!(clear_error(&body[..end]), Some(ClearError::Envelope), "cut at {end}");
    }
    assert_eq!(clear_error(&vec![1; MAX_BODY + 1]), Some(ClearError::TooLarge));
    assert_eq!(ClearError::TooLarge.status(), 413);
}

#[test]
fn a_request_opens_only_with_the_key_and_runtime_data_it_was_sealed_to() {
    let (body, _) = fixture::ask(&release_message());
    let other = EpochKey::new(KeyPair::derive(&[1; 32]), fixture::runtime().to_bytes());
    assert_eq!(service::open(&body, &[&other]).err(), Some(ClearError::UnknownKey));
    assert_eq!(service::open(&body, &[]).err(), Some(ClearError::UnknownKey));
    let later = Runtime { epoch: 8, ..fixture::runtime() };
    let other_runtime = EpochKey::new(fixture::epoch_keys(), later.to_bytes());
    assert_eq!(service::open(&body, &[&other_runtime]).err(), Some(ClearError::Envelope));
    assert!(service::open(&body, &[&other, &fixture::epoch_key()]).is_ok());
}

fn reason(body: &[u8], key: [u8; 32], now: UnixMillis) -> Option<Reason> {
    open(body).unwrap().verify(&key, now).err().map(|refused| refused.reason)
}

#[test]
fn a_signature_by_another_key_or_over_other_runtime_data_is_refused() {
    let key = fixture::identity().public_key();
    let (body, _) = fixture::ask(&release_message());
    assert_eq!(reason(&body, key, NOW), None);
    assert_eq!(
        reason(&body, fixture::identity_of([2; 32]).public_key(), NOW),
        Some(Reason::Signature)
    );
    assert_eq!(reason(&body, [0; 32], NOW), Some(Reason::Signature), "small-order key");
    let tags = [DIGEST, PATH, BINDING];
    let over_other = sealed(Kind::Release, &unsigned(&tags, 0, b""), &[0; 32]);
    assert_eq!(reason(&over_other, key, NOW), Some(Reason::Signature));
}

#[test]
fn a_request_is_timely_within_sixty_seconds_both_ways() {
    let key = fixture::identity().public_key();
    let (body, _) = fixture::ask(&release_message());
    let at = |offset: i64| reason(&body, key, UnixMillis(NOW.0.saturating_add_signed(offset)));
    assert_eq!((at(60_000), at(-60_000)), (None, None));
    assert_eq!((at(60_001), at(-60_001)), (Some(Reason::Clock), Some(Reason::Clock)));
}

#[test]
fn a_refusal_is_sealed_and_says_only_its_status() {
    for (message, _) in fixture::exchanges() {
        let (body, awaiting) = fixture::ask(&message);
        let opened = open(&body).unwrap();
        let reply =
            opened.deny(Status::Denied, Receipt::default(), &fixture::reply_entropy()).unwrap();
        match awaiting.open(&reply).unwrap() {
            Answer::Denied(status) => assert_eq!(status, Status::Denied),
            Answer::Release(answer) => {
                assert_eq!(answer.status, Status::Denied);
                assert!(answer.fields.is_empty());
            }
            _ => panic!("not a refusal"),
        }
    }
}

#[test]
fn every_answer_comes_back_as_it_was_given() {
    for (message, answer) in fixture::exchanges() {
        let (body, awaiting) = fixture::ask(&message);
        let reply = verified(&body).seal(&answer, &fixture::reply_entropy()).unwrap();
        let mut given = Writer::new(1024);
        answer.encode(&mut given).unwrap();
        assert_eq!(awaiting.open_bytes(&reply).unwrap().as_slice(), given.bytes());
        assert!(awaiting.open(&reply).is_ok());
        assert_eq!(given.bytes().len() % 256, 0);
    }
}

#[test]
fn a_reply_that_was_changed_cut_or_swapped_is_not_authentic() {
    let (body, awaiting) = fixture::ask(&release_message());
    let answer = Answer::Release(fixture::release_answer());
    let reply = verified(&body).seal(&answer, &fixture::reply_entropy()).unwrap();
    assert!(awaiting.open(&reply).is_ok());
    for at in 0..reply.len() {
        let mut changed = reply.clone();
        changed[at] ^= 1;
        assert_eq!(awaiting.open(&changed).err(), Some(NotAuthentic), "byte {at}");
        assert_eq!(awaiting.open(&reply[..at]).err(), Some(NotAuthentic), "cut at {at}");
    }
    assert_eq!(awaiting.open(&[reply.as_slice(), b"x"].concat()).err(), Some(NotAuthentic));
    let (other_body, other) = fixture::ask_at(&release_message(), NOW, &[7; 32]);
    assert_eq!(other.open(&reply).err(), Some(NotAuthentic), "reply to another request");
    let other_reply = verified(&other_body).seal(&answer, &fixture::reply_entropy()).unwrap();
    let mut our_nonce = other_reply;
    our_nonce[2..18].copy_from_slice(&reply[2..18]);
    assert_eq!(awaiting.open(&our_nonce).err(), Some(NotAuthentic), "our nonce, their reply");
}

/// A reply by someone who holds all keys but speaks of other names.
fn reply_for(tenant: &str, subject: &Subject) -> Vec<u8> {
    let (body, _) = fixture::ask(&release_message());
    let request = Request::parse(&body).unwrap();
    let info = envelope::request_info(fixture::evidence().runtime_hash());
    let (plain, psk) = suite::open_base(
        &fixture::epoch_keys(),
        &request.enc,
        &info,
        &request.header.bytes(),
        request.sealed,
    )
    .unwrap();
    let nonce: [u8; 16] = plain[24..40].try_into().unwrap();
    let binding = ReplyBinding {
        info: &envelope::reply_info(&Sha256::digest(&body).into()),
        psk: &psk,
        psk_id: &nonce,
        aad: &envelope::reply_aad(tenant, subject, &nonce).unwrap(),
    };
    let mut answer = Writer::new(1024);
    Answer::Release(fixture::release_answer()).encode(&mut answer).unwrap();
    let reply_key: [u8; 32] = plain[40..72].try_into().unwrap();
    let mut random = Randomness::new(&[6; 32]);
    let (enc, sealed) = suite::seal_psk(&reply_key, &binding, answer.bytes(), &mut random).unwrap();
    Reply { kind: Kind::Release, nonce, enc, sealed: &sealed }.bytes().unwrap()
}

#[test]
fn a_reply_that_speaks_of_another_tenant_agent_credential_or_host_is_not_authentic() {
    let (_, awaiting) = fixture::ask(&release_message());
    let ours = release_message().subject();
    assert!(awaiting.open(&reply_for(fixture::TENANT, &ours)).is_ok());
    let swapped = [
        ("other", ours.clone()),
        (fixture::TENANT, Subject { agent: "agent-8".into(), ..ours.clone() }),
        (fixture::TENANT, Subject { credential: "github".into(), ..ours.clone() }),
        (fixture::TENANT, Subject { host: "evil.example:443".into(), ..ours }),
    ];
    for (tenant, subject) in swapped {
        assert_eq!(awaiting.open(&reply_for(tenant, &subject)).err(), Some(NotAuthentic));
    }
}

#[test]
fn an_answer_of_another_type_or_without_a_usable_reply_key_is_not_sealed() {
    let (body, _) = fixture::ask(&release_message());
    let wrong = Answer::Audit(audit::Answer { next: 1 });
    let entropy = fixture::reply_entropy();
    assert_eq!(verified(&body).seal(&wrong, &entropy).err(), Some(SealError::WrongAnswer));
    let mut plain = unsigned(&[DIGEST, PATH, BINDING], 0, b"");
    plain[40..72].fill(0);
    let body = sealed(Kind::Release, &plain, fixture::evidence().runtime_hash());
    let refused = release::Answer::refused(Status::Denied, [4; 32], Receipt::default());
    let sealed = verified(&body).seal(&Answer::Release(refused), &Entropy([1; 32]));
    assert_eq!(sealed.err(), Some(SealError::ReplyKey));
}

#[test]
fn an_audit_batch_that_does_not_fit_is_not_sent() {
    let mut batch = fixture::batch();
    batch.records = vec![vec![b'r'; 20_000]; 3];
    assert!(audit::fits(&batch));
    let (body, _) = fixture::ask(&Message::Audit(audit::Request { batch: batch.clone() }));
    assert!(body.len() <= MAX_BODY && open(&body).is_ok());
    batch.records.push(vec![b'r'; 2000]);
    assert!(!audit::fits(&batch));
    batch.records.clear();
    assert!(!audit::fits(&batch));
}
