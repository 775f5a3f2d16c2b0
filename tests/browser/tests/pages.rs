//! People on the pages of a real Chromium, with its virtual authenticator.
//!
//! Each test has a key service and a browser of its own. Every page is looked at by axe-core.
//! With `POSTERN_PICTURES=1` the pictures of the manual are made again.
#![allow(clippy::unwrap_used)]

mod support;

use std::ops::Deref;

use postern_browser::{Authenticator, World};
use serde_json::{Value, json};
use support::Visit;

const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";

struct Stage {
    world: World,
    visit: Visit,
}

impl Deref for Stage {
    type Target = Visit;

    fn deref(&self) -> &Visit {
        &self.visit
    }
}

impl Stage {
    fn new() -> Self {
        let world = World::start().unwrap();
        let visit = Visit::new(&world.origin, &world.key);
        Self { world, visit }
    }

    /// Somebody who is signed in.
    fn person(name: &str) -> (Self, Authenticator) {
        let stage = Self::new();
        let authenticator = stage.browser.authenticator().unwrap();
        let link = stage.world.person(name, "ADMIN").unwrap();
        stage.register(&link);
        stage.sign_in("inbox");
        stage.on("Inbox");
        (stage, authenticator)
    }

    fn state(&self, id: &str) -> Value {
        let path = format!("/api/v1/approvals/{id}");
        self.world.operate("GET", &path, &Value::Null).unwrap().body["state"].clone()
    }
}

#[test]
fn a_person_registers_by_a_link_signs_in_and_out() {
    let stage = Stage::new();
    let authenticator = stage.browser.authenticator().unwrap();
    let link = stage.world.person("ana", "ADMIN").unwrap();
    stage.register(&link);
    assert_eq!(stage.browser.passkeys(&authenticator).unwrap().len(), 1);
    // Good once.
    stage.browser.go(&link).unwrap();
    assert!(!stage.browser.url().unwrap().contains("pp_"), "the code is still in the address");
    stage.press("Continue");
    stage.browser.find("[role=alert]").unwrap();
    assert!(stage.text().contains("not good, or not any more"), "{}", stage.text());
    stage.sign_in("inbox");
    stage.on("Inbox");
    let cookies = stage.browser.cookies().unwrap();
    let session = cookies.iter().find(|cookie| cookie["name"] == "__Host-postern").unwrap();
    for (key, want) in
        [("secure", json!(true)), ("httpOnly", json!(true)), ("sameSite", json!("Strict"))]
    {
        assert_eq!(session[key], want, "{key}");
    }
    stage.go("account");
    stage.on("Account");
    stage.picture("account");
    stage.press("Sign out");
    stage.on("Sign in");
    stage.picture("sign-in");
    stage.go("inbox");
    stage.on("Sign in");
    let kinds: Vec<String> = stage
        .world
        .events()
        .unwrap()
        .iter()
        .filter_map(|event| event["kind"].as_str().map(str::to_owned))
        .filter(|kind| {
            kind.starts_with("person") || kind.starts_with("passkey") || kind.starts_with("signed")
        })
        .collect();
    let want =
        ["person_added", "person_link_made", "passkey_registered", "signed_in", "signed_out"];
    assert_eq!(kinds, want);
}

#[test]
fn an_auditor_reads_the_log_and_no_request() {
    let stage = Stage::new();
    let _authenticator = stage.browser.authenticator().unwrap();
    let id = stage.world.asks(false, "/api/chat", b"{}").unwrap();
    let link = stage.world.person("ines", "AUDITOR").unwrap();
    stage.register(&link);
    stage.sign_in("log");
    stage.on("Log");
    assert!(stage.text().contains("person_added"), "{}", stage.text());
    assert!(stage.browser.count("svg.chart rect").unwrap() > 2);
    assert_eq!(stage.browser.count("nav a[href='/.postern/inbox']").unwrap(), 0);
    stage.picture("log");
    stage.go("log?check=");
    stage.on("Log");
    assert!(stage.text().contains("The log is whole"), "{}", stage.text());
    stage.go("log?q=approval_requested");
    stage.on("Log");
    assert_eq!(stage.browser.count(".list > li").unwrap(), 1);
    let events = stage.world.events().unwrap();
    let asked = events.iter().find(|event| event["kind"] == "approval_requested").unwrap();
    let title = format!("Event {}", asked["n"].as_str().unwrap());
    stage.go(&format!("log/{}", asked["n"].as_str().unwrap()));
    stage.on(&title);
    assert!(stage.text().contains(&id), "{}", stage.text());
    stage.go(&format!("approvals/{id}"));
    stage.on("Not done");
}

