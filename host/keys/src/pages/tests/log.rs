//! Who reads the log on the pages, and what of it.

use postern_core::approvals::Requested;
use serde_json::json;

use super::authenticator::authenticator;
use super::deciding::requested;
use super::world::{Browser, NOW, World, given, text};
use crate::audit::Event;
use crate::audit::removal::{self, Which, remove};
use crate::store::Reach;

async fn reader(world: &World, role: &str) -> Browser {
    let person = world.person("acme", "ines", role, 9).await;
    world.signed_in(&person, &mut authenticator(9)).await
}

impl World {
    async fn logged(&self, event: Event) -> u64 {
        let mut db = self.service.inner.pool.write(Reach::All).await.unwrap();
        let link = self.service.inner.audit.append(&mut db, event, NOW).await.unwrap();
        db.commit().await.unwrap();
        link.n
    }

    async fn request(&self, tenant: &str, record: serde_json::Value) -> u64 {
        self.logged(Event::new("request", tenant).with("record", record.to_string())).await
    }

    async fn shows(&self, browser: &mut Browser, path: &str) -> (u16, String) {
        let page = self.get(browser, path, NOW).await;
        (page.status, text(&page))
    }
}

#[tokio::test]
async fn an_auditor_searches_the_own_tenants_events() {
    let world = World::new().await;
    let mut ines = reader(&world, "AUDITOR").await;
    let denied = json!({"decision": "deny:policy_denied", "agent": "acme-bot"});
    let n = world.request("acme", denied).await;
    let other = world.request("globex", json!({"decision": "allow", "agent": "globex-bot"})).await;
    let (status, html) = world.shows(&mut ines, "/.postern/log").await;
    assert_eq!(status, 200);
    assert!(html.contains("acme-bot") && !html.contains("globex"), "{html}");
    assert!(html.contains("aria-label=\"deny:policy_denied 1\""), "{html}");
    let link = format!("/.postern/log/{n}\"");
    for (search, found) in [
        ("ACME-bot", true),
        ("policy_denied+acme", true),
        ("acme-bot+allow", false),
        ("%00", false),
    ] {
        let (_, html) = world.shows(&mut ines, &format!("/.postern/log?q={search}")).await;
        assert_eq!(html.contains(&link), found, "{search}");
    }
    assert_eq!(world.shows(&mut ines, &format!("/.postern/log/{n}")).await.0, 200);
    for missing in [other.to_string(), "0".into(), "-1".into(), "x".into(), "99999".into()] {
        let (status, _) = world.shows(&mut ines, &format!("/.postern/log/{missing}")).await;
        assert_eq!(status, 404, "{missing}");
    }
    for odd in ["before=0", "before=-9", "before=9223372036854775807", "before=x", "q=%ff&q=a"] {
        assert_eq!(world.shows(&mut ines, &format!("/.postern/log?{odd}")).await.0, 200, "{odd}");
    }
}

#[tokio::test]
async fn one_requests_story_is_told_in_its_order() {
    let world = World::new().await;
    let mut ines = reader(&world, "AUDITOR").await;
    let digest = "ab".repeat(32);
    let asked = Event::new("approval_requested", "acme").with("approval", "7f");
    let asked = world.logged(asked.with("request", digest.as_str())).await;
    let release = Event::new("credential_release", "acme").with("request", digest.as_str());
    let release = world.logged(release).await;
    let n = world.request("acme", json!({"decision": "allow", "digest": digest})).await;
    let stranger = world.request("acme", json!({"decision": "allow", "digest": "cd"})).await;
    let (_, html) = world.shows(&mut ines, &format!("/.postern/log/{n}")).await;
    let at = |n: u64| html.find(&format!("/.postern/log/{n}\""));
    assert!(at(asked).unwrap() < at(release).unwrap() && at(release) < at(n), "{html}");
    assert_eq!(at(stranger), None);
}

#[tokio::test]
async fn whether_the_log_is_whole_is_said_and_what_was_taken_out() {
    let world = World::new().await;
    let mut ines = reader(&world, "AUDITOR").await;
    let n = world.logged(Event::new("key_created", "acme").with("user", "ada")).await;
    let mut db = world.service.inner.pool.write(Reach::All).await.unwrap();
    let ada = Which::Person("ada".to_owned());
    let event = Event::new(crate::audit::removal::KIND, "acme");
    let audit = &world.service.inner.audit;
    let taken = remove(&mut db, audit, ("acme", &ada), 0, event, NOW).await.unwrap();
    db.commit().await.unwrap();
    let (_, html) = world.shows(&mut ines, "/.postern/log?check=").await;
    assert!(html.contains("The log is whole") && html.contains("taken out included"), "{html}");
    let (_, html) = world.shows(&mut ines, &format!("/.postern/log/{n}")).await;
    let tombstone = format!("/.postern/log/{}\"", taken.tombstone.unwrap());
    assert!(html.contains(&tombstone) && !html.contains("ada"), "{html}");
}

