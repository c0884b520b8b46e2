//! Dead letters: traces that a collector refuses for good, as lines of JSON in a file.

use std::time::Duration;

use serde_json::json;

use super::batch::{Encoder, Entry};
use crate::config::OtlpExporter;
use crate::export::letter_file::LetterFile;
use crate::export::status::Reason;

/// Most bytes of lines that are written at once.
const WINDOW: usize = 256 << 10;

/// Between two tries where one failed.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Letters<'a> {
    exporter: &'a str,
    url: String,
    file: LetterFile<'a>,
}

impl<'a> Letters<'a> {
    /// `None` where none are wanted.
    pub(super) fn new(exporter: &'a str, config: &'a OtlpExporter) -> Option<Self> {
        let to = config.dead_letter.as_ref()?;
        Some(Self {
            exporter,
            url: config.to.url(),
            file: LetterFile::new(&to.path, to.max_bytes),
        })
    }

    /// A line for each of the first of these traces, as many as are written at once; it is empty where
    /// a record is broken.
    pub(super) fn lines(
        &self,
        encoder: &Encoder,
        entries: &[Entry],
        reason: Reason,
        cause: &str,
    ) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        let mut bytes = 0;
        for entry in entries {
            if bytes >= WINDOW {
                break;
            }
            let mut line = Vec::new();
            if let Some((id, payload)) = encoder.json(&entry.record) {
                let letter = json!({
                    "time": jiff::Timestamp::now().to_string(),
                    "exporter": self.exporter,
                    "reason": reason.as_str(),
                    "cause": cause,
                    "endpoint": self.url,
                    "key": id.to_string(),
                    "payload": String::from_utf8_lossy(&payload),
                });
                line = letter.to_string().into_bytes();
                line.push(b'\n');
            }
            bytes += line.len();
            lines.push(line);
        }
        lines
    }

    /// Writes lines, and returns once they are on the disk. Says for how many there was room; the
    /// error says what is wrong in words.
    pub(super) fn write(&mut self, lines: &[Vec<u8>]) -> Result<usize, String> {
        match self.file.append(lines) {
            Ok(written) => {
                if written < lines.len() {
                    self.file.log_full(self.exporter, lines.len() - written);
                }
                Ok(written)
            }
            Err(error) => {
                let path = self.file.path().display();
                Err(format!(
                    "otlp: failed to write dead letters to {path}: {error}"
                ))
            }
        }
    }
}
