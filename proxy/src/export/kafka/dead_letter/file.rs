//! Dead letters as lines of JSON in a file, which is rotated and bounded.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rdkafka::message::Headers as _;
use serde_json::{Map, Value, json};

use super::WINDOW;
use crate::export::kafka::delivery::{Desk, Letter};
use crate::export::kafka::errors::Problem;

/// Most bytes of one file; the whole takes at least four.
const FILE_BYTES: u64 = 64 << 20;

pub(super) struct File<'a> {
    path: &'a Path,
    max_bytes: u64,
    open: Option<fs::File>,
}

impl<'a> File<'a> {
    pub(super) fn new(path: &'a Path, max_bytes: u64) -> Self {
        Self {
            path,
            max_bytes,
            open: None,
        }
    }

    /// Writes letters, and settles them once they are on the disk. What has no room any more is
    /// lost, and logged.
    pub(super) fn deliver(&mut self, desk: &Desk, topic: &str) -> Result<bool, Problem> {
        let letters = desk.take_letters(WINDOW);
        let mut lines = Vec::new();
        for letter in &letters {
            line(desk.exporter(), topic, letter, &mut lines);
        }
        match self.append(&lines) {
            Ok(written) => {
                for letter in &letters {
                    desk.letter_settled(letter, written);
                }
                if !written {
                    tracing::error!(
                        exporter = desk.exporter(),
                        messages = letters.len(),
                        path = %self.path.display(),
                        "dead letters are lost: their files have reached `max_bytes`; move them away"
                    );
                }
                Ok(true)
            }
            Err(error) => {
                // What is in it now nobody knows; a line written twice is better than none.
                self.open = None;
                desk.put_back(letters.into_iter());
                Err(Problem::DeadLetter {
                    place: self.path.display().to_string(),
                    cause: error.to_string(),
                })
            }
        }
    }

    /// Says whether there was room.
    fn append(&mut self, lines: &[u8]) -> io::Result<bool> {
        let length = match fs::metadata(self.path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Also where somebody has moved it away.
                self.open = None;
                0
            }
            Err(error) => return Err(error),
        };
        let full = length > 0 && length + lines.len() as u64 > FILE_BYTES.min(self.max_bytes / 4);
        let rotated = rotated(self.path)?;
        let others: u64 = rotated.iter().map(|(_, bytes)| bytes).sum();
        if others + length + lines.len() as u64 > self.max_bytes {
            return Ok(false);
        }
        if full {
            self.open = None;
            let next = rotated.iter().map(|(number, _)| number).max().unwrap_or(&0) + 1;
            fs::rename(self.path, numbered(self.path, next))?;
        }
        let file = match &mut self.open {
            Some(file) => file,
            None => self.open.insert(open(self.path)?),
        };
        file.write_all(lines)?;
        file.sync_data()?;
        Ok(true)
    }
}

/// Opens a file to append to it. A line that was torn off by a crash is ended, so that it spoils no
/// other.
fn open(path: &Path) -> io::Result<fs::File> {
    use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    if let Some(folder) = folder {
        fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .mode(0o600)
        .open(path)?;
    let length = file.metadata()?.len();
    let mut last = [b'\n'];
    if length > 0 {
        file.read_exact_at(&mut last, length - 1)?;
    }
    if last != [b'\n'] {
        file.write_all(b"\n")?;
    }
    // Its name has to survive a power cut too.
    fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(file)
}

fn numbered(path: &Path, number: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// The files that were this one before: numbers, and bytes of each.
fn rotated(path: &Path) -> io::Result<Vec<(u64, u64)>> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let entries = match fs::read_dir(folder.unwrap_or(Path::new("."))) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let other = entry.file_name();
        let other = other.to_string_lossy();
        let number = other
            .strip_prefix(&*name)
            .and_then(|rest| rest.strip_prefix('.'))
            .and_then(|number| number.parse().ok());
        if let Some(number) = number {
            found.push((
                number,
                entry.metadata().map_or(0, |metadata| metadata.len()),
            ));
        }
    }
    Ok(found)
}

fn line(exporter: &str, topic: &str, letter: &Letter, out: &mut Vec<u8>) {
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
    out.extend_from_slice(line.to_string().as_bytes());
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_rotated_and_all_of_them_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/letters.jsonl");
        let mut file = File::new(&path, 4000);
        let line = [[b'x'; 599].as_slice(), b"\n"].concat();
        let taken = (0..10).filter(|_| file.append(&line).unwrap()).count();
        assert_eq!(taken, 6);
        let mut sizes: Vec<u64> = rotated(&path).unwrap().iter().map(|file| file.1).collect();
        sizes.push(fs::metadata(&path).unwrap().len());
        assert!(sizes.iter().all(|bytes| *bytes <= 1000), "{sizes:?}");
        assert_eq!(sizes.iter().sum::<u64>(), 3600);
        // Whoever moves a file away makes room.
        fs::remove_file(numbered(&path, 1)).unwrap();
        assert!(file.append(&line).unwrap());
    }

    #[test]
    fn a_torn_line_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("letters.jsonl");
        fs::write(&path, "{\"torn").unwrap();
        assert!(File::new(&path, 1 << 30).append(b"{}\n").unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"torn\n{}\n");
    }

    #[test]
    fn a_file_that_is_moved_away_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("letters.jsonl");
        let mut file = File::new(&path, 1 << 30);
        assert!(file.append(b"one\n").unwrap());
        fs::rename(&path, folder.path().join("taken")).unwrap();
        assert!(file.append(b"two\n").unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
    }
}
