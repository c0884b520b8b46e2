//! Distinguished names as text, by RFC 4514: no value can be read as further attributes, as it could where
//! commas stand as they are.

use std::fmt::Write as _;

use x509_parser::asn1_rs::ToDer as _;
use x509_parser::prelude::{AttributeTypeAndValue, X509Name};

/// See the module's documentation.
pub(super) fn text(name: &X509Name<'_>) -> String {
    let mut relative: Vec<String> = name
        .iter_rdn()
        .map(|one| one.iter().map(attribute).collect::<Vec<_>>().join("+"))
        .collect();
    // The last one first (section 2.1).
    relative.reverse();
    relative.join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let name = descriptor(&oid);
    match (name, attribute.as_str()) {
        (Some(name), Ok(value)) => format!("{name}={}", escaped(value)),
        // Where there is no name, or no string of UTF-8, the value is the octets of its encoding (section 2.4).
        _ => {
            let mut text = format!("{}=#", name.unwrap_or(&oid));
            for byte in attribute.attr_value().to_der_vec().unwrap_or_default() {
                let _ = write!(text, "{byte:02x}");
            }
            text
        }
    }
}

/// The names of RFC 4514, section 3, and two more that certificates have.
fn descriptor(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "2.5.4.3" => "CN",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "2.5.4.5" => "serialNumber",
        "1.2.840.113549.1.9.1" => "emailAddress",
        _ => return None,
    })
}

fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for (at, letter) in value.char_indices() {
        let is_last = at + letter.len_utf8() == value.len();
        match letter {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', letter]),
            '#' if at == 0 => text.push_str("\\#"),
            ' ' if at == 0 || is_last => text.push_str("\\ "),
            _ if letter.is_control() => {
                for byte in letter.encode_utf8(&mut [0; 4]).bytes() {
                    let _ = write!(text, "\\{byte:02x}");
                }
            }
            _ => text.push(letter),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use x509_parser::asn1_rs::{Any, Oid, Tag};
    use x509_parser::prelude::RelativeDistinguishedName;

    use super::*;

    const COMMON_NAME: &[u64] = &[2, 5, 4, 3];
    const ORGANIZATION: &[u64] = &[2, 5, 4, 10];

    fn one<'a>(oid: &[u64], tag: Tag, value: &'a [u8]) -> AttributeTypeAndValue<'a> {
        AttributeTypeAndValue::new(Oid::from(oid).unwrap(), Any::from_tag_and_data(tag, value))
    }

    fn text_of(relative: Vec<Vec<AttributeTypeAndValue<'_>>>) -> String {
        let relative = relative.into_iter().map(RelativeDistinguishedName::new);
        text(&X509Name::new(relative.collect(), &[]))
    }

    fn common_name(value: &str) -> String {
        let name = one(COMMON_NAME, Tag::Utf8String, value.as_bytes());
        text_of(vec![vec![name]])
    }

    #[test]
    fn the_last_attribute_is_first() {
        let shop = one(ORGANIZATION, Tag::PrintableString, b"Shop");
        let alice = one(COMMON_NAME, Tag::Utf8String, b"alice");
        assert_eq!(text_of(vec![vec![shop], vec![alice]]), "CN=alice,O=Shop");
        assert_eq!(text_of(Vec::new()), "");
    }

    #[test]
    fn attributes_of_one_set_are_joined() {
        let user = one(&[0, 9, 2342, 19_200_300, 100, 1, 1], Tag::Utf8String, b"7");
        let alice = one(COMMON_NAME, Tag::Utf8String, b"alice");
        assert_eq!(text_of(vec![vec![alice, user]]), "CN=alice+UID=7");
    }

    #[test]
    fn a_value_cannot_be_read_as_another_attribute() {
        for (value, escaped) in [
            ("eve,O=Shop", "CN=eve\\,O=Shop"),
            ("eve+UID=1", "CN=eve\\+UID=1"),
            ("eve;\"<>\\", "CN=eve\\;\\\"\\<\\>\\\\"),
            ("#1", "CN=\\#1"),
            ("a #1", "CN=a #1"),
            (" a b ", "CN=\\ a b\\ "),
            (" ", "CN=\\ "),
            ("", "CN="),
            ("a\0\r\n\u{85}", "CN=a\\00\\0d\\0a\\c2\\85"),
            ("Zoë 人", "CN=Zoë 人"),
        ] {
            assert_eq!(common_name(value), escaped);
        }
    }

    #[test]
    fn what_has_no_name_or_is_no_utf8_is_told_in_octets() {
        let unknown = one(&[1, 2, 3, 4], Tag::Utf8String, b"x");
        assert_eq!(text_of(vec![vec![unknown]]), "1.2.3.4=#0c0178");
        let wide = one(COMMON_NAME, Tag::BmpString, b"\0x");
        assert_eq!(text_of(vec![vec![wide]]), "CN=#1e020078");
        let broken = one(COMMON_NAME, Tag::Utf8String, b"\xff");
        assert_eq!(text_of(vec![vec![broken]]), "CN=#0c01ff");
    }
}
