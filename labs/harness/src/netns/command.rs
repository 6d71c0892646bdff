//! Processes inside a namespace.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, bail};

use super::Netns;

/// A command that runs inside a namespace, with the face of [`std::process::Command`].
///
/// A process starts in the namespace of the thread that starts it, so a thread enters first. That needs no code between
/// fork and exec.
#[derive(Debug)]
pub struct NsCommand<'a> {
    netns: &'a Netns,
    command: Command,
}

/// What a command that succeeded said.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl<'a> NsCommand<'a> {
    pub(super) fn new(netns: &'a Netns, program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        Self { netns, command }
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the folder that it starts in.
    pub fn current_dir(mut self, folder: impl AsRef<Path>) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Sets its standard input, which is empty otherwise.
    pub fn stdin(mut self, input: impl Into<Stdio>) -> Self {
        self.command.stdin(input);
        self
    }

    /// Sets its standard output.
    pub fn stdout(mut self, output: impl Into<Stdio>) -> Self {
        self.command.stdout(output);
        self
    }

    /// Sets its standard error.
    pub fn stderr(mut self, output: impl Into<Stdio>) -> Self {
        self.command.stderr(output);
        self
    }

    /// Starts it.
    pub fn spawn(mut self) -> Result<Child> {
        let child = self.netns.run(|| self.command.spawn())?;
        child.with_context(|| self.shown())
    }

    /// Waits for it and returns what it said and how it ended, whatever that is.
    pub fn output(mut self) -> Result<Output> {
        let output = self.netns.run(|| self.command.output())?;
        output.with_context(|| self.shown())
    }

    /// Waits for it; a failure is an error that shows what it said.
    pub fn run(mut self) -> Result<Finished> {
        let output = self.netns.run(|| self.command.output())?.with_context(|| self.shown())?;
        let finished = Finished {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        if !output.status.success() {
            bail!("{}: {}\n{}{}", self.shown(), output.status, finished.stdout, finished.stderr);
        }
        Ok(finished)
    }

    fn shown(&self) -> String {
        let words: Vec<OsString> =
            std::iter::once(self.command.get_program()).chain(self.command.get_args()).map(OsStr::to_owned).collect();
        format!("{} in {}", words.join(OsStr::new(" ")).to_string_lossy(), self.netns.name())
    }
}
