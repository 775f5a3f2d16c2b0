//! Approvals: used once, by a gateway and by each credential; grants; what is kept of them.
#![allow(clippy::unwrap_used)]

mod support;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use postern_core::approvals::{Ask, State};
use postern_core::time::UnixMillis;
use postern_crp::message::store::{Guard, Needed};
use postern_crp::message::{Answer, Message, Status, approval};
use postern_keys::approvals::{self, Filter, Refusal, Ruling, Verdict};
use serde_json::{Value, json};
use support::approvals::*;
use support::*;

#[tokio::test]
async fn a_credential_that_wants_approvals_is_released_under_one_for_exactly_this() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    guarded(&world, &acme, WRITES).await;
    let id = pending(&world, &acme).await;
    assert_eq!(released(&world, &acme, under(None), NOW).await, Status::NeedsApproval);
    assert_eq!(released(&world, &acme, under(Some(id)), NOW).await, Status::NeedsApproval);
    approve(&world, &id).await;
    let rows: [Bend; 5] = [
        |r| r.request_digest = [9; 32],
        |r| r.caller_hash = [9; 32],
        |r| r.agent = "other".into(),
        |r| r.approval = Some([9; 16]),
        |r| r.approval = None,
    ];
    for (at, bend) in rows.into_iter().enumerate() {
        let mut request = under(Some(id));
        bend(&mut request);
        assert_eq!(released(&world, &acme, request, NOW).await, Status::NeedsApproval, "row {at}");
    }
    let answer = world.release(&acme.credential, under(Some(id)), NOW).await;
    assert_eq!((answer.status, answer.ttl_s, answer.max_uses), (Status::Ok, 0, 1));
    assert_eq!(released(&world, &acme, under(Some(id)), NOW).await, Status::NeedsApproval);
    assert!(!ask(&world, &acme, named(id), NOW).await.unwrap().claimed);
    let mut read = under(None);
    read.method = "GET".into();
    assert_eq!(released(&world, &acme, read, NOW).await, Status::Ok);
}

#[tokio::test]
async fn every_release_means_reads_too() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    guarded(&world, &acme, Guard { approval: Needed::EveryRelease, ..WRITES }).await;
    let mut read = under(None);
    read.method = "GET".into();
    assert_eq!(released(&world, &acme, read, NOW).await, Status::NeedsApproval);
    let list = world.operate(&acme.operator, "GET", "/api/v1/credentials", b"", NOW).await;
    let list: Value = serde_json::from_slice(&list.body).unwrap();
    let slack = &list["credentials"][0];
    let shown = (&slack["approval"], &slack["require_passkey"], &slack["approvers"]);
    assert_eq!(shown, (&json!("every_release"), &json!(false), &json!(1)));
    assert_eq!(slack["bindings"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_approval_without_the_credential_does_not_release_it() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    guarded(&world, &acme, WRITES).await;
    let asked = Ask { credentials: vec!["other".into()], ..asking(CONTENT) };
    let id = ask(&world, &acme, asked, NOW).await.unwrap().id;
    approve(&world, &id).await;
    assert_eq!(released(&world, &acme, under(Some(id)), NOW).await, Status::NeedsApproval);
}

#[tokio::test]
async fn what_is_over_is_over() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    guarded(&world, &acme, WRITES).await;
    let id = pending(&world, &acme).await;
    let yes = Ruling::of(Verdict::Approve);
    let end = later(600_000);
    let late = decide(&world, &id, &person("bea"), &yes, end).await;
    assert_eq!(late, Err(Refusal::Over(State::Expired)));
    assert_eq!(poll(&world, &acme, id, end).await.unwrap().state, State::Expired);
    let told = ask(&world, &acme, named(id), end).await.unwrap();
    assert!(told.id != id && told.state == State::Pending);
    let last = UnixMillis(told.expires.0 - 1);
    assert_eq!(decide(&world, &told.id, &person("bea"), &yes, last).await, Ok(State::Approved));
    let usable = UnixMillis(last.0 + approvals::USE_MS - 1);
    let used = ask(&world, &acme, named(told.id), usable).await.unwrap();
    assert!(used.claimed);
    let late = UnixMillis(usable.0 + approvals::CLAIM_MS);
    assert_eq!(released(&world, &acme, under(Some(told.id)), late).await, Status::NeedsApproval);
    let soon = UnixMillis(late.0 - 1);
    assert_eq!(released(&world, &acme, under(Some(told.id)), soon).await, Status::Ok);
}

