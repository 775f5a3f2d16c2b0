//! A gateway with one module and one scripted upstream, on sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use super::bootstrap::{Parts, bootstrap};
use postern_runtime::config::Gateway;
use postern_runtime::engine::VmSettings;
use postern_runtime::serve::{Options, Running};

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A gateway whose listener has this module as its one filter.
pub fn start(module: &str, upstream: u16) -> Running {
    start_with(module, upstream, "failure_policy: FAIL_CLOSED", 1)
}

/// The same with more of the plugin's configuration, and with several workers.
pub fn start_with(module: &str, upstream: u16, plugin: &str, workers: usize) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("module.wasm");
    postern_files::write_atomic(&file, &super::wat(module)).unwrap();
    let gateway = Gateway::parse(&config(&file, upstream, plugin)).unwrap();
    let vm = VmSettings { deadline: Duration::from_secs(5), ..VmSettings::default() };
    let options = Options { vm, workers, ..Options::default() };
    postern_runtime::serve::start(gateway, options).unwrap()
}

fn config(module: &Path, upstream: u16, plugin: &str) -> String {
    let filters = format!(
        r#"
          - name: module
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
              config:
                name: module
                {plugin}
                vm_config:
                  vm_id: module
                  runtime: envoy.wasm.runtime.v8
                  code: {{local: {{filename: {}}}}}"#,
        module.display()
    );
    let manager = "stream_idle_timeout: 60s";
    bootstrap(&Parts { manager, filters: &filters, route: "timeout: 60s", cluster: "" }, upstream)
}

/// Where it listens.
pub fn front(running: &Running) -> SocketAddr {
    running.report().listeners[0].address
}

/// Everything that comes back until the gateway closes.
pub fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// An upstream that gives one answer to one request, once its head has come, and reads on
/// until the gateway closes; it ends with what it has read.
pub fn upstream(answer: impl Into<Vec<u8>>) -> (u16, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = answer.into();
    let serve = move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (mut read, mut answered) = (Vec::new(), false);
        let mut some = [0; 4096];
        while let Ok(count) = stream.read(&mut some)
            && count > 0
        {
            read.extend_from_slice(&some[..count]);
            if !answered && read.windows(4).any(|four| four == b"\r\n\r\n") {
                answered = true;
                stream.write_all(&answer).unwrap();
            }
        }
        read
    };
    (port, std::thread::spawn(serve))
}
