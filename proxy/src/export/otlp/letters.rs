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

/// Lines of so many traces.
pub(super) struct Lines {
    pub(super) traces: usize,
    pub(super) bytes: Vec<u8>,
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

    /// The lines of the first of these traces: as many as are written at once.
    pub(super) fn lines(
        &self,
        encoder: &Encoder,
        entries: &[Entry],
        reason: Reason,
        cause: &str,
    ) -> Lines {
        let mut lines = Lines {
            traces: 0,
            bytes: Vec::new(),
        };
        for entry in entries {
            if lines.bytes.len() >= WINDOW {
                break;
            }
            lines.traces += 1;
            let Some((id, payload)) = encoder.json(&entry.record) else {
                continue;
            };
            let line = json!({
                "time": jiff::Timestamp::now().to_string(),
                "exporter": self.exporter,
                "reason": reason.as_str(),
                "cause": cause,
                "endpoint": self.url,
                "key": id.to_string(),
                "payload": String::from_utf8_lossy(&payload),
            });
            lines.bytes.extend_from_slice(line.to_string().as_bytes());
            lines.bytes.push(b'\n');
        }
        lines
    }

    /// Writes lines, and returns once they are on the disk. Says whether there was room; the error
    /// says what is wrong in words.
    pub(super) fn write(&mut self, lines: &Lines) -> Result<bool, String> {
        match self.file.append(&lines.bytes) {
            Ok(true) => Ok(true),
            Ok(false) => {
                self.file.log_full(self.exporter, lines.traces);
                Ok(false)
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
