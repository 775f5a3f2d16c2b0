//! The key-encryption key from a passphrase.

mod support;

use std::path::{Path, PathBuf};

use postern_keys::backup::restore;
use postern_keys::config::{Database, Kek, Passphrase};
use postern_keys::{Config, Fault, Service, rotation};
use support::NOW;

fn file(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    postern_files::write_private(&path, text.as_bytes()).unwrap();
    path
}

fn names(config: &mut Config, file: &Path, previous: &[&Path]) {
    let previous = previous.iter().map(|file| file.to_path_buf()).collect();
    config.kek = Kek::Passphrase(Passphrase { file: file.to_owned(), previous });
}

async fn config(folder: &Path) -> Config {
    let mut config = Config::local(&folder.join("data"));
    if support::postgres::is_asked_for() {
        config.database = Database::Postgres(support::postgres::cluster().await.database().await);
    }
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passphrase_opens_what_it_has_wrapped_and_another_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path()).await;
    let good = file(folder.path(), "good", "correct horse battery staple\n");
    names(&mut config, &good, &[]);
    let service = Service::open(&config, NOW).await.unwrap();
    let audit_key = service.audit_key();
    service.close(NOW).await;
    assert!(!config.kek_file().exists());
    // A newline at its end is none of it.
    let same = file(folder.path(), "same", "correct horse battery staple");
    names(&mut config, &same, &[]);
    assert_eq!(Service::open(&config, NOW).await.unwrap().audit_key(), audit_key);
    let other = file(folder.path(), "other", "correct horse battery stable");
    names(&mut config, &other, &[]);
    assert_eq!(Service::open(&config, NOW).await.err(), Some(Fault::OtherKek));
    // With both the change is made, and then the new one does.
    names(&mut config, &other, &[&good]);
    assert_eq!(rotation::kek(&config, NOW).await.unwrap().keys, 1);
    names(&mut config, &other, &[]);
    assert_eq!(Service::open(&config, NOW).await.unwrap().audit_key(), audit_key);
    // The salt is part of the key, and a restore does not draw another one.
    let salt = config.data_dir.join("kek.salt");
    let mut elsewhere = config.clone();
    elsewhere.data_dir = folder.path().join("elsewhere");
    let refused = restore(&elsewhere, Some(&good), NOW).await.unwrap_err().to_string();
    assert!(refused.contains("kek.salt: expected") && !elsewhere.data_dir.exists(), "{refused}");
    postern_files::write_private(&salt, b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap();
    assert_eq!(Service::open(&config, NOW).await.err(), Some(Fault::OtherKek));
    postern_files::write_private(&salt, b"AAAA").unwrap();
    let refusal = Service::open(&config, NOW).await.err().unwrap().to_string();
    assert!(refusal.contains("kek.salt: expected 32 bytes"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_passphrase_and_an_open_file_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path()).await;
    for (text, mode, says) in [
        ("too short\n", 0o600, "expected a passphrase of at least 16 bytes"),
        ("               \n      \n", 0o600, "expected a passphrase of at least 16 bytes"),
        ("correct horse battery staple", 0o644, "mode is 644, expected 600"),
    ] {
        let path = file(folder.path(), "passphrase", text);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        names(&mut config, &path, &[]);
        let refusal = Service::open(&config, NOW).await.err().unwrap().to_string();
        assert!(refusal.contains(says) && !refusal.contains("horse"), "{refusal}");
    }
    names(&mut config, &folder.path().join("absent"), &[]);
    let refusal = Service::open(&config, NOW).await.err().unwrap().to_string();
    assert!(refusal.contains("absent"), "{refusal}");
}
