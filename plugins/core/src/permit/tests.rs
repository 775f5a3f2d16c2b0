//! What opens as a permit, and everything that does not.

use proptest::prelude::*;

use super::*;
use crate::identity::Kind;
use crate::secret::Secret;

pub fn keys(new: u8, old: Option<u8>) -> PermitKeys {
    let key = |fill| Secret::new(vec![fill; 32]);
    PermitKeys::new(MacKeys::new(key(new), old.map(key)).unwrap())
}

fn principal() -> Principal {
    Principal::authenticated(Identity {
        subject: "key:AbCd0123".into(),
        kind: Kind::ApiKey,
        tenant: "acme".into(),
        organisation: "acme".into(),
        user: "u1".into(),
        agent: "bot".into(),
        roles: vec!["AGENT".into()],
        scopes: vec!["documents:read".into()],
        trust: "observer".into(),
        clearance: None,
        document: None,
        token_id: "AbCd0123".into(),
        expires: None,
        platform: None,
    })
}

fn decision(at: u64) -> Decision {
    Decision {
        id: DecisionId([1; 16]),
        at: UnixMillis(at),
        life: LONGEST_LIFE,
        request_digest: [2; 32],
        content_digest: Some([3; 32]),
        uses: vec![CredentialUse {
            credential: "slack".into(),
            field: String::new(),
            site: "authorization".into(),
            binding_hash: [4; 32],
        }],
        approval: None,
        policy_revision: [5; 32],
        gate_vm: [6; 16],
    }
}

fn sealed(at: u64) -> Vec<u8> {
    keys(9, None).seal(&grant(principal(), decision(at)))
}

#[test]
fn an_opened_permit_is_the_one_that_was_granted() {
    let opened = keys(9, None).open(&sealed(1000), UnixMillis(1500));
    assert_eq!(opened, Ok(grant(principal(), decision(1000))));
}

#[test]
fn a_permit_under_the_old_key_opens_during_rotation_only() {
    assert!(keys(8, Some(9)).open(&sealed(0), UnixMillis(0)).is_ok());
    assert_eq!(keys(8, None).open(&sealed(0), UnixMillis(0)), Err(PermitFault::Forged));
}

#[test]
fn a_permit_lives_ten_seconds_at_most() {
    let mut long = decision(1000);
    long.life = Duration::from_secs(3600);
    let sealed = keys(9, None).seal(&grant(principal(), long));
    assert!(keys(9, None).open(&sealed, UnixMillis(10_999)).is_ok());
    assert_eq!(keys(9, None).open(&sealed, UnixMillis(11_000)), Err(PermitFault::Expired));
}

#[test]
fn a_permit_from_the_future_or_with_too_long_a_life_is_expired() {
    assert_eq!(keys(9, None).open(&sealed(5000), UnixMillis(1000)), Err(PermitFault::Expired));
    let mut permit = grant(principal(), decision(1000));
    permit.expires = UnixMillis(1000 + 10_001);
    let sealed = keys(9, None).seal(&permit);
    assert_eq!(keys(9, None).open(&sealed, UnixMillis(1000)), Err(PermitFault::Expired));
}

#[test]
fn every_changed_byte_is_forged() {
    let sealed = sealed(0);
    for at in 0..sealed.len() {
        let mut bytes = sealed.clone();
        bytes[at] ^= 1;
        let opened = keys(9, None).open(&bytes, UnixMillis(0));
        assert_eq!(opened, Err(PermitFault::Forged), "byte {at}");
    }
}

/// An authentic MAC over `body`, as only a holder of the key could make it.
fn resealed(body: &[u8]) -> Vec<u8> {
    let mac = keys(9, None).0.sign(LABEL, &[body]);
    [body, &mac].concat()
}

#[test]
fn authentic_bytes_in_another_form_are_malformed() {
    let sealed = sealed(0);
    let body = &sealed[..sealed.len() - mac::LENGTH];
    assert!(keys(9, None).open(&resealed(body), UnixMillis(0)).is_ok());
    // Trailing bytes; the version as a two-byte integer; an array of indefinite length.
    let trailing = [body, &[0]].concat();
    let long_integer = [&body[..1], &[0x18, 0x01], &body[2..]].concat();
    let indefinite = [&[0x9f], &body[1..], &[0xff]].concat();
    for bytes in [trailing, long_integer, indefinite, body[..body.len() - 1].to_vec(), vec![]] {
        let opened = keys(9, None).open(&resealed(&bytes), UnixMillis(0));
        assert_eq!(opened, Err(PermitFault::Malformed), "{bytes:02x?}");
    }
    assert_eq!(keys(9, None).open(&[], UnixMillis(0)), Err(PermitFault::Malformed));
}

proptest! {
    #[test]
    fn bytes_that_nobody_sealed_never_open(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(keys(9, None).open(&bytes, UnixMillis(0)).is_err());
        prop_assert!(codec::decode(&bytes).is_none_or(|permit| codec::encode(&permit).len() <= bytes.len()));
    }
}
