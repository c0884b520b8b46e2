//! Loads the configured plugins: reads, pins, compiles, configures and tries each before any
//! request meets it.
//!
//! Takes long and belongs to no worker. A plugin whose module and configuration are as before is
//! kept, with its warm instances; what fails is named, and nothing of the new set is used then.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use indexmap::IndexMap;
use sha2::{Digest, Sha256};

use super::cache::Cache;
use super::engine::Engine;
use super::kv::Kv;
use super::language::Language;
use super::{Code, Failure, Guest, Hook, Identity, Plugin, Seed};
use crate::config::{self, Module};
use crate::metrics::Metrics;

/// Plugins by the key of their configuration.
pub type Plugins = IndexMap<String, Arc<Plugin>>;

/// The bytes of a module that `make guests` makes.
macro_rules! guest {
    ($name:literal) => {
        include_bytes!(concat!(env!("WEIR_GUESTS"), "/", $name, ".wasm"))
    };
}

/// Modules that are embedded in the binary: the very files that `make guests` makes.
const BUILTINS: [(&str, &[u8]); 13] = [
    ("basic-auth", guest!("basic-auth")),
    ("body-limit", guest!("body-limit")),
    ("cors", guest!("cors")),
    ("genai", guest!("genai")),
    ("header-rewrite", guest!("header-rewrite")),
    ("ip-restriction", guest!("ip-restriction")),
    ("jwt-auth", guest!("jwt-auth")),
    ("key-auth", guest!("key-auth")),
    ("maintenance", guest!("maintenance")),
    ("rate-limit", guest!("rate-limit")),
    ("redirect", guest!("redirect")),
    ("request-id", guest!("request-id")),
    ("response-transform", guest!("response-transform")),
];

/// Why a plugin was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("plugin `{plugin}`: cannot read module {path}: {source}")]
    Read {
        plugin: String,
        path: String,
        source: std::io::Error,
    },
    #[error(
        "plugin `{plugin}`: there is no builtin `{name}`; there are: {}",
        names()
    )]
    NoBuiltin { plugin: String, name: String },
    #[error("plugin `{plugin}`: module has sha256 {found}, but {pinned} is pinned")]
    Digest {
        plugin: String,
        pinned: String,
        found: String,
    },
    #[error("plugin `{plugin}`: module {reason}")]
    Module { plugin: String, reason: String },
    #[error(
        "plugin `{plugin}` has a pre-request hook, which only a listener's chain may have, and stands in that of route `{route}`"
    )]
    PreRequest { plugin: String, route: String },
    #[error("plugin `{plugin}`: {failure}")]
    Failure { plugin: String, failure: Failure },
}

fn names() -> String {
    BUILTINS.map(|(name, _)| name).join(", ")
}

/// Names of the bundled plugins.
pub fn builtins() -> impl Iterator<Item = &'static str> {
    BUILTINS.iter().map(|(name, _)| *name)
}

/// The module of a bundled plugin.
pub fn builtin(name: &str) -> Option<&'static [u8]> {
    let mut found = BUILTINS.iter().filter(|(builtin, _)| *builtin == name);
    found.next().map(|(_, bytes)| *bytes)
}

/// Makes plugins; one a process.
pub struct Registry {
    engine: Engine,
    cache: Option<Cache>,
    next: AtomicU32,
    /// By the plugin's normal name.
    stores: Mutex<HashMap<String, Arc<Kv>>>,
}

impl Registry {
    pub fn new(engine: Engine) -> Self {
        Self {
            engine,
            cache: None,
            next: AtomicU32::new(1),
            stores: Mutex::default(),
        }
    }

    /// Keeps compiled modules in a folder below `data_dir`, where there is one that can be used.
    #[must_use]
    pub fn with_cache(mut self, data_dir: Option<&Path>) -> Self {
        let Some(folder) = data_dir.map(|folder| folder.join("compiled")) else {
            return self;
        };
        match Cache::open(&folder, &self.engine.wasm) {
            Ok(cache) => self.cache = Some(cache),
            Err(error) => {
                tracing::warn!(path = %folder.display(), %error, "compiled modules are not kept");
            }
        }
        self
    }

