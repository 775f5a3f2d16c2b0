//! `database` and `postgres` of `keys.yaml`.
//!
//! Owns the forms of the URL. Invariant: a password stands in no URL and no configuration,
//! only in a file of its own or in `PGPASSWORD`; to another machine there is no way but TLS
//! that proves the server's name.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{ConfigError, problem};

/// Where rows are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// A SQLite file.
    File(PathBuf),
    /// In memory, for tests.
    Memory,
    /// A PostgreSQL server.
    Postgres(Postgres),
}

/// A database of a PostgreSQL server, and as whom to go there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Postgres {
    /// Role.
    pub user: String,
    /// Where the server is.
    pub server: Server,
    /// Database.
    pub name: String,
    /// File of the password; without one `PGPASSWORD`, or none.
    pub password_file: Option<PathBuf>,
    /// Authorities that sign the server's certificate; without them the public ones.
    pub ca: Option<PathBuf>,
    /// Connections at a time.
    pub connections: u32,
}

impl fmt::Display for Postgres {
    /// As whom, where and what; no password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, name, .. } = self;
        match &self.server {
            Server::Host { host, port } => write!(f, "postgres://{user}@{host}:{port}/{name}"),
            Server::Socket { folder, port } => {
                write!(f, "postgres://{user}@/{name}?host={}&port={port}", folder.display())
            }
        }
    }
}

/// A way to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// Over the network.
    Host {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A unix socket on this machine.
    Socket {
        /// Folder of the socket.
        folder: PathBuf,
        /// Port, which names the socket.
        port: u16,
    },
}

impl Server {
    /// Whether it is on this machine, so that plain text is seen by nobody else.
    #[must_use]
    pub fn is_here(&self) -> bool {
        match self {
            Self::Socket { .. } => true,
            Self::Host { host, .. } => {
                let address: Option<IpAddr> = host.parse().ok();
                host == "localhost" || address.is_some_and(|address| address.is_loopback())
            }
        }
    }
}

impl Postgres {
    /// Whether the connection is TLS with the server's name proved (`verify-full`): always,
    /// but to this machine without an authority named.
    #[must_use]
    pub fn verifies(&self) -> bool {
        !self.server.is_here() || self.ca.is_some()
    }

    /// The same database as another role.
    #[must_use]
    pub fn to_owner(&self, user: &str, password_file: Option<PathBuf>) -> Self {
        Self { user: user.to_owned(), password_file, ..self.clone() }
    }
}

/// `postgres` as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WirePostgres {
    /// File of mode 0600 with the role's password. Default: the environment's `PGPASSWORD`,
    /// or no password (a certificate or the socket's peer decides).
    password_file: Option<PathBuf>,
    /// PEM of the authorities that sign the server's certificate. Default: the public ones.
    /// On this machine TLS is used only when this is given.
    ca: Option<PathBuf>,
    /// Connections at a time, 2 to 100. Default 8.
    connections: u32,
}

impl Default for WirePostgres {
    fn default() -> Self {
        Self { password_file: None, ca: None, connections: 8 }
    }
}

/// The forms that are known.
const EXPECTED: &str = "expected sqlite:FILE, sqlite::memory:, postgres://ROLE@HOST[:PORT]/NAME or \
                        postgres://ROLE@/NAME?host=/FOLDER[&port=PORT]";

pub(super) fn database(
    url: Option<&str>,
    postgres: Option<WirePostgres>,
    data_dir: &Path,
    base: &Path,
) -> Result<Database, ConfigError> {
    let url = url.unwrap_or("sqlite:keys.sqlite");
    let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
    if let Some(rest) = rest {
        return server(rest, postgres.unwrap_or_default(), base).map(Database::Postgres);
    }
    if postgres.is_some() {
        return Err(problem("postgres", "expected a database of the form postgres://…"));
    }
    match url.strip_prefix("sqlite:") {
        Some(":memory:") => Ok(Database::Memory),
        Some(file) if !file.is_empty() => {
            Ok(Database::File(data_dir.join(file.trim_start_matches("//"))))
        }
        _ => Err(problem("database", EXPECTED)),
    }
}

