//! Loads the configured plugins: reads, pins, compiles, configures and tries each before any
//! request meets it.
//!
//! Takes long and belongs to no worker. A plugin whose module and configuration are as before is
//! kept, with its warm instances; what fails is named, and nothing of the new set is used then.

mod error;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use sha2::{Digest, Sha256};

use super::bounds;
use super::cache::Cache;
use super::engine::Engine;
use super::kv::redis::Redis;
use super::kv::{Kv, Store};
use super::language::Language;
use super::measures::Families;
use super::variants::{self, Plugins, Variants, Wanted};
use super::{Code, Failure, Guest, Hook, Identity, Plugin, Seed};
use crate::config::{self, Config, KeyPath, Module};
use crate::hex;
use crate::lock::lock;
use crate::metrics::Metrics;

pub use error::{Cause, Error};

/// Modules that are embedded in the binary: the very files that `make guests` makes, by the names in
/// `build.rs`.
const BUILTINS: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/plugins.rs"));

/// Names of the bundled plugins.
pub fn builtins() -> impl Iterator<Item = &'static str> {
    BUILTINS.iter().map(|(name, _)| *name)
}

/// The module of a bundled plugin.
pub fn builtin(name: &str) -> Option<&'static [u8]> {
    let mut found = BUILTINS.iter().filter(|(builtin, _)| *builtin == name);
    found.next().map(|(_, bytes)| *bytes)
}

/// What one load of a configuration goes by.
struct Loading<'l> {
    /// What has the plugins' values; `None`: they are in memory.
    redis: Option<&'l Arc<Redis>>,
    before: &'l Plugins,
    generation: u64,
    metrics: &'l Metrics,
    /// Whether configurations are judged by their plugins' schemas too.
    by_schema: bool,
    /// By digest.
    compiled: HashMap<String, Code>,
}

/// What the variants of a plugin have in common.
struct Common<'c> {
    key: &'c str,
    /// In its normal form.
    name: String,
    digest: &'c str,
    families: Arc<Families>,
    /// Of its configuration, once it was asked for.
    schema: Option<String>,
}

