//! Claims to the identity document, as configured.
//!
//! Invariant: a claim that is used is of the expected type, not longer than a bound and
//! without control characters, or the token is refused; none is cut or left out.

use postern_core::config::gate::Claims;
use postern_core::denial::TokenReason;
use postern_core::hex;
use postern_core::identity::{Identity, Kind};
use serde_json::{Map, Value};

/// Longest text.
const TEXT: usize = 256;
/// Most texts of a list.
const LIST: usize = 64;
/// Trust levels.
const TRUST: [&str; 4] = [LEAST, "suggester", "collaborator", "autonomous"];
/// What a token gives that says nothing of trust.
const LEAST: &str = "observer";

/// What is known of a token beside its claims.
pub struct Token<'a> {
    /// How it was verified.
    pub kind: Kind,
    /// Who issued it.
    pub issuer: &'a str,
    /// Names it when it has no `jti`.
    pub digest: [u8; 32],
    /// `exp`, in seconds, where it has one.
    pub expires: Option<u64>,
}

/// The identity document of a verified token, for a gate of `tenant`.
pub fn identity(
    names: &Claims,
    claims: &Map<String, Value>,
    token: &Token<'_>,
    tenant: &str,
) -> Result<Identity, TokenReason> {
    let read = Reader(claims);
    let subject = read.text(&["sub".to_owned()])?.ok_or(TokenReason::Claim)?;
    let trust = read.text(&names.trust)?.unwrap_or_else(|| LEAST.to_owned());
    if !TRUST.contains(&trust.as_str()) {
        return Err(TokenReason::Claim);
    }
    let tenant = match names.tenant.is_empty() {
        true => tenant.to_owned(),
        false => read.text(&names.tenant)?.ok_or(TokenReason::Claim)?,
    };
    let token_id = token_id(claims, &token.digest)?;
    Ok(Identity {
        subject: format!("{}:{}#{subject}", token.kind.as_str(), token.issuer),
        kind: token.kind,
        tenant,
        organisation: read.text(&names.organisation)?.unwrap_or_default(),
        user: read.text(&names.user)?.unwrap_or_default(),
        agent: read.text(&names.agent)?.unwrap_or_default(),
        roles: read.list(&names.roles)?,
        scopes: read.list(&names.scopes)?,
        trust,
        clearance: read.text(&names.clearance)?,
        document: None,
        token_id,
        expires: token.expires,
        platform: None,
    })
}

/// `jti`, or a name of our own for a token without one.
pub fn token_id(claims: &Map<String, Value>, digest: &[u8; 32]) -> Result<String, TokenReason> {
    let id = Reader(claims).text(&["jti".to_owned()])?;
    Ok(id.unwrap_or_else(|| short(digest)))
}

/// The first half of a digest in hex.
fn short(digest: &[u8; 32]) -> String {
    hex::lower(digest.get(..16).unwrap_or(digest))
}

struct Reader<'a>(&'a Map<String, Value>);

impl<'a> Reader<'a> {
    /// The first of these claims that is there.
    fn find(&self, names: &[String]) -> Option<&'a Value> {
        names.iter().find_map(|name| match name.split_once('/') {
            Some(("", pointer)) => {
                let (first, rest) = pointer.split_once('/').unwrap_or((pointer, ""));
                let inner = self.0.get(&unescaped(first))?;
                if rest.is_empty() { Some(inner) } else { inner.pointer(&format!("/{rest}")) }
            }
            _ => self.0.get(name),
        })
    }

    fn text(&self, names: &[String]) -> Result<Option<String>, TokenReason> {
        match self.find(names) {
            None => Ok(None),
            Some(Value::String(text)) if is_plain(text) => Ok(Some(text.clone())),
            Some(_) => Err(TokenReason::Claim),
        }
    }

    /// A list of texts, or one text of several with spaces between (RFC 6749, 3.3).
    fn list(&self, names: &[String]) -> Result<Vec<String>, TokenReason> {
        let list: Vec<&str> = match self.find(names) {
            None => Vec::new(),
            Some(Value::String(text)) => text.split(' ').filter(|one| !one.is_empty()).collect(),
            Some(Value::Array(all)) => {
                let texts: Option<Vec<&str>> = all.iter().map(Value::as_str).collect();
                texts.ok_or(TokenReason::Claim)?
            }
            Some(_) => return Err(TokenReason::Claim),
        };
        if list.len() > LIST || !list.iter().all(|one| is_plain(one)) {
            return Err(TokenReason::Claim);
        }
        Ok(list.into_iter().map(str::to_owned).collect())
    }
}

