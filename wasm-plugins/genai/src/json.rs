//! JSON as it comes in pieces, within bounds: whoever sends it chooses how large it gets, and what it
//! becomes once it is parsed.

use serde_json::Value;

/// Most items that what is parsed at once may have: an item of a byte or two becomes one of many.
const MAX_ITEMS: usize = 16 << 10;

/// Parses a whole text, unless it has too many items.
pub(crate) fn parse(text: &[u8]) -> Option<Value> {
    let mut scan = Scan::default();
    let mut rest = text;
    while let Some((byte, behind)) = scan.next(rest) {
        rest = behind;
        if matches!(byte, b',' | b'{' | b'[') {
            scan.items += 1;
        }
    }
    if scan.items > MAX_ITEMS {
        return None;
    }
    serde_json::from_slice(text).ok()
}

/// Where strings begin and end.
#[derive(Debug, Default)]
struct Scan {
    in_string: bool,
    escaped: bool,
    items: usize,
}

impl Scan {
    /// The next byte outside of strings, quotes among them, and what is behind it.
    fn next<'t>(&mut self, text: &'t [u8]) -> Option<(u8, &'t [u8])> {
        let mut rest = text;
        loop {
            if !self.in_string {
                let (&byte, behind) = rest.split_first()?;
                self.in_string = byte == b'"';
                return Some((byte, behind));
            }
            if self.escaped {
                rest = rest.get(1..)?;
                self.escaped = false;
            }
            let at = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
            if rest[at] == b'"' {
                self.in_string = false;
                return Some((b'"', &rest[at + 1..]));
            }
            rest = &rest[at + 1..];
            self.escaped = true;
            if rest.is_empty() {
                return None;
            }
        }
    }
}

/// The members of the one object that a text is. Only those that are wanted are kept, and only as
/// far as there is room; of others it is known that they are there.
#[derive(Debug)]
pub(crate) struct Members {
    wanted: fn(&str) -> bool,
    /// Bytes that may still be kept.
    room: usize,
    at: At,
    scan: Scan,
    depth: usize,
    text: Vec<u8>,
    /// The member whose value comes.
    name: String,
    keeps: bool,
    items: usize,
    found: Vec<(String, Option<Value>)>,
    /// Members with values that were wanted, and for which there was no room.
    pub(crate) left_out: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Start,
    Name,
    InName,
    Colon,
    Value,
    InValue,
    End,
    Broken,
}

/// Most members whose names are kept, and the longest name.
const MAX_MEMBERS: usize = 128;
const MAX_NAME: usize = 256;

impl Members {
    pub(crate) fn new(room: usize, wanted: fn(&str) -> bool) -> Self {
        Self {
            wanted,
            room,
            at: At::Start,
            scan: Scan::default(),
            depth: 0,
            text: Vec::new(),
            name: String::new(),
            keeps: false,
            items: 0,
            found: Vec::new(),
            left_out: 0,
        }
    }

    /// Whether all of the object has come, and it was one.
    pub(crate) fn is_whole(&self) -> bool {
        self.at == At::End
    }

    pub(crate) fn has(&self, member: impl Fn(&str) -> bool) -> bool {
        self.found.iter().any(|(name, _)| member(name))
    }

    /// The value of a member, where it was kept.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        let mut found = self.found.iter().rev();
        found.find(|(other, _)| other == name)?.1.as_ref()
    }

    pub(crate) fn push(&mut self, mut text: &[u8]) {
        while let Some((&byte, behind)) = text.split_first() {
            match self.at {
                At::InName => text = self.name(text),
                At::InValue => text = self.value(text),
                At::End | At::Broken => return,
                _ if byte.is_ascii_whitespace() => text = behind,
                At::Start => {
                    self.at = if byte == b'{' { At::Name } else { At::Broken };
                    text = behind;
                }
                At::Name => {
                    match byte {
                        b'"' => self.begin_name(),
                        b',' => {}
                        b'}' => self.at = At::End,
                        _ => self.at = At::Broken,
                    }
                    text = behind;
                }
                At::Colon => {
                    self.at = if byte == b':' { At::Value } else { At::Broken };
                    text = behind;
                }
                At::Value => self.begin_value(),
            }
        }
    }

    fn begin_name(&mut self) {
        self.at = At::InName;
        self.text.clear();
        self.text.push(b'"');
        self.scan = Scan {
            in_string: true,
            ..Scan::default()
        };
    }

    fn name<'t>(&mut self, text: &'t [u8]) -> &'t [u8] {
        let next = self.scan.next(text);
        let rest = next.map_or(&[][..], |(_, rest)| rest);
        self.text
            .extend_from_slice(&text[..text.len() - rest.len()]);
        if self.text.len() > MAX_NAME || self.found.len() >= MAX_MEMBERS {
            self.at = At::Broken;
        } else if next.is_some() {
            match serde_json::from_slice(&self.text) {
                Ok(name) => {
                    self.name = name;
                    self.at = At::Colon;
                }
                Err(_) => self.at = At::Broken,
            }
        }
        rest
    }

    fn begin_value(&mut self) {
        self.at = At::InValue;
        self.text.clear();
        self.scan = Scan::default();
        self.depth = 0;
        self.keeps = (self.wanted)(&self.name);
        self.items = 0;
    }

    fn value<'t>(&mut self, text: &'t [u8]) -> &'t [u8] {
        let mut rest = text;
        while let Some((byte, behind)) = self.scan.next(rest) {
            let ends_before = self.depth == 0 && matches!(byte, b',' | b'}' | b']');
            if ends_before {
                self.keep(&text[..text.len() - rest.len()]);
                self.end_value();
                return rest;
            }
            rest = behind;
            match byte {
                b'{' | b'[' => {
                    self.depth += 1;
                    self.items += 1;
                }
                b'}' | b']' => self.depth -= 1,
                b',' => self.items += 1,
                _ => {}
            }
        }
        self.keep(text);
        &[]
    }

    fn keep(&mut self, text: &[u8]) {
        if !self.keeps {
            return;
        }
        if self.text.len() + text.len() > self.room || self.items > MAX_ITEMS {
            self.keeps = false;
            self.left_out += 1;
            self.text = Vec::new();
            return;
        }
        self.text.extend_from_slice(text);
    }

    fn end_value(&mut self) {
        let value = if self.keeps {
            self.room -= self.text.len();
            match serde_json::from_slice(&self.text) {
                Ok(value) => Some(value),
                // Too deep, or no JSON.
                Err(_) => {
                    self.at = At::Broken;
                    return;
                }
            }
        } else {
            None
        };
        self.found.push((std::mem::take(&mut self.name), value));
        self.at = At::Name;
    }
}
