//! Answers on standard output: for people, or for programs.

use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// As JSON.
    Json,
    /// As YAML.
    Yaml,
}

/// Writes `answer` to standard output; `table` has the form for people.
pub fn show<T: Serialize>(answer: &T, output: Output, table: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
    write(&render(answer, output, table)?)
}

/// Writes `text` to standard output. A reader that goes away early (`| head`) is no error.
pub(super) fn write(text: &str) -> anyhow::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// The text of `answer`, which ends with a newline.
pub(super) fn render<T: Serialize>(
    answer: &T,
    output: Output,
    table: impl FnOnce(&T) -> String,
) -> anyhow::Result<String> {
    let mut text = match output {
        Output::Table => table(answer),
        Output::Json => serde_json::to_string_pretty(answer)?,
        Output::Yaml => serde_saphyr::to_string(answer)?,
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Answer {
        ready: bool,
        errors: Vec<&'static str>,
    }

    #[test]
    fn each_format_says_the_same() {
        let answer = Answer { ready: false, errors: vec!["no: colon"] };
        for (output, expected) in [
            (Output::Table, "not ready\n"),
            (Output::Json, "{\n  \"ready\": false,\n  \"errors\": [\n    \"no: colon\"\n  ]\n}\n"),
            (Output::Yaml, "ready: false\nerrors:\n- \"no: colon\"\n"),
        ] {
            assert_eq!(render(&answer, output, |_| "not ready".to_owned()).unwrap(), expected);
        }
    }
}
