//! The key service, asked as an operator of it.
//!
//! Invariant: nothing is changed by asking, and what the service says of itself is believed only
//! where it is signed; the rest is said to be its own word.

use std::time::Instant;

use postern_core::time::UnixMillis;
use postern_crp::evidence::Evidence;
use postern_crp::revocation;
use postern_keys::audit::checkpoint::Checkpoint;
use serde_json::Value;

use super::Finding;
use crate::commands::audit::signing_key;
use crate::operator::Operator;
use crate::service::Service;
use crate::span;

/// Clocks may differ by this many milliseconds, and messages are refused beyond the second.
const CLOSE_MS: u64 = 2_000;
const TOO_FAR_MS: u64 = 30_000;
/// A revocation head is signed every two seconds; gateways act on one that is older than this.
const HEAD_SECONDS: u64 = 6;
/// Identities that end within this time are named.
const SOON_MS: u64 = 14 * 24 * 3600 * 1000;
/// A checkpoint is signed within a minute of an event.
const CHECKPOINT_MS: u64 = 120_000;

/// Every check; the later ones are skipped when it does not answer.
pub fn look(operator: &Operator, now: UnixMillis) -> Vec<Finding> {
    let service = match operator.service() {
        Ok(service) => service,
        Err(failure) => {
            let advice = "run postern enrol again, or mend the operator's file";
            return vec![Finding::bad("key service", failure.to_string(), advice)];
        }
    };
    let mut findings = Vec::new();
    let asked = Instant::now();
    let Some(()) = health(&service, asked, &mut findings) else { return findings };
    findings.push(clock(&service));
    match service.evidence() {
        Ok(evidence) => {
            findings.push(attested(operator, &evidence));
            findings.push(revocations(&service, &evidence));
        }
        Err(failure) => {
            let advice = "do not use this service until you know why: deploy/RUNBOOK.md#posternevidencerefused";
            findings.push(Finding::bad("evidence", failure.to_string(), advice));
            findings.push(Finding::skipped("revocations", "no evidence says whose they are"));
        }
    }
    findings.extend(identities(&service, operator, now));
    findings.extend(audit(&service, operator, now));
    findings
}

fn health(service: &Service<'_>, asked: Instant, findings: &mut Vec<Finding>) -> Option<()> {
    let health = service.get("/health");
    let took = asked.elapsed().as_millis();
    let health = match health {
        Ok(health) => health,
        Err(failure) => {
            let advice = "is it running, and is this its url? deploy/RUNBOOK.md#posternkeyserviceunavailable";
            findings.push(Finding::bad("key service", failure.to_string(), advice));
            return None;
        }
    };
    let health: Value = serde_json::from_slice(&health).unwrap_or(Value::Null);
    let version = health["version"].as_str().unwrap_or("unknown");
    findings.push(if health["ready"] == true {
        Finding::ok("key service", format!("version {version} answers in {took} ms, and is ready"))
    } else {
        let advice = "look at its log: the database or the key-encryption key is not there";
        Finding::bad("key service", format!("version {version} answers, and is not ready"), advice)
    });
    findings.push(if health["memory"]["locked"] == true {
        Finding::ok("memory", "locked, by its own word")
    } else {
        let advice =
            "give it CAP_IPC_LOCK or a higher memlock limit, so that keys are never swapped";
        Finding::warning("memory", "not locked, by its own word", advice)
    });
    Some(())
}

fn clock(service: &Service<'_>) -> Finding {
    const ADVICE: &str =
        "run a time service on both machines; messages are refused when they differ too far";
    let Ok(Some(theirs)) = service.clock() else {
        return Finding::skipped("clock", "its answers have no time");
    };
    // Its answer has whole seconds.
    let apart = theirs.0.abs_diff(span::now().0).saturating_sub(1_000);
    let saw = format!("{apart} ms from this machine's");
    if apart <= CLOSE_MS {
        return Finding::ok("clock", saw);
    }
    if apart <= TOO_FAR_MS {
        return Finding::warning("clock", saw, ADVICE);
    }
    Finding::bad("clock", saw, ADVICE)
}

fn attested(operator: &Operator, evidence: &Evidence) -> Finding {
    let saw = format!("epoch {}, release set {}", evidence.epoch(), evidence.releases());
    if operator.endpoint.simulated.is_some() {
        let saw = format!("SIMULATED: proves nothing about the machine ({saw})");
        return Finding::warning("evidence", saw, "never keep real credentials in it");
    }
    Finding::ok("evidence", format!("answers our challenge ({saw})"))
}

fn revocations(service: &Service<'_>, evidence: &Evidence) -> Finding {
    const ADVICE: &str =
        "gateways refuse when it is stale: deploy/RUNBOOK.md#posternrevocationsstale";
    let head = service.get("/crp/v1/revocations");
    let body = match head {
        Ok(body) => body,
        Err(failure) => return Finding::bad("revocations", failure.to_string(), ADVICE),
    };
    let head = match revocation::open(&body, evidence.signing_key()) {
        Ok(opened) => opened.head,
        Err(refusal) => return Finding::bad("revocations", refusal.to_string(), ADVICE),
    };
    let age = span::now().seconds().saturating_sub(head.ts);
    let saw = format!("{} entries, signed {age} s ago", head.count);
    if age > HEAD_SECONDS {
        return Finding::bad("revocations", saw, ADVICE);
    }
    Finding::ok("revocations", saw)
}

