//! The document `input`: that of Envoy's OPA plugin, and `postern` beside it.
//!
//! Only what the policy reads is built. Invariant: what is in the document is what the gate
//! has decided about; what cannot be put in faithfully is a reason to deny, never left out.

use std::collections::BTreeMap;

use postern_core::denial::PolicyReason;
use postern_core::hex;
use postern_core::identity::Identity;
use postern_core::policy::Question;
use regorus::Value;

use crate::builtins::unescape;
use crate::reads::Reads;

mod content;

pub(crate) use content::Strict;

/// Members that Envoy's OPA plugin has and this gate does not give.
const MISSING: [&[&str]; 11] = [
    &["attributes", "source"],
    &["attributes", "destination"],
    &["attributes", "contextExtensions"],
    &["attributes", "metadataContext"],
    &["attributes", "routeMetadataContext"],
    &["attributes", "tlsSession"],
    &["attributes", "request", "time"],
    &["attributes", "request", "http", "id"],
    &["attributes", "request", "http", "protocol"],
    &["attributes", "request", "http", "size"],
    &["attributes", "request", "http", "rawBody"],
];

/// Why a path may not be read: it names a member that is not given, or something as a whole
/// that such a member is in.
///
/// Every object that content is in has such members too, so what is left names content by
/// itself (a test holds that), and [`Builder::reads_content`] misses nothing.
pub(crate) fn missing(path: &[String]) -> Option<String> {
    let rest = path.get(1..)?;
    let names = |wanted: &&&[&str]| rest.iter().zip(wanted.iter()).all(|(one, other)| one == other);
    let wanted = MISSING.iter().find(names)?;
    let member = format!("input.{}", wanted.join("."));
    Some(if rest.len() >= wanted.len() {
        format!("{member} is not in the input of this gate")
    } else {
        let whole = path.join(".");
        format!("{whole} as a whole: {member} is not in the input of this gate, name a member")
    })
}

/// Members that hold content.
const CONTENT: [&[&str]; 3] =
    [&["parsed_body"], &["truncated_body"], &["attributes", "request", "http", "body"]];

const HTTP: [&str; 3] = ["attributes", "request", "http"];

