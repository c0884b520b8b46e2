//! `docs/troubleshooting.md`, held against the sources: what it quotes is said there, and what is said
//! there has a place in it.

use std::collections::BTreeMap;
use std::path::Path;

use weir::plugin::Failure;

use crate::{files, read, root};

const PAGE: &str = "docs/troubleshooting.md";

/// Lines whose words are made elsewhere, so many in a file; where, and how those words are in the page.
const COMPOSED: [(&str, usize, &str); 8] = [
    (
        "export.rs",
        1,
        "`panicked; starting again`, which is on `/readyz` too",
    ),
    (
        "export/kafka/delivery.rs",
        2,
        "a `Problem`, whose words are those of an error",
    ),
    (
        "export/otlp.rs",
        2,
        "what `export/otlp/delivery.rs` makes, in the table on OTLP",
    ),
    (
        "export/otlp/delivery.rs",
        2,
        "made a line before, in the table on OTLP",
    ),
    (
        "export/spool/complaints.rs",
        1,
        "what `export/spool/store.rs` makes",
    ),
    (
        "export/spool/store/holders.rs",
        1,
        "what an exporter leaves that is no longer configured",
    ),
    ("plugin/host/notes.rs", 2, "the plugin's own words"),
    (
        "run.rs",
        3,
        "faults of the configuration with their codes, and why the start failed",
    ),
];

/// Commands with a broker of their own, which say when it is gone.
const BESIDE: [&str; 2] = ["cli/plugin/dev.rs", "demo.rs"];

/// Words of librdkafka's, and of JavaScript, Python and the tools that build plugins in them.
const OF_OTHERS: [&str; 14] = [
    "Local: Message timed out",
    "RangeError: …",
    "LookupError: …",
    "TypeError: can't access property \"X\", … is undefined",
    "AttributeError: … object has no attribute 'X'",
    "InternalError: too much recursion",
    "RecursionError: maximum recursion depth exceeded",
    "… object cannot be interpreted as an integer",
    "ModuleNotFoundError: No module named 'X'",
    "The requested module … doesn't provide an export named: 'X'",
    "Error loading module \"X\" (resolved path …): No such file or directory",
    "Exception while evaluating top-level script",
    "ImportError: cannot import name 'X' from 'weir'",
    "SyntaxError: …",
];

/// Errors whose `Display` people read in the log, on a span or at the start.
const ERRORS: [&str; 13] = [
    "proxy/src/app.rs",
    "proxy/src/export/kafka/errors.rs",
    "proxy/src/export/spool.rs",
    "proxy/src/plugin/failure.rs",
    "proxy/src/plugin/registry/error.rs",
    "proxy/src/plugin/stream.rs",
    "proxy/src/tls/acme/order.rs",
    "proxy/src/upstream.rs",
    "proxy/src/upstream/body.rs",
    "sdk/src/error.rs",
    "sdk/src/http_client.rs",
    "sdk/src/kv.rs",
    "sdk/src/metrics.rs",
];

/// A source without its tests.
fn source(path: &Path) -> String {
    let text = read(path);
    let tests = text.find("#[cfg(test)]\nmod tests {");
    text[..tests.unwrap_or(text.len())].to_owned()
}

/// All sources of a folder, without tests.
fn sources(folder: &str) -> Vec<(String, String)> {
    let folder = root().join(folder);
    let paths = files(&folder, "rs").into_iter();
    let named = paths.map(|path| {
        let name = path.strip_prefix(&folder).expect("below").display();
        (name.to_string(), source(&path))
    });
    named
        .filter(|(name, _)| !name.contains("tests") && !name.contains("testing"))
        .collect()
}

/// The string literals of a text of Rust, as they are meant; what `format!` puts in is `…`.
fn literals(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '/' if letters.peek() == Some(&'/') => {
                letters.by_ref().find(|letter| *letter == '\n');
            }
            // A quote as a letter.
            '\'' if letters.peek() == Some(&'"') => {
                letters.next();
            }
            '"' => found.push(literal(&mut letters)),
            _ => {}
        }
    }
    found
}

/// One literal, behind its first quote.
fn literal(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let mut text = String::new();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => break,
            '\\' => match letters.next() {
                // The line goes on behind the next one's indent.
                Some('\n') => while letters.next_if(|next| next.is_whitespace()).is_some() {},
                Some('n') => text.push('\n'),
                Some(other) => text.push(other),
                None => break,
            },
            '{' if letters.next_if_eq(&'{').is_some() => text.push('{'),
            '}' if letters.next_if_eq(&'}').is_some() => text.push('}'),
            '{' => {
                letters.by_ref().find(|letter| *letter == '}');
                text.push('…');
            }
            other => text.push(other),
        }
    }
    text
}

/// What of a message is the same in every case: the page writes `<what>`, `…`, `"X"` and ` N ` for the
/// rest, and two parts may be made at two places.
fn parts(message: &str) -> Vec<String> {
    let mut rest = message.replace("\"X\"", "\"…\"").replace(" N ", " … ");
    while let Some((before, behind)) = rest.split_once('<') {
        let behind = behind.split_once('>').map_or("", |(_, behind)| behind);
        rest = format!("{before}…{behind}");
    }
    let parts = rest.split('…').flat_map(|part| part.split(": "));
    let parts = parts.map(|part| part.trim_matches([' ', ':', ',']).to_owned());
    parts.filter(|part| part.len() > 2).collect()
}

