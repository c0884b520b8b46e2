//! What `kv.redis` becomes.

use std::time::Duration;

use super::{Endpoint, Secret};

/// The Redis that has the values of plugins.
#[derive(Clone, Debug, PartialEq)]
pub struct Redis {
    /// Its `protocol` is of no meaning.
    pub endpoint: Endpoint,
    pub database: u32,
    pub username: Option<String>,
    pub password: Option<Secret>,
    /// What all keys begin with.
    pub prefix: String,
    /// Longest wait for an operation, and for a connection.
    pub timeout: Duration,
}
