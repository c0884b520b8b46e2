//! The attribute that nearly all are: a key and a text, each written once. Three quarters of what a request
//! has are such, so they are told from others by their shape, before they are walked through.

/// A key and a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plain<'a> {
    pub(super) key: &'a [u8],
    pub(super) text: &'a [u8],
}

/// Messages that lie in one another in it: the attribute and its value.
pub(super) const DEPTH: usize = 2;

/// Tags of `KeyValue.key`, `KeyValue.value` and `AnyValue.string_value`.
const KEY: u8 = 1 << 3 | 2;
const VALUE: u8 = 2 << 3 | 2;
const TEXT: u8 = 1 << 3 | 2;

impl<'a> Plain<'a> {
    /// Reads a `KeyValue`; `None` where it is any other, or malformed. All that is not key or text is ASCII.
    #[inline]
    pub(super) fn read(attribute: &'a [u8]) -> Option<Self> {
        let [KEY, key_len @ ..0x80, rest @ ..] = attribute else {
            return None;
        };
        let (key, rest) = rest.split_at_checked(usize::from(*key_len))?;
        let [
            VALUE,
            value_len @ ..0x80,
            TEXT,
            text_len @ ..0x80,
            text @ ..,
        ] = rest
        else {
            return None;
        };
        let is_whole =
            usize::from(*text_len) == text.len() && usize::from(*value_len) == text.len() + 2;
        is_whole.then_some(Self { key, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::check::check;
    use crate::otlp::json::{Dialect, write};
    use crate::otlp::schema::{KEY_VALUE, RESOURCE};
    use crate::otlp::wire::put_bytes;

    #[test]
    fn a_key_and_a_text_are_read() {
        let plain = |key, text| Some(Plain { key, text });
        assert_eq!(
            Plain::read(b"\x0a\x01k\x12\x04\x0a\x02vw"),
            plain(b"k", b"vw")
        );
        assert_eq!(Plain::read(b"\x0a\x00\x12\x02\x0a\x00"), plain(b"", b""));
        let long = [b"\x0a\x00\x12\x7f\x0a\x7d".as_slice(), &[b'v'; 125]].concat();
        assert_eq!(Plain::read(&long), plain(b"", &[b'v'; 125]));
    }

    #[test]
    fn what_has_another_shape_is_not() {
        let others: [&[u8]; 10] = [
            b"",
            b"\x0a\x01k",
            b"\x0a\x09k\x12\x02\x0a\x00",
            // The value first; a number; nothing; more than one.
            b"\x12\x02\x0a\x00\x0a\x01k",
            b"\x0a\x01k\x12\x02\x18\x01",
            b"\x0a\x01k\x12\x00",
            b"\x0a\x01k\x12\x04\x0a\x01v\x0a\x00",
            // More behind it, or less than it says.
            b"\x0a\x01k\x12\x03\x0a\x01v\x0a\x01k",
            b"\x0a\x01k\x12\x04\x0a\x02v",
            b"\x0a\x01k\x12\x05\x0a\x01v",
        ];
        for other in others {
            assert_eq!(Plain::read(other), None, "{other:?}");
        }
    }

    /// As it is, and with a length of more bytes than it needs, by which it is walked through.
    fn both_ways(key: &str, text: &str) -> [Vec<u8>; 2] {
        let mut value = Vec::new();
        put_bytes(1, text.as_bytes(), &mut value);
        let mut plain = Vec::new();
        put_bytes(1, key.as_bytes(), &mut plain);
        let mut walked = plain.clone();
        put_bytes(2, &value, &mut plain);
        let len = u8::try_from(value.len()).expect("a short text");
        walked.extend([VALUE, len | 0x80, 0]);
        walked.extend(value);
        assert!(Plain::read(&plain).is_some() && Plain::read(&walked).is_none());
        [plain, walked]
    }

    #[test]
    fn it_is_written_as_if_walked_through() {
        let texts = [
            "",
            "v",
            "say \"no\"\n",
            "größer",
            "of some forty bytes, which is long for one",
        ];
        for (dialect, key) in [Dialect::Otlp, Dialect::SnakeCase]
            .into_iter()
            .flat_map(|dialect| ["", "http.route", "ключ\\"].map(|key| (dialect, key)))
        {
            for text in texts {
                let written = both_ways(key, text).map(|attribute| {
                    let mut resource = Vec::new();
                    put_bytes(1, &attribute, &mut resource);
                    let mut out = Vec::new();
                    write(&RESOURCE, &resource, dialect, &mut out);
                    String::from_utf8(out).expect("UTF-8")
                });
                assert_eq!(written[0], written[1]);
            }
        }
    }

    #[test]
    fn what_is_not_utf_8_is_found_in_it() {
        for attribute in [
            b"\x0a\x01\xff\x12\x03\x0a\x01v",
            b"\x0a\x01k\x12\x03\x0a\x01\xff",
        ] {
            assert!(Plain::read(attribute).is_some());
            let mut resource = Vec::new();
            put_bytes(1, attribute, &mut resource);
            let error = check(&RESOURCE, &resource).expect_err("not UTF-8");
            assert!(error.to_string().ends_with(": is not UTF-8"), "{error}");
            assert!(check(&KEY_VALUE, attribute).is_err());
        }
        let [umlaut, _] = both_ways("größe", "größer");
        assert!(check(&KEY_VALUE, &umlaut).is_ok());
    }
}
