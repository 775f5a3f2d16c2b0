//! Which proxies a resource is for.
//!
//! Invariant: a resource that a waypoint would pass over is an error, not a note: its module
//! would be missing in silence.

use super::super::report::Report;
use super::super::yaml::At;

/// How Istio begins the names of a waypoint's clusters.
pub const WAYPOINT: &str = "inbound-vip";

/// `labels` is what this kind calls its choice of workloads by labels.
pub fn check(spec: &At<'_>, labels: &str, report: &mut Report) {
    match (spec.get(labels), spec.get("targetRefs")) {
        (Some(at), None) if is_for_waypoint(spec) => report.error(
            &at,
            "expected targetRefs: a waypoint does not look at labels, and would go without the \
             module",
        ),
        (Some(at), Some(_)) => {
            report.error(&at, "expected either this or targetRefs: Istio takes one");
        }
        (None, None) => report.note(
            spec,
            format!("without {labels} or targetRefs it is for every workload of the namespace"),
        ),
        _ => {}
    }
}

/// By the place of a patch, or by the names of the clusters it speaks of.
fn is_for_waypoint(spec: &At<'_>) -> bool {
    let named = |text: &str| text == "WAYPOINT" || text.split('|').next() == Some(WAYPOINT);
    spec.walk()
        .iter()
        .any(|at| at.text().is_some_and(named) || at.entries().iter().any(|(name, _)| named(name)))
}
