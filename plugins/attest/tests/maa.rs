//! Tokens of the shape that Azure Attestation writes for confidential containers, signed by
//! a test key, and every way in which one may be bad.

use postern_attest::maa::{Issuer, MAX_AGE, Policy, appraise, floor};
use postern_attest::{Context, Refusal, note, release_set};
use postern_attester::{self as made, ISSUER, KEY_ID};
use postern_jose::Refusal as Jose;
use serde_json::{Value, json};

const NOW: u64 = 1_795_329_000;
const RUNTIME: &[u8] = b"{\"crp\":{\"kex\":\"a\",\"sig\":\"b\"}}";

fn policy() -> Policy {
    let key = made::maa_key();
    let keys = [(KEY_ID, key["n"].as_str().unwrap())];
    Policy {
        issuers: vec![Issuer::new(ISSUER, keys.into_iter()).unwrap()],
        policy_hashes: vec![],
        max_age: MAX_AGE,
        floors: vec![],
        three_claims: false,
    }
}

fn at(now: u64, token: &str, policy: &Policy) -> Result<u64, Refusal> {
    bound(now, token, policy, RUNTIME)
}

fn bound(now: u64, token: &str, policy: &Policy, runtime: &[u8]) -> Result<u64, Refusal> {
    let keys = vec![note::Key::parse(&made::release_vkey()).unwrap()];
    let pins = release_set::Pins { origin: made::ORIGIN.into(), keys };
    let set = made::release_set(1, now + 3600, &[made::HOST_DATA]);
    let releases = pins.open(set.as_bytes(), 0, now, &mut |_| ()).unwrap();
    let runtime_hash = made::sha256(runtime);
    let context = Context { runtime_hash: &runtime_hash, releases: &releases, now };
    appraise(token.as_bytes(), policy, &context, &mut |_| ())
}

fn good() -> String {
    made::token(&made::header(), &made::claims(RUNTIME, NOW))
}

fn judge(token: &str) -> Result<u64, Refusal> {
    at(NOW, token, &policy())
}

/// A token with one claim changed; `null` removes it.
fn claim(name: &str, value: Value) -> String {
    made::token(&made::header(), &changed(made::claims(RUNTIME, NOW), name, value))
}

fn header(name: &str, value: Value) -> String {
    made::token(&changed(made::header(), name, value), &made::claims(RUNTIME, NOW))
}

fn changed(mut object: Value, name: &str, value: Value) -> Value {
    let members = object.as_object_mut().unwrap();
    if value.is_null() {
        members.remove(name).unwrap();
    } else {
        members.insert(name.into(), value);
    }
    object
}

#[test]
fn a_good_token_is_accepted_until_it_ends() {
    assert_eq!(judge(&good()), Ok(NOW + 28_800));
}

#[test]
fn the_algorithm_is_rs256_whatever_the_header_says() {
    for alg in ["none", "None", "HS256", "PS256", "RS384", "RS512", "ES256", "rs256", ""] {
        assert_eq!(
            judge(&header("alg", alg.into())),
            Err(Refusal::Token(Jose::Algorithm)),
            "{alg}"
        );
    }
    for typ in [json!("jwt"), json!("at+jwt"), json!("JOSE"), Value::Null] {
        assert_eq!(judge(&header("typ", typ)), Err(Refusal::Token(Jose::Type)));
    }
    let crit = judge(&header("crit", json!(["b64"])));
    assert_eq!(crit, Err(Refusal::Token(Jose::Header)));
    // A draft policy's token has no signature.
    let (signed, _) = good().rsplit_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    assert_eq!(judge(&format!("{signed}.")), Err(Refusal::Token(Jose::Signature)));
}

