//! The server: TLS on loopback for the vault, plain HTTP for the machine's identity.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::authority::Authority;
use crate::operations::{Answer, Asked, Key, refusal};

/// In which way the vault errs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trick {
    /// In none.
    #[default]
    None,
    /// This status, with so many seconds to wait.
    Status(u16, Option<u64>),
    /// This status so often, and then as it should be.
    First(u16, u32),
    /// No answer.
    Slow,
    /// Half an answer.
    Truncated,
    /// More than anybody reads.
    Oversized,
    /// Not JSON.
    NotJson,
    /// Does not look at the key's attributes.
    Blind,
    /// Says another key.
    OtherKey,
    /// Says another wrapping.
    OtherWrapping,
    /// Says the nonce.
    EchoNonce,
    /// Says another nonce.
    OtherNonce,
    /// Cuts the wrapped key to this length.
    ShortCiphertext(usize),
    /// One bit of the wrapped key.
    BrokenWrap,
    /// Signs by another algorithm, or says so.
    Algorithm(&'static str),
    /// Signs in the name of another host.
    OtherHost,
    /// Signs under a certificate of last decade.
    ExpiredChain,
    /// Signs under an authority of nobody.
    StrangeChain,
    /// Sends no certificates.
    NoChain,
    /// Critical header members.
    Critical,
    /// Another payload than was signed.
    ChangedPayload,
    /// No signature.
    TwoParts,
}

struct Shared {
    authority: Authority,
    keys: Mutex<HashMap<String, Key>>,
    trick: Mutex<Trick>,
    asked: Mutex<Vec<String>>,
    tokens: Mutex<u32>,
    now: fn() -> u64,
}

