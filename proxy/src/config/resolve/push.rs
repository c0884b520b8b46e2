//! Where metrics are pushed to: the endpoint by its protocol, and labels that series may have.

use indexmap::IndexMap;

use super::Resolver;
use super::otlp_exporter::PathOf;
use crate::config::fault::Code;
use crate::config::path::Path;
use crate::config::raw::metrics as keys;
use crate::config::units::Duration;
use crate::config::{Destination, OtlpCompression, OtlpProtocol, Push, PushFormat};

/// gRPC's name of the one call there is.
const EXPORT: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// Where OTLP/HTTP takes metrics.
const METRICS: &str = "/v1/metrics";

/// What is sent more often costs more than it tells.
const LEAST_INTERVAL: Duration = Duration::seconds(1);

impl Resolver<'_> {
    /// Those that are enabled.
    pub(super) fn pushes(&mut self, raw: IndexMap<String, keys::Push>) -> IndexMap<String, Push> {
        let at = Path::root().key("metrics").key("push");
        let mut pushes = IndexMap::new();
        for (name, raw) in raw {
            let enabled = raw.enabled;
            if let Some(push) = self.push(&at.key(&name), raw)
                && enabled
            {
                pushes.insert(name, push);
            }
        }
        pushes
    }

    fn push(&mut self, at: &Path, raw: keys::Push) -> Option<Push> {
        let (path, protocol, format, compression) = match raw.protocol {
            // It has a compression of its own.
            keys::Protocol::RemoteWrite => (
                PathOf::Own,
                OtlpProtocol::HttpProtobuf,
                PushFormat::RemoteWrite,
                OtlpCompression::None,
            ),
            keys::Protocol::OtlpHttp => (
                PathOf::Signal(METRICS),
                OtlpProtocol::HttpProtobuf,
                PushFormat::Otlp,
                OtlpCompression::Gzip,
            ),
            keys::Protocol::OtlpGrpc => (
                PathOf::Call(EXPORT),
                OtlpProtocol::Grpc,
                PushFormat::Otlp,
                OtlpCompression::Gzip,
            ),
        };
        let endpoint = self.otlp_endpoint(at, &raw.endpoint, path, &raw.tls);
        let headers = self.otlp_headers(&at.key("headers"), &raw.headers);
        self.sent_in_the_open(at, endpoint.as_ref(), &headers);
        let timeout = self.positive(&at.key("timeout"), raw.timeout);
        if raw.interval.0 < LEAST_INTERVAL.0 {
            self.fault(
                Code::InvalidValue,
                &at.key("interval"),
                "must be at least 1s",
            );
        }
        for name in raw.labels.keys() {
            let at = at.key("labels").key(name);
            if !is_label(name) {
                let message = "must be letters, digits and `_`, and begin with none of the digits";
                self.fault(Code::InvalidValue, &at, message);
            } else if ["job", "instance"].contains(&name.as_str()) || name.starts_with("__") {
                let message = "is a label that Weir sets itself";
                self.fault(Code::InvalidValue, &at, message);
                if name == "instance" {
                    self.hint("use the key `instance`");
                }
            }
        }
        let (endpoint, path) = endpoint?;
        Some(Push {
            to: Destination {
                endpoint,
                path,
                protocol,
                headers,
                compression,
                timeout,
            },
            format,
            interval: raw.interval.0,
            instance: raw.instance.unwrap_or_else(host_name),
            labels: raw.labels.into_iter().collect(),
        })
    }
}

fn is_label(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().all(legal) && !name.starts_with(|c: char| c.is_ascii_digit()) && !name.is_empty()
}

/// The kernel's; where it does not say, something has to stand there.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "weir".to_owned(),
        name => name.to_owned(),
    }
}
