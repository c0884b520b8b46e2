//! The command line of `weir traces tail`, and the topic that it means.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::filter::{Filter, StatusRange};
use crate::config::report::Format as Report;
use crate::config::{self, Environment, Exporter, Kafka};
use crate::export::kafka::consumer::From;

/// Print the traces of a Kafka topic as they come, one line each: time, status, duration, a small
/// waterfall, name, trace id, and what failed. Ends on Ctrl-C.
///
/// In the waterfall each column is a part of the trace's time: `▒` a plugin's hook, `█` the call to
/// the upstream, `!` what failed, `·` the rest.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  weir traces tail --config weir.yaml
  weir traces tail --config weir.yaml --exporter archive --from beginning --errors
  weir traces tail --brokers localhost:9092 --topic weir-traces --from -20 --no-follow
  weir traces tail --config weir.yaml --route '/v1/*' --status 5xx --slower-than 250ms
  weir traces tail --config weir.yaml --plugin auth --json | jq .RequestID
  weir traces tail --brokers kafka:9093 --topic t --ca-cert ca.pem \\
    --sasl-mechanism SCRAM-SHA-512 --sasl-username me --sasl-password env.KAFKA_PASSWORD")]
pub struct TailArgs {
    /// Configuration file with an exporter whose topic is to be read
    #[arg(short, long, value_name = "FILE", required_unless_present = "brokers")]
    config: Option<PathBuf>,
    /// Which exporter, where the file has several
    #[arg(long, value_name = "NAME", requires = "config")]
    exporter: Option<String>,
    /// Set one value over the file; may be given several times
    #[arg(long, value_name = "KEY.PATH=VALUE", requires = "config")]
    set: Vec<String>,
    /// Brokers, as `host:port,host:port`, in place of a file
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "LIST",
        conflicts_with = "config",
        requires = "topic"
    )]
    brokers: Vec<String>,
    /// The topic; with a file, another one than the exporter's, such as that of its dead letters
    #[arg(long)]
    topic: Option<String>,
    /// With --brokers: encrypt the connection; --ca-cert and --client-cert mean it too
    #[arg(long, requires = "brokers")]
    tls: bool,
    /// With --brokers: PEM file of the authority that signed the brokers' certificate
    #[arg(long, value_name = "FILE", requires = "brokers")]
    ca_cert: Option<String>,
    /// With --brokers: PEM file of a client certificate
    #[arg(long, value_name = "FILE", requires_all = ["brokers", "client_key"])]
    client_cert: Option<String>,
    /// With --brokers: PEM file of its key
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    client_key: Option<String>,
    /// With --brokers: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
    #[arg(long, value_name = "NAME", requires_all = ["brokers", "sasl_username", "sasl_password"])]
    sasl_mechanism: Option<String>,
    /// With --brokers: user
    #[arg(long, value_name = "NAME", requires = "sasl_mechanism")]
    sasl_username: Option<String>,
    /// With --brokers: password, best as `env.NAME` of a variable that has it
    #[arg(long, value_name = "PASSWORD", requires = "sasl_mechanism")]
    sasl_password: Option<String>,
    /// With --brokers: a property of librdkafka; may be given several times
    #[arg(long, value_name = "NAME=VALUE", requires = "brokers")]
    property: Vec<String>,

    /// Where to begin in each partition: `beginning`, `end`, or `-N` for the last N messages
    #[arg(long, default_value = "end", value_parser = from, allow_hyphen_values = true,
        overrides_with = "from")]
    pub(super) from: From,
    /// End once what is there now was shown
    #[arg(long)]
    pub(super) no_follow: bool,
    /// End after so many traces
    #[arg(short = 'n', long, value_name = "N")]
    pub(super) count: Option<u64>,
    /// What a message is; by default each says so itself
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    pub(super) format: Format,

    /// Only this route, as in `http.route` or by its name; `*` stands for any run of characters
    #[arg(long)]
    route: Option<String>,
    /// Only this status, such as `404`, `5xx` or `400-499`
    #[arg(long, value_parser = StatusRange::parse)]
    status: Option<StatusRange>,
    /// Only traces with a span of this plugin
    #[arg(long, value_name = "NAME")]
    plugin: Option<String>,
    /// Only traces that lasted at least so long, such as `250ms`
    #[arg(long, value_name = "DURATION", value_parser = config::duration)]
    slower_than: Option<Duration>,
    /// Only traces in which a span failed
    #[arg(long)]
    errors: bool,

    /// Print each trace as one line of JSON, in the form of `format: json`
    #[arg(long)]
    pub(super) json: bool,
    /// When to use colours; `auto`: on a terminal, unless `NO_COLOR` is set
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    pub(super) color: Color,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum Format {
    Auto,
    Json,
    OtlpJson,
    OtlpProtobuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    Auto,
    Always,
    Never,
}

impl Color {
    pub(super) fn is_on(self, is_terminal: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                is_terminal && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty())
            }
        }
    }
}

fn from(text: &str) -> Result<From, String> {
    match text {
        "beginning" => Ok(From::Beginning),
        "end" => Ok(From::End),
        text => text
            .strip_prefix('-')
            .and_then(|messages| messages.parse().ok())
            .filter(|messages| *messages > 0)
            .map(From::Last)
            .ok_or_else(|| "`beginning`, `end` or `-N`".to_owned()),
    }
}

