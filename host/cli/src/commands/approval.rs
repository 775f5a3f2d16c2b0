//! `postern approval`: requests that wait for a person, for people who live in a terminal.
//!
//! Invariant: what an agent wrote is shown as text alone: no character of it moves the cursor,
//! turns the direction of writing, or cannot be seen.

use std::time::Duration;

use postern_core::time::UnixMillis;
use serde_json::{Value, json};

use crate::failure::{Failure, Outcome};
use crate::operator::{Operator, OperatorArgs};
use crate::output::{Output, table};
use crate::span;

const PATH: &str = "/api/v1/approvals";

/// Approvals.
#[derive(clap::Subcommand)]
pub enum Command {
    /// List requests that wait for a person.
    List(ListArgs),
    /// Show one request, as it would leave.
    Show(ShowArgs),
    /// Let one request go, once.
    Approve(ApproveArgs),
    /// Refuse one request.
    Deny(DenyArgs),
}

/// List requests that wait.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern approval list
  postern approval list --all
  postern approval list --json | jq -r '.approvals[].id'

With --all also those of the last 30 days that were decided, used, or have expired. What a
request was is in no list, and is deleted once its agent knows the decision.")]
pub struct ListArgs {
    #[command(flatten)]
    operator: OperatorArgs,
    /// Decided ones too.
    #[arg(long)]
    all: bool,
}

/// Show one request.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern approval show 0f9c2c6e8d1b4a7f9c2c6e8d1b4a7f00

Characters that cannot be seen, or that turn the direction of writing, are shown as \\u{…}.")]
pub struct ShowArgs {
    #[command(flatten)]
    operator: OperatorArgs,
    /// Id of the approval: 32 hexadecimal digits.
    #[arg(value_parser = id)]
    id: String,
}

/// Let one request go.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern approval approve 0f9c2c6e8d1b4a7f9c2c6e8d1b4a7f00
  postern approval approve 0f9c2c6e8d1b4a7f9c2c6e8d1b4a7f00 --reason 'weekly report'
  postern approval approve 0f9c2c6e8d1b4a7f9c2c6e8d1b4a7f00 --grant 30m
  postern approval approve 0f9c2c6e8d1b4a7f9c2c6e8d1b4a7f00 --in-part

The approval is for exactly this request, and is used once. With --grant, requests of the same
caller with the same method, host, path and credentials need none for so long (at most 24h).
Where the request is not shown whole (long or binary content), --in-part says that you know.
Exit code 1: it does not wait, is not shown whole, is nobody's of this tenant, or takes a passkey, which is used on
the page of the key service.")]
pub struct ApproveArgs {
    #[command(flatten)]
    operator: OperatorArgs,
    /// Id of the approval: 32 hexadecimal digits.
    #[arg(value_parser = id)]
    id: String,
    /// Why; kept with the approval.
    #[arg(long, default_value = "")]
    reason: String,
    /// Approve alike requests too, for so long.
    #[arg(long, value_name = "SPAN", value_parser = span::parse, num_args = 0..=1, default_missing_value = "30m")]
    grant: Option<Duration>,
    /// Approve also what `show` does not show of it.
    #[arg(long)]
    in_part: bool,
}

/// Refuse one request.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern approval deny 0f9c2c6e8d1b4a7f9c2c6e8d1b4a7f00 --reason 'not on a Friday'")]
pub struct DenyArgs {
    #[command(flatten)]
    operator: OperatorArgs,
    /// Id of the approval: 32 hexadecimal digits.
    #[arg(value_parser = id)]
    id: String,
    /// Why; kept with the approval.
    #[arg(long, default_value = "")]
    reason: String,
}

/// Runs one of them.
pub fn run(command: Command, out: Output) -> Outcome {
    match command {
        Command::List(args) => list(&args, out),
        Command::Show(args) => show(&args, out),
        Command::Approve(args) => approve(&args, out),
        Command::Deny(args) => deny(&args, out),
    }
}

/// What is no id must not become another path.
fn id(text: &str) -> Result<String, String> {
    let id = postern_core::hex::read::<16>(text.as_bytes());
    id.map(|_| text.to_owned()).ok_or_else(|| "expected 32 hexadecimal digits".to_owned())
}

