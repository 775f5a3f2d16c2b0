//! A plugin that keeps many services busy: call-outs, shared data, a queue, timers, metrics.
//!
//! Written with the SDK's traits. Invariant: it counts requests in shared data with
//! compare-and-swap, so that no count is lost whatever else happens.
#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "the macro of the SDK exports a function without")]

use std::time::Duration;

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel, MetricType};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Root { ticks: 0 }));
}}

const COUNT: &str = "busy.count";
const QUEUE: &str = "busy";

fn say(text: &str) {
    let _ = hostcalls::log(LogLevel::Info, &format!("<<busy {text}>>"));
}

struct Root {
    ticks: u32,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_tick(&mut self) {
        self.ticks += 1;
        if self.ticks == 2 {
            say("ticked twice");
            self.set_tick_period(Duration::ZERO);
            self.ticks = 0;
        }
    }

    fn on_queue_ready(&mut self, queue: u32) {
        if let Ok(Some(entry)) = hostcalls::dequeue_shared_queue(queue) {
            say(&format!("dequeued {}", String::from_utf8_lossy(&entry)));
        }
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream { left: 0 }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Stream {
    /// Call-outs that are still to come.
    left: u32,
}

impl Stream {
    fn call(&mut self, path: &str) -> bool {
        let fields = vec![(":method", "GET"), (":path", path), (":authority", "busy")];
        let sent =
            self.dispatch_http_call("calls", fields, None, vec![], Duration::from_millis(500));
        say(&format!("call {path} {}", sent.is_ok()));
        sent.is_ok()
    }

    /// The count with this request.
    fn count(&self) -> u32 {
        loop {
            let (before, cas) = self.get_shared_data(COUNT);
            let before = before.and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
            let count = before.map_or(0, u32::from_le_bytes) + 1;
            if self.set_shared_data(COUNT, Some(&count.to_le_bytes()), cas).is_ok() {
                return count;
            }
        }
    }

    fn meter(&self) -> Option<u64> {
        let metric = hostcalls::define_metric(MetricType::Counter, "busy.requests").ok()?;
        hostcalls::increment_metric(metric, 1).ok()?;
        hostcalls::get_metric(metric).ok()
    }
}

impl Context for Stream {
    fn on_http_call_response(&mut self, _: u32, fields: usize, size: usize, _: usize) {
        let status = self.get_http_call_response_header(":status");
        let body = self.get_http_call_response_body(0, size).unwrap_or_default();
        say(&format!("answer {fields} {status:?} {}", String::from_utf8_lossy(&body)));
        self.left -= 1;
        if self.left == 0 {
            self.set_http_request_header("x-count", Some(&self.count().to_string()));
            self.resume_http_request();
        }
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        say(&format!("metric {:?}", self.meter()));
        let path = self.get_http_request_header(":path").unwrap_or_default();
        match path.as_str() {
            "/tick" => {
                let _ = hostcalls::set_tick_period(Duration::from_millis(20));
                Action::Continue
            }
            "/queue" => {
                let _ = hostcalls::register_shared_queue(QUEUE);
                let queue = self.resolve_shared_queue("busy", QUEUE);
                let sent = queue.map(|queue| self.enqueue_shared_queue(queue, Some(b"entry")));
                say(&format!("enqueued {:?}", sent.map(|sent| sent.is_ok())));
                Action::Continue
            }
            "/none" => {
                let fields = vec![(":method", "GET"), (":path", "/"), (":authority", "busy")];
                let none = self.dispatch_http_call("nowhere", fields, None, vec![], Duration::ZERO);
                say(&format!("no cluster {none:?}"));
                Action::Continue
            }
            path => {
                for path in path.split('+') {
                    self.left += u32::from(self.call(path));
                }
                Action::Pause
            }
        }
    }
}
