//! `vaults`: where values of credentials are that are not put into this service.
//!
//! Invariant: a vault is reached by https (on this machine with simulated evidence by http too),
//! each tenant has a folder of its own in it and none of them is inside another's; what a
//! tenant's credential names is looked for under that folder alone.

use std::collections::BTreeMap;
use std::path::{Path as File, PathBuf};
use std::time::Duration;

use postern_core::placeholder::Name;
use postern_vaults::{Path, ServerUrl};
use serde::Deserialize;

use super::{ConfigError, problem};

/// Most vaults.
const MOST: usize = 16;

/// One of `vaults` as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wire {
    /// HashiCorp Vault, KV secrets engine version 2.
    hashicorp: Option<WireHashicorp>,
    /// AWS Secrets Manager. One of the two is required.
    aws: Option<WireAws>,
    /// Which tenants have values in it, each with the folder under which theirs are. Empty: all of
    /// it, where there is but one tenant.
    tenants: BTreeMap<String, String>,
    /// Seconds for which a value is used without asking the vault again, 1 to 3600. Default 60.
    #[serde(default = "ttl")]
    ttl_seconds: u64,
    /// Seconds beyond these for which it is used while the vault cannot be asked, 0 to 3600.
    /// Default 0.
    #[serde(default)]
    stale_seconds: u64,
    /// Milliseconds for one answer, logins included, 100 to 10000, and less than
    /// `limits.request_seconds`. Default 1200: a gateway waits for two seconds in all.
    #[serde(default = "timeout")]
    timeout_ms: u64,
    /// Questions to it at a time, 1 to 64. Default 8; others wait.
    #[serde(default = "in_flight")]
    in_flight: usize,
    /// Values that are kept of it, 1 to 65536. Default 1024; beyond it the oldest goes.
    #[serde(default = "entries")]
    entries: usize,
}

fn ttl() -> u64 {
    60
}

fn timeout() -> u64 {
    1200
}

fn in_flight() -> usize {
    8
}

fn entries() -> usize {
    1024
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireHashicorp {
    /// `https://HOST[:PORT]`.
    address: String,
    /// Certificates in PEM that are trusted in place of the built-in ones.
    ca: Option<PathBuf>,
    /// Where the engine is mounted. Default `secret`.
    #[serde(default = "secret")]
    mount: String,
    /// Namespace of the engine and of the login (Enterprise). Default: the root.
    namespace: Option<String>,
    /// File (mode 0600) with a token that somebody else keeps alive. One of the three is required.
    token_file: Option<PathBuf>,
    /// `AppRole`.
    approle: Option<WireAppRole>,
    /// The service account that this runs as in Kubernetes.
    kubernetes: Option<WireKubernetes>,
}

fn secret() -> String {
    "secret".to_owned()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireAppRole {
    /// Role id.
    role_id: String,
    /// File (mode 0600) with the secret id.
    secret_id_file: PathBuf,
    /// Where the method is mounted. Default `approle`.
    #[serde(default = "approle")]
    mount: String,
}

fn approle() -> String {
    "approle".to_owned()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireKubernetes {
    /// Role.
    role: String,
    /// File with the account's token. Default: where Kubernetes puts it.
    #[serde(default = "account")]
    token_file: PathBuf,
    /// Where the method is mounted. Default `kubernetes`.
    #[serde(default = "kubernetes")]
    mount: String,
}

fn account() -> PathBuf {
    "/var/run/secrets/kubernetes.io/serviceaccount/token".into()
}

fn kubernetes() -> String {
    "kubernetes".to_owned()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireAws {
    /// Region, such as `eu-west-1`.
    region: String,
    /// File (mode 0600) with keys, as the AWS command line has them; of the profile `default`.
    credentials_file: PathBuf,
    /// Default `https://secretsmanager.REGION.amazonaws.com`.
    endpoint: Option<String>,
    /// Certificates in PEM that are trusted in place of the built-in ones.
    ca: Option<PathBuf>,
}

/// A vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vault {
    /// What it is.
    pub medium: VaultMedium,
    /// Folder of each tenant that has values in it; none for all of it.
    pub tenants: BTreeMap<String, Option<Path>>,
    /// For how long a value is used without asking again.
    pub ttl: Duration,
    /// For how long beyond that while the vault cannot be asked.
    pub stale: Duration,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// Questions at a time.
    pub in_flight: usize,
    /// Values that are kept.
    pub entries: usize,
}

/// What a vault is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VaultMedium {
    /// HashiCorp Vault.
    Hashicorp(Hashicorp),
    /// AWS Secrets Manager.
    Aws(Aws),
}

/// AWS Secrets Manager of one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aws {
    /// Region.
    pub region: String,
    /// Where it is.
    pub endpoint: ServerUrl,
    /// Private file with keys.
    pub credentials: PathBuf,
    /// Certificates to trust, if not the built-in ones.
    pub ca: Option<PathBuf>,
}

/// HashiCorp Vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashicorp {
    /// Where it is.
    pub address: ServerUrl,
    /// Certificates to trust, if not the built-in ones.
    pub ca: Option<PathBuf>,
    /// The engine.
    pub mount: Path,
    /// The namespace, if not the root.
    pub namespace: Option<Path>,
    /// How to log in.
    pub login: HashicorpLogin,
}

