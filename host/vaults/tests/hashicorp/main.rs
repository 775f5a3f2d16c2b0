//! Values from a local vault of the shapes of HashiCorp's KV version 2, and every way in which
//! there is none.

mod server;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use postern_core::redacted::Redacted;
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use postern_vaults::{
    Backend, Kv2, Login, Path, Place, Refused, ServerUrl, Settings, Source, Version,
};
use serde_json::json;

use self::server::{ROLE, Server, Trick};

const NOW: UnixMillis = UnixMillis(1_795_776_000_000);
const STRIPE: &str = "|secret/payments/stripe";
const READ: &str = "|GET /v1/secret/data/payments/stripe";
const LOGIN: &str = "|POST /v1/auth/approle/login";
const LOOKUP: &str = "|GET /v1/auth/token/lookup-self";

/// What a file is in the key service.
type File = Arc<Mutex<String>>;

fn file(text: &str) -> File {
    Arc::new(Mutex::new(text.to_owned()))
}

fn source(file: &File) -> Source {
    let file = Arc::clone(file);
    Box::new(move || Ok(Secret::new(file.lock().unwrap().as_bytes().to_vec())))
}

fn app_role(secret_id: &File) -> Login {
    let mount = Path::parse("approle").unwrap();
    Login::AppRole { mount, role_id: ROLE.to_owned(), secret_id: source(secret_id) }
}

fn settings(server: &Server, login: Login) -> Settings {
    let url = format!("http://127.0.0.1:{}", server.port());
    Settings {
        server: ServerUrl::parse(&url, true).unwrap(),
        mount: Path::parse("secret").unwrap(),
        namespace: None,
        login,
        roots: None,
        patience: Duration::from_secs(10),
    }
}

/// A vault with a secret, and a back end that logs in by `AppRole`.
fn started() -> (Server, Kv2, File) {
    let server = Server::start();
    server.put(STRIPE, json!({"api_key": "sk_live_1", "account": "acct"}));
    let secret_id = file("first-secret-id");
    let kv2 = Kv2::new(settings(&server, app_role(&secret_id)));
    (server, kv2, secret_id)
}

/// Value and version.
type Got = Result<(String, String), Refused>;

fn value(text: &str, version: u64) -> Got {
    Ok((text.to_owned(), version.to_string()))
}

fn read_at(kv2: &Kv2, place: &str, version: Option<u64>, now: UnixMillis) -> Got {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let place = Place::parse(place).unwrap();
    let version = version.map(Version::from);
    let read = runtime.block_on(kv2.read(&place, version.as_ref(), now))?;
    let text = String::from_utf8(read.secret.expose().to_vec()).unwrap();
    Ok((text, read.version.to_string()))
}

fn read(kv2: &Kv2) -> Got {
    read_at(kv2, "payments/stripe#api_key", None, NOW)
}

#[test]
fn a_field_is_read_after_one_login_and_a_new_version_is_seen() {
    let (server, kv2, _) = started();
    assert_eq!(read(&kv2), value("sk_live_1", 1));
    server.put(STRIPE, json!({"api_key": "sk_\"live\"_\u{e9}", "account": "acct"}));
    assert_eq!(read(&kv2), value("sk_\"live\"_\u{e9}", 2));
    assert_eq!(server.asked(), [LOGIN, READ, READ]);
    let old = read_at(&kv2, "payments/stripe#api_key", Some(1), NOW);
    assert_eq!(old, value("sk_live_1", 1));
    assert_eq!(server.asked(), [format!("{READ}?version=1")]);
}

#[test]
fn a_namespace_goes_with_the_login_and_the_read() {
    let server = Server::start();
    server.put("team/a|secret/payments/stripe", json!({"api_key": "of the team"}));
    let namespace = Some(Path::parse("team/a").unwrap());
    let login = app_role(&file("first-secret-id"));
    let kv2 = Kv2::new(Settings { namespace, ..settings(&server, login) });
    assert_eq!(read(&kv2), value("of the team", 1));
    assert_eq!(server.asked(), [LOGIN, READ].map(|line| format!("team/a{line}")));
    let root = Kv2::new(settings(&server, app_role(&file("first-secret-id"))));
    assert_eq!(read(&root), Err(Refused::NotFound("secret")));
}

