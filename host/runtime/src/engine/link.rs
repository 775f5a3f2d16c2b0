//! Names and types of all functions that a module may import.
//!
//! Invariant: a function of `env` that the configuration does not allow answers
//! `InternalFailure` and does nothing; one of WASI is not there, so the module does not
//! start. Both are Envoy's behaviour.

use wasmtime::{Caller, Linker};

use crate::view::{Level, Status};

use super::guest::{Answer, Guest, Out, Span, answer};
use super::host::Host;
use super::hostcalls::{
    calls, content, foreign, grpc, maps, metrics, properties, queues, service, stream,
};
use super::program::Capabilities;
use super::{trace, wasi};

const WASI: &str = "wasi_snapshot_preview1";

/// A linker with everything that `allow` allows.
pub(super) fn linker(
    engine: &wasmtime::Engine,
    allow: &Capabilities,
) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    streams(&mut linker, allow)?;
    services(&mut linker, allow)?;
    remote(&mut linker, allow)?;
    system(&mut linker, allow)?;
    Ok(linker)
}

/// `name(arguments) |guest| answer;` for each function of `env`.
macro_rules! env {
    ($linker:ident, $allow:ident; $($name:ident($($arg:ident: $ty:ty),*) |$guest:ident| $body:expr;)*) => {
        $(
            let name = stringify!($name);
            if $allow.allow(name) {
                $linker.func_wrap("env", name, |caller: Caller<'_, Host>, $($arg: $ty),*| {
                    let $guest = &mut Guest::new(caller);
                    let begun = trace::begin($guest, stringify!($name), &[$(trace::number($arg)),*]);
                    let result = $body;
                    trace::end($guest, begun, &result);
                    answer(result)
                })?;
            } else {
                $linker.func_wrap("env", name, |caller: Caller<'_, Host>, $($arg: $ty),*| {
                    let guest = &mut Guest::new(caller);
                    let begun = trace::begin(guest, stringify!($name), &[$(trace::number($arg)),*]);
                    let result = restricted(guest, stringify!($name));
                    trace::end(guest, begun, &result);
                    answer(result)
                })?;
            }
        )*
    };
}

fn streams(linker: &mut Linker<Host>, allow: &Capabilities) -> wasmtime::Result<()> {
    env! { linker, allow;
        proxy_get_header_map_pairs(map: u32, data: u32, size: u32) |guest| maps::pairs(guest, map, Out(data, size));
        proxy_get_header_map_size(map: u32, size: u32) |guest| maps::size(guest, map, size);
        proxy_set_header_map_pairs(map: u32, data: u32, size: u32) |guest| maps::set_pairs(guest, map, Span(data, size));
        proxy_get_header_map_value(map: u32, name: u32, name_size: u32, data: u32, size: u32)
            |guest| maps::value(guest, map, Span(name, name_size), Out(data, size));
        proxy_add_header_map_value(map: u32, name: u32, name_size: u32, value: u32, size: u32)
            |guest| maps::add(guest, map, Span(name, name_size), Span(value, size));
        proxy_replace_header_map_value(map: u32, name: u32, name_size: u32, value: u32, size: u32)
            |guest| maps::replace(guest, map, Span(name, name_size), Span(value, size));
        proxy_remove_header_map_value(map: u32, name: u32, size: u32)
            |guest| maps::remove(guest, map, Span(name, size));
        proxy_get_buffer_bytes(buffer: u32, start: u32, length: u32, data: u32, size: u32)
            |guest| content::read(guest, buffer, Span(start, length), Out(data, size));
        proxy_set_buffer_bytes(buffer: u32, start: u32, length: u32, data: u32, size: u32)
            |guest| content::write(guest, buffer, Span(start, length), Span(data, size));
        proxy_get_buffer_status(buffer: u32, size: u32, flags: u32) |guest| content::status(guest, buffer, size, flags);
        proxy_get_property(path: u32, path_size: u32, data: u32, size: u32)
            |guest| properties::read(guest, Span(path, path_size), Out(data, size));
        proxy_set_property(path: u32, path_size: u32, data: u32, size: u32)
            |guest| properties::write(guest, Span(path, path_size), Span(data, size));
        proxy_continue_stream(direction: u32) |guest| stream::proceed(guest, direction);
        proxy_close_stream(direction: u32) |guest| stream::close(guest, direction);
        proxy_done() |guest| stream::done(guest);
        proxy_set_effective_context(context: u32) |guest| stream::act_on(guest, context);
        proxy_send_local_response(
            status: u32, details: u32, details_size: u32, body: u32, body_size: u32,
            headers: u32, headers_size: u32, grpc_status: i32
        ) |guest| {
            let parts = [Span(details, details_size), Span(body, body_size), Span(headers, headers_size)];
            stream::reply(guest, status, parts, grpc_status)
        };
    }
    Ok(())
}

