//! Information barriers: frameworks of ordered levels, sections that have a level, agents that
//! are cleared for one.
//!
//! Invariant: a level that is given to anything is one of its framework, and every change leaves
//! an event. A changed clearance makes every gateway forget the records that it keeps.

use postern_core::time::UnixMillis;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Operator, bad_request, conflict, not_found};
use crate::fault::Fault;
use crate::service::{HttpAnswer, Service};
use crate::store::frameworks::{self, Clearance, Framework, Section};
use crate::store::revocations;

/// Most frameworks of a tenant, and levels of one: what a gate takes.
const MOST_FRAMEWORKS: usize = 64;
const MOST_LEVELS: usize = 32;
/// Most sections of a framework: an answer holds all of them.
const MOST_SECTIONS: usize = 5_000;
/// Most agents that are cleared in a framework.
const MOST_CLEARED: usize = 5_000;
/// Longest level, in bytes, as in the gate's document.
const LONGEST_LEVEL: usize = 64;
/// Longest name of a document, section or agent, in bytes.
const LONGEST_NAME: usize = 256;

/// `POST /api/v1/frameworks`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewFramework {
    /// Name: `[a-z0-9][a-z0-9_-]{0,62}`.
    pub framework: String,
    /// Levels, lowest first: 1 to 32.
    pub levels: Vec<String>,
}

/// `POST /api/v1/frameworks/{framework}/sections`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Classified {
    /// Document, as the policy knows it.
    pub document: String,
    /// Section of it.
    pub section: String,
    /// Level; `null` takes it away. Whoever forgets it has taken nothing away.
    #[serde(deserialize_with = "Option::deserialize")]
    pub level: Option<String>,
}

/// `POST /api/v1/frameworks/{framework}/clearances`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cleared {
    /// Agent, as keys name it.
    pub agent: String,
    /// Level; `null` takes it away. Whoever forgets it has taken nothing away.
    #[serde(deserialize_with = "Option::deserialize")]
    pub level: Option<String>,
}

fn is_text(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn is_framework(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    name.len() <= 63
        && name.bytes().next().is_some_and(letter)
        && name.bytes().all(|byte| letter(byte) || b"_-".contains(&byte))
}

fn read_framework(body: &[u8]) -> Result<NewFramework, &'static str> {
    let new: NewFramework =
        serde_json::from_slice(body).map_err(|_| "Expected framework and levels")?;
    if !is_framework(&new.framework) {
        return Err("Expected a name of a-z, 0-9, _ and -, of at most 63");
    }
    let once =
        |(index, level): (usize, &String)| !new.levels.iter().take(index).any(|it| it == level);
    let fits = (1..=MOST_LEVELS).contains(&new.levels.len())
        && new.levels.iter().all(|level| is_text(level, LONGEST_LEVEL))
        && new.levels.iter().enumerate().all(once);
    if fits { Ok(new) } else { Err("Expected 1 to 32 levels, lowest first, each once") }
}

impl Service {
    pub(super) async fn frameworks_resource(
        &self,
        operator: &Operator,
        (method, rest): (&str, &[&str]),
        body: &[u8],
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        match (method, rest) {
            ("GET", []) => self.list_frameworks(operator).await,
            ("POST", []) => self.create_framework(operator, body, now).await,
            ("GET", [name]) => self.show_framework(operator, name).await,
            ("POST", [name, "sections"]) => self.classify(operator, name, body, now).await,
            ("POST", [name, "clearances"]) => self.clear(operator, name, body, now).await,
            _ => Ok(not_found()),
        }
    }

    async fn list_frameworks(&self, operator: &Operator) -> Result<HttpAnswer, Fault> {
        let mut db = self.inner.pool.read(operator.reach()).await?;
        let all = frameworks::all(&mut db, &self.inner.rows, operator.tenant()).await?;
        let show = |one: Framework| json!({"framework": one.name, "levels": one.levels});
        let shown: Vec<_> = all.into_iter().map(show).collect();
        Ok(HttpAnswer::json(&json!({ "frameworks": shown })))
    }

    async fn create_framework(
        &self,
        operator: &Operator,
        body: &[u8],
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        let new = match read_framework(body) {
            Ok(new) => new,
            Err(expected) => return Ok(bad_request(expected)),
        };
        let mut db = self.inner.pool.write(operator.reach()).await?;
        let (rows, tenant) = (&self.inner.rows, operator.tenant());
        if frameworks::all(&mut db, rows, tenant).await?.len() >= MOST_FRAMEWORKS {
            return Ok(conflict("There are 64 frameworks"));
        }
        let framework = Framework { name: new.framework.clone(), levels: new.levels.clone() };
        if !frameworks::add(&mut db, rows, tenant, &framework, now).await? {
            return Ok(conflict("There is a framework of this name, and levels do not change"));
        }
        let event = operator.event("framework_created").with("framework", new.framework.as_str());
        self.recorded(db, event.with_list("levels", &new.levels), now).await?;
        Ok(HttpAnswer::json(&new))
    }