/// How to log in to HashiCorp Vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashicorpLogin {
    /// A token in a private file.
    Token(PathBuf),
    /// `AppRole`.
    AppRole {
        /// Mount of the method.
        mount: Path,
        /// Role id.
        role_id: String,
        /// Private file with the secret id.
        secret_id: PathBuf,
    },
    /// A service account of Kubernetes.
    Kubernetes {
        /// Mount of the method.
        mount: Path,
        /// Role.
        role: String,
        /// File with the account's token.
        token: PathBuf,
    },
}

/// What the other keys say that this one depends on.
pub(super) struct Around<'a> {
    pub(super) base: &'a File,
    pub(super) simulated: bool,
    pub(super) request: Duration,
}

/// Checks `vaults`.
pub(super) fn checked(
    wires: BTreeMap<String, Wire>,
    around: &Around<'_>,
) -> Result<BTreeMap<String, Vault>, ConfigError> {
    if wires.len() > MOST {
        return Err(problem("vaults", format!("expected at most {MOST}")));
    }
    let one = |(name, wire): (String, Wire)| {
        let at = format!("vaults.{name}");
        if Name::new(&name).is_none() {
            return Err(problem(
                &at,
                "expected a name of 1 to 63 lower-case letters, digits, _ and -",
            ));
        }
        let vault = vault(wire, &at, around)?;
        Ok((name, vault))
    };
    wires.into_iter().map(one).collect()
}

fn vault(wire: Wire, at: &str, around: &Around<'_>) -> Result<Vault, ConfigError> {
    limits(&wire, at, around.request)?;
    let tenants = tenants(&wire.tenants, &format!("{at}.tenants"))?;
    let medium = match (wire.hashicorp, wire.aws) {
        (Some(wire), None) => {
            VaultMedium::Hashicorp(hashicorp(wire, &format!("{at}.hashicorp"), around)?)
        }
        (None, Some(wire)) => VaultMedium::Aws(aws(wire, &format!("{at}.aws"), around)?),
        _ => return Err(problem(at, "expected hashicorp or aws")),
    };
    Ok(Vault {
        medium,
        tenants,
        ttl: Duration::from_secs(wire.ttl_seconds),
        stale: Duration::from_secs(wire.stale_seconds),
        timeout: Duration::from_millis(wire.timeout_ms),
        in_flight: wire.in_flight,
        entries: wire.entries,
    })
}

fn limits(wire: &Wire, at: &str, request: Duration) -> Result<(), ConfigError> {
    let rows = [
        ("ttl_seconds", wire.ttl_seconds, 1, 3600),
        ("stale_seconds", wire.stale_seconds, 0, 3600),
        ("timeout_ms", wire.timeout_ms, 100, 10_000),
        ("in_flight", wire.in_flight as u64, 1, 64),
        ("entries", wire.entries as u64, 1, 65_536),
    ];
    for (name, value, least, most) in rows {
        if !(least..=most).contains(&value) {
            return Err(problem(&format!("{at}.{name}"), format!("expected {least} to {most}")));
        }
    }
    match Duration::from_millis(wire.timeout_ms) < request {
        true => Ok(()),
        false => Err(problem(
            &format!("{at}.timeout_ms"),
            "expected less than limits.request_seconds: nobody would wait for the answer",
        )),
    }
}

fn tenants(
    wire: &BTreeMap<String, String>,
    at: &str,
) -> Result<BTreeMap<String, Option<Path>>, ConfigError> {
    if wire.is_empty() {
        return Err(problem(at, "expected at least one tenant with its folder"));
    }
    let mut tenants: BTreeMap<String, Option<Path>> = BTreeMap::new();
    for (tenant, folder) in wire {
        let at = format!("{at}.{tenant}");
        if Name::new(tenant).is_none() {
            return Err(problem(&at, "expected the name of a tenant"));
        }
        let folder = match folder.as_str() {
            "" => None,
            folder => Some(path(folder, &at)?),
        };
        if let Some((other, _)) =
            tenants.iter().find(|(_, theirs)| meet(theirs.as_ref(), folder.as_ref()))
        {
            let why =
                format!("expected a folder that is not inside that of {other}, nor around it");
            return Err(problem(&at, why));
        }
        tenants.insert(tenant.clone(), folder);
    }
    Ok(tenants)
}

