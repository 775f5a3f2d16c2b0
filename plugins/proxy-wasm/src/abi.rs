//! The Proxy-Wasm ABI 0.2.1 hostcalls that the modules use, each as a safe function.
//!
//! Owns every `unsafe` line of the project. The SDK's wrappers panic on header bytes
//! that are not UTF-8 and on any status they do not expect, and a panic kills the VM
//! with all its streams; these return the [`Status`] instead and never panic. Data the
//! host returns was allocated by our own `proxy_on_memory_allocate`, so taking it over
//! as a `Vec` frees it when it is dropped.
//!
//! Invariant: nothing here decides anything; a caller that gets an `Err` denies.
#![allow(unsafe_code)]

use std::ptr::null_mut;
use std::time::Duration;

/// Why the host did not do what was asked (ABI 0.2.1, `proxy_status_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Status {
    /// No such property, key or field.
    #[error("not found")]
    NotFound,
    /// Wrong moment or wrong argument.
    #[error("bad argument")]
    BadArgument,
    /// Somebody else wrote shared data first.
    #[error("compare-and-swap mismatch")]
    CasMismatch,
    /// Anything else, the number as the host gave it.
    #[error("host status {0}")]
    Other(u32),
}

/// What a hostcall gives back.
pub type Answer<T> = Result<T, Status>;

/// Header maps (`proxy_map_type_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Map {
    /// Request headers.
    RequestHeaders = 0,
    /// Request trailers.
    RequestTrailers = 1,
    /// Response headers.
    ResponseHeaders = 2,
    /// Response trailers.
    ResponseTrailers = 3,
    /// Headers of the call reply at hand.
    CallHeaders = 6,
    /// Trailers of the call reply at hand.
    CallTrailers = 7,
}

/// Buffers (`proxy_buffer_type_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Buffer {
    /// Request content that the host holds.
    RequestBody = 0,
    /// Response content that the host holds.
    ResponseBody = 1,
    /// Content of the call reply at hand.
    CallBody = 4,
    /// The module's configuration, in `on_configure`.
    Configuration = 7,
}

/// The two directions of a stream (`proxy_stream_type_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Direction {
    /// From the client.
    Request = 0,
    /// To the client.
    Response = 1,
}

/// Log levels (`proxy_log_level_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Level {
    /// For operators, now and then.
    Info = 2,
    /// Something is not as it should be.
    Warn = 3,
    /// The module refuses to work.
    Error = 4,
}

/// Declares hostcalls as imports; outside WebAssembly each answers what [`native`] was
/// told, so that tests can be a host that refuses or one that does nothing.
macro_rules! hostcalls {
    ($(fn $name:ident($($argument:ident: $kind:ty),*);)*) => {
        #[cfg(target_arch = "wasm32")]
        #[link(wasm_import_module = "env")]
        unsafe extern "C" {
            $(fn $name($($argument: $kind),*) -> u32;)*
        }
        $(
            #[cfg(not(target_arch = "wasm32"))]
            #[allow(clippy::too_many_arguments, reason = "the ABI counts them, not we")]
            unsafe fn $name($(_: $kind),*) -> u32 {
                native::called(stringify!($name))
            }
        )*
    };
}

hostcalls! {
    fn proxy_log(level: u32, text: *const u8, size: usize);
    fn proxy_set_tick_period_milliseconds(period: u32);
    fn proxy_get_property(path: *const u8, path_size: usize, data: *mut *mut u8, size: *mut usize);
    fn proxy_get_buffer_bytes(kind: u32, start: usize, max: usize, data: *mut *mut u8, size: *mut usize);
    fn proxy_get_shared_data(key: *const u8, key_size: usize, data: *mut *mut u8, size: *mut usize, cas: *mut u32);
    fn proxy_set_shared_data(key: *const u8, key_size: usize, data: *const u8, size: usize, cas: u32);
    fn proxy_define_metric(kind: u32, name: *const u8, size: usize, id: *mut u32);
    fn proxy_increment_metric(id: u32, by: i64);
    fn proxy_http_call(
        cluster: *const u8, cluster_size: usize, fields: *const u8, fields_size: usize,
        body: *const u8, body_size: usize, trailers: *const u8, trailers_size: usize,
        timeout: u32, token: *mut u32
    );
    fn proxy_set_property(path: *const u8, path_size: usize, data: *const u8, size: usize);
    fn proxy_set_buffer_bytes(kind: u32, start: usize, length: usize, data: *const u8, size: usize);
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize);
    fn proxy_replace_header_map_value(
        map: u32, name: *const u8, name_size: usize, value: *const u8, value_size: usize
    );
    fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize);
    fn proxy_send_local_response(
        status: u32, details: *const u8, details_size: usize, body: *const u8, body_size: usize,
        fields: *const u8, fields_size: usize, grpc: i32
    );
    fn proxy_continue_stream(direction: u32);
    fn proxy_close_stream(direction: u32);
    fn proxy_set_effective_context(context: u32);
    fn proxy_call_foreign_function(
        name: *const u8, name_size: usize, argument: *const u8, argument_size: usize,
        data: *mut *mut u8, size: *mut usize
    );
}