fn identities(service: &Service<'_>, operator: &Operator, now: UnixMillis) -> Vec<Finding> {
    const CHECK: &str = "identities";
    let list = match service.signed(operator, "GET", "/api/v1/gateways", None) {
        Ok(list) => list,
        Err(failure) => {
            let advice = "is this operator still enrolled? postern enrol makes another";
            return vec![Finding::bad("operator", failure.to_string(), advice)];
        }
    };
    let mut findings = vec![Finding::ok("operator", format!("of tenant {}", operator.tenant))];
    let empty = Vec::new();
    let live = list["identities"].as_array().unwrap_or(&empty).iter();
    let live: Vec<&Value> = live.filter(|one| one["revoked_ms"].is_null()).collect();
    let end = |one: &Value| one["not_after_ms"].as_u64().unwrap_or_default();
    for one in &live {
        let (role, gateway) = (&one["role"], one["gateway"].as_str().unwrap_or_default());
        let role = role.as_str().unwrap_or("identity");
        let when = span::shown(UnixMillis(end(one)));
        if end(one) <= now.0 {
            let saw = format!("{role} of {gateway} ended on {when}");
            let advice =
                "enrol the gateway anew (postern enrol), or revoke what is not used any more";
            findings.push(Finding::bad(CHECK, saw, advice));
        } else if end(one).saturating_sub(now.0) < SOON_MS {
            let saw = format!("{role} of {gateway} ends on {when}");
            findings.push(Finding::warning(CHECK, saw, "postern keys rotate identity, in time"));
        }
    }
    if findings.len() == 1 {
        findings.push(Finding::ok(CHECK, format!("{} are in force", live.len())));
    }
    findings
}

fn audit(service: &Service<'_>, operator: &Operator, now: UnixMillis) -> Vec<Finding> {
    const BENT: &str = "keep the database as it is, and export what there is (postern audit export) before anything else";
    let report = match service.signed(operator, "GET", "/audit/integrity", None) {
        Ok(report) => report,
        Err(failure) => {
            let advice =
                "it could not be looked at: try postern audit export and postern audit verify";
            return vec![Finding::bad("audit log", failure.to_string(), advice)];
        }
    };
    let events = report["good"].as_str().unwrap_or("0");
    let mut findings = vec![match report["broken"].as_str() {
        None if report["intact"] == true => {
            Finding::ok("audit log", format!("{events} events hold, by its own word"))
        }
        broken => Finding::bad("audit log", broken.unwrap_or("broken"), BENT),
    }];
    let note = report["checkpoint"].as_str();
    findings.push(checkpoint(service, note, events, now));
    let seen = service.signed_bytes(operator, "GET", "/log/checkpoint?witnesses=1", None);
    findings.push(witnesses(seen.ok().as_deref(), events));
    findings
}

fn checkpoint(service: &Service<'_>, note: Option<&str>, events: &str, now: UnixMillis) -> Finding {
    const CHECK: &str = "checkpoint";
    const ADVICE: &str = "look at its log: the file of the checkpoint cannot be written, or the log does not continue the last one";
    let Some(note) = note else {
        return Finding::warning(CHECK, "none yet", "one is signed within a minute of an event");
    };
    let key = match service.get("/audit/signing-key").and_then(|key| signing_key(&key)) {
        Ok(key) => key,
        Err(failure) => return Finding::bad(CHECK, failure.to_string(), "ask again"),
    };
    let Ok(point) = Checkpoint::open(note, &key) else {
        return Finding::bad(CHECK, "not signed by the log's key", ADVICE);
    };
    let age = now.0.saturating_sub(point.at.0);
    let behind = events.parse().unwrap_or(u64::MAX).saturating_sub(point.head.n);
    let (n, age_s) = (point.head.n, age / 1000);
    let saw = format!("of {n} events, {age_s} s old, {behind} behind, by the service's own key");
    if behind > 0 && age > CHECKPOINT_MS {
        return Finding::bad(CHECK, saw, ADVICE);
    }
    Finding::ok(CHECK, saw)
}

/// Their lines are only named here: `audit verify --witness` looks at what they signed.
fn witnesses(note: Option<&[u8]>, events: &str) -> Finding {
    let note = note.and_then(|note| str::from_utf8(note).ok()).unwrap_or_default();
    let (text, lines) = note.rsplit_once("\n\n").unwrap_or_default();
    let names: Vec<&str> = lines
        .lines()
        .filter_map(|line| line.strip_prefix("\u{2014} ")?.split(' ').next())
        .filter(|name| *name != "postern-audit")
        .collect();
    if names.is_empty() {
        return Finding::skipped("witnesses", "none has signed a checkpoint");
    }
    let seen = text.lines().nth(1).unwrap_or("0");
    let saw = format!("{} saw {seen} of {events} events, unverified here", names.join(", "));
    Finding::ok("witnesses", saw)
}
