//! How often a vault is asked, and for how long what it said is kept, without a vault.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use postern_core::redacted::Redacted;
use postern_core::secret::Secret;
use postern_core::time::UnixMillis;
use postern_vaults::{Backend, Place, Reading, Refused, Value, Version};
use tokio::sync::Semaphore;

use super::{Fetched, NotRead, Reference, Vault, Vaults};
use crate::config::Config;

const NOW: UnixMillis = UnixMillis(1_795_332_600_000);

fn later(ms: u64) -> UnixMillis {
    UnixMillis(NOW.0 + ms)
}

/// Answers when it is let, and counts.
#[derive(Clone)]
struct Fake {
    asked: Arc<AtomicUsize>,
    let_go: Arc<Semaphore>,
}

impl Backend for Fake {
    fn read<'a>(&'a self, _: &'a Place, _: Option<&'a Version>, _: UnixMillis) -> Reading<'a> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            self.let_go.acquire().await.unwrap().forget();
            Ok(Value { secret: Secret::new(b"sk".to_vec()), version: 1.into() })
        })
    }
}

fn vaults(entries: usize, permits: usize) -> (Vaults, Fake) {
    let yaml = format!(
        "data_dir: d\nvaults: {{main: {{hashicorp: {{address: 'https://v', token_file: t}}, \
         tenants: {{acme: ''}}, timeout_ms: 200, entries: {entries}}}}}"
    );
    let config = Config::parse(yaml.as_bytes(), std::path::Path::new(".")).unwrap();
    let let_go = Arc::new(Semaphore::new(permits));
    let fake = Fake { asked: Arc::default(), let_go };
    let vault = Vault::new(Box::new(fake.clone()), config.vaults["main"].clone()).unwrap();
    (Vaults(BTreeMap::from([("main".to_owned(), Arc::new(vault))])), fake)
}

fn place(path: &str) -> Reference {
    Reference::parse("acme", [("", format!("vault:main/{path}#f").as_str())]).unwrap()
}

#[tokio::test(start_paused = true)]
async fn those_who_come_while_it_is_asked_wait_for_the_same_answer() {
    let (vaults, fake) = vaults(8, 0);
    let here = place("a");
    let (one, two) =
        (vaults.fetch(&here, Instant::now(), NOW), vaults.fetch(&here, Instant::now(), NOW));
    let let_go = async {
        tokio::task::yield_now().await;
        fake.let_go.add_permits(1);
    };
    let (one, two, ()) = tokio::join!(one, two, let_go);
    assert!(one.outcome.is_ok() && two.outcome.is_ok());
    assert_eq!(fake.asked.load(Ordering::SeqCst), 1);
    let held = vaults.fresh(&here, "1", later(59_999)).unwrap();
    assert_eq!(vaults.opened(&here, &held).unwrap()[0].1.expose(), b"sk");
    // Sealed for its own place, and for the version that was seen last.
    assert!(vaults.opened(&place("b"), &held).is_none());
    assert!(vaults.fresh(&here, "2", NOW).is_none());
    assert!(vaults.fresh(&here, "1", later(60_000)).is_none());
    assert!(vaults.fresh(&here, "1", UnixMillis(NOW.0 - 60_000)).is_none(), "the clock went back");
}

#[tokio::test]
async fn who_looked_before_an_answer_came_takes_it_and_who_came_after_it_asks() {
    let (vaults, fake) = vaults(8, 9);
    let here = place("a");
    let before = Instant::now();
    assert!(vaults.fetch(&here, before, NOW).await.outcome.is_ok());
    assert!(vaults.fetch(&here, before, NOW).await.outcome.is_ok());
    assert_eq!(fake.asked.load(Ordering::SeqCst), 1);
    let after = Instant::now() + Duration::from_millis(1);
    assert!(vaults.fetch(&here, after, NOW).await.outcome.is_ok());
    assert_eq!(fake.asked.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn who_asks_may_go_and_the_answer_is_kept_all_the_same() {
    let (vaults, fake) = vaults(8, 0);
    let here = place("a");
    let gone =
        tokio::time::timeout(Duration::from_millis(1), vaults.fetch(&here, Instant::now(), NOW))
            .await;
    assert!(gone.is_err());
    fake.let_go.add_permits(1);
    let Fetched { outcome, .. } = vaults.fetch(&here, Instant::now(), NOW).await;
    assert!(outcome.is_ok());
    assert_eq!(fake.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_past_the_deadline_and_a_refusal_is_said_again_for_a_second() {
    let (vaults, fake) = vaults(8, 0);
    let here = place("a");
    for (ms, asked) in [(0, 1), (999, 1), (1000, 2)] {
        let Fetched { outcome, .. } = vaults.fetch(&here, Instant::now(), later(ms)).await;
        assert_eq!(outcome.unwrap_err().reason(), "vault_unavailable");
        assert_eq!(fake.asked.load(Ordering::SeqCst), asked, "{ms}");
    }
}

#[tokio::test]
async fn the_table_is_bounded_and_what_is_past_its_time_is_wiped() {
    let (vaults, _) = vaults(2, 9);
    for (ms, path) in [(0, "a"), (1, "b"), (2, "c")] {
        assert!(vaults.fetch(&place(path), Instant::now(), later(ms)).await.outcome.is_ok());
    }
    let table = vaults.0["main"].table();
    assert_eq!(table.len(), 2);
    assert!(vaults.fresh(&place("a"), "1", later(3)).is_none(), "the oldest went");
    assert!(vaults.fresh(&place("c"), "1", later(3)).is_some());
    vaults.forget_old(later(60_001));
    assert_eq!(table.len(), 1);
    vaults.forget_old(later(60_002));
    assert_eq!(table.len(), 0);
}

#[tokio::test]
async fn a_vault_that_cannot_be_asked_leaves_what_is_kept_and_one_that_refuses_does_not() {
    let (vaults, _) = vaults(8, 9);
    let here = place("a");
    assert!(vaults.fetch(&here, Instant::now(), NOW).await.outcome.is_ok());
    let table = vaults.0["main"].table();
    let away = Refused::Unreachable(Redacted::new("away"));
    table.land(&here, Err(NotRead::Refused(away)), NOW, Duration::ZERO);
    assert!(vaults.fresh(&here, "1", NOW).is_some());
    table.land(&here, Err(NotRead::Refused(Refused::Forbidden)), NOW, Duration::ZERO);
    assert!(vaults.fresh(&here, "1", NOW).is_none());
}

#[test]
fn a_refusal_that_took_long_is_said_again_from_the_answer_on() {
    let table = super::held::Table::new(8).unwrap();
    let here = place("a");
    let away = NotRead::Refused(Refused::Unreachable(Redacted::new("away")));
    table.land(&here, Err(away), NOW, Duration::from_millis(1200));
    let told = |ms| {
        let boarding = table.board(&here, Instant::now(), later(ms));
        matches!(boarding, super::held::Boarding::Told(_))
    };
    assert_eq!((told(2199), told(2200)), (true, false));
}
