//! Text for people.

/// `text` in lines of at most `width` characters, but for words that are longer, broken at spaces. The first one stands in as
/// far as `text` does.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let indent = text.len() - text.trim_start().len();
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) => lines.push(word.to_owned()),
            None => lines.push(format!("{}{word}", &text[..indent])),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_at_spaces() {
        assert_eq!(wrap("  one two three", 9), ["  one two", "three"]);
        assert_eq!(wrap("a-word-too-long for it ", 6), ["a-word-too-long", "for it"]);
        assert_eq!(wrap(" ", 6), [""; 0]);
    }
}
