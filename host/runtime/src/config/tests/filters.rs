//! What an entry of `http_filters` may say.

use super::super::*;
use super::parts::{read, refuse};

const DECOMPRESSOR: &str =
    "type.googleapis.com/envoy.extensions.filters.http.decompressor.v3.Decompressor";

fn decompressor(library: &str, more: &str) -> String {
    format!(
        "{{name: d, typed_config: {{\"@type\": {DECOMPRESSOR}, decompressor_library: {library}{more}}}}}, "
    )
}

fn library(kind: &str, more: &str) -> String {
    let package = kind.to_ascii_lowercase();
    format!(
        "{{name: lib, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.compression.{package}.decompressor.v3.{kind}{more}}}}}"
    )
}

fn discovered(more: &str) -> String {
    format!("{{name: f, config_discovery: {{{more}}}}}, ")
}

const SOURCE: &str = "config_source: {path_config_source: {path: /f.yaml}}";
const URLS: &str = "type_urls: [type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm]";

fn first(filters: &str) -> FilterKind {
    read("FILTERS", filters).unwrap().listeners[0].http.filters[0].kind.clone()
}

#[test]
fn decompressors_are_understood_with_the_defaults_of_envoy() {
    let FilterKind::Decompressor(plain) = first(&decompressor(&library("Gzip", ""), "")) else {
        panic!()
    };
    let usual = DirectionConfig { enabled: true, ignore_no_transform: false };
    assert_eq!((plain.request, plain.response, plain.advertise), (usual, usual, true));
    let want = Library { name: "lib".into(), coding: Coding::Gzip, ratio: 100, chunk: 4096 };
    assert_eq!(plain.library, want);
    let more = ", request_direction_config: {advertise_accept_encoding: false, common_config: \
                {enabled: {default_value: false, runtime_key: r}}}, response_direction_config: \
                {common_config: {ignore_no_transform_header: true}}";
    let FilterKind::Decompressor(said) = first(&decompressor(&library("Zstd", ""), more)) else {
        panic!()
    };
    assert!(!said.advertise && !said.request.enabled && said.response.ignore_no_transform);
    assert_eq!(said.library.coding, Coding::Zstd);
}

#[test]
fn what_a_filter_may_not_say_is_a_problem() {
    let gzip = library("Gzip", "");
    let rows = [
        (decompressor(&gzip, ", x: 1"), "x: this gateway does not know"),
        (decompressor(&gzip, ", response_direction_config: {x: 1}"), "x: this gateway does not"),
        (decompressor(&library("Gzip", ", window_bits: 9"), ""), "window_bits: this gateway"),
        (decompressor(&library("Gzip", ", max_inflate_ratio: 0"), ""), "a ratio from 1 to 1032"),
        (decompressor(&library("Gzip", ", chunk_size: 1"), ""), "a size from 4096 to 65536"),
        (decompressor(&library("Brotli", ", max_inflate_ratio: 9"), ""), "max_inflate_ratio: this"),
        (decompressor(&library("Zstd", ", dictionaries: []"), ""), "dictionaries: this gateway"),
        (decompressor(&library("Snappy", ""), ""), "the decompressor of gzip, brotli or zstd"),
        (decompressor(&gzip.replace("lib", "'a b'"), ""), "a name that can stand in a field's"),
        (discovered(SOURCE), "expected type_urls"),
        (discovered(URLS), "expected config_source"),
        (discovered(&format!("{SOURCE}, type_urls: [x]")), "type_urls: expected type.googleapis"),
        (
            discovered(&format!(
                "config_source: {{ads: {{}}, path_config_source: {{path: /f}}}}, {URLS}"
            )),
            "ads: this gateway does not know",
        ),
        (
            discovered(&format!(
                "config_source: {{path_config_source: {{path: /f, watched_directory: {{path: /}}}}}}, {URLS}"
            )),
            "watched_directory: this gateway does not know",
        ),
        (
            format!("{{name: f, typed_config: {{}}, config_discovery: {{{SOURCE}, {URLS}}}}}, "),
            "either typed_config or config_discovery",
        ),
        ("{name: f, disabled: true, typed_config: {\"@type\": x}}, ".to_owned(), "disabled: this"),
    ];
    let rows: Vec<(&str, &str, &str)> =
        rows.iter().map(|(text, message)| ("FILTERS", text.as_str(), *message)).collect();
    let (last, rows) = rows.split_last().unwrap();
    refuse(rows);
    // Its type is a problem of its own.
    let Problems(found) = read("FILTERS", last.1).unwrap_err();
    assert!(found.iter().any(|problem| problem.path.ends_with("disabled")), "{found:#?}");
}

#[test]
fn a_cluster_decompresses_nothing_as_in_envoy() {
    const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let filters = decompressor(&library("Gzip", ""), "");
    let cluster = format!(
        "type: STATIC, load_assignment: {{cluster_name: up, endpoints: [{{lb_endpoints: [{{endpoint: \
         {{address: {{socket_address: {{address: 127.0.0.1, port_value: 1}}}}}}}}]}}]}}, \
         typed_extension_protocol_options: {{{OPTIONS}: {{\"@type\": type.googleapis.com/{OPTIONS}, \
         explicit_http_config: {{http_protocol_options: {{}}}}, http_filters: [{filters}{{name: c, \
         typed_config: {{\"@type\": \
         type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec}}}}]}}}}"
    );
    refuse(&[("CLUSTER", &cluster, "http_filters[0]: expected a Wasm filter")]);
}

/// A resource for a filter called `f`, with a module.
pub fn resource(name: &str, more: &str) -> String {
    format!(
        "{{version_info: '1', resources: [{{\"@type\": \
         type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig, name: {name}, typed_config: \
         {{\"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm, config: {{name: p, \
         failure_policy: FAIL_CLOSED{more}, vm_config: {{vm_id: v, runtime: envoy.wasm.runtime.v8, \
         code: {{local: {{filename: m.wasm}}}}}}}}}}}}]}}"
    )
}

#[test]
fn a_filter_in_a_file_of_its_own_is_understood() {
    let FilterKind::Discovered(filter) = first(&discovered(&format!("{SOURCE}, {URLS}"))) else {
        panic!()
    };
    assert_eq!((filter.path.as_str(), filter.current), ("/f.yaml", None));
    let plugin = super::super::discovered(&resource("f", ""), "f").unwrap();
    assert_eq!((plugin.name.as_str(), plugin.module.as_str()), ("p", "m.wasm"));
}

#[test]
fn what_such_a_file_may_not_say_is_a_problem() {
    for (text, message) in [
        (resource("g", ""), "the filter's name \"f\""),
        (resource("f", ", fail_open: true"), "does not know this field"),
        ("resources: []".to_owned(), "resources with exactly one entry"),
        ("a: [".to_owned(), ""),
    ] {
        let Problems(found) = super::super::discovered(&text, "f").unwrap_err();
        assert!(found.iter().any(|problem| problem.message.contains(message)), "{found:#?}");
    }
}
