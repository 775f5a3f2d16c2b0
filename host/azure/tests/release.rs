//! A release from a local vault of Azure's REST shapes, and every way in which there is none.

use std::sync::OnceLock;
use std::time::Duration;

use postern_attester as made;
use postern_azure::{Client, KeyRef, Refused, Settings};
use postern_core::redacted::Redacted;
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use postern_vault::{Key, Material, Trick, VaultServer};
use serde_json::{Value, json};

const NOW: UnixMillis = UnixMillis(1_795_332_600_000);

fn now() -> u64 {
    NOW.seconds()
}

fn client(server: &VaultServer) -> Client {
    let settings = Settings {
        identity: server.identity(),
        client_id: Some("2b5f".to_owned()),
        roots: Some(vec![server.root()]),
        patience: Duration::from_millis(1500),
        pause: |_| (),
    };
    Client::new(settings).unwrap()
}

/// What Azure Attestation would say of the test machine.
fn token(runtime: &[u8], change: impl FnOnce(&mut Value)) -> String {
    let mut claims = made::claims(runtime, now());
    change(&mut claims);
    made::token(&made::header(), &claims)
}

fn release(server: &VaultServer, client: &Client, name: &str) -> Result<Secret, Refused> {
    let key = KeyRef::parse(&server.kid(name), true).unwrap();
    client.release(&key, &|runtime| Ok(token(runtime, |_| ())), NOW)
}

fn forbidden(code: &str) -> Refused {
    Refused::Forbidden(Redacted::new(code))
}

#[test]
fn a_key_is_released_to_the_attested_machine_the_same_each_time() {
    let server = VaultServer::start(now);
    let client = client(&server);
    server.put("aes", Key::oct(7));
    server.put("rsa", Key::rsa());
    let kek = |name: &str| release(&server, &client, name).unwrap().expose().to_vec();
    let (aes, rsa) = (kek("aes"), kek("rsa"));
    assert_eq!((kek("aes"), kek("rsa")), (aes.clone(), rsa.clone()));
    assert_ne!(aes, rsa);
    // Not the key itself, and another for another version.
    assert_ne!(aes, vec![7; 32]);
    server.put("other", Key::oct(7));
    assert_ne!(kek("other"), aes);
    // One token does for all of them.
    assert_eq!(server.asked().iter().filter(|asked| *asked == "identity").count(), 1);
}

#[test]
fn both_pinned_algorithms_and_an_echoed_nonce_are_taken() {
    let server = VaultServer::start(now);
    let client = client(&server);
    server.put("kek", Key::oct(7));
    for trick in [Trick::Algorithm("RS256"), Trick::Algorithm("PS256"), Trick::EchoNonce] {
        server.play(trick.clone());
        assert!(release(&server, &client, "kek").is_ok(), "{trick:?}");
    }
}

#[test]
fn what_does_not_hold_of_an_answer_is_noticed() {
    let server = VaultServer::start(now);
    let client = client(&server);
    server.put("kek", Key::oct(7));
    let algorithm = Refused::Signature("expected the algorithm RS256 or PS256");
    let broken = Refused::Signature("its signature does not hold");
    let rows = [
        (Trick::Algorithm("none"), algorithm.clone()),
        (Trick::Algorithm("HS256"), algorithm.clone()),
        (Trick::Algorithm("RS512"), algorithm.clone()),
        (Trick::Algorithm("rs256"), algorithm),
        (Trick::ChangedPayload, broken),
        (Trick::TwoParts, Refused::Malformed("released key")),
        (Trick::Critical, Refused::Signature("unknown critical members")),
        (Trick::NoChain, Refused::Signature("expected one to six certificates")),
        (Trick::OtherKey, Refused::Other("key")),
        (Trick::OtherWrapping, Refused::Other("wrapping")),
        (Trick::OtherNonce, Refused::Other("nonce")),
        (Trick::ShortCiphertext(0), Refused::Unwrap),
        (Trick::ShortCiphertext(255), Refused::Unwrap),
        (Trick::ShortCiphertext(256), Refused::Unwrap),
        (Trick::ShortCiphertext(264), Refused::Unwrap),
        (Trick::ShortCiphertext(272), Refused::Unwrap),
        (Trick::ShortCiphertext(291), Refused::Unwrap),
        (Trick::BrokenWrap, Refused::Unwrap),
        (Trick::NotJson, Refused::Malformed("released key")),
        (Trick::Oversized, Refused::TooLarge),
        (Trick::Slow, Refused::Slow),
    ];
    for (trick, want) in rows {
        server.play(trick.clone());
        assert_eq!(release(&server, &client, "kek").err(), Some(want), "{trick:?}");
    }
    for trick in [Trick::OtherHost, Trick::ExpiredChain, Trick::StrangeChain] {
        server.play(trick.clone());
        let refused = release(&server, &client, "kek").err();
        assert!(matches!(refused, Some(Refused::Chain(_))), "{trick:?}: {refused:?}");
    }
    server.play(Trick::Truncated);
    let refused = release(&server, &client, "kek").err();
    assert!(matches!(refused, Some(Refused::Unreachable(_))), "{refused:?}");
    server.play(Trick::None);
    assert!(release(&server, &client, "kek").is_ok());
}