#[test]
fn what_the_token_says_about_keys_is_never_looked_at() {
    let claims = made::claims(RUNTIME, NOW);
    for (name, value) in [
        ("jku", json!("https://evil.example/certs")),
        ("x5u", json!("https://evil.example/chain")),
        ("jwk", made::maa_key()),
        ("x5c", json!(["AAAA"])),
    ] {
        let header = changed(made::header(), name, value);
        assert!(judge(&made::token(&header, &claims)).is_ok(), "{name}");
        let forged = made::token_by_stranger(&header, &claims);
        assert_eq!(judge(&forged), Err(Refusal::Token(Jose::Signature)), "{name}");
    }
}

#[test]
fn issuer_and_key_are_pinned_together() {
    for kid in ["../keys/1", "1' OR '1'='1", "", "T3st/Key+Id"] {
        assert_eq!(judge(&header("kid", kid.into())), Err(Refusal::NotPinned), "{kid}");
    }
    assert_eq!(judge(&header("kid", Value::Null)), Err(Refusal::NotPinned));
    let slash = format!("{ISSUER}/");
    for issuer in ["https://other.attest.example", slash.as_str()] {
        assert_eq!(judge(&claim("iss", issuer.into())), Err(Refusal::NotPinned), "{issuer}");
    }
    // The same key id of another pinned issuer, whose key is another.
    let n = made::b64(&made::stranger_root());
    let other = Issuer::new("https://other.attest.example", [(KEY_ID, n.as_str())].into_iter());
    let mut policy = policy();
    policy.issuers.push(other.unwrap());
    let token = claim("iss", json!("https://other.attest.example"));
    assert_eq!(at(NOW, &token, &policy), Err(Refusal::Token(Jose::Signature)));
}

#[test]
fn the_form_is_the_one_compact_form() {
    let token = good();
    let parts: Vec<&str> = token.split('.').collect();
    for bad in [
        parts[..2].join("."),
        format!("{token}.AA"),
        format!("{token}\n"),
        format!("{token}="),
        format!(" {token}"),
        token.replace('.', ".."),
        format!("{}=.{}.{}", parts[0], parts[1], parts[2]),
        String::new(),
    ] {
        assert!(matches!(judge(&bad), Err(Refusal::Token(_))), "{bad}");
    }
    for at in (0..token.len()).step_by(13) {
        let mut bent = token.clone().into_bytes();
        bent[at] = if bent[at] == b'A' { b'B' } else { b'A' };
        judge(&String::from_utf8(bent).unwrap()).unwrap_err();
    }
    // A claim twice, of which the first is good.
    let claims = made::claims(RUNTIME, NOW).to_string();
    let twice = claims.replacen('{', "{\"x-ms-sevsnpvm-vmpl\":0,", 1);
    let token = made::token_of(made::header().to_string().as_bytes(), twice.as_bytes());
    assert!(judge(&token).is_err());
}

#[test]
fn every_claim_counts_at_the_top_in_its_own_type() {
    let other = |name: &'static str, values: &[Value]| {
        for value in values {
            assert_eq!(judge(&claim(name, value.clone())), Err(Refusal::Claim(name)), "{value}");
        }
    };
    other("x-ms-attestation-type", &[json!("azurevm"), json!(["sevsnpvm"]), Value::Null]);
    other("x-ms-compliance-status", &[json!("azure-compliant-cvm"), json!(true), Value::Null]);
    other("x-ms-sevsnpvm-is-debuggable", &[json!(true), json!("false"), json!(0), Value::Null]);
    other("x-ms-sevsnpvm-vmpl", &[json!(1), json!("0"), json!(0.0), json!(false), Value::Null]);
    let hostdata = made::hex(&made::HOST_DATA);
    let prefixed = format!("0x{hostdata}");
    let forms =
        [json!(hostdata.to_uppercase()), json!(prefixed), json!(hostdata[1..]), Value::Null];
    other("x-ms-sevsnpvm-hostdata", &forms);
    let unknown = json!("00".repeat(32));
    assert_eq!(judge(&claim("x-ms-sevsnpvm-hostdata", unknown)), Err(Refusal::HostData));
    // As a confidential VM's token has them: nested.
    let mut nested = made::claims(RUNTIME, NOW);
    let inner = nested.clone();
    for name in ["x-ms-attestation-type", "x-ms-compliance-status", "x-ms-sevsnpvm-hostdata"] {
        nested.as_object_mut().unwrap().remove(name);
    }
    nested["x-ms-isolation-tee"] = inner;
    let token = made::token(&made::header(), &nested);
    assert_eq!(judge(&token), Err(Refusal::Claim("x-ms-attestation-type")));
}

