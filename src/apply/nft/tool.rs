//! Runs the packet filter's own programs. A child process lives in the network namespace of the thread that starts it.

use std::io::ErrorKind;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::plan::Outcome;

/// How long a program may take: they take milliseconds, and longer only where another one holds the lock of iptables.
const PATIENCE: Duration = Duration::from_secs(30);

/// A program.
#[derive(Debug, Clone, Copy)]
pub(super) struct Program {
    /// Its name, looked up in `PATH`.
    pub(super) name: &'static str,
    /// The Debian package that brings it.
    pub(super) package: &'static str,
}

/// Why a program did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum ToolError {
    /// It is not there.
    #[error("{} is not installed: Debian package {}", .0.name, .0.package)]
    Missing(Program),
    /// It could not be run, or did not end in time.
    #[error("cannot run {}: {why}", .program.name)]
    NotRun { program: Program, why: String },
    /// It ended with an error.
    #[error("{}: {words}", .program.name)]
    Failed { program: Program, words: String },
}

impl ToolError {
    /// What it means for the step that ran the program.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            ToolError::Missing(_) | ToolError::Failed { .. } => Outcome::Refused(self.to_string()),
            ToolError::NotRun { .. } => Outcome::Later(self.to_string()),
        }
    }
}

impl Program {
    /// Runs the program with `input` on its standard input; its standard output.
    pub(super) async fn run(self, arguments: &[&str], input: &str) -> Result<String, ToolError> {
        let mut command = Command::new(self.name);
        command.args(arguments).env("LC_ALL", "C").kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().map_err(|error| match error.kind() {
            ErrorKind::NotFound => ToolError::Missing(self),
            _ => ToolError::NotRun { program: self, why: error.to_string() },
        })?;
        let ended = match tokio::time::timeout(PATIENCE, converse(child, input)).await {
            Ok(ended) => ended.map_err(|error| error.to_string()),
            Err(_) => Err(format!("it did not end within {} s", PATIENCE.as_secs())),
        };
        let output = ended.map_err(|why| ToolError::NotRun { program: self, why })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let words = complaint(&String::from_utf8_lossy(&output.stderr));
        let words = if words.is_empty() { output.status.to_string() } else { words };
        Err(ToolError::Failed { program: self, words })
    }
}

async fn converse(mut child: Child, input: &str) -> std::io::Result<Output> {
    let stdin = child.stdin.take();
    let write = async {
        if let Some(mut stdin) = stdin {
            // A program that ends before it read everything has said why on its standard error.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    let ((), output) = tokio::join!(write, child.wait_with_output());
    output
}

/// The first complaint of a program: nft shows the line that it is about below, with a marker under it.
fn complaint(stderr: &str) -> String {
    let lines = stderr.lines().map(str::trim).filter(|line| !line.trim_matches(['^', '~', ' ']).is_empty());
    lines.take(3).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHELL: Program = Program { name: "sh", package: "dash" };

    fn run(program: Program, script: &str, input: &str) -> Result<String, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(program.run(&["-c", script], input)).map_err(|error| error.to_string())
    }

    #[test]
    fn input_goes_in_and_output_comes_out() {
        // More than a pipe holds, both ways at once.
        let input = "0123456789abcdef".repeat(64 * 1024);
        assert_eq!(run(SHELL, "cat", &input), Ok(input));
    }

    #[test]
    fn a_failure_says_what_the_program_said() {
        let nft = "echo '/dev/stdin:1:1-3: Error: syntax error' >&2; echo 'foo bar' >&2; echo '^^^' >&2; exit 1";
        assert_eq!(run(SHELL, nft, ""), Err("sh: /dev/stdin:1:1-3: Error: syntax error; foo bar".to_owned()));
        assert_eq!(run(SHELL, "exit 3", "unread input"), Err("sh: exit status: 3".to_owned()));
    }

    #[test]
    fn a_missing_program_names_its_package() {
        let missing = Program { name: "no-such-nft", package: "nftables" };
        let error = run(missing, "", "");
        assert_eq!(error, Err("no-such-nft is not installed: Debian package nftables".to_owned()));
    }
}