/// RFC 6901, 4.
fn unescaped(name: &str) -> String {
    name.replace("~1", "/").replace("~0", "~")
}

fn is_plain(text: &str) -> bool {
    (1..=TEXT).contains(&text.len()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names() -> Claims {
        let one = |name: &str| vec![name.to_owned()];
        Claims {
            tenant: vec![],
            organisation: one("org"),
            user: one("sub"),
            agent: vec!["client_id".into(), "azp".into()],
            roles: one("/realm_access/roles"),
            scopes: vec!["scope".into(), "scp".into()],
            trust: one("trust"),
            clearance: one("https://example.com/clearance"),
        }
    }

    fn read(names: &Claims, claims: &Value) -> Result<Identity, TokenReason> {
        let digest = [0xab; 32];
        let token = Token { kind: Kind::Jwt, issuer: "https://idp", digest, expires: Some(7) };
        identity(names, claims.as_object().unwrap(), &token, "acme")
    }

    #[test]
    fn claims_become_the_document() {
        let claims = json!({
            "sub": "alice", "azp": "bot", "scp": "a b", "org": "acme-eu", "jti": "t1",
            "realm_access": {"roles": ["AGENT"]}, "trust": "suggester",
            "https://example.com/clearance": "secret",
        });
        let identity = read(&names(), &claims).unwrap();
        assert_eq!(
            serde_json::to_value(&identity).unwrap(),
            json!({
                "subject": "jwt:https://idp#alice", "kind": "jwt", "tenant": "acme",
                "organisation": "acme-eu", "user": "alice", "agent": "bot", "roles": ["AGENT"],
                "scopes": ["a", "b"], "trust": "suggester", "clearance": "secret",
                "document": null, "token_id": "t1", "expires": 7, "platform": null,
            })
        );
    }

    #[test]
    fn what_a_token_does_not_say_is_the_least() {
        let identity = read(&names(), &json!({"sub": "alice"})).unwrap();
        assert_eq!((identity.trust.as_str(), identity.scopes.len()), ("observer", 0));
        assert_eq!((identity.agent.as_str(), identity.token_id), ("", "ab".repeat(16)));
    }

    #[test]
    fn a_tenant_that_is_mapped_has_to_be_there() {
        let names = Claims { tenant: vec!["tenant".into()], ..names() };
        assert_eq!(read(&names, &json!({"sub": "a"})), Err(TokenReason::Claim));
        let other = read(&names, &json!({"sub": "a", "tenant": "globex"})).unwrap();
        assert_eq!(other.tenant, "globex");
    }

    #[test]
    fn a_claim_of_another_type_refuses_the_token() {
        let long = "x".repeat(257);
        let many: Vec<String> = (0..65).map(|n| n.to_string()).collect();
        for claims in [
            json!({}),
            json!({"sub": ""}),
            json!({"sub": 7}),
            json!({"sub": "a\nb"}),
            json!({"sub": long}),
            json!({"sub": "a", "client_id": ["b"]}),
            json!({"sub": "a", "scope": {"a": 1}}),
            json!({"sub": "a", "scope": ["a", 1]}),
            json!({"sub": "a", "scope": many}),
            json!({"sub": "a", "trust": "omnipotent"}),
            json!({"sub": "a", "realm_access": {"roles": 7}}),
            json!({"sub": "a", "jti": 7}),
        ] {
            assert_eq!(read(&names(), &claims), Err(TokenReason::Claim), "{claims}");
        }
    }
}
