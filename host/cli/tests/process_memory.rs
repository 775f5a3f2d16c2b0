//! What the system says of the key service's memory is what the service says of itself.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use postern_rig::tls::TlsClient;
use postern_rig::wait::until;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

struct Served {
    folder: tempfile::TempDir,
    service: Child,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.service.kill();
        let _ = self.service.wait();
    }
}

impl Served {
    /// Starts the service below a limit of the shell's.
    fn begin(limit: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let serve = format!("{limit}; exec \"$0\" keys serve --data-dir keys --log-format json");
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", &serve, env!("CARGO_BIN_EXE_postern")]).current_dir(folder.path());
        let service = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let served = Self { folder, service: service.unwrap() };
        let up = until(PATIENCE, || served.path("keys/url").exists().then_some(()));
        assert!(up.is_some(), "{}", served.text("log"));
        served
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// What the system says of the process.
    fn system(&self, name: &str) -> String {
        let file = format!("/proc/{}/{name}", self.service.id());
        std::fs::read_to_string(Path::new(&file)).unwrap()
    }

    fn health(&self) -> Value {
        let url = self.text("keys/url");
        let port = url.rsplit(':').next().unwrap().parse().unwrap();
        let roots = self.text("keys/tls/ca.pem");
        let client =
            TlsClient { roots: &roots, identity: None, name: "localhost", patience: PATIENCE };
        let request = b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let answer = String::from_utf8(client.ask(port, request).unwrap()).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }

    /// Bytes of the process that are locked, as the system counts them.
    fn locked(&self) -> u64 {
        let status = self.system("status");
        let line = status.lines().find(|line| line.starts_with("VmLck:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

#[test]
fn memory_is_kept_out_of_core_dumps_and_swap_or_the_log_says_why_not() {
    // A limit below what the service needs is raised where that is allowed, else said.
    for limit in ["true", "ulimit -c unlimited 2>/dev/null; ulimit -l 64"] {
        let served = Served::begin(limit);
        let limits = served.system("limits");
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        let values: Vec<&str> = core.split_whitespace().skip(4).take(2).collect();
        assert_eq!(values, ["0", "0"], "{limit}");
        let memory = &served.health()["memory"];
        assert_eq!(memory["undumpable"], true, "{limit}");
        let locked = memory["locked"].as_bool().unwrap();
        assert_eq!(locked, served.locked() > 0, "{limit}");
        assert_eq!(locked, !served.text("log").contains("locked memory: "), "{limit}");
    }
}
