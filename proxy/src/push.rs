//! Weir's own metrics, pushed: Prometheus' remote write, or OTLP.
//!
//! What is sent is what a scrape would have got ([`samples`]); counters are sums since the start, so a
//! push that fails costs a point on a line and nothing else, and is not repeated. Runs on the main
//! thread, a task for each destination; no worker waits for it. Sent by the exporters' client.

mod otlp;
mod remote_write;
mod samples;
mod units;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, SystemTime};

use http::HeaderName;
use http::header::CONTENT_ENCODING;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use tokio::time::{Instant, MissedTickBehavior};

use crate::admin::gather;
use crate::app::App;
use crate::config::{Push, PushFormat};
use crate::export::otlp::client::Client;
use crate::export::otlp::verdict::{self, Verdict};
use crate::lock::lock;
use crate::metrics::counter;

/// Between two looks at whether the configuration has changed.
const LOOK: Duration = Duration::from_secs(1);

/// For the last push of a process.
const LAST: Duration = Duration::from_secs(2);

/// Most series in a request: what is more makes several.
const SERIES: usize = 5000;

const VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");

/// How the pushes of a process fare, by name; kept over reloads.
#[derive(Debug, Default)]
pub struct Pushes(Mutex<BTreeMap<String, Arc<Fares>>>);

/// How one fares.
#[derive(Debug, Default)]
pub struct Fares {
    taken: AtomicU64,
    failed: AtomicU64,
}

impl Pushes {
    pub(crate) fn all(&self) -> Vec<(String, Arc<Fares>)> {
        let all = lock(&self.0);
        let each = all
            .iter()
            .map(|(name, fares)| (name.clone(), Arc::clone(fares)));
        each.collect()
    }

    fn of(&self, name: &str) -> Arc<Fares> {
        let mut all = lock(&self.0);
        Arc::clone(all.entry(name.to_owned()).or_default())
    }
}

/// What is counted of them.
#[derive(Debug)]
pub(crate) struct Pushed(pub(crate) Vec<(String, Arc<Fares>)>);

impl Collector for Pushed {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let each = |value: fn(&Fares) -> &AtomicU64| {
            self.0.iter().map(move |(name, fares)| {
                let count = value(fares).load(Ordering::Relaxed);
                ([("push", name.as_str())], count)
            })
        };
        counter(
            &mut encoder,
            "weir_metrics_pushes",
            "Pushes of metrics that were taken.",
            each(|fares| &fares.taken),
        )?;
        counter(
            &mut encoder,
            "weir_metrics_push_failures",
            "Pushes of metrics that failed.",
            each(|fares| &fares.failed),
        )
    }
}

/// Runs a task for each push of the configuration in use, until the app is gone.
pub async fn serve(app: Weak<App>) {
    let mut running: BTreeMap<String, Push> = BTreeMap::new();
    loop {
        let Some(here) = app.upgrade() else { return };
        let wanted = &here.generation().config.pushes;
        // A task ends by itself when its push is no longer wanted.
        running.retain(|name, push| wanted.get(name) == Some(push));
        for (name, push) in wanted {
            if !running.contains_key(name) {
                running.insert(name.clone(), push.clone());
                tokio::spawn(keep_pushing(Weak::clone(&app), name.clone(), push.clone()));
            }
        }
        drop(here);
        tokio::time::sleep(LOOK).await;
    }
}

async fn keep_pushing(app: Weak<App>, name: String, push: Push) {
    let mut client = client(&push);
    let mut ticks = tokio::time::interval(LOOK.min(push.interval));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next = Instant::now();
    // Trouble is told when it begins and when it ends.
    let mut fails = false;
    loop {
        ticks.tick().await;
        let Some(app) = app.upgrade() else { return };
        if app.generation().config.pushes.get(&name) != Some(&push) {
            return;
        }
        if Instant::now() < next {
            continue;
        }
        next = Instant::now() + push.interval;
        let fares = app.pushes().of(&name);
        match send(&app, &push, &mut client).await {
            Ok(()) => {
                fares.taken.fetch_add(1, Ordering::Relaxed);
                if std::mem::take(&mut fails) {
                    tracing::info!(push = name, "metrics are pushed again");
                }
            }
            Err(cause) => {
                fares.failed.fetch_add(1, Ordering::Relaxed);
                if !std::mem::replace(&mut fails, true) {
                    let url = push.to.url();
                    tracing::warn!(push = name, url, cause, "metrics cannot be pushed");
                }
            }
        }
    }
}

/// The last numbers of a process that ends, which nobody could fetch any more.
pub async fn last(app: &App) {
    for push in app.generation().config.pushes.values() {
        let mut client = client(push);
        // Nobody is left to be told.
        let _ = tokio::time::timeout(LAST, send(app, push, &mut client)).await;
    }
}

fn client(push: &Push) -> Client<'_> {
    let client = Client::new(&push.to);
    match push.format {
        PushFormat::Otlp => client,
        PushFormat::RemoteWrite => client
            .with_header(CONTENT_ENCODING, "snappy")
            .with_header(VERSION, "0.1.0"),
    }
}

/// Sends all metrics of this moment; the error says in words why that failed.
async fn send(app: &App, push: &Push, client: &mut Client<'_>) -> Result<(), String> {
    let text = gather::with_traces(app).await;
    let text = text.map_err(|_| "metrics could not be encoded".to_owned())?;
    let now = SystemTime::now();
    for families in samples::chunks(samples::read(&text), SERIES) {
        let request = match push.format {
            PushFormat::RemoteWrite => remote_write::request(&families, push, now),
            PushFormat::Otlp => otlp::request(&families, push, now, app.started()),
        };
        let body = client.body(request);
        let answer = client.send(&body).await?;
        let verdict = verdict::of(push.to.protocol, &answer, now);
        match verdict.map_words(|words| client.hide(words)) {
            Verdict::Taken(partial) if partial.rejected == 0 => {}
            Verdict::Taken(partial) => {
                return Err(format!(
                    "{} points refused: {}",
                    partial.rejected, partial.message
                ));
            }
            Verdict::Later { cause, .. } | Verdict::Refused { cause, .. } => return Err(cause),
        }
    }
    Ok(())
}

#[cfg(test)]
mod testing {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use crate::config::{Push, PushFormat};
    use crate::export::testing;

    pub(super) fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_700_000_001)
    }

    pub(super) fn push(format: PushFormat) -> Push {
        Push {
            to: testing::otlp("127.0.0.1", 1).to,
            format,
            interval: Duration::from_secs(15),
            instance: "here".to_owned(),
            labels: vec![("region".to_owned(), "north".to_owned())],
        }
    }
}