#[tokio::test]
async fn a_grant_covers_alike_requests_until_it_ends_or_is_revoked() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    let id = pending(&world, &acme).await;
    let ruling = Ruling { grant_seconds: Some(1800), ..Ruling::of(Verdict::Approve) };
    assert_eq!(decide(&world, &id, &person("bea"), &ruling, NOW).await, Ok(State::Approved));
    let other = |content: &[u8]| asking(content);
    let told = ask(&world, &acme, other(b"2"), NOW).await.unwrap();
    assert_eq!((told.state, told.claimed), (State::Used, true));
    let rows: [Change; 6] = [
        |ask| ask.requested.method = "PUT".into(),
        |ask| ask.requested.path = "/api/other".into(),
        |ask| ask.subject_hash = [9; 32],
        |ask| ask.agent = "other".into(),
        |ask| ask.credentials = vec!["mail".into(), "slack".into()],
        |ask| ask.passkey = true,
    ];
    for (at, change) in rows.into_iter().enumerate() {
        let mut asked = other(b"3");
        change(&mut asked);
        assert!(!ask(&world, &acme, asked, NOW).await.unwrap().claimed, "row {at}");
    }
    for n in 0..70_u8 {
        let told = ask(&world, &acme, other(&[b'n', n]), NOW).await.unwrap();
        assert!(told.claimed, "nobody is asked, so nobody is asked too often: {n}");
    }
    assert!(ask(&world, &acme, other(b"4"), later(1_799_999)).await.unwrap().claimed);
    assert!(!ask(&world, &acme, other(b"5"), later(1_800_000)).await.unwrap().claimed);
    let body = json!({"kind": "approval", "id": hex(&id)}).to_string();
    let path = "/api/v1/revocations";
    let revoked = world.operate(&acme.operator, "POST", path, body.as_bytes(), NOW).await;
    assert!((200..300).contains(&revoked.status), "{}", revoked.status);
    assert!(!ask(&world, &acme, other(b"6"), NOW).await.unwrap().claimed);
    // Those that wait have ended by then.
    assert!(ask(&world, &acme, named(id), later(700_000)).await.unwrap().id != id);
}

#[tokio::test]
async fn a_grant_is_for_a_day_at_most() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    let id = pending(&world, &acme).await;
    for seconds in [0, 24 * 3600 + 1, u32::MAX] {
        let ruling = Ruling { grant_seconds: Some(seconds), ..Ruling::of(Verdict::Approve) };
        let decided = decide(&world, &id, &person("bea"), &ruling, NOW).await;
        assert_eq!(decided, Err(Refusal::Grant), "{seconds}");
    }
    let ruling = Ruling { grant_seconds: Some(60), ..Ruling::of(Verdict::Deny) };
    assert_eq!(decide(&world, &id, &person("bea"), &ruling, NOW).await, Err(Refusal::Grant));
}

#[tokio::test]
async fn of_a_hundred_that_use_it_at_once_one_does() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    guarded(&world, &acme, WRITES).await;
    let id = pending(&world, &acme).await;
    let yes = Ruling::of(Verdict::Approve);
    let mut deciding = tokio::task::JoinSet::new();
    for n in 0..100 {
        let (service, yes) = (world.service.clone(), yes.clone());
        deciding.spawn(async move {
            let by = person(&format!("person-{n}"));
            // Whom a busy database keeps waiting too long has decided nothing.
            let decided = approvals::decide(&service, &id, &by, &yes, NOW).await;
            decided.is_ok_and(|decided| decided.is_ok())
        });
    }
    let taken = deciding.join_all().await;
    assert_eq!(taken.iter().filter(|taken| **taken).count(), 1);
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..200 {
        let message = match n % 2 {
            0 => Message::Approval(approval::Request::Ask(Box::new(named(id)))),
            _ => Message::Release(under(Some(id))),
        };
        let party = if n % 2 == 0 { &acme.gate } else { &acme.credential };
        let (body, awaiting) = world.sealed(party, &message, NOW).await;
        let service = world.service.clone();
        asking.spawn(async move {
            let reply = service.message(&body, NOW).await;
            if reply.status == 503 {
                return (0, 0);
            }
            match awaiting.open(&reply.body).unwrap() {
                Answer::Approval(answer) => (usize::from(answer.standing.claimed), 0),
                Answer::Release(answer) => (0, usize::from(answer.status == Status::Ok)),
                _ => (0, 0),
            }
        });
    }
    let went = asking.join_all().await;
    let claimed: usize = went.iter().map(|(claimed, _)| claimed).sum();
    let released: usize = went.iter().map(|(_, released)| released).sum();
    assert_eq!(released, 1);
    assert!(claimed <= 1, "{claimed}");
}

