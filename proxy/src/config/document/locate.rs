//! Where in the text a value stands: from the places of keys, which the parser tells, to ranges of
//! bytes.

use std::ops::Range;

use crate::config::fault::Place;

/// Where one entry of a mapping stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Span {
    /// The key's first byte.
    pub(super) key: usize,
    /// Column of the key, from 0.
    pub(super) indent: usize,
    /// From behind the colon, without the space before the value, to the value's end. Empty where
    /// nothing is there.
    pub(super) value: Range<usize>,
    /// The value, where it stands on the key's line, begins with a bracket or brace.
    pub(super) is_flow: bool,
    /// The value stands on the lines below.
    pub(super) is_block: bool,
    /// Whether the entry itself stands between braces.
    pub(super) in_flow: bool,
}

/// The byte at a line and a column, as the parser counts them.
pub(super) fn offset(text: &str, place: &Place) -> Option<usize> {
    let line = usize::try_from(place.line).ok()?.checked_sub(1)?;
    let column = usize::try_from(place.column).ok()?.checked_sub(1)?;
    let start = match line {
        0 => 0,
        line => text.match_indices('\n').nth(line - 1)?.0 + 1,
    };
    let rest = &text[start..];
    let within = rest
        .char_indices()
        .map(|(at, _)| at)
        .chain([rest.len()])
        .nth(column)?;
    Some(start + within)
}

/// Where an entry stands, by the place of its key. `None` where the text is not as expected, such
/// as for a key with an anchor or a question mark.
pub(super) fn entry(text: &str, place: &Place) -> Option<Span> {
    let key = offset(text, place)?;
    let line_start = text[..key].rfind('\n').map_or(0, |at| at + 1);
    let before = &text[line_start..key];
    let in_flow = !before.chars().all(|c| c == ' ' || c == '-');
    let indent = before.chars().count();
    let colon = key + key_len(&text[key..])?;
    let after = colon + 1;
    let line_end = line_end(text, after);
    let inline = text[after..line_end].trim_start();
    let start = line_end - inline.len();
    if inline.trim_end().is_empty() || inline.starts_with('#') {
        if in_flow {
            return None;
        }
        let end = block_end(text, line_end, indent);
        return Some(Span {
            key,
            indent,
            value: if end > line_end {
                after..end
            } else {
                after..after
            },
            is_flow: false,
            is_block: end > line_end,
            in_flow,
        });
    }
    let first = inline.chars().next()?;
    let end = match first {
        '[' | '{' => start + flow_len(&text[start..])?,
        '"' | '\'' => start + quoted_len(&text[start..])?,
        '|' | '>' if !in_flow => block_end(text, line_end, indent).max(line_end),
        // What these begin is for the parser alone.
        '&' | '*' | '!' => return None,
        _ => start + plain_len(&text[start..line_end], in_flow),
    };
    // A plain or quoted value may go on below, deeper than its key.
    if !in_flow
        && !matches!(first, '[' | '{' | '|' | '>' | '"' | '\'')
        && block_end(text, line_end, indent) > line_end
    {
        return None;
    }
    Some(Span {
        key,
        indent,
        value: start..end,
        is_flow: matches!(first, '[' | '{'),
        is_block: false,
        in_flow,
    })
}

/// The lines of an entry that stands on lines of its own.
pub(super) fn lines(text: &str, span: &Span) -> Range<usize> {
    let start = text[..span.key].rfind('\n').map_or(0, |at| at + 1);
    let end = line_end(text, span.value.end.max(span.key));
    start..(end + 1).min(text.len())
}

/// The end of the line, before its line break.
pub(super) fn line_end(text: &str, from: usize) -> usize {
    let end = text[from..].find('\n').map_or(text.len(), |at| from + at);
    if text[from..end].ends_with('\r') {
        end - 1
    } else {
        end
    }
}

/// Bytes up to the colon.
fn key_len(text: &str) -> Option<usize> {
    let len = match text.chars().next()? {
        '"' | '\'' => quoted_len(text)?,
        '?' | '&' | '*' | '!' => return None,
        _ => {
            let ends = text.char_indices().find(|(at, c)| {
                *c == '\n'
                    || (*c == ':' && text[at + 1..].starts_with([' ', '\n', '\r', '\t']))
                    || (*c == ':' && at + 1 == text.len())
            });
            ends?.0
        }
    };
    let colon = len + text[len..].find(|c: char| c != ' ')?;
    text[colon..].starts_with(':').then_some(colon)
}

/// Where the block that belongs to a key ends: behind its last line. `from` is the end of the key's
/// line, and is given back where there is no block.
fn block_end(text: &str, from: usize, indent: usize) -> usize {
    let mut end = from;
    let mut at = from;
    while let Some(next) = text[at..].find('\n') {
        let start = at + next + 1;
        let stop = line_end(text, start);
        let line = &text[start..stop];
        let content = line.trim_start_matches(' ');
        let depth = line.len() - content.len();
        if !content.is_empty() {
            // Items of a list may stand as far left as its key.
            let item = depth == indent && (content == "-" || content.starts_with("- "));
            if depth <= indent && !item {
                break;
            }
            end = stop;
        }
        at = stop;
        if start >= text.len() {
            break;
        }
    }
    end
}

/// A quoted text with its quotes.
fn quoted_len(text: &str) -> Option<usize> {
    let quote = text.chars().next()?;
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && quote == '"' {
            chars.next();
        } else if c == quote {
            if quote == '\'' && chars.peek().is_some_and(|(_, next)| *next == '\'') {
                chars.next();
                continue;
            }
            return Some(at + 1);
        }
    }
    None
}

/// A list or mapping in brackets, with them.
fn flow_len(text: &str) -> Option<usize> {
    let mut depth = 0;
    let mut at = 0;
    let mut before = ' ';
    while at < text.len() {
        let c = text[at..].chars().next()?;
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            // Within a plain text they are like any other.
            '"' | '\'' if matches!(before, ' ' | '\n' | '[' | '{' | ',' | ':') => {
                at += quoted_len(&text[at..])?;
                before = '"';
                continue;
            }
            '#' if matches!(before, ' ' | '\n') => {
                at = line_end(text, at);
                continue;
            }
            _ => {}
        }
        before = c;
        at += c.len_utf8();
    }
    None
}

/// A plain text on one line.
fn plain_len(text: &str, in_flow: bool) -> usize {
    let comment = text.find(" #").unwrap_or(text.len());
    let flow = text.find([',', ']', '}']).filter(|_| in_flow);
    text[..comment.min(flow.unwrap_or(text.len()))]
        .trim_end()
        .len()
}