    /// Loads every configured plugin, or says what is wrong with each that cannot be.
    pub async fn load(
        &self,
        configured: &IndexMap<String, config::Plugin>,
        before: &Plugins,
        generation: u64,
        metrics: &Metrics,
    ) -> Result<Plugins, Vec<Error>> {
        let mut compiled = HashMap::new();
        let mut plugins = Plugins::new();
        let mut errors = Vec::new();
        for (key, config) in configured {
            match self
                .load_one(key, config, before, generation, metrics, &mut compiled)
                .await
            {
                Ok(plugin) => {
                    plugins.insert(key.clone(), plugin);
                }
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() {
            Ok(plugins)
        } else {
            Err(errors)
        }
    }

    /// Loads plugins for nobody's use but the caller's, each for itself: what one of them lacks is
    /// no matter of the others. Names may come twice.
    pub async fn load_each<'p>(
        &self,
        configured: impl Iterator<Item = (&'p str, &'p config::Plugin)>,
        metrics: &Metrics,
    ) -> Vec<Result<Arc<Plugin>, Error>> {
        let mut compiled = HashMap::new();
        let before = Plugins::new();
        let mut loaded = Vec::new();
        for (name, plugin) in configured {
            let one = self.load_one(name, plugin, &before, 1, metrics, &mut compiled);
            loaded.push(one.await);
        }
        loaded
    }

    async fn load_one(
        &self,
        key: &str,
        config: &config::Plugin,
        before: &Plugins,
        generation: u64,
        metrics: &Metrics,
        compiled: &mut HashMap<String, Code>,
    ) -> Result<Arc<Plugin>, Error> {
        let plugin = || key.to_owned();
        let bytes = read(key, &config.module)?;
        let digest = hex(&Sha256::digest(&bytes));
        if let Some(pinned) = &config.sha256
            && *pinned != digest
        {
            return Err(Error::Digest {
                plugin: plugin(),
                pinned: pinned.clone(),
                found: digest,
            });
        }
        let mut config = config.clone();
        let limits = &mut config.limits;
        limits.memory = limits
            .memory
            .or_else(|| Some(Language::of(&bytes).memory()));
        if let Some(old) = before.get(key)
            && old.digest == digest
            && old.config == config
        {
            return Ok(Arc::clone(old));
        }
        let module = |reason| Error::Module {
            plugin: plugin(),
            reason,
        };
        let code = match compiled.get(&digest) {
            Some(code) => code.clone(),
            None => {
                let cache = self.cache.as_ref();
                let code = Code::cached(cache, &self.engine, &digest, &bytes)
                    .map_err(|error| module(format!("cannot be compiled: {error:#}")))?;
                compiled.insert(digest.clone(), code.clone());
                code
            }
        };
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let name = normal_name(key);
        let families = metrics.families_after(&name);
        let seed = Seed {
            engine: self.engine.clone(),
            id,
            name: name.as_str().into(),
            config: config.config.to_string(),
            kv: self.store(&name, config.limits.kv),
            families: Arc::clone(&families),
            upstreams: config.upstreams.as_slice().into(),
        };
        let guest = Guest::new(seed, &code)
            .map_err(|error| module(format!("is no plugin of world weir:plugin: {error:#}")))?;
        let (_tried, interests) =
            guest
                .instantiate(config.limits)
                .await
                .map_err(|failure| Error::Failure {
                    plugin: plugin(),
                    failure,
                })?;
        metrics.count_into(&name, families);
        let identity = Identity {
            id,
            name,
            digest,
            generation,
        };
        let cells = |name: &str, hook: Hook| metrics.hook(name, hook);
        Ok(Arc::new(Plugin::new(
            identity, config, interests, guest, cells,
        )))
    }
}

impl Registry {
    /// The store of a plugin, which is kept for as long as its size is.
    fn store(&self, name: &str, bytes: usize) -> Arc<Kv> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        // What only the map has belongs to no plugin any more.
        stores.retain(|other, store| other == name || Arc::strong_count(store) > 1);
        match stores.get(name) {
            Some(store) if store.bytes() == bytes => Arc::clone(store),
            _ => {
                let store = Arc::new(Kv::new(bytes));
                stores.insert(name.to_owned(), Arc::clone(&store));
                store
            }
        }
    }
}

/// Before routing there is no route, and so no hook of a route's plugins.
pub fn check_routes(routes: &[config::Route], plugins: &Plugins) -> Vec<Error> {
    let standing = routes
        .iter()
        .flat_map(|route| route.plugins.iter().map(move |plugin| (route, plugin)));
    standing
        .filter(|(_, plugin)| {
            plugins
                .get(*plugin)
                .is_some_and(|plugin| plugin.wants(Hook::PreRequest))
        })
        .map(|(route, plugin)| Error::PreRequest {
            plugin: plugin.clone(),
            route: route.name.clone(),
        })
        .collect()
}

/// As in span names: lower case, spaces as `-`.
pub fn normal_name(key: &str) -> String {
    key.to_lowercase().replace(' ', "-")
}

fn read<'a>(key: &str, module: &Module) -> Result<std::borrow::Cow<'a, [u8]>, Error> {
    match module {
        Module::Builtin(name) => builtin(name)
            .map(Into::into)
            .ok_or_else(|| Error::NoBuiltin {
                plugin: key.to_owned(),
                name: name.clone(),
            }),
        Module::File(path) => std::fs::read(path)
            .map(Into::into)
            .map_err(|source| Error::Read {
                plugin: key.to_owned(),
                path: path.display().to_string(),
                source,
            }),
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
