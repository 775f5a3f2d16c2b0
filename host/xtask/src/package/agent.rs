//! How Istio's agent (and Envoy Gateway, with the same code) finds the module in an image, as
//! its `imagefetcher.go` has it; written anew, to hold our images to it.
//!
//! Invariant: it is as strict as the agent: an image that it refuses is refused here.

use std::io::Read;

use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;
use serde_json::Value;

use super::image::{LAYER, PLUGIN, WASM_LAYER};

const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// Reads a blob by its digest.
pub type Blobs<'a> = &'a dyn Fn(&str) -> Result<Vec<u8>>;

/// The module in the image of this manifest.
pub fn module(manifest: &Value, blobs: Blobs) -> Result<Vec<u8>> {
    if manifest["mediaType"] == DOCKER_MANIFEST {
        return archived(manifest, DOCKER_LAYER, blobs).context("as a Docker image");
    }
    let compat = match archived(manifest, LAYER, blobs) {
        Ok(module) => return Ok(module),
        Err(why) => why,
    };
    let why = |why: anyhow::Error| anyhow::anyhow!("as compat: {compat:#}; as oci: {why:#}");
    artifact(manifest, blobs).map_err(why)
}

fn layers(manifest: &Value) -> &[Value] {
    manifest["layers"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn content(layer: &Value, blobs: Blobs) -> Result<Vec<u8>> {
    blobs(layer["digest"].as_str().context("a layer without a digest")?)
}

/// In the last layer, an archive.
fn archived(manifest: &Value, media_type: &str, blobs: Blobs) -> Result<Vec<u8>> {
    let layer = layers(manifest).last().context("number of layers must be greater than zero")?;
    ensure!(layer["mediaType"] == media_type, "invalid media type {}", layer["mediaType"]);
    let content = content(layer, blobs)?;
    let mut archive = tar::Archive::new(GzDecoder::new(content.as_slice()));
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.path()?.file_name().is_some_and(|name| name == PLUGIN) {
            let mut module = Vec::new();
            entry.read_to_end(&mut module)?;
            return Ok(module);
        }
    }
    bail!("{PLUGIN} not found in the archive")
}

/// One of exactly two layers, as it is.
fn artifact(manifest: &Value, blobs: Blobs) -> Result<Vec<u8>> {
    let layers = layers(manifest);
    ensure!(layers.len() == 2, "number of layers must be 2 but got {}", layers.len());
    let layer = layers.iter().find(|layer| layer["mediaType"] == WASM_LAYER);
    content(layer.with_context(|| format!("no layer of type {WASM_LAYER}"))?, blobs)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::image::{self, TAG};
    use super::super::tests::{about, module as made};
    use super::*;

    /// The manifests of a layout with their tags, and its files.
    fn images(name: &'static str) -> (Vec<(String, Value)>, super::super::Files) {
        let files = image::layout(&made(name, b"\0asm a module"), &about()).unwrap();
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        let manifest = |it: &Value| {
            let file = image::blob_file(it["digest"].as_str().unwrap());
            let tag = it["annotations"][TAG].as_str().unwrap().to_owned();
            (tag, serde_json::from_slice(&files[&file]).unwrap())
        };
        (index["manifests"].as_array().unwrap().iter().map(manifest).collect(), files)
    }

    #[test]
    fn the_module_is_found_in_both_forms() {
        let (images, files) = images("gate");
        let blobs = |digest: &str| Ok(files[&image::blob_file(digest)].clone());
        let tags: Vec<&str> = images.iter().map(|(tag, _)| tag.as_str()).collect();
        assert_eq!(tags, ["1.2.3", "1.2.3-oci"]);
        for (tag, manifest) in &images {
            assert_eq!(module(manifest, &blobs).unwrap(), b"\0asm a module", "{tag}");
        }
    }

    #[test]
    fn what_the_agent_refuses_is_refused() {
        let (images, files) = images("gate");
        let blobs = |digest: &str| Ok(files[&image::blob_file(digest)].clone());
        type Bend = fn(&mut Value);
        let cases: [(usize, Bend, &str); 7] = [
            (0, |it| it["layers"] = json!([]), "greater than zero"),
            (0, |it| it["layers"][0]["mediaType"] = json!(DOCKER_LAYER), "invalid media type"),
            (0, |it| it["mediaType"] = json!(DOCKER_MANIFEST), "as a Docker image"),
            (0, |it| it["layers"][0]["digest"] = it["config"]["digest"].clone(), "as compat"),
            (1, |it| drop(it["layers"].as_array_mut().unwrap().pop()), "must be 2 but got 1"),
            (
                1,
                |it| {
                    let more = it["layers"][0].clone();
                    it["layers"].as_array_mut().unwrap().push(more);
                },
                "must be 2 but got 3",
            ),
            (1, |it| it["layers"][1]["mediaType"] = json!("application/wasm"), "no layer of type"),
        ];
        for (at, bend, want) in cases {
            let mut manifest = images[at].1.clone();
            bend(&mut manifest);
            let why = format!("{:#}", module(&manifest, &blobs).unwrap_err());
            assert!(why.contains(want), "{want}: {why}");
        }
    }

    #[test]
    fn a_component_is_not_for_the_agent() {
        let (images, files) = images("spin-gateway");
        let blobs = |digest: &str| Ok(files[&image::blob_file(digest)].clone());
        let [(tag, manifest)] = &images[..] else { panic!("one image") };
        assert_eq!(tag, "1.2.3");
        assert!(module(manifest, &blobs).is_err());
    }
}
