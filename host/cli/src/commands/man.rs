//! `postern man`: a manual page a command.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::failure::{Outcome, Sort};
use crate::output::Output;

/// Write the manual pages.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern man --dir ./man && man ./man/postern-check.1")]
pub struct Args {
    /// Folder to write to; made if it is not there.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

/// Writes `postern.1`, `postern-check.1` and so on.
pub fn run(args: &Args, command: clap::Command, out: Output) -> Outcome {
    std::fs::create_dir_all(&args.dir).or_environment(args.dir.display())?;
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut written = Vec::new();
    write(&args.dir, &command, "postern", &mut written)?;
    let text = written.join("\n");
    out.result(&json!({"written": written}), &text)
}

fn write(dir: &Path, command: &clap::Command, name: &str, written: &mut Vec<String>) -> Outcome {
    let mut page = Vec::new();
    // `clap` wants names that live as long as the program; there are about twenty.
    let title: &'static str = name.to_owned().leak();
    clap_mangen::Man::new(command.clone().name(title)).render(&mut page).or_bug(name)?;
    let path = dir.join(format!("{name}.1"));
    postern_files::write_atomic(&path, &page).or_environment("cannot write")?;
    written.push(path.display().to_string());
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        write(dir, sub, &format!("{name}-{}", sub.get_name()), written)?;
    }
    Ok(())
}
