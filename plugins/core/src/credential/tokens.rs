//! The values that a token endpoint's answer holds, and the answer without them.
//!
//! Owns the reading of the one kind of hostile JSON that this module reads besides evidence.
//! Knows nothing of the key service.
//!
//! Invariant: an answer in which a value to mint may stand unseen is not read at all: it is
//! strict JSON, or it holds none of the names.

use std::ops::Range;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::binding::Mint;
use crate::denial::Unscannable;
use crate::fields::Fields;
use crate::inject::MAX_VALUE;
use crate::placeholder::Reference;
use crate::slots::json::{self, Kind, Value};

/// A shorter value would be found by chance, and no token is.
const SHORTEST: usize = 8;
/// The patterns for a longer one take too much memory.
const LONGEST: usize = MAX_VALUE / 2;

/// A value to mint, where it stands.
pub(super) struct Found {
    /// Index of its rule.
    pub(super) rule: usize,
    pub(super) value: Zeroizing<String>,
    /// How long it lives.
    pub(super) life: Duration,
    range: Range<usize>,
}

/// Every value to mint of this content, in the order in which they stand there.
pub(super) fn read(
    fields: &Fields,
    content: &[u8],
    rules: &[&Mint],
) -> Result<Vec<Found>, Unscannable> {
    if content.is_empty() {
        return Ok(Vec::new());
    }
    let document = json::values(content);
    match (is_json(fields), document) {
        (true, Some(values)) => found(content, &values, rules),
        // What is no JSON has no declared value; that it has none is believed of an error only.
        (false, None) if is_error(fields) && !names(content, rules) => Ok(Vec::new()),
        (false, Some(values)) if is_error(fields) => {
            let found = found(content, &values, rules)?;
            if found.is_empty() { Ok(found) } else { Err(Unscannable::MintForm) }
        }
        _ => Err(Unscannable::MintForm),
    }
}

/// The content with a placeholder in the place of each value.
pub(super) fn replaced(content: &[u8], found: &[(Found, String)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len());
    let mut from = 0;
    for (one, name) in found {
        out.extend_from_slice(content.get(from..one.range.start).unwrap_or_default());
        out.extend_from_slice(Reference::written(name, "").as_bytes());
        from = one.range.end;
    }
    out.extend_from_slice(content.get(from..).unwrap_or_default());
    out
}

/// Whether a header field gives a value that is minted by its name, as a redirect does.
pub(super) fn in_fields(fields: &Fields, rules: &[&Mint]) -> bool {
    fields.0.iter().any(|field| {
        rules.iter().filter_map(|rule| last(rule.value())).any(|name| {
            [format!("{name}="), format!("\"{name}\"")]
                .iter()
                .any(|text| holds(&field.value, text.as_bytes()))
        })
    })
}

fn is_error(fields: &Fields) -> bool {
    !fields.only(":status").is_some_and(|status| status.starts_with(b"2"))
}

/// `application/json`, or another type with its syntax (RFC 6839, 3.1), once.
fn is_json(fields: &Fields) -> bool {
    let value = fields.only("content-type").and_then(|value| str::from_utf8(value).ok());
    value.is_some_and(|value| {
        let media = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        media == "application/json"
            || (media.starts_with("application/") && media.ends_with("+json"))
    })
}

fn holds(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len().max(1)).any(|window| window == part)
}

fn names(content: &[u8], rules: &[&Mint]) -> bool {
    rules.iter().filter_map(|rule| last(rule.value())).any(|name| holds(content, name.as_bytes()))
}

/// The name of a member at the end of a pointer; of an array's element none.
fn last(pointer: &str) -> Option<&str> {
    let name = pointer.rsplit('/').next()?;
    (!name.is_empty() && !name.bytes().all(|byte| byte.is_ascii_digit())).then_some(name)
}

fn found(content: &[u8], values: &[Value], rules: &[&Mint]) -> Result<Vec<Found>, Unscannable> {
    let mut found = Vec::new();
    for value in values {
        if let Some(rule) = rules.iter().position(|rule| rule.value() == value.pointer) {
            found.push(one(content, values, value, (rule, rules))?);
        } else if value.kind == Kind::Text && is_elsewhere(value, rules) {
            return Err(Unscannable::MintElsewhere);
        }
    }
    Ok(found)
}

/// A member of a minted name that no rule points to: who wrote the rules did not know of it.
fn is_elsewhere(value: &Value, rules: &[&Mint]) -> bool {
    let name = last(&value.pointer);
    name.is_some() && rules.iter().any(|rule| last(rule.value()) == name)
}

