//! Requests by chance, as any writer of protobuf may write them: fields in any order, written twice,
//! packed or not, unknown ones among them.

use fastrand::Rng;

use super::Signal;
use super::schema::{Kind, Label, Message};
use super::wire::{put_bytes, put_nested, put_tag, put_varint};

/// Makes requests; the same ones of the same seed.
#[derive(Debug)]
pub struct Generator {
    rng: Rng,
    /// Whether writers are odd: singular fields come twice, in any order.
    pub is_odd: bool,
    /// JSON that is not OTLP's has them in another form.
    pub without_ids: bool,
}

impl Generator {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let is_odd = rng.bool();
        Self {
            rng,
            is_odd,
            without_ids: false,
        }
    }

    pub fn request(&mut self, signal: Signal) -> Vec<u8> {
        self.message(signal.request(), 0)
    }

    fn message(&mut self, message: &Message, depth: usize) -> Vec<u8> {
        let mut fields: Vec<Vec<u8>> = Vec::new();
        let members: Vec<_> = message
            .fields
            .iter()
            .filter(|field| field.label == Label::Oneof)
            .collect();
        let chosen = (!members.is_empty()).then(|| members[self.rng.usize(..members.len())].number);
        for field in message.fields {
            let is_member = field.label == Label::Oneof;
            let times = match field.label {
                _ if is_member && chosen != Some(field.number) && !self.is_rarely_odd() => 0,
                _ if matches!(field.kind, Kind::Id(_)) && self.without_ids => 0,
                Label::Repeated if depth < 6 => self.rng.usize(..3),
                Label::Repeated => 0,
                _ if depth > 12 && matches!(field.kind, Kind::Message(_)) => 0,
                _ if self.is_rarely_odd() => 2,
                _ => usize::from(self.rng.u8(..10) < 7),
            };
            if times > 1
                && field.label == Label::Repeated
                && self.rng.bool()
                && let Some(packed) = self.packed(field.number, field.kind, times)
            {
                fields.push(packed);
                continue;
            }
            for _ in 0..times {
                let mut out = Vec::new();
                self.field(field.number, field.kind, depth, &mut out);
                fields.push(out);
            }
        }
        if self.rng.u8(..8) == 0 {
            let mut out = Vec::new();
            put_bytes(900 + self.rng.u32(..9), b"unknown", &mut out);
            fields.push(out);
        }
        if self.is_odd {
            self.rng.shuffle(&mut fields);
        }
        fields.concat()
    }

    fn is_rarely_odd(&mut self) -> bool {
        self.is_odd && self.rng.u8(..12) == 0
    }

    fn packed(&mut self, number: u32, kind: Kind, times: usize) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        put_tag(number, 2, &mut out);
        put_nested(1, &mut out, |out| {
            for _ in 0..times {
                match kind {
                    Kind::Fixed64 => out.extend(self.number().to_le_bytes()),
                    Kind::Double => out.extend(self.double().to_le_bytes()),
                    Kind::Uint64 => put_varint(self.number(), out),
                    _ => return None,
                }
            }
            Some(())
        })?;
        Some(out)
    }

    fn field(&mut self, number: u32, kind: Kind, depth: usize, out: &mut Vec<u8>) {
        match kind {
            Kind::Bool => {
                put_tag(number, 0, out);
                put_varint(self.rng.bool().into(), out);
            }
            Kind::Int32 => {
                put_tag(number, 0, out);
                let value = i64::from(self.rng.i32(..)) >> self.rng.u8(..32);
                put_varint(value.cast_unsigned(), out);
            }
            Kind::Enum(names) => {
                put_tag(number, 0, out);
                let known = self.rng.u8(..4) > 0;
                let value = if known {
                    self.rng.usize(..names.len()) as u64
                } else {
                    i64::from(self.rng.i32(..)).cast_unsigned()
                };
                put_varint(value, out);
            }
            Kind::Uint32 | Kind::Sint32 => {
                put_tag(number, 0, out);
                put_varint(u64::from(self.rng.u32(..)) >> self.rng.u8(..32), out);
            }
            Kind::Int64 | Kind::Uint64 => {
                put_tag(number, 0, out);
                put_varint(self.number(), out);
            }
            Kind::Fixed32 => {
                put_tag(number, 5, out);
                out.extend((self.rng.u32(..) >> self.rng.u8(..32)).to_le_bytes());
            }
            Kind::Fixed64 | Kind::Sfixed64 => {
                put_tag(number, 1, out);
                out.extend(self.number().to_le_bytes());
            }
            Kind::Double => {
                put_tag(number, 1, out);
                out.extend(self.double().to_le_bytes());
            }
            Kind::Text => put_bytes(number, self.text().as_bytes(), out),
            Kind::Bytes => {
                let len = self.rng.usize(..9);
                let bytes: Vec<u8> = std::iter::repeat_with(|| self.rng.u8(..))
                    .take(len)
                    .collect();
                put_bytes(number, &bytes, out);
            }
            Kind::Id(len) => {
                let len = if self.rng.u8(..5) > 0 { len } else { 0 };
                let id: Vec<u8> = std::iter::repeat_with(|| self.rng.u8(..))
                    .take(len)
                    .collect();
                put_bytes(number, &id, out);
            }
            Kind::Message(message) => {
                let inner = self.message(message, depth + 1);
                put_bytes(number, &inner, out);
            }
        }
    }

    fn number(&mut self) -> u64 {
        match self.rng.u8(..6) {
            0 => 0,
            1 => u64::MAX,
            2 => i64::MIN.cast_unsigned(),
            // Past what a double can hold.
            3 => (1 << 53) + 1,
            _ => self.rng.u64(..) >> self.rng.u8(..64),
        }
    }

    fn double(&mut self) -> f64 {
        match self.rng.u8(..10) {
            0 => 0.0,
            1 => f64::NAN,
            2 => f64::INFINITY,
            3 => f64::NEG_INFINITY,
            4 => f64::MIN_POSITIVE / 2.0,
            5 => f64::MAX,
            6 => -0.0,
            // The smallest there is.
            7 => f64::from_bits(1),
            _ => self.rng.f64() * 1e6 - 5e5,
        }
    }

    fn text(&mut self) -> String {
        const TEXTS: [&str; 8] = [
            "",
            "a",
            "service.name",
            "with \"quotes\" and \\",
            "line\nfeed\ttab\u{0}nul",
            "ünïcødé ✓ 🦀",
            "</script>&'=",
            "longer than any word of eight bytes is",
        ];
        TEXTS[self.rng.usize(..TEXTS.len())].to_owned()
    }
}
