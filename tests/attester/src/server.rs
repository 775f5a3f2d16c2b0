//! A server of Azure Attestation's REST shape (`POST /attest/SevSnpVm`, `GET /certs`) that
//! checks what it is sent and really signs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use serde_json::{Value, json};

use crate::{claims, header, hex, maa_key, sha256, token};

/// Serves on 127.0.0.1 until the process ends.
#[derive(Clone, Debug)]
pub struct MaaServer {
    address: SocketAddr,
    status: Arc<AtomicU16>,
    asked: Arc<AtomicUsize>,
}

impl MaaServer {
    /// Starts on a free port; tokens are issued at `now`.
    ///
    /// # Panics
    /// When there is no port.
    #[must_use]
    pub fn start(now: fn() -> u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (status, asked) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicUsize::new(0)));
        let server = Self { address, status, asked };
        let own = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                own.serve(stream, now()).unwrap_or_default();
            }
        });
        server
    }

    /// `http://127.0.0.1:…`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on every request to attest is answered with this status.
    pub fn fail(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// Requests to attest so far.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn serve(&self, stream: TcpStream, now: u64) -> std::io::Result<()> {
        stream.set_read_timeout(Some(std::time::Duration::from_secs(5)))?;
        let mut reader = BufReader::new(stream);
        let (mut line, mut length, mut content_type) = (String::new(), 0, String::new());
        reader.read_line(&mut line)?;
        let target = line.clone();
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let field = line.trim_end().to_ascii_lowercase();
            if field.is_empty() {
                break;
            }
            if let Some(value) = field.strip_prefix("content-length: ") {
                length = value.parse().unwrap_or(0);
            }
            if let Some(value) = field.strip_prefix("content-type: ") {
                content_type = value.to_owned();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let (status, answer) = self.answer(&target, &content_type, &body, now);
        let answer = answer.to_string();
        let mut stream = reader.into_inner();
        write!(
            stream,
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n{answer}",
            answer.len()
        )
    }

    fn answer(&self, target: &str, content_type: &str, body: &[u8], now: u64) -> (u16, Value) {
        let error =
            |status: u16, code: &str| (status, json!({"error": {"code": code, "message": "no"}}));
        if target.starts_with("GET /certs ") {
            return (200, json!({"keys": [maa_key()]}));
        }
        if !target.starts_with("POST /attest/SevSnpVm?api-version=2022-08-01 ") {
            return error(404, "NotFound");
        }
        self.asked.fetch_add(1, Ordering::SeqCst);
        let status = self.status.load(Ordering::SeqCst);
        if status != 200 {
            return error(status, "Configured");
        }
        if content_type != "application/json" {
            return error(415, "UnsupportedMediaType");
        }
        match attest(body, now) {
            Some(token) => (200, json!({"token": token})),
            None => error(400, "InvalidParameter"),
        }
    }
}

/// A token about the report, if the report binds the runtime data and there is a chain.
fn attest(body: &[u8], now: u64) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let bytes = |value: &Value| B64.decode(value.as_str()?).ok();
    let inner: Value = serde_json::from_slice(&bytes(&body["report"])?).ok()?;
    let report = bytes(&inner["SnpReport"]).filter(|report| report.len() == 1184)?;
    let chain = String::from_utf8(bytes(&inner["VcekCertChain"])?).ok()?;
    let endorsements: Value = serde_json::from_slice(&bytes(&inner["Endorsements"])?).ok()?;
    bytes(&endorsements["Uvm"][0])?;
    let runtime = bytes(&body["runtimeData"]["data"])?;
    let json_type = body["runtimeData"]["dataType"] == "JSON";
    let chained = chain.matches("BEGIN CERTIFICATE").count() == 3;
    if !json_type || !chained || report[0x50..0x70] != sha256(&runtime) {
        return None;
    }
    let mut claims = claims(&runtime, now);
    claims["x-ms-sevsnpvm-hostdata"] = hex(&report[0xc0..0xe0]).into();
    claims["x-ms-sevsnpvm-launchmeasurement"] = hex(&report[0x90..0xc0]).into();
    claims["x-ms-sevsnpvm-reportdata"] = hex(&report[0x50..0x90]).into();
    claims["x-ms-sevsnpvm-is-debuggable"] = (report[0x0a] & 8 != 0).into();
    Some(token(&header(), &claims))
}
