//! Proofs of possession, good and bad.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD as B64};
use ed25519_dalek::Signer;

use super::fixture::{NOW, full, further, key, public, token};
use crate::key::Strict;
use crate::mint::{self, Unsigned};
use crate::proof::{self, Proof, Request, Window};
use crate::refusal::Refusal;

/// A request with its fields, as a gateway receives it.
#[derive(Clone)]
pub struct Sent {
    pub name: &'static str,
    pub method: String,
    pub scheme: String,
    pub authority: String,
    pub target: String,
    pub token: String,
    pub signature_input: String,
    pub signature: String,
    pub content_digest: Option<String>,
    pub content: Option<Vec<u8>>,
    /// Other fields, of which some may be signed.
    pub more: Vec<(&'static str, &'static str)>,
    pub now: u64,
    /// `None`: good.
    pub refused: Option<&'static str>,
}

const NONCE: [u8; 16] = [0x5c; 16];

impl Sent {
    /// Signed by the second holder, as the command would.
    fn signed(name: &'static str, method: &str, target: &str, content: Option<&[u8]>) -> Self {
        Self::covering(name, (method, target, content), &[])
    }

    fn covering(
        name: &'static str,
        (method, target, content): (&str, &str, Option<&[u8]>),
        more: &[(&'static str, &'static str)],
    ) -> Self {
        let token = token(&[full(), further(1)]);
        let request = Unsigned {
            method,
            scheme: "https",
            authority: "api.slack.test",
            target,
            token: &token,
            content,
            fields: more,
        };
        let fields = mint::sign_request(&request, &key(2), NOW, &NONCE).unwrap();
        Self {
            name,
            method: method.to_owned(),
            scheme: "https".to_owned(),
            authority: "api.slack.test".to_owned(),
            target: target.to_owned(),
            token: token.clone(),
            signature_input: fields.signature_input,
            signature: fields.signature,
            content_digest: fields.content_digest,
            content: content.map(<[u8]>::to_vec),
            more: more.to_vec(),
            now: NOW,
            refused: None,
        }
    }

    fn get(name: &'static str) -> Self {
        Self::signed(name, "GET", "/api/v1/users?limit=2", None)
    }

    fn post(name: &'static str) -> Self {
        Self::signed(name, "POST", "/api/v1/messages", Some(b"{\"text\":\"hello\"}"))
    }

    pub fn request(&self) -> Request<'_> {
        Request {
            method: &self.method,
            scheme: &self.scheme,
            authority: &self.authority,
            target: &self.target,
            token: &self.token,
            signature_input: &self.signature_input,
            signature: &self.signature,
            content_digest: self.content_digest.as_deref(),
            has_content: self.content.is_some(),
            fields: &self.more,
        }
    }

    /// What a gateway does: the proof, then the content against its digest.
    pub fn verify(&self) -> Result<Proof, Refusal> {
        let window = Window::at(self.now);
        let proof = proof::verify(&self.request(), &public(2), window, &Strict)?;
        let content = self.content.as_deref().unwrap_or_default();
        if proof.covers(content) { Ok(proof) } else { Err(Refusal::ProofDigest) }
    }

    /// Signed again with these parameters, whatever they are.
    fn again(mut self, parameters: &str, signer: u8) -> Self {
        // Whatever is named, so that nothing but the list is wrong.
        let names: Vec<&str> = self.more.iter().map(|(name, _)| *name).collect();
        let base = proof::base(&self.request(), &names, parameters).unwrap();
        let signature = key(signer).sign(base.as_bytes()).to_bytes();
        self.signature_input = format!("sig1={parameters}");
        self.signature = format!("sig1=:{}:", BASE64_STANDARD.encode(signature));
        self
    }

    /// With other parameters behind the covered components, signed.
    fn with(self, parameters: &str) -> Self {
        let covered = proof::components(self.content_digest.is_some(), &[]);
        self.again(&format!("{covered}{parameters}"), 2)
    }

    fn but(mut self, change: impl FnOnce(&mut Self), refused: &'static str) -> Self {
        change(&mut self);
        self.refused = Some(refused);
        self
    }
}

fn key_id(place: u8) -> String {
    format!(";keyid=\"{}\"", B64.encode(public(place).as_bytes()))
}

fn usual() -> String {
    let nonce = proof::nonce(&NONCE);
    format!(";created={NOW};nonce=\"{nonce}\"{};tag=\"postern-pop\"", key_id(2))
}

