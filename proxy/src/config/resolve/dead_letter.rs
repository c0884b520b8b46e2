//! Dead letters: to a topic or to a file, and to no place that something else has.

use std::path::PathBuf;

use super::Resolver;
use crate::config::DeadLetter;
use crate::config::fault::Code;
use crate::config::path::Path;
use crate::config::raw::dead_letter as keys;
use crate::config::units::ByteSize;

const MAX_BYTES: ByteSize = ByteSize::mib(1024);
const LEAST_BYTES: ByteSize = ByteSize::mib(4);

impl Resolver<'_> {
    pub(super) fn dead_letter(
        &mut self,
        kafka_at: &Path,
        topic: &str,
        raw: Option<keys::DeadLetter>,
    ) -> Option<DeadLetter> {
        let raw = raw?;
        let at = kafka_at.key("dead_letter");
        let max_bytes = at.key("max_bytes");
        match (raw.topic, raw.file) {
            (Some(_), Some(_)) => {
                self.fault(Code::Conflict, &at, "has both `topic` and `file`");
                self.hint("leave one of them out");
                None
            }
            (None, None) => {
                let judged = self.is_judged(&at.key("topic")) || self.is_judged(&at.key("file"));
                if !judged {
                    self.fault(Code::MissingKey, &at, "needs `topic` or `file`");
                }
                None
            }
            (Some(to), None) => {
                if to == topic {
                    let message = "is the topic that refuses them";
                    self.fault(Code::Conflict, &at.key("topic"), message);
                }
                if self.is_present(&max_bytes) {
                    let message = "is for a `file` only";
                    self.fault(Code::Conflict, &max_bytes, message);
                }
                Some(DeadLetter::Topic(to))
            }
            (None, Some(file)) => {
                let (path, max_bytes) = self.letter_file(&at, &file, raw.max_bytes);
                Some(DeadLetter::File { path, max_bytes })
            }
        }
    }

    /// A file of dead letters, which no other exporter has, and the most bytes it may take.
    pub(super) fn letter_file(
        &mut self,
        at: &Path,
        file: &str,
        max_bytes: Option<ByteSize>,
    ) -> (PathBuf, u64) {
        let bytes = max_bytes.unwrap_or(MAX_BYTES);
        self.at_least(&at.key("max_bytes"), bytes, LEAST_BYTES);
        let path = self.file(file);
        let at = at.key("file");
        let taken = self.letter_files.get(&path).map(Path::to_string);
        if let Some(other) = taken {
            let message = format!("is the file of `{other}`");
            self.fault(Code::Conflict, &at, message);
            self.hint("give each exporter a file of its own");
        } else {
            self.letter_files.insert(path.clone(), at);
        }
        (path, bytes.0)
    }
}