impl TailArgs {
    pub(super) fn filter(&self) -> Filter<'_> {
        Filter {
            route: self.route.as_deref(),
            status: self.status,
            plugin: self.plugin.as_deref(),
            slower_than: self.slower_than,
            errors: self.errors,
        }
    }

    /// The topic to read, as an exporter to it would be configured; else what is wrong, in lines.
    pub(super) fn kafka(&self) -> Result<Kafka, String> {
        let environment = Environment::of_process();
        let loaded = match &self.config {
            Some(file) => config::load(file, &self.set, &environment),
            None => {
                let text = self.as_configuration()?.to_string();
                config::parse(&text, Path::new("command line"), &[], &environment)
            }
        };
        let exporters = match loaded {
            Ok(loaded) => loaded.config.exporters,
            Err(faults) => return Err(faults.report(Report::Text)),
        };
        // Only topics can be read.
        let topics = exporters
            .into_iter()
            .filter_map(|(name, exporter)| match exporter {
                Exporter::Kafka(kafka) => Some((name, kafka)),
                Exporter::Otlp(_) => None,
            });
        let mut exporters: IndexMap<String, Box<Kafka>> = topics.collect();
        let names = exporters.keys().map(|name| format!("`{name}`"));
        let names = names.collect::<Vec<_>>().join(", ");
        let mut kafka = match &self.exporter {
            Some(name) => exporters.swap_remove(name).ok_or_else(|| {
                format!("there is no Kafka exporter `{name}`; there are: {names}\n")
            })?,
            None if exporters.len() > 1 => {
                return Err(format!("which exporter? --exporter takes one of {names}\n"));
            }
            None => {
                let only = exporters.pop();
                only.ok_or("the configuration has no Kafka exporter; give --brokers and --topic\n")?
                    .1
            }
        };
        if let Some(topic) = &self.topic {
            kafka.topic.clone_from(topic);
        }
        Ok(*kafka)
    }

    /// What the command line says, as a configuration with one exporter, so that it is judged alike.
    fn as_configuration(&self) -> Result<Value, String> {
        let mut properties = Map::new();
        for property in &self.property {
            let (name, value) = property
                .split_once('=')
                .ok_or_else(|| format!("--property {property}: has no `=`\n"))?;
            properties.insert(name.to_owned(), value.into());
        }
        let tls = self.tls || self.ca_cert.is_some() || self.client_cert.is_some();
        let mut kafka = json!({
            "brokers": self.brokers,
            "topic": self.topic,
            "tls_enabled": tls,
            "sasl_enabled": self.sasl_mechanism.is_some(),
            "producer": { "custom_config": properties },
        });
        let mut set = |key: &str, value: &Option<String>| {
            if let Some(value) = value {
                kafka[key] = value.as_str().into();
            }
        };
        set("ca_cert", &self.ca_cert);
        set("client_cert", &self.client_cert);
        set("client_key", &self.client_key);
        if self.sasl_mechanism.is_some() {
            kafka["sasl"] = json!({
                "mechanism": self.sasl_mechanism,
                "username": self.sasl_username,
                "password": self.sasl_password,
            });
        }
        Ok(json!({
            "listeners": [{ "address": "127.0.0.1:0" }],
            "upstreams": { "none": { "endpoints": ["http://127.0.0.1:1"] } },
            "routes": [{ "upstream": "none" }],
            "exporters": { "topic": { "kafka": kafka } },
        }))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: TailArgs,
    }

    fn args(words: &[&str]) -> Result<TailArgs, String> {
        let words = ["tail"].into_iter().chain(words.iter().copied());
        let command = Command::try_parse_from(words).map_err(|error| error.to_string())?;
        Ok(command.args)
    }

    #[test]
    fn places_to_begin_are_read() {
        let from = |text| {
            let words = ["--brokers", "a:1", "--topic", "t", "--from", text];
            args(&words).map(|args| args.from)
        };
        assert_eq!(from("beginning"), Ok(From::Beginning));
        assert_eq!(from("end"), Ok(From::End));
        assert_eq!(from("-20"), Ok(From::Last(20)));
        for wrong in ["20", "-0", "-x", "middle"] {
            let error = from(wrong).unwrap_err();
            assert!(error.contains("`beginning`, `end` or `-N`"), "{error}");
        }
    }

    #[test]
    fn flags_become_what_an_exporter_would_have() {
        let args = args(&[
            "--brokers",
            "a:1,b:2",
            "--topic",
            "t",
            "--tls",
            "--sasl-mechanism",
            "SCRAM-SHA-256",
            "--sasl-username",
            "me",
            "--sasl-password",
            "secret",
            "--property",
            "client.id=me",
        ]);
        let kafka = args.unwrap().kafka().unwrap();
        assert_eq!(kafka.brokers, ["a:1", "b:2"]);
        assert_eq!(kafka.topic, "t");
        assert!(kafka.tls.is_some());
        let sasl = kafka.sasl.unwrap();
        assert_eq!(
            (sasl.mechanism, sasl.password.expose()),
            ("SCRAM-SHA-256", "secret")
        );
        assert_eq!(kafka.producer.custom_config["client.id"].expose(), "me");
    }

    #[test]
    fn wrong_flags_are_told_as_the_configuration_tells_them() {
        let wrong = args(&[
            "--brokers",
            "a",
            "--topic",
            "t t",
            "--property",
            "no.such=1",
        ]);
        let message = wrong.unwrap().kafka().unwrap_err();
        for part in [
            "brokers[0]",
            "topic: must be a topic name",
            "is no property of librdkafka",
        ] {
            assert!(message.contains(part), "{message}");
        }
        assert!(args(&[]).is_err());
        assert!(args(&["--brokers", "a:1"]).is_err());
    }
}
