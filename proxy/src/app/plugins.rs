//! The plugins of a configuration, compiled and tried before it is put in place.

use std::sync::Arc;

use super::Error;
use crate::config::report::Format;
use crate::config::{Config, Document};
use crate::metrics::Metrics;
use crate::plugin::kv::redis::Redis;
use crate::plugin::registry::{self, Registry};
use crate::plugin::variants::Plugins;

/// Compiles and tries plugins on a thread of its own: it takes long, and guests may loop.
pub(super) async fn load(
    registry: &Arc<Registry>,
    config: &Config,
    kv: Option<Arc<Redis>>,
    before: Plugins,
    generation: u64,
    metrics: &Arc<Metrics>,
    document: Option<&Document>,
) -> Result<Plugins, Error> {
    let (registry, metrics) = (Arc::clone(registry), Arc::clone(metrics));
    let config = config.clone();
    let loading = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::Worker)?;
        let loading = registry.load(&config, kv.as_ref(), &before, generation, &metrics);
        let loaded = runtime.block_on(loading);
        // A resolver that gives no answer is not waited for.
        runtime.shutdown_background();
        Ok::<_, Error>(loaded)
    });
    let loaded = loading
        .await
        .unwrap_or_else(|panic| Err(Error::Engine(panic.to_string())))?;
    loaded.map_err(|errors| Error::Plugins(told(errors, document)))
}

/// With the places in the file, where there is one.
fn told(errors: Vec<registry::Error>, document: Option<&Document>) -> String {
    let Some(document) = document else {
        let lines = errors.iter().map(ToString::to_string);
        return lines.collect::<Vec<_>>().join("\n");
    };
    let findings = errors.into_iter().map(Into::into).collect();
    let report = document.locate(findings).report(Format::Text);
    report.trim_end().to_owned()
}
