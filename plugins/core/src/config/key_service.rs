//! `key_service` and `danger_allow_simulated`: where the key service is and which
//! evidence of it is accepted. The same in all three modules.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

pub use super::evidence::Evidence;
use super::evidence::{self, Kind};
use super::{Problems, units};
use crate::revocation::Limits;

/// `key_service` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wire {
    /// Name of the proxy's cluster that leads to the key service. Required.
    pub cluster: Option<String>,
    /// Authority of the calls. Required.
    pub authority: Option<String>,
    /// The gateway's id from its enrolment: 16 bytes, 32 hex digits. Required.
    pub gateway_id: Option<String>,
    /// What the service has to prove: `sim` (the default), or a table.
    pub evidence: Option<evidence::Wire>,
    /// How old the knowledge of revocations may become. Not for the audit module, which
    /// refuses nobody.
    #[serde(default)]
    pub revocation: RevocationWire,
}

/// How old the knowledge of revocations may become before requests are refused with 503
/// `revocation_stale`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationWire {
    /// For everything but `GET`, `HEAD` and `OPTIONS`. Default and most `30s`, least `6s`.
    pub writes: Option<String>,
    /// For everything. Default and most `300s`, not below `writes`.
    pub all: Option<String>,
}

/// `danger_allow_simulated` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowSimulated {
    /// Ed25519 public key of the simulated attester, 32 bytes base64url. Required.
    pub key: Option<String>,
}

/// The key service, as all modules see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyService {
    /// Cluster for calls.
    pub cluster: String,
    /// Authority of calls.
    pub authority: String,
    /// The gateway's id.
    pub gateway_id: [u8; 16],
    /// What the service has to prove.
    pub evidence: Evidence,
    /// Ages of a revocation head from which requests are refused.
    pub revocation: Limits,
}

/// Reads both keys of a module's document; notes problems under their names.
pub fn read(
    wire: Option<Wire>,
    allow: Option<AllowSimulated>,
    problems: &mut Problems,
) -> Option<KeyService> {
    let Some(mut wire) = wire else {
        simulated_key(allow, problems);
        return problems.required("key_service", None);
    };
    let evidence = accepted(wire.evidence.take().unwrap_or_default(), allow, problems);
    let cluster = problems.required("key_service.cluster", non_empty(wire.cluster));
    let authority = problems.required("key_service.authority", non_empty(wire.authority));
    let gateway_id = problems.required("key_service.gateway_id", wire.gateway_id);
    let gateway_id =
        gateway_id.and_then(|text| problems.scalar("key_service.gateway_id", hex16(&text)));
    let revocation = limits(&wire.revocation, problems);
    Some(KeyService {
        cluster: cluster?,
        authority: authority?,
        gateway_id: gateway_id?,
        evidence: evidence?,
        revocation: revocation?,
    })
}

/// Simulated evidence, or hardware's; never the one in place of the other.
fn accepted(
    wire: evidence::Wire,
    allow: Option<AllowSimulated>,
    problems: &mut Problems,
) -> Option<Evidence> {
    let table = match wire {
        evidence::Wire::Simulated => None,
        evidence::Wire::Table(table) => Some(*table),
    };
    let simulated = |table: &evidence::Table| table.require.as_deref() == Some(&[Kind::Sim]);
    if table.as_ref().is_none_or(simulated) {
        table.and_then(|table| evidence::hardware(table, problems));
        return simulated_key(allow, problems).map(|key| Evidence::Simulated { key });
    }
    if allow.is_some() {
        let message = "only with simulated evidence, which key_service.evidence does not ask for";
        problems.note("danger_allow_simulated", message);
    }
    let hardware = evidence::hardware(table?, problems);
    hardware.map(|hardware| Evidence::Hardware(Box::new(hardware)))
}

fn limits(wire: &RevocationWire, problems: &mut Problems) -> Option<Limits> {
    let Limits { writes, all } = Limits::LONGEST;
    let span = |written: &Option<String>, least: Duration, most: Duration, expected| match written {
        None => Ok(most),
        Some(text) => {
            units::duration(text).ok().filter(|span| (least..=most).contains(span)).ok_or(expected)
        }
    };
    let read = span(&wire.writes, Limits::SHORTEST, writes, "expected 6s to 30s");
    let writes = problems.scalar("key_service.revocation.writes", read)?;
    let read = span(&wire.all, writes, all, "expected a span from writes to 300s");
    Some(Limits { writes, all: problems.scalar("key_service.revocation.all", read)? })
}

