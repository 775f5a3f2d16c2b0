//! The functions of a module that the engine calls, found once when it starts.
//!
//! One that the module does not export, or that its configuration does not allow, is not
//! called: the answer is then the ABI's default.

use wasmtime::{AsContextMut, Instance, TypedFunc, WasmParams, WasmResults};

use super::host::Host;
use super::program::Capabilities;

pub(super) type Callback<P, R> = Option<TypedFunc<P, R>>;
/// Context and one number.
pub(super) type Two = Callback<(u32, u32), u32>;
/// Context, a count and the end of the stream.
pub(super) type Three = Callback<(u32, u32, u32), u32>;

/// All callbacks, named without `proxy_on_`.
#[derive(Default)]
pub(super) struct Callbacks {
    pub initialize: Callback<(), ()>,
    pub start: Callback<(), ()>,
    pub context_create: Callback<(u32, u32), ()>,
    pub vm_start: Two,
    pub configure: Two,
    pub tick: Callback<u32, ()>,
    pub queue_ready: Callback<(u32, u32), ()>,
    pub request_headers: Three,
    pub request_body: Three,
    pub request_trailers: Two,
    pub response_headers: Three,
    pub response_body: Three,
    pub response_trailers: Two,
    pub http_call_response: Callback<(u32, u32, u32, u32, u32), ()>,
    pub grpc_initial: Callback<(u32, u32, u32), ()>,
    pub grpc_receive: Callback<(u32, u32, u32), ()>,
    pub grpc_trailing: Callback<(u32, u32, u32), ()>,
    pub grpc_close: Callback<(u32, u32, u32), ()>,
    pub done: Callback<u32, u32>,
    pub log: Callback<u32, ()>,
    pub delete: Callback<u32, ()>,
}

/// Finds exports by name and type.
pub(super) struct Finder<'a, S> {
    pub store: S,
    pub instance: &'a Instance,
    pub capabilities: &'a Capabilities,
}

impl<S: AsContextMut<Data = Host>> Finder<'_, S> {
    pub fn callbacks(&mut self) -> wasmtime::Result<Callbacks> {
        Ok(Callbacks {
            initialize: self.export("_initialize")?,
            start: self.export("_start")?,
            context_create: self.find("proxy_on_context_create")?,
            vm_start: self.find("proxy_on_vm_start")?,
            configure: self.find("proxy_on_configure")?,
            tick: self.find("proxy_on_tick")?,
            queue_ready: self.find("proxy_on_queue_ready")?,
            request_headers: self.find("proxy_on_request_headers")?,
            request_body: self.find("proxy_on_request_body")?,
            request_trailers: self.find("proxy_on_request_trailers")?,
            response_headers: self.find("proxy_on_response_headers")?,
            response_body: self.find("proxy_on_response_body")?,
            response_trailers: self.find("proxy_on_response_trailers")?,
            http_call_response: self.find("proxy_on_http_call_response")?,
            grpc_initial: self.find("proxy_on_grpc_receive_initial_metadata")?,
            grpc_receive: self.find("proxy_on_grpc_receive")?,
            grpc_trailing: self.find("proxy_on_grpc_receive_trailing_metadata")?,
            grpc_close: self.find("proxy_on_grpc_close")?,
            done: self.find("proxy_on_done")?,
            log: self.find("proxy_on_log")?,
            delete: self.find("proxy_on_delete")?,
        })
    }

    /// The module's allocator, by either of its names.
    pub fn allocator(&mut self) -> wasmtime::Result<TypedFunc<u32, u32>> {
        match self.export("proxy_on_memory_allocate")? {
            Some(allocate) => Ok(allocate),
            None => self.instance.get_typed_func(&mut self.store, "malloc"),
        }
    }

    fn find<P: WasmParams, R: WasmResults>(
        &mut self,
        name: &str,
    ) -> wasmtime::Result<Callback<P, R>> {
        if self.capabilities.allow(name) { self.export(name) } else { Ok(None) }
    }

    fn export<P: WasmParams, R: WasmResults>(
        &mut self,
        name: &str,
    ) -> wasmtime::Result<Callback<P, R>> {
        if self.instance.get_export(&mut self.store, name).is_none() {
            return Ok(None);
        }
        self.instance.get_typed_func(&mut self.store, name).map(Some)
    }
}
