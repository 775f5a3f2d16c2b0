//! Witnesses of the audit log, over HTTP: what they sign, and what they do not.

mod support;

use std::net::TcpListener;

use ed25519_dalek::SigningKey;
use postern_keys::Service;
use postern_keys::audit::checkpoint::{Checkpoint, seen_by};
use postern_keys::config::WitnessAt;
use postern_tlog::cosignature::Witness as Key;
use postern_tlog::note;
use postern_witness::{Running, Witness, serve};
use support::{NOW, World, later, run};
use tempfile::TempDir;

/// A witness of a world's log. `_folder` is its memory.
struct Watching {
    at: WitnessAt,
    running: Running,
    _folder: TempDir,
}

fn watching(world: &World, n: u8) -> Watching {
    let folder = tempfile::tempdir().unwrap();
    let key = SigningKey::from_bytes(&[n; 32]);
    let log = note::Key::new("postern-audit", world.service.audit_key().as_bytes()).unwrap();
    let witness = Witness::open(&format!("w{n}.example"), key, vec![log], folder.path()).unwrap();
    let key = Key::parse(&witness.vkey()).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let running = serve(witness, listener).unwrap();
    let url = format!("http://{}", running.address());
    Watching { at: WitnessAt { url, key }, running, _folder: folder }
}

/// The same log, served with witnesses.
async fn served(world: &World, witnesses: &[&Watching]) -> Service {
    let mut config = world.config.clone();
    config.witnesses = witnesses.iter().map(|watching| watching.at.clone()).collect();
    Service::open(&config, NOW).await.unwrap()
}

async fn checkpoint(service: &Service, after: u64) -> Checkpoint {
    service.maintain(later(after)).await.unwrap();
    let note = service.last_checkpoint().await.unwrap().unwrap();
    Checkpoint::open(&note, &service.audit_key()).unwrap()
}

/// Events of the newest checkpoint that so many witnesses have signed, and who has.
async fn cosigned(service: &Service, witnesses: &[&Watching], n: u8) -> Option<(u64, Vec<String>)> {
    let note = service.cosigned_checkpoint(n).await.unwrap()?;
    let point = Checkpoint::open(&note, &service.audit_key()).unwrap();
    let keys: Vec<Key> = witnesses.iter().map(|watching| watching.at.key.clone()).collect();
    let seen = seen_by(&note, &keys).unwrap();
    Some((point.head.n, seen.into_iter().map(|(name, _)| name).collect()))
}

#[tokio::test]
async fn checkpoints_are_signed_by_witnesses_and_one_that_is_down_holds_nothing_up() {
    let world = World::on_disk().await;
    world.tenant("acme").await;
    let (up, down) = (watching(&world, 2), watching(&world, 3));
    let both = [&up, &down];
    let service = served(&world, &both).await;
    down.running.stop().await.unwrap();
    let down = Watching { running: watching(&world, 4).running, ..down };
    let both = [&up, &down];
    let first = checkpoint(&service, 60_000).await;
    service.ask_witnesses(later(60_000)).await.unwrap();
    let one = Some((first.head.n, vec!["w2.example".to_owned()]));
    assert_eq!(cosigned(&service, &both, 1).await, one);
    assert_eq!(cosigned(&service, &both, 2).await, None);
    // The copy beside the database and the newest checkpoint have it too.
    let newest = service.last_checkpoint().await.unwrap().unwrap();
    let kept = format!("checkpoints/{:012}.checkpoint", first.head.n);
    let kept = std::fs::read_to_string(world.config.data_dir.join(kept)).unwrap();
    assert_eq!(kept, newest);
    assert!(newest.contains("\u{2014} w2.example "));
    assert!(service.integrity().await.unwrap().broken.is_none());
    // The log grows, and the witness with it.
    world.tenant("other").await;
    let second = checkpoint(&service, 120_000).await;
    service.ask_witnesses(later(120_000)).await.unwrap();
    assert!(second.head.n > first.head.n);
    assert_eq!(cosigned(&service, &both, 1).await.unwrap().0, second.head.n);
}

