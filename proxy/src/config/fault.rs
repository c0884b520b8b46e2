//! What can be wrong with a configuration, as data: where, what, why, and the way out.
//!
//! A fault never quotes a value that could be a secret, and no fault shows the line it is about:
//! a line may hold a password beside what is wrong.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::path::Path;

/// One thing that is wrong, or that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub code: Code,
    pub place: Place,
    /// Key path, such as `routes[0].upstream`; empty for the file as a whole.
    pub path: String,
    pub message: String,
    /// The way out, where there is one to tell.
    pub hint: Option<String>,
}

/// All that was found in one configuration, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    pub file: PathBuf,
    pub list: Vec<Fault>,
}

/// Where a value was written. Lines and columns count from 1; both are 0 outside the file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub source: Source,
    pub line: u64,
    pub column: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    File,
    /// The variable's name.
    Environment(Arc<str>),
    /// The key path as given to `--set`.
    Set(Arc<str>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    Warning,
}

macro_rules! codes {
    ($($(#[doc = $title:literal])+ $name:ident = $code:literal,)+) => {
        /// The stable name of a kind of fault. Numbers are never given again.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code {
            $($(#[doc = $title])+ $name,)+
        }

        impl Code {
            pub const ALL: &[Self] = &[$(Self::$name),+];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)+
                }
            }

            /// What the code means, in one line.
            pub fn title(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($title),+).trim_ascii(),)+
                }
            }
        }
    };
}

codes! {
    /// The configuration file cannot be read.
    Unreadable = "WEIR-C001",
    /// The text is not valid YAML.
    Syntax = "WEIR-C002",
    /// A key is written twice in one mapping.
    DuplicateKey = "WEIR-C003",
    /// A key that Weir does not know.
    UnknownKey = "WEIR-C004",
    /// A key that must be there is not.
    MissingKey = "WEIR-C005",
    /// A value of the wrong type.
    WrongType = "WEIR-C006",
    /// A value outside of what is allowed.
    InvalidValue = "WEIR-C007",
    /// A name that refers to nothing.
    UnknownName = "WEIR-C008",
    // WEIR-C009 was a key that was planned and not built.
    /// An environment variable that is not set, or empty.
    Environment = "WEIR-C010",
    /// A file that the configuration names cannot be used.
    File = "WEIR-C011",
    /// Values that contradict each other.
    Conflict = "WEIR-C012",
    /// An override that cannot be applied.
    Override = "WEIR-C013",
    /// What the configuration names does not answer.
    Unreachable = "WEIR-C014",
    /// A plugin cannot be loaded, or refuses its configuration.
    Plugin = "WEIR-C015",
    /// Traces are kept in memory only.
    MemoryOnly = "WEIR-C101",
    /// A credential crosses the network unencrypted.
    PlainCredentials = "WEIR-C102",
    /// The admin address is open to other machines.
    OpenAdmin = "WEIR-C103",
    /// A filter names a plugin that is not configured.
    IdleFilter = "WEIR-C104",
    /// A certificate that clients do not accept, or cannot ask for.
    Certificate = "WEIR-C105",
    /// The spool lets go of what no broker has acknowledged.
    Unacknowledged = "WEIR-C106",
    /// A key without effect, because its switch is off.
    SwitchedOff = "WEIR-C107",
    /// A text like `env.NAME` where none is read from the environment.
    NoVariable = "WEIR-C108",
}

impl Code {
    /// Codes from `WEIR-C100` on are warnings.
    pub fn severity(self) -> Severity {
        if self < Self::MemoryOnly {
            Severity::Error
        } else {
            Severity::Warning
        }
    }
}

impl Fault {
    pub(super) fn new(code: Code, path: &Path, place: Place, message: impl Into<String>) -> Self {
        Self {
            code,
            place,
            path: path.to_string(),
            message: message.into(),
            hint: None,
        }
    }

    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn severity(&self) -> Severity {
        self.code.severity()
    }
}

impl Faults {
    /// Sorts by place, so that a reader goes through the file once.
    pub(super) fn new(file: PathBuf, mut list: Vec<Fault>) -> Self {
        list.sort_by(|a, b| a.place.cmp(&b.place).then_with(|| a.path.cmp(&b.path)));
        Self { file, list }
    }

    pub fn count(&self, severity: Severity) -> usize {
        self.list
            .iter()
            .filter(|fault| fault.severity() == severity)
            .count()
    }
}

impl Place {
    /// The beginning of the file.
    pub(super) fn start() -> Self {
        Self {
            source: Source::File,
            line: 1,
            column: 1,
        }
    }

    /// An override as a whole.
    pub(super) fn of(source: Source) -> Self {
        Self {
            source,
            line: 0,
            column: 0,
        }
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

impl std::error::Error for Faults {}