fn services(linker: &mut Linker<Host>, allow: &Capabilities) -> wasmtime::Result<()> {
    env! { linker, allow;
        proxy_log(level: u32, text: u32, size: u32) |guest| service::log(guest, level, Span(text, size));
        proxy_get_log_level(level: u32) |guest| service::log_level(guest, level);
        proxy_get_current_time_nanoseconds(time: u32) |guest| service::now(guest, time);
        proxy_set_tick_period_milliseconds(period: u32) |guest| service::tick_period(guest, period);
        proxy_get_shared_data(key: u32, key_size: u32, data: u32, size: u32, cas: u32)
            |guest| service::shared_data(guest, Span(key, key_size), Out(data, size), cas);
        proxy_set_shared_data(key: u32, key_size: u32, data: u32, size: u32, cas: u32)
            |guest| service::set_shared_data(guest, Span(key, key_size), Span(data, size), cas);
        proxy_register_shared_queue(name: u32, size: u32, token: u32) |guest| queues::register(guest, Span(name, size), token);
        proxy_resolve_shared_queue(vm: u32, vm_size: u32, name: u32, size: u32, token: u32)
            |guest| queues::resolve(guest, Span(vm, vm_size), Span(name, size), token);
        proxy_enqueue_shared_queue(token: u32, data: u32, size: u32) |guest| queues::enqueue(guest, token, Span(data, size));
        proxy_dequeue_shared_queue(token: u32, data: u32, size: u32) |guest| queues::dequeue(guest, token, Out(data, size));
        proxy_define_metric(kind: u32, name: u32, size: u32, id: u32)
            |guest| metrics::define(guest, kind, Span(name, size), id);
        proxy_increment_metric(id: u32, by: i64) |guest| metrics::increment(guest, id, by);
        proxy_record_metric(id: u32, value: u64) |guest| metrics::record(guest, id, value);
        proxy_get_metric(id: u32, value: u32) |guest| metrics::value(guest, id, value);
        proxy_call_foreign_function(name: u32, name_size: u32, arguments: u32, arguments_size: u32, data: u32, size: u32)
            |guest| foreign::call(guest, Span(name, name_size), Span(arguments, arguments_size), Out(data, size));
        proxy_http_call(
            cluster: u32, cluster_size: u32, headers: u32, headers_size: u32, body: u32, body_size: u32,
            trailers: u32, trailers_size: u32, timeout: u32, token: u32
        ) |guest| {
            let parts = [
                Span(cluster, cluster_size), Span(headers, headers_size),
                Span(body, body_size), Span(trailers, trailers_size),
            ];
            calls::http_call(guest, parts, timeout, token)
        };
    }
    Ok(())
}