#[test]
fn what_is_not_there_is_not_found() {
    let (server, kv2, _) = started();
    server.put("|secret/gone", json!({"api_key": "x"}));
    server.delete("|secret/gone");
    for (place, version, want) in [
        ("payments/other#api_key", None, "secret"),
        ("payments/stripe#other", None, "field"),
        ("payments/stripe#api_key", Some(2), "secret"),
        ("gone#api_key", None, "secret"),
    ] {
        let got = read_at(&kv2, place, version, NOW);
        assert_eq!(got, Err(Refused::NotFound(want)), "{place}");
    }
}

#[test]
fn a_field_that_is_no_text_of_a_fitting_length_is_malformed() {
    let (server, kv2, _) = started();
    let text = Refused::Malformed("field: expected a text");
    let length = Refused::Malformed("field: expected 1 to 16384 bytes");
    for (field, want) in [
        (json!(7), &text),
        (json!(-7), &text),
        (json!(0.5), &text),
        (json!(true), &text),
        (json!(null), &text),
        (json!(["sk"]), &text),
        (json!({"sk": "sk"}), &text),
        (json!(""), &length),
        (json!("x".repeat(16385)), &length),
    ] {
        server.put(STRIPE, json!({"api_key": field}));
        assert_eq!(read(&kv2).as_ref(), Err(want), "{field}");
    }
    server.put(STRIPE, json!({"api_key": "x".repeat(16384)}));
    assert_eq!(read(&kv2), value(&"x".repeat(16384), 11));
}

#[test]
fn another_version_than_was_asked_for_is_not_taken() {
    let (server, kv2, _) = started();
    server.play(Trick::Version(3));
    let got = read_at(&kv2, "payments/stripe#api_key", Some(1), NOW);
    assert_eq!(got, Err(Refused::Malformed("another version than was asked for")));
}

#[test]
fn a_token_that_is_gone_is_replaced_by_one_login() {
    let (server, kv2, _) = started();
    read(&kv2).unwrap();
    server.revoke();
    server.asked();
    assert_eq!(read(&kv2), value("sk_live_1", 1));
    assert_eq!(server.asked(), [READ, LOOKUP, LOGIN, READ]);
}

#[test]
fn a_token_is_not_used_in_its_last_minute() {
    let (server, kv2, _) = started();
    let after = |seconds: u64| UnixMillis(NOW.0 + seconds * 1000);
    let place = "payments/stripe#api_key";
    read(&kv2).unwrap();
    server.asked();
    read_at(&kv2, place, None, after(3539)).unwrap();
    assert_eq!(server.asked(), [READ]);
    // The next token does not end.
    server.lease(0);
    read_at(&kv2, place, None, after(3540)).unwrap();
    assert_eq!(server.asked(), [LOGIN, READ]);
    read_at(&kv2, place, None, after(360_000)).unwrap();
    assert_eq!(server.asked(), [READ]);
}

#[test]
fn those_who_come_at_once_share_one_login() {
    let (server, kv2, _) = started();
    let read_at_once = || {
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(|| read(&kv2))).collect();
            for one in all {
                assert_eq!(one.join().unwrap(), value("sk_live_1", 1));
            }
        });
        server.asked().iter().filter(|line| *line == LOGIN).count()
    };
    assert_eq!(read_at_once(), 1);
    server.revoke();
    assert_eq!(read_at_once(), 1);
}

#[test]
fn a_login_that_may_not_read_is_refused_without_another_login() {
    let (server, kv2, _) = started();
    server.deny(STRIPE);
    assert_eq!(read(&kv2), Err(Refused::Forbidden));
    assert_eq!(server.asked(), [LOGIN, READ, LOOKUP]);
}

#[test]
fn a_service_account_of_kubernetes_logs_in_by_its_token() {
    let (server, _, _) = started();
    let account = file("eyJhbGciOiJSUzI1NiJ9.first.sig");
    server.expect_account("postern", "eyJhbGciOiJSUzI1NiJ9.first.sig");
    let login = Login::Kubernetes {
        mount: Path::parse("kubernetes").unwrap(),
        role: "postern".to_owned(),
        token: source(&account),
    };
    let kv2 = Kv2::new(settings(&server, login));
    assert_eq!(read(&kv2), value("sk_live_1", 1));
    let logged_in = "|POST /v1/auth/kubernetes/login";
    assert_eq!(server.asked(), [logged_in, READ]);
    // Both the session and the account's token have ended; Kubernetes has written another.
    server.revoke();
    server.expect_account("postern", "eyJhbGciOiJSUzI1NiJ9.second.sig");
    assert_eq!(read(&kv2), Err(Refused::LoginExpired("Kubernetes login")));
    "eyJhbGciOiJSUzI1NiJ9.second.sig".clone_into(&mut account.lock().unwrap());
    assert_eq!(read(&kv2), value("sk_live_1", 1));
}