pub fn rows() -> Vec<Sent> {
    let mut rows = good();
    rows.extend(moved());
    rows.extend(components());
    rows.extend(fields());
    rows.extend(parameters());
    rows.extend(spellings());
    rows
}

fn good() -> Vec<Sent> {
    let all = format!("{};alg=\"ed25519\";expires={}", usual(), NOW + 30);
    let nonce = proof::nonce(&NONCE);
    let order = format!(";tag=\"postern-pop\"{};nonce=\"{nonce}\";created={NOW}", key_id(2));
    let with = |mut sent: Sent, change: fn(&mut Sent)| {
        change(&mut sent);
        sent
    };
    vec![
        Sent::get("get"),
        Sent::post("post"),
        Sent::signed("no query", "GET", "/api/v1", None),
        Sent::signed("empty query", "GET", "/api/v1?", None),
        Sent::signed("a query of question marks", "GET", "/api/v1???", None),
        Sent::signed("an empty path", "GET", "", None),
        Sent::signed("content of no bytes", "POST", "/api/v1", Some(b"")),
        Sent::get("every parameter").with(&all),
        Sent::get("parameters in another order").with(&order),
        with(Sent::get("authority in capitals"), |sent| sent.authority = "API.Slack.Test".into()),
        with(Sent::get("authority with the default port"), |sent| sent.authority += ":443"),
        with(Sent::get("30 s old"), |sent| sent.now += 30),
        with(Sent::get("5 s ahead"), |sent| sent.now -= 5),
    ]
}

/// A good proof on another request.
fn moved() -> Vec<Sent> {
    let other = token(&[full(), further(1), further(2)]);
    vec![
        Sent::get("another method").but(|sent| sent.method = "DELETE".into(), "proof_signature"),
        Sent::get("method in small letters")
            .but(|sent| sent.method = "get".into(), "proof_signature"),
        Sent::get("another authority")
            .but(|sent| sent.authority = "evil.test".into(), "proof_signature"),
        Sent::get("another port").but(|sent| sent.authority += ":8443", "proof_signature"),
        Sent::get("the other scheme's port").but(|sent| sent.authority += ":80", "proof_signature"),
        Sent::get("another path")
            .but(|sent| sent.target = "/admin?limit=2".into(), "proof_signature"),
        Sent::get("path in another spelling")
            .but(|sent| sent.target = "/api/v1/%75sers?limit=2".into(), "proof_signature"),
        Sent::get("another query")
            .but(|sent| sent.target = "/api/v1/users?limit=3".into(), "proof_signature"),
        Sent::get("without the query")
            .but(|sent| sent.target = "/api/v1/users".into(), "proof_signature"),
        Sent::get("another token of the same holder")
            .but(|sent| sent.token = token(&[full()]), "proof_signature"),
        Sent::get("a longer token").but(|sent| sent.token = other, "proof_signature"),
        Sent::post("another content")
            .but(|sent| sent.content = Some(b"{}".to_vec()), "proof_digest"),
        Sent::post("content removed").but(|sent| sent.content = Some(Vec::new()), "proof_digest"),
        Sent::post("another content and digest").but(
            |sent| {
                sent.content = Some(b"{}".to_vec());
                sent.content_digest = Some(proof::content_digest(b"{}"));
            },
            "proof_signature",
        ),
        Sent::get("content added").but(|sent| sent.content = Some(b"x".to_vec()), "proof_digest"),
        Sent::get("content and digest added").but(
            |sent| {
                sent.content = Some(b"x".to_vec());
                sent.content_digest = Some(proof::content_digest(b"x"));
            },
            "proof_components",
        ),
        Sent::get("31 s old").but(|sent| sent.now += 31, "proof_stale"),
        Sent::get("6 s ahead").but(|sent| sent.now -= 6, "proof_future"),
    ]
}

