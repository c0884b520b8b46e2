//! A file of dead letters: lines of JSON, rotated and bounded.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Most bytes of one file; the whole takes at least four.
const FILE_BYTES: u64 = 64 << 20;

/// See the module's documentation.
pub(super) struct LetterFile<'a> {
    path: &'a Path,
    max_bytes: u64,
    open: Option<fs::File>,
}

impl<'a> LetterFile<'a> {
    pub(super) fn new(path: &'a Path, max_bytes: u64) -> Self {
        Self {
            path,
            max_bytes,
            open: None,
        }
    }

    pub(super) fn path(&self) -> &'a Path {
        self.path
    }

    /// Appends lines for as long as there is room, and returns once they are on the disk. Says how
    /// many these are.
    pub(super) fn append(&mut self, lines: &[Vec<u8>]) -> io::Result<usize> {
        let appended = self.try_append(lines);
        if appended.is_err() {
            // What is in it now nobody knows; a line written twice is better than none.
            self.open = None;
        }
        appended
    }

    /// Says that there was no room for so many letters.
    pub(super) fn log_full(&self, exporter: &str, letters: usize) {
        tracing::error!(
            exporter,
            messages = letters,
            path = %self.path.display(),
            "dead letters are lost: their files have reached `max_bytes`; move them away"
        );
    }

    fn try_append(&mut self, lines: &[Vec<u8>]) -> io::Result<usize> {
        let mut length = match fs::metadata(self.path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Also where somebody has moved it away.
                self.open = None;
                0
            }
            Err(error) => return Err(error),
        };
        let rotated = rotated(self.path)?;
        let mut last = rotated.iter().map(|(number, _)| *number).max().unwrap_or(0);
        let mut others: u64 = rotated.iter().map(|(_, bytes)| bytes).sum();
        let mut appended = 0;
        for line in lines {
            let bytes = line.len() as u64;
            if others + length + bytes > self.max_bytes {
                break;
            }
            if length > 0 && length + bytes > FILE_BYTES.min(self.max_bytes / 4) {
                if let Some(file) = self.open.take() {
                    file.sync_data()?;
                }
                last += 1;
                fs::rename(self.path, numbered(self.path, last))?;
                others += length;
                length = 0;
            }
            let file = match &mut self.open {
                Some(file) => file,
                None => self.open.insert(open(self.path)?),
            };
            file.write_all(line)?;
            length += bytes;
            appended += 1;
        }
        if let Some(file) = &self.open {
            file.sync_data()?;
        }
        Ok(appended)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_rotated_and_all_of_them_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/letters.jsonl");
        let mut file = LetterFile::new(&path, 4000);
        let line = [[b'x'; 599].as_slice(), b"\n"].concat();
        let taken = (0..10).map(|_| file.append(std::slice::from_ref(&line)).unwrap());
        assert_eq!(taken.sum::<usize>(), 6);
        let mut sizes: Vec<u64> = rotated(&path).unwrap().iter().map(|file| file.1).collect();
        sizes.push(fs::metadata(&path).unwrap().len());
        assert!(sizes.iter().all(|bytes| *bytes <= 1000), "{sizes:?}");
        assert_eq!(sizes.iter().sum::<u64>(), 3600);
        // Whoever moves a file away makes room.
        fs::remove_file(numbered(&path, 1)).unwrap();
        assert_eq!(file.append(&[line]).unwrap(), 1);
    }

    #[test]
    fn of_many_lines_those_are_kept_that_have_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("letters.jsonl");
        let lines: Vec<Vec<u8>> = (0..10)
            .map(|number| format!("{number:0599}\n").into_bytes())
            .collect();
        let mut file = LetterFile::new(&path, 4000);
        assert_eq!(file.append(&lines).unwrap(), 6);
        let mut numbers: Vec<u64> = rotated(&path).unwrap().iter().map(|file| file.0).collect();
        numbers.sort_unstable();
        let mut kept = Vec::new();
        for number in numbers {
            kept.extend(fs::read(numbered(&path, number)).unwrap());
        }
        kept.extend(fs::read(&path).unwrap());
        assert_eq!(kept, lines[..6].concat());
    }

    #[test]
    fn a_torn_line_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("letters.jsonl");
        fs::write(&path, "{\"torn").unwrap();
        let lines = [b"{}\n".to_vec()];
        assert_eq!(LetterFile::new(&path, 1 << 30).append(&lines).unwrap(), 1);
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"torn\n{}\n");
    }

    #[test]
    fn a_file_that_is_moved_away_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("letters.jsonl");
        let mut file = LetterFile::new(&path, 1 << 30);
        assert_eq!(file.append(&[b"one\n".to_vec()]).unwrap(), 1);
        fs::rename(&path, folder.path().join("taken")).unwrap();
        assert_eq!(file.append(&[b"two\n".to_vec()]).unwrap(), 1);
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
    }
}
