//! Plugins as they stand in chains: by name, some with a configuration of their own there.

use std::borrow::Cow;
use std::fmt;

use serde_json::{Map, Value as Json};

use super::path::Path;
use super::{Config, Plugin};

/// A plugin in a chain.
#[derive(Clone, PartialEq)]
pub struct PluginUse {
    /// Its key under `plugins`.
    pub plugin: String,
    /// Keys that here take the place of the plugin's own, with `env.NAME` strings already resolved.
    pub config: Option<Map<String, Json>>,
}

impl Plugin {
    /// What it is configured with where it stands so in a chain. Keys are replaced whole, however deep
    /// they are; a configuration that is no mapping is replaced as such.
    pub fn configured(&self, there: &PluginUse) -> Cow<'_, Json> {
        let Some(keys) = &there.config else {
            return Cow::Borrowed(&self.config);
        };
        let mut merged = self.config.as_object().cloned().unwrap_or_default();
        merged.extend(keys.clone());
        Cow::Owned(Json::Object(merged))
    }
}

impl Config {
    /// Each plugin of each chain, with the path of its item.
    pub fn plugin_uses(&self) -> impl Iterator<Item = (Path, &PluginUse)> {
        let listeners = self.listeners.iter().enumerate();
        let listeners = listeners.map(|(index, of)| ("listeners", index, &of.plugins));
        let routes = self.routes.iter().enumerate();
        let routes = routes.map(|(index, of)| ("routes", index, &of.plugins));
        listeners.chain(routes).flat_map(|(key, index, chain)| {
            let at = Path::root().key(key).index(index).key("plugins");
            let items = chain.iter().enumerate();
            items.map(move |(place, there)| (at.index(place), there))
        })
    }
}

impl fmt::Debug for PluginUse {
    /// Without `config`, which may have secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginUse")
            .field("plugin", &self.plugin)
            .finish_non_exhaustive()
    }
}
