//! `postern keys`: runs the key service, and keeps its database.
//!
//! Invariant: simulated evidence is never used silently: it is said at the start, in the
//! listing of what runs, and each minute by the service itself.

mod database;
mod identity;
mod rotate;

use std::path::{Path, PathBuf};

use postern_keys::config::{Database, Kek};
use postern_keys::{Config, Service, http, memory, tls};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::ending::Ending;
use crate::failure::{Failure, Outcome, Sort};
use crate::logging::{self, Format, LogArgs};
use crate::output::{Output, table};
use crate::span;

/// Largest file that is read here.
const MAX_FILE: usize = 256 << 10;
/// Beside the database: where the service that runs on it listens.
const URL_FILE: &str = "url";

/// The part that says each minute what simulated evidence is worth.
const REMINDER: &str = "postern_keys::http";

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
    /// Bring the schema of the database forward, or back.
    Migrate(database::MigrateArgs),
    /// Write a backup of a SQLite database.
    Backup(database::BackupArgs),
    /// Put a backup back, and make it fit to be served.
    Restore(database::RestoreArgs),
    /// New keys for what is stored, while it is served.
    #[command(subcommand)]
    Rotate(rotate::Command),
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

    /// The same arguments, for another command.
    fn again(&self) -> String {
        match &self.config {
            Some(file) => format!("--config {}", file.display()),
            None => format!("--data-dir {}", self.data_dir.display()),
        }
    }
}

/// Run the key service.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern keys serve --config keys.yaml
  postern keys serve --data-dir ./keys
  POSTERN_LOG=warn postern keys serve --config keys.yaml --log-format json 2>> keys.log

On first start it makes what is not there: key-encryption key, database, certificate.
Then: postern enrol --local with the same --config or --data-dir. Stdout says what runs and
where (--json: as one document); stderr is the log.")]
pub struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    log: LogArgs,
    /// Stop when stdin ends, so that whoever started this cannot leave it behind.
    #[arg(long, hide = true)]
    while_stdin: bool,
}

/// Runs `keys serve`.
pub fn run(command: Command, out: Output) -> Outcome {
    let args = match command {
        Command::Serve(args) => args,
        Command::Migrate(args) => return database::migrate(args, out),
        Command::Backup(args) => return database::backup(&args, out),
        Command::Restore(args) => return database::restore(&args, out),
        Command::Rotate(command) => return rotate::run(command, out),
    };
    let config = args.config.load()?;
    args.log.start(args.log.format, Some(REMINDER));
    runtime()?.block_on(serve(&config, &args, out))
}

async fn serve(config: &Config, args: &ServeArgs, out: Output) -> Outcome {
    let mut ending = Ending::watch(args.while_stdin)?;
    // Before there is a key in memory.
    for refused in &memory::guard().refused {
        tracing::warn!(
            refused = refused.as_str(),
            "memory is not kept from others as far as it could be"
        );
    }
    let service = Service::open(config, span::now()).await;
    let service = service.or_environment("cannot open the key service")?;
    let evidence = service.attestation().0;
    let running = http::start(service, config).await.or_environment("cannot start")?;
    let url = format!("https://{}", running.address());
    let file = config.data_dir.join(URL_FILE);
    postern_files::write_atomic(&file, url.as_bytes()).or_environment("cannot write")?;
    if evidence == "sim" {
        match args.log.format {
            Format::Human => out.note(SIMULATED),
            Format::Json => logging::note(out, "WARN", "SIMULATED attestation", &json!({})),
        }
    }
    announce(config, args, &url, evidence, out)?;
    ending.asked().await;
    tracing::info!("stopping");
    running.stop().await;
    Ok(())
}

/// The first line alone says where and how much it is worth; the rest is for the next step.
fn announce(config: &Config, args: &ServeArgs, url: &str, evidence: &str, out: Output) -> Outcome {
    let shown = |path: PathBuf| path.display().to_string();
    let ca = tls::authority_file(config).map(shown);
    let database = match &config.database {
        Database::File(path) => shown(path.clone()),
        Database::Memory => "in memory, gone when this ends".to_owned(),
        Database::Postgres(at) => at.to_string(),
    };
    let kek = match &config.kek {
        Kek::File => shown(config.kek_file()),
        Kek::Passphrase(keys) => format!("from the passphrase in {}", shown(keys.file.clone())),
        Kek::Azure(azure) => format!("{}, released to this machine", azure.key),
    };
    let sim = shown(config.sim_key_file());
    let simulated = evidence == "sim";
    let sim = simulated.then_some(sim);
    let worth = if simulated { "SIMULATED" } else { evidence };
    let proof = match &sim {
        Some(sim) => format!("sim: signed by {sim}, proves nothing about this machine"),
        None => format!("{evidence}: of the machine that this runs on"),
    };
    let url_file = shown(config.data_dir.join(URL_FILE));
    let next = format!("postern enrol --local {} --out gateway", args.config.again());
    let document = json!({
        "url": url,
        "ca": ca,
        "data_dir": shown(config.data_dir.clone()),
        "database": database,
        "evidence": evidence,
        "attestation": worth,
        "keys": {"kek": kek, "simulated_evidence": sim},
        "url_file": url_file,
        "next": next,
    });
    let rows = [
        ("  trust", ca.unwrap_or_else(|| "the authority of its own TLS files".to_owned())),
        ("  database", database),
        ("  evidence", proof),
        ("  key-encryption key", kek),
        ("  url file", url_file),
        ("  next", format!("{next}   (unless postern init has done it)")),
    ];
    let rows = rows.map(|(what, text)| vec![what.to_owned(), text]);
    let first = format!("listening on {url} (evidence: {evidence}, {worth})");
    out.result(&document, &format!("{first}\n{}", table(&rows)))
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