/// The host of native builds: it does nothing and answers what it was told.
#[cfg(not(target_arch = "wasm32"))]
pub mod native {
    use std::cell::{Cell, RefCell};

    thread_local! {
        static STATUS: Cell<u32> = const { Cell::new(10) };
        static CALLS: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
    }

    /// From here on every hostcall of this thread answers `status`; at first it is 10,
    /// internal failure.
    pub fn answer(status: u32) {
        STATUS.set(status);
    }

    /// The hostcalls since the last time this was asked.
    pub fn calls() -> Vec<&'static str> {
        CALLS.take()
    }

    pub(super) fn called(name: &'static str) -> u32 {
        CALLS.with_borrow_mut(|calls| calls.push(name));
        STATUS.get()
    }
}

fn checked(status: u32) -> Answer<()> {
    match status {
        0 => Ok(()),
        1 => Err(Status::NotFound),
        2 => Err(Status::BadArgument),
        8 => Err(Status::CasMismatch),
        other => Err(Status::Other(other)),
    }
}

/// Runs `call` with a place for the host's answer and takes the answer over. A null
/// pointer is an empty answer.
fn returned(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Answer<Vec<u8>> {
    let (mut data, mut size) = (null_mut::<u8>(), 0_usize);
    checked(call(&raw mut data, &raw mut size))?;
    if data.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: the host filled `size` bytes of a block that it had `proxy_on_memory_allocate`
    // of this module allocate with exactly that capacity, and gives up its claim.
    Ok(unsafe { Vec::from_raw_parts(data, size, size) })
}

/// Writes a line to the proxy's log. A failed log line changes nothing.
pub fn log(level: Level, text: &str) {
    // SAFETY: pointer and size are of one live slice. The same holds for every call below.
    let _ = unsafe { proxy_log(level as u32, text.as_ptr(), text.len()) };
}

/// Asks for `on_tick` every `period`, on this root context.
pub fn set_tick_period(period: Duration) -> Answer<()> {
    let millis = u32::try_from(period.as_millis()).unwrap_or(u32::MAX);
    checked(unsafe { proxy_set_tick_period_milliseconds(millis) })
}

/// A property by its path, segments joined by NUL. `None` when the proxy has no such.
pub fn property(path: &[&str]) -> Answer<Option<Vec<u8>>> {
    let path = path.join("\0");
    match returned(|data, size| unsafe {
        proxy_get_property(path.as_ptr(), path.len(), data, size)
    }) {
        Ok(value) => Ok(Some(value)),
        Err(Status::NotFound) => Ok(None),
        Err(status) => Err(status),
    }
}

/// At most `max` bytes of a buffer from `start` on.
pub fn buffer(kind: Buffer, start: usize, max: usize) -> Answer<Vec<u8>> {
    returned(|data, size| unsafe { proxy_get_buffer_bytes(kind as u32, start, max, data, size) })
}

/// A shared value with its compare-and-swap number; `None` when it was never written.
pub fn shared_data(key: &str) -> Answer<Option<(Vec<u8>, u32)>> {
    let mut cas = 0_u32;
    let place = &raw mut cas;
    match returned(|data, size| unsafe {
        proxy_get_shared_data(key.as_ptr(), key.len(), data, size, place)
    }) {
        Ok(value) => Ok(Some((value, cas))),
        Err(Status::NotFound) => Ok(None),
        Err(status) => Err(status),
    }
}

/// Writes a shared value if `cas` is still its number; 0 writes in any case.
pub fn set_shared_data(key: &str, value: &[u8], cas: u32) -> Answer<()> {
    checked(unsafe {
        proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas)
    })
}

/// Defines a counter (the same name gives the same number).
pub fn define_counter(name: &str) -> Answer<u32> {
    let mut id = 0_u32;
    checked(unsafe { proxy_define_metric(0, name.as_ptr(), name.len(), &raw mut id) })?;
    Ok(id)
}

/// Adds one to a counter.
pub fn increment(id: u32) -> Answer<()> {
    checked(unsafe { proxy_increment_metric(id, 1) })
}

/// Sends a request from a root context; the reply arrives there under the token.
/// Filters use the SDK's `dispatch_http_call` instead, whose table its dispatcher needs.
pub fn http_call(
    cluster: &str,
    fields: &[(&str, &str)],
    body: &[u8],
    timeout: Duration,
) -> Answer<u32> {
    let fields = crate::pairs::encode(fields);
    let trailers = crate::pairs::encode(&[]);
    let millis = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    let mut token = 0_u32;
    checked(unsafe {
        proxy_http_call(
            cluster.as_ptr(),
            cluster.len(),
            fields.as_ptr(),
            fields.len(),
            body.as_ptr(),
            body.len(),
            trailers.as_ptr(),
            trailers.len(),
            millis,
            &raw mut token,
        )
    })?;
    Ok(token)
}