#[tokio::test]
async fn a_service_that_starts_anew_asks_a_witness_what_it_has_seen() {
    let world = World::on_disk().await;
    world.tenant("acme").await;
    let watching = watching(&world, 2);
    let service = served(&world, &[&watching]).await;
    checkpoint(&service, 60_000).await;
    service.ask_witnesses(later(60_000)).await.unwrap();
    world.tenant("other").await;
    let service = served(&world, &[&watching]).await;
    let second = checkpoint(&service, 120_000).await;
    for after in [120_000, 121_000] {
        service.ask_witnesses(later(after)).await.unwrap();
    }
    assert_eq!(cosigned(&service, &[&watching], 1).await.unwrap().0, second.head.n);
}

#[tokio::test]
async fn a_log_that_was_written_anew_is_signed_by_no_witness() {
    let world = World::on_disk().await;
    world.tenant("acme").await;
    let watching = watching(&world, 2);
    let service = served(&world, &[&watching]).await;
    let first = checkpoint(&service, 60_000).await;
    service.ask_witnesses(later(60_000)).await.unwrap();
    assert!(cosigned(&service, &[&watching], 1).await.is_some());
    service.close(later(60_000)).await;
    // Whoever has the machine takes the end away, with everything that is kept beside it.
    let pool = world.database().await;
    support::let_log_be_bent(&pool).await;
    let cut = first.head.n - 1;
    for statement in [
        format!("DELETE FROM audit_events WHERE n > {cut}"),
        "DELETE FROM checkpoints".to_owned(),
        "DELETE FROM cosignatures".to_owned(),
    ] {
        run(&pool, &statement).await.unwrap();
    }
    std::fs::remove_dir_all(world.config.data_dir.join("checkpoints")).unwrap();
    let service = served(&world, &[&watching]).await;
    let shorter = checkpoint(&service, 120_000).await;
    assert_eq!(shorter.head.n, cut);
    for after in [120_000, 121_000] {
        service.ask_witnesses(later(after)).await.unwrap();
    }
    assert_eq!(cosigned(&service, &[&watching], 1).await, None, "shorter than what was seen");
    for _ in 0..5 {
        service.mint("acme", later(121_000)).await.unwrap();
    }
    let longer = checkpoint(&service, 240_000).await;
    assert!(longer.head.n > first.head.n);
    for after in [240_000, 280_000, 320_000] {
        service.ask_witnesses(later(after)).await.unwrap();
    }
    assert_eq!(cosigned(&service, &[&watching], 1).await, None, "and longer");
    assert!(service.integrity().await.unwrap().broken.is_none(), "the log itself does not tell");
}

#[tokio::test]
async fn rows_that_are_no_signatures_spoil_nothing() {
    let world = World::on_disk().await;
    world.tenant("acme").await;
    let watching = watching(&world, 2);
    let service = served(&world, &[&watching]).await;
    let first = checkpoint(&service, 60_000).await;
    let n = first.head.n;
    let pool = world.database().await;
    let long = "A".repeat(600);
    let rows = [
        "x\n".to_owned(),
        "\u{2014} a !\n".to_owned(),
        "\u{2014} postern-audit AAAAAAAA\n".to_owned(),
        "\u{2014} two AAAAAAAA\n\u{2014} lines AAAAAAAA\n".to_owned(),
        format!("\u{2014} long {long}\n"),
        String::new(),
    ];
    for (at, line) in rows.iter().enumerate() {
        let values = format!("({n}, 'bad{at}', '{line}')");
        let statement = format!("INSERT INTO cosignatures (count, witness, line) VALUES {values}");
        run(&pool, &statement).await.unwrap();
    }
    let early = "INSERT INTO cosignatures (count, witness, line)";
    run(&pool, &format!("{early} VALUES (999999, 'w2.example', 'y'), ({n}, 'w2.example', 'y')"))
        .await
        .unwrap();
    let note = service.last_checkpoint().await.unwrap().unwrap();
    assert_eq!(Checkpoint::open(&note, &service.audit_key()), Ok(first));
    assert_eq!(note.matches('\u{2014}').count(), 1, "{note}");
    service.ask_witnesses(later(60_000)).await.unwrap();
    let one = Some((n, vec!["w2.example".to_owned()]));
    assert_eq!(cosigned(&service, &[&watching], 1).await, one);
    assert!(service.integrity().await.unwrap().broken.is_none());
    assert!(service.proof(None, 1).await.unwrap().is_some());
}
