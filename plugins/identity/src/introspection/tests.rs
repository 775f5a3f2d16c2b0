//! Who asks, who waits, what is remembered, and what is never asked about.

use postern_core::config::gate::{Claims, Endpoint};
use postern_core::key_service::CallAnswer;
use postern_core::time::Entropy;
use serde_json::json;

use super::*;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn config() -> Introspected {
    let text = |text: &str| text.to_owned();
    let none = Vec::new;
    Introspected {
        header: text("authorization"),
        prefixes: none(),
        jwt_issuers: vec![text("https://listed.test")],
        issuer: text("https://idp.test"),
        audiences: vec![text("gw")],
        endpoint: Endpoint { cluster: text("idp"), authority: text("idp.test"), path: text("/i") },
        client_id: text("gate way"),
        secret_variable: text("POSTERN_INTROSPECTION_SECRET"),
        leeway: Duration::ZERO,
        ttl: Duration::from_secs(30),
        cache: 4,
        claims: Claims {
            tenant: none(),
            organisation: none(),
            user: none(),
            agent: none(),
            roles: none(),
            scopes: none(),
            trust: none(),
            clearance: none(),
        },
        dpop: None,
        typed: true,
    }
}

fn introspection(config: &Introspected) -> Introspection {
    let (others, secret) = (crate::others(["pk_".to_owned()]), b"s3cret:/+ %".to_vec());
    let secret = Secret::new(secret);
    Introspection::new(config, "acme", others, &secret, &Services::none()).unwrap()
}

fn attempt(of: &Introspection, token: &str) -> IntrospectionAttempt {
    IntrospectionAttempt {
        tokens: Rc::clone(&of.tokens),
        digest: Sha256::digest(token).into(),
        token: token.to_owned(),
        holder: Holder::default(),
        role: Role::Idle,
    }
}

fn at(seconds: u64) -> Moment {
    Moment { now: NOW.after(Duration::from_secs(seconds)), entropy: Entropy([0; 32]) }
}

fn good(life: u64) -> CallResult {
    let end = NOW.seconds() + life;
    let body = json!({"active": true, "token_type": "Bearer", "aud": "gw", "sub": "a", "exp": end});
    Ok(CallAnswer::of(200, body.to_string().into_bytes()))
}

fn inactive() -> CallResult {
    Ok(CallAnswer::of(200, b"{\"active\":false}".to_vec()))
}

fn asked(progress: Progress) -> Call {
    match progress {
        Progress::Ask(call) => call,
        _ => panic!("does not ask"),
    }
}

fn is_good(verdict: &Verdict) -> bool {
    verdict.is_ok()
}

#[test]
fn what_is_asked_is_a_form_from_a_client_with_a_secret() {
    let call = asked(attempt(&introspection(&config()), "a+b/c~=").start(at(0)));
    assert_eq!(call.body, b"token=a%2Bb%2Fc%7E%3D&token_type_hint=access_token");
    assert_eq!((call.method, call.path.as_ref()), ("POST", "/i"));
    assert_eq!(call.content_type, "application/x-www-form-urlencoded");
    let shown = call.authorization.as_ref().unwrap().perform(str::to_owned).unwrap();
    let pair = BASE64_STANDARD.decode(shown.strip_prefix("Basic ").unwrap()).unwrap();
    assert_eq!(pair, b"gate+way:s3cret%3A%2F%2B+%25");
    assert!(!format!("{call:?}").contains("Basic"), "nobody prints it");
}

#[test]
fn an_answer_is_believed_for_its_time_and_not_past_the_end_of_the_token() {
    let all = introspection(&config());
    for (life, last, first) in [(60, 29, 30), (10, 9, 10)] {
        let token = format!("token-{life}");
        let mut one = attempt(&all, &token);
        let call = asked(one.start(at(0)));
        assert!(matches!(one.heard(call.id, good(life), at(0)), Progress::DoneForAll(Ok(_))));
        let again = attempt(&all, &token).start(at(last));
        assert!(matches!(again, Progress::Done(Ok(_))), "{life}");
        asked(attempt(&all, &token).start(at(first)));
    }
}

#[test]
fn a_refusal_is_remembered_and_displaces_no_good_token() {
    let all = introspection(&config());
    let mut one = attempt(&all, "good");
    let call = asked(one.start(at(0)));
    assert!(matches!(one.heard(call.id, good(60), at(0)), Progress::DoneForAll(Ok(_))));
    for number in 0..100 {
        let token = format!("invented-{number}");
        let mut one = attempt(&all, &token);
        let call = asked(one.start(at(1)));
        assert!(matches!(one.heard(call.id, inactive(), at(1)), Progress::DoneForAll(Err(_))));
        let refused = Denial::InvalidToken(TokenReason::Inactive);
        match attempt(&all, &token).start(at(2)) {
            Progress::Done(Err(denial)) => assert_eq!(denial, refused),
            _ => panic!("asks again"),
        }
    }
    assert!(matches!(attempt(&all, "good").start(at(2)), Progress::Done(Ok(_))));
}

#[test]
fn what_says_nothing_is_not_remembered() {
    let all = introspection(&config());
    let mut one = attempt(&all, "token");
    let call = asked(one.start(at(0)));
    let denial = Denial::KeysUnavailable(KeysReason::Unanswered);
    let failed = Ok(CallAnswer::of(503, Vec::new()));
    match one.heard(call.id, failed, at(0)) {
        Progress::DoneForAll(Err(got)) => assert_eq!(got, denial),
        _ => panic!("believed"),
    }
    asked(attempt(&all, "token").start(at(0)));
}