fn simulated_key(allow: Option<AllowSimulated>, problems: &mut Problems) -> Option<[u8; 32]> {
    let Some(allow) = allow else {
        problems.note(
            "danger_allow_simulated",
            "missing: key_service.evidence asks for simulated evidence, and that needs the key",
        );
        return None;
    };
    let text = problems.required("danger_allow_simulated.key", allow.key)?;
    problems.scalar("danger_allow_simulated.key", base64url32(&text))
}

fn non_empty(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// 32 bytes in base64url without padding.
pub fn base64url32(text: &str) -> Result<[u8; 32], &'static str> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or("expected 32 bytes in base64url without padding")
}

/// 16 bytes in hex.
pub fn hex16(text: &str) -> Result<[u8; 16], &'static str> {
    const EXPECTED: &str = "expected 16 bytes in hex";
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(EXPECTED);
    }
    u128::from_str_radix(text, 16).map(u128::to_be_bytes).map_err(|_| EXPECTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Wire {
        Wire {
            cluster: Some("keys".into()),
            authority: Some("keys.internal".into()),
            gateway_id: Some("000102030405060708090a0b0c0d0e0f".into()),
            evidence: None,
            revocation: RevocationWire::default(),
        }
    }

    fn allow() -> AllowSimulated {
        AllowSimulated { key: Some(URL_SAFE_NO_PAD.encode([7; 32])) }
    }

    fn problems(wire: Wire, allow: Option<AllowSimulated>) -> Vec<String> {
        let mut problems = Problems::default();
        let read = read(Some(wire), allow, &mut problems);
        problems.finish(read).unwrap_err().problems.into_iter().map(|p| p.path).collect()
    }

    #[test]
    fn a_complete_key_service_is_read() {
        let mut problems = Problems::default();
        let read = read(Some(good()), Some(allow()), &mut problems);
        assert_eq!(
            problems.finish(read),
            Ok(KeyService {
                cluster: "keys".into(),
                authority: "keys.internal".into(),
                gateway_id: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
                evidence: Evidence::Simulated { key: [7; 32] },
                revocation: Limits::LONGEST,
            })
        );
    }

    #[test]
    fn without_the_simulated_key_no_evidence_is_left_to_accept() {
        assert_eq!(problems(good(), None), ["danger_allow_simulated"]);
    }

    fn table(json: &str) -> Result<Evidence, Vec<String>> {
        let evidence = serde_json::from_str(json).unwrap();
        let mut problems = Problems::default();
        let wire = Wire { evidence: Some(evidence), ..good() };
        let read = read(Some(wire), None, &mut problems);
        let read = problems.finish(read).map(|read| read.evidence);
        read.map_err(|error| error.problems.into_iter().map(|p| p.path).collect())
    }

    const MAA: &str =
        r#""maa": {"issuers": [{"issuer": "https://a", "keys": [{"kid": "k", "n": "n"}]}]}"#;
    const SNP: &str = r#""snp": {"uvm": [{"issuer": "did", "feed": "f"}]}"#;
    const RELEASES: &str = r#""releases": {"origin": "o", "keys": ["k"]}"#;

    #[test]
    fn hardware_is_labelled_by_what_it_has_to_show() {
        for (json, label) in [
            (format!(r#"{{"require": ["maa"], {MAA}, {RELEASES}}}"#), "maa"),
            (format!(r#"{{"require": ["snp"], {SNP}, {RELEASES}}}"#), "snp"),
            (format!(r#"{{"require": ["snp", "maa"], {MAA}, {SNP}, {RELEASES}}}"#), "maa+snp"),
        ] {
            assert_eq!(table(&json).map(|evidence| evidence.label()), Ok(label), "{json}");
        }
        assert!(serde_json::from_str::<evidence::Wire>(r#"{"colour": 1}"#).is_err());
        assert!(serde_json::from_str::<evidence::Wire>(r#""trust me""#).is_err());
    }

    #[test]
    fn what_hardware_needs_and_does_not_have_is_named() {
        let snp =
            |inside: &str| format!(r#"{{"require": ["snp"], "snp": {{{inside}}}, {RELEASES}}}"#);
        let maa =
            |inside: &str| format!(r#"{{"require": ["maa"], "maa": {{{inside}}}, {RELEASES}}}"#);
        let issuer = r#""issuers": [{"issuer": "https://a", "keys": [{"kid": "k", "n": "n"}]}]"#;
        let again = r#"{"issuer": "https://a", "keys": [{"kid": "l", "n": "n"}]}"#;
        let uvm = r#""uvm": [{"issuer": "did", "feed": "f"}]"#;
        let floor = r#""products": ["Turin"], "min_tcb": {"Genoa": {"snp": 20}}"#;
        for (json, path) in [
            ("{}".to_owned(), "require"),
            (r#"{"require": []}"#.into(), "require"),
            (r#"{"require": ["sim", "maa"]}"#.into(), "require"),
            (r#"{"require": ["maa", "maa"]}"#.into(), "require"),
            (format!(r#"{{"require": ["maa"], {RELEASES}}}"#), "maa"),
            (format!(r#"{{"require": ["maa"], {MAA}}}"#), "releases"),
            (format!(r#"{{"require": ["maa"], {MAA}, {SNP}, {RELEASES}}}"#), "snp"),
            (maa(""), "maa.issuers"),
            (maa(r#""issuers": [{"issuer": "http://a", "keys": []}]"#), "maa.issuers[0].issuer"),
            (maa(&format!("{}, {again}]", issuer.trim_end_matches(']'))), "maa.issuers[1].issuer"),
            (maa(&format!(r#"{issuer}, "max_age": "9h""#)), "maa.max_age"),
            (maa(&format!(r#"{issuer}, "min_svn": {{"x": 1}}"#)), "maa.min_svn.x"),
            (snp(""), "snp.uvm"),
            (snp(&format!(r#"{uvm}, "products": []"#)), "snp.products"),
            (snp(&format!(r#"{uvm}, "products": ["Milan"]"#)), "snp.chip_ids"),
            (snp(&format!(r#"{uvm}, "products": ["Rome"]"#)), "snp.products.Rome"),
            (snp(&format!(r#"{uvm}, "chip_ids": ["00"]"#)), "snp.chip_ids[0]"),
            (snp(&format!(r#"{uvm}, "danger_roots": {{"Milan": "x"}}"#)), "snp.danger_roots.Milan"),
            (snp(&format!("{uvm}, {floor}")), "snp.min_tcb.Genoa"),
        ] {
            let first = table(&json).unwrap_err().swap_remove(0);
            assert_eq!(first, format!("key_service.evidence.{path}"), "{json}");
        }
    }

    #[test]
    fn simulated_evidence_cannot_stand_in_for_hardware() {
        let evidence = format!(r#"{{"require": ["maa"], {MAA}, {RELEASES}}}"#);
        let wire = Wire { evidence: serde_json::from_str(&evidence).ok(), ..good() };
        assert_eq!(problems(wire, Some(allow())), ["danger_allow_simulated"]);
    }

    #[test]
    fn the_ages_of_revocations_can_only_be_made_shorter() {
        let read = |writes: &str, all: &str| {
            let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            let mut problems = Problems::default();
            let wire = RevocationWire { writes: text(writes), all: text(all) };
            let read = limits(&wire, &mut problems);
            problems.finish(read).map_err(|e| e.problems[0].path.clone())
        };
        let seconds = |writes, all| Limits {
            writes: Duration::from_secs(writes),
            all: Duration::from_secs(all),
        };
        assert_eq!(read("", ""), Ok(seconds(30, 300)));
        assert_eq!(read("6s", "6s"), Ok(seconds(6, 6)));
        for bad in ["31s", "5s", "5", "x"] {
            assert_eq!(read(bad, ""), Err("key_service.revocation.writes".into()), "{bad}");
        }
        for bad in ["301s", "29s", "1h"] {
            assert_eq!(read("", bad), Err("key_service.revocation.all".into()), "{bad}");
        }
    }

    #[test]
    fn every_problem_is_reported() {
        let wire = Wire { gateway_id: Some("0g".into()), ..Wire::default() };
        assert_eq!(
            problems(wire, Some(AllowSimulated { key: Some("AA".into()) })),
            [
                "danger_allow_simulated.key",
                "key_service.cluster",
                "key_service.authority",
                "key_service.gateway_id"
            ]
        );
    }
}
