//! `io.jwt`: tokens taken apart and verified, as OPA does it.
//!
//! A token that reaches a gate is verified by the gate, with rules of its own, before a policy
//! is asked; these builtins are for tokens that policies find elsewhere. They are as lenient
//! as OPA's, with an exception: a header with `crit` is a fault, where OPA ignores it.
//!
//! Invariant: an answer is given only for keys, algorithms and forms that were compared with
//! OPA's; all else is undefined where OPA has an error, or a fault, which denies.

mod base64url;
mod constraints;
mod keys;
mod signatures;

use postern_core::hex;
use regorus::Value;

use super::{Caches, Context, defined, text};
use crate::machine::Fault;
use constraints::Constraints;
use keys::Key;
use signatures::Scheme;

/// Signatures that one decision checks.
const MOST_CHECKS: u32 = 64;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum No {
    /// OPA has an error, too.
    Error,
    /// OPA may have an answer.
    Unknown,
    /// A decision has checked enough signatures.
    Spent,
}

/// A token's parts.
struct Token<'a> {
    header: Value,
    claims: &'a str,
    /// What is signed.
    signed: &'a str,
    signature: Vec<u8>,
}

impl<'a> Token<'a> {
    fn parse(token: &'a str) -> Result<Self, No> {
        let (signed, signature) = split(token).ok_or(No::Error)?;
        let (header, claims) = signed.split_once('.').ok_or(No::Error)?;
        let token = Self { header: object(header).ok_or(No::Error)?, claims, signed, signature };
        // An encrypted token has no claims to read.
        if token.field("enc").is_some() { Err(No::Error) } else { Ok(token) }
    }

    fn field(&self, name: &str) -> Option<&Value> {
        self.header.as_object().ok()?.get(&Value::from(name))
    }

    /// A text of the header; empty where there is none.
    fn named(&self, name: &str) -> Result<&str, No> {
        self.field(name).map_or(Ok(""), |value| text(value).ok_or(No::Error))
    }

    /// `alg` and `kid` of a header that is valid.
    fn names(&self) -> Result<(&str, &str), No> {
        let names = (self.named("alg")?, self.named("kid")?);
        self.named("typ")?;
        self.named("cty")?;
        if self.field("crit").is_some() { Err(No::Unknown) } else { Ok(names) }
    }

    /// Whether one of these keys has signed it: the one that it names, or any whose algorithm
    /// is the token's or is not said.
    fn signed_by(&self, scheme: Scheme, keys: &[Key], context: &mut Context) -> Result<bool, No> {
        let (algorithm, id) = self.names()?;
        let mut holds = |key: &Key| {
            charge(context)?;
            signatures::hold(scheme, &key.material, self.signed.as_bytes(), &self.signature)
        };
        let named = keys.iter().find(|key| !id.is_empty() && key.id.as_deref() == Some(id));
        if let Some(key) = named {
            return holds(key);
        }
        let fits = |key: &&Key| key.algorithm.as_deref().is_none_or(|name| name == algorithm);
        for key in keys.iter().filter(fits) {
            if holds(key)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// What is signed, and the signature.
fn split(token: &str) -> Option<(&str, Vec<u8>)> {
    let (signed, signature) = token.rsplit_once('.')?;
    let two = signed.split('.').count() == 2;
    two.then(|| base64url::decode(signature)).flatten().map(|signature| (signed, signature))
}

/// An object of JSON in base64url.
fn object(part: &str) -> Option<Value> {
    let value = Value::from_json_str(str::from_utf8(&base64url::decode(part)?).ok()?).ok()?;
    matches!(value, Value::Object(_)).then_some(value)
}

/// `[header, claims, signature in hex]`, not verified.
pub(super) fn decode(args: &[Value], _: &mut Context, _: &mut Caches) -> Value {
    let [arg] = args else { return Value::Undefined };
    defined(text(arg).and_then(decoded))
}

fn decoded(token: &str) -> Option<Vec<Value>> {
    let token = Token::parse(token).ok()?;
    let signature = Value::from(hex::lower(&token.signature));
    Some(vec![token.header, object(token.claims)?, signature])
}

/// `[verified, header, claims]`.
pub(super) fn decode_verify(args: &[Value], context: &mut Context, _: &mut Caches) -> Value {
    let [token, constraints] = args else { return Value::Undefined };
    let Some(token) = text(token) else { return Value::Undefined };
    let parts = verified(token, constraints, context);
    let nothing = || vec![Value::from(false), Value::new_object(), Value::new_object()];
    answer(parts.map(|parts| parts.unwrap_or_else(nothing)), context)
}

fn verified(
    token: &str,
    constraints: &Value,
    context: &mut Context,
) -> Result<Option<Vec<Value>>, No> {
    let constraints = Constraints::read(constraints, context.now)?;
    let token = Token::parse(token)?;
    let (algorithm, _) = token.names()?;
    if algorithm.is_empty() || !constraints.take_algorithm(algorithm) {
        return Ok(None);
    }
    let Some(scheme) = Scheme::find(algorithm) else { return Ok(None) };
    if !token.signed_by(scheme, &constraints.keys, context)? {
        return Ok(None);
    }
    // A token in a token.
    if token.named("cty")?.eq_ignore_ascii_case("jwt") {
        return Err(No::Unknown);
    }
    let claims = object(token.claims).ok_or(No::Error)?;
    let holds = constraints.take_claims(&claims)?;
    Ok(holds.then(|| vec![Value::from(true), token.header, claims]))
}

fn answer<T: Into<Value>>(result: Result<T, No>, context: &mut Context) -> Value {
    match result {
        Ok(value) => value.into(),
        Err(No::Error) => Value::Undefined,
        Err(No::Unknown) => context.fail(Fault::Failed),
        Err(No::Spent) => context.fail(Fault::Limit),
    }
}

/// Counts one check of a signature: instructions do not, and one is dear.
fn charge(context: &mut Context) -> Result<(), No> {
    context.checks = context.checks.saturating_add(1);
    if context.checks > MOST_CHECKS { Err(No::Spent) } else { Ok(()) }
}

/// By a secret, whatever the header says: OPA does not read it then.
fn authentic(scheme: Scheme, token: &str, secret: &str) -> Result<bool, No> {
    let (signed, signature) = split(token).ok_or(No::Error)?;
    signatures::hold(scheme, &Key::secret(secret).material, signed.as_bytes(), &signature)
}

fn verify(args: &[Value], context: &mut Context, name: &str) -> Value {
    let [Value::String(token), Value::String(keys)] = args else { return Value::Undefined };
    let result = Scheme::find(name).ok_or(No::Unknown).and_then(|scheme| {
        if scheme.is_symmetric() {
            charge(context)?;
            return authentic(scheme, token, keys);
        }
        Token::parse(token)?.signed_by(scheme, &keys::read(keys)?, context)
    });
    answer(result, context)
}

macro_rules! verifiers {
    ($($call:ident $name:literal),+ $(,)?) => {
        $(
            pub(super) fn $call(args: &[Value], context: &mut Context, _: &mut Caches) -> Value {
                verify(args, context, $name)
            }
        )+
    };
}

verifiers! {
    eddsa "EdDSA",
    es256 "ES256",
    es384 "ES384",
    es512 "ES512",
    hs256 "HS256",
    hs384 "HS384",
    hs512 "HS512",
    ps256 "PS256",
    ps384 "PS384",
    ps512 "PS512",
    rs256 "RS256",
    rs384 "RS384",
    rs512 "RS512",
}