/// Writes filter state `wasm.<name>`; `name` is one segment.
pub fn set_filter_state(name: &str, value: &[u8]) -> Answer<()> {
    checked(unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) })
}

/// Replaces `length` bytes of a buffer from its start on.
pub fn replace_buffer(kind: Buffer, length: usize, content: &[u8]) -> Answer<()> {
    checked(unsafe {
        proxy_set_buffer_bytes(kind as u32, 0, length, content.as_ptr(), content.len())
    })
}

/// A whole header map in one call, as the ABI serialises it ([`crate::pairs`]).
pub fn header_pairs(map: Map) -> Answer<Vec<u8>> {
    returned(|data, size| unsafe { proxy_get_header_map_pairs(map as u32, data, size) })
}

/// Replaces every line of a field by one.
pub fn replace_header(map: Map, name: &str, value: &[u8]) -> Answer<()> {
    checked(unsafe {
        proxy_replace_header_map_value(
            map as u32,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    })
}

/// Removes every line of a field; a field that is not there is fine.
pub fn remove_header(map: Map, name: &str) -> Answer<()> {
    checked(unsafe { proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) })
}

/// Answers the client here; `details` shows as `%RESPONSE_CODE_DETAILS%`.
pub fn send_local_response(
    status: u16,
    details: &str,
    fields: &[(&str, &str)],
    content: &[u8],
) -> Answer<()> {
    let fields = crate::pairs::encode(fields);
    checked(unsafe {
        proxy_send_local_response(
            u32::from(status),
            details.as_ptr(),
            details.len(),
            content.as_ptr(),
            content.len(),
            fields.as_ptr(),
            fields.len(),
            -1,
        )
    })
}

/// Lets a paused direction go on after the callback at hand.
pub fn continue_stream(direction: Direction) -> Answer<()> {
    checked(unsafe { proxy_continue_stream(direction as u32) })
}

/// Cuts the stream.
pub fn close_stream(direction: Direction) -> Answer<()> {
    checked(unsafe { proxy_close_stream(direction as u32) })
}

/// From here on to the end of the callback, hostcalls act on this context.
pub fn set_effective_context(context: u32) -> Answer<()> {
    checked(unsafe { proxy_set_effective_context(context) })
}

/// Calls one of the proxy's own functions, such as `declare_property`.
pub fn foreign_function(name: &str, argument: &[u8]) -> Answer<Vec<u8>> {
    returned(|data, size| unsafe {
        proxy_call_foreign_function(
            name.as_ptr(),
            name.len(),
            argument.as_ptr(),
            argument.len(),
            data,
            size,
        )
    })
}

/// Memory for what the host returns. Null when there is none: the hostcall then fails,
/// which its caller handles, and nothing traps.
pub fn allocate(size: usize) -> *mut u8 {
    let mut block = Vec::new();
    if block.try_reserve_exact(size).is_err() {
        return null_mut();
    }
    block.resize(size, 0_u8);
    Box::into_raw(block.into_boxed_slice()).cast()
}

/// Runs the start-up code of the C library; the first thing in `_initialize`.
pub fn construct() {
    #[cfg(target_os = "wasi")]
    {
        unsafe extern "C" {
            fn __wasm_call_ctors();
        }
        // SAFETY: the linker makes this function, and the host calls `_initialize` once.
        unsafe { __wasm_call_ctors() };
    }
}

/// The exports of an access logger that does not link the SDK: its name and the function
/// that turns a configuration document into a [`Logger`](crate::logger::Logger).
#[macro_export]
macro_rules! access_logger {
    ($name:literal, $configure:path) => {
        #[unsafe(no_mangle)]
        extern "C" fn proxy_abi_version_0_2_1() {}

        #[unsafe(no_mangle)]
        extern "C" fn _initialize() {
            $crate::abi::construct();
            $crate::host::quiet_panics();
        }

        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
            $crate::abi::allocate(size)
        }

        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_context_create(_: u32, _: u32) {}

        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_vm_start(_: u32, _: usize) -> bool {
            true
        }

        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_configure(root: u32, size: usize) -> bool {
            $crate::logger::on_configure(root, size, $name, $configure)
        }

        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_log(root: u32) {
            $crate::logger::on_log(root);
        }

        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_tick(root: u32) {
            $crate::logger::on_tick(root);
        }

        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_http_call_response(
            root: u32,
            token: u32,
            _: u32,
            size: usize,
            _: u32,
        ) {
            $crate::logger::on_http_call_response(root, token, size);
        }

        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_done(root: u32) -> bool {
            $crate::logger::on_done(root);
            true
        }

        #[unsafe(no_mangle)]
        extern "C" fn proxy_on_delete(root: u32) {
            $crate::logger::on_delete(root);
        }
    };
}
