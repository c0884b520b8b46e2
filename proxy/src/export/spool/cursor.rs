//! How far an exporter has come: a value, and the text in its file.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::segment::Key;

const HEAD: &str = "weir cursor 1";

/// Everything in runs before `base` is delivered; in later ones, what is below the stream's
/// position, or nothing where it has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) base: u64,
    positions: BTreeMap<Key, u64>,
}

impl Cursor {
    pub(super) fn at(base: u64) -> Self {
        Self {
            base,
            positions: BTreeMap::new(),
        }
    }

    /// The sequence that is to be delivered next.
    pub(super) fn position(&self, key: Key) -> u64 {
        if key.generation < self.base {
            return u64::MAX;
        }
        self.positions.get(&key).copied().unwrap_or_default()
    }

    pub(super) fn set(&mut self, key: Key, position: u64) {
        self.positions.insert(key, position);
    }

    /// Forgets about streams of runs before `base`, of which nothing is left.
    pub(super) fn prune(&mut self, base: u64) {
        self.base = self.base.max(base);
        self.positions.retain(|key, _| key.generation >= base);
    }

    /// The latest run that it knows of.
    pub(super) fn generation(&self) -> u64 {
        let last = self.positions.keys().next_back();
        last.map_or(0, |key| key.generation).max(self.base)
    }

    pub(super) fn encode(&self) -> String {
        let mut text = format!("{HEAD}\nbase {}\n", self.base);
        for (key, position) in &self.positions {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{} {} {position}", key.generation, key.worker);
        }
        let checksum = crc32fast::hash(text.as_bytes());
        let _ = writeln!(text, "crc {checksum:08x}");
        text
    }

    /// `None` where the text is not what was written.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let at = text.rfind("crc ")?;
        let (body, checksum) = text.split_at(at);
        if checksum != format!("crc {:08x}\n", crc32fast::hash(body.as_bytes())) {
            return None;
        }
        let mut lines = body.lines();
        if lines.next()? != HEAD {
            return None;
        }
        let mut cursor = Self::at(lines.next()?.strip_prefix("base ")?.parse().ok()?);
        for line in lines {
            let mut words = line.split(' ');
            let key = Key {
                generation: words.next()?.parse().ok()?,
                worker: words.next()?.parse().ok()?,
            };
            cursor.set(key, words.next()?.parse().ok()?);
        }
        Some(cursor)
    }
}

/// The file name for an exporter, which may be named anything.
pub(super) fn file_name(exporter: &str) -> String {
    let mut name = String::new();
    for byte in exporter.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            name.push(char::from(byte));
        } else {
            let _ = write!(name, "%{byte:02x}");
        }
    }
    name + ".cursor"
}

/// The exporter of such a name.
pub(super) fn exporter(file_name: &str) -> Option<String> {
    let mut bytes = file_name.strip_suffix(".cursor")?.bytes();
    let mut name = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            let digits = std::str::from_utf8(&digits).ok()?;
            name.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            name.push(byte);
        }
    }
    String::from_utf8(name).ok()
}
