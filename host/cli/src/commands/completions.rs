//! `postern completions`.

use std::io;

use clap_complete::Shell;

use crate::failure::Outcome;

/// Print shell completions.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  postern completions bash > ~/.local/share/bash-completion/completions/postern
  postern completions zsh > ~/.zfunc/_postern")]
pub struct Args {
    /// Which shell.
    shell: Shell,
}

/// Writes the script to stdout.
pub fn run(args: &Args, mut command: clap::Command) -> Outcome {
    clap_complete::generate(args.shell, &mut command, "postern", &mut io::stdout());
    Ok(())
}