fn list(args: &ListArgs, out: Output) -> Outcome {
    let operator = Operator::load(&args.operator)?;
    let state = if args.all { "all" } else { "pending" };
    let path = format!("{PATH}?state={state}");
    let document = operator.service()?.signed(&operator, "GET", &path, None)?;
    let all = document.get("approvals").and_then(Value::as_array).cloned().unwrap_or_default();
    let header = ["id", "state", "agent", "user", "credentials", "yes", "class", "ends"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(all.iter().map(row));
    out.result(&document, &table(&rows))
}

fn row(approval: &Value) -> Vec<String> {
    let decisions = approval.get("decisions").and_then(Value::as_array);
    let yes = |decision: &&Value| text(decision, "verdict") == "approve";
    let yes = decisions.map_or(0, |all| all.iter().filter(yes).count());
    let needed = approval.get("needed").and_then(Value::as_u64).unwrap_or(1);
    let requester = approval.get("requester").unwrap_or(&Value::Null);
    vec![
        text(approval, "id"),
        text(approval, "state"),
        text(requester, "agent"),
        text(requester, "user"),
        credentials(approval),
        format!("{yes}/{needed}"),
        class(approval).to_owned(),
        time(approval, "expires"),
    ]
}

fn text(of: &Value, name: &str) -> String {
    visible(of.get(name).and_then(Value::as_str).unwrap_or("-"))
}

fn time(of: &Value, name: &str) -> String {
    let at = of.get(name).and_then(Value::as_u64);
    at.map_or_else(|| "-".to_owned(), |at| span::shown(UnixMillis(at)))
}

fn class(approval: &Value) -> &'static str {
    match approval.get("passkey").and_then(Value::as_bool) {
        Some(true) => "passkey",
        _ => "person",
    }
}

fn credentials(approval: &Value) -> String {
    let all = approval.get("credentials").and_then(Value::as_array);
    let names: Vec<&str> = all.into_iter().flatten().filter_map(Value::as_str).collect();
    if names.is_empty() { "-".to_owned() } else { visible(&names.join(" ")) }
}

fn show(args: &ShowArgs, out: Output) -> Outcome {
    let operator = Operator::load(&args.operator)?;
    let path = format!("{PATH}/{}", args.id);
    let document = operator.service()?.signed(&operator, "GET", &path, None)?;
    out.result(&document, &shown(&document))
}

/// Line by line; lines of content are indented, so that none of them can pass for one of ours.
fn shown(approval: &Value) -> String {
    let requester = approval.get("requester").unwrap_or(&Value::Null);
    let mut lines = vec![
        format!("approval     {}", text(approval, "id")),
        format!("state        {}", text(approval, "state")),
        format!("agent        {}", text(requester, "agent")),
        format!("for          {}", text(requester, "user")),
        format!("organisation {}", text(requester, "organisation")),
        format!("credentials  {}", credentials(approval)),
        format!("class        {}", class(approval)),
        format!("ends         {}", time(approval, "expires")),
    ];
    for decision in approval.get("decisions").and_then(Value::as_array).into_iter().flatten() {
        let said = ["verdict", "by", "reason"].map(|name| text(decision, name));
        lines
            .push(format!("decision     {} by {} {}", said[0], said[1], said[2]).trim_end().into());
    }
    match approval.get("preview").filter(|preview| preview.is_object()) {
        Some(preview) => {
            lines.extend(request(preview));
            if approval.get("whole").and_then(Value::as_bool) == Some(false) {
                lines
                    .push("shown        in part: approve it with --in-part, or deny it".to_owned());
            }
        }
        None => lines.push("request      not kept any more".to_owned()),
    }
    lines.join("\n")
}

