//! Access log lines: one JSON object for each stream, as Envoy's `json_format` writes it.
//!
//! Invariant: a line is valid JSON on one line whatever the caller has sent; what is not
//! known is `null`; keys are in the order of their bytes.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::Value as Json;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::exchange::Exchange;
use super::failure::Flags;
use crate::config::Value;

/// What is known of a stream that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// When its first byte came.
    pub started: SystemTime,
    /// From then to its end.
    pub lasted: Duration,
    /// Its `x-request-id`; none if the request was not parsed.
    pub id: Option<&'a str>,
    /// Its fields, details and filter state.
    pub exchange: &'a Exchange,
    /// Status that went to the caller, if any did.
    pub status: Option<u16>,
    /// How it ended.
    pub flags: Flags,
    /// Where the router sent it.
    pub cluster: Option<&'a str>,
    /// Content of the request that came.
    pub received: u64,
    /// Content of the response that went.
    pub sent: u64,
}

/// The line for a stream, without the end of the line.
pub fn line(format: &[(String, Value)], ended: &Ended<'_>) -> String {
    let values = format.iter().map(|(key, value)| (key.as_str(), ended.value(value)));
    let object: BTreeMap<&str, Json> = values.collect();
    // Keys are text and values are JSON already, so that this cannot fail.
    serde_json::to_string(&object).unwrap_or_default()
}

impl Ended<'_> {
    fn value(&self, value: &Value) -> Json {
        match value {
            Value::Text(text) => Json::from(text.as_str()),
            Value::StartTime => start(self.started).map_or(Json::Null, Json::from),
            Value::StreamId => self.id.map_or(Json::Null, Json::from),
            Value::RequestField(name) => {
                text(self.exchange.request_field(name.as_bytes()).as_deref())
            }
            Value::Protocol => text(self.exchange.protocol()),
            // Envoy tells a response that never began as 0.
            Value::ResponseCode => Json::from(self.status.unwrap_or(0)),
            Value::ResponseCodeDetails => {
                text(Some(self.exchange.details.as_slice()).filter(|details| !details.is_empty()))
            }
            Value::ResponseFlags => Json::from(self.flags.to_string()),
            Value::FilterState(key) => text(self.exchange.filter_state(key.as_bytes())),
            Value::UpstreamCluster => self.cluster.map_or(Json::Null, Json::from),
            Value::Duration => milliseconds(self.lasted),
            Value::BytesReceived => Json::from(self.received),
            Value::BytesSent => Json::from(self.sent),
        }
    }
}

/// Text as JSON. What is not UTF-8 is taken octet by octet, as Envoy does.
fn text(bytes: Option<&[u8]>) -> Json {
    let Some(bytes) = bytes else { return Json::Null };
    let latin = || bytes.iter().map(|byte| char::from(*byte)).collect();
    Json::from(std::str::from_utf8(bytes).map_or_else(|_| latin(), str::to_owned))
}

fn milliseconds(span: Duration) -> Json {
    u64::try_from(span.as_millis()).map_or(Json::Null, Json::from)
}

