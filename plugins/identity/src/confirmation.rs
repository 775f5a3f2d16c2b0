//! `cnf`: what the holder of a token has to have besides (RFC 7800, 3.1).
//!
//! Invariant: a confirmation that is not understood whole confirms nothing.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use serde_json::Value;

use crate::cache::Digest;

/// Who may use a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// Whoever has it.
    Bearer,
    /// Who shows the certificate of this thumbprint (RFC 8705, 3.1).
    Certificate(Digest),
}

impl Confirmation {
    /// Reads the claim; `None` for one that nothing here looks for.
    pub fn read(claim: Option<&Value>) -> Option<Self> {
        let Some(claim) = claim else { return Some(Self::Bearer) };
        let claim = claim.as_object().filter(|claim| claim.len() == 1)?;
        let thumbprint = B64.decode(claim.get("x5t#S256")?.as_str()?).ok()?;
        Some(Self::Certificate(thumbprint.try_into().ok()?))
    }

    /// Whether it holds on a connection with the certificate of this thumbprint.
    pub fn holds(&self, shown: impl FnOnce() -> Option<Digest>) -> bool {
        match self {
            Self::Bearer => true,
            Self::Certificate(thumbprint) => shown().as_ref() == Some(thumbprint),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// RFC 8705, 3.1, but for the last letter: the one there has bits behind the end.
    const EXAMPLE: &str = "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg0";

    #[test]
    fn a_thumbprint_is_compared_and_nothing_else_is_taken_for_one() {
        let read = |claim: Value| Confirmation::read(Some(&claim));
        assert_eq!(Confirmation::read(None), Some(Confirmation::Bearer));
        let Some(Confirmation::Certificate(digest)) = read(json!({"x5t#S256": EXAMPLE})) else {
            panic!("no thumbprint");
        };
        let bound = Confirmation::Certificate(digest);
        assert!(bound.holds(|| Some(digest)) && Confirmation::Bearer.holds(|| None));
        assert!(!bound.holds(|| None) && !bound.holds(|| Some([0; 32])));
        for bad in [
            json!(null),
            json!({}),
            json!([]),
            json!(EXAMPLE),
            json!({"x5t#S256": EXAMPLE, "kid": "a"}),
            json!({"x5t#S256": 7}),
            json!({"x5t#S256": ""}),
            json!({"x5t#S256": EXAMPLE[1..]}),
            json!({"x5t#S256": EXAMPLE.replace("dg0", "dg2")}),
            json!({"x5t#S256": format!("{EXAMPLE}=")}),
            json!({"x5t#S256": EXAMPLE.replace('_', "/")}),
            json!({"x5t": EXAMPLE}),
            json!({"jwk": {}}),
        ] {
            assert_eq!(read(bad.clone()), None, "{bad}");
        }
    }
}
