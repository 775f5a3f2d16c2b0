//! `postern keys`: runs the key service.
//!
//! Invariant: simulated evidence is never used silently: it is said at the start, in the
//! listing of what runs, and each minute by the service itself.

use std::io;
use std::path::{Path, PathBuf};

use postern_keys::{Config, Service, http, tls};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::{Failure, Outcome, Sort};
use crate::output::Output;
use crate::span;

/// Largest file that is read here.
const MAX_FILE: usize = 256 << 10;
/// Beside the database: where the service that runs on it listens.
const URL_FILE: &str = "url";

const SIMULATED: &str = "\
**********************************************************************
**  SIMULATED ATTESTATION. The evidence of this key service is signed
**  by a development key and proves nothing about this machine.
**  Do not store real credentials in it.
**********************************************************************";

/// The attested key service.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Run the key service until it is told to stop (Ctrl-C, SIGTERM).
    Serve(ServeArgs),
}

/// Where the service's configuration is.
#[derive(clap::Args)]
pub struct ConfigArgs {
    /// The service's configuration.
    #[arg(long, value_name = "FILE", conflicts_with = "data_dir")]
    config: Option<PathBuf>,
    /// Without a configuration: keep everything in this folder, on a free port.
    #[arg(long, value_name = "DIR", default_value = "postern-keys")]
    data_dir: PathBuf,
}

impl ConfigArgs {
    /// The file's configuration, or defaults around the folder.
    pub fn load(&self) -> Outcome<Config> {
        match &self.config {
            Some(file) => Config::load(file).or_environment(file.display()),
            None => Ok(Config::local(&self.data_dir)),
        }
    }
}

/// Run the key service.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern keys serve --config keys.yaml
  postern keys serve --data-dir ./keys

On first start it makes what is not there: key-encryption key, database, certificate.
Then: postern enrol --local with the same --config or --data-dir.")]
pub struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Stop when stdin ends, so that whoever started this cannot leave it behind.
    #[arg(long, hide = true)]
    while_stdin: bool,
}

/// Runs `keys serve`.
pub fn run(command: Command, out: Output) -> Outcome {
    let Command::Serve(args) = command;
    let config = args.config.load()?;
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).init();
    runtime()?.block_on(serve(&config, args.while_stdin, out))
}

async fn serve(config: &Config, while_stdin: bool, out: Output) -> Outcome {
    let mut interrupt = signal(SignalKind::interrupt()).or_environment("signals")?;
    let mut terminate = signal(SignalKind::terminate()).or_environment("signals")?;
    let service = Service::open(config, span::now()).await;
    let service = service.or_environment("cannot open the key service")?;
    let running = http::start(service, config).await.or_environment("cannot start")?;
    let url = format!("https://{}", running.address());
    let file = config.data_dir.join(URL_FILE);
    postern_files::write_atomic(file, url.as_bytes()).or_environment("cannot write")?;
    out.note(SIMULATED);
    announce(config, &url, out)?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = stdin_end(while_stdin) => {}
    }
    out.note("stopping");
    running.stop().await;
    Ok(())
}

/// Waits for the end of stdin on a thread of its own; for ever when it was not asked to.
async fn stdin_end(asked: bool) {
    let (ended, wait) = tokio::sync::oneshot::channel::<()>();
    if asked {
        std::thread::spawn(move || {
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            drop(ended);
        });
        let _ = wait.await;
    } else {
        std::future::pending::<()>().await;
    }
}

fn announce(config: &Config, url: &str, out: Output) -> Outcome {
    let ca = tls::authority_file(config).map(|path| path.display().to_string());
    let document = json!({
        "url": url,
        "ca": ca,
        "data_dir": config.data_dir.display().to_string(),
        "evidence": "sim",
        "attestation": "SIMULATED",
    });
    let trust = ca.map(|ca| format!("\ntrust {ca}")).unwrap_or_default();
    out.result(&document, &format!("listening on {url} (evidence: sim, SIMULATED){trust}"))
}

/// A runtime for what is asynchronous.
pub fn runtime() -> Outcome<Runtime> {
    Runtime::new().or_environment("cannot start threads")
}

/// Where the service of `config` is: as given, as configured, or as the running service
/// wrote down.
pub fn url(config: &Config, given: Option<&str>) -> Outcome<String> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    if config.listen.port() != 0 {
        return Ok(format!("https://{}", config.listen));
    }
    let bytes = postern_files::read_bounded(config.data_dir.join(URL_FILE), MAX_FILE);
    let bytes = bytes.or_environment("expected a running key service (postern keys serve)")?;
    String::from_utf8(bytes).or_environment(URL_FILE)
}

/// PEM of the authority to trust for the service of `config`.
pub fn authority(config: &Config, given: Option<&Path>) -> Outcome<String> {
    let file = given.map(Path::to_owned).or_else(|| tls::authority_file(config));
    let file =
        file.ok_or_else(|| Failure::usage("expected --ca: the service has its own TLS files"))?;
    let bytes = postern_files::read_bounded(&file, MAX_FILE);
    let bytes = bytes.or_environment("expected a key service that was started once")?;
    String::from_utf8(bytes).or_environment(file.display())
}
