//! The Proxy-Wasm ABI 0.2.1, both ways: hostcalls by name with any words as arguments, and the
//! exported callbacks.
//!
//! Owns every `unsafe` line of the probe. A hostcall is made with the words it is given, also
//! with pointers that point nowhere: they are numbers to this side and the host has to check
//! them. Only [`Place`] gives pointers that are meant to be good.
//!
//! Invariant: no borrow of the probe's state lives across a hostcall, since the host may call
//! back while it runs.
#![allow(unsafe_code)]

use crate::state;

/// What a hostcall takes: 32 bits, or 64 for the values of metrics.
trait Word {
    fn of(word: u64) -> Self;
}

impl Word for u32 {
    fn of(word: u64) -> Self {
        // Cut on purpose: -1 is the largest number.
        word as Self
    }
}

impl Word for u64 {
    fn of(word: u64) -> Self {
        word
    }
}

/// Declares the imports, and [`call`] over their names.
macro_rules! hostcalls {
    ($(fn $name:ident($($argument:ident: $kind:ty),*);)*) => {
        #[cfg(target_arch = "wasm32")]
        #[link(wasm_import_module = "env")]
        unsafe extern "C" {
            $(fn $name($($argument: $kind),*) -> u32;)*
        }
        $(
            /// Elsewhere there is no host: internal failure.
            #[cfg(not(target_arch = "wasm32"))]
            #[allow(clippy::too_many_arguments, reason = "the ABI counts them, not we")]
            unsafe fn $name($(_: $kind),*) -> u32 {
                10
            }
        )*

        /// Makes hostcall `name`; missing words are 0. `None`: there is no such hostcall.
        pub fn call(name: &str, words: &[u64]) -> Option<u32> {
            let mut words = words.iter().copied();
            let mut next = || words.next().unwrap_or(0);
            let status = match name {
                $(stringify!($name) => {
                    $(let $argument = <$kind as Word>::of(next());)*
                    // SAFETY: the host checks pointers against this module's memory, and
                    // writes only to the places that the words name.
                    unsafe { $name($($argument),*) }
                })*
                _ => return None,
            };
            let _ = next();
            Some(status)
        }
    };
}

hostcalls! {
    fn proxy_log(level: u32, text: u32, size: u32);
    fn proxy_get_log_level(out: u32);
    fn proxy_get_current_time_nanoseconds(out: u32);
    fn proxy_set_tick_period_milliseconds(period: u32);
    fn proxy_get_property(path: u32, size: u32, data: u32, data_size: u32);
    fn proxy_set_property(path: u32, size: u32, data: u32, data_size: u32);
    fn proxy_get_buffer_bytes(buffer: u32, start: u32, length: u32, data: u32, size: u32);
    fn proxy_set_buffer_bytes(buffer: u32, start: u32, length: u32, data: u32, size: u32);
    fn proxy_get_buffer_status(buffer: u32, size: u32, flags: u32);
    fn proxy_get_header_map_pairs(map: u32, data: u32, size: u32);
    fn proxy_get_header_map_size(map: u32, size: u32);
    fn proxy_set_header_map_pairs(map: u32, data: u32, size: u32);
    fn proxy_get_header_map_value(map: u32, name: u32, size: u32, data: u32, data_size: u32);
    fn proxy_add_header_map_value(map: u32, name: u32, size: u32, value: u32, value_size: u32);
    fn proxy_replace_header_map_value(map: u32, name: u32, size: u32, value: u32, value_size: u32);
    fn proxy_remove_header_map_value(map: u32, name: u32, size: u32);
    fn proxy_get_shared_data(key: u32, size: u32, data: u32, data_size: u32, cas: u32);
    fn proxy_set_shared_data(key: u32, size: u32, data: u32, data_size: u32, cas: u32);
    fn proxy_register_shared_queue(name: u32, size: u32, out: u32);
    fn proxy_resolve_shared_queue(vm: u32, vm_size: u32, name: u32, size: u32, out: u32);
    fn proxy_dequeue_shared_queue(queue: u32, data: u32, size: u32);
    fn proxy_enqueue_shared_queue(queue: u32, data: u32, size: u32);
    fn proxy_define_metric(kind: u32, name: u32, size: u32, out: u32);
    fn proxy_increment_metric(metric: u32, by: u64);
    fn proxy_record_metric(metric: u32, value: u64);
    fn proxy_get_metric(metric: u32, out: u32);
    fn proxy_http_call(
        cluster: u32, cluster_size: u32, fields: u32, fields_size: u32, body: u32, body_size: u32,
        trailers: u32, trailers_size: u32, timeout: u32, out: u32
    );
    fn proxy_grpc_call(
        target: u32, target_size: u32, service: u32, service_size: u32, method: u32,
        method_size: u32, metadata: u32, metadata_size: u32, data: u32, size: u32, timeout: u32,
        out: u32
    );
    fn proxy_grpc_stream(
        target: u32, target_size: u32, service: u32, service_size: u32, method: u32,
        method_size: u32, metadata: u32, metadata_size: u32, out: u32
    );
    fn proxy_grpc_send(call: u32, data: u32, size: u32, end: u32);
    fn proxy_grpc_cancel(call: u32);
    fn proxy_grpc_close(call: u32);
    fn proxy_get_status(out: u32, data: u32, size: u32);
    fn proxy_send_local_response(
        status: u32, details: u32, details_size: u32, body: u32, body_size: u32, fields: u32,
        fields_size: u32, grpc: u32
    );
    fn proxy_continue_stream(direction: u32);
    fn proxy_close_stream(direction: u32);
    fn proxy_set_effective_context(context: u32);
    fn proxy_call_foreign_function(
        name: u32, name_size: u32, argument: u32, argument_size: u32, data: u32, size: u32
    );
    fn proxy_done();
}

