//! Machines for Proxy-Wasm modules on wasmtime.