    async fn show_framework(&self, operator: &Operator, name: &str) -> Result<HttpAnswer, Fault> {
        let mut db = self.inner.pool.read(operator.reach()).await?;
        let (rows, tenant) = (&self.inner.rows, operator.tenant());
        let Some(framework) = frameworks::find(&mut db, rows, tenant, name).await? else {
            return Ok(not_found());
        };
        let sections = frameworks::sections(&mut db, rows, (tenant, name)).await?;
        let cleared = frameworks::clearances(&mut db, rows, (tenant, name)).await?;
        let section = |one: Section| json!({"document": one.document, "section": one.section, "level": one.level});
        let agent = |one: Clearance| json!({"agent": one.agent, "level": one.level});
        Ok(HttpAnswer::json(&json!({
            "framework": framework.name,
            "levels": framework.levels,
            "sections": sections.into_iter().map(section).collect::<Vec<_>>(),
            "clearances": cleared.into_iter().map(agent).collect::<Vec<_>>(),
        })))
    }

    async fn classify(
        &self,
        operator: &Operator,
        name: &str,
        body: &[u8],
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        let Ok(wanted) = serde_json::from_slice::<Classified>(body) else {
            return Ok(bad_request("Expected document, section and level"));
        };
        if !is_text(&wanted.document, LONGEST_NAME) || !is_text(&wanted.section, LONGEST_NAME) {
            return Ok(bad_request("Expected names of 1 to 256 bytes without control characters"));
        }
        let mut db = self.inner.pool.write(operator.reach()).await?;
        let (rows, at) = (&self.inner.rows, (operator.tenant(), name));
        let Some(framework) = frameworks::find(&mut db, rows, at.0, name).await? else {
            return Ok(not_found());
        };
        let Classified { document, section, level } = &wanted;
        match level {
            None => {
                if !frameworks::declassify(&mut db, at, document, section).await? {
                    return Ok(not_found());
                }
            }
            Some(level) if framework.rank(level).is_none() => {
                return Ok(bad_request("Expected a level of the framework"));
            }
            Some(level) => {
                let one = Section {
                    document: document.clone(),
                    section: section.clone(),
                    level: level.clone(),
                };
                let others = frameworks::sections(&mut db, rows, at).await?;
                let is_new =
                    !others.iter().any(|it| it.document == *document && it.section == *section);
                if is_new && others.len() >= MOST_SECTIONS {
                    return Ok(conflict("5 000 sections have a level"));
                }
                frameworks::classify(&mut db, rows, at, &one, now).await?;
            }
        }
        let event = operator.event("section_classified").with("framework", name);
        let event = event.with("document", document.as_str()).with("section", section.as_str());
        let event = event.with("level", level.as_deref().unwrap_or_default());
        self.recorded(db, event, now).await?;
        Ok(HttpAnswer::json(&wanted))
    }

    async fn clear(
        &self,
        operator: &Operator,
        name: &str,
        body: &[u8],
        now: UnixMillis,
    ) -> Result<HttpAnswer, Fault> {
        let Ok(wanted) = serde_json::from_slice::<Cleared>(body) else {
            return Ok(bad_request("Expected agent and level"));
        };
        if !is_text(&wanted.agent, LONGEST_NAME) {
            return Ok(bad_request("Expected an agent of 1 to 256 bytes"));
        }
        let mut db = self.inner.pool.write(operator.reach()).await?;
        let (rows, tenant) = (&self.inner.rows, operator.tenant());
        let Some(framework) = frameworks::find(&mut db, rows, tenant, name).await? else {
            return Ok(not_found());
        };
        let Cleared { agent, level } = &wanted;
        match level {
            None => {
                let has = frameworks::clearance(&mut db, rows, tenant, agent).await?;
                if has.is_none_or(|has| has.framework != name) {
                    return Ok(not_found());
                }
                frameworks::unclear(&mut db, tenant, agent).await?;
            }
            Some(level) if framework.rank(level).is_none() => {
                return Ok(bad_request("Expected a level of the framework"));
            }
            Some(level) => {
                let others = frameworks::clearances(&mut db, rows, (tenant, name)).await?;
                if others.len() >= MOST_CLEARED && !others.iter().any(|it| it.agent == *agent) {
                    return Ok(conflict("5 000 agents are cleared"));
                }
                let (agent, framework, level) = (agent.clone(), name.to_owned(), level.clone());
                let clearance = Clearance { agent, framework, level };
                frameworks::clear(&mut db, rows, tenant, &clearance, now).await?;
            }
        }
        // Gateways keep records of keys for a minute, and the clearance is in them.
        revocations::forget(&mut db, rows).await?;
        let event = operator.event("agent_cleared").with("framework", name);
        let event = event.with("agent", agent.as_str());
        let event = event.with("level", level.as_deref().unwrap_or_default());
        self.recorded(db, event, now).await?;
        Ok(HttpAnswer::json(&wanted))
    }
}