fn one(
    content: &[u8],
    values: &[Value],
    at: &Value,
    (rule, rules): (usize, &[&Mint]),
) -> Result<Found, Unscannable> {
    let text = if at.kind == Kind::Text { text(content, &at.range) } else { None };
    let value = text.filter(|text| fits(text)).ok_or(Unscannable::MintKind)?;
    let life = rules.get(rule).and_then(|rule| life(content, values, rule));
    let life = life.ok_or(Unscannable::MintExpiry)?;
    Ok(Found { rule, value, life, range: at.range.clone() })
}

/// What a string means (RFC 8259, section 7).
fn text(content: &[u8], inside: &Range<usize>) -> Option<Zeroizing<String>> {
    let quoted = inside.start.checked_sub(1)?..inside.end.checked_add(1)?;
    serde_json::from_slice(content.get(quoted)?).ok().map(Zeroizing::new)
}

/// What every place in a request may hold.
fn fits(value: &str) -> bool {
    let visible = |byte: u8| (b'!'..=b'~').contains(&byte);
    (SHORTEST..=LONGEST).contains(&value.len()) && value.bytes().all(visible)
}

/// The rule's longest life, or less where the answer says so.
fn life(content: &[u8], values: &[Value], rule: &Mint) -> Option<Duration> {
    let said = rule.expires_in().and_then(|at| values.iter().find(|it| it.pointer == at));
    let Some(said) = said else { return Some(rule.max_life()) };
    if said.kind == Kind::Other {
        return None;
    }
    let text = str::from_utf8(content.get(said.range.clone())?).ok()?;
    let seconds: u64 = text.parse().ok().filter(|seconds| *seconds > 0)?;
    Some(rule.max_life().min(Duration::from_secs(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binding::{Binding, Wire};

    const TOKEN: &str = "tok-en/7+Gq=Zk4~Qw";

    fn binding() -> Binding {
        let site = serde_json::json!({"style": "bearer"});
        let rule = |value: &str, name: &str, again: bool| {
            serde_json::json!({"value": value, "name": name, "authority": "api.test",
                "methods": ["GET"], "paths": ["/api/**"], "site": site, "again": again})
        };
        let wire: Wire = serde_json::from_value(serde_json::json!({
            "credential": "oauth", "tenant": "acme", "authority": "auth.test",
            "methods": ["POST"], "paths": ["/token"], "site": site,
            "mints": [rule("/access_token", "access", false), rule("/more/0/token", "more", true)],
        }))
        .unwrap();
        Binding::try_from(wire).unwrap()
    }

    fn head(status: &str, media: &str) -> Fields {
        [(":status", status), ("content-type", media)].into_iter().collect()
    }

    /// Pointer's rule, value and seconds of each; or the reason.
    fn at(
        status: &str,
        media: &str,
        content: &str,
    ) -> Result<Vec<(usize, String, u64)>, &'static str> {
        let binding = binding();
        let rules: Vec<&Mint> = binding.mints().iter().collect();
        let read = read(&head(status, media), content.as_bytes(), &rules);
        let read = read.map_err(Unscannable::as_str)?;
        let plain = |one: &Found| (one.rule, one.value.to_string(), one.life.as_secs());
        Ok(read.iter().map(plain).collect())
    }

    fn json(content: &str) -> Result<Vec<(usize, String, u64)>, &'static str> {
        at("200", "application/json", content)
    }

    #[test]
    fn declared_values_are_taken_with_the_life_that_the_answer_gives() {
        let token = TOKEN.to_owned();
        assert_eq!(
            json(&format!(r#"{{"access_token":"{TOKEN}"}}"#)),
            Ok(vec![(0, token.clone(), 3600)])
        );
        for (life, seconds) in [("59", 59), ("\"59\"", 59), ("86400", 3600)] {
            let content = format!(r#"{{"expires_in": {life}, "access_token" : "{TOKEN}"}}"#);
            assert_eq!(json(&content), Ok(vec![(0, token.clone(), seconds)]), "{life}");
        }
        let both = format!(
            r#"{{"more":[{{"token":"other-{TOKEN}"}}],"access_token":"tok-en\/7\u002bGq=Zk4~Qw","expires_in":5}}"#
        );
        let want = vec![(1, format!("other-{TOKEN}"), 3600), (0, token, 5)];
        assert_eq!(json(&both), Ok(want));
        let media = "Application/JSON; charset=utf-8";
        assert_eq!(at("200", media, &both).map(|found| found.len()), Ok(2));
        assert_eq!(at("400", "application/problem+json", &both).map(|found| found.len()), Ok(2));
        assert_eq!(json(r#"{"ok":false,"error":"invalid_grant"}"#), Ok(vec![]));
        assert_eq!(json(""), Ok(vec![]));
    }

    #[test]
    fn what_may_hide_a_value_is_refused() {
        for (content, why) in [
            (r#"{"access_token":"tok-en-7-Gq-Zk4Qw""#, "mint_form"),
            (r#"{"access_token":"tok-en-7-Gq","access_token":"tok-en-8-Gq"}"#, "mint_form"),
            (r#"{"access_token":"tok-en-7-Gq"} x"#, "mint_form"),
            (r#"{"access_token":"tok-en-7-Gq",}"#, "mint_form"),
            ("access_token=tok-en-7-Gq", "mint_form"),
            ("\u{feff}{\"access_token\":\"tok-en-7-Gq\"}", "mint_form"),
            (r#"{"access_token":null}"#, "mint_kind"),
            (r#"{"access_token":12345678901}"#, "mint_kind"),
            (r#"{"access_token":["tok-en-7-Gq"]}"#, "mint_kind"),
            (r#"{"access_token":{"x":"tok-en-7-Gq"}}"#, "mint_kind"),
            (r#"{"access_token":"short"}"#, "mint_kind"),
            (r#"{"access_token":"tok en 7 Gq"}"#, "mint_kind"),
            (r#"{"access_token":"tok-en-7-\u0000"}"#, "mint_kind"),
            (r#"{"access_token":"tok-en-7-\ud800"}"#, "mint_kind"),
            (r#"{"user":{"access_token":"tok-en-7-Gq"}}"#, "mint_elsewhere"),
            (r#"{"more":[{"token":"tok-en-7-Gq"},{"token":"tok-en-8-Gq"}]}"#, "mint_elsewhere"),
            (r#"{"access_token":"tok-en-7-Gq","expires_in":0}"#, "mint_expiry"),
            (r#"{"access_token":"tok-en-7-Gq","expires_in":-1}"#, "mint_expiry"),
            (r#"{"access_token":"tok-en-7-Gq","expires_in":1.5}"#, "mint_expiry"),
            (r#"{"access_token":"tok-en-7-Gq","expires_in":null}"#, "mint_expiry"),
        ] {
            assert_eq!(json(content), Err(why), "{content}");
        }
        let long = format!(r#"{{"access_token":"{}"}}"#, "a".repeat(LONGEST + 1));
        assert_eq!(json(&long), Err("mint_kind"));
        for media in ["text/plain", "application/x-www-form-urlencoded", ""] {
            let content = format!(r#"{{"access_token":"{TOKEN}"}}"#);
            assert_eq!(at("200", media, &content), Err("mint_form"), "{media}");
            assert_eq!(at("400", media, &content), Err("mint_form"), "{media}");
        }
        assert_eq!(at("200", "text/html", "<p>hello</p>"), Err("mint_form"));
        assert_eq!(at("500", "text/html", "<p>\"access_token\": \"tok"), Err("mint_form"));
        assert_eq!(at("500", "application/json", "{\"error\":"), Err("mint_form"));
    }

    #[test]
    fn an_error_without_a_value_is_an_answer_like_any_other() {
        assert_eq!(at("502", "text/html", "<p>bad gateway</p>"), Ok(vec![]));
        assert_eq!(at("400", "application/json", r#"{"error":"invalid_client"}"#), Ok(vec![]));
        assert_eq!(at("400", "text/plain", "{\"error\":1}"), Ok(vec![]));
    }

    #[test]
    fn placeholders_stand_where_the_values_stood() {
        let binding = binding();
        let rules: Vec<&Mint> = binding.mints().iter().collect();
        let content =
            format!(r#"{{"access_token":"{TOKEN}","scope":"a","more":[{{"token":"{TOKEN}"}}]}}"#);
        let found = read(&head("200", "application/json"), content.as_bytes(), &rules);
        let named =
            found.unwrap_or_default().into_iter().zip(["access-x".to_owned(), "more-y".into()]);
        let named: Vec<_> = named.collect();
        let want = r#"{"access_token":"<CREDENTIAL:access-x>","scope":"a","more":[{"token":"<CREDENTIAL:more-y>"}]}"#;
        assert_eq!(String::from_utf8(replaced(content.as_bytes(), &named)).unwrap(), want);
    }

    #[test]
    fn a_field_that_names_a_value_is_seen() {
        let binding = binding();
        let rules: Vec<&Mint> = binding.mints().iter().collect();
        let seen = |value: &str| in_fields(&[("location", value)].into_iter().collect(), &rules);
        assert!(seen("https://app.test/#access_token=tok-en&expires_in=5"));
        assert!(seen(r#"{"token":"x"}"#));
        assert!(!seen("https://app.test/?error=access_denied"));
    }
}
