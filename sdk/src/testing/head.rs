//! The heads of the fake host, and its rules for what may be done to them.

use http::header::{ACCEPT_RANGES, ETAG};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{HeaderError, RespondError, header_name, header_value};

/// As Weir's.
const MAX_FIELDS: usize = 256;
const MAX_FIELD_BYTES: usize = 64 << 10;
const MAX_NAME_BYTES: usize = 256;
const MAX_BODY_BYTES: usize = 4 << 20;

/// Fields that are only of the very bytes they were made of.
const DIGESTS: [&str; 4] = ["content-digest", "repr-digest", "digest", "content-md5"];

/// The fields of a request or a response, which of them the running hook has set, and how many bytes came.
#[derive(Clone, Default)]
pub(crate) struct Fields(pub(crate) HeaderMap, Vec<HeaderName>, usize);

impl Fields {
    pub(crate) fn new(headers: HeaderMap) -> Self {
        let came = headers.iter().map(|(name, value)| size(name, value)).sum();
        Self(headers, Vec::new(), came)
    }

    /// A hook has ended, which may have put another body in the place of theirs: as Weir, puts right
    /// what it has not set itself.
    pub(crate) fn settle(&mut self, replaced: bool) {
        let touched = std::mem::take(&mut self.1);
        if !replaced {
            return;
        }
        for name in DIGESTS.into_iter().chain(["content-encoding"]) {
            if !touched.iter().any(|touched| touched == name) {
                self.0.remove(name);
            }
        }
    }

    /// As [`Fields::settle`], for those of a response.
    pub(crate) fn settle_response(&mut self, replaced: bool) {
        let touched = self.1.clone();
        self.settle(replaced);
        if !replaced {
            return;
        }
        if !touched.contains(&ACCEPT_RANGES) {
            self.0.remove(ACCEPT_RANGES);
        }
        if let Some(tag) = self.0.get_mut(ETAG)
            && !touched.contains(&ETAG)
            && !tag.as_bytes().starts_with(b"W/")
            && let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat())
        {
            *tag = weak;
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let value = self.0.get(name)?.as_bytes();
        Some(match std::str::from_utf8(value) {
            Ok(text) => text.into(),
            Err(_) => value.iter().map(|byte| char::from(*byte)).collect(),
        })
    }

    pub(crate) fn header_values(&self, name: &str) -> Vec<Vec<u8>> {
        self.0
            .get_all(name)
            .iter()
            .map(|value| value.as_bytes().into())
            .collect()
    }

    pub(crate) fn headers(&self) -> Vec<(String, Vec<u8>)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str().into(), value.as_bytes().into()))
            .collect()
    }

    pub(crate) fn set_header(&mut self, name: &str, value: &str) -> Result<(), HeaderError> {
        let (name, value) = short_field(name, value)?;
        check_room(
            self.0
                .iter()
                .filter(|(other, _)| **other != name)
                .chain([(&name, &value)]),
            self.2,
        )?;
        self.1.push(name.clone());
        self.0.insert(name, value);
        Ok(())
    }

    pub(crate) fn add_header(&mut self, name: &str, value: &str) -> Result<(), HeaderError> {
        let (name, value) = short_field(name, value)?;
        check_room(self.0.iter().chain([(&name, &value)]), self.2)?;
        self.1.push(name.clone());
        self.0.append(name, value);
        Ok(())
    }

    pub(crate) fn remove_header(&mut self, name: &str) -> Result<(), HeaderError> {
        self.0.remove(header_name(name)?);
        Ok(())
    }
}

/// Whether a path can be read in one way only: no dot segments, no escaped slashes, no broken escapes.
pub(crate) fn is_plain(path: &str) -> bool {
    let plain = path.to_ascii_lowercase().replace("%2e", ".");
    let mut escapes = plain.split('%').skip(1);
    let is_escape = |text: &str| {
        let digits = text.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            && !["00", "2f", "5c"].iter().any(|code| text.starts_with(code))
    };
    escapes.all(is_escape)
        && path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'\\')
        && !plain
            .split('/')
            .any(|segment| segment == "." || segment == "..")
}

/// Whether Weir would send a plugin's answer.
pub(crate) fn check_answer(answer: &http::Response<Vec<u8>>) -> Result<(), RespondError> {
    check_status(answer.status().as_u16())?;
    for (name, value) in answer.headers() {
        field(name.as_str(), value.as_bytes())?;
    }
    check_room(answer.headers().iter(), 0)?;
    if answer.body().len() > MAX_BODY_BYTES {
        Err(RespondError::TooLarge)
    } else {
        Ok(())
    }
}

pub(crate) fn check_status(status: u16) -> Result<(), RespondError> {
    if (200..=599).contains(&status) {
        Ok(())
    } else {
        Err(RespondError::InvalidStatus)
    }
}

fn field(name: &str, value: &[u8]) -> Result<(HeaderName, HeaderValue), HeaderError> {
    Ok((header_name(name)?, header_value(value)?))
}

/// One that a plugin sets.
fn short_field(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), HeaderError> {
    let (name, value) = field(name, value.as_bytes())?;
    if name.as_str().len() > MAX_NAME_BYTES {
        return Err(HeaderError::TooLarge);
    }
    Ok((name, value))
}

/// Of a field as HTTP/1.1 has it.
fn size(name: &HeaderName, value: &HeaderValue) -> usize {
    name.as_str().len() + value.len() + ": \r\n".len()
}

/// Whether there may be so many, where so many bytes came.
fn check_room<'a>(
    fields: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    came: usize,
) -> Result<(), HeaderError> {
    let (mut count, mut bytes) = (0, 0);
    for (name, value) in fields {
        count += 1;
        bytes += size(name, value);
    }
    if count > MAX_FIELDS || bytes > came + MAX_FIELD_BYTES {
        Err(HeaderError::TooLarge)
    } else {
        Ok(())
    }
}
