//! `keys.yaml`: what the key service itself would refuse, and what is for development alone.

use std::path::Path;

use postern_files::yaml::At;
use postern_keys::Config;
use postern_keys::config::{Evidence, Kek};

use super::{Allowed, Report};

/// Whether this is a `keys.yaml`: it alone has a data folder.
pub fn is_one(root: &At<'_>) -> bool {
    root.get("data_dir").is_some()
}

/// Runs the service's own parser.
pub fn check(root: &At<'_>, allowed: Allowed, report: &mut Report) {
    let json = root.node.to_json().to_string();
    match Config::parse(json.as_bytes(), Path::new(".")) {
        Err(error) => report.error(&root.nearest(&error.path), error.message),
        Ok(config) if config.evidence == Evidence::Sim && !allowed.simulated => report.error(
            &root.nearest("evidence"),
            "evidence is SIMULATED and proves nothing (development only: --allow-simulated)",
        ),
        Ok(config) if config.evidence != Evidence::Sim && !matches!(config.kek, Kek::Azure(_)) => {
            report.note(
            root,
            "the key-encryption key is in a file (kek.key, or that of a passphrase): who reads the disk has every value. With \
             kek.azure a vault releases it to the attested machine alone",
        )},
        Ok(_) => {}
    }
}
