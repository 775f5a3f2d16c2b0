//! A plugin as its author would write it with the SDK's plain getters and setters: it reads
//! what it is shown, adds fields, and rewrites content.
//!
//! Invariant: it calls nothing but the SDK's own methods, which panic where the host answers
//! otherwise than Envoy does.
#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "the macro of the SDK exports a function without")]

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}}

fn say(text: &str) {
    let _ = hostcalls::log(LogLevel::Info, &format!("<<getters {text}>>"));
}

#[derive(Default)]
struct Root {
    word: String,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _: usize) -> bool {
        let configuration = self.get_plugin_configuration().unwrap_or_default();
        self.word = String::from_utf8_lossy(&configuration).into_owned();
        true
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream { word: self.word.clone(), path: String::new() }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Stream {
    word: String,
    path: String,
}

impl Context for Stream {
    fn on_done(&mut self) -> bool {
        say("done");
        true
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, count: usize, end: bool) -> Action {
        self.path = self.get_http_request_header(":path").unwrap_or_default();
        let agent = self.get_http_request_header("user-agent");
        let protocol = self.get_property(vec!["request", "protocol"]);
        let protocol = protocol.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let all = self.get_http_request_headers().len();
        say(&format!("request {count} {all} {end} {} {agent:?} {protocol:?}", self.path));
        self.set_http_request_header("x-word", Some(&self.word));
        self.set_http_request_header("x-remove-me", None);
        self.add_http_request_header("x-added", "1");
        if !end {
            self.set_http_request_header("content-length", None);
        }
        if self.path == "/refused" {
            self.send_http_response(403, vec![("x-why", "refused")], Some(b"not here\n"));
            return Action::Pause;
        }
        self.set_property(vec!["getters.seen"], Some(self.path.as_bytes()));
        Action::Continue
    }

    fn on_http_request_body(&mut self, size: usize, end: bool) -> Action {
        if !end {
            return Action::Pause;
        }
        let body = self.get_http_request_body(0, size).unwrap_or_default();
        let upper = body.to_ascii_uppercase();
        self.set_http_request_body(0, size, &upper);
        say(&format!("body {size} {}", String::from_utf8_lossy(&body)));
        Action::Continue
    }

    fn on_http_response_headers(&mut self, count: usize, end: bool) -> Action {
        let status = self.get_http_response_header(":status");
        say(&format!("response {count} {end} {status:?}"));
        self.set_http_response_header("x-path", Some(&self.path));
        self.set_http_response_header("content-length", None);
        Action::Continue
    }

    fn on_http_response_body(&mut self, size: usize, end: bool) -> Action {
        if !end {
            return Action::Pause;
        }
        let body = self.get_http_response_body(0, size).unwrap_or_default();
        self.set_http_response_body(0, size, &[&body[..], b" and more"].concat());
        say(&format!("content {size}"));
        Action::Continue
    }

    fn on_log(&mut self) {
        let seen = self.get_property(vec!["getters.seen"]).map(|seen| seen.len());
        let status = self.get_http_response_header(":status");
        say(&format!("log {seen:?} {status:?}"));
    }
}
