//! Published vectors, what two other implementations sign for random requests, and what is
//! not signed at all.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::*;
use crate::binding::{OAuth1, Payload, SigV4, SignatureMethod};
use crate::hex;
use crate::time::{Entropy, UnixMillis};

const SIGV4: &str = include_str!("../../../../../tests/vectors/signing/sigv4.json");
const OAUTH1: &str = include_str!("../../../../../tests/vectors/signing/oauth1.json");
const RANDOM: &str = include_str!("../../../../../tests/vectors/signing/random.json");

fn text<'a>(case: &'a Value, name: &str) -> &'a str {
    case[name].as_str().unwrap_or_default()
}

fn list<'a>(case: &'a Value, name: &str) -> &'a [Value] {
    case[name].as_array().map_or(&[], Vec::as_slice)
}

fn lines<'a>(case: &'a Value, name: &str) -> Vec<(&'a str, &'a str)> {
    let line = |line: &'a Value| (line[0].as_str().unwrap(), line[1].as_str().unwrap());
    list(case, name).iter().map(line).collect()
}

fn aws(region: &str, service: &str) -> SigV4 {
    let (region, service) = (region.to_owned(), service.to_owned());
    SigV4 { region, service, payload: Payload::Signed }
}

fn oauth(method: &str) -> OAuth1 {
    let hmac_sha256 = method == "HMAC-SHA256";
    let method = if hmac_sha256 { SignatureMethod::HmacSha256 } else { SignatureMethod::HmacSha1 };
    OAuth1 { method, realm: None }
}

fn head(method: &str, authority: &str, target: &str, more: &[(&str, &str)]) -> Fields {
    let pseudo =
        [(":method", method), (":scheme", "http"), (":authority", authority), (":path", target)];
    pseudo.iter().chain(more).copied().collect()
}

fn signable(signing: &Signing, head: &Fields, content: &str, form: &str) -> Option<Signable> {
    let authority = head.only(":authority").and_then(|text| str::from_utf8(text).ok());
    let authority = Authority::parse(authority.unwrap()).unwrap();
    let digest = Some(Sha256::digest(content).into());
    Signable::new(signing, head, &authority, digest, form.as_bytes())
}

fn release(fields: &[(&str, &str)]) -> Release {
    let secret = |value: &str| Secret::new(value.as_bytes().to_vec());
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), secret(value))).collect();
    Release { fields, version: 1, not_after: UnixMillis(u64::MAX), audit_seq: 1 }
}

fn moment(seconds: u64, entropy: [u8; 32]) -> Moment {
    Moment { now: UnixMillis(seconds * 1000), entropy: Entropy(entropy) }
}

#[test]
fn sigv4_gives_the_published_signatures() {
    let file: Value = serde_json::from_str(SIGV4).unwrap();
    let mut count = 0;
    for set in list(&file, "sets") {
        let scheme = aws(text(set, "region"), text(set, "service"));
        let signing = Signing::SigV4(scheme.clone());
        let (id, secret) = (text(set, "access_key_id"), text(set, "secret_access_key"));
        let keys = sigv4::Keys { id: id.as_bytes(), secret: secret.as_bytes(), token: None };
        let stamp = sigv4::Stamp::of(moment(set["time"].as_u64().unwrap(), [0; 32]).now);
        for case in list(set, "cases") {
            let head = head(text(case, "method"), "example.test", text(case, "target"), &[]);
            let request = signable(&signing, &head, "", "").unwrap();
            let header = |(name, value): (&str, &str)| {
                (name.to_owned(), Zeroizing::new(value.as_bytes().to_vec()))
            };
            let headers = lines(case, "headers").into_iter().map(header).collect();
            let digest = hex::lower(&Sha256::digest(text(case, "content")));
            let proof = scheme.prove(&request, &headers, &digest, &keys, &stamp).ok().unwrap();
            assert_eq!(proof.signature, text(case, "signature"), "{}", text(case, "name"));
            count += 1;
        }
    }
    assert_eq!(count, 16);
}

#[test]
fn oauth1_gives_the_published_base_strings_and_signatures() {
    let file: Value = serde_json::from_str(OAUTH1).unwrap();
    for case in list(&file, "cases") {
        let (source, scheme) = (text(case, "source"), oauth("HMAC-SHA1"));
        let signing = Signing::OAuth1(scheme.clone());
        let head = head(text(case, "method"), "example.test", text(case, "target"), &[]);
        let mut request = signable(&signing, &head, "", text(case, "form")).unwrap();
        request.origin = text(case, "origin").to_owned();
        let parameters = lines(case, "parameters");
        let parameters = parameters.into_iter().map(|(name, value)| (name, value.as_bytes()));
        let base = oauth1::base(&request, &parameters.collect());
        if let Some(expected) = case["base"].as_str() {
            assert_eq!(str::from_utf8(&base).unwrap(), expected, "{source}");
        }
        let keys = oauth1::Keys {
            consumer: b"",
            consumer_secret: text(case, "consumer_secret").as_bytes(),
            token: None,
            token_secret: text(case, "token_secret").as_bytes(),
        };
        if let Some(expected) = case["signature"].as_str() {
            assert_eq!(*scheme.signature(&base, &keys).unwrap(), expected, "{source}");
        }
    }
    assert_eq!(list(&file, "cases").len(), 6);
}

