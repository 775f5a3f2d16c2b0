//! A gateway, by what its modules count.
//!
//! Counters are read twice: what has risen since it started is worth a look, and what
//! rises now is happening now. Invariant: a gateway that shows no counters of ours is not a
//! good one.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Finding;

/// Time between the two looks: a batch that fails is sent again after 5 s, and given up on after
/// 15 s.
pub const BETWEEN: Duration = Duration::from_secs(16);

/// A counter, the reasons of it that mean something, and what to do.
struct Rule {
    check: &'static str,
    counter: &'static str,
    reasons: &'static [&'static str],
    advice: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        check: "records missing",
        counter: "postern_audit_gap_total",
        reasons: &[],
        advice: "deploy/RUNBOOK.md#posternauditgap",
    },
    Rule {
        check: "records left behind",
        counter: "postern_audit_spill_total",
        reasons: &["lost", "forged", "refused", "no_area"],
        advice: "deploy/RUNBOOK.md#posternauditspilllost",
    },
    Rule {
        check: "records not taken",
        counter: "postern_audit_batch_total",
        reasons: &["failed"],
        advice: "deploy/RUNBOOK.md#posternauditnotdelivered",
    },
    Rule {
        check: "refused for audit",
        counter: "postern_gate_denied_total",
        reasons: &["audit_unavailable"],
        advice: "deploy/RUNBOOK.md#posternauditrefusing",
    },
    Rule {
        check: "refused for evidence",
        counter: "postern_gate_denied_total",
        reasons: &["attestation_unavailable"],
        advice: "deploy/RUNBOOK.md#posternevidencerefused",
    },
    Rule {
        check: "key service away",
        counter: "postern_gate_denied_total",
        reasons: &["key_service_unavailable"],
        advice: "deploy/RUNBOOK.md#posternkeyserviceunavailable",
    },
    Rule {
        check: "values not released",
        counter: "postern_credential_denied_total",
        reasons: &["attestation_unavailable", "key_service_unavailable"],
        advice: "deploy/RUNBOOK.md#posternkeyserviceunavailable",
    },
    Rule {
        check: "revocations late",
        counter: "postern_revocation_late_total",
        reasons: &[],
        advice: "deploy/RUNBOOK.md#posternrevocationslate",
    },
];

/// Counters by name and reason; a counter without a reason has an empty one.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<(String, String), u64>);

impl Counters {
    /// Reads the text format of Prometheus. Lines of other metrics are passed over.
    pub fn read(text: &str) -> Self {
        let mut counters = BTreeMap::new();
        for line in text.lines().filter(|line| line.starts_with("postern_")) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<f64>() else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let reason = labels
                .split_once("reason=\"")
                .map_or("", |(_, rest)| rest.split_once('"').map_or("", |(reason, _)| reason));
            // Counters are whole and far below 2^53.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let value = value.max(0.0) as u64;
            *counters.entry((name.to_owned(), reason.to_owned())).or_default() += value;
        }
        Self(counters)
    }

    fn of(&self, rule: &Rule) -> Vec<(&str, u64)> {
        let mut found = Vec::new();
        for ((name, reason), value) in &self.0 {
            let meant = rule.reasons.is_empty() || rule.reasons.contains(&reason.as_str());
            if name == rule.counter && meant && *value > 0 {
                found.push((reason.as_str(), *value));
            }
        }
        found
    }
}

/// What two looks show.
pub fn compare(url: &str, before: &Counters, after: &Counters) -> Vec<Finding> {
    if after.0.is_empty() {
        let advice = "is this the gateway's admin address, and has it served a request yet?";
        let saw = format!("{url} shows no counters of Postern");
        return vec![Finding::bad("gateway", saw, advice)];
    }
    let mut findings = vec![Finding::ok("gateway", format!("{url} shows counters of its modules"))];
    findings.extend(RULES.iter().map(|rule| judged(rule, before, after)));
    findings
}

fn judged(rule: &Rule, before: &Counters, after: &Counters) -> Finding {
    let (old, new) = (before.of(rule), after.of(rule));
    if new.is_empty() {
        return Finding::ok(rule.check, "none since it started");
    }
    let told = |(reason, value): &(&str, u64)| match *reason {
        "" => value.to_string(),
        reason => format!("{reason} {value}"),
    };
    let saw = new.iter().map(told).collect::<Vec<_>>().join(", ");
    let before = |reason: &str| old.iter().find(|(name, _)| *name == reason).map_or(0, |it| it.1);
    if new.iter().any(|(reason, value)| *value > before(reason)) {
        return Finding::bad(rule.check, format!("{saw}, and rising"), rule.advice);
    }
    Finding::warning(rule.check, format!("{saw} since it started, no more now"), rule.advice)
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    const TEXT: &str = "\
# TYPE postern_audit_gap_total counter
postern_audit_gap_total{reason=\"unlogged\"} 2
postern_audit_spill_total{reason=\"taken_over\"} 5
postern_audit_batch_total{reason=\"failed\"} 1
postern_audit_batch_total{reason=\"acknowledged\"} 900
postern_revocation_late_total{} 0
envoy_cluster_x 7
";

    fn state(findings: &[Finding], check: &str) -> State {
        findings.iter().find(|finding| finding.check == check).unwrap().state
    }

    #[test]
    fn what_rises_is_bad_and_what_rose_is_a_warning() {
        let before = Counters::read(TEXT);
        let after = Counters::read(&TEXT.replace("\"failed\"} 1", "\"failed\"} 2"));
        let findings = compare("a", &before, &after);
        assert_eq!(state(&findings, "records missing"), State::Warning);
        assert_eq!(state(&findings, "records not taken"), State::Bad);
        for good in ["records left behind", "revocations late", "key service away", "gateway"] {
            assert_eq!(state(&findings, good), State::Ok, "{good}");
        }
    }

    #[test]
    fn a_gateway_that_was_started_anew_does_not_rise() {
        let before = Counters::read(&TEXT.replace("\"unlogged\"} 2", "\"unlogged\"} 9"));
        let findings = compare("a", &before, &Counters::read(TEXT));
        assert_eq!(state(&findings, "records missing"), State::Warning);
    }

    #[test]
    fn a_gateway_without_our_counters_is_bad() {
        let none = Counters::read("envoy_cluster_x 7\n");
        let findings = compare("a", &none, &none);
        assert_eq!((findings.len(), findings[0].state), (1, State::Bad));
    }

    #[test]
    fn every_section_of_the_runbook_that_is_named_is_there() {
        let runbook = include_str!("../../../../deploy/RUNBOOK.md").to_lowercase();
        for rule in RULES {
            let anchor = rule.advice.split_once('#').unwrap().1;
            assert!(runbook.contains(&format!("## {anchor}\n")), "{anchor}");
        }
    }
}
