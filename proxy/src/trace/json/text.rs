//! The parts of JSON that both JSON formats are made of: texts, numbers, times.
//!
//! A trace is some 8 kB of short texts that nearly never need escaping. So a text is copied whole and
//! looked at eight bytes at a time, and only one with something to escape is taken apart.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::hex;

/// A quoted text.
pub(crate) fn string(text: &str, out: &mut Vec<u8>) {
    string_bytes(text.as_bytes(), out);
}

/// A quoted text that is known to be UTF-8.
pub(crate) fn string_bytes(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let start = out.len();
    let is_plain = match text.len() {
        8..16 => both_ends::<8>(text, out),
        16..=32 => both_ends::<16>(text, out),
        _ => {
            out.extend_from_slice(text);
            is_plain(text)
        }
    };
    if !is_plain {
        out.truncate(start);
        escape(text, out);
    }
    out.push(b'"');
}

/// Appends a text of `N` to twice as many bytes by its two ends, which overlap: what has a size that
/// the compiler knows is copied without a call. Says whether there is nothing to escape.
#[inline]
fn both_ends<const N: usize>(text: &[u8], out: &mut Vec<u8>) -> bool {
    let (Some(first), Some(last)) = (text.first_chunk::<N>(), text.last_chunk::<N>()) else {
        return false;
    };
    let last_at = out.len() + text.len() - N;
    out.extend_from_slice(first);
    out.truncate(last_at);
    out.extend_from_slice(last);
    let (first, _) = first.as_chunks();
    let (last, _) = last.as_chunks();
    specials(first.iter().chain(last)) == 0
}

/// Is there nothing to escape: no control character, quotation mark or backslash?
fn is_plain(text: &[u8]) -> bool {
    if let Some(last) = text.last_chunk() {
        let (words, _) = text.as_chunks();
        // The last word overlaps the one before it, so that no tail is left over.
        specials(words.iter().chain([last])) == 0
    } else if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        let [first, last] = [first, last].map(|half| u64::from(u32::from_ne_bytes(*half)));
        special(first | last << 32) == 0
    } else {
        !text
            .iter()
            .any(|byte| matches!(byte, ..0x20 | b'"' | b'\\'))
    }
}

/// Not zero when a byte of some words must be escaped.
#[inline]
fn specials<'t>(words: impl Iterator<Item = &'t [u8; 8]>) -> u64 {
    words.fold(0, |found, word| found | special(u64::from_ne_bytes(*word)))
}

/// Not zero when one of eight bytes must be escaped: each of three tests borrows into a byte's
/// highest bit, which the byte itself must not have.
fn special(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHEST: u64 = ONES << 7;
    let control = word.wrapping_sub(ONES * 0x20);
    let quote = (word ^ (ONES * 0x22)).wrapping_sub(ONES);
    let backslash = (word ^ (ONES * 0x5c)).wrapping_sub(ONES);
    (control | quote | backslash) & !word & HIGHEST
}

fn escape(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            ..0x20 => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&hex::Digits::<2>::of(&[byte]).0);
            }
            _ => out.push(byte),
        }
    }
}

