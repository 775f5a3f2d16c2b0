//! A registry on this machine (OCI distribution-spec 1.1), over plain HTTP.
//!
//! Owns pushing a layout's images and pulling them back. Invariant: no other machine is spoken
//! to and no password is known here; for a registry elsewhere there are tools that log in and
//! read the same layouts.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use ureq::Agent;
use ureq::http::Response;
use ureq::http::header::{ACCEPT, CONTENT_TYPE, LOCATION};

use super::image::{self, MANIFEST};
use super::{Files, Module, agent, digest, images};
use crate::run::Failure;

/// Largest blob that is pulled.
const LARGEST: u64 = 64 << 20;
const BYTES: &str = "application/octet-stream";

/// A registry and the path below which its repositories are.
pub struct Registry {
    address: String,
    path: String,
    agent: Agent,
}

impl Registry {
    /// Reads `HOST:PORT/PATH`, with an address of this machine.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || Failure::usage(format!("--push {text}: expected 127.0.0.1:PORT/PATH"));
        let (address, path) = text.split_once('/').ok_or_else(wrong)?;
        let here = match address.parse::<SocketAddr>() {
            Ok(address) => address.ip().is_loopback(),
            Err(_) if address.parse::<IpAddr>().is_ok() => return Err(wrong()),
            Err(_) => false,
        };
        if !here {
            let text = "only a registry on this machine is pushed to; for another one: \
                        skopeo copy oci:DIR/gate:VERSION docker://HOST/PATH/gate:VERSION";
            return Err(Failure::usage(text));
        }
        let word = |word: &str| {
            let good =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            !word.is_empty() && word.bytes().all(good)
        };
        if !path.split('/').all(word) {
            return Err(wrong());
        }
        let config = Agent::config_builder().proxy(None).http_status_as_error(false);
        let agent = Agent::new_with_config(config.build());
        Ok(Self { address: address.to_owned(), path: path.to_owned(), agent })
    }

    /// Pushes a module's images, pulls each back and finds the module in it as a gateway would;
    /// how a gateway would name them.
    pub fn round_trip(&self, module: &Module, layout: &Files) -> Result<Vec<String>> {
        let named = layout.iter().map(|(name, bytes)| (format!("x/{name}"), bytes.clone()));
        let mut pushed = Vec::new();
        for (tag, digest) in images(&named.collect(), "x") {
            let repository = format!("{}/{}", self.path, module.name);
            let image = format!("{}/{repository}:{tag}@{digest}", self.address);
            self.push(&repository, &tag, layout, &digest).with_context(|| image.clone())?;
            let found = self.pull(&repository, &tag, module, layout);
            let found = found.with_context(|| format!("{image}, pulled back"))?;
            if found != module.bytes {
                return Err(Failure::found(format!("{image}: has another module")));
            }
            pushed.push(image);
        }
        Ok(pushed)
    }

    fn push(&self, repository: &str, tag: &str, layout: &Files, digest: &str) -> Result<()> {
        let manifest = layout.get(&image::blob_file(digest)).context("no manifest")?;
        let value: Value = serde_json::from_slice(manifest)?;
        let layers = value["layers"].as_array().map(Vec::as_slice).unwrap_or_default();
        for part in layers.iter().chain([&value["config"]]) {
            let digest = part["digest"].as_str().context("no digest")?;
            let blob = layout.get(&image::blob_file(digest)).context("no blob")?;
            self.push_blob(repository, digest, blob)?;
        }
        let url = self.url(repository, &format!("manifests/{tag}"));
        let put = self.agent.put(url).header(CONTENT_TYPE, MANIFEST).send(manifest.as_slice());
        expected(&put?, 201)
    }

    /// In one piece (distribution-spec, "POST then PUT").
    fn push_blob(&self, repository: &str, digest: &str, blob: &[u8]) -> Result<()> {
        let there = self.agent.head(self.url(repository, &format!("blobs/{digest}"))).call()?;
        if there.status() == 200 {
            return Ok(());
        }
        let begun = self.agent.post(self.url(repository, "blobs/uploads/")).send_empty()?;
        expected(&begun, 202)?;
        let place = begun.headers().get(LOCATION).context("no location")?.to_str()?;
        // Absolute, or a path on the registry.
        let path = place.strip_prefix(&format!("http://{}", self.address)).unwrap_or(place);
        ensure!(path.starts_with('/'), "the registry sends the upload to {place}");
        let mark = if path.contains('?') { '&' } else { '?' };
        let url = format!("http://{}{path}{mark}digest={digest}", self.address);
        expected(&self.agent.put(url).header(CONTENT_TYPE, BYTES).send(blob)?, 201)
    }

    /// The module in an image by its tag; every byte is as it was pushed.
    fn pull(&self, repository: &str, tag: &str, module: &Module, sent: &Files) -> Result<Vec<u8>> {
        let manifest = self.fetch(repository, &format!("manifests/{tag}"))?;
        same(sent, &digest(&manifest), &manifest)?;
        let blob = |name: &str| {
            let bytes = self.fetch(repository, &format!("blobs/{name}"))?;
            same(sent, name, &bytes)?;
            Ok(bytes)
        };
        let manifest: Value = serde_json::from_slice(&manifest)?;
        let layers = manifest["layers"].as_array().context("no layers")?;
        for part in layers.iter().chain([&manifest["config"]]) {
            blob(part["digest"].as_str().context("no digest")?)?;
        }
        if module.is_component() {
            return blob(layers.first().and_then(|it| it["digest"].as_str()).context("no layer")?);
        }
        agent::module(&manifest, &blob)
    }

    fn fetch(&self, repository: &str, what: &str) -> Result<Vec<u8>> {
        let got = self.agent.get(self.url(repository, what)).header(ACCEPT, MANIFEST).call()?;
        expected(&got, 200)?;
        Ok(got.into_body().with_config().limit(LARGEST).read_to_vec()?)
    }

    fn url(&self, repository: &str, what: &str) -> String {
        format!("http://{}/v2/{repository}/{what}", self.address)
    }
}

