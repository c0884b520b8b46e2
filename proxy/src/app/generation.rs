//! Everything that one version of the configuration becomes: what workers read.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::config::{self, Config};
use crate::filter::Capture;
use crate::listener;
use crate::metrics::{Metrics, RouteCells};
use crate::plugin::chain::Chain;
use crate::plugin::registry::Plugins;
use crate::router::Router;
use crate::server::Settings;
use crate::upstream::Upstream;

/// Immutable; requests under way keep the one they began with.
pub struct Generation {
    pub number: u64,
    pub config: Config,
    pub listeners: Vec<Listener>,
    pub router: Router,
    pub routes: Vec<Route>,
    pub upstreams: IndexMap<String, Arc<Upstream>>,
    pub plugins: Plugins,
    pub capture: Capture,
}

/// A listener with the chains of what comes in by it.
pub struct Listener {
    pub id: listener::Id,
    pub config: config::Listener,
    server: Arc<Settings>,
    /// Its own plugins, which run on every request.
    pub chain: Chain,
    /// By route: its own plugins, then the route's.
    pub chains: Vec<Chain>,
}

/// A route with what it leads to.
pub struct Route {
    pub name: Arc<str>,
    /// The path pattern (`http.route`).
    pub pattern: String,
    pub upstream: Arc<Upstream>,
    pub cells: Arc<[RouteCells]>,
}

impl Listener {
    /// What its connections are served by.
    pub fn server(&self) -> Arc<Settings> {
        Arc::clone(&self.server)
    }
}

impl Generation {
    /// `config` was checked: names it refers to are there.
    pub fn new(
        number: u64,
        config: Config,
        plugins: Plugins,
        before: Option<&Self>,
        metrics: &Metrics,
    ) -> Self {
        let workers = config.workers.get();
        let upstreams: IndexMap<String, Arc<Upstream>> = config
            .upstreams
            .iter()
            .map(|(name, config)| {
                let old = before.and_then(|before| before.upstreams.get(name));
                let upstream = Upstream::new(
                    name,
                    config,
                    old.map(|old| &**old),
                    workers,
                    metrics.upstream(name),
                );
                (name.clone(), Arc::new(upstream))
            })
            .collect();
        let routes: Vec<Route> = config
            .routes
            .iter()
            .filter_map(|route| {
                Some(Route {
                    name: route.name.as_str().into(),
                    pattern: route.matches.path.clone(),
                    upstream: Arc::clone(upstreams.get(&route.upstream)?),
                    cells: metrics.route(&route.name),
                })
            })
            .collect();
        let chain = |names: &mut dyn Iterator<Item = &String>| {
            Chain::new(
                names
                    .filter_map(|name| plugins.get(name).cloned())
                    .collect(),
            )
        };
        let listeners = listener::ids(&config.listeners)
            .zip(&config.listeners)
            .map(|(id, listener)| Listener {
                id,
                config: listener.clone(),
                server: Arc::new(Settings::new(listener, metrics.listener(listener.address))),
                chain: chain(&mut listener.plugins.iter()),
                chains: config
                    .routes
                    .iter()
                    .map(|route| chain(&mut listener.plugins.iter().chain(&route.plugins)))
                    .collect(),
            })
            .collect();
        let capture = Capture::with_local(
            config
                .exporters
                .values()
                .filter(|exporter| exporter.is_enabled())
                .map(config::Exporter::filters),
            config.store.as_ref().map(|store| &store.filters),
        );
        let router = Router::new(config.routes.iter().map(|route| &route.matches));
        Self {
            number,
            listeners,
            router,
            routes,
            upstreams,
            plugins,
            capture,
            config,
        }
    }

    /// A listener; `None` once a reload has removed it.
    pub fn listener(&self, id: listener::Id) -> Option<&Listener> {
        self.listeners.iter().find(|listener| listener.id == id)
    }
}
