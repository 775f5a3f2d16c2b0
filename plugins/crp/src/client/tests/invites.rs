//! Invites are exchanged by strangers, so within bounds.

use super::*;

fn redemption() -> Redemption {
    Redemption {
        invite: Secret::new(b"inv_not-a-real-invite".to_vec()),
        holder: [0x40; 32],
        audience: "https://gateway.example".into(),
        max_life: Duration::from_secs(900),
    }
}

/// A gate's client with evidence, and the call that exchanges an invite.
fn exchanging(after: u64) -> (Client, Call) {
    let client = client(Role::Gate);
    let evidence = asked(client.exchange(redemption(), at(after)));
    let document = ok(fixture::document());
    let call = asked(Exchanges::heard(&client, evidence.id, document, at(after)));
    (client, call)
}

#[test]
fn an_invite_is_exchanged_or_refused_as_the_service_says_under_its_key() {
    let token = |_: &Message| {
        let token = "pct1.a".to_owned();
        Answer::Exchange(crate::message::exchange::Answer { token, not_after: NOW })
    };
    let (client, call) = exchanging(0);
    let reply = ok(serve(&call, token));
    let exchanged = answered(Exchanges::heard(&client, call.id, reply, at(20)));
    assert_eq!(exchanged, Ok("pct1.a".to_owned()));
    for (status, want) in [
        (Status::Denied, Turn::Answer(Err(NotExchanged::Refused))),
        (Status::Rate, Turn::Answer(Err(NotExchanged::Rate))),
        (Status::KekUnavailable, Turn::Failed(KeyServiceFault::NotReady)),
    ] {
        let (client, call) = exchanging(0);
        let reply = ok(serve(&call, |_| Answer::Denied(status)));
        match (Exchanges::heard(&client, call.id, reply, at(20)), want) {
            (Turn::Answer(got), Turn::Answer(want)) => assert_eq!(got, want),
            (Turn::Failed(got), Turn::Failed(want)) => assert_eq!(got, want),
            _ => panic!("{status:?}"),
        }
    }
}

#[test]
fn strangers_with_invites_keep_no_known_key_from_being_looked_up() {
    let (client, first) = exchanging(0);
    Exchanges::abandon(&client, first.id);
    for _ in 1..16 {
        let _ = asked(client.exchange(redemption(), at(0)));
    }
    for after in [0, 499] {
        let turn = client.exchange(redemption(), at(after));
        assert_eq!(answered(turn), Err(NotExchanged::Rate));
    }
    let _ = asked(client.find(&fixture::key_id("AbCd0123"), at(0)));
    let _ = asked(client.exchange(redemption(), at(500)));
}
