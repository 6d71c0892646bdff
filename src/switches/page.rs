//! The text of a configuration: lines and comments.

use std::fmt::{Display, Write as _};

use crate::text::wrap;

/// Comments are wrapped so that their lines have at most this many characters.
const COLUMNS: usize = 100;

/// How a vendor writes comments, and how far a level is indented.
#[derive(Debug, Clone, Copy)]
pub(super) enum Style {
    /// `! comment`
    Bang {
        /// Spaces per level.
        indent: usize,
    },
    /// `# comment`
    Hash,
    /// `/* comment */`
    Slash,
}

/// A configuration that is being written.
#[derive(Debug)]
pub(super) struct Page {
    style: Style,
    text: String,
}

impl Page {
    /// An empty page.
    pub(super) fn new(style: Style) -> Page {
        Page { style, text: String::new() }
    }

    /// A line of configuration, `level` levels deep.
    pub(super) fn line(&mut self, level: usize, line: impl Display) {
        let indent = self.indent(level);
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{:indent$}{line}", "");
    }

    /// A comment, wrapped; each of its lines begins a new one.
    pub(super) fn why(&mut self, level: usize, comment: impl Display) {
        let (open, next, close) = match self.style {
            Style::Bang { .. } => ("! ", "! ", ""),
            Style::Hash => ("# ", "# ", ""),
            Style::Slash => ("/* ", "   ", " */"),
        };
        let width = COLUMNS - self.indent(level) - open.len() - close.len();
        let comment = comment.to_string();
        let lines: Vec<String> = comment.lines().flat_map(|line| wrap(line, width)).collect();
        let last = lines.len().saturating_sub(1);
        for (index, line) in lines.iter().enumerate() {
            let (before, after) = (if index == 0 { open } else { next }, if index == last { close } else { "" });
            self.line(level, format_args!("{before}{line}{after}"));
        }
    }

    /// What separates one block from the next.
    pub(super) fn gap(&mut self) {
        match self.style {
            Style::Bang { .. } => self.line(0, "!"),
            Style::Hash | Style::Slash => self.line(0, ""),
        }
    }

    /// The text.
    pub(super) fn finish(self) -> String {
        self.text
    }

    fn indent(&self, level: usize) -> usize {
        let unit = match self.style {
            Style::Bang { indent } => indent,
            Style::Hash | Style::Slash => 4,
        };
        level * unit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_wrapped_in_each_style() {
        let long = "word ".repeat(30);
        for (style, first, second) in [
            (Style::Bang { indent: 1 }, " ! word", " ! word"),
            (Style::Hash, "    # word", "    # word"),
            (Style::Slash, "    /* word", "       word"),
        ] {
            let mut page = Page::new(style);
            page.why(1, &long);
            let text = page.finish();
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines.len(), 2, "{text}");
            assert!(lines[0].starts_with(first) && lines[1].starts_with(second), "{text}");
            assert!(lines.iter().all(|line| line.chars().count() <= COLUMNS), "{text}");
        }
        let mut page = Page::new(Style::Slash);
        page.why(0, "short\nshort");
        page.gap();
        assert_eq!(page.finish(), "/* short\n   short */\n\n");
    }
}
