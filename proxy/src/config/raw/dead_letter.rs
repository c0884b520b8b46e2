//! The keys of `exporters.<name>.kafka.dead_letter`: where messages go that are refused for good.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::units::ByteSize;

/// Where messages go that a broker refuses for good: a topic or a file.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct DeadLetter {
    /// A topic of the same brokers. Default: none.
    #[schemars(
        title = "topic name of letters, digits, dots, underscores and hyphens",
        regex(pattern = "^[a-zA-Z0-9._-]{1,249}$")
    )]
    pub(in crate::config) topic: Option<String>,
    /// A file, relative to this one, that gets a line of JSON for each message. Default: none.
    #[schemars(length(min = 1))]
    pub(in crate::config) file: Option<String>,
    /// Most bytes of the file and those it was before, `FILE.1` and so on; from 4MiB. Past it,
    /// letters are lost, and counted. Default: 1GiB.
    pub(in crate::config) max_bytes: Option<ByteSize>,
}
