//! Callbacks to events. Decides nothing.

use std::cell::RefCell;
use std::rc::Rc;

use postern_core::effect::Flow;
use postern_core::event::{Event, Surroundings};
use postern_core::fields::Fields;
use postern_core::key_service::{CallAnswer, CallFailure, CallResult, MAX_ANSWER};
use postern_proxy_wasm::abi::{self, Buffer, Direction, Map};
use postern_proxy_wasm::module::{Place, Ready};
use postern_proxy_wasm::run::{Run, given, reply};
use postern_proxy_wasm::{host, pairs};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use crate::root::tick_others;

/// The stream context of a filter module. The run is shared with the root context, which
/// tells paused ones the time.
pub(crate) struct Filter {
    id: u32,
    ready: Rc<Ready>,
    run: Rc<RefCell<Run>>,
}

/// The one place where a flow becomes an action.
fn action(flow: Flow) -> Action {
    match flow {
        Flow::Continue => Action::Continue,
        Flow::Pause => Action::Pause,
    }
}

impl Filter {
    pub(crate) fn new(id: u32, ready: Rc<Ready>) -> Self {
        let run = Rc::new(RefCell::new(Run::new(Rc::clone(&ready))));
        Self { id, ready, run }
    }

    /// One callback. The run is never borrowed twice, since the host makes no callback
    /// inside a hostcall; if it did, the inner one would let nothing pass.
    fn step(&mut self, step: impl FnOnce(&mut Run) -> Flow) -> Action {
        let Ok(mut run) = self.run.try_borrow_mut() else { return Action::Pause };
        let flow = step(&mut run);
        self.ready.watch(self.id, &self.run, run.waits());
        action(flow)
    }
}

fn surroundings(run: &mut Run, fields: &Fields) -> Surroundings {
    let state = |name: &str| given(abi::property(&["filter_state", name]));
    let (permit, record, form) = match run.ready.module.place {
        Place::Listener { .. } => (None, None, None),
        Place::Cluster => (
            state("wasm.postern.permit"),
            state("wasm.postern.record"),
            fields.announce_form().then(|| state("wasm.postern.form")).flatten(),
        ),
    };
    let cluster = given(abi::property(&["xds", "cluster_name"]));
    let looks = matches!(run.ready.module.place, Place::Listener { certificates: true, .. });
    // The whole of it: the property with the URI has only the first one.
    let shown = || given(abi::property(&["connection", "peer_certificate"]));
    // Envoy has an empty one where there is none.
    let certificate = looks.then(shown).flatten().filter(|pem| !pem.is_empty());
    Surroundings { cluster, permit, record, form, certificate, audit: run.audit() }
}

fn request_headers(run: &mut Run, end: bool) -> Option<Event> {
    let fields = fields(Map::RequestHeaders)?;
    let around = surroundings(run, &fields);
    Some(Event::RequestHeaders { fields, end, around, entropy: host::entropy()? })
}

fn fields(map: Map) -> Option<Fields> {
    abi::header_pairs(map).ok().and_then(|bytes| pairs::decode(&bytes))
}

/// The reply at hand. The host turns its own failures into replies as well (503 or 504
/// with a text); telling them apart is the client's: only what opens counts.
pub(crate) fn answer(size: usize, trailers: usize, most: usize) -> CallResult {
    if size > most {
        return Err(CallFailure::TooLarge);
    }
    let mut fields = self::fields(Map::CallHeaders).ok_or(CallFailure::Unreadable)?;
    let status = fields.only(":status").and_then(|value| std::str::from_utf8(value).ok());
    let status = status.and_then(|text| text.parse().ok()).ok_or(CallFailure::Unreadable)?;
    let body = match size {
        0 => Vec::new(),
        _ => abi::buffer(Buffer::CallBody, 0, size).map_err(|_| CallFailure::Unreadable)?,
    };
    if trailers > 0 {
        let trailers = self::fields(Map::CallTrailers).ok_or(CallFailure::Unreadable)?;
        fields.0.extend(trailers.0);
    }
    Ok(CallAnswer { status: Some(status), fields, body })
}

impl Context for Filter {
    fn on_http_call_response(&mut self, token: u32, _: usize, size: usize, trailers: usize) {
        self.step(|run| {
            if let Some(id) = run.called(token) {
                run.meanwhile(reply(id, answer(size, trailers, MAX_ANSWER)));
            }
            Flow::Pause
        });
        if self.run.try_borrow_mut().is_ok_and(|mut run| run.wakes()) {
            tick_others(&self.ready, self.id);
        }
    }

    /// The only end that a filter in a cluster's chain hears of.
    fn on_done(&mut self) -> bool {
        self.on_log();
        true
    }
}

impl HttpContext for Filter {
    fn on_http_request_headers(&mut self, _: usize, end: bool) -> Action {
        self.step(|run| {
            let event = request_headers(run, end);
            run.request(event)
        })
    }

    fn on_http_request_body(&mut self, size: usize, end: bool) -> Action {
        self.step(|run| {
            let chunk = run.content(Direction::Request, size);
            run.request(chunk.map(|chunk| Event::RequestBody { chunk, end }))
        })
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        self.step(|run| run.request(fields(Map::RequestTrailers).map(Event::RequestTrailers)))
    }

    fn on_http_response_headers(&mut self, _: usize, end: bool) -> Action {
        self.step(|run| {
            let fields = fields(Map::ResponseHeaders);
            run.response(fields.map(|fields| Event::ResponseHeaders { fields, end }))
        })
    }

    fn on_http_response_body(&mut self, size: usize, end: bool) -> Action {
        self.step(|run| {
            if run.passes_answer() {
                return Flow::Continue;
            }
            let chunk = run.content(Direction::Response, size);
            run.response(chunk.map(|chunk| Event::ResponseBody { chunk, end }))
        })
    }

    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        self.step(|run| run.response(fields(Map::ResponseTrailers).map(Event::ResponseTrailers)))
    }

    fn on_log(&mut self) {
        self.step(|run| {
            run.finish();
            Flow::Pause
        });
    }
}
