//! Every hostcall in every phase of a stream, on a gateway with its sockets.

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use support::gateway::{ask, front, start, upstream};

const ROWS: &str = include_str!("phases.txt");

/// Callbacks in the order of the columns: name, parameters, whether one answers, with what.
const PHASES: [(&str, usize, Option<u32>); 10] = [
    ("configure", 2, Some(1)),
    ("request_headers", 3, Some(0)),
    ("request_body", 3, Some(0)),
    ("request_trailers", 2, Some(0)),
    ("response_headers", 3, Some(0)),
    ("response_body", 3, Some(0)),
    ("response_trailers", 2, Some(0)),
    ("log", 1, None),
    ("done", 1, Some(1)),
    ("delete", 1, None),
];

/// Calls as text of a module, with the texts that they need in memory.
#[derive(Default)]
struct Calls {
    imports: BTreeMap<String, String>,
    texts: Vec<Vec<u8>>,
    body: String,
}

impl Calls {
    /// Appends a call whose status is stored as a digit of the row and phase.
    fn add(&mut self, row: usize, call: &str) {
        let mut words = call.split_whitespace();
        let name = words.next().unwrap();
        let (mut types, mut arguments) = (Vec::new(), String::new());
        for word in words {
            let wide = types.len() == 1 && ["increment_metric", "record_metric"].contains(&name);
            for (kind, value) in self.values(name, word, wide) {
                let _ = write!(arguments, " ({kind}.const {value})");
                types.push(kind);
            }
        }
        let types = types.join(" ");
        let import =
            format!(r#"(import "env" "proxy_{name}" (func ${name} (param {types}) (result i32)))"#);
        let known = self.imports.entry(name.to_owned()).or_insert_with(|| import.clone());
        assert_eq!(*known, import, "{call}");
        let _ = writeln!(self.body, "(call $note (i32.const {row}) (call ${name}{arguments}))");
    }

    fn values(&mut self, name: &str, word: &str, wide: bool) -> Vec<(&'static str, i64)> {
        let number = |value: i64| vec![("i32", value)];
        match word {
            "out" => [number(256), number(260)].concat(),
            "at" => number(256),
            "at2" => number(268),
            _ => match word.parse() {
                Ok(value) if wide => vec![("i64", value)],
                // As its bits are: the text format takes both signs.
                Ok(value) => number(value),
                Err(_) => self.text(name, word),
            },
        }
    }

    fn text(&mut self, name: &str, word: &str) -> Vec<(&'static str, i64)> {
        let text = match word {
            "-" => Vec::new(),
            "@head" => support::pairs(&[(":method", "GET"), (":path", "/"), (":authority", "x")]),
            _ if name == "get_property" => word.replace('.', "\0").into_bytes(),
            _ => word.trim_matches('"').as_bytes().to_vec(),
        };
        let at = 8192 + self.texts.iter().map(Vec::len).sum::<usize>();
        let length = text.len();
        self.texts.push(text);
        vec![("i32", at as i64), ("i32", length as i64)]
    }

    /// A module that makes the calls in every phase, and answers a request after that with
    /// all their digits.
    fn module(&self, rows: usize) -> String {
        let mut text: String = self.imports.values().cloned().collect();
        let all: Vec<u8> = self.texts.concat();
        let bytes: String = all.iter().map(|byte| format!("\\{byte:02x}")).collect();
        let _ = write!(
            text,
            r#"(import "env" "proxy_send_local_response"
                (func $reply (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
            (data (i32.const 8192) "{bytes}")
            (global $phase (mut i32) (i32.const 0))
            (func $note (param $row i32) (param $status i32)
                (i32.store8
                    (i32.add (i32.const 65536)
                        (i32.add (i32.mul (global.get $phase) (i32.const {rows})) (local.get $row)))
                    (i32.add (local.get $status)
                        (select (i32.const 87) (i32.const 48)
                            (i32.gt_u (local.get $status) (i32.const 9))))))
            (func $all {})"#,
            self.body
        );
        for (index, (name, parameters, answer)) in PHASES.iter().enumerate() {
            let parameters = "i32 ".repeat(*parameters);
            let (result, value) = match answer {
                Some(value) => ("(result i32)", format!("(i32.const {value})")),
                None => ("", String::new()),
            };
            let report = if *name == "request_headers" {
                format!(
                    "(if (i32.eq (global.get $phase) (i32.const 9)) (then
                        (drop (call $reply (i32.const 200) (i32.const 0) (i32.const 0) (i32.const 65536)
                            (i32.const {}) (i32.const 0) (i32.const 0) (i32.const -1)))
                        (return (i32.const 1))))",
                    rows * PHASES.len()
                )
            } else {
                String::new()
            };
            let _ = write!(
                text,
                r#"(func (export "proxy_on_{name}") (param {parameters}) {result}
                    {report} (global.set $phase (i32.const {index})) (call $all) {value})"#
            );
        }
        text
    }
}

#[test]
fn every_hostcall_answers_in_every_phase_as_in_envoy() {
    let rows: Vec<(&str, &str)> = ROWS
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.rsplit_once('|').unwrap())
        .map(|(call, statuses)| (call.trim(), statuses.trim()))
        .collect();
    let mut calls = Calls::default();
    for (row, (call, _)) in rows.iter().enumerate() {
        calls.add(row, call);
    }
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-up: 1\r\n\r\n\
                  5\r\nhello\r\n0\r\nx-t: tv\r\n\r\n";
    let (port, up) = upstream(answer);
    let running = start(&calls.module(rows.len()), port);
    let request = "POST /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
                   transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-rt: 1\r\n\r\n";
    let first = ask(front(&running), request);
    assert!(first.starts_with("HTTP/1.1 200 "), "{first}");
    let report = ask(front(&running), "GET /b HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let (_, digits) = report.split_once("\r\n\r\n").unwrap();
    let digits = digits.as_bytes();
    assert_eq!(digits.len(), rows.len() * PHASES.len(), "{report}");
    let mut wrong = String::new();
    for (row, (call, want)) in rows.iter().enumerate() {
        assert_eq!(want.len(), PHASES.len(), "{call}");
        let have = (0..PHASES.len()).map(|phase| char::from(digits[phase * rows.len() + row]));
        let have: String = have.collect();
        if have.chars().zip(want.chars()).any(|(have, want)| want != '?' && have != want) {
            let _ = writeln!(wrong, "{call}: {have}, Envoy {want}");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    drop(running);
    up.join().unwrap();
}