#[test]
fn nobody_signs_in_whom_the_authenticator_has_not_verified() {
    let (stage, authenticator) = Stage::person("ana");
    stage.press("Sign out");
    stage.on("Sign in");
    stage.browser.verify_user(&authenticator, false).unwrap();
    stage.press("Sign in with a passkey");
    stage.browser.find(".trouble:not([hidden])").unwrap();
    assert!(stage.text().contains("No passkey was used"), "{}", stage.text());
    stage.browser.verify_user(&authenticator, true).unwrap();
    stage.press("Sign in with a passkey");
    stage.on("Inbox");
}

#[test]
fn a_second_passkey_lets_in_who_has_lost_the_first_and_an_operator_who_has_lost_all() {
    let (stage, first) = Stage::person("ana");
    stage.browser.remove(&first).unwrap();
    let second = stage.browser.authenticator().unwrap();
    stage.go("account");
    let label = stage.browser.find("#label").unwrap();
    stage.browser.write(&label, "spare key").unwrap();
    stage.press("Add a passkey");
    stage.browser.find(".list li:nth-child(2)").unwrap();
    stage.on("Account");
    assert!(stage.text().contains("spare key"));
    stage.press("Sign out everywhere");
    stage.on("Sign in");
    stage.sign_in("account");
    stage.on("Account");
    stage.browser.remove(&second).unwrap();
    stage.browser.authenticator().unwrap();
    stage.press("Sign out");
    stage.on("Sign in");
    let people = stage.world.operate("GET", "/api/v1/people", &Value::Null).unwrap().body;
    let person = &people["people"][0];
    let path = format!("/api/v1/people/{}", person["id"].as_str().unwrap());
    for passkey in person["passkeys"].as_array().unwrap() {
        let passkey = format!("{path}/passkeys/{}", passkey["id"].as_str().unwrap());
        assert_eq!(stage.world.operate("DELETE", &passkey, &Value::Null).unwrap().status, 204);
    }
    let link = stage.world.operate("POST", &format!("{path}/link"), &Value::Null).unwrap();
    stage.register(link.body["link"].as_str().unwrap());
    stage.sign_in("inbox");
    stage.on("Inbox");
}

