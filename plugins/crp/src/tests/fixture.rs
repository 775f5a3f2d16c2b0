//! Fixed parties, questions and answers for this crate's tests and vectors.

use std::time::Duration;

use postern_core::api_key::{KeyId, StoredKey};
use postern_core::approvals::{Ask, Requested, Standing, State};
use postern_core::identity::{DirectoryRecord, KeyState};
use postern_core::key_service::{Batch, KeyEntry, Minted, Origin};
use postern_core::secret::Secret;
use postern_core::time::{Entropy, UnixMillis};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::evidence::{self, Evidence, Runtime, Seen, Trust};
use crate::exchange::{self, Asker, Awaiting};
use crate::identity::{Identity, Role};
use crate::message::{
    Answer, Message, Receipt, Status, approval, audit, directory, enrol, exchange as invites,
    release, store,
};
use crate::service::EpochKey;
use crate::suite::KeyPair;

pub(crate) const NOW: UnixMillis = UnixMillis(1_795_329_000_250);
pub(crate) const DEV_SEED: [u8; 32] = [0xd0; 32];
pub(crate) const EPOCH_IKM: [u8; 32] = [0xe0; 32];
pub(crate) const IDENTITY_SEED: [u8; 32] = [0x1d; 32];
pub(crate) const ASK_SEED: [u8; 32] = [0xa5; 32];
pub(crate) const REPLY_SEED: [u8; 32] = [0x5e; 32];
pub(crate) const GATEWAY: [u8; 16] = *b"gateway-id-00001";
pub(crate) const TENANT: &str = "acme";

pub(crate) fn runtime() -> Runtime {
    Runtime {
        kex: *epoch_keys().public(),
        signing_key: [0x51; 32],
        epoch: 7,
        not_before: 1_795_328_400,
        not_after: 1_795_332_600,
        challenge: None,
    }
}

pub(crate) fn epoch_keys() -> KeyPair {
    KeyPair::derive(&EPOCH_IKM)
}

pub(crate) fn epoch_key() -> EpochKey {
    EpochKey::new(epoch_keys(), runtime().to_bytes())
}

pub(crate) fn document() -> Vec<u8> {
    evidence::simulate(&runtime().to_bytes(), &Zeroizing::new(DEV_SEED))
}

pub(crate) fn trust() -> Trust {
    Trust::Simulated(identity_of(DEV_SEED).public_key())
}

pub(crate) fn evidence() -> Evidence {
    evidence::appraise(&document(), &trust(), Seen::default(), NOW).unwrap()
}

pub(crate) fn identity_of(seed: [u8; 32]) -> Identity {
    Identity::from_seed(&Secret::new(seed.to_vec())).unwrap()
}

pub(crate) fn identity() -> Identity {
    identity_of(IDENTITY_SEED)
}

/// Seals `message` as the fixed gateway at [`NOW`].
pub(crate) fn ask(message: &Message) -> (Vec<u8>, Awaiting) {
    ask_at(message, NOW, &ASK_SEED)
}

pub(crate) fn ask_at(message: &Message, now: UnixMillis, seed: &[u8; 32]) -> (Vec<u8>, Awaiting) {
    let identity = identity();
    let enrolling = matches!(message, Message::Enrol(_));
    let asker = Asker {
        identity: &identity,
        gateway_id: if enrolling { [0; 16] } else { GATEWAY },
        tenant: if enrolling { "" } else { TENANT },
        now,
    };
    exchange::ask(&evidence(), &asker, message, seed).unwrap()
}

pub(crate) fn reply_entropy() -> Entropy {
    Entropy(REPLY_SEED)
}

pub(crate) fn release_request() -> release::Request {
    release::Request {
        agent: "agent-7".into(),
        credential: "slack".into(),
        host: "slack.example:443".into(),
        method: "POST".into(),
        caller_hash: [0xca; 32],
        capability: Vec::new(),
        request_digest: [0xdd; 32],
        approval: Some([0xab; 16]),
        path: "/api/chat.postMessage".into(),
        binding_hash: [0xb1; 32],
        module_digest: None,
        policy_hash: None,
    }
}

