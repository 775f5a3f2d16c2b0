//! How long a worker stands still when a bundle with much data takes the place of another: a gate
//! reads and loads it in one go, between two requests.

use std::fmt::Write as _;

use anyhow::{Result, anyhow};
use postern_bench_line::{Line, Op, Pair};
use postern_core::config::gate::{DEFAULT_INSTRUCTIONS, PolicySource};
use postern_core::policy::Policy as _;
use postern_rego::bundle::{self, Files};
use postern_rego::load;

use crate::processor;

/// The goal, in milliseconds.
const GOAL_MS: f64 = 5.0;
/// Bytes of the data: nearly the most that an archive may hold, 8 MiB.
const DATA: usize = 8_000_000;
const MODULE: &str = "package swap\nresult := data.users[input.postern.identity.user].allowed\n";
const QUERY: &str = "data.swap.result";

/// A line: milliseconds of this thread's processor beside the goal.
pub fn measured(runs: usize) -> Result<Line> {
    let packed = packed()?;
    let turns: Vec<f64> = (0..runs).map(|_| turn(&packed)).collect::<Result<_>>()?;
    let pair = Pair { ours: &turns, other: &[GOAL_MS] };
    let line = Line::new("P4.swap", &pair, (Op::AtMost, 1.0), "ms/swap");
    Ok(line.noted(
        "native; a bundle with 8 MB of data (of more than 8 MiB it is refused), read and loaded",
    ))
}

/// A bundle of users, as a directory's export has them.
fn packed() -> Result<Vec<u8>> {
    let mut data = String::from("{\"users\":{");
    let mut user = 0_u32;
    while data.len() < DATA {
        let comma = if user == 0 { "" } else { "," };
        write!(
            data,
            "{comma}\"user-{user:06}\":{{\"allowed\":{},\"organisation\":\"org-{}\",\"roles\":[\"reader\",\"writer\"]}}",
            user.is_multiple_of(2),
            user % 97
        )?;
        user += 1;
    }
    data.push_str("}}");
    let files: Files = [
        ("swap.rego".to_owned(), MODULE.as_bytes().to_vec()),
        (bundle::DATA.to_owned(), data.into_bytes()),
    ]
    .into();
    bundle::pack(&files).map_err(|why| anyhow!(why))
}

fn turn(packed: &[u8]) -> Result<f64> {
    let before = processor()?;
    let read = bundle::read(packed, None).map_err(|why| anyhow!(why))?;
    let source = PolicySource {
        modules: read.modules,
        data: read.data,
        query: QUERY.to_owned(),
        instructions: DEFAULT_INSTRUCTIONS,
        bundle: None,
    };
    let policy = load(&source).map_err(|found| anyhow!("{found:?}"))?;
    let spent = (processor()? - before) / 1e6;
    anyhow::ensure!(!policy.reads_content(), "another policy");
    Ok(spent)
}
