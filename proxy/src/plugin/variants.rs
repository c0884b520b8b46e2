//! A plugin as often as chains configure it in ways of their own.
//!
//! What differs is the configuration alone, and so what it asked for in `configure`, its instances and
//! its breakers. Module, limits, name, key-value store and metrics are the plugin's.

use std::borrow::Cow;
use std::iter;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Value as Json};

use super::Plugin;
use crate::config::{self, Config, KeyPath, PluginUse, Step};

/// Plugins by the key of their configuration.
pub type Plugins = IndexMap<String, Variants>;

/// One plugin, once for each of its configurations.
#[derive(Clone)]
pub struct Variants {
    first: Arc<Plugin>,
    others: Vec<Arc<Plugin>>,
}

impl Variants {
    /// `None` of none.
    pub(super) fn new(all: impl IntoIterator<Item = Arc<Plugin>>) -> Option<Self> {
        let mut all = all.into_iter();
        Some(Self {
            first: all.next()?,
            others: all.collect(),
        })
    }

    /// One of them, where it makes no difference which.
    pub fn first(&self) -> &Arc<Plugin> {
        &self.first
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Plugin>> {
        iter::once(&self.first).chain(&self.others)
    }

    fn configured(&self, config: &Json) -> Option<&Arc<Plugin>> {
        self.iter().find(|plugin| plugin.config.config == *config)
    }
}

/// The plugin that stands in a chain.
pub fn find<'p>(
    plugins: &'p Plugins,
    config: &Config,
    there: &PluginUse,
) -> Option<&'p Arc<Plugin>> {
    let configured = config.plugins.get(&there.plugin)?.configured(there);
    plugins.get(&there.plugin)?.configured(&configured)
}

/// A configuration that a plugin is wanted with.
pub(super) struct Wanted<'c> {
    pub(super) plugin: &'c config::Plugin,
    pub(super) config: Cow<'c, Json>,
    /// The keys that a chain gives it, and the path of the mapping that has them.
    there: Option<(KeyPath, &'c Map<String, Json>)>,
}

impl<'c> Wanted<'c> {
    /// The plugin's own.
    pub(super) fn own(plugin: &'c config::Plugin) -> Self {
        Self {
            plugin,
            config: Cow::Borrowed(&plugin.config),
            there: None,
        }
    }

    fn by(plugin: &'c config::Plugin, item: &KeyPath, there: &'c PluginUse) -> Self {
        let keys = there.config.as_ref();
        Self {
            plugin,
            config: plugin.configured(there),
            there: keys.map(|keys| (item.key(&there.plugin), keys)),
        }
    }

    /// Where that is written, or missing, which has this path within the configuration of the plugin
    /// of this key.
    pub(super) fn at(&self, key: &str, path: &KeyPath) -> KeyPath {
        let own = self.plugin.config.as_object();
        let base = match (&self.there, path.steps().first()) {
            (Some((_, keys)), Some(Step::Key(first)))
                if !keys.contains_key(first) && own.is_some_and(|own| own.contains_key(first)) =>
            {
                None
            }
            (there, _) => there.as_ref().map(|(at, _)| at.clone()),
        };
        let base = base.unwrap_or_else(|| KeyPath::root().key("plugins").key(key).key("config"));
        path.steps()
            .iter()
            .fold(base, |path, step| path.join(step.clone()))
    }
}

/// Each plugin with all that it is wanted with: by chains, or by nobody.
pub(super) fn wanted(config: &Config) -> IndexMap<&str, Vec<Wanted<'_>>> {
    let mut all: IndexMap<&str, Vec<Wanted<'_>>> = IndexMap::new();
    for key in config.plugins.keys() {
        all.insert(key, Vec::new());
    }
    for (item, there) in config.plugin_uses() {
        if let (Some(plugin), Some(known)) = (
            config.plugins.get(&there.plugin),
            all.get_mut(there.plugin.as_str()),
        ) {
            let wanted = Wanted::by(plugin, &item, there);
            if known.iter().all(|other| other.config != wanted.config) {
                known.push(wanted);
            }
        }
    }
    for (key, plugin) in &config.plugins {
        if let Some(known) = all.get_mut(key.as_str())
            && known.is_empty()
        {
            known.push(Wanted::own(plugin));
        }
    }
    all
}
