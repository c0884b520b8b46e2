//! OTLP exporters: the endpoint with its TLS, the headers, and bounds that must fit each other.

use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{PathAndQuery, Uri};
use http::{HeaderName, HeaderValue};
use indexmap::IndexMap;

use super::filters::RawFilters;
use super::{Resolver, upstream};
use crate::config::fault::Code;
use crate::config::path::Path;
use crate::config::raw::otlp_exporter as keys;
use crate::config::raw::{SecretVar, upstream_tls};
use crate::config::units::ByteSize;
use crate::config::{
    Destination, Endpoint, LetterFile, OtlpCompression, OtlpExporter, OtlpProtocol, Protocol,
    Secret,
};
use crate::filter::is_credential;

/// gRPC's name of the one call there is.
const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Where OTLP/HTTP takes traces.
const TRACES: &str = "/v1/traces";

/// What of an endpoint's path is ours.
#[derive(Clone, Copy)]
pub(super) enum PathOf {
    /// gRPC's name of a call is all of it.
    Call(&'static str),
    /// This is put behind it, unless it ends so.
    Signal(&'static str),
    /// Nothing.
    Own,
}

const LEAST_BATCH: ByteSize = ByteSize::kib(16);

/// What the exporter says itself, or what is of a connection.
const OWN_HEADERS: [HeaderName; 10] = [
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    EXPECT,
    HOST,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

impl Resolver<'_> {
    /// `None` where there is no endpoint to speak of.
    pub(super) fn otlp_exporter(&mut self, at: &Path, raw: keys::Otlp) -> Option<OtlpExporter> {
        let protocol = match raw.protocol {
            keys::Protocol::Grpc => OtlpProtocol::Grpc,
            keys::Protocol::HttpProtobuf => OtlpProtocol::HttpProtobuf,
            keys::Protocol::HttpJson => OtlpProtocol::HttpJson,
        };
        let path = match protocol {
            OtlpProtocol::Grpc => PathOf::Call(EXPORT),
            OtlpProtocol::HttpProtobuf | OtlpProtocol::HttpJson => PathOf::Signal(TRACES),
        };
        let endpoint = self.otlp_endpoint(at, &raw.endpoint, path, &raw.tls);
        let headers = self.otlp_headers(&at.key("headers"), &raw.headers);
        self.sent_in_the_open(at, endpoint.as_ref(), &headers);
        let timeout = self.positive(&at.key("timeout"), raw.timeout);
        let flush_interval = self.positive(&at.key("flush_interval"), raw.flush_interval);
        let retry_backoff = self.positive(&at.key("retry_backoff"), raw.retry_backoff);
        let retry_backoff_max = raw.retry_backoff_max.0;
        if retry_backoff_max < retry_backoff {
            let message = "must not be shorter than `retry_backoff`";
            self.fault(Code::Conflict, &at.key("retry_backoff_max"), message);
        }
        self.at_least(&at.key("batch_bytes"), raw.batch_bytes, LEAST_BATCH);
        // A request that is sent, one that fills, and what waits.
        let least = ByteSize(raw.batch_bytes.0.saturating_mul(4));
        if raw.buffer_bytes.0 < least.0 && !self.is_judged(&at.key("batch_bytes")) {
            let message = format!("must be at least {least}: four times `batch_bytes`");
            self.fault(Code::InvalidValue, &at.key("buffer_bytes"), message);
            self.hint("set less for `batch_bytes`");
        }
        let dead_letter = raw.dead_letter.and_then(|raw| self.otlp_letters(at, &raw));
        let filters = RawFilters {
            plugin_span_filter: raw.plugin_span_filter,
            request_headers: raw.request_headers,
            redact_headers: raw.redact_headers,
            disable_content_logging: raw.disable_content_logging,
            excluded_attributes: raw.excluded_attributes,
            sampling: raw.sampling,
        };
        let filters = self.filters(at, filters);
        let (endpoint, path) = endpoint?;
        Some(OtlpExporter {
            enabled: raw.enabled,
            to: Destination {
                endpoint,
                path,
                protocol,
                headers,
                compression: match raw.compression {
                    keys::Compression::None => OtlpCompression::None,
                    keys::Compression::Gzip => OtlpCompression::Gzip,
                    keys::Compression::Zstd => OtlpCompression::Zstd,
                },
                timeout,
            },
            batch_spans: usize::try_from(raw.batch_spans).unwrap_or(usize::MAX),
            batch_bytes: raw.batch_bytes.bytes(),
            flush_interval,
            retry_backoff,
            retry_backoff_max,
            dead_letter,
            buffer_bytes: raw.buffer_bytes.bytes(),
            filters,
        })
    }

    /// The endpoint and the path to post to. Messages do not quote the URL: it may have a password.
    pub(super) fn otlp_endpoint(
        &mut self,
        at: &Path,
        url: &str,
        kind: PathOf,
        raw_tls: &upstream_tls::Tls,
    ) -> Option<(Endpoint, String)> {
        let endpoint_at = at.key("endpoint");
        if !self.is_present(&endpoint_at) {
            return None;
        }
        let Some((endpoint, encrypted, path)) = parse(url) else {
            let message = "must have the form `http://host:port` or `https://host:port`";
            self.fault(Code::InvalidValue, &endpoint_at, message);
            self.hint_variable(&endpoint_at);
            return None;
        };
        let path = match kind {
            PathOf::Call(call) => {
                if path != "/" {
                    let message = "must have no path: gRPC names what is called by itself";
                    self.fault(Code::InvalidValue, &endpoint_at, message);
                    self.hint("leave it out, or use another `protocol`");
                }
                call.to_owned()
            }
            PathOf::Signal(signal) => {
                let base = path.trim_end_matches('/');
                let base = base.strip_suffix(signal).unwrap_or(base);
                format!("{base}{signal}")
            }
            PathOf::Own => path,
        };
        let version = match kind {
            PathOf::Call(_) => Protocol::Http2,
            PathOf::Signal(_) | PathOf::Own => Protocol::Auto,
        };
        let tls_at = at.key("tls");
        let tls = if encrypted {
            // What is wrong with it has its fault, and then nothing is served.
            Some(self.client(&tls_at, raw_tls, Self::alpn(version))?)
        } else {
            if self.is_present(&tls_at) {
                let message = "the endpoint is not `https`";
                self.fault(Code::Conflict, &tls_at, message);
            }
            None
        };
        let endpoint = Endpoint {
            tls,
            protocol: version,
            ..endpoint
        };
        Some((endpoint, path))
    }

    /// Warns of credentials that anybody on the way can read.
    pub(super) fn sent_in_the_open(
        &mut self,
        at: &Path,
        endpoint: Option<&(Endpoint, String)>,
        headers: &[(HeaderName, Secret)],
    ) {
        let is_plain = |(endpoint, _): &(Endpoint, String)| {
            endpoint.tls.is_none() && !is_local(&endpoint.host)
        };
        let credential = headers
            .iter()
            .find(|(name, _)| is_credential(name.as_str()));
        if let Some((name, _)) = credential
            && endpoint.is_some_and(is_plain)
        {
            let message = format!("`{name}` is sent unencrypted to another machine");
            self.fault(Code::PlainCredentials, &at.key("headers"), message);
            self.hint("use an `https` endpoint");
        }
    }

    pub(super) fn otlp_headers(
        &mut self,
        at: &Path,
        raw: &IndexMap<String, SecretVar>,
    ) -> Vec<(HeaderName, Secret)> {
        let mut headers: Vec<(HeaderName, Secret)> = Vec::new();
        for (name, value) in raw {
            let at = at.key(name);
            let value = self.secret(&at, value);
            let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
                self.fault(Code::InvalidValue, &at, "is no name of a header");
                continue;
            };
            if OWN_HEADERS.contains(&name) || name.as_str().starts_with("grpc-") {
                let message = "is a header that the exporter sets itself";
                self.fault(Code::InvalidValue, &at, message);
                continue;
            }
            if headers.iter().any(|(other, _)| *other == name) {
                let message = "is given twice: case makes no difference";
                self.fault(Code::Conflict, &at, message);
                continue;
            }
            let Some(value) = value else { continue };
            if HeaderValue::from_str(value.expose()).is_err() {
                let message = "has a value that no header may have, such as one with a line break";
                self.fault(Code::InvalidValue, &at, message);
                continue;
            }
            headers.push((name, value));
        }
        headers
    }

    fn otlp_letters(&mut self, at: &Path, raw: &keys::LetterFile) -> Option<LetterFile> {
        let at = at.key("dead_letter");
        if !self.is_present(&at.key("file")) {
            return None;
        }
        let (path, max_bytes) = self.letter_file(&at, &raw.file, raw.max_bytes);
        Some(LetterFile { path, max_bytes })
    }
}

/// The endpoint, whether it is `https`, and the path.
fn parse(url: &str) -> Option<(Endpoint, bool, String)> {
    let uri: Uri = url.parse().ok()?;
    let encrypted = match uri.scheme_str()? {
        "http" => false,
        "https" => true,
        _ => return None,
    };
    if uri.query().is_some() || url.contains('#') {
        return None;
    }
    let path = uri.path().to_owned();
    let mut parts = uri.into_parts();
    parts.path_and_query = Some(PathAndQuery::from_static("/"));
    let bare = Uri::from_parts(parts).ok()?;
    Some((upstream::endpoint(&bare, encrypted)?, encrypted, path))
}

/// Whether what is sent there stays on this machine.
pub(super) fn is_local(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}