#[test]
fn a_token_is_asked_about_once_and_everybody_who_waits_hears_the_answer() {
    let mut config = config();
    config.ttl = Duration::ZERO;
    let all = introspection(&config);
    let mut first = attempt(&all, "token");
    let call = asked(first.start(at(0)));
    let mut others: Vec<_> = (0..10).map(|_| attempt(&all, "token")).collect();
    for other in &mut others {
        assert!(matches!(other.start(at(0)), Progress::Wait));
        assert!(other.look(NOW).is_none());
    }
    let mut another = attempt(&all, "another");
    asked(another.start(at(0)));
    assert!(matches!(first.heard(call.id, good(60), at(1)), Progress::DoneForAll(Ok(_))));
    for other in &mut others {
        assert!(is_good(&other.look(NOW).unwrap()));
    }
    asked(attempt(&all, "token").start(at(1)));
}

#[test]
fn when_who_has_asked_goes_away_the_background_asks_for_who_waits() {
    let all = introspection(&config());
    let background = all.background();
    let mut first = attempt(&all, "token");
    asked(first.start(at(0)));
    let mut other = attempt(&all, "token");
    assert!(matches!(other.start(at(0)), Progress::Wait));
    first.abandon();
    let call = background.due(NOW).unwrap();
    assert_eq!(call.body, b"token=token&token_type_hint=access_token");
    assert!(background.due(NOW).is_none(), "one at a time");
    assert!(!background.heard(CallId(1), good(60), NOW), "of somebody else");
    assert!(background.heard(call.id, good(60), NOW));
    assert!(is_good(&other.look(NOW).unwrap()));
}

#[test]
fn nothing_is_asked_for_nobody() {
    let all = introspection(&config());
    let mut first = attempt(&all, "token");
    asked(first.start(at(0)));
    first.abandon();
    assert!(all.background().due(NOW).is_none());
    let mut again = attempt(&all, "token");
    asked(again.start(at(0)));
    let mut waits = attempt(&all, "token");
    assert!(matches!(waits.start(at(0)), Progress::Wait));
    again.abandon();
    drop(waits);
    assert!(all.background().due(NOW).is_none());
    asked(attempt(&all, "token").start(at(0)));
}

#[test]
fn a_call_of_the_background_that_is_lost_is_given_up() {
    let all = introspection(&config());
    let mut first = attempt(&all, "token");
    asked(first.start(at(0)));
    let mut waits = attempt(&all, "token");
    assert!(matches!(waits.start(at(0)), Progress::Wait));
    first.abandon();
    assert!(all.background().due(NOW).is_some());
    assert!(all.background().due(at(5).now).is_none());
    asked(attempt(&all, "token").start(at(5)));
}

#[test]
fn so_many_questions_and_no_more() {
    let all = introspection(&config());
    let mut out: Vec<_> = (0..flight::MOST).map(|n| attempt(&all, &format!("t{n}"))).collect();
    out.iter_mut().for_each(|one| drop(asked(one.start(at(0)))));
    let busy = |second: u64| match attempt(&all, "one more").start(at(second)) {
        Progress::Done(Err(denial)) => {
            assert_eq!(denial, Denial::KeysUnavailable(KeysReason::Busy));
        }
        _ => panic!("asked"),
    };
    busy(0);
    // Nobody takes back what is out: the endpoint has to answer it, or be late.
    out.iter_mut().for_each(Attempt::abandon);
    busy(1);
    asked(attempt(&all, "one more").start(at(2)));
}

#[test]
fn nothing_that_another_authenticator_may_know_is_asked_about() {
    let all = introspection(&config());
    let jwt = |issuer: &str| {
        let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        let claims = format!("{{\"iss\":\"{issuer}\"}}");
        format!("{}.{}.{}", encode("{\"alg\":\"EdDSA\"}"), encode(&claims), "A".repeat(86))
    };
    let long = "x".repeat(LENGTH + 1);
    let spaced = format!("{}.e30.e30", BASE64_URL_SAFE_NO_PAD.encode("\r\n \t{\"alg\":1}"));
    let odd = format!("{}.x", BASE64_STANDARD.encode("{\"a\":\"???>>>\"} "));
    for (token, want) in [
        ("2YotnFZFEjr1zCsicMWpAA", Ok(())),
        ("ory_at_a.b", Ok(())),
        ("ya29.a-b_c~d+e/f==", Ok(())),
        ("", Err(TokenReason::Syntax)),
        ("===", Err(TokenReason::Syntax)),
        ("a b", Err(TokenReason::Syntax)),
        ("<CREDENTIAL:slack>", Err(TokenReason::Syntax)),
        ("käse", Err(TokenReason::Syntax)),
        ("pk_mistyped", Err(TokenReason::Syntax)),
        ("pct1.abc", Err(TokenReason::Syntax)),
        ("inv_abc", Err(TokenReason::Syntax)),
        (&long, Err(TokenReason::TooLong)),
        (&jwt("https://listed.test"), Ok(())),
        (&jwt("https://other.test"), Err(TokenReason::Issuer)),
        // Nobody can say whose these are.
        ("eyJhbGciOiJub25lIn0.e30.", Err(TokenReason::Form)),
        ("eyJhbGciOiJFZERTQSJ9.e30", Err(TokenReason::Form)),
        ("eyJhbGciOiJkaXIifQ.a.b.c.d", Err(TokenReason::Form)),
        (&spaced, Err(TokenReason::Form)),
        (&odd, Err(TokenReason::Form)),
    ] {
        assert_eq!(all.is_asked_about(token), want, "{token:.40}");
    }
    let some = Introspected { prefixes: vec!["gho_".to_owned()], ..config() };
    let some = introspection(&some);
    assert_eq!(some.is_asked_about("gho_abc"), Ok(()));
    assert_eq!(some.is_asked_about("abc"), Err(TokenReason::Syntax));
}
