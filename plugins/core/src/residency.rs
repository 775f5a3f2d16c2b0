//! Data residency: in which regions the upstreams of a tenant may be.
//!
//! Invariant: an upstream whose region is not known is in none that is allowed. Names are
//! compared byte by byte; no region contains another.

use serde::Deserialize;

use crate::config::{ConfigError, Problems};
use crate::denial::RegionReason;

/// `residency` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wire {
    /// Regions that requests may leave for, as `upstreams` names them. Required, 1 to 64.
    #[serde(default)]
    pub regions: Vec<String>,
}

/// The regions that requests may leave for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Residency(Vec<String>);

const MOST_REGIONS: usize = 64;

impl TryFrom<Wire> for Residency {
    type Error = ConfigError;

    fn try_from(wire: Wire) -> Result<Self, ConfigError> {
        let mut problems = Problems::default();
        if !(1..=MOST_REGIONS).contains(&wire.regions.len()) {
            problems.note("regions", "expected 1 to 64 regions");
        }
        let regions = problems.list("regions", wire.regions, |region| {
            let expected = || ConfigError::one("", "expected 1 to 64 printable characters");
            is_region(&region).then_some(region).ok_or_else(expected)
        });
        problems.finish(Some(Self(regions)))
    }
}

impl Residency {
    /// Whether a request may leave for an upstream in `region`.
    pub fn check(&self, region: Option<&str>) -> Result<(), RegionReason> {
        let region = region.ok_or(RegionReason::Unknown)?;
        let allowed = self.0.iter().any(|allowed| allowed == region);
        if allowed { Ok(()) } else { Err(RegionReason::Elsewhere) }
    }
}

fn is_region(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(regions: &[&str]) -> Result<Residency, ConfigError> {
        Residency::try_from(Wire { regions: regions.iter().map(|&text| text.into()).collect() })
    }

    #[test]
    fn only_a_region_of_the_list_is_allowed() {
        let residency = read(&["eu-central", "eu-west"]).unwrap();
        assert_eq!(residency.check(Some("eu-west")), Ok(()));
        for region in ["us", "eu", "eu-west-1", "EU-WEST", ""] {
            assert_eq!(residency.check(Some(region)), Err(RegionReason::Elsewhere), "{region}");
        }
        assert_eq!(residency.check(None), Err(RegionReason::Unknown));
    }

    #[test]
    fn a_list_without_a_region_or_with_a_bad_name_is_refused() {
        let paths = |regions: &[&str]| {
            let problems = read(regions).unwrap_err().problems;
            problems.into_iter().map(|problem| problem.path).collect::<Vec<_>>()
        };
        assert_eq!(paths(&[]), ["regions"]);
        assert_eq!(paths(&["eu", "", "a b"]), ["regions[1]", "regions[2]"]);
    }
}
