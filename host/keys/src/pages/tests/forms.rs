//! Forged forms, planted cookies, sessions that have ended, and what every answer says.

use super::authenticator::authenticator;
use super::world::{Browser, NOW, World, field, given, later, text};
use crate::store::{Reach, people, sessions};

#[tokio::test]
async fn every_answer_forbids_frames_and_what_is_not_from_here() {
    let world = World::new().await;
    let ana = world.person("acme", "ana", "ADMIN", 1).await;
    let mut signed_in = world.signed_in(&ana, &mut authenticator(1)).await;
    let paths = ["", "sign-in", "register", "inbox", "history", "account", "static/page.js", "x"];
    for browser in [&mut signed_in, &mut Browser::default()] {
        for path in paths {
            let page = world.get(browser, &format!("/.postern/{path}"), NOW).await;
            let policy = field(&page, "content-security-policy").unwrap();
            assert!(policy.contains("default-src 'none'"), "{path}");
            assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"));
            assert_eq!(field(&page, "x-frame-options").unwrap(), "DENY");
            assert_eq!(field(&page, "referrer-policy").unwrap(), "same-origin");
            let html = text(&page);
            let handler = |rest: &str| {
                rest.trim_start_matches(|c: char| c.is_ascii_lowercase()).starts_with('=')
            };
            assert!(!html.contains("<script>") && !html.contains(" style="), "{path}");
            assert!(path.ends_with(".js") || !html.split(" on").skip(1).any(handler), "{path}");
        }
    }
}

#[tokio::test]
async fn a_form_from_elsewhere_or_of_another_browser_does_nothing() {
    let world = World::new().await;
    let ana = world.person("acme", "ana", "ADMIN", 1).await;
    let eve = world.person("globex", "eve", "ADMIN", 2).await;
    let mut browser = world.signed_in(&ana, &mut authenticator(1)).await;
    let mut theirs = world.signed_in(&eve, &mut authenticator(2)).await;
    let form = given(&world.get(&mut browser, "/.postern/account", NOW).await).form;
    let their_form = given(&world.get(&mut theirs, "/.postern/account", NOW).await).form;
    for origin in
        [None, Some("https://evil.example"), Some("null"), Some("https://approve.example.")]
    {
        browser.origin = origin;
        let fields = [("form", form.clone())];
        let page = world.post(&mut browser, "/.postern/sign-out", &fields, NOW).await;
        assert_eq!(page.status, 403, "{origin:?}");
    }
    browser.origin = Some(super::world::ORIGIN);
    for wrong in ["", "AAAA", their_form.as_str()] {
        let fields = [("form", wrong.to_owned())];
        let page = world.post(&mut browser, "/.postern/sign-out", &fields, NOW).await;
        assert_eq!(page.status, 403, "{wrong}");
    }
    let twice = format!("form={form}&form={form}");
    let page = world.ask(&mut browser, "POST", "/.postern/sign-out", &twice, NOW).await;
    assert_eq!(page.status, 403);
    assert_eq!(world.events("signed_out").await, 0);
    let fields = [("form", form)];
    assert_eq!(world.post(&mut browser, "/.postern/sign-out", &fields, NOW).await.status, 303);
}

#[tokio::test]
async fn a_form_cannot_sign_a_browser_in_that_was_not_given_it() {
    let world = World::new().await;
    let ana = world.person("acme", "ana", "ADMIN", 1).await;
    let mut key = authenticator(1);
    world.signed_in(&ana, &mut key).await;
    // The attacker's own form and answer, sent by the victim's browser.
    let mut attacker = Browser::default();
    let given = world.to_sign_in(&mut attacker, NOW).await;
    let answer = key.assert(&given.challenge);
    let mut victim = Browser::default();
    world.to_sign_in(&mut victim, NOW).await;
    let page = world.sign_in_with(&mut victim, &given, answer, NOW).await;
    assert_eq!((page.status, victim.session.as_str()), (403, ""));
}