fn request(preview: &Value) -> Vec<String> {
    let part = |name| text(preview, name);
    let target = format!(
        "request      {} {}://{}{}",
        part("method"),
        part("scheme"),
        part("authority"),
        part("path")
    );
    let mut lines = vec![target];
    for (name, title) in [("query", "query"), ("fields", "field")] {
        for pair in preview.get(name).and_then(Value::as_array).into_iter().flatten() {
            let half = |at: usize| visible(pair.get(at).and_then(Value::as_str).unwrap_or(""));
            lines.push(format!("{title:<12} {} = {}", half(0), half(1)));
        }
    }
    let content = preview.get("content").unwrap_or(&Value::Null);
    let number = |name: &str| content.get(name).and_then(Value::as_u64).unwrap_or(0);
    match content.get("kind").and_then(Value::as_str) {
        Some("text") => {
            lines.push("content".to_owned());
            let text = content.get("text").and_then(Value::as_str).unwrap_or("");
            lines.extend(text.split('\n').map(|line| format!("  | {}", visible(line))));
            if number("more") > 0 {
                lines.push(format!("  and {} bytes more", number("more")));
            }
        }
        Some("binary") => lines.push(format!("content      binary, {} bytes", number("bytes"))),
        Some("none") => lines.push("content      none".to_owned()),
        _ => lines.push("content      not read, and not covered".to_owned()),
    }
    lines
}

/// Text in which everything can be seen.
fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_hidden(character) {
            shown.push_str(&format!("\\u{{{:x}}}", u32::from(character)));
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Controls, marks of direction, and what has no width of its own. The ranges are those of
/// the Unicode properties Bidi_Control and Default_Ignorable_Code_Point, private use included.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            u32::from(character),
            0xad | 0x34f | 0x61c | 0x115f | 0x1160 | 0x17b4 | 0x17b5
                | 0x180b..=0x180f | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0x3164
                | 0xe000..=0xf8ff | 0xfe00..=0xfe0f | 0xfeff | 0xffa0 | 0xfff0..=0xfffb
                | 0x1bca0..=0x1bca3 | 0x1d173..=0x1d17a | 0xe0000..=0x10ffff
        )
}

fn approve(args: &ApproveArgs, out: Output) -> Outcome {
    let grant = args.grant.map(|span| u32::try_from(span.as_secs()).unwrap_or(u32::MAX));
    let said = json!({"reason": args.reason, "grant": grant, "in_part": args.in_part});
    let document = decide(&args.operator, &args.id, "approve", &said)?;
    let waits = document.get("state").and_then(Value::as_str) == Some("pending");
    let text = if waits {
        format!("{}: one yes more; somebody else has to approve it too", args.id)
    } else {
        format!("approved {}: its agent may send it again, once", args.id)
    };
    out.result(&document, &text)
}

fn deny(args: &DenyArgs, out: Output) -> Outcome {
    let said = json!({"reason": args.reason});
    let document = decide(&args.operator, &args.id, "deny", &said)?;
    out.result(&document, &format!("denied {}", args.id))
}

fn decide(operator: &OperatorArgs, id: &str, verdict: &str, said: &Value) -> Outcome<Value> {
    let reason = said.get("reason").and_then(Value::as_str).unwrap_or_default();
    if reason.chars().count() > 200 {
        return Err(Failure::usage("expected a reason of at most 200 characters"));
    }
    let operator = Operator::load(operator)?;
    let path = format!("{PATH}/{id}/{verdict}");
    operator.service()?.signed(&operator, "POST", &path, Some(said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_or_turns_the_text_is_spelt_out() {
        for (text, expected) in [
            ("plain, ümlaut, 漢字, ع", "plain, ümlaut, 漢字, ع"),
            ("a\u{202e}b", "a\\u{202e}b"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("a\u{200b}b\u{feff}", "a\\u{200b}b\\u{feff}"),
            ("a\u{2066}b\u{2069}", "a\\u{2066}b\\u{2069}"),
            ("a\u{e0041}", "a\\u{e0041}"),
            ("a\rb\tc\0", "a\\u{d}b\\u{9}c\\u{0}"),
        ] {
            assert_eq!(visible(text), expected);
        }
    }

    #[test]
    fn a_line_of_content_cannot_pass_for_one_of_ours() {
        let approval = json!({
            "id": "00", "state": "pending",
            "requester": {"agent": "bot\nstate        approved", "user": "ada"},
            "preview": {
                "method": "POST", "scheme": "https", "authority": "x", "path": "/",
                "content": {"kind": "text", "text": "a\nstate        approved", "more": 3},
            },
        });
        let lines = shown(&approval);
        let states = lines.lines().filter(|line| line.starts_with("state"));
        assert_eq!(states.collect::<Vec<_>>(), ["state        pending"]);
        assert!(lines.contains("  | state        approved\n  and 3 bytes more"), "{lines}");
    }
}
