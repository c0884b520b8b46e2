//! What is wrong with plugins, which only shows when they are loaded: each is compiled, judged by its
//! schema, and configured once.

use std::path::Path;

use crate::config::{Config, Finding, KeyPath, fault};
use crate::metrics::Metrics;
use crate::plugin::engine::Engine;
use crate::plugin::registry::Registry;
use crate::plugin::variants::Plugins;

/// All that is wrong with them.
pub(super) fn try_all(config: &Config) -> Vec<Finding> {
    if config.plugins.is_empty() {
        return Vec::new();
    }
    match load(config) {
        Ok(found) => found,
        Err(error) => vec![Finding {
            code: fault::Code::Plugin,
            path: KeyPath::root().key("plugins"),
            message: format!("cannot be tried: {error}"),
            hint: None,
        }],
    }
}

fn load(config: &Config) -> Result<Vec<Finding>, String> {
    let engine = Engine::new().map_err(|error| format!("{error:#}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| error.to_string())?;
    // What a server has compiled is taken from there, and nothing is begun that it would be refused.
    let kept = config.data_dir.as_deref();
    let kept = kept.filter(|folder: &&Path| folder.join("compiled").is_dir());
    let registry = Registry::new(engine).with_cache(kept);
    let metrics = Metrics::new(1);
    let none = Plugins::new();
    // What they store is nobody else's, wherever a server has it: nothing is reached for.
    let loaded = runtime.block_on(registry.load(config, None, &none, 1, &metrics));
    let errors = loaded.err().unwrap_or_default();
    Ok(errors.into_iter().map(Into::into).collect())
}
