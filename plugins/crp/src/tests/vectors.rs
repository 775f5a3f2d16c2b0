//! The published vectors: `vectors/*.json` is what this code makes from the inputs
//! written there. `POSTERN_WRITE_VECTORS=1 cargo test -p postern-crp` writes them anew.

use hpke::{Kem, Serializable, kem::X25519HkdfSha256};
use postern_core::approvals::{Standing, State};
use postern_core::key_service::KeyEntry;
use postern_core::secret::Secret;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::envelope::{self, Reply, Request};
use crate::message::{Answer, Message, approval, release};
use crate::service;
use crate::suite::{self, Randomness};
use crate::tests::fixture::{self, NOW};

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn private(ikm: &[u8]) -> String {
    hex(&X25519HkdfSha256::derive_keypair(ikm).0.to_bytes())
}

fn parties() -> Value {
    json!({
        "epoch_ikm": hex(&fixture::EPOCH_IKM),
        "epoch_private": private(&fixture::EPOCH_IKM),
        "kex": hex(fixture::epoch_keys().public()),
        "kex_id": hex(&envelope::kex_id(fixture::epoch_keys().public())),
        "identity_seed": hex(&fixture::IDENTITY_SEED),
        "identity_public": hex(&fixture::identity().public_key()),
        "R": String::from_utf8(fixture::runtime().to_bytes()).unwrap(),
        "R_sha256": hex(&Sha256::digest(fixture::runtime().to_bytes())),
    })
}

fn request_vector(message: &Message, body: &[u8]) -> (Value, suite::Psk) {
    let mut random = Randomness::new(&fixture::ASK_SEED);
    let nonce = random.draw::<16>();
    let reply_ikm = random.draw::<32>();
    let ephemeral_ikm = random.draw::<32>();
    let request = Request::parse(body).unwrap();
    let hash = Sha256::digest(fixture::runtime().to_bytes()).into();
    let info = envelope::request_info(&hash);
    let header = request.header.bytes();
    let (plain, psk) =
        suite::open_base(&fixture::epoch_keys(), &request.enc, &info, &header, request.sealed)
            .unwrap();
    let (unsigned, signature) = plain.split_at(plain.len() - envelope::SIGNATURE);
    let signed = envelope::signed(&request.header, &request.enc, &hash, unsigned);
    let value = json!({
        "seed": hex(&fixture::ASK_SEED),
        "nonce": hex(&*nonce),
        "reply_ikm": hex(&*reply_ikm),
        "reply_private": private(&*reply_ikm),
        "rk": hex(&X25519HkdfSha256::derive_keypair(&*reply_ikm).1.to_bytes()),
        "ephemeral_ikm": hex(&*ephemeral_ikm),
        "ephemeral_private": private(&*ephemeral_ikm),
        "ts_ms": NOW.0.to_string(),
        "gateway_id": hex(&unsigned[..16]),
        "tenant": if matches!(message, Message::Enrol(_)) { "" } else { fixture::TENANT },
        "type": message.kind().name(),
        "HDR": hex(&header),
        "info": hex(&info),
        "enc": hex(&request.enc),
        "P_unsigned": hex(unsigned),
        "signed": hex(&signed),
        "signature": hex(signature),
        "ct": hex(request.sealed),
        "body": hex(body),
        "body_sha256": hex(&Sha256::digest(body)),
    });
    (value, psk)
}

fn reply_vector(message: &Message, body: &[u8], request: &[u8], psk: &suite::Psk) -> Value {
    let mut random = Randomness::new(&fixture::REPLY_SEED);
    let ephemeral_ikm = random.draw::<32>();
    let reply = Reply::parse(body).unwrap();
    let awaiting = fixture::ask(message).1;
    let tenant = if matches!(message, Message::Enrol(_)) { "" } else { fixture::TENANT };
    let aad = envelope::reply_aad(tenant, &message.subject(), &reply.nonce).unwrap();
    json!({
        "seed": hex(&fixture::REPLY_SEED),
        "ephemeral_ikm": hex(&*ephemeral_ikm),
        "ephemeral_private": private(&*ephemeral_ikm),
        "psk": hex(psk.bytes()),
        "psk_id": hex(&reply.nonce),
        "info": hex(&envelope::reply_info(&Sha256::digest(request).into())),
        "aad": hex(&aad),
        "P2": hex(&awaiting.open_bytes(body).unwrap()),
        "enc2": hex(&reply.enc),
        "ct2": hex(reply.sealed),
        "body": hex(body),
    })
}

fn exchange_vector(message: &Message, answer: &Answer) -> Value {
    let (body, _) = fixture::ask(message);
    let key = fixture::epoch_key();
    let verified = service::open(&body, &[&key])
        .unwrap()
        .verify(&fixture::identity().public_key(), NOW)
        .unwrap_or_else(|_| panic!("verifies"));
    let reply = verified.seal(answer, &fixture::reply_entropy()).unwrap();
    let (request, psk) = request_vector(message, &body);
    let reply = reply_vector(message, &reply, &body, &psk);
    json!({
        "question": question(message),
        "parties": parties(),
        "request": request,
        "answer": reading(answer),
        "reply": reply,
    })
}