/// `tests/clients/python/signing.py` has made them with botocore and oauthlib.
#[test]
fn random_requests_are_signed_as_other_implementations_sign_them() {
    let file: Value = serde_json::from_str(RANDOM).unwrap();
    for case in list(&file, "cases") {
        let is_aws = text(case, "style") == "sigv4";
        let signing = if is_aws {
            Signing::SigV4(aws(text(case, "region"), text(case, "service")))
        } else {
            Signing::OAuth1(oauth(text(case, "method_name")))
        };
        let (authority, target) = (text(case, "authority"), text(case, "target"));
        let fields = lines(case, "fields");
        let head = head(text(case, "method"), authority, target, &fields);
        let form = if is_aws { "" } else { text(case, "content") };
        let request = signable(&signing, &head, text(case, "content"), form).unwrap();
        let release = release(&lines(case, "credential"));
        let mut nonce = [0; 32];
        for (to, from) in nonce.iter_mut().zip(text(case, "nonce").as_bytes().chunks(2)) {
            *to = u8::from_str_radix(str::from_utf8(from).unwrap(), 16).unwrap();
        }
        let at = moment(case["time"].as_u64().unwrap(), nonce);
        let signed = sign(&signing, &request, &release, &at).ok().unwrap();
        let signature = str::from_utf8(signed.signature.expose()).unwrap();
        assert_eq!(signature, text(case, "signature"), "{case}");
    }
    assert_eq!(list(&file, "cases").len(), 200);
}

fn signed(signing: Signing, fields: &[(&str, &str)]) -> Result<String, NotInjected> {
    let head = head("GET", "api.test", "/x", &[]);
    let request = signable(&signing, &head, "", "").unwrap();
    let at = moment(1_440_938_160, [7; 32]);
    let signed = sign(&signing, &request, &release(fields), &at)?;
    let value = |(name, value): &(&str, Secret)| {
        format!("{name}: {}", String::from_utf8_lossy(value.expose()))
    };
    let mut all: Vec<String> = signed.fields.iter().map(value).collect();
    all.extend(signed.absent.iter().map(|name| format!("no {name}")));
    all.push(String::from_utf8_lossy(&signed.authorization).into_owned());
    Ok(all.join("\n"))
}

