//! Effects to hostcalls, callbacks to events: the adapter of the two HTTP filters.
//!
//! Owns the only use of the `proxy-wasm` SDK: its dispatcher, context traits, types and
//! `dispatch_http_call`, whose table the dispatcher needs. Everything else goes through
//! [`postern_proxy_wasm::abi`], since the SDK panics on header bytes that are not UTF-8
//! and on any status that it does not expect. A crate of its own, because cargo unites
//! the features of what it builds together, and the audit module must not link the SDK.
//!
//! What the adapter rests on, tried in Envoy 1.40:
//!
//! * An *upstream* filter (`http_filters: [wasm, upstream_codec]` of a cluster) can answer
//!   locally, from the headers callback and from a call's reply: the client gets exactly
//!   that answer, the listener's filters see its headers, the upstream sees nothing, and
//!   `details` is in `%RESPONSE_CODE_DETAILS%`. It can pause for a call, reads filter state
//!   that listener filters wrote, and what it writes there is seen by access loggers. It
//!   can change response headers, content and trailers. It gets no `on_log`, only `on_done`.
//! * `xds.cluster_name` is two segments, `["xds", "cluster_name"]`.
//! * With `allow_on_headers_stop_iteration`, body callbacks come while the headers are
//!   paused, also while a call of the headers callback is out. Headers, content and trailers
//!   stay until one callback continues or `continue_stream` is called; request headers and
//!   content can be changed to the end, also from the trailers callback and a call's reply.
//!   The same holds of an answer in a cluster's chain: its head, held while a call of the content
//!   callback is out, and its content can be changed or answered for from that call's reply.
//! * Without that switch a pause in headers holds everything and no body callback comes.
//! * A local reply in the request phase passes the replying filter's own response
//!   callbacks; one in the response phase does not.
//! * A call-out passes the filters of the cluster it goes to, inside the hostcall that starts
//!   it. Were one of them in the calling VM, the SDK's dispatcher would be entered again while it
//!   holds its contexts, and trap: so the gate calls upstreams, and the credential module, which
//!   stands before them, never does.
//! * `close_stream` inside a callback of the same stream is safe: `on_log` and `on_done`
//!   come after the callback.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod callbacks;
mod root;

pub use postern_proxy_wasm::module::{Module, Place};
#[doc(hidden)]
pub use proxy_wasm;
pub use root::Root;

/// Makes this crate's Proxy-Wasm module: its name and the function that turns a
/// configuration document into a [`Module`].
#[macro_export]
macro_rules! module {
    ($name:literal, $configure:path) => {
        $crate::proxy_wasm::main! {{
            $crate::start(|id| Box::new($crate::Root::new(id, $name, $configure)));
        }}
    };
}

/// Registers the root context; called once, when the VM starts.
pub fn start(root: proxy_wasm::types::NewRootContext) {
    postern_proxy_wasm::host::quiet_panics();
    proxy_wasm::set_root_context(root);
}
