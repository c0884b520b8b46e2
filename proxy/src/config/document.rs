//! Where a configuration comes from: its file, and what is put onto it. The one thing that knows
//! how to change the file, for the console.

mod edit;
mod form;
mod locate;
mod mask;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path as FilePath, PathBuf};

use sha2::{Digest, Sha256};

use super::environment::Environment;
use super::fault::Faults;
use super::load::{self, Finding, Loaded};
use super::path::Path;
use crate::hex;

pub use edit::{Edit, Error as EditError};
pub use form::Field;

/// A file, with the overrides of the command line and the environment.
#[derive(Clone)]
pub struct Document {
    pub file: PathBuf,
    /// As given to `--set`.
    pub set: Vec<String>,
    pub environment: Environment,
}

/// The file's text at one moment.
pub struct Text {
    text: String,
    /// By which a change in between is noticed.
    pub digest: String,
}

/// A text that was edited, and what came of it.
pub struct Edited {
    text: String,
    /// Lines taken away and added, with some around them; shows no secret.
    pub difference: Vec<Line>,
    pub outcome: Result<Loaded, Faults>,
}

impl Edited {
    /// Whether anything is to be written; it may be a secret, of which no difference tells.
    pub fn changes(&self, before: &Text) -> bool {
        self.text != before.text
    }
}

/// A line of a difference: `-`, `+` or a space, and its text.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Line {
    pub sign: char,
    /// In the new text, in the old for one that is gone.
    pub number: usize,
    pub text: String,
}

impl Document {
    /// Reads and checks all of it.
    pub fn load(&self) -> Result<Loaded, Faults> {
        load::load(&self.file, &self.set, &self.environment)
    }

    /// What was found in it, each at its place in the file.
    pub fn locate(&self, findings: Vec<Finding>) -> Faults {
        let none = Faults::new(self.file.clone(), Vec::new());
        load::with_findings(&self.file, &self.set, &self.environment, none, findings)
    }

    /// What is in force, as YAML with the source of each value in a comment. Shows no secret.
    pub fn effective(&self) -> Result<String, Faults> {
        super::effective(&self.file, &self.set, &self.environment, true)
    }

    /// The text of now.
    pub fn read(&self) -> Result<Text, Faults> {
        load::read(&self.file).map(Text::new)
    }

    /// All keys below a mapping (named by its keys), with value and source; shows no secret. `config`
    /// is the schema of what a plugin's `config` may hold, where that is known.
    pub fn form(
        &self,
        text: &Text,
        at: &[&str],
        config: Option<&serde_json::Value>,
    ) -> Result<Vec<Field>, Faults> {
        let (tree, _) = load::read_tree(&text.text, &self.set, &self.environment)
            .map_err(|fault| Faults::new(self.file.clone(), vec![fault]))?;
        let at = at.iter().fold(Path::root(), |path, key| path.key(key));
        Ok(form::fields(&tree, &at, config))
    }

    /// Lines that differ from one text to another; shows no secret.
    pub fn difference(&self, before: &Text, after: &Text) -> Vec<Line> {
        difference(&mask::mask(&before.text), &mask::mask(&after.text))
    }

    /// Makes changes to a text, and checks the result whole.
    pub fn edit(&self, text: &Text, edits: &[Edit]) -> Result<Edited, EditError> {
        let edited = edit::apply(&text.text, edits)?;
        let difference = difference(&mask::mask(&text.text), &mask::mask(&edited));
        let outcome = load::parse(&edited, &self.file, &self.set, &self.environment);
        Ok(Edited {
            text: edited,
            difference,
            outcome,
        })
    }

    /// Puts an edited text in the file's place, whole or not at all.
    pub fn write(&self, edited: &Edited) -> io::Result<()> {
        self.replace(&edited.text)
    }

