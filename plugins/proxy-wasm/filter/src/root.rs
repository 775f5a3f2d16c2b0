//! The root context: configuration, and the streams that it starts.
//!
//! Invariant: without a configuration that was accepted, every request is refused.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use postern_core::config::ConfigError;
use postern_core::key_service::{CallFailure, CallId, MAX_ANSWER};
use postern_proxy_wasm::abi::{self, Direction, Level};
use postern_proxy_wasm::host;
use postern_proxy_wasm::module::{Module, Place, Ready};
use postern_proxy_wasm::perform;
use postern_proxy_wasm::watch::Watch;
use proxy_wasm::hostcalls::dispatch_http_call;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};

use crate::callbacks::{Filter, answer};

/// Arguments of the proxy's function `declare_property`: name, then read-only and bytes
/// for the permit, so that no later filter replaces it; type String for the identity, so
/// that CEL can compare it.
const DECLARATIONS: [&[u8]; 2] =
    [b"\x0a\x0epostern.permit\x10\x01", b"\x0a\x10postern.identity\x18\x01"];

const TICK: Duration = Duration::from_secs(1);

/// Turns a configuration document into a module.
pub type Configure = fn(&[u8]) -> Result<Module, ConfigError>;

/// The root context of a filter module.
pub struct Root {
    id: u32,
    name: &'static str,
    configure: Configure,
    ready: Option<Rc<Ready>>,
    /// Calls of the background, by the host's token.
    calls: BTreeMap<u32, Asked>,
    watch: Watch,
}

/// A call of the background: who asked, as what, and how much of the reply is read.
struct Asked {
    index: usize,
    id: CallId,
    most: usize,
}

impl Root {
    /// A root that has no configuration yet.
    pub fn new(id: u32, name: &'static str, configure: Configure) -> Self {
        let (calls, watch) = (BTreeMap::new(), Watch::default());
        Self { id, name, configure, ready: None, calls, watch }
    }

    fn configured(&self, size: usize) -> Result<Ready, ConfigError> {
        let module = (self.configure)(&host::configuration(size)?)?;
        if let Place::Listener { .. } = module.place {
            declare()?;
        }
        abi::set_tick_period(TICK)
            .map_err(|status| ConfigError::one("", format!("the host does not tick: {status}")))?;
        Ok(Ready::new(module, dispatch))
    }
}

/// The one hostcall that is left to the SDK. Its table keeps eight bytes for every call
/// whose stream went away first; nothing reads them.
fn dispatch(
    cluster: &str,
    fields: Vec<(&str, &str)>,
    body: Option<&[u8]>,
    timeout: Duration,
) -> Option<u32> {
    dispatch_http_call(cluster, fields, body, vec![], timeout).ok()
}

fn declare() -> Result<(), ConfigError> {
    for declaration in DECLARATIONS {
        abi::foreign_function("declare_property", declaration).map_err(|status| {
            ConfigError::one("", format!("the host does not declare filter state: {status}"))
        })?;
    }
    Ok(())
}

/// Makes the background's calls that are due; the host brings their replies to the root.
fn ask(ready: &Ready, calls: &mut BTreeMap<u32, Asked>) {
    for (index, background) in ready.module.background.iter().enumerate() {
        let Some(call) = background.due(host::now()) else { continue };
        match perform::send(&call, ready) {
            Some(token) => {
                calls.insert(token, Asked { index, id: call.id, most: call.most });
            }
            None => {
                let _ = background.heard(call.id, Err(CallFailure::NotSent), host::now());
            }
        }
    }
    tell(ready);
}

/// Counts and logs what happened without a request.
fn tell(ready: &Ready) {
    for told in ready.module.background.iter().flat_map(|background| background.told()) {
        ready.counters.count(told.metric);
        abi::log(Level::Warn, &format!("postern: {}", told.text));
    }
}

impl Context for Root {
    /// Replies to what was asked in a tick.
    fn on_http_call_response(&mut self, token: u32, _: usize, size: usize, trailers: usize) {
        let Some(ready) = &self.ready else { return };
        let Some(Asked { index, id, most }) = self.calls.remove(&token) else {
            return self.watch.heard(ready, token, answer(size, trailers, MAX_ANSWER));
        };
        let Some(background) = ready.module.background.get(index) else { return };
        let news = background.heard(id, answer(size, trailers, most), host::now());
        tell(ready);
        if news {
            tick_others(ready, self.id);
        }
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        match self.configured(size) {
            Ok(ready) => self.ready = Some(Rc::new(ready)),
            Err(error) => host::report(self.name, &error),
        }
        self.ready.is_some()
    }

    fn on_tick(&mut self) {
        let Some(ready) = &self.ready else { return };
        self.watch.tick(ready);
        ask(ready, &mut self.calls);
        tick_others(ready, self.id);
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, context: u32) -> Option<Box<dyn HttpContext>> {
        Some(match &self.ready {
            Some(ready) => Box::new(Filter::new(context, Rc::clone(ready))),
            None => Box::new(Refusal),
        })
    }
}

/// Tells time to every paused stream but the context at hand, on which hostcalls act before
/// and after.
pub(crate) fn tick_others(ready: &Ready, at_hand: u32) {
    for (context, run) in ready.paused() {
        if context != at_hand
            && abi::set_effective_context(context).is_ok()
            && let Ok(mut run) = run.try_borrow_mut()
        {
            run.tick();
        }
    }
    let _ = abi::set_effective_context(at_hand);
}

/// The stream of a root without configuration: a missing capability can leave a module
/// running so.
struct Refusal;

impl Context for Refusal {}

impl HttpContext for Refusal {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        if abi::send_local_response(500, "internal", &[], b"").is_err() {
            let _ = abi::close_stream(Direction::Request);
        }
        Action::Pause
    }

    fn on_http_request_body(&mut self, _: usize, _: bool) -> Action {
        Action::Pause
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        Action::Pause
    }
}
