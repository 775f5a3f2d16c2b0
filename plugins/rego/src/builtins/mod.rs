//! The builtins that a policy may call.
//!
//! Owns two tables: those of the engine that answer as OPA does, and those that are ours
//! because the engine has none or answers otherwise. The same functions serve bytecode and
//! interpreter. What is in neither table is refused at load.
//!
//! Invariant: a builtin of ours never panics and is bounded by the size of its arguments; an
//! error is undefined, as in OPA; what would have an answer in OPA and has none here is a
//! fault, which denies.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use regorus::Value;

use crate::machine::Fault;

mod bits;
mod cache;
mod crypto;
mod durations;
mod format;
mod glob;
mod graph;
mod json;
mod jwt;
mod net;
mod patch;
mod regexes;
mod semver;
mod strings;
mod syntax;
mod times;
mod units;

pub(crate) use format::verbs;
pub(crate) use strings::unescape;

/// Longest text that a builtin of ours makes; a decision reads far less.
const LONGEST_TEXT: usize = 1 << 20;

/// One builtin of ours.
pub struct Builtin {
    pub(crate) name: &'static str,
    pub(crate) arity: usize,
    call: fn(&[Value], &mut Context, &mut Caches) -> Value,
}

macro_rules! supplied {
    ($($name:literal $arity:literal $call:path),+ $(,)?) => {
        /// Ours, by name.
        pub static SUPPLIED: &[Builtin] =
            &[$(Builtin { name: $name, arity: $arity, call: $call },)+];
    };
}

supplied! {
    "bits.lsh" 2 bits::left,
    "bits.negate" 1 bits::negate,
    "bits.rsh" 2 bits::right,
    "concat" 2 strings::concat,
    "crypto.hmac.equal" 2 crypto::equal,
    "crypto.hmac.md5" 2 crypto::hmac_md5,
    "crypto.hmac.sha1" 2 crypto::hmac_sha1,
    "crypto.hmac.sha256" 2 crypto::hmac_sha256,
    "crypto.hmac.sha512" 2 crypto::hmac_sha512,
    "crypto.md5" 1 crypto::md5,
    "crypto.sha1" 1 crypto::sha1,
    "crypto.sha256" 1 crypto::sha256,
    "glob.match" 3 glob::matches,
    "graph.reachable" 2 graph::reachable,
    "indexof" 2 strings::index_of,
    "io.jwt.decode" 1 jwt::decode,
    "io.jwt.decode_verify" 2 jwt::decode_verify,
    "io.jwt.verify_eddsa" 2 jwt::eddsa,
    "io.jwt.verify_es256" 2 jwt::es256,
    "io.jwt.verify_es384" 2 jwt::es384,
    "io.jwt.verify_es512" 2 jwt::es512,
    "io.jwt.verify_hs256" 2 jwt::hs256,
    "io.jwt.verify_hs384" 2 jwt::hs384,
    "io.jwt.verify_hs512" 2 jwt::hs512,
    "io.jwt.verify_ps256" 2 jwt::ps256,
    "io.jwt.verify_ps384" 2 jwt::ps384,
    "io.jwt.verify_ps512" 2 jwt::ps512,
    "io.jwt.verify_rs256" 2 jwt::rs256,
    "io.jwt.verify_rs384" 2 jwt::rs384,
    "io.jwt.verify_rs512" 2 jwt::rs512,
    "json.marshal" 1 json::marshal,
    "json.patch" 2 patch::patch,
    "lower" 1 strings::lower,
    "net.cidr_contains" 2 net::contains,
    "net.cidr_intersects" 2 net::intersects,
    "net.cidr_is_valid" 1 net::is_valid,
    "numbers.range" 2 strings::range,
    "opa.runtime" 0 runtime,
    "postern.all" 3 postern_all,
    "postern.object" 1 postern_object,
    "postern.one" 3 postern_one,
    "regex.find_n" 3 regexes::find_n,
    "regex.is_valid" 1 regexes::is_valid,
    "regex.match" 2 regexes::matches,
    "regex.replace" 3 regexes::replace,
    "regex.split" 2 regexes::split,
    "replace" 3 strings::replace,
    "semver.compare" 2 semver::compare,
    "semver.is_valid" 1 semver::is_valid,
    "sprintf" 2 format::sprintf,
    "strings.count" 2 strings::count,
    "strings.replace_n" 2 strings::replace_n,
    "time.add_date" 4 times::add_date,
    "time.clock" 1 times::clock,
    "time.date" 1 times::date,
    "time.format" 1 times::format,
    "time.now_ns" 0 times::now,
    "time.parse_duration_ns" 1 durations::parse,
    "time.parse_rfc3339_ns" 1 times::parse_rfc3339,
    "time.weekday" 1 times::weekday,
    "to_number" 1 strings::to_number,
    "units.parse" 1 units::parse,
    "units.parse_bytes" 1 units::parse_bytes,
    "upper" 1 strings::upper,
    "urlquery.decode" 1 strings::query_decode,
    "urlquery.encode" 1 strings::query_encode,
}

