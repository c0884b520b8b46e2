//! What `exporters.<name>.otlp` becomes.

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;

use super::{Endpoint, Filters, Secret};

/// Delivery by OTLP.
#[derive(Clone, Debug, PartialEq)]
pub struct OtlpExporter {
    pub enabled: bool,
    pub to: Destination,
    /// Most spans in a request, unless one trace has more.
    pub batch_spans: usize,
    /// Most bytes of a request before compression.
    pub batch_bytes: usize,
    /// Longest wait for a request to fill.
    pub flush_interval: Duration,
    pub retry_backoff: Duration,
    pub retry_backoff_max: Duration,
    /// `None`: what is refused for good is dropped.
    pub dead_letter: Option<LetterFile>,
    /// Most bytes of traces kept in memory for this exporter.
    pub buffer_bytes: usize,
    pub filters: Filters,
}

/// Where requests go, and how each of them is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Destination {
    pub endpoint: Endpoint,
    /// What requests are posted to.
    pub path: String,
    pub protocol: OtlpProtocol,
    /// Of each request.
    pub headers: Vec<(HeaderName, Secret)>,
    pub compression: OtlpCompression,
    /// Longest wait for the answer to a request.
    pub timeout: Duration,
}

/// A file with the most bytes that it, and those it was before, may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterFile {
    pub path: PathBuf,
    pub max_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpProtocol {
    Grpc,
    HttpProtobuf,
    HttpJson,
}

impl OtlpProtocol {
    /// As in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::HttpProtobuf => "http_protobuf",
            Self::HttpJson => "http_json",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpCompression {
    None,
    Gzip,
    Zstd,
}

impl Destination {
    /// Where it is, as a URL.
    pub fn url(&self) -> String {
        let scheme = match self.endpoint.tls {
            Some(_) => "https",
            None => "http",
        };
        let authority = self.endpoint.authority();
        match self.protocol {
            OtlpProtocol::Grpc => format!("{scheme}://{authority}"),
            OtlpProtocol::HttpProtobuf | OtlpProtocol::HttpJson => {
                format!("{scheme}://{authority}{}", self.path)
            }
        }
    }
}
