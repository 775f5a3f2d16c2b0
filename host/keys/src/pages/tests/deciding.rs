//! Who sees a request and who decides it, and requests that were written to deceive.

use std::time::Duration;

use postern_core::approvals::Requested;
use sha2::{Digest, Sha256};

use super::authenticator::authenticator;
use super::world::{Browser, NOW, World, field, given, text};
use crate::approvals::asking::{Ask, Told, ask};
use crate::approvals::{Approval, Decider, Refusal, Requester, Ruling, State, Verdict, decide};
use crate::pages::Page;
use crate::store::people::Record;
use crate::store::{Reach, approvals};

pub(crate) fn requested(path: &str, content: &[u8]) -> Requested {
    Requested {
        method: "POST".into(),
        scheme: "https".into(),
        authority: "slack.com".into(),
        path: path.into(),
        fields: vec![("authorization".into(), b"Bearer <CREDENTIAL:slack>".to_vec())],
        content_digest: Some(Sha256::digest(content).into()),
        content_length: content.len() as u64,
        content: content[..content.len().min(16 << 10)].to_vec(),
    }
}

impl World {
    pub(crate) async fn wanted(
        &self,
        tenant: &str,
        (user, passkey, needed): (&str, bool, u8),
        requested: &Requested,
    ) -> [u8; 16] {
        self.wanted_for(tenant, (user, passkey, needed), requested, 600).await
    }

    /// For so many seconds.
    pub(crate) async fn wanted_for(
        &self,
        tenant: &str,
        (user, passkey, needed): (&str, bool, u8),
        requested: &Requested,
        life: u64,
    ) -> [u8; 16] {
        let credentials = ["slack".to_owned()];
        let asked = Ask {
            tenant,
            gateway: &[7; 16],
            requester: Requester {
                subject_hash: [5; 32],
                user: user.into(),
                agent: "helper".into(),
                organisation: tenant.into(),
            },
            named: None,
            requested,
            credentials: &credentials,
            life: Duration::from_secs(life),
            needed,
            passkey,
        };
        let mut db = self.service.inner.pool.write(Reach::All).await.unwrap();
        let told = ask(&self.service.inner, &mut db, &asked, NOW).await.unwrap();
        db.commit().await.unwrap();
        let Told::Stands(standing) = told else { panic!("{told:?}") };
        standing.id
    }

    async fn approval(&self, tenant: &str, id: &[u8; 16]) -> Approval {
        let mut db = self.service.inner.pool.read(Reach::All).await.unwrap();
        let rows = &self.service.inner.rows;
        approvals::find(&mut db, rows, tenant, id).await.unwrap().unwrap()
    }