/// Serves until the process ends. Clones are the same server.
#[derive(Clone)]
pub struct VaultServer {
    vault: SocketAddr,
    identity: SocketAddr,
    shared: Arc<Shared>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl VaultServer {
    /// Starts on free ports, at this time.
    #[must_use]
    pub fn start(now: fn() -> u64) -> Self {
        let [vault, identity] = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let at = |listener: &TcpListener| listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            authority: Authority::new(),
            keys: Mutex::default(),
            trick: Mutex::default(),
            asked: Mutex::default(),
            tokens: Mutex::default(),
            now,
        });
        let server = Self { vault: at(&vault), identity: at(&identity), shared };
        let tls = server.shared.authority.tls();
        let own = server.clone();
        std::thread::spawn(move || own.serve_vault(&vault, &tls));
        let own = server.clone();
        std::thread::spawn(move || own.serve_identity(&identity));
        server
    }

    /// Puts a key there.
    pub fn put(&self, name: &str, key: Key) {
        lock(&self.shared.keys).insert(format!("{name}/1"), key);
    }

    /// Changes a key.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut Key)) {
        lock(&self.shared.keys).get_mut(&format!("{name}/1")).map(change);
    }

    /// Destroys a key.
    pub fn delete(&self, name: &str) {
        lock(&self.shared.keys).remove(&format!("{name}/1"));
    }

    /// From now on the vault errs like this.
    pub fn play(&self, trick: Trick) {
        *lock(&self.shared.trick) = trick;
    }

    /// Operations that were asked for, in order; and forgets them.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.shared.asked))
    }

    /// From now on no token that was given before is accepted.
    pub fn forget_tokens(&self) {
        *lock(&self.shared.tokens) += 1;
    }

    /// `https://localhost:PORT/keys/NAME/1`.
    #[must_use]
    pub fn kid(&self, name: &str) -> String {
        format!("https://localhost:{}/keys/{name}/1", self.vault.port())
    }

    /// Where the machine's identity is.
    #[must_use]
    pub fn identity(&self) -> String {
        format!("http://{}", self.identity)
    }

    /// DER of the authority to trust.
    #[must_use]
    pub fn root(&self) -> Vec<u8> {
        self.shared.authority.root()
    }

    /// PEM of the authority to trust.
    #[must_use]
    pub fn root_pem(&self) -> String {
        self.shared.authority.root_pem()
    }

    fn serve_vault(&self, listener: &TcpListener, tls: &Arc<ServerConfig>) {
        for stream in listener.incoming().flatten() {
            let (own, tls) = (self.clone(), Arc::clone(tls));
            std::thread::spawn(move || {
                let connection = ServerConnection::new(tls).expect("a connection");
                own.exchange(StreamOwned::new(connection, stream)).unwrap_or_default();
            });
        }
    }

    fn exchange(&self, stream: StreamOwned<ServerConnection, TcpStream>) -> std::io::Result<()> {
        stream.sock.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut reader = BufReader::new(stream);
        let request = Request::read(&mut reader)?;
        let trick = lock(&self.shared.trick).clone();
        let (status, answer) = self.answer(&request, &trick);
        let mut text = answer.to_string();
        match trick {
            // Until the client gives up.
            Trick::Slow => return reader.read(&mut [0]).map(drop),
            Trick::Oversized => text = format!("\"{}\"", "x".repeat(100 << 10)),
            Trick::NotJson => text = "<html>".to_owned(),
            _ => {}
        }
        let length = text.len();
        if trick == Trick::Truncated {
            text.truncate(length / 2);
        }
        let wait = match trick {
            Trick::Status(_, Some(seconds)) => format!("retry-after: {seconds}\r\n"),
            _ => String::new(),
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{wait}\
             content-length: {length}\r\nconnection: close\r\n\r\n"
        );
        let mut stream = reader.into_inner();
        stream.write_all([head, text].concat().as_bytes())?;
        stream.flush()?;
        stream.conn.send_close_notify();
        stream.flush()
    }

    fn answer(&self, request: &Request, trick: &Trick) -> Answer {
        let target = request.target.strip_suffix("?api-version=7.4");
        let Some(target) = target.and_then(|path| path.strip_prefix("/keys/")) else {
            return refusal(400, "BadParameter");
        };
        let Some((key, operation)) = target.rsplit_once('/') else {
            return refusal(404, "NotFound");
        };
        lock(&self.shared.asked).push(format!("{operation} {key}"));
        if let Some(status) = self.status(trick) {
            return refusal(status, "Configured");
        }
        if request.authorization != format!("Bearer token-{}", *lock(&self.shared.tokens)) {
            return refusal(401, "Unauthorized");
        }
        let Some(found) = lock(&self.shared.keys).get(key).cloned() else {
            return refusal(404, "KeyNotFound");
        };
        let kid = format!("https://localhost:{}/keys/{key}", self.vault.port());
        let asked = Asked {
            key: &found,
            kid: &kid,
            body: &request.body,
            trick,
            authority: &self.shared.authority,
            now: (self.shared.now)(),
        };
        asked.answer(operation)
    }

    fn status(&self, trick: &Trick) -> Option<u16> {
        match *trick {
            Trick::Status(status, _) => Some(status),
            Trick::First(status, left) => {
                self.play(match left {
                    0 | 1 => Trick::None,
                    _ => Trick::First(status, left - 1),
                });
                Some(status)
            }
            _ => None,
        }
    }

    fn serve_identity(&self, listener: &TcpListener) {
        for stream in listener.incoming().flatten() {
            self.identify(stream).unwrap_or_default();
        }
    }

    fn identify(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut reader = BufReader::new(stream);
        let request = Request::read(&mut reader)?;
        lock(&self.shared.asked).push("identity".to_owned());
        let known = request.target.starts_with(
            "/metadata/identity/oauth2/token?api-version=2018-02-01\
             &resource=https://vault.azure.net",
        );
        let (status, answer) = match known && request.metadata {
            true => {
                let token = format!("token-{}", *lock(&self.shared.tokens));
                (200, json!({"access_token": token, "expires_in": "86399", "token_type": "Bearer"}))
            }
            false => (400, json!({"error": "invalid_request"})),
        };
        let text = answer.to_string();
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            text.len()
        );
        reader.into_inner().write_all([head, text].concat().as_bytes())
    }
}

struct Request {
    target: String,
    authorization: String,
    metadata: bool,
    body: Value,
}

impl Request {
    fn read(reader: &mut impl BufRead) -> std::io::Result<Self> {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let (mut length, mut authorization, mut metadata) = (0, String::new(), false);
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap_or(0),
                "authorization" => value.clone_into(&mut authorization),
                "metadata" => metadata = value == "true",
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Ok(Self { target, authorization, metadata, body })
    }
}