/// Fields behind the usual components.
fn fields() -> Vec<Sent> {
    const BOTH: [(&str, &str); 2] =
        [("authorization", "Bearer <CREDENTIAL:slack>"), ("x-tap-credential", "slack")];
    let get = |name, more: &[_]| Sent::covering(name, ("GET", "/api/v1", None), more);
    let named = |name, more: &[(&'static str, &'static str)], list: &[&str], refused| {
        let mut sent = get(name, &[]);
        sent.more = more.to_vec();
        let covered = proof::components(false, list);
        sent.again(&format!("{covered}{}", usual()), 2).but(|_| (), refused)
    };
    let post = ("POST", "/api/v1", Some(&b"x"[..]));
    vec![
        get("two fields more", &BOTH),
        Sent::covering("a field behind the digest", post, &BOTH[1..]),
        get("a signed field changed", &BOTH).but(|sent| sent.more[1].1 = "mail", "proof_signature"),
        get("a signed field gone", &BOTH).but(|sent| sent.more.truncate(1), "proof_form"),
        get("a signed field on two lines", &BOTH)
            .but(|sent| sent.more.push(("x-tap-credential", "slack")), "proof_form"),
        get("a signed field of no bytes", &BOTH).but(|sent| sent.more[1].1 = "", "proof_form"),
        get("a signed field with a line break", &BOTH)
            .but(|sent| sent.more[1].1 = "a\nb", "proof_form"),
        get("a signed field with a space before", &BOTH)
            .but(|sent| sent.more[1].1 = " a", "proof_form"),
        named(
            "fields in another order",
            &BOTH,
            &["x-tap-credential", "authorization"],
            "proof_components",
        ),
        named(
            "a field named twice",
            &BOTH[1..],
            &["x-tap-credential", "x-tap-credential"],
            "proof_components",
        ),
        named("a field in capitals", &BOTH[1..], &["X-TAP-Credential"], "proof_components"),
        named("the signature named", &[("signature", "x")], &["signature"], "proof_components"),
        named(
            "nine fields",
            &[],
            &["a", "b", "c", "d", "e", "f", "g", "h", "i"],
            "proof_components",
        ),
    ]
}

fn components() -> Vec<Sent> {
    let covered = proof::components(false, &[]);
    let usual = usual();
    let row = |name, components: String| {
        Sent::get(name).again(&format!("{components}{usual}"), 2).but(|_| (), "proof_components")
    };
    let without = |name| covered.replace(&format!("\"{name}\" "), "");
    let unsigned = |sent: &mut Sent| sent.content_digest = None;
    vec![
        row("method not covered", without("@method")),
        row("authority not covered", without("@authority")),
        row("path not covered", without("@path")),
        row("query not covered", without("@query")),
        row("token not covered", covered.replace(" \"postern-capability\"", "")),
        row("nothing covered", "()".into()),
        row(
            "other order",
            covered.replace("\"@method\" \"@authority\"", "\"@authority\" \"@method\""),
        ),
        row("a component twice", covered.replace("\"@method\"", "\"@method\" \"@method\"")),
        row("one component more", covered.replace("\"@query\"", "\"@query\" \"date\"")),
        row("a component parameter", covered.replace("\"@method\"", "\"@method\";req")),
        row("two spaces", covered.replace("\" \"@path", "\"  \"@path")),
        Sent::post("digest taken away").but(unsigned, "proof_digest"),
        Sent::post("digest not covered")
            .again(&format!("{covered}{usual}"), 2)
            .but(|_| (), "proof_components"),
    ]
}

fn parameters() -> Vec<Sent> {
    let nonce = proof::nonce(&NONCE);
    let row = |name, parameters: String| {
        Sent::get(name).with(&parameters).but(|_| (), "proof_parameters")
    };
    let usual = usual();
    let expired = format!("{usual};expires={}", NOW - 1);
    vec![
        row("no parameters", String::new()),
        row("without created", usual.replace(&format!(";created={NOW}"), "")),
        row("without nonce", usual.replace(&format!(";nonce=\"{nonce}\""), "")),
        row("without tag", usual.replace(";tag=\"postern-pop\"", "")),
        row("another tag", usual.replace("postern-pop", "other")),
        row("created twice", format!("{usual};created={NOW}")),
        row("created in a string", usual.replace(&format!("={NOW}"), &format!("=\"{NOW}\""))),
        row("created with a fraction", usual.replace(&NOW.to_string(), &format!("{NOW}.0"))),
        row("negative created", usual.replace(&NOW.to_string(), "-1")),
        row("created with leading zeros", usual.replace(&NOW.to_string(), &format!("0{NOW}"))),
        row("a short nonce", usual.replace(&nonce, "abc")),
        row("a nonce of 65 characters", usual.replace(&nonce, &"a".repeat(65))),
        row("a nonce with a space", usual.replace(&nonce, "aaaaaaaa aaaaaaaa")),
        row("alg of another algorithm", format!("{usual};alg=\"hmac-sha256\"")),
        row("keyid of another key", usual.replace(&key_id(2), &key_id(1))),
        row("keyid twice", format!("{usual}{}", key_id(2))),
        row("an unknown parameter", format!("{usual};x=1")),
        Sent::get("expired by its own word").with(&expired).but(|_| (), "proof_stale"),
    ]
}

