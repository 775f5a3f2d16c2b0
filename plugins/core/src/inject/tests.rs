//! Rendering by style, and what cannot be rendered.

use std::time::Duration;

use super::*;
use crate::denial::DecisionId;
use crate::identity::{Identity, Kind, Principal};
use crate::permit::{Decision, grant};
use crate::time::Entropy;

const NOW: UnixMillis = UnixMillis(1000);

fn inject(permit: Permit, placed: &[Placed], now: UnixMillis) -> Result<Injected, NotInjected> {
    super::inject(permit, placed, &Moment { now, entropy: Entropy([7; 32]) })
}

fn used(credential: &str) -> CredentialUse {
    CredentialUse {
        credential: credential.into(),
        field: String::new(),
        site: "authorization".into(),
        binding_hash: [4; 32],
    }
}

fn permit(uses: Vec<CredentialUse>) -> Permit {
    let principal = Principal::authenticated(Identity {
        subject: "key:AbCd0123".into(),
        kind: Kind::ApiKey,
        tenant: "acme".into(),
        organisation: String::new(),
        user: String::new(),
        agent: "bot".into(),
        roles: Vec::new(),
        scopes: Vec::new(),
        trust: String::new(),
        clearance: None,
        document: None,
        token_id: String::new(),
        expires: None,
        platform: None,
    });
    let decision = Decision {
        id: DecisionId([1; 16]),
        at: NOW,
        life: Duration::from_secs(10),
        request_digest: [2; 32],
        content_digest: None,
        uses,
        approval: None,
        policy_revision: [5; 32],
        gate_vm: [6; 16],
    };
    grant(principal, decision)
}

fn placed(used: CredentialUse, fields: &[(&str, &str)]) -> Placed {
    let frame = Frame { basic: false, before: "Bearer ".into(), after: String::new() };
    let secret = |value: &str| Secret::new(value.as_bytes().to_vec());
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), secret(value))).collect();
    let release = Release { fields, version: 1, not_after: UnixMillis(9000), audit_seq: 1 };
    Placed {
        placement: Placement { used, put: Put::Field(frame) },
        release: Rc::new(release),
        former: None,
    }
}

fn refusal(permit: Permit, placed: &[Placed], now: UnixMillis) -> NotInjected {
    inject(permit, placed, now).err().unwrap()
}

#[test]
fn every_value_of_a_release_is_in_play_and_one_is_rendered() {
    let placed = [placed(used("slack"), &[("", "s3cret"), ("id", "me"), ("none", "")])];
    let injected = inject(permit(vec![used("slack")]), &placed, NOW).ok().unwrap();
    let in_play: Vec<_> =
        injected.in_play.iter().map(|s| (s.value.expose(), s.rendered.expose())).collect();
    assert_eq!(in_play, [(b"s3cret".as_slice(), b"Bearer s3cret".as_slice()), (b"me", b"me")]);
    let [injection] = <[Injection; 1]>::try_from(injected.injections).ok().unwrap();
    assert_eq!(injection.name(), "authorization");
    injection.perform(|name, value| {
        assert_eq!((name, value), ("authorization", b"Bearer s3cret".as_slice()));
    });
}

#[test]
fn the_value_before_is_in_play_as_it_was_sent_and_not_injected() {
    let mut placed = placed(used("slack"), &[("", "new")]);
    let old = Secret::new(b"old".to_vec());
    let fields = vec![(String::new(), old)];
    let former = Release { fields, version: 0, not_after: UnixMillis(1), audit_seq: 0 };
    placed.former = Some(Rc::new(former));
    let injected = inject(permit(vec![used("slack")]), &[placed], NOW).ok().unwrap();
    let rendered: Vec<_> = injected.in_play.iter().map(|s| s.rendered.expose()).collect();
    assert_eq!(rendered, [b"Bearer new".as_slice(), b"Bearer old"]);
    assert_eq!(injected.injections.len(), 1);
}

#[test]
fn placements_that_are_not_the_permits_uses_are_not_injected() {
    let value = [("", "s3cret")];
    let permits = || permit(vec![used("slack")]);
    for placements in [
        vec![],
        vec![placed(used("github"), &value)],
        vec![placed(used("slack"), &value), placed(used("slack"), &value)],
        vec![placed(CredentialUse { site: "x-echo".into(), ..used("slack") }, &value)],
        vec![placed(CredentialUse { binding_hash: [0; 32], ..used("slack") }, &value)],
    ] {
        assert_eq!(refusal(permits(), &placements, NOW), NotInjected::NotPermitted);
    }
}

#[test]
fn a_permit_or_value_past_its_time_is_not_injected() {
    let placed = [placed(used("slack"), &[("", "s3cret")])];
    let permits = || permit(vec![used("slack")]);
    assert_eq!(refusal(permits(), &placed, UnixMillis(11_000)), NotInjected::PermitExpired);
    assert_eq!(refusal(permits(), &placed, UnixMillis(9000)), NotInjected::ValueExpired);
}

#[test]
fn a_name_is_compared_without_regard_to_case() {
    let secret = |value: &str| Secret::new(value.as_bytes().to_vec());
    let in_play =
        InPlay { value: secret("AbC-1"), rendered: secret("Bearer AbC-1"), keep: Keep::Worker };
    assert!(in_play.is_in_name(b"x-abc-1-y"));
    assert!(!in_play.is_in_name(b"x-abc-2"));
    assert!(!in_play.is_in_name(b"abc"));
    let basic =
        InPlay { value: secret("pass"), rendered: secret("Basic dTpwYXNz"), keep: Keep::Worker };
    assert!(basic.is_in_name(b"x-dtpwyxnz"));
    assert!(!basic.is_in_name(b"x-basic"));
    let empty = InPlay { value: secret(""), rendered: secret("Bearer "), keep: Keep::Worker };
    assert!(!empty.is_in_name(b"x"));
}
