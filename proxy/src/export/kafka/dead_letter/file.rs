//! Dead letters as lines of JSON in a file, which is rotated and bounded.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rdkafka::message::Headers as _;
use serde_json::{Map, Value, json};

use super::WINDOW;
use crate::export::kafka::delivery::{Desk, Letter};
use crate::export::kafka::errors::Problem;
use crate::export::letter_file::LetterFile;

pub(super) struct File<'a>(LetterFile<'a>);

impl<'a> File<'a> {
    pub(super) fn new(path: &'a Path, max_bytes: u64) -> Self {
        Self(LetterFile::new(path, max_bytes))
    }

    /// Writes letters, and settles them once they are on the disk. What has no room any more is
    /// lost, and logged.
    pub(super) fn deliver(&mut self, desk: &Desk, topic: &str) -> Result<bool, Problem> {
        let letters = desk.take_letters(WINDOW);
        let lines: Vec<Vec<u8>> = letters
            .iter()
            .map(|letter| line(desk.exporter(), topic, letter))
            .collect();
        match self.0.append(&lines) {
            Ok(written) => {
                for (index, letter) in letters.iter().enumerate() {
                    desk.letter_settled(letter, index < written);
                }
                if written < letters.len() {
                    self.0.log_full(desk.exporter(), letters.len() - written);
                }
                Ok(true)
            }
            Err(error) => {
                desk.put_back(letters.into_iter());
                Err(Problem::DeadLetter {
                    place: self.0.path().display().to_string(),
                    cause: error.to_string(),
                })
            }
        }
    }
}

fn line(exporter: &str, topic: &str, letter: &Letter) -> Vec<u8> {
    let message = &letter.message;
    let headers: Map<String, Value> = message
        .headers
        .iter()
        .map(|header| {
            let value = String::from_utf8_lossy(header.value.unwrap_or_default());
            (header.key.to_owned(), Value::from(value))
        })
        .collect();
    let mut line = json!({
        "time": jiff::Timestamp::now().to_string(),
        "exporter": exporter,
        "reason": letter.reason.as_str(),
        "cause": letter.cause,
        "topic": topic,
        "key": message.key.as_deref().map(String::from_utf8_lossy),
        "headers": headers,
    });
    match std::str::from_utf8(&message.payload) {
        Ok(text) => line["payload"] = text.into(),
        Err(_) => line["payload_base64"] = STANDARD.encode(&message.payload).into(),
    }
    let mut line = line.to_string().into_bytes();
    line.push(b'\n');
    line
}