/// Builds documents for one policy.
pub(crate) struct Builder {
    reads: Reads,
    http: [(&'static str, bool); 5],
    wants: Wants,
}

/// What the policy reads, so that a request costs no look-up.
struct Wants {
    headers: bool,
    body: bool,
    path: bool,
    query: bool,
    parsed_body: bool,
    version: bool,
    identity: bool,
    budget: bool,
    taint: bool,
    postern: bool,
}

impl Builder {
    pub(crate) fn new(reads: &Reads) -> Self {
        let http = |name| reads.wants(&[HTTP[0], HTTP[1], HTTP[2], name]);
        let wants = Wants {
            headers: http("headers"),
            body: http("body"),
            path: reads.wants(&["parsed_path"]),
            query: reads.wants(&["parsed_query"]),
            parsed_body: reads.wants(&["parsed_body"]),
            version: reads.wants(&["version"]),
            identity: reads.wants(&["postern", "identity"]),
            budget: reads.wants(&["postern", "budget"]),
            taint: reads.wants(&["postern", "taint"]),
            postern: reads.wants(&["postern"]),
        };
        let http = [":method", ":path", ":authority", ":scheme", ""];
        let names = ["method", "path", "host", "scheme", ""];
        let mut pairs = [("", false); 5];
        for ((pair, pseudo), name) in pairs.iter_mut().zip(http).zip(names) {
            *pair =
                (pseudo, !name.is_empty() && reads.wants(&["attributes", "request", "http", name]));
        }
        Self { reads: reads.clone(), http: pairs, wants }
    }

    /// Whether the content has to be there.
    pub(crate) fn reads_content(&self) -> bool {
        CONTENT.iter().any(|member| self.reads.wants(member))
    }

    /// Whether budgets or labels have to be looked up.
    pub(crate) fn reads_tallies(&self) -> bool {
        self.wants.budget || self.wants.taint
    }

    pub(crate) fn build(&self, question: &Question<'_>) -> Result<Value, PolicyReason> {
        let mut input = Members::default();
        input.put("attributes", self.attributes(question)?);
        if self.wants.path || self.wants.query {
            self.target(question, &mut input)?;
        }
        if let Some(content) = question.content {
            if self.wants.parsed_body {
                input.put("parsed_body", content::parsed(question.fields, content)?);
            }
            input.put("truncated_body", Value::from(false));
        }
        if self.wants.version {
            let mut version = Members::default();
            version.put("ext_authz", Value::from("v3"));
            version.put("encoding", Value::from("protojson"));
            input.put("version", version.into());
        }
        if self.wants.postern {
            input.put("postern", self.postern(question)?);
        }
        Ok(input.into())
    }

    fn attributes(&self, question: &Question<'_>) -> Result<Value, PolicyReason> {
        let mut http = Members::default();
        let names = ["method", "path", "host", "scheme"];
        for ((pseudo, wanted), name) in self.http.iter().zip(names) {
            if *wanted && let Some(value) = question.fields.only(pseudo) {
                http.put(name, utf8(value)?);
            }
        }
        if self.wants.headers {
            http.put("headers", self.headers(question)?);
        }
        if let Some(content) =
            question.content.filter(|content| self.wants.body && !content.is_empty())
        {
            http.put("body", utf8(content)?);
        }
        let mut request = Members::default();
        request.put("http", http.into());
        let mut attributes = Members::default();
        attributes.put("request", request.into());
        Ok(attributes.into())
    }

    /// Names in lower case, lines of one name joined by a comma, as Envoy hands them over.
    fn headers(&self, question: &Question<'_>) -> Result<Value, PolicyReason> {
        let mut lines: BTreeMap<&str, String> = BTreeMap::new();
        for field in &question.fields.0 {
            let name = str::from_utf8(&field.name).map_err(|_| PolicyReason::Input)?;
            let hidden = question.hidden.iter().any(|hidden| hidden.eq_ignore_ascii_case(name));
            if hidden || !self.reads.wants(&["attributes", "request", "http", "headers", name]) {
                continue;
            }
            let value = str::from_utf8(&field.value).map_err(|_| PolicyReason::Input)?;
            match lines.get_mut(name) {
                Some(line) => line.extend([",", value]),
                None => {
                    lines.insert(name, value.to_owned());
                }
            }
        }
        let mut headers = Members::default();
        for (name, value) in lines {
            headers.put(name, Value::from(value));
        }
        Ok(headers.into())
    }

    /// `parsed_path` and `parsed_query`, as Go's `net/url` reads them.
    fn target(&self, question: &Question<'_>, input: &mut Members) -> Result<(), PolicyReason> {
        let target = question.fields.only(":path").and_then(|path| str::from_utf8(path).ok());
        let target = target.ok_or(PolicyReason::Input)?;
        let target = target.split('#').next().unwrap_or_default();
        // Go takes what follows two slashes for an authority.
        if target.starts_with("//") {
            return Err(PolicyReason::Input);
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = unescape(path, false).ok_or(PolicyReason::Input)?;
        let parts = path.trim_start_matches('/').split('/').map(Value::from);
        input.put("parsed_path", Value::from(parts.collect::<Vec<_>>()));
        if self.wants.query {
            input.put("parsed_query", content::form(query).ok_or(PolicyReason::Input)?);
        }
        Ok(())
    }

    fn postern(&self, question: &Question<'_>) -> Result<Value, PolicyReason> {
        let Identity { roles, scopes, trust, clearance, organisation, .. } = question.identity;
        let mut postern = Members::default();
        if self.wants.identity {
            let identity = serde_json::to_value(question.identity);
            postern.put("identity", Value::from(identity.map_err(|_| PolicyReason::Input)?));
        }
        if self.wants.budget {
            let mut budget = Members::default();
            for (name, left) in &question.budgets {
                budget.put(name, Value::from(*left));
            }
            postern.put("budget", budget.into());
        }
        if self.wants.taint {
            let labels: Vec<Value> =
                question.taints.iter().map(|label| Value::from(*label)).collect();
            postern.put("taint", Value::from(labels));
        }
        postern.put("roles", texts(roles));
        postern.put("scopes", texts(scopes));
        postern.put("trust", Value::from(trust.as_str()));
        postern.put("organisation", Value::from(organisation.as_str()));
        postern.some("clearance", clearance.as_deref());
        postern.some("region", question.region);
        postern.some("authority", question.authority.as_deref());
        let uses: Vec<Value> = question
            .uses
            .iter()
            .map(|(used, binding)| {
                let mut credential = Members::default();
                credential.put("name", Value::from(used.credential.as_str()));
                credential.put("field", Value::from(used.field.as_str()));
                credential.put("site", Value::from(used.site.as_str()));
                credential.put("binding", Value::from(hex::lower(&used.binding_hash)));
                if let Some(binding) = binding {
                    credential.put("authority", Value::from(binding.authority().to_string()));
                }
                credential.into()
            })
            .collect();
        postern.put("credentials", Value::from(uses));
        Ok(postern.into())
    }
}

/// Members of an object.
#[derive(Default)]
struct Members(BTreeMap<Value, Value>);

impl Members {
    fn put(&mut self, name: &str, value: Value) {
        self.0.insert(Value::from(name), value);
    }

    fn some(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.put(name, Value::from(value));
        }
    }
}

impl From<Members> for Value {
    fn from(members: Members) -> Self {
        Self::from(members.0)
    }
}

fn texts(list: &[String]) -> Value {
    Value::from(list.iter().map(|text| Value::from(text.as_str())).collect::<Vec<_>>())
}

fn utf8(bytes: &[u8]) -> Result<Value, PolicyReason> {
    str::from_utf8(bytes).map(Value::from).map_err(|_| PolicyReason::Input)
}

#[cfg(test)]
mod tests;
