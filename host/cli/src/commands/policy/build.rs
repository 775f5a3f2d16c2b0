//! `postern policy build`: a bundle that OPA and gates read.

use std::path::{Path, PathBuf};

use postern_rego::bundle::{self, Files as Contents};
use postern_rego::program;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::files::Files;
use super::signer::Signer;
use super::{is_test, lines};
use crate::failure::{Failure, Outcome, Sort};
use crate::output::Output;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern policy build --output policy.tar.gz --revision 2026-11-26.1 --serial 42 policies/rbac
  postern policy build --output policy.tar.gz --signing-key key.pem --keys-out keys.json policy.rego

The same files give the same bytes, but for a signature by ES256, which is random. Modules whose \
name ends in _test.rego stay out.

Exit codes: 0 made, 1 a gate could not load it, 2 called wrongly, 3 a file cannot be read or \
written")]
pub struct BuildArgs {
    #[command(flatten)]
    files: Files,
    /// The bundle to write (`.tar.gz`).
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// What to call this state of the policy: at most 63 visible characters.
    #[arg(long, value_name = "TEXT", default_value = "")]
    revision: String,
    /// Place in the order of bundles: a gate that polls takes none that is smaller than the last.
    #[arg(long, value_name = "NUMBER")]
    serial: Option<u64>,
    /// Prefixes of `data` that the bundle owns, such as `envoy/authz`. Default: all.
    #[arg(long = "root", value_name = "PATH")]
    roots: Vec<String>,
    /// Private key that signs (PKCS#8 in PEM): Ed25519 (EdDSA), P-256 (ES256) or RSA (RS256).
    #[arg(long, value_name = "FILE")]
    signing_key: Option<PathBuf>,
    /// Id of the key, in the signature and in the public key.
    #[arg(long, value_name = "ID", requires = "signing_key")]
    key_id: Option<String>,
    /// Writes the public key there, as a JSON Web Key Set, which `--keys` reads.
    #[arg(long, value_name = "FILE", requires = "signing_key")]
    keys_out: Option<PathBuf>,
}

pub fn build(args: &BuildArgs, out: Output) -> Outcome {
    let signer = args.signing_key.as_deref();
    let signer = signer.map(|path| Signer::read(path, args.key_id.clone())).transpose()?;
    let mut files = args.contents()?;
    if let Some(signer) = &signer {
        let payload = bundle::signature::payload(&files).or_found("cannot sign")?;
        let signatures = json!({"signatures": [signer.sign(&payload)?]});
        files.insert(bundle::SIGNATURES.to_owned(), signatures.to_string().into_bytes());
    }
    let packed = bundle::pack(&files).or_found("cannot pack")?;
    let keys = signer.as_ref().map(Signer::public);
    made(&packed, keys.as_ref())?;
    postern_files::write_atomic(&args.output, &packed).or_environment("cannot write")?;
    if let (Some(path), Some(keys)) = (&args.keys_out, &keys) {
        let text = format!("{keys:#}\n");
        postern_files::write_atomic(path, text.as_bytes()).or_environment("cannot write")?;
    }
    report(args, &files, &packed, out)
}

/// The bundle is read again before it is written.
fn made(packed: &[u8], keys: Option<&Value>) -> Outcome {
    let keys = keys.map(|keys| postern_jose::KeySet::parse(keys.to_string().as_bytes()));
    let keys = keys.transpose().or_bug("public key")?;
    bundle::read(packed, keys.as_ref()).map(drop).or_found("the bundle could not be used")
}

fn report(args: &BuildArgs, files: &Contents, packed: &[u8], out: Output) -> Outcome {
    let digest: String = Sha256::digest(packed).iter().map(|byte| format!("{byte:02x}")).collect();
    let names: Vec<&String> = files.keys().collect();
    let document = json!({
        "output": args.output, "revision": args.revision, "serial": args.serial, "sha256": digest,
        "bytes": packed.len(), "files": names, "signed": args.signing_key.is_some(),
    });
    let signed = if args.signing_key.is_some() { "signed" } else { "not signed" };
    let (file, count) = (args.output.display(), names.len());
    out.result(&document, &format!("{file}: {count} files, {signed}, SHA-256 {digest}"))
}

impl BuildArgs {
    /// Everything but the signature.
    fn contents(&self) -> Outcome<Contents> {
        if !bundle::is_revision(&self.revision) {
            return Err(Failure::usage("--revision: expected at most 63 visible characters"));
        }
        let read = self.files.read()?;
        if !read.bundles.is_empty() {
            return Err(Failure::usage("expected modules and folders, not a bundle"));
        }
        let modules = read.modules.into_iter().filter(|(name, _)| !is_test(name));
        let modules: Vec<(String, String)> = modules.collect();
        program::check(&modules, &read.data).map_err(|found| Failure::found(lines(&found)))?;
        let roots = if self.roots.is_empty() { vec![String::new()] } else { self.roots.clone() };
        let mut manifest = json!({"revision": self.revision, "roots": roots, "rego_version": 1});
        if let Some(serial) = self.serial {
            manifest["metadata"] = json!({"serial": serial});
        }
        let mut files = Contents::new();
        files.insert(bundle::MANIFEST.to_owned(), manifest.to_string().into_bytes());
        files.insert(bundle::DATA.to_owned(), read.data.to_string().into_bytes());
        for (name, text) in modules {
            let inside = inside(Path::new(&name))?;
            if files.insert(inside.clone(), text.into_bytes()).is_some() {
                return Err(Failure::usage(format!("two modules would be named {inside}")));
            }
        }
        Ok(files)
    }
}

/// The name in the bundle: the path as it was given, without what leads out of the folder.
fn inside(path: &Path) -> Outcome<String> {
    use std::path::Component;
    let parts = path.components().filter(|part| matches!(part, Component::Normal(_)));
    let parts: Vec<String> =
        parts.map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    let up = path.components().any(|part| part == Component::ParentDir);
    if parts.is_empty() || up || path.is_absolute() {
        let text = format!("{}: expected a path below this folder", path.display());
        return Err(Failure::usage(text));
    }
    Ok(parts.join("/"))
}