#[test]
fn every_status_has_its_meaning_and_only_what_may_pass_is_repeated() {
    let server = VaultServer::start(now);
    let client = client(&server);
    server.put("kek", Key::oct(7));
    let code = || Redacted::new("Configured");
    for (status, want, requests) in [
        (400, Refused::BadRequest(code()), 1),
        // Once more, with a new token.
        (401, Refused::Unauthorised, 2),
        (403, Refused::Forbidden(code()), 1),
        (404, Refused::NotFound, 1),
        (409, Refused::Unexpected(409), 1),
        (302, Refused::Unexpected(302), 1),
        (429, Refused::Throttled(Some(1)), 3),
        (500, Refused::Away(500), 3),
        (503, Refused::Away(503), 3),
    ] {
        server.play(Trick::Status(status, Some(1)));
        let _ = server.asked();
        assert_eq!(release(&server, &client, "kek").err(), Some(want), "{status}");
        let asked = server.asked().iter().filter(|asked| *asked != "identity").count();
        assert_eq!(asked, requests, "{status}");
    }
    for status in [429, 500] {
        server.play(Trick::First(status, 2));
        assert!(release(&server, &client, "kek").is_ok(), "{status}");
    }
}

#[test]
fn a_token_that_is_not_accepted_any_more_is_asked_for_again() {
    let server = VaultServer::start(now);
    let client = client(&server);
    server.put("kek", Key::oct(7));
    assert!(release(&server, &client, "kek").is_ok());
    server.forget_tokens();
    let _ = server.asked();
    assert!(release(&server, &client, "kek").is_ok());
    assert_eq!(server.asked(), ["release kek/1", "identity", "release kek/1"]);
}