/// Four words that the host may write to.
#[derive(Default)]
pub struct Place(Box<[u64; 4]>);

impl Place {
    /// The address of word `index`.
    pub fn at(&mut self, index: usize) -> u64 {
        address(self.0.as_ptr().wrapping_add(index))
    }

    /// What stands there now.
    pub fn word(&self, index: usize) -> u64 {
        let word = self.0.get(index).copied().unwrap_or(0);
        // SAFETY: the word is alive and aligned; volatile, since the host wrote it behind
        // the compiler's back.
        unsafe { std::ptr::read_volatile(&raw const word) }
    }

    /// The block whose address and size the host wrote to words 0 and 1.
    pub fn block(&self) -> Vec<u8> {
        let (data, size) = (self.word(0) as u32 as usize, self.word(1) as u32 as usize);
        if data == 0 || size == 0 {
            return Vec::new();
        }
        // SAFETY: after a good status these are a block of this size that the host had
        // `proxy_on_memory_allocate` make, and has given up.
        unsafe { Vec::from_raw_parts(std::ptr::with_exposed_provenance_mut(data), size, size) }
    }
}

/// The address of anything, as a word.
pub fn address<T>(at: *const T) -> u64 {
    at.expose_provenance() as u64
}

#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    #[cfg(target_os = "wasi")]
    {
        unsafe extern "C" {
            fn __wasm_call_ctors();
        }
        // SAFETY: made by the linker; the host calls `_initialize` once, before all else.
        unsafe { __wasm_call_ctors() };
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    let mut block = Vec::new();
    if block.try_reserve_exact(size).is_err() {
        return std::ptr::null_mut();
    }
    block.resize(size, 0_u8);
    Box::into_raw(block.into_boxed_slice()).cast()
}

/// Exports a callback that hands its arguments to the state.
macro_rules! callbacks {
    ($($export:ident($($argument:ident),*) = $phase:literal;)*) => {
        $(
            #[unsafe(no_mangle)]
            extern "C" fn $export(context: u32, $($argument: u32),*) -> u32 {
                state::enter(context, $phase, &[$($argument),*])
            }
        )*
    };
}

/// The same for callbacks without a result.
macro_rules! notices {
    ($($export:ident($($argument:ident),*) = $phase:literal;)*) => {
        $(
            #[unsafe(no_mangle)]
            extern "C" fn $export(context: u32, $($argument: u32),*) {
                state::enter(context, $phase, &[$($argument),*]);
            }
        )*
    };
}

callbacks! {
    proxy_on_vm_start(size) = "vm_start";
    proxy_on_configure(size) = "configure";
    proxy_on_request_headers(count, end) = "request_headers";
    proxy_on_request_body(size, end) = "request_body";
    proxy_on_request_trailers(count) = "request_trailers";
    proxy_on_response_headers(count, end) = "response_headers";
    proxy_on_response_body(size, end) = "response_body";
    proxy_on_response_trailers(count) = "response_trailers";
    proxy_on_done() = "done";
}

notices! {
    proxy_on_tick() = "tick";
    proxy_on_queue_ready(queue) = "queue";
    proxy_on_http_call_response(token, headers, body, trailers) = "http_call";
    proxy_on_grpc_receive_initial_metadata(token, count) = "grpc_initial";
    proxy_on_grpc_receive(token, size) = "grpc_receive";
    proxy_on_grpc_receive_trailing_metadata(token, count) = "grpc_trailing";
    proxy_on_grpc_close(token, status) = "grpc_close";
    proxy_on_foreign_function(function, size) = "foreign";
    proxy_on_log() = "log";
    proxy_on_delete() = "delete";
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(context: u32, parent: u32) {
    state::create(context, parent);
}