/// Whether one is the other or inside it.
fn meet(left: Option<&Path>, right: Option<&Path>) -> bool {
    let (Some(left), Some(right)) = (left, right) else { return true };
    let inside = |inner: &str, outer: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    inside(left.as_str(), right.as_str()) || inside(right.as_str(), left.as_str())
}

fn path(text: &str, at: &str) -> Result<Path, ConfigError> {
    Path::parse(text).map_err(|error| problem(at, error.to_string()))
}

fn hashicorp(wire: WireHashicorp, at: &str, around: &Around<'_>) -> Result<Hashicorp, ConfigError> {
    let below = |name: &str| format!("{at}.{name}");
    let address = ServerUrl::parse(&wire.address, around.simulated)
        .map_err(|error| problem(&below("address"), error.to_string()))?;
    let namespace = wire.namespace.map(|text| path(&text, &below("namespace"))).transpose()?;
    let login = match (wire.token_file, wire.approle, wire.kubernetes) {
        (Some(file), None, None) => HashicorpLogin::Token(around.base.join(file)),
        (None, Some(wire), None) => HashicorpLogin::AppRole {
            mount: path(&wire.mount, &below("approle.mount"))?,
            role_id: role(wire.role_id, &below("approle.role_id"))?,
            secret_id: around.base.join(wire.secret_id_file),
        },
        (None, None, Some(wire)) => HashicorpLogin::Kubernetes {
            mount: path(&wire.mount, &below("kubernetes.mount"))?,
            role: role(wire.role, &below("kubernetes.role"))?,
            token: around.base.join(wire.token_file),
        },
        _ => return Err(problem(at, "expected one of token_file, approle and kubernetes")),
    };
    Ok(Hashicorp {
        address,
        ca: wire.ca.map(|ca| around.base.join(ca)),
        mount: path(&wire.mount, &below("mount"))?,
        namespace,
        login,
    })
}

fn aws(wire: WireAws, at: &str, around: &Around<'_>) -> Result<Aws, ConfigError> {
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let WireAws { region, credentials_file, endpoint, ca } = wire;
    if !(1..=32).contains(&region.len()) || !region.bytes().all(known) {
        return Err(problem(&format!("{at}.region"), "expected a region, such as eu-west-1"));
    }
    let default = format!("https://secretsmanager.{region}.amazonaws.com");
    let endpoint = ServerUrl::parse(&endpoint.unwrap_or(default), around.simulated)
        .map_err(|error| problem(&format!("{at}.endpoint"), error.to_string()))?;
    let credentials = around.base.join(credentials_file);
    Ok(Aws { region, endpoint, credentials, ca: ca.map(|ca| around.base.join(ca)) })
}

