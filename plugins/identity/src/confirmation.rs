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
    /// Who proves to have the key of this thumbprint (RFC 9449, 6.1).
    Key(Digest),
}

impl Confirmation {
    /// Reads the claim; `None` for one that nothing here looks for.
    pub fn read(claim: Option<&Value>) -> Option<Self> {
        let Some(claim) = claim else { return Some(Self::Bearer) };
        let claim = claim.as_object().filter(|claim| claim.len() == 1)?;
        let thumbprint = |value: &Value| B64.decode(value.as_str()?).ok()?.try_into().ok();
        match (claim.get("x5t#S256"), claim.get("jkt")) {
            (Some(value), None) => thumbprint(value).map(Self::Certificate),
            (None, Some(value)) => thumbprint(value).map(Self::Key),
            _ => None,
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
        let digest: Digest = B64.decode(EXAMPLE).unwrap().try_into().unwrap();
        assert_eq!(read(json!({"x5t#S256": EXAMPLE})), Some(Confirmation::Certificate(digest)));
        assert_eq!(read(json!({"jkt": EXAMPLE})), Some(Confirmation::Key(digest)));
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
            json!({"x5t#S256": EXAMPLE, "jkt": EXAMPLE}),
            json!({"jkt": 7}),
            json!({"jkt": EXAMPLE[1..]}),
            json!({"x5t": EXAMPLE}),
            json!({"jwk": {}}),
        ] {
            assert_eq!(read(bad.clone()), None, "{bad}");
        }
    }
}