fn remote(linker: &mut Linker<Host>, allow: &Capabilities) -> wasmtime::Result<()> {
    env! { linker, allow;
        proxy_get_status(code: u32, data: u32, size: u32) |guest| grpc::status(guest, code, Out(data, size));
        proxy_grpc_cancel(call: u32) |guest| grpc::cancel(guest, call);
        proxy_grpc_close(call: u32) |guest| grpc::close(guest, call);
        proxy_grpc_send(call: u32, data: u32, size: u32, end: u32) |guest| grpc::message(guest, call, Span(data, size), end);
        proxy_grpc_stream(
            service: u32, service_size: u32, name: u32, name_size: u32, method: u32,
            method_size: u32, metadata: u32, metadata_size: u32, token: u32
        ) |guest| {
            let parts = [
                Span(service, service_size), Span(name, name_size),
                Span(method, method_size), Span(metadata, metadata_size),
            ];
            grpc::stream(guest, parts, token)
        };
        proxy_grpc_call(
            service: u32, service_size: u32, name: u32, name_size: u32, method: u32, method_size: u32,
            metadata: u32, metadata_size: u32, data: u32, size: u32, timeout: u32, token: u32
        ) |guest| {
            let parts = [
                Span(service, service_size), Span(name, name_size), Span(method, method_size),
                Span(metadata, metadata_size), Span(data, size),
            ];
            grpc::call(guest, parts, timeout, token)
        };
    }
    Ok(())
}

/// `name(arguments) |guest| errno;` for each function of WASI.
macro_rules! wasi {
    ($linker:ident, $allow:ident; $($name:ident($($arg:ident: $ty:ty),*) |$guest:ident| $body:expr;)*) => {
        $(
            if $allow.allow(stringify!($name)) {
                $linker.func_wrap(WASI, stringify!($name), |caller: Caller<'_, Host>, $($arg: $ty),*| {
                    let $guest = &mut Guest::new(caller);
                    let begun = trace::begin($guest, stringify!($name), &[$(trace::number($arg)),*]);
                    let result = $body;
                    trace::end($guest, begun, &result);
                    wasi::answer(result)
                })?;
            }
        )*
    };
}

fn system(linker: &mut Linker<Host>, allow: &Capabilities) -> wasmtime::Result<()> {
    wasi! { linker, allow;
        clock_time_get(clock: u32, _precision: u64, out: u32) |guest| wasi::clock(guest, clock, out);
        random_get(at: u32, length: u32) |guest| wasi::random(guest, at, length);
        environ_sizes_get(count: u32, size: u32) |guest| wasi::environ_sizes(guest, count, size);
        environ_get(pointers: u32, text: u32) |guest| wasi::environ(guest, pointers, text);
        args_sizes_get(count: u32, size: u32) |guest| wasi::no_arguments(guest, count, size);
        args_get(_pointers: u32, _text: u32) |_guest| Ok(0);
        fd_write(file: u32, pieces: u32, count: u32, written: u32)
            |guest| wasi::write(guest, file, Span(pieces, count), written);
        fd_read(_file: u32, _pieces: u32, _count: u32, _read: u32) |_guest| Ok(wasi::no_file());
        fd_seek(_file: u32, _offset: i64, _whence: u32, _out: u32) |_guest| Ok(wasi::no_file());
        fd_close(_file: u32) |_guest| Ok(wasi::no_file());
        fd_fdstat_get(_file: u32, _out: u32) |_guest| Ok(wasi::no_file());
        fd_prestat_get(_file: u32, _out: u32) |_guest| Ok(wasi::no_file());
        fd_prestat_dir_name(_file: u32, _path: u32, _size: u32) |_guest| Ok(wasi::no_file());
        sched_yield() |_guest| Ok(0);
    }
    if allow.allow("proc_exit") {
        linker.func_wrap(WASI, "proc_exit", wasi::exit)?;
    }
    Ok(())
}

fn restricted(guest: &Guest, name: &str) -> Answer {
    let text = format!("attempted call to restricted proxy-wasm capability {name}");
    guest.host().services.log(Level::Warn, &text);
    Err(Status::InternalFailure.into())
}
