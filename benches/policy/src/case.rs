//! Policies with their inputs, and the requests that our gate builds the same inputs from.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result, ensure};
use postern_core::config::gate::{DEFAULT_INSTRUCTIONS, PolicySource};
use postern_core::denial::DecisionId;
use postern_core::fields::{Field, Fields};
use postern_core::identity::{Identity, Kind};
use postern_core::policy::{Answer, Policy, Question};
use postern_core::time::UnixMillis;
use postern_rego::{Rego, load};
use serde_json::{Value, json};

/// Any time: none of the policies reads it.
const NOW: UnixMillis = UnixMillis(1_750_000_000_000);

/// A policy in the style of Envoy's OPA plugin.
pub struct Case {
    /// Its file, without the ending.
    pub name: String,
    /// Name and text.
    pub modules: Vec<(String, String)>,
    /// `data`.
    pub data: Value,
    /// The rule.
    pub query: String,
    /// As OPA gets them.
    pub inputs: Vec<Value>,
    requests: Vec<Request>,
    ours: Rc<Rego>,
}

/// What our gate has of a request.
struct Request {
    fields: Fields,
    content: Option<Vec<u8>>,
}

/// The policies of `folder`, by name.
pub fn all(folder: &Path) -> Result<Vec<Case>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .with_context(|| folder.display().to_string())?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|kind| kind == "rego"));
    files.sort();
    ensure!(!files.is_empty(), "no policy in {}", folder.display());
    files.iter().map(|file| Case::read(file)).collect()
}

impl Case {
    fn read(file: &Path) -> Result<Self> {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let modules = vec![(format!("{name}.rego"), std::fs::read_to_string(file)?)];
        let cases: Value = serde_json::from_slice(&std::fs::read(file.with_extension("json"))?)?;
        let data = cases.get("data").cloned().unwrap_or_else(|| json!({}));
        let query = cases["query"].as_str().context("query")?.to_owned();
        let inputs = cases["inputs"].as_array().context("inputs")?.clone();
        let source = PolicySource {
            modules: modules.clone(),
            data: data.clone(),
            query: query.clone(),
            instructions: DEFAULT_INSTRUCTIONS,
            bundle: None,
        };
        let ours = load(&source).map_err(|found| anyhow::anyhow!("{name}: {found:?}"))?;
        let reads = ours.reads_content();
        let requests = inputs.iter().map(|input| Request::of(input, reads)).collect();
        Ok(Self { name, modules, data, query, inputs, requests, ours })
    }

    /// One round of the inputs: whether each is allowed.
    pub fn decide(&self) -> Vec<bool> {
        let identity = identity();
        let decided = self.requests.iter().map(|request| {
            let answer = self.ours.decide(&request.question(&identity));
            matches!(answer, Ok(Answer::Allow(..)))
        });
        decided.collect()
    }
}

impl Request {
    fn of(input: &Value, reads_content: bool) -> Self {
        let http = &input["attributes"]["request"]["http"];
        let text = |value: &Value| value.as_str().unwrap_or_default().as_bytes().to_vec();
        let pseudo = [("method", ":method"), ("path", ":path"), ("host", ":authority")];
        let pseudo =
            pseudo.iter().map(|(member, name)| (name.as_bytes().to_vec(), text(&http[*member])));
        let headers = http["headers"].as_object().into_iter().flatten();
        let headers = headers.filter(|(name, _)| !name.starts_with(':'));
        let headers = headers.map(|(name, value)| (name.as_bytes().to_vec(), text(value)));
        let content = (reads_content && http["body"].is_string()).then(|| text(&http["body"]));
        // Content is read by its type, which the documents leave out.
        let untyped = content.is_some() && http["headers"]["content-type"].is_null();
        let kind = untyped.then(|| (b"content-type".to_vec(), b"application/json".to_vec()));
        let fields = pseudo.chain(headers).chain(kind);
        let fields = fields.map(|(name, value)| Field { name, value });
        Self { fields: Fields(fields.collect()), content }
    }

    fn question<'a>(&'a self, identity: &'a Identity) -> Question<'a> {
        Question {
            fields: &self.fields,
            hidden: Vec::new(),
            identity,
            uses: Vec::new(),
            authority: None,
            region: None,
            budgets: Vec::new(),
            taints: Vec::new(),
            content: self.content.as_deref(),
            now: NOW,
            id: DecisionId([0; 16]),
        }
    }
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
