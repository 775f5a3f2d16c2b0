//! The gateway on its sockets.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use postern_runtime::config::Gateway;
use postern_runtime::engine::VmSettings;
use postern_runtime::serve::{Options, Running, ServeError, start};

const SHIPPED: &str = include_str!("../../../envoy/envoy.yaml");
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
const PATIENCE: Duration = Duration::from_secs(20);

fn options() -> Options {
    let vm = VmSettings { deadline: Duration::from_secs(5), ..VmSettings::default() };
    Options { environment: Arc::new(|_| Some(KEY.to_owned())), vm, ..Options::default() }
}

/// The shipped file on ports that the system chooses, with the modules of this build and
/// without TLS towards upstreams, whose files are an operator's.
fn shipped(upstream: u16) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/plugins");
    SHIPPED
        .replace("target/plugins/", &format!("{}/", folder.display()))
        .replace("port_value: 9901", "port_value: 0")
        .replace("port_value: 10000", "port_value: 0")
        .replace("port_value: 9000", &format!("port_value: {upstream}"))
        .replace("/etc/postern/keys-ca.pem", "/etc/ssl/certs/ca-certificates.crt")
}

fn serve(text: &str) -> Result<Running, ServeError> {
    start(Gateway::parse(text).unwrap(), options())
}

/// Everything that comes back until the gateway closes.
fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

#[test]
fn a_caller_without_a_key_is_told_so_over_a_socket() {
    let running = serve(&shipped(9)).unwrap();
    let address = running.report().listeners[0].address;
    for _ in 0..3 {
        let answer =
            ask(address, "GET /api/a HTTP/1.1\r\nhost: local.test\r\nconnection: close\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        assert!(answer.contains("credentials_missing"), "{answer}");
    }
    running.stop(Duration::from_secs(1));
}