#[test]
fn a_key_that_may_not_be_used_is_not_released_and_not_believed_if_it_is() {
    let server = VaultServer::start(now);
    let client = client(&server);
    type Change = fn(&mut Key);
    let rows: [(Change, &str, &'static str); 4] = [
        (|key| key.enabled = false, "KeyDisabled", "disabled"),
        (|key| key.exportable = false, "AccessDenied", "not exportable"),
        (|key| key.nbf = now() + 1, "KeyNotYetValid", "not valid yet"),
        (|key| key.exp = now(), "KeyExpired", "expired"),
    ];
    for (change, vault, own) in rows {
        server.put("kek", Key::oct(7));
        server.change("kek", change);
        server.play(Trick::None);
        assert_eq!(release(&server, &client, "kek").err(), Some(forbidden(vault)));
        server.play(Trick::Blind);
        assert_eq!(release(&server, &client, "kek").err(), Some(Refused::NotUsable(own)));
    }
}

#[test]
fn a_key_of_another_type_is_none() {
    let server = VaultServer::start(now);
    let client = client(&server);
    for (material, want) in [
        (Material::Ec(vec![1; 32]), Refused::KeyType),
        (Material::Oct(vec![1; 16]), Refused::KeyType),
        (Material::Oct(vec![1; 33]), Refused::KeyType),
        (Material::Rsa(vec![1; 32]), Refused::Malformed("released key")),
    ] {
        server.put("kek", Key::released(material.clone()));
        assert_eq!(release(&server, &client, "kek").err(), Some(want), "{material:?}");
    }
    server.delete("kek");
    assert_eq!(release(&server, &client, "kek").err(), Some(Refused::NotFound));
}

#[test]
fn another_machine_does_not_satisfy_the_policy() {
    let server = VaultServer::start(now);
    let client = client(&server);
    server.put("kek", Key::oct(7));
    let key = KeyRef::parse(&server.kid("kek"), true).unwrap();
    let tried = |change: fn(&mut Value)| {
        client.release(&key, &|runtime| Ok(token(runtime, change)), NOW).err()
    };
    assert_eq!(tried(|_| ()), None);
    let rows: [fn(&mut Value); 6] = [
        |claims| claims["x-ms-sevsnpvm-hostdata"] = "00".repeat(32).into(),
        |claims| claims["x-ms-sevsnpvm-is-debuggable"] = true.into(),
        |claims| claims["x-ms-sevsnpvm-vmpl"] = 1.into(),
        |claims| claims["x-ms-compliance-status"] = "azure-compliant-cvm".into(),
        |claims| claims["iss"] = "https://evil.attest.example".into(),
        |claims| claims["x-ms-attestation-type"] = Value::Null,
    ];
    for change in rows {
        assert_eq!(tried(change), Some(forbidden("AccessDenied")));
    }
    // Nor does a token that another key signed.
    let forged = |runtime: &[u8]| {
        Ok(made::token_by_stranger(&made::header(), &made::claims(runtime, now())))
    };
    let refused = client.release(&key, &forged, NOW).err();
    assert_eq!(refused, Some(Refused::BadRequest(Redacted::new("BadParameter"))));
}

#[test]
fn what_was_wrapped_to_another_transfer_key_does_not_open() {
    let server = VaultServer::start(now);
    let client = client(&server);
    server.put("kek", Key::oct(7));
    let key = KeyRef::parse(&server.kid("kek"), true).unwrap();
    // The runtime data of another process: it replays a token, and the vault wraps to that.
    static OTHER: OnceLock<Vec<u8>> = OnceLock::new();
    let other = OTHER
        .get_or_init(|| postern_azure::transfer::TransferKey::draw().unwrap().runtime())
        .clone();
    let replayed = |_: &[u8]| Ok(token(&other, |_| ()));
    assert_eq!(client.release(&key, &replayed, NOW).err(), Some(Refused::Unwrap));
}

#[test]
fn nobody_there_is_a_refusal_too() {
    let server = VaultServer::start(now);
    let settings = Settings {
        identity: "http://127.0.0.1:9".to_owned(),
        roots: Some(vec![server.root()]),
        pause: |_| (),
        ..Settings::default()
    };
    let client = Client::new(settings).unwrap();
    let refused = release(&server, &client, "kek").err();
    assert!(matches!(refused, Some(Refused::Unreachable(_))), "{refused:?}");
    assert!(Client::new(Settings { roots: Some(vec![vec![1]]), ..Settings::default() }).is_err());
    // A server whose certificate no root of ours has signed.
    let settings = Settings { identity: server.identity(), pause: |_| (), ..Settings::default() };
    let refused = release(&server, &Client::new(settings).unwrap(), "kek").err();
    assert!(matches!(refused, Some(Refused::Unreachable(_))), "{refused:?}");
}

#[test]
fn a_customers_key_wraps_and_unwraps_and_never_leaves() {
    let server = VaultServer::start(now);
    let client = client(&server);
    server.put("tenant", Key::customer());
    let key = KeyRef::parse(&server.kid("tenant"), true).unwrap();
    let wrapped = client.wrap(&key, b"wrapped data key", NOW).unwrap();
    assert_ne!(wrapped.expose(), b"wrapped data key");
    let opened = client.unwrap(&key, wrapped.expose(), NOW).unwrap();
    assert_eq!(opened.expose(), b"wrapped data key");
    assert!(matches!(client.unwrap(&key, b"x", NOW).err(), Some(Refused::BadRequest(_))));
    server.play(Trick::OtherKey);
    assert_eq!(client.unwrap(&key, wrapped.expose(), NOW).err(), Some(Refused::Other("key")));
    server.play(Trick::NotJson);
    let refused = client.unwrap(&key, wrapped.expose(), NOW).err();
    assert_eq!(refused, Some(Refused::Malformed("key operation")));
    server.play(Trick::None);
    server.change("tenant", |key| key.enabled = false);
    let refused = client.unwrap(&key, wrapped.expose(), NOW).err().unwrap();
    assert_eq!((refused.is_taken_away(), refused), (true, forbidden("KeyDisabled")));
    assert_eq!(json!(server.asked().last()), json!("unwrapkey tenant/1"));
}
