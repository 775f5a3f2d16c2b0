//! `key_service` and `danger_allow_simulated`: where the key service is and which
//! evidence of it is accepted. The same in all three modules.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

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
    /// Kind of evidence to expect. Default and only kind so far: `sim`.
    pub evidence: Option<EvidenceKind>,
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

/// `key_service.evidence` as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EvidenceKind {
    /// Simulated, for development; needs `danger_allow_simulated`.
    #[default]
    Sim,
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

/// Evidence that is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Signed by this development key: proves nothing about hardware.
    Simulated {
        /// Ed25519 public key.
        key: [u8; 32],
    },
}

impl Evidence {
    /// The key under which simulated evidence is accepted, if it is.
    pub fn simulated(&self) -> Option<[u8; 32]> {
        match self {
            Self::Simulated { key } => Some(*key),
        }
    }
}

/// Reads both keys of a module's document; notes problems under their names.
pub fn read(
    wire: Option<Wire>,
    allow: Option<AllowSimulated>,
    problems: &mut Problems,
) -> Option<KeyService> {
    let key = simulated_key(allow, problems);
    let wire = problems.required("key_service", wire)?;
    let cluster = problems.required("key_service.cluster", non_empty(wire.cluster));
    let authority = problems.required("key_service.authority", non_empty(wire.authority));
    let gateway_id = problems.required("key_service.gateway_id", wire.gateway_id);
    let gateway_id =
        gateway_id.and_then(|text| problems.scalar("key_service.gateway_id", hex16(&text)));
    let evidence = match wire.evidence.unwrap_or_default() {
        EvidenceKind::Sim => key.map(|key| Evidence::Simulated { key }),
    };
    let revocation = limits(&wire.revocation, problems);
    Some(KeyService {
        cluster: cluster?,
        authority: authority?,
        gateway_id: gateway_id?,
        evidence: evidence?,
        revocation: revocation?,
    })
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
            "missing: simulated evidence is the only kind configured, and it needs the key",
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