#[test]
fn a_request_comes_into_the_inbox_and_is_approved_by_keyboard() {
    let (stage, _authenticator) = Stage::person("ana");
    assert!(stage.text().contains("Nothing waits"));
    // The page hears of it by itself.
    let text = r#"{"channel": "C024BE91L", "text": "Release 1.4 is out."}"#;
    let id = stage.world.asks(false, "/api/chat.postMessage?as=bot", text.as_bytes()).unwrap();
    let entry = stage.browser.find(".list a").unwrap();
    stage.on("Inbox");
    stage.picture("inbox");
    stage.browser.click(&entry).unwrap();
    stage.on("Request");
    let shown = stage.text();
    for part in
        ["POST", "slack.com", "/api/chat.postMessage", "as", "bot", "Release 1.4", "helper", "ben"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    stage.picture("request");
    stage.browser.run("document.querySelector('#grant').focus()", &[]).unwrap();
    stage.browser.press(&format!("{TAB}fine by me{TAB}{ENTER}")).unwrap();
    stage.browser.named("p", "This is over.").unwrap();
    stage.on("Request");
    assert!(stage.text().contains("approved by ana (person)"), "{}", stage.text());
    assert_eq!(stage.state(&id), "approved");
    stage.go("history");
    stage.on("History");
    assert!(stage.text().contains("fine by me"));
    stage.picture("history");
}

#[test]
fn a_request_of_the_passkey_class_is_approved_by_a_passkey_over_it() {
    let (stage, authenticator) = Stage::person("ana");
    let id = stage.world.asks(true, "/api/admin.users.remove", b"{}").unwrap();
    stage.go(&format!("approvals/{id}"));
    stage.on("Request");
    stage.picture("passkey");
    stage.browser.verify_user(&authenticator, false).unwrap();
    stage.press("Approve");
    stage.browser.find(".trouble:not([hidden])").unwrap();
    assert_eq!(stage.state(&id), "pending");
    stage.browser.verify_user(&authenticator, true).unwrap();
    stage.press("Approve");
    stage.browser.named("p", "This is over.").unwrap();
    assert!(stage.text().contains("approved by ana (passkey)"), "{}", stage.text());
    assert_eq!(stage.state(&id), "approved");
    let other = stage.world.asks(true, "/api/admin.users.invite", b"{}").unwrap();
    stage.go(&format!("approvals/{other}"));
    stage.press("Deny");
    stage.browser.named("p", "This is over.").unwrap();
    assert_eq!(stage.state(&other), "denied");
}

#[test]
fn a_copied_passkey_is_refused_and_told() {
    let (stage, authenticator) = Stage::person("ana");
    let copy = stage.browser.passkeys(&authenticator).unwrap().remove(0);
    stage.press("Sign out");
    stage.on("Sign in");
    stage.sign_in("inbox");
    stage.on("Inbox");
    stage.press("Sign out");
    stage.on("Sign in");
    stage.browser.remove(&authenticator).unwrap();
    let copied = stage.browser.authenticator().unwrap();
    stage.browser.put(&copied, &copy).unwrap();
    stage.press("Sign in with a passkey");
    stage.browser.find("p.notice[role=alert]").unwrap();
    assert!(stage.text().contains("may have been copied"), "{}", stage.text());
    let refused = |event: &Value| event["kind"] == "passkey_refused";
    assert!(stage.world.events().unwrap().iter().any(refused));
}

#[test]
fn pages_cannot_be_framed_and_run_nothing_but_their_script() {
    let (stage, _authenticator) = Stage::person("ana");
    let script = "const done = arguments[arguments.length - 1];
        const frame = document.createElement('iframe');
        frame.src = arguments[0];
        frame.onload = () => done('loaded');
        document.body.append(frame);";
    // The same host by its other name is another origin.
    let elsewhere = stage.world.origin.replace("localhost", "127.0.0.1");
    let shown = |url: &str| {
        stage.browser.go(&format!("{elsewhere}/health")).unwrap();
        assert_eq!(stage.browser.run_async(script, &[json!(url)]).unwrap(), "loaded");
        stage.browser.enter_frame().unwrap();
        stage.browser.run("return location.href", &[]).unwrap()
    };
    // What has no such policy is framed, so that this can fail.
    let open = format!("{}/health", stage.world.origin);
    assert_eq!(shown(&open), open.as_str());
    let page = format!("{}/.postern/account", stage.world.origin);
    assert_eq!(shown(&page), "chrome-error://chromewebdata/");
    stage.go("account");
    let inline = "const button = document.createElement('button');
        try { button.setAttribute('onclick', 'window.planted = true'); } catch { /* not taken */ }
        document.body.append(button);
        button.click();
        try {
            const script = document.createElement('script');
            script.text = 'window.planted = true';
            document.body.append(script);
        } catch { /* not taken */ }
        return window.planted === true;";
    assert_eq!(stage.browser.run(inline, &[]).unwrap(), false);
    let elsewhere = "const done = arguments[arguments.length - 1];
        fetch('https://127.0.0.1:1/').then(() => done('let out'), () => done('refused'));";
    assert_eq!(stage.browser.run_async(elsewhere, &[]).unwrap(), "refused");
}

#[test]
fn a_planted_cookie_signs_nobody_in() {
    let (stage, _authenticator) = Stage::person("ana");
    let cookies = stage.browser.cookies().unwrap();
    let value = cookies.iter().find(|it| it["name"] == "__Host-postern").unwrap()["value"].clone();
    stage.press("Sign out");
    stage.on("Sign in");
    // With a path of its own a browser does not take it; under another name we do not.
    let narrow =
        json!({"name": "__Host-postern", "value": value, "path": "/.postern/", "secure": true});
    assert!(stage.browser.plant(&narrow).is_err());
    let plain = json!({"name": "postern", "value": value, "path": "/", "secure": true});
    stage.browser.plant(&plain).unwrap();
    stage.go("inbox");
    stage.on("Sign in");
    // Its own, after it has ended.
    let own = json!({"name": "__Host-postern", "value": value, "path": "/", "secure": true});
    stage.browser.plant(&own).unwrap();
    stage.go("inbox");
    stage.on("Sign in");
}

#[test]
fn hostile_text_is_readable_and_nothing_in_it_is_a_link() {
    let (stage, _authenticator) = Stage::person("ana");
    let mut text =
        "<img src=x onerror=alert(1)>[pay](https://evil.example) \u{202e}gnp.exe p\u{430}ypal "
            .to_owned();
    text.push_str(&"\u{202e}\u{2066}\u{200b}".repeat(110_000));
    let id = stage.world.asks(false, "/api/%3Cb%3E", text.as_bytes()).unwrap();
    stage.go(&format!("approvals/{id}"));
    stage.on("Request");
    let shown = stage.text();
    assert!(shown.contains("U+202E") && shown.contains("looks like a"), "{shown}");
    assert!(shown.contains("more bytes"));
    assert_eq!(stage.browser.count("main img, main iframe, .content a").unwrap(), 0);
    stage.picture("hostile");
}
