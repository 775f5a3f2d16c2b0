//! What a trace tells of a plugin, and what it never tells.

mod support;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use postern_runtime::engine::trace::{Callback, Rules, Shown};
use postern_runtime::lab::{Lab, Plugin, Request, Response, Setup};
use support::wat;

/// One secret for each place, so that a leak says where it came from.
fn secret(place: &str) -> String {
    format!("s3cr3t-of-{place}-0123456789")
}

fn texts(lab: &Lab) -> String {
    lab.trace().iter().map(|it| format!("{}{}\n", it.text(), it.json())).collect()
}

/// Text in the module's memory, by name.
struct Texts(Vec<(String, usize)>, String);

impl Texts {
    fn new() -> Self {
        Self(Vec::new(), String::new())
    }

    /// Pointer and length of a text, as two arguments.
    fn at(&mut self, text: &str) -> String {
        let at = match self.0.iter().find(|(have, _)| have == text) {
            Some((_, at)) => *at,
            None => {
                let at = self.0.last().map_or(8192, |(text, at)| at + text.len());
                self.0.push((text.to_owned(), at));
                let escaped: String = text.bytes().map(|byte| format!("\\{byte:02x}")).collect();
                self.1 += &format!(r#"(data (i32.const {at}) "{escaped}")"#);
                at
            }
        };
        format!("(i32.const {at}) (i32.const {})", text.len())
    }

    /// A map, as the ABI writes it.
    fn map(&mut self, pairs: &[(&str, &str)]) -> String {
        let mut bytes = (pairs.len() as u32).to_le_bytes().to_vec();
        for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
            bytes.extend((text.len() as u32).to_le_bytes());
        }
        for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
            bytes.extend(text.bytes().chain([0]));
        }
        self.at(&String::from_utf8(bytes).unwrap())
    }
}

const OUT: &str = "(i32.const 256) (i32.const 260)";

const IMPORTS: &[(&str, usize)] = &[
    ("proxy_get_header_map_pairs", 3),
    ("proxy_set_header_map_pairs", 3),
    ("proxy_get_header_map_value", 5),
    ("proxy_add_header_map_value", 5),
    ("proxy_replace_header_map_value", 5),
    ("proxy_get_buffer_bytes", 5),
    ("proxy_set_buffer_bytes", 5),
    ("proxy_get_property", 4),
    ("proxy_set_property", 4),
    ("proxy_log", 3),
    ("proxy_get_shared_data", 5),
    ("proxy_set_shared_data", 5),
    ("proxy_call_foreign_function", 6),
    ("proxy_register_shared_queue", 3),
    ("proxy_enqueue_shared_queue", 3),
    ("proxy_dequeue_shared_queue", 3),
    ("proxy_grpc_call", 12),
    ("proxy_http_call", 10),
    ("proxy_continue_stream", 1),
    ("proxy_set_effective_context", 1),
    ("proxy_send_local_response", 8),
];

fn call(name: &str, arguments: &[&str]) -> String {
    format!("(drop (call ${name} {}))", arguments.join(" "))
}

const ZERO: &str = "(i32.const 0)";
const ALL: &str = "(i32.const 1000)";

fn configure(texts: &mut Texts) -> Vec<String> {
    vec![
        call("proxy_get_buffer_bytes", &["(i32.const 7)", ZERO, ALL, OUT]),
        call("proxy_set_shared_data", &[&texts.at("k"), &texts.at(&secret("shared")), ZERO]),
        "(drop (call $environ_get (i32.const 300) (i32.const 400)))".to_owned(),
        "(i32.const 1)".to_owned(),
    ]
}

/// Fields of the request that are read.
const READ: &[&str] =
    &["authorization", "cookie", "x-tap-credential", "x-api-key", "x-mine", "x-any", ":path"];

fn request_headers(texts: &mut Texts) -> Vec<String> {
    let read = |name: &&str| call("proxy_get_header_map_value", &[ZERO, &texts.at(name), OUT]);
    let mut calls: Vec<String> = READ.iter().map(read).collect();
    let added = texts.at(&secret("added"));
    calls.extend([
        call("proxy_get_header_map_pairs", &[ZERO, OUT]),
        call("proxy_add_header_map_value", &[ZERO, &texts.at("proxy-authorization"), &added]),
        call("proxy_replace_header_map_value", &[ZERO, &texts.at("authorization"), &added]),
        call("proxy_get_property", &[&texts.at("request\0headers\0cookie"), OUT]),
        call("proxy_get_property", &[&texts.at("request\0path"), OUT]),
        call("proxy_get_property", &[&texts.at("request\0query"), OUT]),
        call("proxy_set_property", &[&texts.at("mine"), &texts.at(&secret("state"))]),
        call("proxy_get_property", &[&texts.at("mine"), OUT]),
        call("proxy_get_shared_data", &[&texts.at("k"), OUT, "(i32.const 264)"]),
        call("proxy_log", &["(i32.const 2)", &texts.at(&secret("log"))]),
        foreign(texts),
        call("proxy_register_shared_queue", &[&texts.at("q"), "(i32.const 268)"]),
        call(
            "proxy_enqueue_shared_queue",
            &["(i32.load (i32.const 268))", &texts.at(&secret("entry"))],
        ),
        call("proxy_dequeue_shared_queue", &["(i32.load (i32.const 268))", OUT]),
        grpc(texts),
        question(texts),
        "(i32.store (i32.const 4000) (local.get 0))".to_owned(),
        "(i32.const 1)".to_owned(),
    ]);
    calls
}

