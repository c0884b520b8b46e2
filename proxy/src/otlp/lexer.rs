//! JSON, token by token. Numbers are given as they are written: they may have 64 bits, or be doubles
//! that must come out exact.

use std::borrow::Cow;
use std::fmt;

/// Most objects and lists in one another that are passed over.
const MAX_SKIPPED: usize = 500;

/// What is wrong with a JSON text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    what: Cow<'static, str>,
    line: usize,
    column: usize,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, line, column } = self;
        write!(f, "{what} (line {line}, column {column})")
    }
}

impl std::error::Error for Error {}

/// Where a text is read.
#[derive(Clone, Debug)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, Error> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let (valid, _) = bytes.split_at(error.valid_up_to());
            let lexer = Self {
                text: std::str::from_utf8(valid).unwrap_or_default(),
                at: valid.len(),
            };
            lexer.error("is not UTF-8")
        })?;
        Ok(Self { text, at: 0 })
    }

    /// An error at this place.
    pub(super) fn error(&self, what: impl Into<Cow<'static, str>>) -> Error {
        let before = &self.text.as_bytes()[..self.at.min(self.text.len())];
        let mut lines = before.split(|byte| *byte == b'\n');
        Error {
            what: what.into(),
            line: lines.clone().count(),
            column: lines.next_back().map_or(0, <[u8]>::len) + 1,
        }
    }

    /// The first byte of the next token.
    pub(super) fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        let blank = |byte: &u8| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        self.at += rest.iter().position(blank).unwrap_or(rest.len());
        self.text.as_bytes().get(self.at).copied()
    }

    /// Takes this byte if it is the next token.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), Error> {
        if self.take(byte) {
            Ok(())
        } else {
            Err(self.error(what))
        }
    }

    /// That there is nothing more.
    pub(super) fn end(&mut self) -> Result<(), Error> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.error("something stands behind the end")),
        }
    }

    /// Takes `true`, `false` or `null`.
    pub(super) fn word(&mut self, word: &str) -> Result<(), Error> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(())
        } else {
            Err(self.error("is no JSON"))
        }
    }

    /// Goes through an object: `member` is called with each name, to read the value.
    pub(super) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, &str) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.expect(b'{', "is no object")?;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.error("a name is missing"));
            }
            let name = self.string()?;
            self.expect(b':', "a colon is missing")?;
            member(self, &name)?;
            if self.take(b'}') {
                return Ok(());
            }
            self.expect(b',', "a comma is missing")?;
        }
    }

    /// Goes through a list: `element` is called to read each.
    pub(super) fn list(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.expect(b'[', "is no list")?;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            element(self)?;
            if self.take(b']') {
                return Ok(());
            }
            self.expect(b',', "a comma is missing")?;
        }
    }

    /// A text in quotes.
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, Error> {
        self.expect(b'"', "is no text")?;
        let start = self.at;
        let text = self.text;
        let mut whole: Option<String> = None;
        let mut from = start;
        loop {
            let rest = &text.as_bytes()[self.at..];
            let special = |byte: &u8| matches!(byte, b'"' | b'\\' | ..0x20);
            let Some(plain) = rest.iter().position(special) else {
                return Err(self.error("a text does not end"));
            };
            self.at += plain;
            let piece = &text[from..self.at];
            match rest[plain] {
                b'"' => {
                    self.at += 1;
                    return Ok(match whole {
                        None => Cow::Borrowed(piece),
                        Some(whole) => Cow::Owned(whole + piece),
                    });
                }
                b'\\' => {
                    self.at += 1;
                    let whole = whole.get_or_insert_default();
                    whole.push_str(piece);
                    let escaped = self.escaped()?;
                    whole.push(escaped);
                    from = self.at;
                }
                _ => return Err(self.error("a text has a control character")),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, Error> {
        let byte = self.text.as_bytes().get(self.at).copied();
        self.at += 1;
        Ok(match byte {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let unit = self.unit()?;
                if !(0xd800..0xe000).contains(&unit) {
                    return char::from_u32(unit).ok_or_else(|| self.error("is no character"));
                }
                let is_pair = self.text[self.at..].starts_with("\\u");
                if !is_pair {
                    return Err(self.error("half of a character"));
                }
                self.at += 2;
                let low = self.unit()?;
                return char::decode_utf16(
                    [unit, low].map(|unit| u16::try_from(unit).unwrap_or(0)),
                )
                .next()
                .and_then(Result::ok)
                .ok_or_else(|| self.error("half of a character"));
            }
            _ => {
                self.at -= 1;
                return Err(self.error("an unknown escape"));
            }
        })
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Result<u32, Error> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4);
        let mut unit = 0;
        for digit in digits.unwrap_or(b"-") {
            let digit = char::from(*digit).to_digit(16);
            unit = unit << 4 | digit.ok_or_else(|| self.error("an unknown escape"))?;
        }
        self.at += 4;
        Ok(unit)
    }

    /// A number, as it is written.
    pub(super) fn number(&mut self) -> Result<&'a str, Error> {
        let rest = &self.text[self.at..];
        let end = rest.bytes().position(|byte| !is_of_number(byte));
        let number = &rest[..end.unwrap_or(rest.len())];
        if !is_number(number) {
            return Err(self.error("is no JSON"));
        }
        self.at += number.len();
        Ok(number)
    }

    /// Passes over a value, whatever it is.
    pub(super) fn skip(&mut self) -> Result<(), Error> {
        self.skip_within(MAX_SKIPPED)
    }

    fn skip_within(&mut self, depth: usize) -> Result<(), Error> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(self.error("lies too deep in others"));
        };
        match self.peek() {
            Some(b'{') => self.object(|lexer, _| lexer.skip_within(depth)),
            Some(b'[') => self.list(|lexer| lexer.skip_within(depth)),
            Some(b'"') => self.string().map(drop),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            _ => self.number().map(drop),
        }
    }
}