#[tokio::test]
async fn a_preview_is_gone_from_the_disk_once_the_agent_has_its_decision() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    let sealed = |id: [u8; 16]| {
        let world = &world;
        async move {
            let pool = world.database().await;
            let row: Option<(Vec<u8>,)> =
                sqlx::query_as("SELECT sealed FROM approval_previews WHERE approval_id = $1")
                    .bind(id.as_slice())
                    .fetch_optional(&pool)
                    .await
                    .unwrap();
            pool.close().await;
            row.map(|(sealed,)| sealed)
        }
    };
    let id = pending(&world, &acme).await;
    let kept = sealed(id).await.unwrap();
    let on_disk = |needle: &[u8]| {
        let folder = world.dir.path().join("data");
        std::fs::read_dir(folder).unwrap().any(|entry| {
            let path = entry.unwrap().path();
            let bytes = if path.is_file() { std::fs::read(path).unwrap() } else { Vec::new() };
            bytes.windows(needle.len()).any(|window| window == needle)
        })
    };
    // Of what is sealed a part that fits on one page.
    let part = &kept[..64.min(kept.len())];
    // PostgreSQL has its files elsewhere, and keeps what was deleted until it vacuums.
    let own_file = !world.on_postgres();
    assert_eq!(on_disk(part), own_file, "the search finds it at first");
    assert!(!on_disk(b"preview-that-must-not-stay"), "never in clear");
    approve(&world, &id).await;
    world.service.maintain(later(1000)).await.unwrap();
    assert!(sealed(id).await.is_some(), "kept while the agent does not know");
    assert_eq!(poll(&world, &acme, id, NOW).await.unwrap().state, State::Approved);
    assert!(sealed(id).await.is_none());
    world.service.maintain(later(2000)).await.unwrap();
    assert!(!on_disk(part));
    let export = world.export(&acme, NOW).await;
    for line in export.lines().skip(1) {
        let line: Value = serde_json::from_str(line).unwrap();
        let bytes = line["bytes"].as_str().map(|text| B64.decode(text).unwrap());
        let text = String::from_utf8(bytes.unwrap_or_default()).unwrap();
        assert!(!text.contains("postMessage") && !text.contains("must-not-stay"), "{text}");
    }
}

#[tokio::test]
async fn a_preview_goes_when_the_same_request_learns_the_decision() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    for verdict in [Verdict::Approve, Verdict::Deny] {
        let content = format!("{verdict:?}");
        let told = ask(&world, &acme, asking(content.as_bytes()), NOW).await.unwrap();
        let preview = || async {
            let shown = approvals::show(&world.service, "acme", &told.id).await.unwrap();
            shown.unwrap().preview
        };
        ask(&world, &acme, asking(content.as_bytes()), NOW).await.unwrap();
        decide(&world, &told.id, &person("bea"), &Ruling::of(verdict), NOW).await.unwrap();
        assert!(preview().await.is_some());
        ask(&world, &acme, asking(content.as_bytes()), NOW).await.unwrap();
        assert_eq!(preview().await, None);
    }
}

#[tokio::test]
async fn a_preview_stays_readable_when_the_tenants_key_changes() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    let id = pending(&world, &acme).await;
    let before = approvals::show(&world.service, "acme", &id).await.unwrap().unwrap().preview;
    assert!(before.is_some());
    postern_keys::rotation::dek(&world.config, "acme", NOW).await.unwrap();
    let after = approvals::show(&world.service, "acme", &id).await.unwrap().unwrap().preview;
    assert_eq!(after, before);
}

#[tokio::test]
async fn a_preview_goes_with_its_time() {
    let world = World::in_memory().await;
    let acme = world.tenant("acme").await;
    let id = pending(&world, &acme).await;
    world.service.maintain(later(599_999)).await.unwrap();
    let shown = approvals::show(&world.service, "acme", &id).await.unwrap().unwrap();
    assert!(shown.preview.is_some());
    world.service.maintain(later(600_000)).await.unwrap();
    let shown = approvals::show(&world.service, "acme", &id).await.unwrap().unwrap();
    assert!(shown.preview.is_none());
    world.service.maintain(later(600_001 + 30 * 24 * 3_600_000)).await.unwrap();
    assert!(approvals::show(&world.service, "acme", &id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_row_that_is_planted_or_changed_approves_nothing() {
    let world = World::on_disk().await;
    let acme = world.tenant("acme").await;
    guarded(&world, &acme, WRITES).await;
    let id = pending(&world, &acme).await;
    let pool = world.database().await;
    let decisions =
        r#"[{"by":"bea","how":"person","verdict":"approve","at":1,"reason":"","grant_seconds":0}]"#;
    sqlx::query("UPDATE approvals SET decisions = $1, decided_ms = $2")
        .bind(decisions)
        .bind(i64::try_from(NOW.0).unwrap())
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    for message in [
        Message::Approval(approval::Request::Ask(Box::new(named(id)))),
        Message::Release(under(Some(id))),
    ] {
        let party = match message {
            Message::Release(_) => &acme.credential,
            _ => &acme.gate,
        };
        let (body, _) = world.sealed(party, &message, NOW).await;
        assert_eq!(world.service.message(&body, NOW).await.status, 503);
    }
    let listed = approvals::list(&world.service, "acme", Filter::All, NOW).await.unwrap();
    assert_eq!(listed, []);
}