/// The engine's own.
const NATIVE: &[(&str, usize)] = &[
    ("abs", 1),
    ("array.concat", 2),
    ("array.reverse", 1),
    ("array.slice", 3),
    ("base64.decode", 1),
    ("base64.encode", 1),
    ("base64.is_valid", 1),
    ("base64url.decode", 1),
    ("base64url.encode", 1),
    ("base64url.encode_no_pad", 1),
    ("bits.and", 2),
    ("bits.or", 2),
    ("bits.xor", 2),
    ("ceil", 1),
    ("contains", 2),
    ("count", 1),
    ("endswith", 2),
    ("floor", 1),
    ("format_int", 2),
    ("hex.decode", 1),
    ("hex.encode", 1),
    ("intersection", 1),
    ("is_array", 1),
    ("is_boolean", 1),
    ("is_null", 1),
    ("is_number", 1),
    ("is_object", 1),
    ("is_set", 1),
    ("is_string", 1),
    ("json.filter", 2),
    ("json.is_valid", 1),
    ("json.remove", 2),
    ("json.unmarshal", 1),
    ("max", 1),
    ("min", 1),
    ("object.filter", 2),
    ("object.get", 3),
    ("object.keys", 1),
    ("object.remove", 2),
    ("object.subset", 2),
    ("object.union", 2),
    ("object.union_n", 1),
    ("product", 1),
    ("round", 1),
    ("sort", 1),
    ("split", 2),
    ("startswith", 2),
    ("strings.any_prefix_match", 2),
    ("strings.any_suffix_match", 2),
    ("strings.reverse", 1),
    ("substring", 3),
    ("sum", 1),
    ("trim", 2),
    ("trim_left", 2),
    ("trim_prefix", 2),
    ("trim_right", 2),
    ("trim_space", 1),
    ("trim_suffix", 2),
    ("type_name", 1),
    ("union", 1),
];

/// Number of arguments of a builtin that a policy may call.
pub(crate) fn arity(name: &str) -> Option<usize> {
    let ours = SUPPLIED.iter().find(|one| one.name == name && !name.starts_with("postern."));
    let native = || NATIVE.iter().find(|(known, _)| *known == name).map(|(_, arity)| *arity);
    ours.map(|one| one.arity).or_else(native)
}

/// Why a builtin of OPA's is not in the tables.
pub(crate) fn why_not(name: &str) -> Option<&'static str> {
    let reason = match name {
        "http.send" | "net.lookup_ip_addr" => "a decision asks nobody: put what it needs into data",
        "print" | "trace" => "it is for tests: take it out of the gate's policy",
        "walk" => "it is not supported in bytecode: name the path",
        "rego.metadata.rule" | "rego.metadata.chain" => {
            "annotations are comments here: put what is needed into a rule"
        }
        "rand.intn" | "uuid.rfc4122" => "a decision has no randomness",
        _ => {
            return KNOWN_TO_OPA.contains(&family(name)).then_some(
                "this builtin of OPA's is not supported here (see policies/DIFFERENCES.md)",
            );
        }
    };
    Some(reason)
}

/// Families of OPA's builtins, so that a name that OPA has is told from one that nobody has.
const KNOWN_TO_OPA: &[&str] = &[
    "array",
    "bits",
    "crypto",
    "glob",
    "graph",
    "graphql",
    "io",
    "json",
    "net",
    "numbers",
    "object",
    "providers",
    "regex",
    "rego",
    "semver",
    "strings",
    "time",
    "units",
    "urlquery",
    "uuid",
    "yaml",
    "indexof_n",
    "any",
    "all",
];

