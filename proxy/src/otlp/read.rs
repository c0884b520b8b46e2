//! From OTLP/JSON to protobuf, in one pass, by the tables.
//!
//! Names may be lowerCamelCase or as in the `.proto` files; those that are not known are passed
//! over, and so is `null`. Ids are hexadecimal, bytes base64 of either alphabet, numbers may be
//! texts, and enums may be given by name. In what Weir wrote itself in the other dialect, ids are
//! base64 too.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::json::Dialect;
use super::lexer::{Error, Lexer, is_number};
use super::schema::{Field, Kind, Label, Message};
use super::wire::{MAX_DEPTH, put_bytes, put_nested, put_tag, put_varint, zigzag};

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

/// The message as protobuf. The error is in words for whoever wrote the JSON.
pub fn read(message: &'static Message, json: &[u8]) -> Result<Vec<u8>, Error> {
    read_as(Dialect::Otlp, message, json)
}

/// The same of another dialect.
pub fn read_as(dialect: Dialect, message: &'static Message, json: &[u8]) -> Result<Vec<u8>, Error> {
    // Protobuf is the smaller of the two.
    let mut out = Vec::with_capacity(json.len() / 2);
    let mut lexer = Lexer::new(json)?;
    object(dialect, message, &mut lexer, MAX_DEPTH, &mut out)?;
    lexer.end()?;
    Ok(out)
}

/// Appends a message's fields.
fn object(
    dialect: Dialect,
    message: &'static Message,
    lexer: &mut Lexer<'_>,
    depth: usize,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let depth = depth
        .checked_sub(1)
        .ok_or_else(|| lexer.error("lies too deep in others"))?;
    lexer.object(|lexer, name| {
        let mut fields = message.fields.iter();
        match fields.find(|field| field.camel == name || field.name == name) {
            None => lexer.skip(),
            Some(field) => Slot {
                dialect,
                field,
                out: &mut *out,
                depth,
                within: Within::Message,
            }
            .read(lexer),
        }
    })
}

/// Where a value stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Message,
    List,
    /// A list of numbers, which stand one behind the other without tags.
    Packed,
}

/// A field's value, or an element of it.
struct Slot<'o> {
    dialect: Dialect,
    field: &'static Field,
    out: &'o mut Vec<u8>,
    depth: usize,
    within: Within,
}

