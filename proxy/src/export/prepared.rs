//! Records that are messages already: what receivers hand over. A byte for what it is and by which
//! way it came, one for whether there is a key, the key's 32 bytes where there is one, the payload.

const KEY: usize = 32;

/// What a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentType {
    Json,
    Protobuf,
}

impl ContentType {
    /// By its media type.
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        let all = [Self::Json, Self::Protobuf];
        all.into_iter()
            .find(|each| each.as_str().as_bytes() == name)
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/x-protobuf",
        }
    }
}

/// By which way a record came, for the metrics of whoever made it; zero is none of those.
pub type Origin = u8;

/// Most ways there are, and none.
pub const ORIGINS: usize = 4;

/// A message in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prepared<'r> {
    pub(super) content_type: ContentType,
    pub(super) key: Option<&'r [u8]>,
    pub(super) payload: &'r [u8],
}

/// Appends a record.
pub fn write(
    content_type: ContentType,
    origin: Origin,
    key: Option<&[u8; KEY]>,
    payload: &[u8],
    out: &mut Vec<u8>,
) {
    out.reserve(2 + KEY + payload.len());
    out.push(content_type as u8 | origin << 4);
    out.push(key.is_some().into());
    out.extend_from_slice(key.map_or(&[], |key| &key[..]));
    out.extend_from_slice(payload);
}

/// By which way a record came.
pub(super) fn origin(record: &[u8]) -> Origin {
    let origin = record.first().map_or(0, |kind| kind >> 4);
    if usize::from(origin) < ORIGINS {
        origin
    } else {
        0
    }
}

/// `None` where it is no such record.
pub(super) fn read(record: &[u8]) -> Option<Prepared<'_>> {
    let [kind, has_key, rest @ ..] = record else {
        return None;
    };
    let content_type = match kind & 0x0f {
        0 => ContentType::Json,
        1 => ContentType::Protobuf,
        _ => return None,
    };
    let (key, payload) = match has_key {
        0 => (None, rest),
        1 => rest
            .split_at_checked(KEY)
            .map(|(key, payload)| (Some(key), payload))?,
        _ => return None,
    };
    Some(Prepared {
        content_type,
        key,
        payload,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for key in [None, Some(b"0123456789abcdef0123456789abcdef")] {
            let mut record = Vec::new();
            write(ContentType::Protobuf, 3, key, b"payload", &mut record);
            assert_eq!(origin(&record), 3);
            let expected = Prepared {
                content_type: ContentType::Protobuf,
                key: key.map(|key| &key[..]),
                payload: b"payload",
            };
            assert_eq!(read(&record), Some(expected));
        }
    }

    #[test]
    fn what_is_no_record_is_not_read() {
        for bytes in [&b""[..], b"\0", b"\x07\0x", b"\0\x02x", b"\0\x01short"] {
            assert_eq!(read(bytes), None);
        }
    }
}
