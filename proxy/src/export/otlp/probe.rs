//! One try to reach a collector, for somebody who waits for the answer.

use std::time::SystemTime;

use super::batch::Encoder;
use super::client::Client;
use super::verdict::{self, Verdict, Why};
use crate::config::OtlpExporter;

/// Sends an empty request. Says how it went.
pub(in crate::export) fn probe(config: &OtlpExporter) -> Result<String, String> {
    let runtime = super::runtime().map_err(|error| error.to_string())?;
    let mut client = Client::new(&config.to);
    let body = client.body(Encoder::new(config).empty());
    let url = config.to.url();
    let answer = runtime.block_on(client.send(&body));
    let answer = answer.map_err(|cause| format!("otlp: cannot deliver to {url}: {cause}"))?;
    let verdict = verdict::of(config.to.protocol, &answer, SystemTime::now());
    match verdict.map_words(|words| client.hide(words)) {
        Verdict::Taken(_) => Ok(format!("{url} takes traces")),
        Verdict::Refused {
            cause,
            why: Why::Data | Why::TooLarge,
        } => Ok(format!(
            "{url} answers; an empty request it refuses: {cause}"
        )),
        Verdict::Later { cause, .. } | Verdict::Refused { cause, .. } => {
            Err(format!("otlp: cannot deliver to {url}: {cause}"))
        }
    }
}