#[test]
fn with_three_claims_the_other_two_may_be_absent_and_never_wrong() {
    let policy = Policy { three_claims: true, ..policy() };
    for (name, wrong) in
        [("x-ms-sevsnpvm-is-debuggable", json!(true)), ("x-ms-sevsnpvm-vmpl", json!(1))]
    {
        assert!(at(NOW, &claim(name, Value::Null), &policy).is_ok());
        assert_eq!(at(NOW, &claim(name, wrong), &policy), Err(Refusal::Claim(name)));
    }
}

#[test]
fn times_are_kept_to_the_second() {
    for (now, good_then) in
        [(NOW - 61, false), (NOW - 60, true), (NOW + 3600, true), (NOW + 3601, false)]
    {
        assert_eq!(at(now, &good(), &policy()).is_ok(), good_then, "{now}");
    }
    let patient = Policy { max_age: 30_000, ..policy() };
    assert!(at(NOW + 28_799, &good(), &patient).is_ok());
    assert_eq!(at(NOW + 28_800, &good(), &patient), Err(Refusal::TokenTime));
    for name in ["iat", "nbf"] {
        assert!(judge(&claim(name, json!(NOW + 60))).is_ok());
        assert_eq!(judge(&claim(name, json!(NOW + 61))), Err(Refusal::TokenTime), "{name}");
    }
    for name in ["iat", "nbf", "exp"] {
        for value in [json!("1795329000"), json!(1.5), json!(-1), Value::Null] {
            assert_eq!(judge(&claim(name, value)), Err(Refusal::Claim(name)));
        }
    }
}

#[test]
fn policy_hashes_and_firmware_floors_are_kept_when_they_are_set() {
    let good_hash = made::b64(&[0x90; 32]);
    let pinned = |hash: &str| Policy { policy_hashes: vec![hash.into()], ..policy() };
    assert!(at(NOW, &good(), &pinned(&good_hash)).is_ok());
    let other = at(NOW, &good(), &pinned(&made::b64(&[1; 32])));
    assert_eq!(other, Err(Refusal::Claim("x-ms-policy-hash")));
    let least = |name, least| Policy { floors: vec![(floor(name).unwrap(), least)], ..policy() };
    assert!(at(NOW, &good(), &least("microcode", 115)).is_ok());
    let above = at(NOW, &good(), &least("microcode", 116));
    assert_eq!(above, Err(Refusal::Claim("x-ms-sevsnpvm-microcode-svn")));
}

#[test]
fn exactly_these_bytes_are_bound() {
    // The same JSON in another order, as the token's own x-ms-runtime may have it.
    let reordered = b"{\"crp\":{\"sig\":\"b\",\"kex\":\"a\"}}";
    assert_eq!(bound(NOW, &good(), &policy(), reordered), Err(Refusal::ReportData));
    let name = "x-ms-sevsnpvm-reportdata";
    let hash = made::hex(&made::sha256(RUNTIME));
    for bad in
        [format!("{hash}{}1", "0".repeat(63)), hash.clone(), hash.to_uppercase() + &"0".repeat(64)]
    {
        assert_eq!(judge(&claim(name, json!(bad))), Err(Refusal::ReportData));
    }
    assert_eq!(judge(&claim(name, Value::Null)), Err(Refusal::ReportData));
}