impl Slot<'_> {
    fn read(self, lexer: &mut Lexer<'_>) -> Result<(), Error> {
        let next = lexer.peek();
        if next == Some(b'n') {
            lexer.word("null")?;
            return if self.within == Within::Message {
                Ok(())
            } else {
                Err(self.wrong(lexer, "has `null` in its list"))
            };
        }
        if !self.is_single() {
            return if next == Some(b'[') {
                self.list(lexer)
            } else {
                Err(self.mistaken(lexer))
            };
        }
        match (next, self.field.kind) {
            (Some(b'{'), Kind::Message(message)) => {
                put_tag(self.field.number, 2, self.out);
                let (dialect, depth) = (self.dialect, self.depth);
                put_nested(message.width, self.out, |out| {
                    object(dialect, message, lexer, depth, out)
                })
            }
            (Some(b'"'), _) => {
                let text = lexer.string()?;
                self.text(&text, lexer)
            }
            (Some(b't'), Kind::Bool) => {
                self.varint(1);
                lexer.word("true")
            }
            (Some(b'f'), Kind::Bool) => {
                self.varint(0);
                lexer.word("false")
            }
            (Some(b'-' | b'0'..=b'9'), _) => {
                let number = lexer.number()?;
                self.number(number, lexer)
            }
            (None, _) => Err(lexer.error("the end is missing")),
            _ => Err(self.mistaken(lexer)),
        }
    }

    fn list(self, lexer: &mut Lexer<'_>) -> Result<(), Error> {
        let (dialect, field, depth) = (self.dialect, self.field, self.depth);
        let within = match field.kind {
            Kind::Message(_) | Kind::Text | Kind::Bytes | Kind::Id(_) => Within::List,
            _ => Within::Packed,
        };
        let mut elements = |out: &mut Vec<u8>| {
            lexer.list(|lexer| {
                let slot = Slot {
                    dialect,
                    field,
                    out: &mut *out,
                    depth,
                    within,
                };
                slot.read(lexer)
            })
        };
        if within == Within::List {
            return elements(self.out);
        }
        let start = self.out.len();
        put_tag(field.number, 2, self.out);
        let any = put_nested(1, self.out, |out| {
            let first = out.len();
            elements(out).map(|()| out.len() > first)
        })?;
        if !any {
            self.out.truncate(start);
        }
        Ok(())
    }

    fn wrong(&self, lexer: &Lexer<'_>, what: &str) -> Error {
        lexer.error(format!("{}: {what}", self.field.camel))
    }

    fn mistaken(&self, lexer: &Lexer<'_>) -> Error {
        let what = match self.field.kind {
            _ if !self.is_single() => "is no list",
            Kind::Bool => "is neither true nor false",
            Kind::Text | Kind::Bytes | Kind::Id(_) => "is no text",
            Kind::Message(_) => "is no object",
            Kind::Enum(_) => "is neither a number nor the name of one",
            _ => "is no number that it can be",
        };
        self.wrong(lexer, what)
    }

    /// Whether a default need not be written.
    fn is_plain(&self) -> bool {
        self.within == Within::Message && self.field.label == Label::Plain
    }

    fn is_single(&self) -> bool {
        self.within != Within::Message || self.field.label != Label::Repeated
    }

    fn varint(self, value: u64) {
        if value == 0 && self.is_plain() {
            return;
        }
        if self.within != Within::Packed {
            put_tag(self.field.number, 0, self.out);
        }
        put_varint(value, self.out);
    }

    fn fixed64(self, value: u64) {
        if value == 0 && self.is_plain() {
            return;
        }
        if self.within != Within::Packed {
            put_tag(self.field.number, 1, self.out);
        }
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(self, value: &[u8]) {
        if !(value.is_empty() && self.is_plain()) {
            put_bytes(self.field.number, value, self.out);
        }
    }

    fn integer(self, value: i128, lexer: &Lexer<'_>) -> Result<(), Error> {
        let field = self.field;
        let too_large = |_| {
            let what = match field.kind {
                Kind::Int32 | Kind::Enum(_) | Kind::Sint32 => "is no number of 32 bits",
                Kind::Uint32 | Kind::Fixed32 => "is no number of 32 bits without sign",
                Kind::Int64 | Kind::Sfixed64 => "is no number of 64 bits",
                _ => "is no number of 64 bits without sign",
            };
            lexer.error(format!("{}: {what}", field.camel))
        };
        match self.field.kind {
            Kind::Int32 | Kind::Enum(_) => {
                let value = i32::try_from(value).map_err(too_large)?;
                // As in protobuf, negative ones take ten bytes.
                self.varint(i64::from(value).cast_unsigned());
            }
            Kind::Sint32 => {
                let value = i32::try_from(value).map_err(too_large)?;
                self.varint(zigzag(value).into());
            }
            Kind::Uint32 => self.varint(u32::try_from(value).map_err(too_large)?.into()),
            Kind::Fixed32 => {
                let value = u32::try_from(value).map_err(too_large)?;
                if value != 0 || !self.is_plain() {
                    put_tag(self.field.number, 5, self.out);
                    self.out.extend_from_slice(&value.to_le_bytes());
                }
            }
            Kind::Int64 => {
                let value = i64::try_from(value).map_err(too_large)?;
                self.varint(value.cast_unsigned());
            }
            Kind::Sfixed64 => {
                let value = i64::try_from(value).map_err(too_large)?;
                self.fixed64(value.cast_unsigned());
            }
            Kind::Uint64 => self.varint(u64::try_from(value).map_err(too_large)?),
            Kind::Fixed64 => self.fixed64(u64::try_from(value).map_err(too_large)?),
            _ => return Err(self.mistaken(lexer)),
        }
        Ok(())
    }

    /// A number by JSON's grammar.
    fn number(self, text: &str, lexer: &Lexer<'_>) -> Result<(), Error> {
        if let Kind::Double = self.field.kind {
            let Some(value) = text.parse().ok().filter(|value: &f64| value.is_finite()) else {
                return Err(self.mistaken(lexer));
            };
            self.fixed64(value.to_bits());
            return Ok(());
        }
        if let Ok(value) = text.parse::<i128>() {
            return self.integer(value, lexer);
        }
        // An integer may be written as `1e3` or `1.0`, too.
        let value = text.parse::<f64>().unwrap_or(f64::NAN);
        if value.fract() == 0.0 && value.abs() < 1e19 {
            #[expect(clippy::cast_possible_truncation, reason = "it is a whole number")]
            return self.integer(value as i128, lexer);
        }
        Err(self.mistaken(lexer))
    }

    fn text(self, text: &str, lexer: &Lexer<'_>) -> Result<(), Error> {
        match self.field.kind {
            Kind::Text => self.bytes(text.as_bytes()),
            Kind::Id(_) if self.dialect == Dialect::SnakeCase => match BASE64.decode(text) {
                Ok(id) => self.bytes(&id),
                Err(_) => return Err(self.wrong(lexer, "is not base64")),
            },
            Kind::Bytes => {
                let decoded = BASE64.decode(text).or_else(|_| BASE64_URL.decode(text));
                match decoded {
                    Ok(bytes) => self.bytes(&bytes),
                    Err(_) => return Err(self.wrong(lexer, "is not base64")),
                }
            }
            Kind::Id(_) if text.is_empty() => self.bytes(&[]),
            Kind::Id(16) => match unhex::<16>(text.as_bytes()) {
                Some(id) => self.bytes(&id),
                None => return Err(self.wrong(lexer, "has not 32 hexadecimal digits")),
            },
            Kind::Id(_) => match unhex::<8>(text.as_bytes()) {
                Some(id) => self.bytes(&id),
                None => return Err(self.wrong(lexer, "has not 16 hexadecimal digits")),
            },
            Kind::Enum(names) => match names.iter().position(|name| *name == text) {
                Some(number) => self.varint(number as u64),
                None => return Err(self.mistaken(lexer)),
            },
            Kind::Double if text == "NaN" => self.fixed64(f64::NAN.to_bits()),
            Kind::Double if text == "Infinity" => self.fixed64(f64::INFINITY.to_bits()),
            Kind::Double if text == "-Infinity" => self.fixed64(f64::NEG_INFINITY.to_bits()),
            Kind::Bool | Kind::Message(_) => return Err(self.mistaken(lexer)),
            _ if is_number(text) => return self.number(text, lexer),
            _ => return Err(self.mistaken(lexer)),
        }
        Ok(())
    }
}

fn unhex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    if pairs.len() != N {
        return None;
    }
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?;
    }
    Some(bytes)
}
