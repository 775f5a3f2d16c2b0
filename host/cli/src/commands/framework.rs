//! `postern framework`, `postern classify` and `postern clearance`: levels, the sections that have
//! one, and the agents that are cleared for one.

use postern_keys::admin::{Classified, Cleared, NewFramework};
use serde_json::{Map, Value, json};

use crate::failure::{Failure, Outcome, Sort};
use crate::operator::{Operator, OperatorArgs};
use crate::output::{Output, table};

const PATH: &str = "/api/v1/frameworks";

/// Classification frameworks.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Make a framework of these levels, lowest first.
    Create(CreateArgs),
    /// List the tenant's frameworks.
    List(ListArgs),
    /// Show a framework: its levels, classified sections and cleared agents.
    Show(ShowArgs),
}

/// What agents are cleared for.
#[derive(clap::Subcommand)]
pub enum Clearance {
    /// Clear an agent for a level, in place of what it was cleared for.
    Set(SetArgs),
    /// Show which agents are cleared for what.
    Show(ClearedArgs),
}

/// Make a framework.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern framework create default public internal confidential

Levels do not change afterwards: what is classified would mean something else. The gate's document
names the same levels in barriers.levels.")]
pub struct CreateArgs {
    #[command(flatten)]
    operator: OperatorArgs,
    /// Name.
    framework: String,
    /// Levels, lowest first.
    #[arg(required = true, value_name = "LEVEL")]
    levels: Vec<String>,
}

/// List frameworks.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern framework list")]
pub struct ListArgs {
    #[command(flatten)]
    operator: OperatorArgs,
}

/// Show a framework.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern framework show default
  postern framework show default --policy-data > data.json
  postern policy build --data data.json --serial 43 --signing-key key.pem --output policy.tar.gz policy/

With --policy-data it is the document that policies read: data.frameworks.NAME.levels has a number for
each level, data.frameworks.NAME.sections the level of each section by document.")]
pub struct ShowArgs {
    #[command(flatten)]
    operator: OperatorArgs,
    /// Name.
    framework: String,
    /// Write what policies read, as JSON.
    #[arg(long)]
    policy_data: bool,
}

/// Give a section of a document a level.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern classify --framework default plan-2026 budget confidential
  postern classify --framework default plan-2026 budget --remove

Policies see it when the next bundle is built: postern framework show --policy-data.")]
pub struct ClassifyArgs {
    #[command(flatten)]
    operator: OperatorArgs,
    /// Framework of the level.
    #[arg(long, default_value = "default")]
    framework: String,
    /// Document.
    document: String,
    /// Section of it.
    section: String,
    /// Level.
    #[arg(required_unless_present = "remove", conflicts_with = "remove")]
    level: Option<String>,
    /// Take the level away.
    #[arg(long)]
    remove: bool,
}

/// Clear an agent.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern clearance set triage-bot internal
  postern clearance set triage-bot --remove

It holds for every API key of the agent within seconds. A key that was made with --clearance has the
lower of the two. Agents that come with tokens have the clearance of their tokens.")]
pub struct SetArgs {
    #[command(flatten)]
    operator: OperatorArgs,
    /// Framework of the level.
    #[arg(long, default_value = "default")]
    framework: String,
    /// Agent, as in `postern apikey create --agent`.
    agent: String,
    /// Level.
    #[arg(required_unless_present = "remove", conflicts_with = "remove")]
    level: Option<String>,
    /// Take the clearance away.
    #[arg(long)]
    remove: bool,
}

/// Show clearances.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern clearance show
  postern clearance show triage-bot --framework default")]
pub struct ClearedArgs {
    #[command(flatten)]
    operator: OperatorArgs,
    /// Framework.
    #[arg(long, default_value = "default")]
    framework: String,
    /// One agent alone.
    agent: Option<String>,
}

/// Runs one of them.
pub fn run(command: Command, out: Output) -> Outcome {
    match command {
        Command::Create(args) => create(args, out),
        Command::List(args) => list(&args, out),
        Command::Show(args) => show(&args, out),
    }
}

/// Runs one of them.
pub fn clearance(command: Clearance, out: Output) -> Outcome {
    match command {
        Clearance::Set(args) => set(args, out),
        Clearance::Show(args) => cleared(&args, out),
    }
}

fn create(args: CreateArgs, out: Output) -> Outcome {
    let CreateArgs { operator, framework, levels } = args;
    let text = format!("made framework {framework}: {}", levels.join(" < "));
    let new = json(&NewFramework { framework, levels })?;
    let operator = Operator::load(&operator)?;
    let made = operator.service()?.signed(&operator, "POST", PATH, Some(&new))?;
    out.result(&made, &text)
}