fn is_of_number(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E')
}

/// Whether a text is a number by JSON's grammar.
pub(super) fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (text, exponent) = match text.split_once(['e', 'E']) {
        Some((text, exponent)) => (text, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|text| digits(text.strip_prefix(['+', '-']).unwrap_or(text)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn texts_are_read_as_serde_reads_them(text: String) {
            for json in [serde_json::to_string(&text).expect("JSON"), format!("\"{text}\"")] {
                let read = Lexer::new(json.as_bytes()).and_then(|mut lexer| {
                    let read = lexer.string()?.into_owned();
                    lexer.end().map(|()| read)
                });
                prop_assert_eq!(read.ok(), serde_json::from_str::<String>(&json).ok());
            }
        }

        #[test]
        fn what_is_json_is_what_serde_takes_for_it(json in "[\\[\\]{}:,\" \\\\u0-9a-f.eE+truefalsn-]{0,12}") {
            let read = Lexer::new(json.as_bytes()).and_then(|mut lexer| {
                lexer.skip()?;
                lexer.end()
            });
            let serde = serde_json::from_str::<serde::de::IgnoredAny>(&json);
            prop_assert_eq!(read.is_ok(), serde.is_ok(), "{}", json);
        }
    }

    #[test]
    fn characters_may_be_escaped_in_pairs() {
        let read = |json: &str| Lexer::new(json.as_bytes())?.string().map(Cow::into_owned);
        assert_eq!(read(r#""\ud83e\udd80 \u00e9""#).as_deref(), Ok("🦀 é"));
        for wrong in [
            r#""\ud83e""#,
            r#""\udd80""#,
            r#""\ud83e\ud83e""#,
            r#""\u00g0""#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn errors_have_their_place() {
        let mut lexer = Lexer::new(b"{\n  \"a\": tru\n}").expect("UTF-8");
        let error = lexer.skip().unwrap_err().to_string();
        assert_eq!(error, "is no JSON (line 2, column 8)");
    }
}
