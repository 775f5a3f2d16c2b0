//! Registration and sign-in, and every way in which an authenticator may answer wrongly.

use super::authenticator::{Authenticator, PRESENT, VERIFIED, authenticator};
use super::world::{Browser, NOW, World, given, later, text};

/// What is wrong, and how it is made so.
type Wrong = (&'static str, fn(&mut Authenticator));

#[tokio::test]
async fn who_has_registered_signs_in_and_out() {
    let world = World::new().await;
    let ana = world.person("acme", "ana", "ADMIN", 1).await;
    let mut key = authenticator(1);
    let mut browser = world.signed_in(&ana, &mut key).await;
    let page = world.get(&mut browser, "/.postern/account", NOW).await;
    assert!(page.status == 200 && text(&page).contains("ana"), "{}", text(&page));
    assert_eq!((world.events("passkey_registered").await, world.events("signed_in").await), (1, 1));
    let fields = [("form", given(&page).form)];
    assert_eq!(world.post(&mut browser, "/.postern/sign-out", &fields, NOW).await.status, 303);
    assert_eq!(world.get(&mut browser, "/.postern/account", NOW).await.status, 303);
    assert_eq!(world.events("signed_out").await, 1);
}

#[tokio::test]
async fn a_registration_that_is_not_as_it_has_to_be_is_refused_and_uses_no_code_up() {
    let world = World::new().await;
    let ana = world.person("acme", "ana", "ADMIN", 1).await;
    let wrong: [Wrong; 6] = [
        ("another origin", |key| key.origin = "https://approve.example.evil".into()),
        ("another site", |key| key.site = "evil.example".into()),
        ("nobody verified", |key| key.flags = PRESENT),
        ("nobody present", |key| key.flags = VERIFIED),
        ("framed", |key| key.more = "true"),
        ("framed elsewhere", |key| key.more = "true,\"topOrigin\":\"https://evil.example\""),
    ];
    for (why, change) in wrong {
        let mut key = authenticator(1);
        change(&mut key);
        assert_eq!(world.register(&ana, &mut key).await.status, 403, "{why}");
    }
    assert_eq!(world.events("passkey_registered").await, 0);
    assert_eq!(world.register(&ana, &mut authenticator(1)).await.status, 200);
    // The same passkey for somebody else.
    let bob = world.person("acme", "bob", "ADMIN", 2).await;
    assert_eq!(world.register(&bob, &mut authenticator(1)).await.status, 403);
}

#[tokio::test]
async fn a_code_is_good_once_until_its_end_and_until_another_one_is_made() {
    let world = World::new().await;
    let ana = world.person("acme", "ana", "ADMIN", 1).await;
    let mut browser = Browser::default();
    let form = given(&world.get(&mut browser, "/.postern/register", NOW).await).form;
    let first = world.code(&ana, later(600_000)).await;
    let second = world.code(&ana, later(600_000)).await;
    let mut read = async |code: &str, now| {
        let fields = [("form", form.clone()), ("code", code.to_owned())];
        world.post(&mut browser, "/.postern/register", &fields, now).await.status
    };
    assert_eq!(read(&first, NOW).await, 403);
    assert_eq!(read(&second, NOW).await, 200);
    assert_eq!(read(&second, later(599_999)).await, 200);
    assert_eq!(read(&second, later(600_000)).await, 403);
    assert_eq!(read(&format!("{second}x"), NOW).await, 403);
    assert_eq!(read("pp_", NOW).await, 403);
    assert_eq!(world.register(&ana, &mut authenticator(1)).await.status, 200);
    assert_eq!(read(&second, NOW).await, 403);
}

#[tokio::test]
async fn a_sign_in_that_is_not_as_it_has_to_be_is_refused() {
    let world = World::new().await;
    let ana = world.person("acme", "ana", "ADMIN", 1).await;
    let mut good = authenticator(1);
    world.signed_in(&ana, &mut good).await;
    let wrong: [Wrong; 8] = [
        ("another origin", |key| key.origin = "http://approve.example".into()),
        ("another site", |key| key.site = "approve.example.evil".into()),
        ("nobody verified", |key| key.flags = PRESENT),
        ("nobody present", |key| key.flags = VERIFIED),
        ("framed", |key| key.more = "true"),
        ("nobody named", |key| key.handle = None),
        ("somebody else named", |key| key.handle = Some([2; 16])),
        ("another credential", |key| key.credential = vec![9; 32]),
    ];
    for (why, change) in wrong {
        let mut key = good.clone();
        change(&mut key);
        let mut browser = Browser::default();
        let given = world.to_sign_in(&mut browser, NOW).await;
        let answer = key.assert(&given.challenge);
        let page = world.sign_in_with(&mut browser, &given, answer, NOW).await;
        assert_eq!((page.status, browser.session.as_str()), (403, ""), "{why}");
    }
    // Another key under the same credential id.
    let mut key = authenticator(2);
    (key.credential, key.handle, key.counter) = (good.credential.clone(), good.handle, 50);
    let mut browser = Browser::default();
    let given = world.to_sign_in(&mut browser, NOW).await;
    let answer = key.assert(&given.challenge);
    assert_eq!(world.sign_in_with(&mut browser, &given, answer, NOW).await.status, 403);
    world.sign_in(&mut good, NOW).await;
}

#[tokio::test]
async fn a_challenge_is_good_for_its_browser_until_its_end_and_once() {
    let world = World::new().await;
    let ana = world.person("acme", "ana", "ADMIN", 1).await;
    let mut key = authenticator(1);
    world.signed_in(&ana, &mut key).await;
    let mut browser = Browser::default();
    let mut other = Browser::default();
    let first = world.to_sign_in(&mut browser, NOW).await;
    let theirs = world.to_sign_in(&mut other, NOW).await;
    // Of another browser.
    let answer = key.assert(&theirs.challenge);
    assert_eq!(world.sign_in_with(&mut browser, &first, answer, NOW).await.status, 403);
    // Too late.
    let answer = key.assert(&first.challenge);
    let late = world.sign_in_with(&mut browser, &first, answer.clone(), later(300_000)).await;
    assert_eq!(late.status, 403);
    // In time, and again.
    let page = world.sign_in_with(&mut browser, &first, answer.clone(), NOW).await;
    assert_eq!(page.status, 303);
    let again = world.sign_in_with(&mut browser, &first, answer, NOW).await;
    assert_eq!(again.status, 403);
    // A new signature over a used challenge.
    let answer = key.assert(&first.challenge);
    assert_eq!(world.sign_in_with(&mut browser, &first, answer, NOW).await.status, 403);
}

#[tokio::test]
async fn a_counter_that_does_not_grow_refuses_and_is_told() {
    let world = World::new().await;
    let ana = world.person("acme", "ana", "ADMIN", 1).await;
    let mut key = authenticator(1);
    world.signed_in(&ana, &mut key).await;
    let mut copy = key.clone();
    world.sign_in(&mut key, NOW).await;
    let mut browser = Browser::default();
    let given = world.to_sign_in(&mut browser, NOW).await;
    let answer = copy.assert(&given.challenge);
    let page = world.sign_in_with(&mut browser, &given, answer, NOW).await;
    assert!(page.status == 403 && text(&page).contains("copied"), "{}", text(&page));
    assert_eq!(world.events("passkey_refused").await, 1);
    world.sign_in(&mut key, NOW).await;
}

#[tokio::test]
async fn one_address_may_try_only_so_often() {
    let world = World::new().await;
    let mut browser = Browser { peer: "192.0.2.1".parse().ok(), ..Browser::default() };
    let given = world.to_sign_in(&mut browser, NOW).await;
    let mut key = authenticator(1);
    key.handle = Some([1; 16]);
    let mut last = 0;
    for _ in 0..=crate::people::attempts::MOST {
        let answer = key.assert(&given.challenge);
        last = world.sign_in_with(&mut browser, &given, answer, NOW).await.status;
    }
    assert_eq!(last, 429);
    let answer = key.assert(&given.challenge);
    browser.peer = "192.0.2.2".parse().ok();
    assert_eq!(world.sign_in_with(&mut browser, &given, answer, NOW).await.status, 403);
}