fn expected<B>(answer: &Response<B>, status: u16) -> Result<()> {
    if answer.status().as_u16() == status {
        return Ok(());
    }
    bail!("the registry answers {}, expected {status}", answer.status())
}

fn same(sent: &Files, digest: &str, bytes: &[u8]) -> Result<()> {
    if sent.get(&image::blob_file(digest)).is_some_and(|sent| sent == bytes) {
        return Ok(());
    }
    Err(Failure::found(format!("{digest} came back changed")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::server::Server;
    use super::super::tests::{about, module};
    use super::*;

    #[test]
    fn only_this_machine_is_pushed_to() {
        for good in ["127.0.0.1:5000/postern", "[::1]:5000/a/b-c", "127.0.0.2:1/x"] {
            assert!(Registry::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "registry.example/postern",
            "192.0.2.1:5000/postern",
            "127.0.0.1:5000",
            "127.0.0.1/postern",
            "127.0.0.1:5000/",
            "127.0.0.1:5000/a//b",
            "127.0.0.1:5000/../a",
            "127.0.0.1:5000/A",
        ] {
            assert!(Registry::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn images_come_back_from_a_registry_as_they_were() {
        let home = tempfile::tempdir().unwrap();
        let server = Server::start(home.path()).unwrap();
        let registry = Registry::parse(&format!("{}/postern", server.address())).unwrap();
        for name in ["gate", "spin-gateway"] {
            let module = module(name, format!("\0asm {name}").as_bytes());
            let layout = image::layout(&module, &about()).unwrap();
            let pushed = registry.round_trip(&module, &layout).unwrap();
            // A second time nothing is new.
            assert_eq!(registry.round_trip(&module, &layout).unwrap(), pushed);
            let tags = pushed.iter().map(|image| image.split(['@', ':']).nth(2).unwrap());
            let want: &[&str] = if name == "gate" { &["1.2.3", "1.2.3-oci"] } else { &["1.2.3"] };
            assert_eq!(tags.collect::<Vec<_>>(), want);
        }
        let other = module("gate", b"\0asm other");
        let layout = image::layout(&module("gate", b"\0asm gate"), &about()).unwrap();
        let why = registry.round_trip(&other, &layout).unwrap_err().to_string();
        assert!(why.contains("another module"), "{why}");
    }

    #[test]
    fn what_a_registry_refuses_or_does_not_have_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        let server = Server::start(home.path()).unwrap();
        let registry = Registry::parse(&format!("{}/postern", server.address())).unwrap();
        let gate = module("gate", b"\0asm gate");
        let layout = image::layout(&gate, &about()).unwrap();
        let images: BTreeMap<_, _> = images(
            &layout.iter().map(|(name, bytes)| (format!("x/{name}"), bytes.clone())).collect(),
            "x",
        )
        .into_iter()
        .collect();
        let digest = &images["1.2.3"];
        let missing = registry.pull("postern/gate", "1.2.3", &gate, &layout).unwrap_err();
        assert!(missing.to_string().contains("404"), "{missing}");
        // A blob whose bytes are not those of its name.
        let wrong = registry.push_blob("postern/gate", digest, b"other").unwrap_err();
        assert!(wrong.to_string().contains("400"), "{wrong}");
        registry.push("postern/gate", "1.2.3", &layout, digest).unwrap();
        let mut bent = layout.clone();
        bent.insert(image::blob_file(digest), b"{}".to_vec());
        let changed = registry.pull("postern/gate", "1.2.3", &gate, &bent).unwrap_err();
        assert!(changed.to_string().contains("came back changed"), "{changed}");
    }
}
