//! `tls` of `keys.yaml`: the service's own certificate, and who has to show one.
//!
//! Invariant: names that nobody would be compared with are refused.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{ConfigError, problem};

/// Most names of clients.
const MAX_NAMES: usize = 256;

/// As written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wire {
    /// PEM chain, leaf first. Default: made on first start.
    certificate: Option<PathBuf>,
    /// PEM key of mode 0600.
    key: Option<PathBuf>,
    /// PEM of the authorities of client certificates. Default: none, and nobody shows one.
    client_ca: Option<PathBuf>,
    /// `crp` (the default): gateways and whoever else speaks CRP. `all`: every connection.
    require: Option<Require>,
    /// DNS names and URIs, one of which has to be in a client's certificate. Default: every
    /// certificate of the authorities is good.
    #[serde(default)]
    names: Vec<String>,
}

/// The service's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Made on first start in the data directory.
    Own,
    /// Given.
    Files {
        /// PEM chain.
        certificate: PathBuf,
        /// PEM key.
        key: PathBuf,
    },
}

/// Which requests need a client certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Require {
    /// Those of the protocol, `/crp/…`.
    #[default]
    Crp,
    /// All: there is no connection without one.
    All,
}

/// Whose client certificates are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients {
    /// PEM of their authorities.
    pub ca: PathBuf,
    /// Who has to show one.
    pub require: Require,
    /// Names of which one has to be in it; every name is good without any.
    pub names: Vec<String>,
}

pub(super) fn checked(wire: Wire, base: &Path) -> Result<(Tls, Option<Clients>), ConfigError> {
    let tls = match (wire.certificate, wire.key) {
        (None, None) => Tls::Own,
        (Some(certificate), Some(key)) => {
            Tls::Files { certificate: base.join(certificate), key: base.join(key) }
        }
        _ => return Err(problem("tls", "expected certificate and key, or neither")),
    };
    let Some(ca) = wire.client_ca else {
        if wire.require.is_some() || !wire.names.is_empty() {
            return Err(problem(
                "tls.client_ca",
                "expected the authorities of client certificates",
            ));
        }
        return Ok((tls, None));
    };
    let is_name = |name: &String| {
        (1..=255).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'*')
    };
    if wire.names.len() > MAX_NAMES || !wire.names.iter().all(is_name) {
        let expected = "expected at most 256 DNS names and URIs, each whole, without wildcards";
        return Err(problem("tls.names", expected));
    }
    let require = wire.require.unwrap_or_default();
    Ok((tls, Some(Clients { ca: base.join(ca), require, names: wire.names })))
}