fn foreign(texts: &mut Texts) -> String {
    let arguments = texts.at(&secret("foreign"));
    call("proxy_call_foreign_function", &[&texts.at("verify_signature"), &arguments, OUT])
}

fn grpc(texts: &mut Texts) -> String {
    let metadata =
        texts.map(&[("x-any-key", &secret("metadata")), ("x-other", &secret("grpcfield"))]);
    let (message, method) = (texts.at(&secret("message")), texts.at("Method"));
    let arguments = [
        &texts.at("auth"),
        &texts.at("Service"),
        &method,
        &metadata,
        &message,
        ZERO,
        "(i32.const 272)",
    ];
    call("proxy_grpc_call", &arguments)
}

fn question(texts: &mut Texts) -> String {
    let fields = texts.map(&[
        (":method", "GET"),
        (":path", &format!("/?t={}", secret("callpath"))),
        (":authority", "auth"),
        ("authorization", &secret("callfield")),
    ]);
    let trailers = texts.map(&[("x-token", &secret("calltrailer"))]);
    let body = texts.at(&secret("callbody"));
    let cluster = texts.at("auth");
    call("proxy_http_call", &[&cluster, &fields, &body, &trailers, ZERO, "(i32.const 264)"])
}

fn request_body(texts: &mut Texts) -> Vec<String> {
    let written = texts.at(&secret("written"));
    vec![
        call("proxy_get_buffer_bytes", &[ZERO, ZERO, ALL, OUT]),
        call("proxy_set_buffer_bytes", &[ZERO, ZERO, ALL, &written]),
        ZERO.to_owned(),
    ]
}

fn response_headers(texts: &mut Texts) -> Vec<String> {
    let fields = texts.map(&[("set-cookie", &secret("set")), ("x-a", "1")]);
    let (details, local) = (texts.at(&secret("details")), texts.at(&secret("local")));
    let reply = ["(i32.const 418)", &details, &local, &fields, "(i32.const -1)"];
    vec![
        call("proxy_get_header_map_pairs", &["(i32.const 2)", OUT]),
        call("proxy_set_header_map_pairs", &["(i32.const 2)", &fields]),
        call("proxy_send_local_response", &reply),
        ZERO.to_owned(),
    ]
}

fn answered() -> Vec<String> {
    vec![
        call("proxy_get_header_map_pairs", &["(i32.const 6)", OUT]),
        call("proxy_get_buffer_bytes", &["(i32.const 4)", ZERO, ALL, OUT]),
        // The one stream that there is: its context has asked.
        call("proxy_set_effective_context", &["(i32.load (i32.const 4000))"]),
        call("proxy_continue_stream", &[ZERO]),
    ]
}

