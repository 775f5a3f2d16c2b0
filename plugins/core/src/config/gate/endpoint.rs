//! Services beside the key service that a gate calls: a cluster, an authority, a path.

use serde::Deserialize;

use crate::config::{ConfigError, Problems};

/// An endpoint as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointWire {
    /// Name of the proxy's cluster that leads there; the cluster has the TLS. Required.
    pub cluster: Option<String>,
    /// Authority of the calls. Required.
    pub authority: Option<String>,
    /// Path with query. Required.
    pub path: Option<String>,
}

/// Somebody to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Cluster.
    pub cluster: String,
    /// Authority.
    pub authority: String,
    /// Path.
    pub path: String,
}

pub(super) fn endpoint(wire: EndpointWire) -> Result<Endpoint, ConfigError> {
    let mut problems = Problems::default();
    let plain = |text: &String| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
    let read = |problems: &mut Problems, name: &str, written: Option<String>| {
        let written = problems.required(name, written)?;
        let fits = plain(&written) && written.len() <= 2048;
        problems.scalar(name, fits.then_some(written).ok_or("expected printable ASCII"))
    };
    let cluster = read(&mut problems, "cluster", wire.cluster);
    let authority = read(&mut problems, "authority", wire.authority);
    let path = read(&mut problems, "path", wire.path);
    if path.as_ref().is_some_and(|path| !path.starts_with('/') || path.contains('#')) {
        problems.note("path", "expected a path that begins with /");
    }
    let read = (|| Some(Endpoint { cluster: cluster?, authority: authority?, path: path? }))();
    problems.finish(read)
}
