//! The measurements in a gateway's own engine: each request is one, its answer the figures.
#![allow(missing_docs, reason = "the macro of the SDK exports a function without")]

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

proxy_wasm::main! {{
    proxy_wasm::set_http_context(|_, _| Box::new(Stream));
}}

struct Stream;

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let path = self.get_http_request_header(":path").unwrap_or_default();
        let figures = crate::measured(&path);
        let text = figures.map(|(ours, other)| format!("{ours} {other}"));
        let status = if text.is_some() { 200 } else { 404 };
        self.send_http_response(status, Vec::new(), text.as_deref().map(str::as_bytes));
        Action::Pause
    }
}