    async fn say(
        &self,
        browser: &mut Browser,
        path: &str,
        verdict: &str,
        more: Vec<(&'static str, String)>,
    ) -> Page {
        let form = given(&self.get(browser, "/.postern/account", NOW).await).form;
        let mut fields = vec![("form", form), ("verdict", verdict.to_owned())];
        fields.push(("reason", "because".to_owned()));
        fields.extend(more);
        self.post(browser, path, &fields, NOW).await
    }
}

fn path(id: &[u8; 16]) -> String {
    format!("/.postern/approvals/{}", postern_core::hex::lower(id))
}

#[tokio::test]
async fn a_request_is_seen_and_decided_by_people_of_its_organisation_alone() {
    let world = World::new().await;
    let ana = world.person("acme", "ana", "ADMIN", 1).await;
    let eve = world.person("globex", "eve", "PLATFORM", 2).await;
    let mut ana = world.signed_in(&ana, &mut authenticator(1)).await;
    let mut eve = world.signed_in(&eve, &mut authenticator(2)).await;
    let id = world.wanted("acme", ("ben", false, 1), &requested("/api/chat", b"hello")).await;
    let html = text(&world.get(&mut ana, "/.postern/inbox", NOW).await);
    assert!(html.contains(&path(&id)) && !html.contains("/api/chat"), "{html}");
    let html = text(&world.get(&mut ana, &path(&id), NOW).await);
    assert!(html.contains("/api/chat") && html.contains("hello") && html.contains("slack"));
    assert!(!text(&world.get(&mut eve, "/.postern/inbox", NOW).await).contains(&path(&id)));
    assert_eq!(world.get(&mut eve, &path(&id), NOW).await.status, 404);
    assert_eq!(world.say(&mut eve, &path(&id), "approve", vec![]).await.status, 404);
    for wrong in [&[0; 16], &[255; 16]] {
        assert_eq!(world.say(&mut ana, &path(wrong), "approve", vec![]).await.status, 404);
    }
    assert_eq!(world.say(&mut ana, &path(&id), "maybe", vec![]).await.status, 400);
    assert_eq!(world.approval("acme", &id).await.state(NOW), State::Pending);
    let grant = vec![("grant", "1800".to_owned())];
    assert_eq!(world.say(&mut ana, &path(&id), "approve", grant).await.status, 303);
    let approval = world.approval("acme", &id).await;
    assert_eq!(approval.state(NOW), State::Approved);
    assert_eq!(
        (approval.decisions[0].by.as_str(), approval.decisions[0].how.as_str()),
        ("ana", "person")
    );
    assert!(approval.grant.is_some());
    assert_eq!(world.say(&mut ana, &path(&id), "deny", vec![]).await.status, 409);
    let html = text(&world.get(&mut ana, "/.postern/history", NOW).await);
    assert!(html.contains("approved by") && html.contains("because"), "{html}");
}

#[tokio::test]
async fn a_session_of_another_organisation_decides_nothing_by_whatever_page() {
    let world = World::new().await;
    let id = world.wanted("acme", ("ben", false, 1), &requested("/a", b"")).await;
    let abe = Record { organisation: "lab".into(), ..world.record("acme", "abe", "ADMIN", 3) };
    world.add(&abe).await;
    let browser = world.signed_in(&abe, &mut authenticator(3)).await;
    let who = world.service.signed_in(&browser.session, false, NOW).await.unwrap().unwrap();
    let (decider, yes) = (Decider::person(&who), Ruling::of(Verdict::Approve));
    let decided = decide(&world.service, &id, &decider, &yes, NOW).await.unwrap();
    assert_eq!(decided.unwrap_err(), Refusal::Unknown);
}

#[tokio::test]
async fn a_page_that_reloads_by_itself_keeps_nobody_signed_in() {
    let world = World::new().await;
    let ana = world.person("acme", "ana", "ADMIN", 1).await;
    let mut ana = world.signed_in(&ana, &mut authenticator(1)).await;
    let minutes = |n: u64| NOW.after(Duration::from_secs(60 * n));
    assert_eq!(world.get(&mut ana, "/.postern/inbox?live", minutes(29)).await.status, 200);
    assert_eq!(world.get(&mut ana, "/.postern/inbox", minutes(31)).await.status, 303);
    let bea = world.person("acme", "bea", "ADMIN", 2).await;
    let mut bea = world.signed_in(&bea, &mut authenticator(2)).await;
    assert_eq!(world.get(&mut bea, "/.postern/inbox", minutes(29)).await.status, 200);
    assert_eq!(world.get(&mut bea, "/.postern/inbox", minutes(31)).await.status, 200);
}

#[tokio::test]
async fn who_asked_has_no_form_and_does_not_decide() {
    let world = World::new().await;
    let ana = world.person("acme", "ana", "ADMIN", 1).await;
    let mut ana = world.signed_in(&ana, &mut authenticator(1)).await;
    let id = world.wanted("acme", ("ana", false, 1), &requested("/api/chat", b"")).await;
    let html = text(&world.get(&mut ana, &path(&id), NOW).await);
    assert!(html.contains("somebody else decides") && !html.contains("name=\"verdict\""));
    assert_eq!(world.say(&mut ana, &path(&id), "approve", vec![]).await.status, 409);
    assert_eq!(world.approval("acme", &id).await.state(NOW), State::Pending);
}

#[tokio::test]
async fn a_passkey_signs_the_very_request_and_no_other() {
    let world = World::new().await;
    let (ana, bob) = (
        world.person("acme", "ana", "ADMIN", 1).await,
        world.person("acme", "bob", "ADMIN", 2).await,
    );
    let (mut key, mut theirs) = (authenticator(1), authenticator(2));
    let mut browser = world.signed_in(&ana, &mut key).await;
    world.signed_in(&bob, &mut theirs).await;
    let one = world.wanted("acme", ("ben", true, 1), &requested("/one", b"1")).await;
    let two = world.wanted("acme", ("ben", true, 1), &requested("/two", b"2")).await;
    let challenge = given(&world.get(&mut browser, &path(&one), NOW).await).challenge;
    assert_eq!(challenge, world.approval("acme", &one).await.challenge()[..16]);
    // Signed in is not enough; nor a signature over another request, or one's sign-in, or by
    // somebody else, or without the person verified.
    let sign_in = world.to_sign_in(&mut Browser::default(), NOW).await.challenge;
    let mut unverified = key.clone();
    unverified.flags = super::authenticator::PRESENT;
    for answer in
        [vec![], key.assert(&sign_in), theirs.assert(&challenge), unverified.assert(&challenge)]
    {
        assert_eq!(world.say(&mut browser, &path(&one), "approve", answer).await.status, 403);
    }
    let answer = key.assert(&challenge);
    assert_eq!(world.say(&mut browser, &path(&two), "approve", answer).await.status, 403);
    let answer = key.assert(&challenge);
    let page = world.say(&mut browser, &path(&one), "approve", answer.clone()).await;
    assert_eq!(page.status, 303, "{}", text(&page));
    let approval = world.approval("acme", &one).await;
    assert_eq!(
        (approval.state(NOW), approval.decisions[0].how.as_str()),
        (State::Approved, "passkey")
    );
    // Used: the counter has moved on.
    assert_eq!(world.say(&mut browser, &path(&one), "approve", answer).await.status, 403);
    // No needs no passkey.
    assert_eq!(world.say(&mut browser, &path(&two), "deny", vec![]).await.status, 303);
    assert_eq!(world.approval("acme", &two).await.state(NOW), State::Denied);
}

#[tokio::test]
async fn two_of_two_are_two_people() {
    let world = World::new().await;
    let (ana, bob) = (
        world.person("acme", "ana", "ADMIN", 1).await,
        world.person("acme", "bob", "ADMIN", 2).await,
    );
    let mut ana = world.signed_in(&ana, &mut authenticator(1)).await;
    let mut bob = world.signed_in(&bob, &mut authenticator(2)).await;
    let id = world.wanted("acme", ("ben", false, 2), &requested("/api/chat", b"")).await;
    assert_eq!(world.say(&mut ana, &path(&id), "approve", vec![]).await.status, 303);
    assert!(text(&world.get(&mut ana, &path(&id), NOW).await).contains("You have decided"));
    assert_eq!(world.say(&mut ana, &path(&id), "approve", vec![]).await.status, 409);
    assert_eq!(world.approval("acme", &id).await.state(NOW), State::Pending);
    assert_eq!(world.say(&mut bob, &path(&id), "approve", vec![]).await.status, 303);
    assert_eq!(world.approval("acme", &id).await.state(NOW), State::Approved);
}

#[tokio::test]
async fn hostile_text_is_shown_by_number_within_bounds() {
    let world = World::new().await;
    let ana = world.person("acme", "ana", "ADMIN", 1).await;
    let mut ana = world.signed_in(&ana, &mut authenticator(1)).await;
    let mut content = "<script>alert(1)</script>[ok](https://evil.example)".to_owned();
    content.push_str(&"\u{202e}\u{200b}\u{430}".repeat(120_000));
    let path_of = format!("/{}", "%F0%9F%92%A9".repeat(2000));
    let id =
        world.wanted("acme", ("ben", false, 1), &requested(&path_of, content.as_bytes())).await;
    let page = world.get(&mut ana, &path(&id), NOW).await;
    let html = text(&page);
    assert!(page.status == 200 && page.body.len() < 600 * 1024, "{}", page.body.len());
    assert!(!html.contains("<script>alert") && !html.contains("href=\"https://evil"));
    assert!(!html.contains('\u{202e}') && !html.contains('\u{200b}'));
    assert!(html.contains("U+202E") && html.contains("more bytes"));
}

#[tokio::test]
async fn a_page_hears_of_a_decision() {
    let world = World::new().await;
    let ana = world.person("acme", "ana", "ADMIN", 1).await;
    let mut ana = world.signed_in(&ana, &mut authenticator(1)).await;
    let ask = async |browser: &mut Browser, of: &str| {
        text(&world.get(browser, &format!("/.postern/live?of={of}"), NOW).await)
    };
    let empty = ask(&mut ana, "inbox").await;
    let id = world.wanted("acme", ("ben", false, 1), &requested("/a", b"")).await;
    let waiting = ask(&mut ana, "inbox").await;
    assert_ne!(empty, waiting);
    let hex = postern_core::hex::lower(&id);
    let before = ask(&mut ana, &hex).await;
    assert_eq!(world.say(&mut ana, &path(&id), "deny", vec![]).await.status, 303);
    assert_ne!(before, ask(&mut ana, &hex).await);
    assert_eq!(ask(&mut ana, "inbox").await, empty);
    let page = world.get(&mut Browser::default(), "/.postern/live?of=inbox", NOW).await;
    assert_eq!((page.status, field(&page, "location")), (401, None));
}

/// A request with all of its parts short.
fn whole() -> Requested {
    requested("/a?b=c", b"text")
}

#[tokio::test]
async fn what_is_not_shown_whole_is_approved_only_by_who_says_that_they_know() {
    let world = World::new().await;
    let ana = world.person("acme", "ana", "ADMIN", 1).await;
    let mut ana = world.signed_in(&ana, &mut authenticator(1)).await;
    let long = "x".repeat(2049);
    let rows = [
        ("binary", requested("/a", b"\x00\x01\xff")),
        ("long content", requested("/a", &[b'x'; 8193])),
        ("wide content", requested("/a", "\u{20ac}".repeat(3000).as_bytes())),
        ("unread", Requested { content_digest: None, ..requested("/b", b"") }),
        ("many", requested(&format!("/a?{}", "b=c&".repeat(51)), b"")),
        ("long path", requested(&format!("/{long}"), b"")),
        ("long value", requested(&format!("/a?b={long}"), b"")),
        (
            "long field",
            Requested { fields: vec![("x".into(), long.clone().into_bytes())], ..whole() },
        ),
    ];
    for (note, request) in &rows {
        let id = world.wanted("acme", ("ben", false, 1), request).await;
        let html = text(&world.get(&mut ana, &path(&id), NOW).await);
        assert!(html.contains("name=\"in_part\"") && html.contains("formnovalidate"), "{note}");
        assert_eq!(world.say(&mut ana, &path(&id), "approve", vec![]).await.status, 409, "{note}");
        assert_eq!(world.approval("acme", &id).await.state(NOW), State::Pending, "{note}");
        let known = vec![("in_part", "yes".to_owned())];
        assert_eq!(world.say(&mut ana, &path(&id), "approve", known).await.status, 303, "{note}");
    }
    let id = world.wanted("acme", ("ben", false, 1), &whole()).await;
    assert!(!text(&world.get(&mut ana, &path(&id), NOW).await).contains("in_part"));
    assert_eq!(world.say(&mut ana, &path(&id), "approve", vec![]).await.status, 303);
    let id = world.wanted("acme", ("ben", false, 1), &requested("/c", b"\x00")).await;
    assert_eq!(world.say(&mut ana, &path(&id), "deny", vec![]).await.status, 303);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_decisions_at_once_one_counts() {
    let world = std::sync::Arc::new(World::new().await);
    let id = world.wanted("acme", ("ben", false, 1), &whole()).await;
    let mut deciding = tokio::task::JoinSet::new();
    for handle in 1..=5 {
        let person = world.person("acme", &format!("person-{handle}"), "ADMIN", handle).await;
        let browser = world.signed_in(&person, &mut authenticator(handle)).await;
        for n in 0..20 {
            let (world, mut browser) = (std::sync::Arc::clone(&world), browser.clone());
            let verdict = if n % 2 == 0 { "approve" } else { "deny" };
            deciding.spawn(async move {
                world.say(&mut browser, &path(&id), verdict, vec![]).await.status
            });
        }
    }
    let statuses = deciding.join_all().await;
    let taken = statuses.iter().filter(|status| **status == 303).count();
    assert_eq!(taken, 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [303, 409, 503].contains(status)), "{statuses:?}");
    let approval = world.approval("acme", &id).await;
    assert_eq!(approval.decisions.len(), 1);
    assert!([State::Approved, State::Denied].contains(&approval.state(NOW)));
}
