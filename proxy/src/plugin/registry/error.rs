//! Why a plugin was not loaded.

use super::builtins;
use crate::config::{Finding, KeyPath, fault};
use crate::plugin::Failure;

/// What is wrong, and where.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct Error {
    /// Where in the configuration it shows.
    pub at: KeyPath,
    pub cause: Cause,
}

/// What is wrong with a plugin.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    #[error("plugin `{plugin}`: cannot read module {path}: {source}")]
    Read {
        plugin: String,
        path: String,
        source: std::io::Error,
    },
    #[error(
        "plugin `{plugin}`: there is no builtin `{name}`; there are: {}",
        names()
    )]
    NoBuiltin { plugin: String, name: String },
    #[error("plugin `{plugin}`: module has sha256 {found}, but {pinned} is pinned")]
    Digest {
        plugin: String,
        pinned: String,
        found: String,
    },
    #[error("plugin `{plugin}`: module {reason}")]
    Module { plugin: String, reason: String },
    #[error(
        "plugin `{plugin}` has a pre-request hook, which only a listener's chain may have, and stands in that of route `{route}`"
    )]
    PreRequest { plugin: String, route: String },
    #[error("plugin `{plugin}`: {failure}")]
    Failure { plugin: String, failure: Failure },
    /// Its own schema does not allow what is there.
    #[error("plugin `{plugin}`: {}", .found.message)]
    Misfit { plugin: String, found: Box<Finding> },
}

impl From<Error> for Finding {
    fn from(error: Error) -> Self {
        match error.cause {
            Cause::Misfit { found, .. } => Self {
                path: error.at,
                ..*found
            },
            cause => Self {
                code: fault::Code::Plugin,
                path: error.at,
                message: cause.to_string(),
                hint: None,
            },
        }
    }
}

fn names() -> String {
    builtins().collect::<Vec<_>>().join(", ")
}