fn family(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// What is known of one decision.
#[derive(Default)]
pub(crate) struct Context {
    /// Nanoseconds since the epoch.
    now: i64,
    /// The value of each rule, or of each of its keys.
    ones: BTreeMap<(Value, Value), Value>,
    /// Signatures that were checked.
    checks: u32,
    fault: Option<Fault>,
}

impl Context {
    /// A decision at this time, in milliseconds since the epoch.
    pub(crate) fn at(millis: u64) -> Self {
        let now = i64::try_from(millis).ok().and_then(|millis| millis.checked_mul(1_000_000));
        Self { now: now.unwrap_or(i64::MAX), ..Self::default() }
    }

    fn fail(&mut self, fault: Fault) -> Value {
        self.fault.get_or_insert(fault);
        Value::Undefined
    }

    /// A text that was made.
    fn text(&mut self, text: String) -> Value {
        if text.len() > LONGEST_TEXT { self.fail(Fault::Failed) } else { Value::from(text) }
    }
}

/// Compiled patterns; they outlive a decision.
#[derive(Default)]
struct Caches {
    regexes: cache::Cache<regexes::Pattern>,
    globs: cache::Cache<Option<glob::Pattern>>,
}

#[derive(Default)]
struct Inner {
    context: Context,
    caches: Caches,
}

/// Context and caches, shared by the functions that an engine holds.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Inner>>);

impl Shared {
    pub(crate) fn begin(&self, context: Context) {
        if let Ok(mut inner) = self.0.lock() {
            inner.context = context;
        }
    }

    /// What went wrong that no value can say.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.0.lock().map_or(Some(Fault::Failed), |inner| inner.context.fault)
    }

    pub(crate) fn call(&self, builtin: &Builtin, args: &[Value]) -> Value {
        if args.contains(&Value::Undefined) {
            return Value::Undefined;
        }
        let Ok(mut inner) = self.0.lock() else { return Value::Undefined };
        let Inner { context, caches } = &mut *inner;
        (builtin.call)(args, context, caches)
    }

    /// Answers a suspension of the bytecode.
    pub(crate) fn answer(&self, name: &Value, argument: &Value) -> Value {
        let (Ok(name), Ok(args)) = (name.as_string(), argument.as_array()) else {
            return Value::Undefined;
        };
        let builtin = SUPPLIED.iter().find(|one| *one.name == **name);
        builtin.map_or(Value::Undefined, |one| self.call(one, args.as_slice()))
    }
}

/// `postern.one(rule, key, value)`: the value; a second one that differs is a conflict.
fn postern_one(args: &[Value], context: &mut Context, _: &mut Caches) -> Value {
    let [rule, key, value] = args else { return context.fail(Fault::Failed) };
    let known = context.ones.entry((rule.clone(), key.clone())).or_insert_with(|| value.clone());
    if known != value {
        return context.fail(Fault::Conflict);
    }
    value.clone()
}

/// `postern.all(rule, key, values)`: the first, after each has been noticed.
fn postern_all(args: &[Value], context: &mut Context, caches: &mut Caches) -> Value {
    let [rule, key, Value::Array(values)] = args else { return context.fail(Fault::Failed) };
    let mut first = Value::Undefined;
    for value in values.iter() {
        let noticed = postern_one(&[rule.clone(), key.clone(), value.clone()], context, caches);
        if first == Value::Undefined {
            first = noticed;
        }
    }
    first
}

/// `postern.object(pairs)`: the object of these pairs; a key with two values is a conflict.
fn postern_object(args: &[Value], context: &mut Context, _: &mut Caches) -> Value {
    let [Value::Array(pairs)] = args else { return context.fail(Fault::Failed) };
    let mut object: BTreeMap<Value, Value> = BTreeMap::new();
    for pair in pairs.iter() {
        let Value::Array(pair) = pair else { return context.fail(Fault::Failed) };
        let [key, value] = pair.as_slice() else { return context.fail(Fault::Failed) };
        let known = object.entry(key.clone()).or_insert_with(|| value.clone());
        if known != value {
            return context.fail(Fault::Conflict);
        }
    }
    Value::from(object)
}

/// `opa.runtime()`: of an OPA without configuration, whose environment is nobody's business.
fn runtime(_: &[Value], _: &mut Context, _: &mut Caches) -> Value {
    Value::new_object()
}

/// The text of an argument.
fn text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// Undefined is how OPA sees a builtin's error.
fn defined<T: Into<Value>>(value: Option<T>) -> Value {
    value.map_or(Value::Undefined, Into::into)
}