#[test]
fn a_secret_id_that_is_not_accepted_is_an_expired_login_until_its_file_is_written_anew() {
    let (server, kv2, secret_id) = started();
    read(&kv2).unwrap();
    server.revoke();
    server.renew_secret_id("second-secret-id");
    assert_eq!(read(&kv2), Err(Refused::LoginExpired("AppRole login")));
    "second-secret-id".clone_into(&mut secret_id.lock().unwrap());
    assert_eq!(read(&kv2), value("sk_live_1", 1));
}

#[test]
fn a_token_from_a_file_is_read_again_each_time() {
    let (server, _, _) = started();
    let token = file("hvs.first");
    let kv2 = Kv2::new(settings(&server, Login::Token(source(&token))));
    server.admit("hvs.first");
    assert_eq!(read(&kv2), value("sk_live_1", 1));
    server.revoke();
    server.admit("hvs.second");
    server.asked();
    assert_eq!(read(&kv2), Err(Refused::LoginExpired("token")));
    assert_eq!(server.asked(), [READ, LOOKUP]);
    "hvs.second".clone_into(&mut token.lock().unwrap());
    assert_eq!(read(&kv2), value("sk_live_1", 1));
    server.deny(STRIPE);
    assert_eq!(read(&kv2), Err(Refused::Forbidden));
    // A line feed would be a field of its own.
    "hvs.second\r\nx-other: 1".clone_into(&mut token.lock().unwrap());
    assert_eq!(read(&kv2), Err(Refused::LoginExpired("token")));
}

#[test]
fn a_file_that_cannot_be_read_is_said_and_nothing_is_asked() {
    let (server, _, _) = started();
    let none: Source = Box::new(|| Err(Refused::LoginExpired("token file")));
    let kv2 = Kv2::new(settings(&server, Login::Token(none)));
    assert_eq!(read(&kv2), Err(Refused::LoginExpired("token file")));
    assert!(server.asked().is_empty());
}

#[test]
fn each_status_has_its_place_in_the_error_map() {
    let away = |status: u16| Refused::Unreachable(Redacted::new(&format!("answers {status}")));
    for (status, wait, want) in [
        (204, None, Refused::Malformed("unexpected status")),
        (301, None, Refused::Malformed("a redirect, which is not followed")),
        (307, None, away(307)),
        (400, None, Refused::Malformed("the vault does not understand the request (400)")),
        (405, None, Refused::Malformed("unexpected status")),
        (412, None, away(412)),
        (429, None, Refused::Throttled(None)),
        (429, Some(7), Refused::Throttled(Some(7))),
        (500, None, away(500)),
        (503, None, away(503)),
    ] {
        let (server, kv2, _) = started();
        read(&kv2).unwrap();
        server.asked();
        server.play(Trick::Status(status, wait));
        assert_eq!(read(&kv2), Err(want), "{status}");
        assert_eq!(server.asked(), [READ], "{status}: once, and nowhere else");
    }
}

#[test]
fn a_login_has_an_error_map_of_its_own() {
    let away = Refused::Unreachable(Redacted::new("answers 503"));
    for (status, want) in [
        (400, Refused::LoginExpired("AppRole login")),
        (403, Refused::LoginExpired("AppRole login")),
        (404, Refused::NotFound("way to log in")),
        (429, Refused::Throttled(None)),
        (503, away),
    ] {
        let (server, kv2, _) = started();
        server.play(Trick::Login(status));
        assert_eq!(read(&kv2), Err(want), "{status}");
        assert_eq!(server.asked(), [LOGIN], "{status}");
    }
}

