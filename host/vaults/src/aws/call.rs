//! `GetSecretValue` and its answers: plain values without a socket.
//!
//! Shapes: AWS Secrets Manager API Reference, `GetSecretValue`. Invariant: texts of an answer are
//! read into buffers that are wiped.

use std::collections::BTreeMap;

use postern_core::redacted::Redacted;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::item::{Item, kept, text_of};
use crate::kv2::call::Answer;
use crate::{Path, Refused, Value, Version};

/// Media type of the protocol.
pub const TYPE: &str = "application/x-amz-json-1.1";
/// The one action.
pub const TARGET: &str = "secretsmanager.GetSecretValue";
/// What is said of keys that are not accepted.
pub const KEYS: &str = "access key";
/// The field that stands for the whole text.
const WHOLE: &str = "SecretString";

/// Content of the question. A path and a version need no escapes.
#[must_use]
pub fn content(path: &Path, version: Option<&Version>) -> Zeroizing<Vec<u8>> {
    let which = match version {
        Some(version) => format!("\"VersionId\":\"{version}\""),
        None => "\"VersionStage\":\"AWSCURRENT\"".to_owned(),
    };
    Zeroizing::new(format!("{{\"SecretId\":\"{path}\",{which}}}").into_bytes())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Read {
    version_id: String,
    secret_string: Option<Zeroizing<String>>,
}

#[derive(Deserialize)]
struct Problem {
    #[serde(rename = "__type", default)]
    kind: String,
}

/// The value of a field, of the version that was asked for.
///
/// # Errors
/// What the service refuses, or when there is no such field, or it is no text that can be kept.
pub fn value(answer: &Answer, field: &str, asked: Option<&Version>) -> Result<Value, Refused> {
    if matches!(answer.status, 400..=428 | 430..=499) {
        return Err(refused(answer.status, &answer.body));
    }
    let shape = Refused::Malformed("secret: expected an answer to GetSecretValue");
    let Ok(read) = serde_json::from_slice::<Read>(answer.content()?) else { return Err(shape) };
    let version = Version::new(&read.version_id).ok_or(shape)?;
    if asked.is_some_and(|asked| *asked != version) {
        return Err(Refused::Malformed("another version than was asked for"));
    }
    let text = read.secret_string.ok_or(Refused::Malformed("secret: expected a text"))?;
    if field == WHOLE {
        return Ok(Value { secret: kept(text.as_bytes())?, version });
    }
    let members: Result<BTreeMap<String, Item>, _> = serde_json::from_str(&text);
    let mut members = members.map_err(|_| Refused::Malformed("secret: expected a JSON object"))?;
    Ok(Value { secret: text_of(&mut members, field)?, version })
}

/// By its name: AWS says 400 to all of them, moto 403 and 404 to some.
fn refused(status: u16, content: &[u8]) -> Refused {
    let Ok(Problem { kind }) = serde_json::from_slice(content) else {
        return Refused::of_status(status, None);
    };
    match kind.rsplit('#').next().unwrap_or_default() {
        "ResourceNotFoundException" => Refused::NotFound("secret or version"),
        // Of a secret that is to be deleted.
        "InvalidRequestException" => Refused::NotFound("secret: it was deleted"),
        "AccessDeniedException" => Refused::Forbidden,
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "ExpiredTokenException"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "RequestExpired" => Refused::LoginExpired(KEYS),
        "ThrottlingException"
        | "Throttling"
        | "TooManyRequestsException"
        | "LimitExceededException"
        | "RequestLimitExceeded" => Refused::Throttled(None),
        "InternalServiceError" | "InternalServiceErrorException" | "ServiceUnavailable" => {
            Refused::Unreachable(Redacted::new("answers that it failed"))
        }
        "DecryptionFailure" => Refused::Malformed("its key in KMS does not open the secret"),
        _ => Refused::Malformed("the service does not understand the request"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, content: &str, field: &str) -> Result<(String, String), Refused> {
        let body = Zeroizing::new(content.as_bytes().to_vec());
        let value = value(&Answer { status, wait: None, body }, field, None)?;
        let text = String::from_utf8(value.secret.expose().to_vec()).unwrap();
        Ok((text, value.version.to_string()))
    }

    #[test]
    fn a_member_or_the_whole_text_is_the_value() {
        let good =
            r#"{"ARN":"a","Name":"n","VersionId":"v-1","SecretString":"{\"k\":\"sk\",\"n\":7}"}"#;
        assert_eq!(read(200, good, "k"), Ok(("sk".into(), "v-1".into())));
        let whole = read(200, good, "SecretString").unwrap().0;
        assert_eq!(whole, r#"{"k":"sk","n":7}"#);
        assert_eq!(read(200, good, "x"), Err(Refused::NotFound("field")));
        assert_eq!(read(200, good, "n"), Err(Refused::Malformed("field: expected a text")));
        let plain = r#"{"VersionId":"v-1","SecretString":"sk"}"#;
        let object = Refused::Malformed("secret: expected a JSON object");
        assert_eq!(read(200, plain, "k"), Err(object));
        let binary = r#"{"VersionId":"v-1","SecretBinary":"c2s="}"#;
        assert_eq!(read(200, binary, "k"), Err(Refused::Malformed("secret: expected a text")));
        let shape = Refused::Malformed("secret: expected an answer to GetSecretValue");
        for content in ["", "{}", "[]", r#"{"VersionId":"a b","SecretString":"x"}"#] {
            assert_eq!(read(200, content, "k"), Err(shape.clone()), "{content}");
        }
    }

    #[test]
    fn each_refusal_has_its_place_in_the_error_map() {
        let odd = Refused::Malformed("the service does not understand the request");
        for (kind, want) in [
            ("ResourceNotFoundException", Refused::NotFound("secret or version")),
            ("com.amazonaws#ResourceNotFoundException", Refused::NotFound("secret or version")),
            ("InvalidRequestException", Refused::NotFound("secret: it was deleted")),
            ("AccessDeniedException", Refused::Forbidden),
            ("ExpiredTokenException", Refused::LoginExpired(KEYS)),
            ("InvalidSignatureException", Refused::LoginExpired(KEYS)),
            ("RequestExpired", Refused::LoginExpired(KEYS)),
            ("ThrottlingException", Refused::Throttled(None)),
            ("TooManyRequestsException", Refused::Throttled(None)),
            ("ValidationException", odd.clone()),
        ] {
            let content = format!("{{\"__type\":\"{kind}\",\"message\":\"m\"}}");
            assert_eq!(read(400, &content, "k"), Err(want), "{kind}");
        }
        let failed = r#"{"__type":"InternalServiceError"}"#;
        assert!(read(400, failed, "k").unwrap_err().may_pass());
        assert_eq!(read(400, "<html>", "k"), Err(Refused::of_status(400, None)));
        let throttled = read(429, "{}", "k");
        assert_eq!(throttled, Err(Refused::Throttled(None)));
        assert!(read(500, "{}", "k").unwrap_err().may_pass());
    }
}