const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn what_is_added_to_a_request_has_the_form_of_its_standard() {
    let pair = [("access_key_id", "AKID"), ("secret_access_key", "s3cret")];
    let scheme = || Signing::SigV4(aws("eu-west-1", "s3"));
    let plain = signed(scheme(), &pair).unwrap();
    let (before, signature) = plain.rsplit_once("Signature=").unwrap();
    assert_eq!(
        before,
        format!(
            "x-amz-date: 20150830T123600Z\nx-amz-content-sha256: {EMPTY}\nno x-amz-security-token\n\
             AWS4-HMAC-SHA256 Credential=AKID/20150830/eu-west-1/s3/aws4_request, \
             SignedHeaders=host;x-amz-content-sha256;x-amz-date, "
        )
    );
    assert!(signature.len() == 64 && signature.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let with_token = signed(scheme(), &[pair[0], pair[1], ("session_token", "t0k/en==")]).unwrap();
    assert!(with_token.contains("\nx-amz-security-token: t0k/en==\n"), "{with_token}");
    assert!(with_token.contains("x-amz-date;x-amz-security-token, "), "{with_token}");

    let scheme = OAuth1 { realm: Some("Photos".into()), ..oauth("HMAC-SHA256") };
    let consumer = [("consumer_key", "c k"), ("consumer_secret", "s")];
    let alone = signed(Signing::OAuth1(scheme.clone()), &consumer).unwrap();
    let (before, _) = alone.split_once("oauth_signature=\"").unwrap();
    assert_eq!(
        before,
        format!(
            "OAuth realm=\"Photos\", oauth_consumer_key=\"c%20k\", oauth_nonce=\"{}\", \
             oauth_signature_method=\"HMAC-SHA256\", oauth_timestamp=\"1440938160\", \
             oauth_version=\"1.0\", ",
            "07".repeat(16)
        )
    );
    let both = [consumer[0], consumer[1], ("token", "t"), ("token_secret", "ts")];
    let both = signed(Signing::OAuth1(scheme), &both).unwrap();
    assert!(both.contains(", oauth_token=\"t\", oauth_version"), "{both}");
}

#[test]
fn a_credential_that_is_not_whole_or_would_end_its_part_signs_nothing() {
    let scheme = || Signing::SigV4(aws("eu-west-1", "s3"));
    for (fields, why) in [
        (&[("", "AKID")][..], NotInjected::NoField),
        (&[("access_key_id", "AKID")], NotInjected::NoField),
        (&[("secret_access_key", "s")], NotInjected::NoField),
        (&[("access_key_id", "A/B"), ("secret_access_key", "s")], NotInjected::BadValue),
        (&[("access_key_id", "A"), ("secret_access_key", "")], NotInjected::BadValue),
        (
            &[("access_key_id", "A"), ("secret_access_key", "s"), ("session_token", "a\r\nb: c")],
            NotInjected::BadValue,
        ),
    ] {
        assert_eq!(signed(scheme(), fields), Err(why), "{fields:?}");
    }
    let consumer = [("consumer_key", "c"), ("consumer_secret", "s")];
    for (fields, why) in [
        (&consumer[..1], NotInjected::NoField),
        (&[consumer[0], consumer[1], ("token", "t")], NotInjected::NoField),
        (&[consumer[0], consumer[1], ("token_secret", "t")], NotInjected::NoField),
    ] {
        let scheme = Signing::OAuth1(oauth("HMAC-SHA1"));
        assert_eq!(signed(scheme, fields), Err(why), "{fields:?}");
    }
}

#[test]
fn parameters_of_a_signature_or_with_two_readings_are_not_signed() {
    let schemes = || (Signing::SigV4(aws("eu-west-1", "s3")), Signing::OAuth1(oauth("HMAC-SHA1")));
    let read = |signing: &Signing, target: &str, form: &str| {
        signable(signing, &head("GET", "api.test", target, &[]), "", form).is_some()
    };
    for (target, aws, oauth) in [
        ("/x?a=1&a=2&&b", true, true),
        ("/x?X-Amz-Signature=0", false, true),
        ("/x?%58-amz-date=1", false, true),
        ("/x?AWSAccessKeyId=1", false, true),
        ("/x?x-amz-acl=private", true, true),
        ("/x?oauth_token=1", true, false),
        ("/x?%6Fauth_nonce=1", true, false),
        ("/x?a=b+c", false, true),
        ("/x?a=%2", false, false),
        ("/x?a=%zz", false, false),
    ] {
        let (of_aws, of_oauth) = schemes();
        assert_eq!(read(&of_aws, target, ""), aws, "sigv4 {target}");
        assert_eq!(read(&of_oauth, target, ""), oauth, "oauth1 {target}");
    }
    let of_oauth = schemes().1;
    assert!(read(&of_oauth, "/x", "a=1&b+c=%20"));
    assert!(!read(&of_oauth, "/x", "a=1&oauth_verifier=2"));
    assert!(!read(&of_oauth, "/x", "a=%"));
}

#[test]
fn fields_of_a_signature_are_ours_and_named_ones_are_covered() {
    let signing = Signing::SigV4(aws("eu-west-1", "s3"));
    let more = [
        ("content-type", "a/b"),
        ("X-Amz-Meta-A", "1"),
        ("x-amz-meta-a", "2"),
        ("x-amz-date", "20000101T000000Z"),
        ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ("x-amz-security-token", "mine"),
        ("x-other", "3"),
    ];
    let request = signable(&signing, &head("PUT", "api.test", "/x", &more), "", "").unwrap();
    let covered: Vec<_> = request.fields.into_iter().collect();
    let expected = [("content-type", &b"a/b"[..]), ("x-amz-meta-a", b"1,2")];
    assert_eq!(covered, expected.map(|(name, value)| (name.to_owned(), value.to_vec())));
}

#[test]
fn the_calendar_is_gregorian_and_ends_with_four_digits() {
    let key = [("access_key_id", "A"), ("secret_access_key", "s")];
    let signing = Signing::SigV4(aws("eu-west-1", "s3"));
    let request = signable(&signing, &head("GET", "api.test", "/x", &[]), "", "").unwrap();
    for (now, stamp) in [
        (0, "19700101T000000Z"),
        (951_782_399, "20000228T235959Z"),
        (951_782_400, "20000229T000000Z"),
        (1_709_251_199, "20240229T235959Z"),
        (1_709_251_200, "20240301T000000Z"),
        (4_107_542_400, "21000301T000000Z"),
        (1_735_689_599, "20241231T235959Z"),
        (u64::MAX / 1000, "99991231T235959Z"),
    ] {
        let signed = sign(&signing, &request, &release(&key), &moment(now, [0; 32])).ok().unwrap();
        assert_eq!(signed.fields[0].1.expose(), stamp.as_bytes());
    }
}

proptest::proptest! {
    #[test]
    fn what_is_read_is_written_in_one_form(text: Vec<u8>, blank: bool) {
        let Some(read) = pairs::read(&text, blank) else { return Ok(()) };
        let form = |pairs: &pairs::Pairs| {
            pairs::sorted(pairs.iter().map(|(name, value)| (name.as_slice(), value.as_slice())))
        };
        let once = form(&read);
        let again = pairs::read(&once, blank).unwrap();
        let mut sorted = read.clone();
        let mut reread = again.clone();
        sorted.sort();
        reread.sort();
        proptest::prop_assert_eq!(sorted, reread);
        let twice = form(&again);
        proptest::prop_assert_eq!(twice.as_slice(), once.as_slice());
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%=&".contains(byte);
        proptest::prop_assert!(once.iter().all(plain));
    }
}
