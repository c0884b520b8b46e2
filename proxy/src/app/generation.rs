//! Everything that one version of the configuration becomes: what workers read.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::access_log::AccessLog;
use crate::config::{self, Config, UpstreamTimeouts};
use crate::filter::Capture;
use crate::listener;
use crate::metrics::{Metrics, RouteCells};
use crate::plugin::chain::Chain;
use crate::plugin::kv::redis::Redis;
use crate::plugin::variants::{self, Plugins};
use crate::router::Router;
use crate::server::Settings;
use crate::tls::{self, acme};
use crate::upstream::Upstream;
use crate::upstream::resolve::Names;

/// Immutable; requests under way keep the one they began with.
pub struct Generation {
    pub number: u64,
    pub config: Config,
    pub listeners: Vec<Listener>,
    pub router: Router,
    pub routes: Vec<Route>,
    pub upstreams: IndexMap<String, Arc<Upstream>>,
    pub plugins: Plugins,
    /// What has the plugins' values; `None`: they are in memory.
    pub kv: Option<Arc<Redis>>,
    pub capture: Capture,
    pub access_log: Option<Arc<AccessLog>>,
    /// What is answered to directories, where any may ask by HTTP.
    pub acme: Option<Arc<acme::Answers>>,
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
    pub action: Action,
    /// Who gets a copy of its requests.
    pub mirror: Option<Mirror>,
    pub rewrite: config::Rewrite,
    /// Most bytes of a request's body; `None` is what the listener has.
    pub max_body_bytes: Option<u64>,
    /// Fewest bytes of it in a second; `None` is what the listener has.
    pub min_body_rate: Option<u64>,
    pub cells: Arc<[RouteCells]>,
}

/// An upstream that gets a copy of a route's requests.
pub struct Mirror {
    pub upstream: Arc<Upstream>,
    pub config: config::Mirror,
}

/// What becomes of a route's requests.
pub enum Action {
    /// At least one.
    Upstream(Vec<Target>),
    Redirect(config::Redirect),
    Respond(config::Respond),
}

/// An upstream as a route uses it.
pub struct Target {
    pub upstream: Arc<Upstream>,
    pub timeouts: UpstreamTimeouts,
    /// Sum of the weights up to and with this one.
    until: u32,
}

impl Route {
    fn new(
        route: &config::Route,
        upstreams: &IndexMap<String, Arc<Upstream>>,
        cells: Arc<[RouteCells]>,
    ) -> Self {
        let action = match &route.action {
            config::Action::Redirect(redirect) => Action::Redirect(redirect.clone()),
            config::Action::Respond(respond) => Action::Respond(respond.clone()),
            config::Action::Upstream(shares) => {
                let mut until = 0;
                let target = |share: &config::Share| {
                    until += share.weight;
                    let upstream = upstreams.get(&share.upstream)?;
                    let mut timeouts = upstream.config.timeouts;
                    timeouts.response = route.timeouts.response.unwrap_or(timeouts.response);
                    timeouts.body = route.timeouts.body.unwrap_or(timeouts.body);
                    Some(Target {
                        upstream: Arc::clone(upstream),
                        timeouts,
                        until,
                    })
                };
                Action::Upstream(shares.iter().filter_map(target).collect())
            }
        };
        let mirror = |config: &config::Mirror| {
            Some(Mirror {
                upstream: Arc::clone(upstreams.get(&config.upstream)?),
                config: config.clone(),
            })
        };
        Self {
            name: route.name.as_str().into(),
            pattern: route.matches.path.clone(),
            action,
            mirror: route.mirror.as_ref().and_then(mirror),
            rewrite: route.rewrite.clone(),
            max_body_bytes: route.max_body_bytes,
            min_body_rate: route.min_body_rate,
            cells,
        }
    }

    /// Whether requests of it may go to this upstream.
    pub fn leads_to(&self, upstream: &str) -> bool {
        match &self.action {
            Action::Upstream(targets) => targets
                .iter()
                .any(|target| target.upstream.name == upstream),
            Action::Redirect(_) | Action::Respond(_) => false,
        }
    }
}

impl Target {
    /// The one that a plugin named, the only one, or one by chance and weight.
    pub fn choose<'t>(targets: &'t [Self], named: Option<&str>) -> Option<&'t Self> {
        if let [only] = targets {
            return Some(only);
        }
        let named = named.and_then(|name| targets.iter().find(|one| one.upstream.name == name));
        named.or_else(|| {
            let drawn = fastrand::u32(..targets.last()?.until.max(1));
            targets.iter().find(|target| drawn < target.until)
        })
    }
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
        names: &Names,
        access_log: Option<Arc<AccessLog>>,
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
                    names,
                    workers,
                    metrics.upstream(name),
                );
                (name.clone(), Arc::new(upstream))
            })
            .collect();
        let routes: Vec<Route> = config
            .routes
            .iter()
            .map(|route| Route::new(route, &upstreams, metrics.route(&route.name)))
            .collect();
        let chain = |uses: &mut dyn Iterator<Item = &config::PluginUse>| {
            let found = uses.filter_map(|there| variants::find(&plugins, &config, there));
            Chain::new(found.cloned().collect())
        };
        let listeners = listener::ids(&config.listeners)
            .zip(&config.listeners)
            .map(|(id, listener)| Listener {
                id,
                config: listener.clone(),
                server: {
                    let before = before.and_then(|before| before.listener(id));
                    let before = before.map(|before| &*before.server);
                    let cells = metrics.listener(listener.address);
                    Arc::new(Settings::new(listener, before, cells))
                },
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
        // Not as each is loaded: where another one is not, those before stay.
        for plugin in plugins.values() {
            plugin.first().count_into(metrics);
        }
        let router = Router::new(config.routes.iter().map(|route| &route.matches));
        Self {
            number,
            listeners,
            router,
            routes,
            upstreams,
            plugins,
            kv: None,
            capture,
            access_log,
            acme: None,
            config,
        }
    }

    /// Answers what directories ask, where a listener has it so.
    #[must_use]
    pub fn with_acme(mut self, answers: &Arc<acme::Answers>) -> Self {
        let by_http = |server: &Arc<tls::Server>| {
            let spec = server.acme().map(|(spec, _)| spec);
            spec.is_some_and(|spec| spec.challenge == acme::Challenge::Http01)
        };
        let asked = self.config.tls().any(|(_, server)| by_http(server));
        self.acme = asked.then(|| Arc::clone(answers));
        self
    }

    /// Has its plugins' values in Redis, which is reached for from now on: not only when one needs it.
    #[must_use]
    pub fn with_kv(mut self, kv: Option<Arc<Redis>>) -> Self {
        if let Some(kv) = &kv {
            kv.watch();
        }
        self.kv = kv;
        self
    }

    /// A listener; `None` once a reload has removed it.
    pub fn listener(&self, id: listener::Id) -> Option<&Listener> {
        self.listeners.iter().find(|listener| listener.id == id)
    }
}
