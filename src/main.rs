//! `vipcast`: parse, start the log, run, exit.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use vipcast::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli.init_log();
    match cli.run() {
        Ok(ending) => ending.into(),
        Err(error) => {
            // Nobody is left to tell if standard error is closed.
            let _ = writeln!(std::io::stderr(), "vipcast: {error:#}");
            ExitCode::FAILURE
        }
    }
}