/// The inputs, for a reader that builds `P` from them.
fn question(message: &Message) -> Value {
    match message {
        Message::Release(request) => json!({
            "agent": request.agent, "credential": request.credential, "host": request.host,
            "method": request.method, "caller_hash": hex(&request.caller_hash),
            "capability": hex(&request.capability),
            "request_digest": hex(&request.request_digest),
            "approval": request.approval.map(|id| hex(&id)), "path": request.path,
            "binding_hash": hex(&request.binding_hash),
            "modules": request.module_digest.map(|_| fixture::modules().map(
                |(name, digest)| json!([name, hex(&digest)]))),
            "policy": request.policy_hash.map(|hash| hex(&hash)),
        }),
        Message::Enrol(request) => json!({
            "join_token": text(&request.join_token), "role": request.role.code(),
            "public_key": hex(&request.public_key), "label": request.label,
        }),
        Message::Directory(request) => {
            json!({ "ids": request.ids.iter().map(|id| id.as_str()).collect::<Vec<_>>() })
        }
        Message::Store(request) => json!({
            "credential": request.credential, "description": request.description,
            "expected": if request.minted.is_some() { 0 } else { 2 },
            "not_after_ms": request.not_after.map_or(0, |end| end.0).to_string(),
            "fields": fields(&request.fields),
            "approval": request.guard.approval.name(), "require_passkey": request.guard.passkey,
            "approvers": request.guard.approvers,
            "minted": request.minted.as_ref().map(|origin| json!({
                "agent": origin.agent, "caller_hash": hex(&origin.caller_hash),
                "source": origin.source, "source_binding_hash": hex(&origin.source_binding),
            })),
            "bindings": request.bindings.iter().map(|binding| json!({
                "sha256": hex(binding.hash()), "json": String::from_utf8_lossy(binding.json()),
            })).collect::<Vec<_>>(),
        }),
        Message::Audit(request) => json!({
            "boot": hex(&request.batch.boot), "vm": hex(&request.batch.vm),
            "first": request.batch.first.to_string(), "prev": hex(&request.batch.prev),
            "records": request.batch.records.iter().map(|record| hex(record)).collect::<Vec<_>>(),
        }),
        Message::Approval(approval::Request::Poll { id, subject_hash }) => json!({
            "poll": hex(id), "caller_hash": hex(subject_hash),
        }),
        Message::Approval(approval::Request::Ask(ask)) => json!({
            "agent": ask.agent, "user": ask.user, "organisation": ask.organisation,
            "caller_hash": hex(&ask.subject_hash), "passkey": ask.passkey,
            "life_s": ask.life.as_secs(), "named": ask.named.map(|id| hex(&id)),
            "method": ask.requested.method, "scheme": ask.requested.scheme,
            "authority": ask.requested.authority, "path": ask.requested.path,
            "fields": ask.requested.fields.iter().map(|(name, value)| json!([
                name, String::from_utf8_lossy(value),
            ])).collect::<Vec<_>>(),
            "content_digest": ask.requested.content_digest.map(|digest| hex(&digest)),
            "content_length": ask.requested.content_length.to_string(),
            "content": String::from_utf8_lossy(&ask.requested.content),
            "credentials": ask.credentials,
            "request_digest": hex(&ask.requested.digest()),
        }),
        Message::Exchange(request) => json!({
            "invite": text(&request.invite), "holder": hex(&request.holder),
            "audience": request.audience, "max_life_s": request.max_life_s,
        }),
    }
}

fn reading(answer: &Answer) -> Value {
    match answer {
        Answer::Release(answer) => json!({
            "status": answer.status.code(), "version": answer.version,
            "not_after_ms": answer.not_after.0.to_string(), "ttl_s": answer.ttl_s,
            "max_uses": answer.max_uses, "rev_epoch": "0", "fields": fields(&answer.fields),
            "binding_hash": hex(&answer.binding_hash),
            "audit_seq": answer.receipt.seq.to_string(), "audit_hash": hex(&answer.receipt.hash),
        }),
        Answer::Enrol(answer) => json!({
            "status": 0, "gateway_id": hex(&answer.gateway_id), "tenant": answer.tenant,
            "not_after_ms": answer.not_after.0.to_string(),
        }),
        Answer::Directory(answer) => json!({
            "status": 0,
            "entries": answer.entries.iter().map(|(id, entry)| json!({
                "id": id.as_str(), "entry": entry.as_ref().map(entry_reading),
            })).collect::<Vec<_>>(),
        }),
        Answer::Store(answer) => json!({
            "status": 0, "version": answer.version,
            "audit_seq": answer.receipt.seq.to_string(), "audit_hash": hex(&answer.receipt.hash),
        }),
        Answer::Audit(answer) => json!({ "status": 0, "next": answer.next.to_string() }),
        Answer::Exchange(answer) => json!({
            "status": 0, "token": answer.token, "not_after_ms": answer.not_after.0.to_string(),
        }),
        Answer::Approval(answer) => {
            let Standing { id, state, claimed, expires } = answer.standing;
            json!({
                "status": 0, "approval": hex(&id), "state": state.name(), "claimed": claimed,
                "expires_ms": expires.0.to_string(),
            })
        }
        Answer::Denied(status) => json!({ "status": status.code() }),
    }
}

