//! What is measured on, and what a process has used, as Linux tells it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// Clock ticks a second of `/proc/PID/stat`; fixed for user space on Linux.
const TICKS: f64 = 100.0;

/// Processors, kernel and load, for the record.
pub fn description() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name\t: "));
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{} x {}, Linux {}, load {}",
        processors,
        model.unwrap_or("unknown processor"),
        read("/proc/sys/kernel/osrelease").trim(),
        read("/proc/loadavg").trim()
    )
}

/// Processor time of a process, in seconds.
pub fn processor_time(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("stat")?;
    // The name in brackets may hold spaces.
    let rest = text.rsplit_once(')').context("stat")?.1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok());
    Ok((ticks(11).context("utime")? + ticks(12).context("stime")?) / TICKS)
}

/// Resident memory that belongs to a process alone, in KiB (`RssAnon`).
pub fn memory(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).context("status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("RssAnon")?;
    line.trim().trim_end_matches(" kB").trim().parse().context("RssAnon")
}

/// Binds a process to one processor; false if this machine has no `taskset` or one processor.
pub fn pin(pid: u32, processor: usize) -> bool {
    let several = std::thread::available_parallelism().is_ok_and(|count| count.get() > 1);
    let mut taskset = Command::new("taskset");
    taskset.args(["-a", "-c", "-p", &processor.to_string(), &pid.to_string()]);
    taskset.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    several && Path::new("/proc").exists() && taskset.status().is_ok_and(|status| status.success())
}
