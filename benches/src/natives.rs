//! Envoy's own filters that a user would run instead, as configuration.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use postern_rig::gateway::Config;
use serde_json::{Value, json};

const HTTP: &str = "type.googleapis.com/envoy.extensions.filters.http";

/// A filter that does nothing.
const TRIVIAL: &str = r#"(module
  (memory (export "memory") 2)
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "_initialize"))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) i32.const 4096)
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) i32.const 0)
  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) i32.const 0)
  (func (export "proxy_on_done") (param i32) (result i32) i32.const 1)
  (func (export "proxy_on_log") (param i32))
  (func (export "proxy_on_delete") (param i32)))"#;

/// Takes all WebAssembly out of a configuration, and puts `filter` before the router.
pub fn plain(config: &mut Config, filter: Option<Value>) -> Result<()> {
    let hcm = &mut config.listener("ingress")?["filter_chains"][0]["filters"][0]["typed_config"];
    hcm["access_log"] = json!([]);
    let filters = hcm["http_filters"].as_array_mut().context("http_filters")?;
    filters.retain(|filter| filter["name"] == "envoy.filters.http.router");
    ensure!(filters.len() == 1, "no router");
    filters.splice(0..0, filter);
    let clusters = config.document()["static_resources"]["clusters"].as_array_mut();
    for cluster in clusters.into_iter().flatten() {
        if let Some(options) = cluster["typed_extension_protocol_options"].as_object_mut() {
            options.values_mut().filter_map(Value::as_object_mut).for_each(|options| {
                options.remove("http_filters");
            });
        }
    }
    Ok(())
}

fn filter(name: &str, kind: &str, mut config: Value) -> Value {
    config["@type"] = json!(format!("{HTTP}.{kind}"));
    json!({"name": format!("envoy.filters.http.{name}"), "typed_config": config})
}

/// Asks a server on loopback, which always agrees.
pub fn ext_authz() -> Value {
    let uri = json!({"uri": "http://judge.test", "cluster": "judge", "timeout": "2s"});
    let config = json!({"transport_api_version": "V3", "http_service": {"server_uri": uri}});
    filter("ext_authz", "ext_authz.v3.ExtAuthz", config)
}

/// This key among a hundred.
pub fn api_key_auth(key: &[u8]) -> Value {
    let key = String::from_utf8_lossy(key).into_owned();
    let others = (0..99).map(|index| format!("pk_another_{index:032}"));
    let credentials: Vec<Value> = others
        .chain([key])
        .enumerate()
        .map(|(index, key)| json!({"key": key, "client": format!("client-{index}")}))
        .collect();
    let sources = json!([{"header": "x-tap-key"}]);
    let config = json!({"credentials": credentials, "key_sources": sources});
    filter("api_key_auth", "api_key_auth.v3.ApiKeyAuth", config)
}

/// Sets `authorization` to a secret of the bootstrap.
pub fn credential_injector() -> Value {
    let generic = json!({
        "@type": "type.googleapis.com/envoy.extensions.http.injected_credentials.generic.v3.Generic",
        "credential": {"name": "injected"}});
    let credential =
        json!({"name": "envoy.http.injected_credentials.generic", "typed_config": generic});
    let config = json!({"overwrite": true, "credential": credential});
    filter("credential_injector", "credential_injector.v3.CredentialInjector", config)
}

/// The secret that it injects.
pub fn secrets(config: &mut Config) {
    config.document()["static_resources"]["secrets"] = json!([{"name": "injected", "generic_secret": {"secret": {"inline_string": "Bearer bench"}}}]);
}

/// Sets one field.
pub fn lua() -> Value {
    let code = "function envoy_on_request(handle) handle:headers():replace('x-a', 'b') end";
    let config = json!({"default_source_code": {"inline_string": code}});
    filter("lua", "lua.v3.Lua", config)
}

/// Tokens that these keys signed for the issuer of scenarios; so many are kept, if any.
pub fn jwt_authn(keys: &Value, cache: Option<usize>) -> Value {
    let mut provider = json!({
        "issuer": "https://issuer.test", "audiences": ["https://gateway.test"],
        "from_headers": [{"name": "authorization", "value_prefix": "Bearer "}],
        "local_jwks": {"inline_string": keys.to_string()}});
    if let Some(size) = cache {
        provider["jwt_cache_config"] = json!({"jwt_cache_size": size});
    }
    let rule = json!({"match": {"prefix": "/"}, "requires": {"provider_name": "issuer"}});
    let config = json!({"providers": {"issuer": provider}, "rules": [rule]});
    filter("jwt_authn", "jwt_authn.v3.JwtAuthentication", config)
}

/// The filter that does nothing, put into a file of `folder`.
pub fn wasm(folder: &Path) -> Result<Value> {
    let file = folder.join("trivial.wasm");
    postern_files::write_atomic(&file, &wat::parse_str(TRIVIAL)?)?;
    let code = json!({"local": {"filename": file.display().to_string()}});
    let vm = json!({"vm_id": "trivial", "runtime": "envoy.wasm.runtime.v8", "code": code});
    let config = json!({"config": {"name": "trivial", "vm_config": vm}});
    Ok(filter("wasm", "wasm.v3.Wasm", config))
}