fn role(text: String, at: &str) -> Result<String, ConfigError> {
    let good = (1..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if good { Ok(text) } else { Err(problem(at, "expected 1 to 256 characters without spaces")) }
}

#[cfg(test)]
mod tests {
    use std::path::Path as File;
    use std::time::Duration;

    use super::{HashicorpLogin, Vault, VaultMedium};
    use crate::Config;

    /// `vaults.main` with these lines.
    fn parse(lines: &str) -> Result<Vault, String> {
        let yaml = format!("data_dir: d\nvaults:\n  main:\n{lines}");
        let config = Config::parse(yaml.as_bytes(), File::new("/srv"));
        config.map(|config| config.vaults["main"].clone()).map_err(|error| error.to_string())
    }

    const TENANTS: &str = "    tenants: {acme: acme}\n";

    fn with(hashicorp: &str) -> String {
        format!("    hashicorp: {{{hashicorp}}}\n{TENANTS}")
    }

    #[test]
    fn defaults_are_short_and_files_stand_beside_the_configuration() {
        let vault = parse(&with("address: 'https://v.example', token_file: token")).unwrap();
        assert_eq!((vault.ttl, vault.stale), (Duration::from_secs(60), Duration::ZERO));
        assert_eq!(vault.timeout, Duration::from_millis(1200));
        let VaultMedium::Hashicorp(hashicorp) = vault.medium else { panic!("another kind") };
        assert_eq!(hashicorp.mount.as_str(), "secret");
        assert_eq!(hashicorp.login, HashicorpLogin::Token("/srv/token".into()));
    }

    #[test]
    fn a_region_says_where_secrets_manager_is() {
        let of = |aws: &str| parse(&format!("    aws: {{{aws}}}\n{TENANTS}"));
        let VaultMedium::Aws(aws) = of("region: eu-west-1, credentials_file: k").unwrap().medium
        else {
            panic!("another kind")
        };
        assert_eq!(aws.endpoint.to_string(), "https://secretsmanager.eu-west-1.amazonaws.com");
        assert_eq!(aws.credentials, File::new("/srv/k"));
        for (lines, want) in [
            ("region: eu-west-1", "credentials_file"),
            ("region: 'a.b/', credentials_file: k", "vaults.main.aws.region: expected a region"),
            ("region: a, credentials_file: k, endpoint: 'http://a'", "vaults.main.aws.endpoint: "),
        ] {
            let said = of(lines).unwrap_err();
            assert!(said.contains(want), "{lines}: {said}");
        }
    }

    #[test]
    fn the_example_is_read() {
        let example = include_bytes!("../../keys.vaults.example.yaml");
        let config = Config::parse(example, File::new("/srv")).unwrap();
        let vault = &config.vaults["main"];
        assert_eq!(vault.stale, Duration::from_secs(120));
        assert_eq!(vault.tenants["acme"].as_ref().unwrap().as_str(), "teams/acme");
    }

    #[test]
    fn what_is_wrong_with_a_vault_is_named() {
        let address = "address: 'https://v.example'";
        let good = with(&format!("{address}, token_file: t"));
        let of = |hashicorp: &str| with(&format!("{address}, {hashicorp}"));
        for (lines, want) in [
            (TENANTS.to_owned(), "vaults.main: expected hashicorp or aws"),
            (with("address: 'http://v.example', token_file: t"), "vaults.main.hashicorp.address: "),
            (of("mount: kv"), "vaults.main.hashicorp: expected one of token_file, approle and"),
            (of("token_file: t, kubernetes: {role: r}"), "vaults.main.hashicorp: expected one of"),
            (of("token_file: t, mount: ../kv"), "vaults.main.hashicorp.mount: expected a path"),
            (of("token_file: t, namespace: 'a b'"), "vaults.main.hashicorp.namespace: expected"),
            (of("approle: {role_id: '', secret_id_file: s}"), "hashicorp.approle.role_id: "),
            (of("approle: {role_id: r}"), "secret_id_file"),
            (of("kubernetes: {role: r, mount: '/'}"), "hashicorp.kubernetes.mount: expected"),
            (of("token_file: t, colour: red"), "colour"),
            (format!("{good}    ttl_seconds: 0\n"), "vaults.main.ttl_seconds: expected 1 to 3600"),
            (format!("{good}    stale_seconds: 3601\n"), "vaults.main.stale_seconds: expected 0"),
            (format!("{good}    timeout_ms: 99\n"), "vaults.main.timeout_ms: expected 100"),
            (format!("{good}    timeout_ms: 5000\n"), "timeout_ms: expected less than limits."),
            (format!("{good}    in_flight: 65\n"), "vaults.main.in_flight: expected 1 to 64"),
            (format!("{good}    entries: 0\n"), "vaults.main.entries: expected 1 to 65536"),
            (good.replace("{acme: acme}", "{}"), "vaults.main.tenants: expected at least one"),
            (good.replace("acme: acme", "A: a"), "vaults.main.tenants.A: expected the name of"),
            (
                good.replace("acme: acme", "acme: a/../b"),
                "vaults.main.tenants.acme: expected a path",
            ),
        ] {
            let said = parse(&lines).unwrap_err();
            assert!(said.contains(want), "{lines}: {said}");
        }
        let yaml = "data_dir: d\nvaults: {Main: {tenants: {a: a}}}\n";
        let said = Config::parse(yaml.as_bytes(), File::new("/srv")).unwrap_err().to_string();
        assert!(said.contains("vaults.Main: expected a name"), "{said}");
    }

    #[test]
    fn no_tenants_folder_is_inside_that_of_another() {
        let good = with("address: 'https://v.example', token_file: t");
        let of = |tenants: &str| parse(&good.replace("{acme: acme}", tenants));
        for taken in ["{a: x, b: y}", "{a: x/a, b: x/b}", "{a: x, b: xy}", "{a: ''}"] {
            assert!(of(taken).is_ok(), "{taken}");
        }
        for refused in ["{a: x, b: x}", "{a: x, b: x/b}", "{a: x/y, b: x}", "{a: '', b: y}"] {
            let said = of(refused).unwrap_err();
            assert!(
                said.contains("vaults.main.tenants.b: expected a folder that is not"),
                "{said}"
            );
        }
    }
}