/// The spans of code in a text.
fn code(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('`') {
        rest = &rest[start..];
        let ticks = rest.len() - rest.trim_start_matches('`').len();
        let (fence, behind) = rest.split_at(ticks);
        let Some((inner, behind)) = behind.split_once(fence) else {
            break;
        };
        found.push(inner.trim().to_owned());
        rest = behind;
    }
    found
}

/// Each message of the page: the code in the first cells of its tables of messages and causes, and on
/// lines of its own.
fn quoted(page: &str) -> Vec<String> {
    let mut messages = Vec::new();
    let mut is_of_messages = false;
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("|---") {
            continue;
        }
        let Some(cells) = line.strip_prefix("| ") else {
            is_of_messages = false;
            if line.starts_with('`') && line.ends_with('`') {
                messages.extend(code(line));
            }
            continue;
        };
        let first = cells.split(" | ").next().unwrap_or_default();
        if lines.peek().is_some_and(|next| next.starts_with("|---")) {
            is_of_messages = matches!(first, "message" | "cause");
        } else if is_of_messages {
            messages.extend(code(first));
        }
    }
    messages
}

/// The calls of `error!` and `warn!` in a text.
fn lines_of_the_log(text: &str) -> Vec<&str> {
    let mut calls = Vec::new();
    for name in ["error!(", "warn!("] {
        for (start, _) in text.match_indices(name) {
            let call = &text[start + name.len()..];
            let mut depth = 1;
            let end = call.find(|letter: char| {
                match letter {
                    '(' => depth += 1,
                    ')' => depth -= 1,
                    _ => {}
                }
                depth == 0
            });
            calls.push(&call[..end.expect("it is closed")]);
        }
    }
    calls
}

/// Whether the page has a message.
fn has(messages: &[String], said: &str) -> bool {
    let said = parts(said);
    let fits = |message: &String| {
        let parts = parts(message);
        said.iter().all(|part| parts.contains(part))
    };
    !said.is_empty() && messages.iter().any(fits)
}

#[test]
fn each_message_of_the_page_is_said_in_the_sources() {
    let all = ["proxy/src", "sdk/src"].map(sources).concat();
    let mut literals: Vec<String> = all.iter().flat_map(|(_, text)| literals(text)).collect();
    for (folder, ending) in [("sdk/javascript", "js"), ("sdk/python", "py")] {
        let scripts = files(&root().join(folder), ending);
        literals.extend(scripts.iter().map(read));
    }
    let messages = quoted(&read(PAGE));
    assert!(messages.len() > 150, "{} messages", messages.len());
    for message in messages {
        if OF_OTHERS.contains(&message.as_str()) {
            continue;
        }
        for part in parts(&message) {
            assert!(
                literals.iter().any(|literal| literal.contains(&part)),
                "nothing says `{part}`, of: {message}"
            );
        }
    }
}

#[test]
fn each_warning_and_error_of_the_log_is_in_the_page() {
    let messages = quoted(&read(PAGE));
    let mut count = 0;
    let mut composed = BTreeMap::new();
    for (file, text) in sources("proxy/src") {
        if BESIDE.contains(&file.as_str()) {
            continue;
        }
        for call in lines_of_the_log(&text) {
            let said = literals(call).pop();
            match said.filter(|said| said != "…") {
                Some(said) => assert!(has(&messages, &said), "{file}: not in {PAGE}: {said}"),
                None => *composed.entry(file.clone()).or_insert(0) += 1,
            }
            count += 1;
        }
    }
    assert!(count > 60, "{count} lines");
    let known = COMPOSED.map(|(file, count, _)| (file.to_owned(), count));
    assert_eq!(
        composed,
        BTreeMap::from(known),
        "words that are made elsewhere"
    );
}

#[test]
fn what_errors_say_is_in_the_page() {
    let page = read(PAGE);
    let messages = quoted(&page);
    let streamed = code(&page);
    for file in ERRORS {
        let text = source(Path::new(file));
        let errors = text.split("#[error(").skip(1);
        let said = errors.map(|rest| literals(rest.split_once(")]").map_or(rest, |(one, _)| one)));
        let mut count = 0;
        for said in said.filter_map(|literals| literals.into_iter().next()) {
            count += 1;
            if said.trim() != "…" {
                let found = has(&messages, &said) || streamed.contains(&said);
                assert!(found, "{file}: not in {PAGE}: {said}");
            }
        }
        assert!(count > 0, "{file} has no errors");
    }
    for reason in Failure::REASONS {
        let cell = format!("| `{reason}` |");
        assert!(page.contains(&cell), "not in {PAGE}: {reason}");
    }
}

#[test]
fn what_clients_and_senders_are_told_is_in_the_page() {
    let messages = quoted(&read(PAGE));
    for (file, from, to) in [
        ("server/respond.rs", "pub fn refusal", "let mut headers"),
        ("receive/refusal.rs", "fn message", "#[cfg(test)]"),
        ("exchange/http1.rs", "pub", "#[cfg(test)]"),
        ("exchange/http2.rs", "pub", "#[cfg(test)]"),
        ("exchange/head.rs", "pub", "#[cfg(test)]"),
        ("exchange/target.rs", "pub", "#[cfg(test)]"),
    ] {
        let text = read(Path::new("proxy/src").join(file));
        let (_, text) = text.split_once(from).expect("it begins");
        let text = text.split_once(to).map_or(text, |(text, _)| text);
        let mut count = 0;
        for said in literals(text) {
            // What is no sentence is a name or a value.
            if said.trim_matches('…').contains(' ') && !said.starts_with([' ', ',', ';', '.']) {
                assert!(has(&messages, &said), "{file}: not in {PAGE}: {said}");
                count += 1;
            }
        }
        assert!(count > 0, "{file} says nothing");
    }
}
