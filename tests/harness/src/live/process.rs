//! The process of our own gateway: what keeps it from starting, and how it ends.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use postern_rig::RigError;
use postern_rig::client::Client;
use postern_rig::gateway::{Config, Kind};
use postern_rig::upstream::Answer;
use postern_rig::wait::until;

use super::{Caller, Seen, expect};
use crate::gateway::{Gateway, Site};

const PATIENCE: Duration = Duration::from_secs(10);

/// Name, what is done to the file, exit code, what is said.
type Row = (&'static str, fn(&Site) -> Result<String>, i32, &'static str);

const ROWS: &[Row] = &[
    ("a port in use", port_in_use, 3, "listener \"ingress\": 127.0.0.1:"),
    ("a module that is not there", |site| with_module(site, "none", None), 3, "none.wasm: "),
    (
        "a module that is no WebAssembly",
        |site| with_module(site, "text", Some(b"no")),
        1,
        "text.wasm: ",
    ),
    (
        "a module that is not Proxy-Wasm",
        |site| with_module(site, "empty", Some(b"\0asm\x01\0\0\0")),
        1,
        "empty.wasm: ",
    ),
    (
        "no YAML",
        |_| Ok("static_resources:\n  listeners: [\n  clusters: ]\n".into()),
        1,
        "file.yaml:3:",
    ),
    ("an unknown field", |_| Ok("static_resources:\n  listners: []\n".into()), 1, "file.yaml:2:"),
];

/// Each row exits with its code and says why.
pub fn does_not_start(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for (name, file, code, says) in ROWS {
        let (exit, log) = run(site, &file(site)?).context(*name)?;
        expect(&mut lines, name, Some(*code), exit);
        if !log.contains(says) {
            lines.push(format!("{name}: {says:?} is not in {log:?}"));
        }
        seen.text("log of a start", log);
    }
    Ok(lines)
}

fn port_in_use(site: &Site) -> Result<String> {
    let mut config = site.config(None)?;
    let taken = site.upstreams.get("api").context("no upstream")?.port();
    let address = &mut config.listener("ingress")?["address"]["socket_address"];
    address["port_value"] = taken.into();
    Ok(config.render())
}

fn with_module(site: &Site, name: &str, bytes: Option<&[u8]>) -> Result<String> {
    let path = site.world.folder.path().join(format!("{name}.wasm"));
    if let Some(bytes) = bytes {
        postern_files::write_atomic(&path, bytes)?;
    }
    let mut config: Config = site.config(None)?;
    config.plugin("gate", |plugin| {
        plugin["vm_config"]["code"]["local"]["filename"] = path.display().to_string().into();
    });
    Ok(config.render())
}

/// The command with a file; its exit code and what it wrote.
fn run(site: &Site, text: &str) -> Result<(Option<i32>, String)> {
    let Kind::Wasmtime { postern, cache } = &site.kind else { bail!("not our own gateway") };
    let file = site.world.folder.path().join("file.yaml");
    postern_files::write_atomic(&file, text.as_bytes())?;
    let mut command = Command::new(postern);
    command.args(["gateway", "--config"]).arg(&file);
    match cache {
        Some(cache) => command.arg("--cache").arg(cache),
        None => command.arg("--no-cache"),
    };
    command.env_clear().envs(site.world.environment.iter().cloned());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(RigError::io("start postern gateway"))?;
    if until(PATIENCE, || child.try_wait().ok().flatten()).is_none() {
        child.kill()?;
    }
    let output = child.wait_with_output()?;
    Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// By signal and by the admin interface: what streams is delivered whole and recorded, and
/// then it exits with 0.
pub fn ends(site: &Site, seen: &mut Seen) -> Result<Vec<String>> {
    type End = fn(&Gateway) -> Result<()>;
    const ENDS: [(&str, End); 2] = [
        ("SIGTERM", |gateway| Ok(gateway.process.terminate()?)),
        ("/quitquitquit", |gateway| {
            gateway.process.quit();
            Ok(())
        }),
    ];
    let caller = Caller::new(site, "ends")?;
    let request = caller.request(site, "api.test", "/api/a", Some("slack"));
    let upstream = site.upstreams.get("api").context("no upstream")?;
    let pace = Duration::from_millis(100);
    let chunks = vec![b"piece\n".to_vec(); 5];
    upstream.answer(Answer { chunks, pace, ..Answer::default() });
    let mut lines = Vec::new();
    for (name, end) in ENDS {
        let gateway = Gateway::fresh(site, &site.config(None)?)?;
        site.world.take_records()?;
        let mut client = Client::connect(gateway.port(), PATIENCE)?;
        client.send(&request.pieces().concat())?;
        client.wait()?;
        end(&gateway)?;
        let answer = client.answer(false)?.context("no answer")?;
        let got = (answer.status(), answer.complete, answer.content.len());
        expect(&mut lines, &format!("{name}: what streams"), (200, true, 30), got);
        let (code, log) = gateway.process.ended();
        expect(&mut lines, &format!("{name}: exit code"), Some(0), code);
        expect(&mut lines, &format!("{name}: records"), 1, site.wait_for_records(1)?.len());
        seen.text("log", log);
    }
    Ok(lines)
}
