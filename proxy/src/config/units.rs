//! Durations and byte sizes as they are written in the configuration: a whole number and a unit.
//!
//! The schema's patterns are as strict as the parsers (nine digits keep every product within 64
//! bits), so editors, `weir check` and the loader agree on what is valid.

use std::borrow::Cow;
use std::fmt;
use std::time;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time: `50ms`, `5s`, `1m`, `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Duration(pub(super) time::Duration);

/// An amount of memory: `512B`, `64KiB`, `16MiB`, `1GiB`, or decimal `10MB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ByteSize(pub(super) u64);

/// So many bytes in a second, written as the amount alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub(super) struct ByteRate(pub(super) ByteSize);

/// Titles in the schema, by which messages know the types.
pub(super) const DURATION: &str = "duration";
pub(super) const BYTE_SIZE: &str = "byte size";
pub(super) const BYTE_RATE: &str = "byte rate";

/// What is written of either amount of bytes, by [`SIZE_UNITS`].
const SIZE_PATTERN: &str = "^[0-9]{1,9}(B|KiB|MiB|GiB|kB|MB|GB)$";

/// Units in milliseconds, largest first.
const TIME_UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
/// Units in bytes, largest first.
const SIZE_UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1000),
    ("B", 1),
];

impl Duration {
    pub(super) const fn millis(millis: u64) -> Self {
        Self(time::Duration::from_millis(millis))
    }

    pub(super) const fn seconds(seconds: u64) -> Self {
        Self(time::Duration::from_secs(seconds))
    }
}

impl ByteSize {
    pub(super) const fn kib(kib: u64) -> Self {
        Self(kib << 10)
    }

    pub(super) const fn mib(mib: u64) -> Self {
        Self(mib << 20)
    }

    /// As the code that counts memory wants it; every supported target has 64-bit pointers.
    pub(super) fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// A duration as it is written in the configuration, for the command line.
pub fn duration(text: &str) -> Result<time::Duration, String> {
    let millis = parse(text, &TIME_UNITS).ok_or("a number with `ms`, `s`, `m` or `h`")?;
    Ok(time::Duration::from_millis(millis))
}

/// The number times its unit; `None` where either is missing or unknown.
fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    (1..=9).contains(&digits).then_some(())?;
    Some(number.parse::<u64>().ok()? * factor)
}

/// In the largest unit that divides it.
fn write(f: &mut fmt::Formatter<'_>, amount: u64, units: &[(&str, u64)]) -> fmt::Result {
    let fits = |(_, factor): &&(&str, u64)| amount >= *factor && amount.is_multiple_of(*factor);
    match units.iter().find(fits).or(units.last()) {
        Some((unit, factor)) => write!(f, "{}{unit}", amount / factor),
        None => write!(f, "{amount}"),
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        write(f, millis, &TIME_UNITS)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.0, &SIZE_UNITS)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let millis = parse(&text, &TIME_UNITS);
        millis
            .map(Self::millis)
            .ok_or_else(|| de::Error::custom("not a duration"))
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let bytes = parse(&text, &SIZE_UNITS);
        bytes
            .map(Self)
            .ok_or_else(|| de::Error::custom("not a byte size"))
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "title": DURATION,
            "description": "A whole number and a unit (ms, s, m or h), such as `50ms`.",
            "type": "string",
            "pattern": "^[0-9]{1,9}(ms|s|m|h)$",
            "examples": ["50ms", "5s", "1m", "1h"]
        })
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "title": BYTE_SIZE,
            "description": "A whole number and a unit (B, KiB, MiB, GiB, or kB, MB, GB), such as `16MiB`.",
            "type": "string",
            "pattern": SIZE_PATTERN,
            "examples": ["16MiB", "64KiB", "10MB", "512B"]
        })
    }
}

impl JsonSchema for ByteRate {
    fn schema_name() -> Cow<'static, str> {
        "ByteRate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "title": BYTE_RATE,
            "description": "A whole number and a unit (B, KiB, MiB, GiB, or kB, MB, GB) of bytes a second, such as `240B`.",
            "type": "string",
            "pattern": SIZE_PATTERN,
            "examples": ["240B", "1KiB", "0B"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(text: &str) -> Option<u64> {
        parse(text, &TIME_UNITS)
    }

    fn bytes(text: &str) -> Option<u64> {
        parse(text, &SIZE_UNITS)
    }

    #[test]
    fn a_duration_is_a_whole_number_and_a_unit() {
        assert_eq!(millis("50ms"), Some(50));
        assert_eq!(millis("5s"), Some(5000));
        assert_eq!(millis("1m"), Some(60_000));
        assert_eq!(millis("1h"), Some(3_600_000));
        for wrong in [
            "",
            "5",
            "s",
            "1.5s",
            "-1s",
            "5 s",
            "5S",
            "1234567890s",
            "1m30s",
        ] {
            assert_eq!(millis(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_byte_size_is_binary_or_decimal_by_its_unit() {
        assert_eq!(bytes("512B"), Some(512));
        assert_eq!(bytes("64KiB"), Some(65_536));
        assert_eq!(bytes("10MB"), Some(10_000_000));
        assert_eq!(bytes("999999999GiB"), Some(999_999_999 << 30));
        for wrong in ["", "16", "16M", "16mib", "1TiB"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        assert_eq!(Duration::millis(90_000).to_string(), "90s");
        assert_eq!(Duration::millis(0).to_string(), "0ms");
        assert_eq!(ByteSize::mib(16).to_string(), "16MiB");
        assert_eq!(ByteSize(1500).to_string(), "1500B");
    }
}
