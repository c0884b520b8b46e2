//! Words of a command line as a shell would make them, without what only a shell knows.

/// The words of each line. A line that ends with a backslash goes on; `#` begins a comment.
pub(super) fn of_lines(text: &str) -> Result<Vec<Vec<String>>, String> {
    let text = text.replace("\\\r\n", " ").replace("\\\n", " ");
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let words = words(line)
            .ok_or_else(|| format!("a quote that line {} begins does not end in it", number + 1))?;
        if !words.is_empty() {
            lines.push(words);
        }
    }
    Ok(lines)
}

/// `None` where a quote does not end.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '#' if word.is_none() => break,
            c if c.is_whitespace() => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '"' => break,
                        '\\' => match chars.next()? {
                            c @ ('"' | '\\' | '$' | '`') => word.push(c),
                            c => word.extend(['\\', c]),
                        },
                        c => word.push(c),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_lines_are_as_in_a_shell() {
        let text =
            "rotel start \\\n  --a \"b c\" 'd\\e' f\\ g # no\n\n# nothing\nA=\"x=\\\"y\\\"\"\n";
        assert_eq!(
            of_lines(text).unwrap(),
            [
                vec!["rotel", "start", "--a", "b c", "d\\e", "f g"],
                vec!["A=x=\"y\""],
            ]
        );
        assert_eq!(
            of_lines("a 'b").unwrap_err(),
            "a quote that line 1 begins does not end in it"
        );
    }
}
