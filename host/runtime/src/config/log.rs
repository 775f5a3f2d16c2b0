//! Access loggers: a Wasm plugin, or lines of JSON on standard output.

use super::condition::FieldMatch;
use super::plugin::Plugin;
use super::read::{Report, Table};
use postern_files::yaml::At;

/// One entry of `access_log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLogger {
    /// Only requests with such a field; `None` is all.
    pub filter: Option<FieldMatch>,
    /// What is done.
    pub output: Output,
}

/// What a logger does with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Tells a module.
    Plugin(Plugin),
    /// Writes a JSON object: key and what the value is.
    Stdout(Vec<(String, Value)>),
}

/// What one value of a log line is: a command operator of Envoy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// The text as it stands.
    Text(String),
    /// `%START_TIME%`.
    StartTime,
    /// `%STREAM_ID%`.
    StreamId,
    /// `%REQ(NAME)%`, the name in lower case.
    RequestField(String),
    /// `%PROTOCOL%`.
    Protocol,
    /// `%RESPONSE_CODE%`.
    ResponseCode,
    /// `%RESPONSE_CODE_DETAILS%`.
    ResponseCodeDetails,
    /// `%RESPONSE_FLAGS%`.
    ResponseFlags,
    /// `%FILTER_STATE(key:PLAIN)%`.
    FilterState(String),
    /// `%UPSTREAM_CLUSTER%`.
    UpstreamCluster,
    /// `%DURATION%`, milliseconds.
    Duration,
    /// `%BYTES_RECEIVED%`, content of the request.
    BytesReceived,
    /// `%BYTES_SENT%`, content of the response.
    BytesSent,
}

/// Fields that hold a caller's secret or an injected one; where a log of Envoy's would show them,
/// this gateway does not start.
const SECRET: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "x-tap-key"];

const PLUGIN: &str = "type.googleapis.com/envoy.extensions.access_loggers.wasm.v3.WasmAccessLog";
const STDOUT: &str =
    "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog";

impl AccessLogger {
    /// Reads one entry.
    pub(super) fn read(mut table: Table<'_, '_>) -> Option<Self> {
        table.need_text("name");
        let filter = table.table("filter").map(read_filter);
        let config = table.need_table("typed_config");
        table.done();
        let mut config = config?;
        let output = match config.need_text("@type")?.as_str() {
            PLUGIN => config.need_table("config").and_then(Plugin::read).map(Output::Plugin),
            STDOUT => config.need_table("log_format").and_then(read_format).map(Output::Stdout),
            _ => {
                config.report.problem(&config.at, "expected a WasmAccessLog or a StdoutAccessLog");
                return None;
            }
        };
        config.done();
        let filter = match filter {
            Some(read) => Some(read?),
            None => None,
        };
        Some(Self { filter, output: output? })
    }
}

fn read_filter(mut table: Table<'_, '_>) -> Option<FieldMatch> {
    let header = table.need_table("header_filter");
    table.done();
    let mut header = header?;
    let found = header.need_table("header").and_then(FieldMatch::read);
    header.done();
    found
}

fn read_format(mut table: Table<'_, '_>) -> Option<Vec<(String, Value)>> {
    let json = table.need("json_format");
    let entries = json.iter().flat_map(At::entries);
    let entries =
        entries.filter_map(|(key, at)| Some((key.to_owned(), Value::read(&at, table.report)?)));
    let entries = entries.collect();
    table.done();
    Some(entries)
}

impl Value {
    fn read(at: &At<'_>, report: &Report) -> Option<Self> {
        let value = at.text().and_then(Self::parse);
        match &value {
            None => {
                report.problem(at, "expected text without %, or one operator that is known here");
            }
            Some(Self::RequestField(name)) if SECRET.contains(&name.as_str()) => {
                let text = format!("expected no field that holds a secret, such as {name}");
                report.problem(at, text);
            }
            Some(_) => {}
        }
        value
    }

    fn parse(text: &str) -> Option<Self> {
        if !text.contains('%') {
            return Some(Self::Text(text.to_owned()));
        }
        let operator = text.strip_prefix('%')?.strip_suffix('%')?;
        Some(match operator {
            "START_TIME" => Self::StartTime,
            "STREAM_ID" => Self::StreamId,
            "PROTOCOL" => Self::Protocol,
            "RESPONSE_CODE" => Self::ResponseCode,
            "RESPONSE_CODE_DETAILS" => Self::ResponseCodeDetails,
            "RESPONSE_FLAGS" => Self::ResponseFlags,
            "UPSTREAM_CLUSTER" => Self::UpstreamCluster,
            "DURATION" => Self::Duration,
            "BYTES_RECEIVED" => Self::BytesReceived,
            "BYTES_SENT" => Self::BytesSent,
            other => return Self::with_argument(other),
        })
    }

    fn with_argument(operator: &str) -> Option<Self> {
        let (name, rest) = operator.split_once('(')?;
        let argument =
            rest.strip_suffix(')').filter(|text| !text.contains(['%', '(', ')', '?']))?;
        match name {
            "REQ" => Some(Self::RequestField(argument.to_ascii_lowercase())),
            "FILTER_STATE" => Some(Self::FilterState(argument.strip_suffix(":PLAIN")?.to_owned())),
            _ => None,
        }
    }
}
