//! A module as an OCI image layout (image-spec 1.1): a folder that registries' tools read.
//!
//! Owns the two forms that Istio's agent and Envoy Gateway take a module in (Solo's "Wasm image
//! specification": `compat` and `oci`), and the one that tools of components take (CNCF's "Wasm
//! OCI artifact"). Invariant: the same module and commit give the same bytes; no clock, no owner
//! and no order of a folder gets in.

use std::collections::BTreeMap;

use anyhow::Result;
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};

use super::source::About;
use super::{Files, Module, digest, document};

/// Layers and configurations of `compat`.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Layers of `oci`: exactly these two.
pub const WASM_LAYER: &str = "application/vnd.module.wasm.content.layer.v1+wasm";
const RUNTIME: &str = "application/vnd.module.wasm.config.v1+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// Of a component.
const COMPONENT_LAYER: &str = "application/wasm";
const COMPONENT_CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// Manifest and index.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// What the agent looks for in a layer of `compat`.
pub const PLUGIN: &str = "plugin.wasm";
/// Annotation of a manifest in an index: its tag.
pub const TAG: &str = "org.opencontainers.image.ref.name";

/// The layout of a module. Tags: the version, for components and `compat`; with `-oci` behind it
/// the other form.
pub fn layout(module: &Module, about: &About) -> Result<Files> {
    let mut layout = Layout { module, about, files: Files::new(), manifests: Vec::new() };
    if module.is_component() {
        layout.component();
    } else {
        layout.compat()?;
        layout.artifact();
    }
    Ok(layout.finish())
}

struct Layout<'a> {
    module: &'a Module,
    about: &'a About,
    files: Files,
    manifests: Vec<Value>,
}

impl Layout<'_> {
    /// One layer with one file.
    fn compat(&mut self) -> Result<()> {
        let archive = archive(PLUGIN, &self.module.bytes)?;
        let layer = self.blob(LAYER, compressed(&archive)?);
        let config = json!({
            "architecture": "wasm",
            "config": {},
            "created": self.about.created,
            "os": "wasip1",
            "rootfs": {"diff_ids": [digest(&archive)], "type": "layers"},
        });
        let config = self.blob(CONFIG, document(&config));
        let mut manifest = json!({"config": config, "layers": [layer]});
        manifest["annotations"]["module.wasm.image/variant"] = json!("compat");
        self.manifest(self.about.version.to_owned(), manifest);
        Ok(())
    }

    /// The module as it is, and what it is for.
    fn artifact(&mut self) {
        let runtime = json!({
            "abiVersions": ["0.2.1"], "config": {"root_ids": []}, "type": "envoy_proxy",
        });
        let runtime = self.blob(RUNTIME, document(&runtime));
        let runtime = titled(runtime, "runtime-config.json");
        let wasm = self.blob(WASM_LAYER, self.module.bytes.clone());
        let wasm = titled(wasm, PLUGIN);
        let config = self.blob(EMPTY, b"{}".to_vec());
        let manifest =
            json!({"artifactType": RUNTIME, "config": config, "layers": [runtime, wasm]});
        self.manifest(format!("{}-oci", self.about.version), manifest);
    }

    fn component(&mut self) {
        let layer = self.blob(COMPONENT_LAYER, self.module.bytes.clone());
        let (imports, exports) = self.module.interfaces();
        let config = json!({
            "architecture": "wasm",
            "component": {"exports": exports, "imports": imports},
            "created": self.about.created,
            "layerDigests": [layer["digest"]],
            "os": "wasip2",
        });
        let config = self.blob(COMPONENT_CONFIG, document(&config));
        self.manifest(self.about.version.to_owned(), json!({"config": config, "layers": [layer]}));
    }

    /// Adds a blob; its descriptor.
    fn blob(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let (digest, size) = (digest(&bytes), bytes.len());
        self.files.insert(blob_file(&digest), bytes);
        json!({"digest": digest, "mediaType": media_type, "size": size})
    }

    fn manifest(&mut self, tag: String, mut manifest: Value) {
        manifest["schemaVersion"] = json!(2);
        manifest["mediaType"] = json!(MANIFEST);
        for (name, value) in annotations(self.module, self.about) {
            manifest["annotations"][name] = json!(value);
        }
        let mut descriptor = self.blob(MANIFEST, document(&manifest));
        if let Some(kind) = manifest.get("artifactType") {
            descriptor["artifactType"] = kind.clone();
        }
        descriptor["annotations"][TAG] = json!(tag);
        self.manifests.push(descriptor);
    }

    fn finish(mut self) -> Files {
        let index = json!({"manifests": self.manifests, "mediaType": INDEX, "schemaVersion": 2});
        self.files.insert("index.json".into(), document(&index));
        let marker = document(&json!({"imageLayoutVersion": "1.0.0"}));
        self.files.insert("oci-layout".into(), marker);
        self.files
    }
}

/// The file of a blob in a layout.
pub fn blob_file(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

/// The annotations of image-spec that are known from the commit.
fn annotations(module: &Module, about: &About) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("org.opencontainers.image.created", about.created.clone()),
        ("org.opencontainers.image.licenses", module.licence.clone()),
        ("org.opencontainers.image.revision", about.revision()),
        ("org.opencontainers.image.title", format!("postern {}", module.name)),
        ("org.opencontainers.image.version", about.version.to_owned()),
    ])
}

fn titled(mut descriptor: Value, name: &str) -> Value {
    descriptor["annotations"]["org.opencontainers.image.title"] = json!(name);
    descriptor
}

/// A tar archive with one file that everybody may read, nobody's and of no time.
fn archive(name: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut header = tar::Header::new_ustar();
    header.set_size(u64::try_from(bytes.len())?);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, name, bytes)?;
    Ok(archive.into_inner()?)
}

fn compressed(bytes: &[u8]) -> Result<Vec<u8>> {
    let builder = GzBuilder::new().mtime(0).operating_system(255);
    let mut encoder = builder.write(Vec::new(), Compression::new(6));
    std::io::Write::write_all(&mut encoder, bytes)?;
    Ok(encoder.finish()?)
}