fn entry_reading(entry: &KeyEntry) -> Value {
    let KeyEntry { stored, record } = entry;
    json!({
        "state": 1, "salt": hex(&stored.salt), "hash": hex(&stored.hash),
        "not_after_ms": record.not_after.map_or(0, |end| end.0).to_string(),
        "tenant": record.tenant, "user": record.user, "organisation": record.organisation,
        "agent": record.agent, "trust": record.trust, "clearance": record.clearance,
        "platform": record.platform, "scopes": record.scopes, "roles": record.roles,
    })
}

fn fields(fields: &[(String, Secret)]) -> Value {
    fields.iter().map(|(name, value)| json!([name, text(value)])).collect()
}

fn text(value: &Secret) -> String {
    String::from_utf8(value.expose().to_vec()).unwrap()
}

#[allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a test of files")]
pub(super) fn check(name: &str, made: &Value) {
    let path = format!("{}/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let made = serde_json::to_string_pretty(made).unwrap() + "\n";
    if std::env::var_os("POSTERN_WRITE_VECTORS").is_some() {
        use std::io::Write;
        std::fs::File::create(&path).unwrap().write_all(made.as_bytes()).unwrap();
    }
    let published = std::fs::read_to_string(&path).unwrap();
    assert!(published == made, "{path} is not what the code makes");
}

#[test]
fn each_type_of_message_makes_its_published_bytes() {
    for (message, answer) in fixture::exchanges() {
        check(message.kind().name(), &exchange_vector(&message, &answer));
    }
}

#[test]
fn a_minted_value_makes_its_published_bytes() {
    let message = Message::Store(fixture::minted().into());
    let receipt = crate::message::Receipt { seq: 43, hash: [0x43; 32] };
    let answer = Answer::Store(crate::message::store::Answer { version: 1, receipt });
    check("store-minted", &exchange_vector(&message, &answer));
}

#[test]
fn what_a_gateway_runs_makes_its_published_bytes() {
    let modules = postern_core::modules::digest(&fixture::modules().into());
    let request = release::Request {
        module_digest: Some(modules),
        policy_hash: Some([0x90; 32]),
        ..fixture::release_request()
    };
    let answer = Answer::Release(fixture::release_answer());
    check("release-modules", &exchange_vector(&Message::Release(request), &answer));
}

#[test]
fn a_poll_makes_its_published_bytes() {
    let request = approval::Request::Poll { id: [0xab; 16], subject_hash: [0xca; 32] };
    let expires = crate::tests::fixture::NOW.after(std::time::Duration::from_secs(600));
    let standing = Standing { id: [0xab; 16], state: State::Denied, claimed: false, expires };
    let answer = Answer::Approval(approval::Answer { standing });
    check("approval-poll", &exchange_vector(&Message::Approval(request), &answer));
}

#[test]
fn refusals_make_their_published_bytes() {
    use crate::message::{Receipt, Status};
    let (message, _) = fixture::exchanges().swap_remove(0);
    let refused = release::Answer::refused(Status::Denied, [0xb1; 32], Receipt::default());
    check("release-denied", &exchange_vector(&message, &Answer::Release(refused)));
    let (message, _) = fixture::exchanges().swap_remove(2);
    check("directory-denied", &exchange_vector(&message, &Answer::Denied(Status::Denied)));
}

#[test]
fn evidence_makes_its_published_bytes() {
    let runtime_hash: [u8; 32] = Sha256::digest(fixture::runtime().to_bytes()).into();
    check(
        "evidence",
        &json!({
            "parties": parties(),
            "development_seed": hex(&fixture::DEV_SEED),
            "development_public": hex(&fixture::identity_of(fixture::DEV_SEED).public_key()),
            "signed": hex(&[b"crp/1 sim\0".as_slice(), &runtime_hash].concat()),
            "document": String::from_utf8(fixture::document()).unwrap(),
        }),
    );
}

/// RFC 9180, A.1.1: the KEM is the one of suite 0x0001.
#[test]
fn key_pairs_are_derived_as_in_rfc_9180() {
    for (ikm, public_key) in [
        (
            "7268600d403fce431561aef583ee1613527cff655c1343f29812e66706df3234",
            "37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431",
        ),
        (
            "6db9df30aa07dd42ee5e8181afdb977e538f5e1fec8a06223f33f7013e525037",
            "3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d",
        ),
    ] {
        let ikm: Vec<u8> =
            (0..32).map(|at| u8::from_str_radix(&ikm[at * 2..at * 2 + 2], 16).unwrap()).collect();
        let pair = suite::KeyPair::derive(&ikm.try_into().unwrap());
        assert_eq!(hex(pair.public()), public_key);
    }
}