#[tokio::test]
async fn a_session_ends_by_time_by_idling_and_with_the_person() {
    let world = World::new().await;
    let ana = world.person("acme", "ana", "ADMIN", 1).await;
    let mut key = authenticator(1);
    let browser = world.signed_in(&ana, &mut key).await;
    let look = async |now, path: &str| {
        world.get(&mut browser.clone(), &format!("/.postern/{path}"), now).await.status
    };
    let minutes = |n: u64| later(n * 60_000);
    assert_eq!(look(minutes(29), "account").await, 200);
    assert_eq!(look(minutes(58), "account").await, 200);
    // A page that asks whether something has changed keeps nobody signed in.
    assert_eq!(look(minutes(80), "live?of=inbox").await, 200);
    assert_eq!(look(minutes(88), "live?of=inbox").await, 401);
    assert_eq!(look(minutes(88), "account").await, 303);
    let browser = world.sign_in(&mut key, minutes(100)).await;
    for n in 1..=24 {
        let page =
            world.get(&mut browser.clone(), "/.postern/account", minutes(100 + 20 * n)).await;
        assert_eq!(page.status, if n < 24 { 200 } else { 303 }, "{n}");
    }
    let browser = world.sign_in(&mut key, minutes(600)).await;
    let mut db = world.service.inner.pool.write(Reach::All).await.unwrap();
    assert!(!people::remove(&mut db, "globex", &ana.handle).await.unwrap());
    assert!(people::remove(&mut db, "acme", &ana.handle).await.unwrap());
    db.commit().await.unwrap();
    let page = world.get(&mut browser.clone(), "/.postern/account", minutes(600)).await;
    assert_eq!(page.status, 303);
}

#[tokio::test]
async fn a_person_has_five_sessions_and_the_oldest_ends() {
    let world = World::new().await;
    let ana = world.person("acme", "ana", "ADMIN", 1).await;
    let mut key = authenticator(1);
    let mut first = world.signed_in(&ana, &mut key).await;
    for n in 1..=sessions::MOST as u64 {
        assert_eq!(world.get(&mut first, "/.postern/account", later(n)).await.status, 200);
        world.sign_in(&mut key, later(n)).await;
    }
    assert_eq!(world.get(&mut first, "/.postern/account", later(9)).await.status, 303);
}

#[tokio::test]
async fn passkeys_change_only_right_after_signing_in_and_one_stays() {
    let world = World::new().await;
    let ana = world.person("acme", "ana", "ADMIN", 1).await;
    let mut key = authenticator(1);
    let mut browser = world.signed_in(&ana, &mut key).await;
    let page = world.get(&mut browser, "/.postern/account", NOW).await;
    let given = given(&page);
    let add = async |browser: &mut Browser, number, now| {
        let mut second = authenticator(number);
        second.handle = key.handle;
        let mut fields = vec![("form", given.form.clone()), ("ends", given.ends.clone())];
        fields.extend(second.attest(&given.challenge));
        world.post(browser, "/.postern/account/passkey", &fields, now).await.status
    };
    assert_eq!(add(&mut browser, 2, later(300_001)).await, 403);
    assert_eq!(add(&mut browser, 2, NOW).await, 303);
    assert_eq!(add(&mut browser, 3, NOW).await, 403);
    let name = crate::people::passkey_name(&[1; 32]);
    let remove = [("form", given.form.clone()), ("passkey", name)];
    let path = "/.postern/account/remove";
    assert_eq!(world.post(&mut browser, path, &remove, later(300_001)).await.status, 403);
    assert_eq!(world.post(&mut browser, path, &remove, NOW).await.status, 303);
    let last = [("form", given.form.clone()), ("passkey", crate::people::passkey_name(&[2; 32]))];
    assert_eq!(world.post(&mut browser, path, &last, NOW).await.status, 409);
    // The one that was removed is no good any more.
    let mut gone = Browser::default();
    let asked = world.to_sign_in(&mut gone, NOW).await;
    let answer = key.clone().assert(&asked.challenge);
    assert_eq!(world.sign_in_with(&mut gone, &asked, answer, NOW).await.status, 403);
}

#[tokio::test]
async fn a_link_from_elsewhere_comes_back_at_once_from_here() {
    let world = World::new().await;
    let mut browser = Browser { site: Some("cross-site"), ..Browser::default() };
    let page = world.get(&mut browser, "/.postern/inbox", NOW).await;
    assert!(page.status == 200 && text(&page).contains("http-equiv=\"refresh\""));
    browser.site = Some("same-origin");
    let page = world.get(&mut browser, "/.postern/inbox", NOW).await;
    assert_eq!(field(&page, "location").unwrap(), "/.postern/sign-in?to=inbox");
}