#[tokio::test]
async fn an_auditor_sees_no_request_and_decides_none() {
    let world = World::new().await;
    let mut ines = reader(&world, "AUDITOR").await;
    let one: Requested = requested("/api/chat", b"{}");
    let id = world.wanted("acme", ("jo", false, 1), &one).await;
    let path = format!("/.postern/approvals/{}", postern_core::hex::lower(&id));
    assert_eq!(world.shows(&mut ines, &path).await.0, 404);
    let (_, inbox) = world.shows(&mut ines, "/.postern/inbox").await;
    assert!(inbox.contains("Nothing waits"), "{inbox}");
    let form = given(&world.get(&mut ines, "/.postern/account", NOW).await).form;
    let fields = [("form", form), ("verdict", "approve".to_owned())];
    assert_eq!(world.post(&mut ines, &path, &fields, NOW).await.status, 404);
    assert_eq!(world.events("approval_decided").await, 0);
}

#[tokio::test]
async fn only_who_audits_reads_the_log() {
    for (role, status) in [("ADMIN", 404), ("PLATFORM", 200)] {
        let world = World::new().await;
        let mut browser = reader(&world, role).await;
        assert_eq!(world.shows(&mut browser, "/.postern/log").await.0, status, "{role}");
        assert_eq!(world.shows(&mut browser, "/.postern/log/1").await.0, status, "{role}");
        let nobody = world.get(&mut Browser::default(), "/.postern/log", NOW).await;
        assert_eq!(nobody.status, 303);
    }
}

#[tokio::test]
async fn nothing_in_the_log_becomes_markup() {
    let world = World::new().await;
    let mut ines = reader(&world, "AUDITOR").await;
    let record = json!({"decision": "<script>x</script>", "agent": "<b>\u{202e}a", "<i>": "\"'>"});
    let n = world.request("acme", record).await;
    for path in ["/.postern/log".to_owned(), format!("/.postern/log/{n}")] {
        let (_, html) = world.shows(&mut ines, &path).await;
        let bad = ["<script>x", "<b>", "<i>", "\u{202e}"];
        assert!(bad.iter().all(|bad| !html.contains(bad)), "{html}");
    }
    let (_, html) = world.shows(&mut ines, "/.postern/log?q=%22%3E%3Cb%3E").await;
    assert!(!html.contains("<b>"), "{html}");
}

/// On PostgreSQL a tenant's transaction does not see what is in between.
#[tokio::test]
async fn what_stands_behind_many_events_of_other_tenants_is_removed_too() {
    let world = World::new().await;
    for _ in 0..7 {
        world.logged(Event::new("key_created", "globex").with("user", "ada")).await;
    }
    let own = world.logged(Event::new("key_created", "acme").with("user", "ada")).await;
    let ada = Which::Person("ada".to_owned());
    let mut db = world.service.inner.pool.write(Reach::Tenant("acme")).await.unwrap();
    let (mut found, mut next) = (Vec::new(), Some(0));
    while let Some(after) = next {
        let (numbers, _, more) = removal::find(&mut db, ("acme", &ada), after, 2).await.unwrap();
        found.extend(numbers);
        assert!(more.is_none_or(|more| more > after), "{more:?} behind {after}");
        next = more;
    }
    assert_eq!(found, [i64::try_from(own).unwrap()]);
}

/// The function that empties events runs with its owner's rights.
#[tokio::test]
async fn a_tenants_transaction_empties_no_event_of_another() {
    let world = World::new().await;
    let theirs = world.logged(Event::new("key_created", "globex").with("user", "bob")).await;
    let tombstone = world.logged(Event::new(removal::KIND, "globex")).await;
    for (tenant, emptied) in [("acme", false), ("globex", true)] {
        let mut db = world.service.inner.pool.write(Reach::Tenant(tenant)).await.unwrap();
        if db.backend_name() == "SQLite" {
            return;
        }
        let call = sqlx::query("SELECT remove_audit_content($1, $2)");
        let call =
            call.bind(i64::try_from(theirs).unwrap()).bind(i64::try_from(tombstone).unwrap());
        let done = call.execute(&mut *db).await;
        assert_eq!(done.is_ok(), emptied, "{tenant}: {done:?}");
    }
}