fn spellings() -> Vec<Sent> {
    let covered = proof::components(false, &[]);
    let whole = format!("{covered}{}", usual());
    vec![
        Sent::get("signed by the holder before").again(&whole, 1).but(|_| (), "proof_signature"),
        Sent::get("signed by the issuer").again(&whole, 0).but(|_| (), "proof_signature"),
        Sent::get("no input").but(|sent| sent.signature_input.clear(), "proof_form"),
        Sent::get("no signature").but(|sent| sent.signature.clear(), "proof_form"),
        Sent::get("labels differ")
            .but(|sent| sent.signature = sent.signature.replace("pop=", "pip="), "proof_form"),
        Sent::get("two inputs").but(
            |sent| sent.signature_input = format!("{0}, b{0}", sent.signature_input),
            "proof_parameters",
        ),
        Sent::get("two signatures")
            .but(|sent| sent.signature = format!("{0}, b{0}", sent.signature), "proof_form"),
        Sent::get("label in capitals").but(
            |sent| {
                sent.signature_input = sent.signature_input.replace("pop=", "POP=");
                sent.signature = sent.signature.replace("pop=", "POP=");
            },
            "proof_form",
        ),
        Sent::get("signature in base64url")
            .but(|sent| sent.signature = format!("pop=:{}:", B64.encode([0xfb; 64])), "proof_form"),
        Sent::get("signature without colons")
            .but(|sent| sent.signature = sent.signature.replace(':', ""), "proof_form"),
        Sent::get("signature of zeros").but(
            |sent| sent.signature = format!("pop=:{}:", BASE64_STANDARD.encode([0; 64])),
            "proof_signature",
        ),
        Sent::post("digest by sha-512").but(
            |sent| {
                sent.content_digest = Some(format!("sha-512=:{}:", BASE64_STANDARD.encode([0; 64])))
            },
            "proof_digest",
        ),
        Sent::post("two digests").but(
            |sent| {
                sent.content_digest = sent.content_digest.as_ref().map(|it| format!("{it}, {it}"))
            },
            "proof_digest",
        ),
        Sent::get("a line break in the path")
            .but(|sent| sent.target = "/a\n\"@query\": ?".into(), "proof_form"),
        Sent::get("a line break in the authority")
            .but(|sent| sent.authority = "a\nb".into(), "proof_form"),
    ]
}

#[test]
fn every_proof_has_its_verdict() {
    for sent in rows() {
        let verdict = sent.verify().err().map(Refusal::code);
        assert_eq!(verdict, sent.refused, "{}", sent.name);
    }
}

#[test]
fn nonces_of_two_keys_are_remembered_apart() {
    let sent = Sent::get("get");
    let one = sent.verify().unwrap();
    let covered = proof::components(false, &[]);
    let parameters = usual().replace(&key_id(2), &key_id(1));
    let sent = sent.again(&format!("{covered}{parameters}"), 1);
    let two = proof::verify(&sent.request(), &public(1), Window::at(NOW), &Strict).unwrap();
    assert_eq!(one.nonce(), two.nonce());
    assert_ne!(one.replay_key(), two.replay_key());
}

/// RFC 9421, B.2.6: an Ed25519 signature over a signature base of fixed values. The key,
/// the base and the signature are that document's.
#[test]
fn the_signature_of_the_rfc_holds() {
    use crate::key::{PublicKey, Signatures};
    let key = B64.decode("JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs").unwrap();
    let base = "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n\"@method\": POST\n\"@path\": /foo\n\
        \"@authority\": example.com\n\"content-type\": application/json\n\"content-length\": 18\n\
        \"@signature-params\": (\"date\" \"@method\" \"@path\" \"@authority\" \"content-type\" \
        \"content-length\");created=1618884473;keyid=\"test-key-ed25519\"";
    let signature = BASE64_STANDARD
        .decode("wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==")
        .unwrap();
    let key = PublicKey::parse(&key).unwrap();
    assert!(Strict.hold(&key, base.as_bytes(), &signature.try_into().unwrap()));
}
