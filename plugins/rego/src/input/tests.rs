//! Raw requests and the documents made of them: `tests/policy/requests.json`.

use postern_core::denial::DecisionId;
use postern_core::fields::{Field, Fields};
use postern_core::identity::Kind;
use postern_core::time::UnixMillis;
use serde_json::{Value as Json, json};

use super::*;

const ROWS: &str = include_str!("../../../../tests/policy/requests.json");

/// A text, or bytes in hexadecimal digits.
fn bytes(value: &Json) -> Vec<u8> {
    if let Some(text) = value.as_str() {
        return text.as_bytes().to_vec();
    }
    let digits = value["hex"].as_str().unwrap();
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

fn texts(value: &Json) -> Vec<&str> {
    value.as_array().into_iter().flatten().map(|one| one.as_str().unwrap()).collect()
}

fn identity() -> Identity {
    Identity {
        subject: "key:AbCd0123".into(),
        kind: Kind::ApiKey,
        tenant: "acme".into(),
        organisation: "acme".into(),
        user: "alice".into(),
        agent: "a".into(),
        roles: Vec::new(),
        scopes: Vec::new(),
        trust: "observer".into(),
        clearance: None,
        document: None,
        token_id: "AbCd0123".into(),
        expires: None,
        platform: None,
    }
}

fn built(row: &Json) -> Result<Json, PolicyReason> {
    let mut reads = Reads::default();
    for path in texts(&row["reads"]) {
        let path: Vec<String> =
            std::iter::once("input").chain(path.split('.')).map(str::to_owned).collect();
        reads.add(&path);
    }
    let field = |field: &Json| Field { name: bytes(&field[0]), value: bytes(&field[1]) };
    let fields = Fields(row["fields"].as_array().unwrap().iter().map(field).collect());
    let content = row.get("content").map(bytes);
    let identity = identity();
    let question = Question {
        fields: &fields,
        hidden: texts(&row["hidden"]),
        identity: &identity,
        uses: Vec::new(),
        authority: None,
        region: None,
        budgets: vec![("calls", 7)],
        taints: vec!["web"],
        content: content.as_deref(),
        now: UnixMillis(0),
        id: DecisionId([0; 16]),
    };
    let builder = Builder::new(&reads);
    assert_eq!(builder.reads_content(), content.is_some(), "{row}");
    let value = builder.build(&question)?;
    let mut value = serde_json::to_value(&value).unwrap();
    let attributes = value.as_object_mut().unwrap().remove("attributes").unwrap();
    let http = attributes["request"]["http"].clone();
    if http != json!({}) {
        value["http"] = http;
    }
    Ok(value)
}

#[test]
fn requests_become_the_documents_of_the_rows() {
    let rows: Vec<Json> = serde_json::from_str(ROWS).unwrap();
    assert!(rows.len() >= 30, "{} rows", rows.len());
    for row in &rows {
        let got = match built(row) {
            Ok(got) => json!({"want": got}),
            Err(reason) => json!({"error": reason.as_str()}),
        };
        let mut want = row.clone();
        want.as_object_mut().unwrap().retain(|key, _| ["want", "error"].contains(&key.as_str()));
        assert_eq!(got, want, "{}", row["note"]);
    }
}

#[test]
fn nothing_that_content_is_in_can_be_read_as_a_whole() {
    for member in CONTENT {
        for length in 0..member.len() {
            let parts = std::iter::once("input").chain(member.iter().take(length).copied());
            let path: Vec<String> = parts.map(str::to_owned).collect();
            assert!(missing(&path).is_some(), "{path:?}");
        }
        let parts = std::iter::once("input").chain(member.iter().copied());
        let path: Vec<String> = parts.map(str::to_owned).collect();
        assert_eq!(missing(&path), None);
    }
}
