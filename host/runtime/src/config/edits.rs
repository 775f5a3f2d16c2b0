//! Fields that a route, a host or a table adds to messages and removes from them.
//!
//! Invariant: what is added is a literal value that fits into a line; `%` would be one of
//! Envoy's operators and is a problem, and so is a pseudo field or `host`.

use super::read::Table;

/// Of both messages of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits {
    /// Of the request.
    pub request: FieldEdits,
    /// Of the response.
    pub response: FieldEdits,
}

/// Of one message: what is removed goes first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldEdits {
    /// Names in lower case.
    pub remove: Vec<String>,
    /// In the order of the file.
    pub add: Vec<FieldAdd>,
}

/// One line that is added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldAdd {
    /// Name in lower case.
    pub name: String,
    /// Value.
    pub value: String,
    /// What becomes of lines that are there.
    pub action: AppendAction,
}

/// `append_action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendAction {
    /// One more line.
    Append,
    /// Only where there is none.
    AddIfAbsent,
    /// Instead of those that are there.
    Overwrite,
    /// Instead of those that are there, and only then.
    OverwriteIfPresent,
}

/// Lines that one place may add, as in Envoy.
const MOST: usize = 1000;

impl Edits {
    /// Reads the four keys of a route, a host or a table.
    pub(super) fn read(table: &mut Table<'_, '_>) -> Self {
        Self {
            request: FieldEdits {
                remove: read_removed(table, "request_headers_to_remove"),
                add: read_added(table, "request_headers_to_add"),
            },
            response: FieldEdits {
                remove: read_removed(table, "response_headers_to_remove"),
                add: read_added(table, "response_headers_to_add"),
            },
        }
    }
}

/// Whether nobody but the gateway itself writes it.
fn is_reserved(name: &str) -> bool {
    name.starts_with(':') || name.eq_ignore_ascii_case("host")
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(allowed)
}

fn read_removed(table: &mut Table<'_, '_>, key: &'static str) -> Vec<String> {
    let items = table.list(key);
    let names = items.iter().filter_map(|at| {
        let good = at.text().filter(|name| is_name(name) && !is_reserved(name));
        table.expected(at, good, "the name of a field other than host")
    });
    names.map(str::to_ascii_lowercase).collect()
}

fn read_added(table: &mut Table<'_, '_>, key: &'static str) -> Vec<FieldAdd> {
    let entries = table.tables(key);
    if entries.len() > MOST {
        table.report.problem(&table.at, format!("expected at most {MOST} entries of {key}"));
    }
    entries.into_iter().filter_map(read_add).collect()
}

const ACTIONS: &[(&str, AppendAction)] = &[
    ("APPEND_IF_EXISTS_OR_ADD", AppendAction::Append),
    ("ADD_IF_ABSENT", AppendAction::AddIfAbsent),
    ("OVERWRITE_IF_EXISTS_OR_ADD", AppendAction::Overwrite),
    ("OVERWRITE_IF_EXISTS", AppendAction::OverwriteIfPresent),
];

fn read_add(mut entry: Table<'_, '_>) -> Option<FieldAdd> {
    let action = entry.word("append_action", ACTIONS).unwrap_or(AppendAction::Append);
    let keep_empty = entry.flag("keep_empty_value");
    let header = entry.need_table("header");
    entry.done();
    let mut header = header?;
    let name = header.need("key").and_then(|at| {
        let good = at.text().filter(|name| is_name(name) && !is_reserved(name));
        header.expected(&at, good, "the name of a field other than host")
    });
    let value = match header.get("value") {
        None => Some(String::new()),
        Some(at) => {
            let good = at.text().filter(|text| !text.contains('%') && is_line(text));
            header.expected(&at, good, "a literal value without %").map(str::to_owned)
        }
    };
    header.done();
    let (name, value) = (name?.to_ascii_lowercase(), value?);
    // Envoy leaves out what would be empty unless told otherwise.
    (keep_empty || !value.is_empty()).then_some(FieldAdd { name, value, action })
}

/// Whether it can stand in a field line (RFC 9110, 5.5).
fn is_line(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'\t' || !byte.is_ascii_control())
}
