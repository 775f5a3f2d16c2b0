//! A PostgreSQL server of the tests' own: made in a temporary folder, on a unix socket and a
//! port of 127.0.0.1, one for each test program, ended with it.
#![allow(dead_code, clippy::unwrap_used)]

use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use postern_keys::config::{Database, Postgres, Server};
use postern_keys::store::schema::{self, Ask};
use postern_rig::wait::until;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use sqlx::{AnyConnection, Connection, Executor};

/// Owns the cluster; row-level security does not hold it.
const SUPERUSER: &str = "postern_super";
pub const OWNER: &str = "postern_owner";
pub const SERVICE: &str = "postern_service";
/// The service's password over the network.
pub const PASSWORD: &str = "correct horse: battery/staple?";
/// Holds the schema; every test copies it.
const TEMPLATE: &str = "postern_template";
/// PostgreSQL refuses to run as root.
const NOBODY: u32 = 65_534;

/// Waits for the end of its input, which is the end of whoever started it, and ends the server
/// by its pid.
const WARDEN: &str = r#"folder=$1; shift; "$@" & pid=$!
    cat > /dev/null; kill -QUIT $pid; wait $pid; rm -rf "$folder""#;

pub struct Cluster {
    folder: PathBuf,
    port: u16,
    _warden: Child,
}

/// The server of this program.
pub async fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    static READY: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    sqlx::any::install_default_drivers();
    let cluster = CLUSTER.get_or_init(Cluster::start);
    READY.get_or_init(|| cluster.prepare()).await;
    cluster
}

fn programs() -> PathBuf {
    if let Some(named) = std::env::var_os("POSTERN_POSTGRES") {
        return named.into();
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").unwrap().flatten();
    versions.map(|version| version.path().join("bin")).max().unwrap()
}

fn program(name: &str) -> Command {
    let folder = programs();
    let mut command = Command::new(folder.join(name));
    // Laid out below target/tools, they bring their libraries.
    if !folder.starts_with("/usr/lib") {
        let root = folder.ancestors().nth(5).unwrap();
        command.env("LD_LIBRARY_PATH", root.join("usr/lib/x86_64-linux-gnu"));
    }
    command
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0
}

fn unprivileged(command: &mut Command) -> &mut Command {
    if is_root() { command.uid(NOBODY).gid(NOBODY) } else { command }
}

/// A certificate for `localhost`, and for no address.
fn certificate(folder: &Path) {
    let mut authority = CertificateParams::new(Vec::<String>::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let root = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let file = folder.join("server.key");
    postern_files::write_private(&file, key.serialize_pem().as_bytes()).unwrap();
    if is_root() {
        chown(&file, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    postern_files::write_atomic(folder.join("server.pem"), leaf.pem().as_bytes()).unwrap();
    postern_files::write_atomic(folder.join("ca.pem"), root.pem().as_bytes()).unwrap();
}

impl Cluster {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap().keep();
        if is_root() {
            chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let data = folder.join("data");
        let mut init = program("initdb");
        init.args(["--username", SUPERUSER, "--auth-local=trust", "--auth-host=scram-sha-256"]);
        init.args(["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]);
        // Nobody comes over the network as the owner of the cluster.
        let done = unprivileged(init.arg("--pgdata").arg(&data)).current_dir(&folder).output();
        let done = done.unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        certificate(&folder);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = program("postgres");
        let mut warden = Command::new("sh");
        warden.args(["-c", WARDEN, "warden"]).arg(&folder).arg(server.get_program());
        warden.envs(server.get_envs().filter_map(|(name, value)| Some((name, value?))));
        warden.arg("-D").arg(&data).arg("-k").arg(&folder).arg("-p").arg(port.to_string());
        for setting in [
            "listen_addresses=127.0.0.1",
            "max_connections=200",
            // A server that dies takes nothing with it that the kernel has; the machine stays up.
            "fsync=off",
            "shared_buffers=32MB",
            "autovacuum=off",
            "log_min_messages=fatal",
            "ssl=on",
            "ssl_cert_file=../server.pem",
            "ssl_key_file=../server.key",
        ] {
            warden.arg("-c").arg(setting);
        }
        warden.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let warden = unprivileged(&mut warden).current_dir(&folder).spawn().unwrap();
        let ready = until(Duration::from_secs(30), || {
            let mut probe = program("pg_isready");
            probe.arg("--quiet").arg("--host").arg(&folder).arg("--port").arg(port.to_string());
            probe.status().is_ok_and(|status| status.success()).then_some(())
        });
        assert!(ready.is_some(), "PostgreSQL does not start");
        Self { folder, port, _warden: warden }
    }

    /// The authority that has signed the server's certificate.
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Roles, and the schema that every test gets a copy of.
    async fn prepare(&self) {
        let mut db = AnyConnection::connect(&self.url("postgres", SUPERUSER)).await.unwrap();
        let password = PASSWORD.replace('\'', "''");
        for statement in [
            format!("CREATE ROLE {OWNER} LOGIN"),
            format!("CREATE ROLE {SERVICE} LOGIN PASSWORD '{password}'"),
            format!("CREATE DATABASE {TEMPLATE} OWNER {OWNER}"),
        ] {
            db.execute(sqlx::AssertSqlSafe(statement)).await.unwrap();
        }
        let ask = Ask { owner: Some((OWNER.to_owned(), None)), ..Ask::default() };
        let template = Database::Postgres(self.at(TEMPLATE, SERVICE));
        schema::migrate(&template, &ask).await.unwrap();
        db.close().await.unwrap();
    }

    /// A new database with the schema.
    pub async fn database(&self) -> Postgres {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let url = self.url("postgres", SUPERUSER);
        let mut db = AnyConnection::connect(&url).await.unwrap();
        let make = format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE} OWNER {OWNER}");
        db.execute(sqlx::AssertSqlSafe(make)).await.unwrap();
        db.close().await.unwrap();
        self.at(&name, SERVICE)
    }

    /// The database `name` as `role`.
    pub fn at(&self, name: &str, role: &str) -> Postgres {
        Postgres {
            user: role.to_owned(),
            server: Server::Socket { folder: self.folder.clone(), port: self.port },
            name: name.to_owned(),
            password_file: None,
            ca: None,
            connections: 4,
        }
    }

    /// For a connection of the test's own.
    pub fn url(&self, name: &str, role: &str) -> String {
        let folder = self.folder.display();
        format!("postgres://{role}@localhost:{}/{name}?host={folder}&sslmode=disable", self.port)
    }

    /// The same for whoever may do everything.
    pub fn superuser(&self, name: &str) -> String {
        self.url(name, SUPERUSER)
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's own files.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// A program of PostgreSQL's against the database `name`, as the cluster's owner.
    pub fn run(&self, name: &str, database: &str, words: &[&str]) -> Vec<u8> {
        let mut command = program(name);
        command.args(["-h"]).arg(&self.folder).args(["-p", &self.port.to_string()]);
        command.args(["-U", SUPERUSER, "-d", database]).args(words);
        let done = command.output().unwrap();
        assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
        done.stdout
    }
}

/// Whether tests are run with rows in PostgreSQL.
pub fn is_asked_for() -> bool {
    std::env::var("POSTERN_STORE").is_ok_and(|store| store == "postgres")
}

/// Every file below `folder` that is there to be read.
pub fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                files.push((path.display().to_string(), bytes));
            }
        }
    }
    files
}