/// Digests of module files.
pub(crate) fn modules() -> [(&'static str, [u8; 32]); 3] {
    [("audit", [0x6a; 32]), ("credential", [0x6c; 32]), ("gate", [0x67; 32])]
}

pub(crate) fn release_answer() -> release::Answer {
    release::Answer {
        status: Status::Ok,
        version: 3,
        not_after: UnixMillis(NOW.0 + 60_000),
        ttl_s: 60,
        max_uses: 100,
        rev_epoch: 0,
        fields: vec![(String::new(), Secret::new(b"xoxb-not-a-real-value".to_vec()))],
        binding_hash: [0xb1; 32],
        receipt: Receipt { seq: 41, hash: [0x41; 32] },
    }
}

pub(crate) fn key_entry() -> KeyEntry {
    KeyEntry {
        stored: StoredKey { salt: [0x5a; 16], hash: [0x4a; 32] },
        record: DirectoryRecord {
            tenant: TENANT.into(),
            user: "ada".into(),
            organisation: "engines".into(),
            agent: "agent-7".into(),
            scopes: vec!["chat:write".into(), "chat:read".into()],
            roles: vec!["editor".into()],
            trust: "collaborator".into(),
            clearance: None,
            platform: Some("cli".into()),
            not_after: Some(UnixMillis(1_800_000_000_000)),
            state: KeyState::Active,
        },
    }
}

pub(crate) fn key_id(text: &str) -> KeyId {
    KeyId::new(text.as_bytes()).unwrap()
}

pub(crate) fn batch() -> Batch {
    Batch {
        boot: [0xb0; 16],
        vm: [0x07; 16],
        first: 12,
        prev: [0x11; 32],
        records: vec![br#"{"n":12}"#.to_vec(), br#"{"n":13}"#.to_vec()],
    }
}

/// One question and one answer of each type.
pub(crate) fn exchanges() -> Vec<(Message, Answer)> {
    let ids = vec![key_id("AbCd0123"), key_id("ZZZZZZZZ")];
    let entries = vec![(ids[0], Some(key_entry())), (ids[1], None)];
    let receipt = Receipt { seq: 42, hash: [0x42; 32] };
    let binding = br#"{"authority":"slack.example:443","credential":"slack"}"#.to_vec();
    vec![
        (Message::Release(release_request()), Answer::Release(release_answer())),
        (
            Message::Enrol(enrol::Request {
                join_token: Secret::new(b"crpj_not-a-real-token".to_vec()),
                role: Role::Gate,
                public_key: identity().public_key(),
                label: "edge 1, gate".into(),
            }),
            Answer::Enrol(enrol::Answer {
                gateway_id: GATEWAY,
                tenant: TENANT.into(),
                not_after: UnixMillis(1_803_105_000_000),
            }),
        ),
        (
            Message::Directory(directory::Request { ids }),
            Answer::Directory(directory::Answer { entries }),
        ),
        (
            Message::Store(store::Request {
                credential: "slack".into(),
                description: "posts to #ops".into(),
                expected: store::Expected::Version(2),
                not_after: None,
                fields: vec![
                    ("user".into(), Secret::new(b"bot".to_vec())),
                    ("password".into(), Secret::new(b"not-a-real-one".to_vec())),
                ],
                bindings: vec![store::Binding::new(binding)],
                guard: store::Guard {
                    approval: store::Needed::Writes,
                    passkey: true,
                    approvers: 2,
                },
                minted: None,
            }),
            Answer::Store(store::Answer { version: 3, receipt }),
        ),
        (
            Message::Audit(audit::Request { batch: batch() }),
            Answer::Audit(audit::Answer { next: 14 }),
        ),
        (
            Message::Exchange(invites::Request {
                invite: Secret::new(b"inv_not-a-real-invite".to_vec()),
                holder: [0x40; 32],
                audience: "https://gateway.example".into(),
                max_life_s: 900,
            }),
            Answer::Exchange(invites::Answer {
                token: "pct1.not-a-real-token".into(),
                not_after: UnixMillis(1_795_329_900_000),
            }),
        ),
        (
            Message::Approval(approval::Request::Ask(Box::new(approval_asked()))),
            Answer::Approval(approval::Answer {
                standing: Standing {
                    id: [0xab; 16],
                    state: State::Pending,
                    claimed: false,
                    expires: UnixMillis(NOW.0 + 600_000),
                },
            }),
        ),
    ]
}

/// An approval for a request with content, of which all is shown.
pub(crate) fn approval_asked() -> Ask {
    let content = br#"{"channel":"ops","text":"deploy"}"#.to_vec();
    Ask {
        agent: "agent-7".into(),
        user: "ada".into(),
        organisation: "engines".into(),
        subject_hash: [0xca; 32],
        passkey: false,
        life: Duration::from_secs(600),
        named: Some([0xaa; 16]),
        requested: Requested {
            method: "POST".into(),
            scheme: "https".into(),
            authority: "gateway.example".into(),
            path: "/api/chat.postMessage?dry_run=1".into(),
            fields: vec![
                ("authorization".into(), b"<CREDENTIAL:slack>".to_vec()),
                ("content-type".into(), b"application/json".to_vec()),
            ],
            content_digest: Some(Sha256::digest(&content).into()),
            content_length: 33,
            content,
        },
        credentials: vec!["slack".into()],
    }
}

/// A value of a token endpoint's answer.
pub(crate) fn minted() -> Minted {
    Minted {
        credential: "access-mfrggzdfmztwq2lknnwg23tpoa".into(),
        value: Secret::new(b"not-a-real-token".to_vec()),
        not_after: UnixMillis(NOW.0 + 3_600_000),
        binding: br#"{"authority":"slack.example:443","minted":"access"}"#.to_vec(),
        origin: Origin {
            agent: "agent-7".into(),
            caller_hash: [0xca; 32],
            source: "oauth".into(),
            source_binding: [0xb1; 32],
        },
    }
}

/// Bytes that parse, for fuzzing round them.
pub(crate) fn samples() -> Vec<Vec<u8>> {
    let (message, answer) = exchanges().swap_remove(0);
    let mut samples = vec![ask(&message).0, document(), runtime().to_bytes()];
    let stored = Message::Store(minted().into());
    let (all, stored) = (exchanges(), &stored);
    for message in [&all[2].0, &all[3].0, &all[5].0, &all[6].0, stored] {
        let mut writer = crate::wire::Writer::new(1024);
        message.encode(&mut writer).unwrap();
        samples.push(writer.bytes().to_vec());
    }
    let mut writer = crate::wire::Writer::new(1024);
    answer.encode(&mut writer).unwrap();
    samples.push(writer.bytes().to_vec());
    samples
}