impl Common<'_> {
    /// Where the plugin is configured.
    fn at(&self) -> KeyPath {
        KeyPath::root().key("plugins").key(self.key)
    }

    fn refused(&self, reason: String) -> Error {
        Error {
            at: self.at().key("module"),
            cause: Cause::Module {
                plugin: self.key.to_owned(),
                reason,
            },
        }
    }
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

    /// Loads every configured plugin, once for each configuration that chains give it, or says what is
    /// wrong with each that cannot be. Their values are in `redis`, or else in memory.
    pub async fn load(
        &self,
        config: &Config,
        redis: Option<&Arc<Redis>>,
        before: &Plugins,
        generation: u64,
        metrics: &Metrics,
    ) -> Result<Plugins, Vec<Error>> {
        let mut loading = Loading {
            redis,
            before,
            generation,
            metrics,
            by_schema: true,
            compiled: HashMap::new(),
        };
        let mut plugins = Plugins::new();
        let mut errors = Vec::new();
        for (key, wanted) in variants::wanted(config) {
            match self.load_one(key, &wanted, &mut loading).await {
                Ok(loaded) => {
                    let loaded = Variants::new(loaded);
                    plugins.extend(loaded.map(|loaded| (key.to_owned(), loaded)));
                }
                Err(found) => errors.extend(found),
            }
        }
        errors.extend(check_routes(config, &plugins));
        if errors.is_empty() {
            Ok(plugins)
        } else {
            Err(errors)
        }
    }

    /// Loads plugins for nobody's use but the caller's, each for itself: what one of them lacks is
    /// no matter of the others. Names may come twice. Their values are in memory.
    pub async fn load_each<'p>(
        &self,
        configured: impl Iterator<Item = (&'p str, &'p config::Plugin)>,
        metrics: &Metrics,
    ) -> Vec<Result<Arc<Plugin>, Error>> {
        let mut loading = Loading {
            redis: None,
            before: &Plugins::new(),
            generation: 1,
            metrics,
            by_schema: false,
            compiled: HashMap::new(),
        };
        let mut loaded = Vec::new();
        for (name, plugin) in configured {
            let wanted = [Wanted::own(plugin)];
            let one = self.load_one(name, &wanted, &mut loading).await;
            loaded.push(match one {
                Ok(mut one) => Ok(one.remove(0)),
                Err(mut errors) => Err(errors.remove(0)),
            });
        }
        loaded
    }

    /// A plugin with each of these configurations, of which there is one at least; where that fails,
    /// so is an error.
    async fn load_one(
        &self,
        key: &str,
        wanted: &[Wanted<'_>],
        loading: &mut Loading<'_>,
    ) -> Result<Vec<Arc<Plugin>>, Vec<Error>> {
        let Some(plugin) = wanted.first().map(|wanted| wanted.plugin) else {
            return Ok(Vec::new());
        };
        let at = KeyPath::root().key("plugins").key(key);
        let module = Source::read(key, &at, plugin).map_err(|error| vec![error])?;
        let mut limits = plugin.limits;
        limits.memory = limits
            .memory
            .or_else(|| Some(Language::of(&module.bytes).memory()));
        let configured: Vec<config::Plugin> = wanted
            .iter()
            .map(|wanted| config::Plugin {
                config: wanted.config.clone().into_owned(),
                limits,
                ..plugin.clone()
            })
            .collect();
        let before = loading.before.get(key);
        let redis = loading.redis;
        let kept = |config: &config::Plugin| {
            let mut old = before?.iter();
            old.find(|old| {
                old.digest == module.digest
                    && old.config == *config
                    && old.redis.as_ref().map(Arc::as_ptr) == redis.map(Arc::as_ptr)
            })
        };
        let name = config::normal_name(key);
        // Those that are kept count on, and with them the others.
        let families = match configured.iter().find_map(kept) {
            Some(old) => Arc::clone(&old.families),
            None => loading.metrics.families_after(&name),
        };
        let mut common = Common {
            key,
            name,
            digest: &module.digest,
            families,
            schema: None,
        };
        let (mut loaded, mut errors) = (Vec::new(), Vec::new());
        for (wanted, config) in wanted.iter().zip(&configured) {
            if let Some(old) = kept(config) {
                loaded.push(Arc::clone(old));
                continue;
            }
            let code = self.code(&module, loading);
            let code = code.map_err(|reason| vec![common.refused(reason)])?;
            let made = self.make(&mut common, &code, wanted, config, loading);
            match made.await {
                Ok(plugin) => loaded.push(Arc::new(plugin)),
                Err(found) => errors.extend(found),
            }
        }
        if errors.is_empty() {
            Ok(loaded)
        } else {
            Err(errors)
        }
    }

    /// Links, judges, configures and tries it.
    async fn make(
        &self,
        common: &mut Common<'_>,
        code: &Code,
        wanted: &Wanted<'_>,
        config: &config::Plugin,
        loading: &Loading<'_>,
    ) -> Result<Plugin, Vec<Error>> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let seed = Seed {
            engine: self.engine.clone(),
            id,
            name: common.name.as_str().into(),
            config: config.config.to_string(),
            kv: match loading.redis {
                Some(redis) => Store::Redis(redis.values(&common.name)),
                None => Store::Memory(self.store(&common.name, config.limits.kv)),
            },
            families: Arc::clone(&common.families),
            upstreams: config.upstreams.as_slice().into(),
        };
        let guest = Guest::new(seed, code).map_err(|error| {
            let reason = format!("is no plugin of world weir:plugin: {error:#}");
            vec![common.refused(reason)]
        })?;
        if loading.by_schema && common.schema.is_none() {
            // Without one, `configure` judges alone.
            let schema = guest.config_schema(config.limits).await;
            common.schema = Some(schema.unwrap_or_default());
        }
        let schema = common.schema.as_deref().unwrap_or_default();
        let misfits = config::misfits(schema, &config.config);
        if !misfits.is_empty() {
            let errors = misfits.into_iter().map(|found| Error {
                at: wanted.at(common.key, &found.path),
                cause: Cause::Misfit {
                    plugin: common.key.to_owned(),
                    found: Box::new(found),
                },
            });
            return Err(errors.collect());
        }
        let tried = guest.instantiate(config.limits).await.map_err(|failure| {
            let at = match failure {
                Failure::Memory(_) => common.at().key("limits").key("memory"),
                _ => wanted.at(common.key, &KeyPath::root()),
            };
            let plugin = common.key.to_owned();
            let cause = Cause::Failure { plugin, failure };
            vec![Error { at, cause }]
        })?;
        let identity = Identity {
            id,
            name: common.name.clone(),
            digest: common.digest.to_owned(),
            generation: loading.generation,
            redis: loading.redis.cloned(),
        };
        let cells = |name: &str, hook: Hook| loading.metrics.hook(name, hook);
        let families = Arc::clone(&common.families);
        let config = config.clone();
        Ok(Plugin::new(
            identity, config, &tried, guest, families, cells,
        ))
    }

    /// Code of the same bytes is compiled once, and once more only where nothing has it any more.
    fn code(&self, module: &Source<'_>, loading: &mut Loading<'_>) -> Result<Code, String> {
        if let Some(code) = loading.compiled.get(&module.digest) {
            return Ok(code.clone());
        }
        let mut before = loading.before.values().flat_map(Variants::iter);
        let code = match before.find(|old| old.digest == module.digest) {
            Some(old) => old.guest.code(),
            None => {
                let cache = self.cache.as_ref();
                Code::cached(cache, &self.engine, &module.digest, &module.bytes)
                    .map_err(|error| format!("cannot be compiled: {error:#}"))?
            }
        };
        loading.compiled.insert(module.digest.clone(), code.clone());
        Ok(code)
    }
}