    /// Puts a text back that an edited one has replaced. False where the file is not that one any
    /// more: then it stays as others left it.
    pub fn restore(&self, before: &Text, edited: &Edited) -> io::Result<bool> {
        let is_ours = load::read(&self.file).is_ok_and(|now| now == edited.text);
        if is_ours {
            self.replace(&before.text)?;
        }
        Ok(is_ours)
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        // A link stays one: it is its target that changes.
        let target = self.file.canonicalize()?;
        let folder = target.parent().unwrap_or(FilePath::new("/"));
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let beside = folder.join(format!(".{name}.{}.new", std::process::id()));
        let result = (|| {
            let permissions = std::fs::metadata(&target)?.permissions();
            let mut file = std::fs::File::create(&beside)?;
            file.set_permissions(permissions)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&beside, &target)
        })();
        if result.is_err() {
            // What cannot be removed was not made, or cannot be helped.
            let _ = std::fs::remove_file(&beside);
        }
        result
    }

    /// Why the file cannot be written, where it cannot.
    pub fn check_writable(&self) -> Result<(), String> {
        let refuse = |why: String| Err(format!("read-only: {}: {why}", self.file.display()));
        let target = match self.file.canonicalize() {
            Ok(target) => target,
            Err(error) => return refuse(error.to_string()),
        };
        match std::fs::metadata(&target) {
            Ok(found) if found.permissions().mode() & 0o222 == 0 => {
                return refuse("the file is marked as read-only".to_owned());
            }
            Ok(_) => {}
            Err(error) => return refuse(error.to_string()),
        }
        let folder = target.parent().unwrap_or(FilePath::new("/"));
        match rustix::fs::access(folder, rustix::fs::Access::WRITE_OK) {
            Ok(()) => Ok(()),
            Err(error) => refuse(format!("its folder cannot be written to: {error}")),
        }
    }
}

impl Text {
    fn new(text: String) -> Self {
        let digest = hex::text(&Sha256::digest(&text));
        Self { text, digest }
    }

    /// As [`read`](Document::read) would give it.
    #[cfg(test)]
    pub(super) fn of(text: &str) -> Self {
        Self::new(text.to_owned())
    }
}

/// Lines that differ, by the longest common subsequence, with three lines around them.
fn difference(old: &str, new: &str) -> Vec<Line> {
    const AROUND: usize = 3;
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let same_start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let ends = old[same_start..]
        .iter()
        .rev()
        .zip(new[same_start..].iter().rev());
    let same_end = ends.take_while(|(a, b)| a == b).count();
    let (from, to) = (
        &old[same_start..old.len() - same_end],
        &new[same_start..new.len() - same_end],
    );
    // Lengths of common subsequences of what is left, from the end.
    let mut lengths = vec![vec![0_usize; to.len() + 1]; from.len() + 1];
    for i in (0..from.len()).rev() {
        for j in (0..to.len()).rev() {
            lengths[i][j] = if from[i] == to[j] {
                lengths[i + 1][j + 1] + 1
            } else {
                lengths[i + 1][j].max(lengths[i][j + 1])
            };
        }
    }
    let line = |sign, number, text: &str| Line {
        sign,
        number,
        text: text.to_owned(),
    };
    let mut lines = Vec::new();
    for (index, text) in old[..same_start].iter().enumerate() {
        lines.push(line(' ', index + 1, text));
    }
    let (mut i, mut j) = (0, 0);
    while i < from.len() || j < to.len() {
        if i < from.len() && j < to.len() && from[i] == to[j] {
            lines.push(line(' ', same_start + j + 1, to[j]));
            (i, j) = (i + 1, j + 1);
        } else if j == to.len() || (i < from.len() && lengths[i + 1][j] >= lengths[i][j + 1]) {
            lines.push(line('-', same_start + i + 1, from[i]));
            i += 1;
        } else {
            lines.push(line('+', same_start + j + 1, to[j]));
            j += 1;
        }
    }
    for (index, text) in new[new.len() - same_end..].iter().enumerate() {
        lines.push(line(' ', new.len() - same_end + index + 1, text));
    }
    let changed: Vec<usize> = (0..lines.len())
        .filter(|at| lines[*at].sign != ' ')
        .collect();
    let near = |at: usize| changed.iter().any(|changed| changed.abs_diff(at) <= AROUND);
    let mut at = 0;
    lines.retain(|_| {
        at += 1;
        near(at - 1)
    });
    lines
}