pub(crate) fn integer(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// A number, or a text where JSON has no number for it: `"NaN"`, `"Infinity"`, `"-Infinity"`.
pub(crate) fn float(value: f64, out: &mut Vec<u8>) {
    if value.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else if value.is_infinite() {
        let text: &[u8] = if value > 0.0 {
            b"\"Infinity\""
        } else {
            b"\"-Infinity\""
        };
        out.extend_from_slice(text);
    } else {
        serde_json::to_writer(out, &value).expect("a finite number is written to memory");
    }
}

/// Ends an object or array whose members were each written with a comma behind.
pub(crate) fn close(bracket: u8, out: &mut Vec<u8>) {
    match out.last_mut() {
        Some(last @ b',') => *last = bracket,
        _ => out.push(bracket),
    }
}

/// Writes times of one trace as RFC 3339 in UTC; the calendar is asked once a second.
pub(super) struct Clock {
    second: u64,
    /// Quoted, of which all but the fraction stands.
    text: [u8; 32],
}

impl Clock {
    pub(super) fn new() -> Self {
        Self {
            second: u64::MAX,
            text: *b"\"0000-00-00T00:00:00.000000000Z\"",
        }
    }

    /// Nanoseconds since the Unix epoch.
    pub(super) fn write(&mut self, time: u64, out: &mut Vec<u8>) {
        let (second, nanosecond) = (time / 1_000_000_000, time % 1_000_000_000);
        if second != self.second {
            self.second = second;
            self.set_second();
        }
        let (first, rest) = (nanosecond / 100_000_000, nanosecond % 100_000_000);
        self.text[21] = b'0' + u8::try_from(first).expect("one digit");
        self.text[22..30].copy_from_slice(&eight_digits(rest));
        out.extend_from_slice(&self.text);
    }

    fn set_second(&mut self) {
        // A u64 of nanoseconds ends in the year 2554.
        let second = i64::try_from(self.second).expect("a second before 2554");
        let time = Timestamp::from_second(second).expect("a second before 2554");
        let time = TimeZone::UTC.to_datetime(time);
        let year = time.year().unsigned_abs();
        let mut two_digits = |at: usize, value: u16| {
            let digits = [value / 10, value % 10];
            for (place, digit) in self.text[at..at + 2].iter_mut().zip(digits) {
                *place = b'0' + u8::try_from(digit).expect("one digit");
            }
        };
        two_digits(1, year / 100);
        two_digits(3, year % 100);
        let fields = [
            time.month(),
            time.day(),
            time.hour(),
            time.minute(),
            time.second(),
        ];
        for (at, field) in [6, 9, 12, 15, 18].into_iter().zip(fields) {
            two_digits(at, field.unsigned_abs().into());
        }
    }
}

/// The digits of a number below 10^8. All are found at once, in the bytes of one word: it is split
/// into halves, these into pairs and the pairs into digits, each time dividing by multiplication.
fn eight_digits(number: u64) -> [u8; 8] {
    let halves = (number / 10_000) | (number % 10_000) << 32;
    let hundreds = ((halves * 10_486) >> 20) & 0x7f_0000_007f;
    let pairs = hundreds | (halves - 100 * hundreds) << 16;
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    let digits = tens | (pairs - 10 * tens) << 8;
    (digits | 0x3030_3030_3030_3030).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn every_character_is_read_back() {
        for character in (0..0x300)
            .chain(0xfff0..0x1_0010)
            .filter_map(char::from_u32)
        {
            for text in [
                format!("{character}"),
                format!("longer than eight {character}!"),
            ] {
                let json = written(|out| string(&text, out));
                let read: String = serde_json::from_str(&json).expect("JSON");
                assert_eq!(read, text);
            }
        }
    }

    #[test]
    fn what_is_to_be_escaped_is_found_wherever_it_stands() {
        for len in 1..70 {
            for (at, character) in
                (0..len).flat_map(|at| "\"\\\u{1f}".chars().map(move |of| (at, of)))
            {
                let mut text = "a".repeat(len);
                text.replace_range(at..=at, character.encode_utf8(&mut [0; 4]));
                let json = written(|out| string(&text, out));
                let read: String = serde_json::from_str(&json).expect("JSON");
                assert_eq!(read, text);
            }
        }
    }

    #[test]
    fn floats_are_numbers_where_json_has_them() {
        for (value, json) in [
            (1.5, "1.5"),
            (0.0, "0.0"),
            (-1e300, "-1e+300"),
            (f64::NAN, "\"NaN\""),
            (f64::INFINITY, "\"Infinity\""),
            (f64::NEG_INFINITY, "\"-Infinity\""),
        ] {
            assert_eq!(written(|out| float(value, out)), json);
        }
    }

    #[test]
    fn every_number_has_its_eight_digits() {
        for number in (0..10_000)
            .chain((0..100_000_000).step_by(997))
            .chain([99_999_999])
        {
            assert_eq!(eight_digits(number), format!("{number:08}").as_bytes());
        }
    }

    proptest! {
        #[test]
        fn texts_are_read_back(text in "\\PC{0,20}|[\\x00-\\xff]{0,40}") {
            let json = written(|out| string(&text, out));
            prop_assert_eq!(serde_json::from_str::<String>(&json).expect("JSON"), text);
        }

        #[test]
        fn times_are_rfc_3339(times in proptest::collection::vec(any::<u64>(), 1..5)) {
            let mut clock = Clock::new();
            for time in times {
                let json = written(|out| clock.write(time, out));
                let expected = Timestamp::from_nanosecond(time.into()).expect("in range");
                prop_assert_eq!(json, format!("\"{expected:.9}\""));
            }
        }
    }
}