fn list(args: &ListArgs, out: Output) -> Outcome {
    let operator = Operator::load(&args.operator)?;
    let document = operator.service()?.signed(&operator, "GET", PATH, None)?;
    let mut rows = vec![["framework", "levels"].map(str::to_owned).to_vec()];
    rows.extend(members(&document, "frameworks").iter().map(|one| {
        let levels: Vec<&str> =
            one["levels"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        vec![text(one, "framework"), levels.join(" < ")]
    }));
    out.result(&document, &table(&rows))
}

fn show(args: &ShowArgs, out: Output) -> Outcome {
    let document = fetched(&args.operator, &args.framework)?;
    if args.policy_data {
        let data = policy_data(&document);
        return out.result(&data, &format!("{data:#}"));
    }
    let mut rows = vec![["level", "what", "name"].map(str::to_owned).to_vec()];
    for level in document["levels"].as_array().into_iter().flatten() {
        let of = |one: &&Value| one["level"] == *level;
        let name = level.as_str().unwrap_or_default();
        rows.push(vec![name.to_owned(), "level".to_owned(), "-".to_owned()]);
        let sections = members(&document, "sections");
        rows.extend(sections.iter().filter(of).map(|one| {
            let section = format!("{} {}", text(one, "document"), text(one, "section"));
            vec![name.to_owned(), "section".to_owned(), section]
        }));
        let agents = members(&document, "clearances");
        rows.extend(
            agents
                .iter()
                .filter(of)
                .map(|one| vec![name.to_owned(), "agent".to_owned(), text(one, "agent")]),
        );
    }
    out.result(&document, &table(&rows))
}

/// Gives a section its level.
pub fn classify(args: ClassifyArgs, out: Output) -> Outcome {
    let ClassifyArgs { operator, framework, document, section, level, .. } = args;
    let text = match &level {
        Some(level) => format!("{document} {section} is {level}"),
        None => format!("{document} {section} has no level"),
    };
    let body = json(&Classified { document, section, level })?;
    let path = format!("{}/sections", at(&framework)?);
    let operator = Operator::load(&operator)?;
    let done = operator.service()?.signed(&operator, "POST", &path, Some(&body))?;
    out.result(&done, &text)
}

fn set(args: SetArgs, out: Output) -> Outcome {
    let SetArgs { operator, framework, agent, level, .. } = args;
    let text = match &level {
        Some(level) => format!("{agent} is cleared for {level}"),
        None => {
            format!("{agent} has what its keys and its gate give, which may be more than before")
        }
    };
    let body = json(&Cleared { agent, level })?;
    let path = format!("{}/clearances", at(&framework)?);
    let operator = Operator::load(&operator)?;
    let done = operator.service()?.signed(&operator, "POST", &path, Some(&body))?;
    out.result(&done, &text)
}

fn cleared(args: &ClearedArgs, out: Output) -> Outcome {
    let document = fetched(&args.operator, &args.framework)?;
    let is_meant = |one: &&Value| args.agent.as_ref().is_none_or(|agent| one["agent"] == **agent);
    let agents: Vec<Value> =
        members(&document, "clearances").iter().filter(is_meant).cloned().collect();
    if agents.is_empty()
        && let Some(agent) = &args.agent
    {
        return Err(Failure::found(format!(
            "{agent} has no clearance here: what its keys and its gate give counts"
        )));
    }
    let mut rows = vec![["agent", "level"].map(str::to_owned).to_vec()];
    rows.extend(agents.iter().map(|one| vec![text(one, "agent"), text(one, "level")]));
    out.result(&json!({"framework": args.framework, "clearances": agents}), &table(&rows))
}

fn fetched(args: &OperatorArgs, framework: &str) -> Outcome<Value> {
    let path = at(framework)?;
    let operator = Operator::load(args)?;
    operator.service()?.signed(&operator, "GET", &path, None)
}

/// Its address; the service knows no name with other letters.
fn at(framework: &str) -> Outcome<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if framework.is_empty() || !framework.bytes().all(plain) {
        return Err(Failure::usage("expected the name of a framework: a-z, 0-9, _ and -"));
    }
    Ok(format!("{PATH}/{framework}"))
}

/// What policies read: a number for each level, and levels by document and section.
fn policy_data(document: &Value) -> Value {
    let levels = document["levels"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let levels: Map<String, Value> =
        levels.zip(0_u64..).map(|(level, rank)| (level.to_owned(), json!(rank))).collect();
    let mut sections = Map::new();
    for one in members(document, "sections") {
        let of = sections.entry(text(&one, "document")).or_insert_with(|| json!({}));
        of[text(&one, "section")] = one["level"].clone();
    }
    let name = text(document, "framework");
    json!({"frameworks": {name: {"levels": levels, "sections": sections}}})
}

fn members(document: &Value, name: &str) -> Vec<Value> {
    document.get(name).and_then(Value::as_array).cloned().unwrap_or_default()
}

fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or("-").to_owned()
}

fn json(body: &impl serde::Serialize) -> Outcome<Value> {
    serde_json::to_value(body).or_bug("request")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_read_ranks_and_levels_by_document() {
        let document = json!({
            "framework": "default", "levels": ["public", "secret"],
            "sections": [
                {"document": "plan", "section": "a", "level": "secret"},
                {"document": "plan", "section": "b", "level": "public"},
            ],
            "clearances": [{"agent": "bot", "level": "secret"}],
        });
        let want = json!({"frameworks": {"default": {
            "levels": {"public": 0, "secret": 1},
            "sections": {"plan": {"a": "secret", "b": "public"}},
        }}});
        assert_eq!(policy_data(&document), want);
    }
}