impl Registry {
    /// The store of a plugin, which is kept for as long as its size is.
    fn store(&self, name: &str, bytes: usize) -> Arc<Kv> {
        let mut stores = self.stores();
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

    /// Forgets the stores, as values are elsewhere now. Who still uses one keeps it.
    pub fn forget_stores(&self) {
        self.stores().clear();
    }

    fn stores(&self) -> MutexGuard<'_, HashMap<String, Arc<Kv>>> {
        lock(&self.stores)
    }
}

/// Before routing there is no route, and so no hook of a route's plugins.
fn check_routes(config: &Config, plugins: &Plugins) -> Vec<Error> {
    let mut errors = Vec::new();
    for (index, route) in config.routes.iter().enumerate() {
        let at = KeyPath::root().key("routes").index(index).key("plugins");
        for (item, there) in route.plugins.iter().enumerate() {
            let plugin = variants::find(plugins, config, there);
            if plugin.is_some_and(|plugin| plugin.wants(Hook::PreRequest)) {
                errors.push(Error {
                    at: at.index(item),
                    cause: Cause::PreRequest {
                        plugin: there.plugin.clone(),
                        route: route.name.clone(),
                    },
                });
            }
        }
    }
    errors
}

/// A module's bytes.
struct Source<'m> {
    bytes: Cow<'m, [u8]>,
    /// SHA-256, lower-case hex.
    digest: String,
}

impl Source<'_> {
    /// Reads what `at` names, if it is the one that is pinned.
    fn read(key: &str, at: &KeyPath, config: &config::Plugin) -> Result<Self, Error> {
        let plugin = key.to_owned();
        let fails = |part: &str, cause| Error {
            at: at.key(part),
            cause,
        };
        let bytes = match &config.module {
            Module::Builtin(name) => builtin(name).map(Cow::from).ok_or_else(|| {
                let name = name.clone();
                Cause::NoBuiltin { plugin, name }
            }),
            Module::File(path) => read(path).map(Cow::from).map_err(|source| Cause::Read {
                plugin,
                path: path.display().to_string(),
                source,
            }),
        };
        let bytes = bytes.map_err(|cause| fails("module", cause))?;
        let digest = hex::text(&Sha256::digest(&bytes));
        match &config.sha256 {
            Some(pinned) if *pinned != digest => Err(fails(
                "sha256",
                Cause::Digest {
                    plugin: key.to_owned(),
                    pinned: pinned.clone(),
                    found: digest,
                },
            )),
            _ => Ok(Self { bytes, digest }),
        }
    }
}

/// Reads a file, but not much more of it than a module may have.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = bounds::MODULE_BYTES as u64 + 1;
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}
