//! Tokens that must be refused.

use std::slice::from_ref;

use serde_json::{Value as Json, json};

use super::fixture::{NOW, bare, full, further, key, public, set, token};
use super::raw::{Raw, encode, entries, map, text, with, without};
use crate::cbor::Value;
use crate::claims::{Claims, label};
use crate::mint;
use crate::token::blocks;

/// A name, the token, what differs in the context, and the expected reason.
pub type Row = (String, String, Json, &'static str);

fn row(name: &str, token: String, reason: &'static str) -> Row {
    (name.to_owned(), token, Json::Null, reason)
}

fn bytes(token: &str) -> Vec<Vec<u8>> {
    blocks(token.as_bytes()).unwrap()
}

/// A first block with this payload, well signed.
fn signed(payload: Vec<u8>) -> String {
    Raw::first(payload).token()
}

/// A first block with one claim changed.
fn changed(label: i64, value: Value) -> String {
    signed(with(&full(), label, value))
}

fn array(items: &[&str]) -> Value {
    Value::Array(items.iter().map(|item| Value::from(*item)).collect())
}

pub fn rows() -> Vec<Row> {
    let mut rows = texts();
    rows.extend(encodings());
    rows.extend(headers());
    rows.extend(signatures());
    rows.extend(chains());
    rows.extend(missing());
    rows.extend(forms());
    rows.extend(confirmations());
    rows.extend(contexts());
    rows
}

fn texts() -> Vec<Row> {
    let good = token(&[bare()]);
    let body = good.strip_prefix("pct1.").unwrap();
    // The last character of a body of 4n+2 or 4n+3 characters has unused bits.
    let odd = (0..3).map(|more| Claims { subject: Some("a".repeat(3 + more)), ..bare() });
    let odd = odd.map(|claims| token(&[claims])).find(|text| (text.len() - 5) % 4 == 2).unwrap();
    let twin = |last: char| {
        let set = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        set.chars().nth(set.find(last).unwrap() + 1).unwrap()
    };
    let twin = format!("{}{}", &odd[..odd.len() - 1], twin(odd.chars().last().unwrap()));
    vec![
        row("nothing", String::new(), "text"),
        row("no prefix", body.to_owned(), "text"),
        row("another version", format!("pct2.{body}"), "text"),
        row("prefix in capitals", format!("PCT1.{body}"), "text"),
        row("padding", format!("{odd}=="), "text"),
        row("unused bits set", twin, "text"),
        row("standard alphabet", format!("pct1.{body}+/"), "text"),
        row("a space behind", format!("{good} "), "text"),
        row("a line break inside", format!("pct1.\n{body}"), "text"),
        row("over 4096 characters", format!("pct1.{}", "A".repeat(4092)), "too_long"),
        row("empty chain text", "pct1.".into(), "encoding"),
    ]
}

fn encodings() -> Vec<Row> {
    let block = bytes(&token(&[bare()])).remove(0);
    let good = bare().encode().unwrap();
    let chain = |bytes: Vec<u8>| mint::text(&bytes);
    let one = encode(&Value::Array(vec![Value::Bytes(block.clone())]));
    let nine = std::iter::once(bare()).chain((1..8).map(further)).collect::<Vec<_>>();
    let nine = bytes(&token(&nine)).into_iter().chain([block.clone()]).collect::<Vec<_>>();
    let long_header = [&[0x98, 0x01][..], &one[1..]].concat();
    let indefinite = [&[0x9f][..], &one[1..], &[0xff]].concat();
    let tagged = [&[0xd2][..], &block].concat();
    let twice = {
        let mut twice = entries(&bare());
        twice.insert(1, twice[0].clone());
        encode(&map(&twice))
    };
    let unordered = {
        let mut entries = entries(&bare());
        entries.swap(0, 1);
        encode(&map(&entries))
    };
    let long_number = {
        let at = good.windows(2).position(|pair| pair == [4, 0x1a]).unwrap();
        [&good[..=at], &[0x1b, 0, 0, 0, 0], &good[at + 2..]].concat()
    };
    let nested = (0..40).fold(Value::from(0), |inner, _| Value::Array(vec![inner]));
    vec![
        row("no blocks", chain(vec![0x80]), "blocks"),
        row("nine blocks", text(&nine), "blocks"),
        row("array length longer than needed", chain(long_header), "encoding"),
        row("indefinite array", chain(indefinite), "encoding"),
        row("bytes behind the chain", chain([&one[..], &[0]].concat()), "encoding"),
        row("chain cut short", chain(one[..one.len() - 1].to_vec()), "encoding"),
        row("a map for a chain", chain(vec![0xa0]), "structure"),
        row("text for a block", chain(vec![0x81, 0x61, 0x61]), "structure"),
        row(
            "an array that claims to be huge",
            chain(vec![0x9b, 0x7f, 255, 255, 255, 255, 255, 255, 255]),
            "encoding",
        ),
        row("nested too deep", chain(encode(&nested)), "encoding"),
        row("tagged block", text(&[tagged]), "encoding"),
        row("bytes behind the block", text(&[[&block[..], &[0]].concat()]), "encoding"),
        row("a claim twice", signed(twice), "encoding"),
        row("claims out of order", signed(unordered), "encoding"),
        row("a number longer than needed", signed(long_number), "encoding"),
        row("a time as a float", changed(label::EXPIRES, Value::Float(1.8e9)), "encoding"),
        row("a claim that is null", changed(label::DOCUMENT, Value::Null), "encoding"),
        row("bytes behind the claims", signed([&good[..], &[0]].concat()), "encoding"),
        row("claims in an array", signed(vec![0x80]), "structure"),
        row(
            "a label that is text",
            signed(encode(&Value::Map(vec![("iss".into(), "x".into())]))),
            "unknown_claim",
        ),
        row("an unknown claim", changed(-65_554, Value::from(1)), "unknown_claim"),
        row("a registered claim that is not ours", changed(9, Value::from("x")), "unknown_claim"),
    ]
}

fn headers() -> Vec<Row> {
    let payload = || bare().encode().unwrap();
    let under = |entries: &[(i64, Value)]| Raw::under(encode(&map(entries)), payload()).token();
    let (alg, kid) = ((1, Value::from(-8)), (4, Value::Bytes(b"issuer-1".to_vec())));
    let first = Raw::first(payload());
    let open = Raw { unprotected: map(from_ref(&kid)), ..first.clone() };
    let moved = Raw { unprotected: map(from_ref(&kid)), ..Raw::further(payload()) };
    let signature = vec![7; 64];
    let three = Value::Array(first.value(signature).into_array().unwrap()[..3].to_vec());
    let with_key = Raw {
        protected: encode(&map(&[alg.clone(), kid.clone()])),
        ..Raw::further(Claims { previous: Some([0; 32]), ..further(1) }.encode().unwrap())
    };
    let parent = bytes(&token(&[bare()])).remove(0);
    vec![
        row("alg none", under(&[(1, Value::from(0)), kid.clone()]), "header"),
        row("alg ES256", under(&[(1, Value::from(-7)), kid.clone()]), "header"),
        row("alg HMAC 256/256", under(&[(1, Value::from(5)), kid.clone()]), "header"),
        row("no alg", under(from_ref(&kid)), "header"),
        row("no kid", under(from_ref(&alg)), "header"),
        row("empty kid", under(&[alg.clone(), (4, Value::Bytes(vec![]))]), "structure"),
        row(
            "kid of a path",
            under(&[alg.clone(), (4, Value::Bytes(b"../issuer-1".to_vec()))]),
            "unknown_issuer",
        ),
        row(
            "kid of a query",
            under(&[alg.clone(), (4, Value::Bytes(b"'OR/1=1--".to_vec()))]),
            "unknown_issuer",
        ),
        row(
            "kid with NUL",
            under(&[alg.clone(), (4, Value::Bytes(b"issuer-1\0".to_vec()))]),
            "header",
        ),
        row(
            "kid that is not UTF-8",
            under(&[alg.clone(), (4, Value::Bytes(vec![0xff]))]),
            "header",
        ),
        row(
            "kid of another tenant",
            under(&[alg.clone(), (4, Value::Bytes(b"other-tenant".to_vec()))]),
            "unknown_issuer",
        ),
        row(
            "crit",
            under(&[alg.clone(), (2, Value::Array(vec![Value::from(4)])), kid.clone()]),
            "header",
        ),
        row("content type", under(&[alg.clone(), (3, Value::from(61)), kid.clone()]), "header"),
        row("x5u", under(&[alg.clone(), kid.clone(), (35, "https://evil.test".into())]), "header"),
        row("an embedded key", under(&[alg, kid, (-1, Value::Bytes(vec![1; 32]))]), "header"),
        row("an unprotected header", open.token(), "header"),
        row("kid unprotected", moved.token(), "header"),
        row("three parts", text(&[encode(&three)]), "structure"),
        row("kid in a further block", text(&[parent, with_key.seal(&key(1))]), "header"),
        row("empty protected header", Raw::under(vec![], payload()).token(), "encoding"),
    ]
}

fn signatures() -> Vec<Row> {
    let raw = Raw::first(bare().encode().unwrap());
    let sealed = |signature: Vec<u8>| text(&[encode(&raw.value(signature))]);
    let good = bytes(&token(&[bare()])).remove(0);
    let signature = good[good.len() - 64..].to_vec();
    // The group order, little-endian: S + order is the same scalar in other bytes.
    let order: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut malleable = signature.clone();
    let mut carry = 0u16;
    for (byte, add) in malleable[32..].iter_mut().zip(order) {
        carry += u16::from(*byte) + u16::from(add);
        *byte = carry.to_le_bytes()[0];
        carry >>= 8;
    }
    let mut flipped = signature.clone();
    flipped[40] ^= 1;
    let mut neutral = vec![0; 64];
    neutral[0] = 1;
    let other = Raw { label: b"postern capability/2".to_vec(), ..raw.clone() };
    let unlabelled = Raw { label: Vec::new(), ..raw.clone() };
    let countersigned = Raw { context: "CounterSignature", ..raw.clone() };
    vec![
        row("a bit of S flipped", sealed(flipped), "signature"),
        row("S plus the group order", sealed(malleable), "signature"),
        row("R of small order, S zero", sealed(neutral), "signature"),
        row("signature of zeros", sealed(vec![0; 64]), "signature"),
        row("no signature", sealed(vec![]), "structure"),
        row("a longer signature", sealed([&signature[..], &[0]].concat()), "structure"),
        row("signed by the holder", text(&[raw.seal(&key(1))]), "signature"),
        row("signed by another issuer key of the tenant", text(&[raw.seal(&key(20))]), "signature"),
        row("signed under another label", other.token(), "signature"),
        row("signed without the label", unlabelled.token(), "signature"),
        row("signed as a countersignature", countersigned.token(), "signature"),
    ]
}

fn chains() -> Vec<Row> {
    let third = Claims { scopes: set(&["documents:read"]), ..further(2) };
    let chain = bytes(&token(&[full(), further(1), third]));
    let other = bytes(&token(&[Claims { id: Some([9; 16]), ..full() }, further(1)]));
    let [a, b, c] = <[Vec<u8>; 3]>::try_from(chain).unwrap();
    let pick =
        |blocks: &[&Vec<u8>]| text(&blocks.iter().map(|it| (*it).clone()).collect::<Vec<_>>());
    let second = |claims: Claims, signer: u8| {
        let parent = bytes(&token(&[full()])).remove(0);
        text(&[parent, Raw::further(claims.encode().unwrap()).seal(&key(signer))])
    };
    let linked = || {
        use sha2::Digest;
        Claims { previous: Some(sha2::Sha256::digest(&a).into()), ..further(1) }
    };
    let depth = |depth, rest: &[Claims]| {
        token(&[&[Claims { depth: Some(depth), ..full() }][..], rest].concat())
    };
    let shallow = Claims { depth: Some(0), ..further(1) };
    vec![
        row("middle block taken out", pick(&[&a, &c]), "signature"),
        row("blocks reordered", pick(&[&a, &c, &b]), "signature"),
        row("a block twice", pick(&[&a, &b, &b]), "signature"),
        row("without the first block", pick(&[&b, &c]), "header"),
        row("the first block twice", pick(&[&a, &a]), "header"),
        row("a block spliced in from another token", pick(&[&a, &other[1]]), "chain"),
        row("a block on another first block", pick(&[&other[0], &b]), "chain"),
        row("signed by the issuer, not the holder", second(linked(), 0), "signature"),
        row("signed by its own key", second(linked(), 2), "signature"),
        row("without previous", second(further(1), 1), "claim"),
        row(
            "previous of zeros",
            second(Claims { previous: Some([0; 32]), ..further(1) }, 1),
            "chain",
        ),
        row("deeper than allowed", depth(0, &[further(1)]), "too_deep"),
        row(
            "deeper than a further block allows",
            depth(7, &[shallow.clone(), further(2)]),
            "too_deep",
        ),
        row(
            "a depth raised again",
            depth(1, &[Claims { depth: Some(7), ..further(1) }, further(2)]),
            "too_deep",
        ),
        row(
            "another tenant in a further block",
            second(Claims { tenant: Some("umbrella".into()), ..linked() }, 1),
            "tenant",
        ),
        row(
            "another audience in a further block",
            second(Claims { audience: Some("https://b.test".into()), ..linked() }, 1),
            "audience",
        ),
        row(
            "another organisation in a further block",
            second(Claims { organisation: Some("org-8".into()), ..linked() }, 1),
            "disjoint",
        ),
        row(
            "another document in a further block",
            second(Claims { document: Some("doc-2".into()), ..linked() }, 1),
            "disjoint",
        ),
        row(
            "iss in a further block",
            second(Claims { issuer: full().issuer, ..linked() }, 1),
            "claim",
        ),
    ]
}

fn missing() -> Vec<Row> {
    let required = [
        label::ISSUER,
        label::SUBJECT,
        label::AUDIENCE,
        label::EXPIRES,
        label::ISSUED_AT,
        label::ID,
        label::CONFIRMATION,
        label::TENANT,
    ];
    let without = |claim: i64| {
        let name = format!("without {}", crate::claims::name(claim));
        row(&name, signed(without(&full(), claim)), "claim")
    };
    let mut rows: Vec<Row> = required.into_iter().map(without).collect();
    let previous = Claims { previous: Some([0; 32]), ..full() };
    rows.push(row("previous in the first block", signed(previous.encode().unwrap()), "claim"));
    rows
}

fn forms() -> Vec<Row> {
    let many: Vec<String> = (0..33).map(|at| format!("scope-{at:02}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let long = "x".repeat(129);
    let cases: [(&str, i64, Value); 31] = [
        ("an empty set of scopes", label::SCOPES, array(&[])),
        ("an empty set of hosts", label::HOSTS, array(&[])),
        ("an empty set of paths", label::PATHS, array(&[])),
        ("scopes out of order", label::SCOPES, array(&["b", "a"])),
        ("a scope twice", label::SCOPES, array(&["a", "a"])),
        ("thirty-three scopes", label::SCOPES, array(&many)),
        ("a scope of *", label::SCOPES, array(&["*"])),
        ("scopes in one text", label::SCOPES, "a b".into()),
        ("a scope that is a number", label::SCOPES, Value::Array(vec![Value::from(1)])),
        ("a credential of *", label::CREDENTIALS, array(&["*"])),
        ("a host with a wildcard", label::HOSTS, array(&["*.slack.test"])),
        ("a host in capitals", label::HOSTS, array(&["API.slack.test"])),
        ("a host with a trailing dot", label::HOSTS, array(&["api.slack.test."])),
        ("a host with user information", label::HOSTS, array(&["a@b.test"])),
        ("a host with port 0", label::HOSTS, array(&["a.test:0"])),
        ("a method in small letters", label::METHODS, array(&["get"])),
        ("a method of *", label::METHODS, array(&["*"])),
        ("a path with a wildcard", label::PATHS, array(&["/api/**"])),
        ("a path with dot segments", label::PATHS, array(&["/api/../admin"])),
        ("a path with an escape", label::PATHS, array(&["/api/%2e%2e"])),
        ("a path that ends in a slash", label::PATHS, array(&["/api/"])),
        ("a relative path", label::PATHS, array(&["api"])),
        ("a path with a query", label::PATHS, array(&["/api?x"])),
        ("a level of trust that there is not", label::TRUST, Value::from(4)),
        ("a negative clearance", label::CLEARANCE, Value::from(-1)),
        ("a budget of 2^53", label::BUDGET, Value::from(1u64 << 53)),
        ("a depth of 8", label::DEPTH, Value::from(8)),
        ("a subject with a line break", label::SUBJECT, "a\nb".into()),
        ("a subject that is too long", label::SUBJECT, long.as_str().into()),
        ("an id of 15 bytes", label::ID, Value::Bytes(vec![1; 15])),
        ("an expiry of 2^38", label::EXPIRES, Value::from(1u64 << 38)),
    ];
    cases
        .into_iter()
        .map(|(name, claim, value)| row(name, changed(claim, value), "claim"))
        .collect()
}

fn confirmations() -> Vec<Row> {
    let x = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
    let key = |entries: &[(i64, Value)]| changed(label::CONFIRMATION, map(&[(1, map(entries))]));
    let okp = |bytes: &[u8]| key(&[(1, 1.into()), (-1, 6.into()), (-2, x(bytes))]);
    let good = *public(1).as_bytes();
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut second = [0xff; 32];
    (second[0], second[31]) = (0xf0, 0x7f);
    let mut off = [0; 32];
    off[0] = 2;
    let private = [(1, 1.into()), (-1, 6.into()), (-2, x(&good)), (-4, x(&[0x12; 32]))];
    vec![
        row("a holder's key of small order", okp(&neutral), "claim"),
        row("a holder's key of order four", okp(&[0; 32]), "claim"),
        row("a holder's key in its second encoding", okp(&second), "claim"),
        row("a holder's key that is no point", okp(&off), "claim"),
        row("a holder's key that is too short", okp(&good[..31]), "claim"),
        row(
            "a holder's key on X25519",
            key(&[(1, 1.into()), (-1, 4.into()), (-2, x(&good))]),
            "claim",
        ),
        row("a holder's key with its private half", key(&private), "claim"),
        row(
            "a holder's key by its id alone",
            changed(label::CONFIRMATION, map(&[(3, x(b"k"))])),
            "claim",
        ),
        row("an empty cnf", changed(label::CONFIRMATION, map(&[])), "claim"),
    ]
}

fn contexts() -> Vec<Row> {
    let at = |name: &str, token: String, context: Json, reason| {
        (name.to_owned(), token, context, reason)
    };
    let good = || token(&[full()]);
    let short = || token(&[full(), Claims { expires: Some(NOW + 60), ..further(1) }]);
    let times = |issued, expires| {
        token(&[Claims { issued_at: Some(issued), expires: Some(expires), ..bare() }])
    };
    vec![
        at("the second of exp", good(), json!({"now": NOW + 600}), "expired"),
        at("expired by a further block", short(), json!({"now": NOW + 60}), "expired"),
        at("6 s before iat", good(), json!({"now": NOW - 6}), "not_yet"),
        row("nbf 6 s ahead", token(&[Claims { not_before: Some(NOW + 6), ..bare() }]), "not_yet"),
        row(
            "iat of a further block 6 s ahead",
            token(&[bare(), Claims { issued_at: Some(NOW + 6), ..further(1) }]),
            "not_yet",
        ),
        row("a life of 901 s", times(NOW, NOW + 901), "life"),
        row("exp before iat", times(NOW, NOW - 1), "claim"),
        at("a shorter life configured", good(), json!({"life": 300}), "life"),
        at("for another gateway", good(), json!({"audience": "https://other.test"}), "audience"),
        at("on another tenant's route", good(), json!({"tenant": "umbrella"}), "tenant"),
        at("without issuers", good(), json!({"issuers": []}), "unknown_issuer"),
        row(
            "another iss than the key's",
            token(&[Claims { issuer: Some("https://evil.test".into()), ..bare() }]),
            "claim",
        ),
    ]
}
