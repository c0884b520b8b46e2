//! Messages that come back from a client, to be sent by another or made anew.

use rdkafka::message::{Header, Headers as _, OwnedHeaders};

use crate::export::kafka::kept::Record;
use crate::export::prepared;

/// A message that a client gave back.
pub(in crate::export::kafka) struct Returned {
    pub(in crate::export::kafka) key: Option<Vec<u8>>,
    pub(in crate::export::kafka) payload: Vec<u8>,
    pub(in crate::export::kafka) headers: OwnedHeaders,
}

impl Returned {
    /// The record of a receiver's that it was made of.
    pub(super) fn as_record(&self, origin: prepared::Origin) -> Option<Record> {
        let is_content_type = |header: &Header<'_, &[u8]>| header.key == "content-type";
        let content_type = self.headers.iter().find(is_content_type)?.value?;
        let content_type = prepared::ContentType::named(content_type)?;
        let key = match &self.key {
            Some(key) => Some(key[..].try_into().ok()?),
            None => None,
        };
        let mut record = Vec::new();
        prepared::write(content_type, origin, key, &self.payload, &mut record);
        Some(Record::Own(record.into()))
    }

    pub(in crate::export::kafka) fn bytes(&self) -> usize {
        size(self.key.as_deref(), &self.payload)
    }
}

/// Bytes of a message that count.
pub(in crate::export::kafka) fn size(key: Option<&[u8]>, payload: &[u8]) -> usize {
    key.map_or(0, <[u8]>::len) + payload.len()
}