fn server(rest: &str, wire: WirePostgres, base: &Path) -> Result<Postgres, ConfigError> {
    if !(2..=100).contains(&wire.connections) {
        return Err(problem("postgres.connections", "expected 2 to 100"));
    }
    let (authority, path) = rest.split_once('/').ok_or_else(unknown)?;
    let (user, host) = authority.rsplit_once('@').ok_or_else(unknown)?;
    if user.contains(':') {
        let instead = "expected no password in the URL: use postgres.password_file or PGPASSWORD";
        return Err(problem("database", instead));
    }
    let (name, query) = path.split_once('?').map_or((path, None), |(name, q)| (name, Some(q)));
    let server = match query {
        None => by_host(host)?,
        Some(query) if host.is_empty() => by_socket(query)?,
        Some(_) => return Err(unknown()),
    };
    if !is_plain(user) || !is_plain(name) {
        return Err(unknown());
    }
    Ok(Postgres {
        user: user.to_owned(),
        server,
        name: name.to_owned(),
        password_file: wire.password_file.map(|file| base.join(file)),
        ca: wire.ca.map(|file| base.join(file)),
        connections: wire.connections,
    })
}

fn unknown() -> ConfigError {
    problem("database", EXPECTED)
}

/// A name that needs no quotes anywhere.
fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=63).contains(&name.len()) && name.bytes().all(plain)
}

fn by_host(host: &str) -> Result<Server, ConfigError> {
    let (host, port) = match host.strip_prefix('[') {
        Some(v6) => v6.split_once(']').ok_or_else(unknown)?,
        None => host.find(':').map_or((host, ""), |at| host.split_at(at)),
    };
    let is_name = is_plain(host) || host.parse::<IpAddr>().is_ok();
    if !is_name {
        return Err(unknown());
    }
    let port = match port {
        "" => 5432,
        port => port.strip_prefix(':').and_then(|port| port.parse().ok()).ok_or_else(unknown)?,
    };
    Ok(Server::Host { host: host.to_owned(), port })
}

fn by_socket(query: &str) -> Result<Server, ConfigError> {
    let (folder, port) = match query.split_once("&port=") {
        Some((folder, port)) => (folder, port.parse().map_err(|_| unknown())?),
        None => (query, 5432),
    };
    let folder = folder.strip_prefix("host=").filter(|folder| folder.starts_with('/'));
    let folder = folder.filter(|folder| !folder.contains(['&', '#', '%', '?']));
    Ok(Server::Socket { folder: folder.ok_or_else(unknown)?.into(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Database, String> {
        let (data, base) = (Path::new("/srv/data"), Path::new("/srv"));
        database(Some(url), None, data, base).map_err(|error| error.to_string())
    }

    fn postgres(url: &str) -> Postgres {
        match parse(url) {
            Ok(Database::Postgres(postgres)) => postgres,
            other => panic!("{url}: {other:?}"),
        }
    }

    #[test]
    fn a_server_is_named_by_host_or_socket() {
        let far = postgres("postgres://postern_service@db.example/postern");
        assert_eq!(far.server, Server::Host { host: "db.example".into(), port: 5432 });
        assert_eq!((far.user.as_str(), far.name.as_str()), ("postern_service", "postern"));
        let v6 = postgres("postgresql://a@[::1]:6432/b");
        assert_eq!(v6.server, Server::Host { host: "::1".into(), port: 6432 });
        let socket = postgres("postgres://a@/b?host=/run/postgresql&port=5433");
        let folder = PathBuf::from("/run/postgresql");
        assert_eq!(socket.server, Server::Socket { folder, port: 5433 });
    }

    #[test]
    fn to_another_machine_there_is_no_way_but_a_proved_name() {
        for (url, verifies) in [
            ("postgres://a@db.example/b", true),
            ("postgres://a@10.0.0.1/b", true),
            ("postgres://a@127.0.0.1.example/b", true),
            ("postgres://a@127.0.0.1/b", false),
            ("postgres://a@localhost/b", false),
            ("postgres://a@[::1]/b", false),
            ("postgres://a@/b?host=/run/postgresql", false),
        ] {
            assert_eq!(postgres(url).verifies(), verifies, "{url}");
        }
        let here = postgres("postgres://a@127.0.0.1/b");
        assert!(Postgres { ca: Some("ca.pem".into()), ..here }.verifies());
    }

    #[test]
    fn any_other_form_is_refused() {
        for url in [
            "postgres://db/b",
            "postgres://a@db",
            "postgres://a@db/",
            "postgres://a@/b",
            "postgres://a@db/b?sslmode=disable",
            "postgres://a@/b?host=relative",
            "postgres://a@/b?host=/x&sslmode=disable",
            "postgres://a@/b?host=/x&port=y",
            "postgres://a@db:x/b",
            "postgres://a@[::1/b",
            "postgres://a b@db/b",
            "postgres://a@db/b%20c",
            "mysql://a@db/b",
            "sqlite:",
        ] {
            assert!(parse(url).unwrap_err().starts_with("database: expected"), "{url}");
        }
        let error = parse("postgres://a:hunter2@db/b").unwrap_err();
        assert!(error.contains("no password in the URL") && !error.contains("hunter2"), "{error}");
    }
}