#[test]
fn an_answer_of_another_shape_is_malformed() {
    let shape = "secret: expected an answer of KV version 2";
    for (content, want) in [
        ("<html>", shape),
        ("{}", shape),
        // Version 1 of the engine.
        (r#"{"data": {"api_key": "sk"}}"#, shape),
        (r#"{"data": {"data": {"api_key": "sk"}}}"#, shape),
        (r#"{"data": {"data": {"api_key": "sk"}, "metadata": {"version": -1}}}"#, shape),
        (r#"{"data": {"data": ["sk"], "metadata": {"version": 1}}}"#, shape),
    ] {
        let (server, kv2, _) = started();
        read(&kv2).unwrap();
        server.play(Trick::Content(content));
        assert_eq!(read(&kv2), Err(Refused::Malformed(want)), "{content}");
    }
    for content in [
        r#"{"data": {"data": null, "metadata": {"version": 1}}}"#,
        r#"{"data": {"data": {"api_key": "sk"}, "metadata": {"version": 1, "destroyed": true}}}"#,
    ] {
        let (server, kv2, _) = started();
        read(&kv2).unwrap();
        server.play(Trick::Content(content));
        assert_eq!(read(&kv2), Err(Refused::NotFound("version: it was deleted")), "{content}");
    }
}

#[test]
fn a_login_of_another_shape_gives_no_token() {
    for content in [
        "{}",
        r#"{"auth": null}"#,
        r#"{"auth": {"client_token": "", "lease_duration": 60}}"#,
        r#"{"auth": {"client_token": "a b", "lease_duration": 60}}"#,
        r#"{"auth": {"client_token": "a\r\nb", "lease_duration": 60}}"#,
        r#"{"auth": {"client_token": "hvs.a"}}"#,
    ] {
        let (server, kv2, _) = started();
        server.play(Trick::Content(content));
        assert_eq!(read(&kv2), Err(Refused::Malformed("answer to a login")), "{content}");
        assert_eq!(server.asked(), [LOGIN], "{content}");
    }
}

#[test]
fn an_answer_that_is_too_large_or_breaks_off_is_not_taken() {
    let (server, kv2, _) = started();
    read(&kv2).unwrap();
    server.play(Trick::Oversized);
    assert_eq!(read(&kv2), Err(Refused::Malformed("an answer of more than 64 KiB")));
    server.play(Trick::Truncated);
    assert!(matches!(read(&kv2), Err(Refused::Unreachable(_))));
}

#[test]
fn nobody_waits_longer_than_the_deadline() {
    let (server, _, _) = started();
    let patience = Duration::from_millis(200);
    let login = app_role(&file("first-secret-id"));
    let kv2 = Kv2::new(Settings { patience, ..settings(&server, login) });
    server.play(Trick::Slow);
    let late = Refused::Unreachable(Redacted::new("no answer in time"));
    assert_eq!(read(&kv2), Err(late));
}

#[test]
fn a_vault_that_is_not_there_is_unreachable() {
    let (server, _, _) = started();
    let login = app_role(&file("first-secret-id"));
    let server_url = ServerUrl::parse("http://127.0.0.1:1", true).unwrap();
    let kv2 = Kv2::new(Settings { server: server_url, ..settings(&server, login) });
    assert!(matches!(read(&kv2), Err(Refused::Unreachable(_))));
}

#[test]
fn only_a_certificate_of_the_given_authority_for_the_name_is_believed() {
    let (server, root) = Server::start_tls();
    server.put(STRIPE, json!({"api_key": "sk_live_1"}));
    let (_, strange) = Server::start_tls();
    let over = |host: &str, roots: Option<Vec<u8>>| {
        let url = format!("https://{host}:{}", server.port());
        let login = app_role(&file("first-secret-id"));
        let roots = roots.map(|root| vec![root]);
        let url = ServerUrl::parse(&url, false).unwrap();
        read(&Kv2::new(Settings { server: url, roots, ..settings(&server, login) }))
    };
    assert_eq!(over("localhost", Some(root.clone())), value("sk_live_1", 1));
    server.asked();
    for (host, roots) in
        [("localhost", None), ("localhost", Some(strange)), ("127.0.0.1", Some(root))]
    {
        assert!(matches!(over(host, roots), Err(Refused::Unreachable(_))), "{host}");
    }
    assert!(server.asked().is_empty());
}

#[test]
fn no_error_says_a_secret() {
    let (server, kv2, _) = started();
    let mut said = Vec::new();
    for trick in [Trick::Truncated, Trick::Version(9), Trick::Status(503, None)] {
        server.play(trick);
        let refused = read_at(&kv2, "payments/stripe#api_key", Some(1), NOW).unwrap_err();
        said.push(format!("{refused} {refused:?}"));
    }
    for text in said {
        for secret in ["sk_live", "first-secret-id", "hvs."] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