/// `%START_TIME%`: RFC 3339 in UTC with milliseconds.
fn start(at: SystemTime) -> Option<String> {
    const FORMAT: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::from(at).format(FORMAT).ok()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::proxy::exchange::View;
    use crate::view::{Declared, StreamView};

    /// The format of `envoy/envoy.yaml`.
    fn shipped() -> Vec<(String, Value)> {
        let state = Value::FilterState("wasm.postern.decision".into());
        [
            ("time", Value::StartTime),
            ("request_id", Value::StreamId),
            ("method", Value::RequestField(":method".into())),
            ("status", Value::ResponseCode),
            ("details", Value::ResponseCodeDetails),
            ("flags", Value::ResponseFlags),
            ("decision", state),
            ("cluster", Value::UpstreamCluster),
            ("duration_ms", Value::Duration),
            ("bytes_received", Value::BytesReceived),
            ("bytes_sent", Value::BytesSent),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    fn ended(exchange: &Exchange) -> Ended<'_> {
        Ended {
            started: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_646_837_528),
            lasted: Duration::from_micros(5_999),
            id: Some("e14f6a0a-5e06-47fd-9fa7-760a092dadf3"),
            exchange,
            status: Some(200),
            flags: Flags::NONE,
            cluster: Some("up"),
            received: 0,
            sent: 2,
        }
    }

    #[test]
    fn a_stream_is_told_as_envoy_tells_it() {
        let mut exchange = Exchange::new(vec![(b":method".to_vec(), b"GET".to_vec())]);
        exchange.details = b"via_upstream".to_vec();
        let want = r#"{"bytes_received":0,"bytes_sent":2,"cluster":"up","decision":null,"details":"via_upstream","duration_ms":5,"flags":"-","method":"GET","request_id":"e14f6a0a-5e06-47fd-9fa7-760a092dadf3","status":200,"time":"2026-11-25T22:47:17.528Z"}"#;
        assert_eq!(line(&shipped(), &ended(&exchange)), want);
    }

    #[test]
    fn a_caller_that_left_in_the_middle_of_the_fields_is_told_with_what_is_known() {
        let mut exchange = Exchange::default();
        exchange.details = crate::proxy::failure::CALLER_GONE.into();
        let ended = Ended {
            id: None,
            status: None,
            flags: Flags::DC,
            cluster: None,
            sent: 0,
            ..ended(&exchange)
        };
        let want = r#"{"bytes_received":0,"bytes_sent":0,"cluster":null,"decision":null,"details":"downstream_remote_disconnect","duration_ms":5,"flags":"DC","method":null,"request_id":null,"status":0,"time":"2026-11-25T22:47:17.528Z"}"#;
        assert_eq!(line(&shipped(), &ended), want);
    }

    #[test]
    fn no_value_ends_the_line_or_the_string() {
        let rows: &[(&[u8], &str)] = &[
            (b"a\"b\\c", r#"{"x":"a\"b\\c"}"#),
            (b"a\tb", r#"{"x":"a\tb"}"#),
            (b"a\nb", r#"{"x":"a\nb"}"#),
            (b"", r#"{"x":""}"#),
            (b"a/b<>&", r#"{"x":"a/b<>&"}"#),
            ("\u{e9}\u{2028}".as_bytes(), "{\"x\":\"\u{e9}\u{2028}\"}"),
            (b"\xc3\xa9\xff", "{\"x\":\"\u{c3}\u{a9}\u{ff}\"}"),
        ];
        let format = vec![("x".to_owned(), Value::RequestField("x-j".into()))];
        for (value, want) in rows {
            let exchange = Exchange::new(vec![(b"x-j".to_vec(), value.to_vec())]);
            assert_eq!(line(&format, &ended(&exchange)), *want);
        }
    }

    #[test]
    fn filter_state_and_words_are_text() {
        let exchange = Rc::new(RefCell::new(Exchange::default()));
        let view = View::filter(Rc::clone(&exchange), 0, Rc::new(()));
        view.set_property(b"postern.decision", b"deny", Declared::default()).unwrap();
        let state = Value::FilterState("wasm.postern.decision".into());
        let format = vec![("b".to_owned(), state), ("a".to_owned(), Value::Text("7".into()))];
        let exchange = exchange.borrow();
        assert_eq!(line(&format, &ended(&exchange)), r#"{"a":"7","b":"deny"}"#);
    }

    #[test]
    fn times_before_and_after_1970_are_dates() {
        let at = |millis: u64| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        for (time, want) in [
            (at(0), "1970-01-01T00:00:00.000Z"),
            (at(951_782_399_999), "2000-02-28T23:59:59.999Z"),
            (at(1_709_164_800_001), "2024-02-29T00:00:00.001Z"),
            (SystemTime::UNIX_EPOCH - Duration::from_secs(1), "1969-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(start(time).as_deref(), Some(want));
        }
    }
}