/// A module that handles a secret in every way there is.
fn handling() -> Vec<u8> {
    let texts = &mut Texts::new();
    let function = |name: &str, count: usize, result: &str, body: Vec<String>| {
        let parameters = "i32 ".repeat(count);
        format!(r#"(func (export "{name}") (param {parameters}) {result} {})"#, body.concat())
    };
    let number = "(result i32)";
    let code = [
        function("proxy_on_configure", 2, number, configure(texts)),
        function("proxy_on_request_headers", 3, number, request_headers(texts)),
        function("proxy_on_request_body", 3, number, request_body(texts)),
        function("proxy_on_response_headers", 3, number, response_headers(texts)),
        function("proxy_on_http_call_response", 5, "", answered()),
    ];
    let import = |(name, count): &(&str, usize)| {
        let parameters = "i32 ".repeat(*count);
        format!(r#"(import "env" "{name}" (func ${name} (param {parameters}) (result i32)))"#)
    };
    let imports: String = IMPORTS.iter().map(import).collect();
    let environ = r#"(import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))"#;
    wat(&format!("{imports} {environ} {} {}", texts.1, code.concat()))
}

const PLACES: &[&str] = &[
    "configuration",
    "environment",
    "shared",
    "authorization",
    "cookie",
    "tap",
    "apikey",
    "mine",
    "placeholder",
    "query",
    "added",
    "set",
    "state",
    "log",
    "foreign",
    "entry",
    "metadata",
    "grpcfield",
    "message",
    "callpath",
    "callfield",
    "callbody",
    "calltrailer",
    "answerfield",
    "answerbody",
    "content",
    "written",
    "responsecookie",
    "details",
    "local",
];

fn run() -> Lab {
    let plugin = Plugin::wasm(handling()).name("handling").configuration(secret("configuration"));
    let plugin = plugin.variable("KEY", &secret("environment"));
    let setup = Setup::default().filter(plugin).cluster("auth").traced(Rules::hiding(["x-mine"]));
    let lab = setup.start().unwrap_or_else(|e| panic!("{e}"));
    let request = Request::post(&format!("/a?t={}", secret("query")), secret("content"))
        .field("authorization", secret("authorization"))
        .field("cookie", secret("cookie"))
        .field("x-tap-credential", secret("tap"))
        .field("x-api-key", secret("apikey"))
        .field("x-mine", secret("mine"))
        .field("x-any", format!("<CREDENTIAL:{}>", secret("placeholder")))
        .field("x-shown", "this may be seen");
    let stream = lab.send(request);
    let answer = Response::new(200).field("x-token", secret("answerfield"));
    lab.calls()[0].answer(answer.content(secret("answerbody")));
    let answer = Response::new(200).field("set-cookie", secret("responsecookie"));
    stream.answer(answer).unwrap();
    assert_eq!(stream.status(), 418);
    lab
}

#[test]
fn no_secret_of_any_place_is_in_the_trace_in_any_form() {
    let text = texts(&run());
    for name in IMPORTS.iter().map(|(name, _)| *name).chain(["environ_get"]) {
        assert!(text.contains(&format!("{name}(")), "{name} was not called: {text}");
    }
    let lower = text.to_lowercase();
    for place in PLACES {
        let secret = secret(place);
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        // The middle of each form, whatever stands before it.
        for shift in 0..3 {
            let shifted = [&b"xx"[..shift], secret.as_bytes()].concat();
            for form in [BASE64_STANDARD.encode(&shifted), BASE64_URL_SAFE_NO_PAD.encode(&shifted)]
            {
                assert!(!text.contains(&form[4..28]), "{place} in base64");
            }
        }
        assert!(!text.contains(&secret), "{place}");
        assert!(!lower.contains(&hex), "{place} in hex");
        assert!(!text.contains(&secret[6..20]), "a part of {place}");
    }
}

#[test]
fn names_sizes_and_what_is_no_secret_are_shown() {
    let lab = run();
    let text = texts(&lab);
    for part in [
        "root handling #1 proxy_on_configure(size ",
        "stream 1 handling #2 proxy_on_request_headers(fields ",
        "proxy_get_header_map_value(\"request headers\", \"authorization\") = ok [34 bytes]",
        "x-shown: \"this may be seen\"",
        ":path: \"/a?[",
        "proxy_get_property(\"request.path\") = ok \"/a?[",
        "proxy_set_shared_data(\"k\", value [27 bytes], cas 0) = ok",
        "proxy_http_call(\"auth\", headers {:method: \"GET\", :path: \"/?[",
        "proxy_call_foreign_function(function \"verify_signature\", arguments [28 bytes])",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

fn one(body: &str) -> Vec<Callback> {
    let plugin = Plugin::wasm(wat(body)).name("p");
    let lab = Setup::default().filter(plugin).traced(Rules::default()).start().unwrap();
    lab.send(Request::get("/"));
    lab.trace()
}

#[test]
fn a_trap_and_a_failed_hostcall_are_told() {
    let module = r#"(import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_continue_stream" (func $go (param i32) (result i32)))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (drop (call $get (i32.const 0) (i32.const -1) (i32.const 5) (i32.const 256) (i32.const 260)))
            (drop (call $go (i32.const 9))) unreachable)"#;
    let trace = one(module);
    let last = trace.iter().find(|it| it.name == "proxy_on_request_headers").unwrap();
    assert!(last.outcome.as_ref().is_err_and(|why| why.contains("unreachable")), "{last:?}");
    let statuses: Vec<&str> = last.hostcalls.iter().map(|call| call.status.as_str()).collect();
    assert_eq!(statuses, ["InvalidMemoryAccess", "BadArgument"]);
    assert_eq!(last.hostcalls[1].arguments, [("direction", Shown::Number(9))]);
    assert_eq!(last.hostcalls[0].answer, None);
}

#[test]
fn callbacks_of_a_stream_say_which_stream_and_which_plugin() {
    let trace = one(
        "(func (export \"proxy_on_log\") (param i32)) (func (export \"proxy_on_request_headers\") (param i32 i32 i32) (result i32) i32.const 0)",
    );
    let of_stream: Vec<_> = trace.iter().filter(|it| it.stream.is_some()).collect();
    assert!(of_stream.iter().all(|it| it.stream == Some(1) && it.plugin == "p" && it.context == 2));
    assert_eq!(of_stream.first().map(|it| it.name), Some("proxy_on_request_headers"));
    assert_eq!(of_stream[0].outcome, Ok(Some(0)));
}
