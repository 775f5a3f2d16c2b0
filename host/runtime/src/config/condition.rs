//! `match` of a route: its path, its fields, its query.

use super::pattern::Pattern;
use super::read::Table;

/// What a route wants of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Of the path without its query.
    pub path: PathMatch,
    /// Whether letters of the path count as they are written; an expression says so itself.
    pub case_sensitive: bool,
    /// Fields that must be as said, too.
    pub fields: Vec<FieldMatch>,
    /// Parameters of the query that must be as said, too.
    pub query: Vec<QueryMatch>,
}

/// What the path has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    /// Beginning so.
    Prefix(String),
    /// Exactly this.
    Exact(String),
    /// This, or this followed by `/` and anything.
    Separated(String),
    /// As an expression says.
    Pattern(Pattern),
}

/// A condition on a field of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldMatch {
    /// Name in lower case.
    pub name: String,
    /// What its value has to be.
    pub test: Test,
    /// Whether the answer is turned round.
    pub invert: bool,
    /// Whether a field that is not there counts as one without a value.
    pub missing_is_empty: bool,
}

/// What a field's value has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// There.
    Present,
    /// A text.
    Text(TextMatch),
    /// A whole number from the first to below the second.
    Range(i64, i64),
}

/// What a text has to be (`StringMatcher`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextMatch {
    /// How it is compared.
    pub kind: TextKind,
    /// Whether ASCII letters count alike in both cases; an expression says so itself.
    pub ignore_case: bool,
}

/// How a text is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextKind {
    /// Exactly this.
    Exact(String),
    /// Beginning so.
    Prefix(String),
    /// Ending so.
    Suffix(String),
    /// With this inside.
    Contains(String),
    /// As an expression says.
    Pattern(Pattern),
}

/// A condition on a parameter of the query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryMatch {
    /// Its name, as it stands in the query.
    pub name: String,
    /// What its first value has to be.
    pub test: QueryTest,
}

/// What a parameter has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryTest {
    /// There, or not there.
    Present(bool),
    /// A text.
    Text(TextMatch),
}

impl Condition {
    /// Reads a `RouteMatch`.
    pub(super) fn read(mut table: Table<'_, '_>) -> Option<Self> {
        let path = PathMatch::read(&mut table);
        let case_sensitive = table.get("case_sensitive").is_none() || table.flag("case_sensitive");
        let fields = table.tables("headers").into_iter().filter_map(FieldMatch::read).collect();
        let query = table.tables("query_parameters");
        let query = query.into_iter().filter_map(QueryMatch::read).collect();
        table.done();
        Some(Self { path: path?, case_sensitive, fields, query })
    }
}

impl PathMatch {
    fn read(table: &mut Table<'_, '_>) -> Option<Self> {
        let expression = table.table("safe_regex");
        let wanted = [
            table.text("prefix").map(Self::Prefix),
            table.text("path").map(Self::Exact),
            separated(table).map(Self::Separated),
        ];
        let mut wanted: Vec<Self> = wanted.into_iter().flatten().collect();
        let count = wanted.len() + usize::from(expression.is_some());
        // One that could not be read has been told of.
        let told = table.get("path_separated_prefix").is_some() && count == 0;
        if count != 1 && !told {
            let what = "expected either prefix or path, path_separated_prefix or safe_regex";
            table.report.problem(&table.at, what);
            return None;
        }
        match expression {
            Some(matcher) => Pattern::read(matcher, Pattern::whole).map(Self::Pattern),
            None => wanted.pop(),
        }
    }
}

fn separated(table: &mut Table<'_, '_>) -> Option<String> {
    let prefix = table.text("path_separated_prefix")?;
    let at = table.get("path_separated_prefix")?;
    let good = prefix.starts_with('/') && !prefix.ends_with('/') && !prefix.contains(['?', '#']);
    table.expected(&at, good.then_some(prefix), "a path that does not end in /, without ? and #")
}

impl FieldMatch {
    /// Reads a `HeaderMatcher`.
    pub(super) fn read(mut table: Table<'_, '_>) -> Option<Self> {
        let name = table.need_text("name");
        let invert = table.flag("invert_match");
        let missing_is_empty = table.flag("treat_missing_header_as_empty");
        let present = table.get("present_match").is_some();
        let absent = present && !table.flag("present_match");
        let text = table.table("string_match").map(TextMatch::read);
        let range = table.table("range_match").map(read_range);
        let test = match (present, text, range) {
            (true, None, None) => Some(Test::Present),
            (false, Some(text), None) => Some(Test::Text(text?)),
            (false, None, Some(range)) => range.map(|(from, to)| Test::Range(from, to)),
            _ => table.expected(
                &table.at,
                None,
                "either present_match or string_match or range_match",
            ),
        };
        table.done();
        let name = name?.to_ascii_lowercase();
        Some(Self { name, test: test?, invert: invert != absent, missing_is_empty })
    }
}

fn read_range(mut table: Table<'_, '_>) -> Option<(i64, i64)> {
    let (from, to) = (table.integer("start").unwrap_or(0), table.integer("end").unwrap_or(0));
    table.done();
    Some((from, to))
}

impl TextMatch {
    /// Reads a `StringMatcher`.
    pub(super) fn read(mut table: Table<'_, '_>) -> Option<Self> {
        let ignore_case = table.flag("ignore_case");
        let expression = table.table("safe_regex");
        let kinds = [
            table.text("exact").map(TextKind::Exact),
            table.text("prefix").map(TextKind::Prefix),
            table.text("suffix").map(TextKind::Suffix),
            table.text("contains").map(TextKind::Contains),
        ];
        let mut kinds: Vec<TextKind> = kinds.into_iter().flatten().collect();
        if kinds.len() + usize::from(expression.is_some()) != 1 {
            let what = "expected one of exact, prefix, suffix, contains, safe_regex";
            table.report.problem(&table.at, what);
            kinds.clear();
        }
        let kind = match expression {
            Some(matcher) => Pattern::read(matcher, Pattern::whole).map(TextKind::Pattern),
            None => kinds.pop(),
        };
        table.done();
        Some(Self { kind: kind?, ignore_case })
    }
}

impl QueryMatch {
    fn read(mut table: Table<'_, '_>) -> Option<Self> {
        let name = table.need_text("name");
        let text = table.table("string_match").map(TextMatch::read);
        let present = table.get("present_match").map(|_| table.flag("present_match"));
        let test = match (text, present) {
            (Some(text), None) => Some(QueryTest::Text(text?)),
            (None, present) => Some(QueryTest::Present(present.unwrap_or(true))),
            _ => table.expected(&table.at, None, "either present_match or string_match"),
        };
        table.done();
        Some(Self { name: name?, test: test? })
    }
}
