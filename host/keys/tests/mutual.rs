//! Client certificates at the service's port: who is let in to what.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use postern_keys::config::{Clients, Require};
use postern_keys::http::{self, Running};
use postern_keys::tls;
use postern_rig::authority::{Authority, DnType, Identity};
use postern_rig::tls::TlsClient;
use support::*;

const NAME: &str = "gateway-1.acme.test";
const URI: &str = "spiffe://acme.test/gateway";
const PATHS: [&str; 3] = ["/health", "/api/v1/keys", "/crp/v1/evidence"];

/// A handshake that is refused.
const NONE: u16 = 0;

struct Port {
    world: World,
    running: Running,
    roots: String,
}

impl Port {
    async fn open(authority: &Authority, require: Require, names: &[&str]) -> Self {
        let world = World::on_disk().await;
        let ca = world.dir.path().join("clients.pem");
        postern_files::write_atomic(&ca, authority.root_pem().as_bytes()).unwrap();
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let mut config = world.config.clone();
        config.clients = Some(Clients { ca, require, names });
        let running = http::start(world.service.clone(), &config).await.unwrap();
        let roots = std::fs::read_to_string(tls::authority_file(&config).unwrap()).unwrap();
        Self { world, running, roots }
    }

    /// The status of each path, for who shows this.
    fn statuses(&self, identity: Option<&Identity>) -> [u16; 3] {
        let patience = Duration::from_secs(10);
        let client = TlsClient { roots: &self.roots, identity, name: "localhost", patience };
        PATHS.map(|path| {
            let head =
                format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
            let answer = client.ask(self.running.address().port(), head.as_bytes());
            let answer = String::from_utf8(answer.unwrap_or_default()).unwrap();
            answer.get(9..12).map_or(NONE, |status| status.parse().unwrap())
        })
    }
}

fn of(authority: &Authority, names: &[&str]) -> Identity {
    authority.identity(&[(DnType::CommonName, "gateway")], names).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_good_certificate_is_let_in_to_the_protocol() {
    let (authority, stranger) = (Authority::new().unwrap(), Authority::new().unwrap());
    let good = of(&authority, &[NAME]);
    let uri = of(&authority, &["other.test", URI]);
    let other = of(&authority, &["gateway-1.acme.test.evil.test", "spiffe://acme.test/gateway/2"]);
    let wildcard = of(&authority, &["*.acme.test"]);
    let (ended, unknown) = (authority.ended(NAME).unwrap(), of(&stranger, &[NAME]));
    let refused = [NONE; 3];
    for (require, without) in [(Require::Crp, [200, 401, 403]), (Require::All, refused)] {
        let port = Port::open(&authority, require, &[NAME, URI]).await;
        for (what, identity, statuses) in [
            ("none", None, without),
            ("good", Some(&good), [200, 401, 200]),
            ("good by its URI", Some(&uri), [200, 401, 200]),
            ("of another name", Some(&other), refused),
            ("with a wildcard", Some(&wildcard), refused),
            ("expired", Some(&ended), refused),
            ("of another authority", Some(&unknown), refused),
        ] {
            let got = tokio::task::block_in_place(|| port.statuses(identity));
            assert_eq!(got, statuses, "{require:?}: {what}");
        }
        port.running.stop().await;
        drop(port.world);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_names_every_certificate_of_the_authority_is_good() {
    let authority = Authority::new().unwrap();
    let port = Port::open(&authority, Require::Crp, &[]).await;
    let any = of(&authority, &["any.test"]);
    assert_eq!(tokio::task::block_in_place(|| port.statuses(Some(&any))), [200, 401, 200]);
    port.running.stop().await;
}

#[tokio::test]
async fn authorities_that_are_none_keep_the_service_from_starting() {
    let world = World::on_disk().await;
    let ca = world.dir.path().join("clients.pem");
    let mut config = world.config.clone();
    config.clients = Some(Clients { ca: ca.clone(), require: Require::Crp, names: Vec::new() });
    assert!(http::start(world.service.clone(), &config).await.is_err());
    postern_files::write_atomic(&ca, b"no certificate").unwrap();
    assert!(http::start(world.service.clone(), &config).await.is_err());
}

/// A ClientHello of TLS 1.1 (RFC 4346, 7.4.1.2) with one cipher suite.
fn old_hello() -> Vec<u8> {
    let body = [&[0x03, 0x02][..], &[7; 32], &[0], &[0, 2, 0x00, 0x2f], &[1, 0]].concat();
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
    let hello = [&[1, 0, 0, length(&body)][..], &body].concat();
    [&[0x16, 0x03, 0x01, 0, length(&hello)][..], &hello].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_1_1_gets_an_alert() {
    let authority = Authority::new().unwrap();
    let port = Port::open(&authority, Require::Crp, &[]).await;
    let address = port.running.address();
    let answer = tokio::task::block_in_place(|| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&old_hello()).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    });
    // 21 is an alert; a handshake that goes on would begin with 22.
    assert_eq!(answer.first(), Some(&21));
    port.running.stop().await;
}
