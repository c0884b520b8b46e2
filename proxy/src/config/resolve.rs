//! From what is written to what is meant: names are looked up, secrets and files read, addresses
//! and patterns parsed, and values that contradict each other refused.
//!
//! It finds every fault, so a part that is wrong is left out and the next one is judged. No answer
//! of it may be served while there is a fault.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path as FilePath, PathBuf};
use std::thread;

use indexmap::IndexMap;

use super::environment::Environment;
use super::fault::{Code, Fault};
use super::path::Path;
use super::raw::tls::Alpn;
use super::tree::{Node, Value};
use super::units::{ByteRate, ByteSize, Duration};
use super::{
    Admin, Config, Exporter, Fsync, Http2, Listener, ListenerTimeouts, PemFile, Spool, raw, suggest,
};
use crate::tls::client::System;

mod acme;
mod clients;
mod dead_letter;
mod filters;
mod kafka;
mod kv;
mod otlp;
mod otlp_exporter;
mod plugin;
mod producer;
mod push;
mod route;
pub(super) mod secret;
mod store;
mod tls;
mod upstream;
mod upstream_tls;

/// Names that may be referred to, also those whose own definition is at fault.
pub(super) struct Names {
    plugins: Vec<String>,
    upstreams: Vec<String>,
}

impl Names {
    pub(super) fn of(tree: &Node) -> Self {
        let keys = |key| {
            let map = tree.get(&Path::root().key(key));
            let entries = map.map_or(&[][..], Node::entries);
            entries.iter().map(|entry| entry.key.clone()).collect()
        };
        Self {
            plugins: keys("plugins"),
            upstreams: keys("upstreams"),
        }
    }
}

pub(super) struct Resolver<'a> {
    tree: &'a Node,
    folder: &'a FilePath,
    environment: &'a Environment,
    names: Names,
    /// What has its fault already.
    judged: HashSet<Path>,
    /// Addresses that are listened on, by the keys that say so.
    taken: HashMap<SocketAddr, Path>,
    /// Files of dead letters, by the keys that say so.
    letter_files: HashMap<PathBuf, Path>,
    system: System,
    files: Vec<PemFile>,
    faults: Vec<Fault>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(
        tree: &'a Node,
        folder: &'a FilePath,
        environment: &'a Environment,
        names: Names,
        judged: HashSet<Path>,
    ) -> Self {
        Self {
            tree,
            folder,
            environment,
            names,
            judged,
            taken: HashMap::new(),
            letter_files: HashMap::new(),
            system: System::default(),
            files: Vec::new(),
            faults: Vec::new(),
        }
    }

    pub(super) fn into_faults(self) -> Vec<Fault> {
        self.faults
    }

    /// `None` where a part that cannot be left out is at fault.
    pub(super) fn config(&mut self, raw: raw::Config) -> Option<Config> {
        let root = Path::root();
        let workers = raw.workers.map_or_else(cores, NonZeroUsize::from);
        let data_dir = raw.data_dir.map(|folder| self.folder.join(folder));
        let at = root.key("spool");
        if data_dir.is_none() && self.is_present(&at) && !self.is_judged(&root.key("data_dir")) {
            let message = "without `data_dir` traces are kept in memory only";
            self.fault(Code::MemoryOnly, &at, message);
        }
        let spool = self.spool(&at, raw.spool, workers);
        let clients = self.clients(&raw.trusted_proxies, raw.forwarded);
        let access_log = self.access_log(raw.access_log);
        let b3 = clients::b3(raw.b3);
        let listeners = self.listeners(raw.listeners);
        let admin = self.admin(raw.admin);
        let disk = otlp::Disk {
            has_data_dir: data_dir.is_some(),
            spool: &spool,
            workers,
        };
        let otlp = self.otlp(raw.receivers, &disk);
        let overload = self.overload(&root.key("overload"), &raw.overload);
        let exporters = self.exporters(raw.exporters);
        let store = self.store(raw.store, &exporters);
        let pushes = self.pushes(raw.metrics.push);
        Some(Config {
            listeners,
            cache_dir: data_dir.clone(),
            data_dir,
            spool,
            workers,
            shutdown_grace: raw.shutdown_grace.0,
            overload,
            dns: self.dns(&raw.dns),
            upstreams: self.upstreams(raw.upstreams),
            plugins: self.plugins(raw.plugins),
            kv: self.kv(raw.kv),
            routes: self.routes(raw.routes),
            clients,
            access_log,
            b3,
            exporters,
            pushes,
            otlp,
            store,
            admin: admin?,
            // Of all that was read above.
            files: std::mem::take(&mut self.files),
        })
    }

    fn spool(&mut self, at: &Path, raw: raw::Spool, workers: NonZeroUsize) -> Spool {
        let segment_bytes = raw.segment_bytes;
        let path = at.key("segment_bytes");
        // A trace has a little more than 1 MiB at most, and must fit.
        self.at_least(&path, segment_bytes, ByteSize::mib(2));
        if segment_bytes.0 > ByteSize::mib(1024).0 {
            self.fault(Code::InvalidValue, &path, "must be at most 1GiB");
        }
        // One that is appended to, and one that is laid out or waits for delivery.
        let least = 2 * workers.get() as u64 * segment_bytes.0;
        if raw.max_bytes.0 < least && !self.is_judged(&path) {
            let message = format!(
                "must be at least {}: two segments for each of {workers} workers",
                ByteSize(least)
            );
            self.fault(Code::InvalidValue, &at.key("max_bytes"), message);
            self.hint("set less for `spool.segment_bytes`");
        }
        let interval = self.positive(&at.key("fsync_interval"), raw.fsync_interval);
        Spool {
            max_bytes: raw.max_bytes.0,
            segment_bytes: segment_bytes.0,
            fsync: match raw.fsync {
                raw::Fsync::Never => Fsync::Never,
                raw::Fsync::Interval => Fsync::Interval(interval),
                raw::Fsync::Always => Fsync::Always,
            },
        }
    }

    /// `None` where nothing is refused.
    fn overload(
        &mut self,
        at: &Path,
        raw: &raw::overload::Overload,
    ) -> Option<std::time::Duration> {
        let at = at.key("lateness");
        let lateness = raw.lateness.0;
        // Timers alone are late by up to 1 ms.
        if !(5..=10_000).contains(&lateness.as_millis()) {
            self.fault(Code::InvalidValue, &at, "must be from 5ms to 10s");
            self.hint("`overload.enabled: false` switches it off");
        }
        raw.enabled.then_some(lateness)
    }

    fn listeners(&mut self, raw: Vec<raw::listener::Listener>) -> Vec<Listener> {
        let mut listeners: Vec<Listener> = Vec::new();
        for (index, raw) in raw.into_iter().enumerate() {
            let at = Path::root().key("listeners").index(index);
            let plugins = self.chain(&at.key("plugins"), &raw.plugins);
            let max_head_bytes = &at.key("max_head_bytes");
            // The HTTP/1 parser has a buffer of this size at the least.
            self.at_least(max_head_bytes, raw.max_head_bytes, ByteSize::kib(8));
            let timeouts = at.key("timeouts");
            let timeouts = ListenerTimeouts {
                handshake: self.positive(&timeouts.key("handshake"), raw.timeouts.handshake),
                head: self.positive(&timeouts.key("head"), raw.timeouts.head),
                body: self.positive(&timeouts.key("body"), raw.timeouts.body),
                send: self.positive(&timeouts.key("send"), raw.timeouts.send),
            };
            let min_body_rate = self.body_rate(&at, raw.min_body_rate);
            let tls = raw.tls.map(|tls| self.listener_tls(&at.key("tls"), &tls));
            let trusted = Path::root().key("trusted_proxies");
            if raw.proxy_protocol && !self.is_present(&trusted) && !self.is_judged(&trusted) {
                let message = "no peer is trusted, so every connection would be closed";
                self.fault(Code::Conflict, &at.key("proxy_protocol"), message);
                self.hint("name the load balancers in front under `trusted_proxies`");
            }
            let Some(address) = self.address(&at.key("address"), &raw.address) else {
                continue;
            };
            self.take(address, &at.key("address"));
            listeners.push(Listener {
                address,
                plugins,
                // A listener whose certificates are at fault is not served at all.
                tls: tls.flatten(),
                http2: Http2 {
                    enabled: raw.http2.enabled,
                    max_streams: raw.http2.max_streams,
                },
                timeouts,
                max_head_bytes: raw.max_head_bytes.bytes(),
                max_body_bytes: raw.max_body_bytes.map(|size| size.0),
                min_body_rate,
                underscores: clients::underscores(raw.underscores),
                max_connections: raw.max_connections,
                balance: clients::balance(raw.balance),
                max_requests_per_connection: raw.max_requests_per_connection,
                proxy_protocol: raw.proxy_protocol,
            });
        }
        listeners
    }

    fn admin(&mut self, raw: raw::Admin) -> Option<Admin> {
        let at = Path::root().key("admin");
        let judged = ["token", "tls"].map(|key| self.is_judged(&at.key(key)));
        let token = raw.token.map(|token| self.secret(&at.key("token"), &token));
        let tls = raw.tls.map(|tls| {
            let reason = "the admin address speaks HTTP/1.1";
            self.tls_of_one(&at.key("tls"), tls, Alpn::Http1, reason)
        });
        let failed = token == Some(None) || tls == Some(None) || judged.contains(&true);
        let at = at.key("address");
        let address = self.address(&at, &raw.address)?;
        self.take(address, &at);
        let admin = Admin {
            address,
            token: token.flatten(),
            hosts: raw.hosts.iter().map(|host| host.to_lowercase()).collect(),
            tls: tls.flatten(),
        };
        if admin.is_open() && !failed {
            let message = "other machines can reach the admin address, and it asks for no token";
            self.fault(Code::OpenAdmin, &at, message);
            self.hint("set `admin.token`, or bind to 127.0.0.1");
        }
        Some(admin)
    }

    fn exporters(&mut self, raw: IndexMap<String, raw::Exporter>) -> IndexMap<String, Exporter> {
        let at = Path::root().key("exporters");
        let mut exporters = IndexMap::new();
        for (name, raw) in raw {
            let at = at.key(&name);
            match (raw.kafka, raw.otlp) {
                (Some(kafka), None) => {
                    let kafka = self.kafka(&at.key("kafka"), kafka);
                    exporters.insert(name, Exporter::Kafka(Box::new(kafka)));
                }
                (None, Some(otlp)) => {
                    if let Some(otlp) = self.otlp_exporter(&at.key("otlp"), otlp) {
                        exporters.insert(name, Exporter::Otlp(Box::new(otlp)));
                    }
                }
                (Some(_), Some(_)) => {
                    self.fault(Code::Conflict, &at, "has both `kafka` and `otlp`");
                    self.hint("give each destination an exporter of its own");
                }
                (None, None) => {
                    let judged = ["kafka", "otlp"].map(|key| self.is_judged(&at.key(key)));
                    if !judged.contains(&true) && !self.is_judged(&at) {
                        self.fault(Code::MissingKey, &at, "needs `kafka` or `otlp`");
                    }
                }
            }
        }
        exporters
    }

    fn address(&mut self, at: &Path, address: &str) -> Option<SocketAddr> {
        let parsed = address.parse().ok();
        if parsed.is_none() && self.is_present(at) {
            let message = "must be an IP address and a port";
            self.fault(Code::InvalidValue, at, message);
            self.hint("such as `0.0.0.0:8080` or `[::]:8080`");
            self.hint_variable(at);
        }
        parsed
    }

    /// Only one may listen on an address. Port 0 is a free one each time.
    fn take(&mut self, address: SocketAddr, at: &Path) {
        if address.port() == 0 {
            return;
        }
        match self.taken.get(&address) {
            Some(other) => {
                let message = format!("{address} is taken by `{other}`");
                self.fault(Code::Conflict, at, message);
            }
            None => {
                self.taken.insert(address, at.clone());
            }
        }
    }

    fn positive(&mut self, at: &Path, duration: Duration) -> std::time::Duration {
        if duration.0.is_zero() {
            self.fault(Code::InvalidValue, at, "must be longer than nothing");
        }
        duration.0
    }

    fn at_least(&mut self, at: &Path, size: ByteSize, least: ByteSize) {
        if size.0 < least.0 {
            self.fault(Code::InvalidValue, at, format!("must be at least {least}"));
        }
    }

    /// Of a listener or a route.
    fn body_rate(&mut self, at: &Path, ByteRate(rate): ByteRate) -> u64 {
        if rate.0 > ByteSize::mib(1024).0 {
            let at = &at.key("min_body_rate");
            self.fault(Code::InvalidValue, at, "must be at most 1GiB");
        }
        rate.0
    }

    fn file(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    fn is_judged(&self, at: &Path) -> bool {
        self.judged.contains(at)
    }

    /// Whether there is something to judge: it is written, and had no fault before.
    fn is_present(&self, at: &Path) -> bool {
        self.tree
            .get(at)
            .is_some_and(|node| !matches!(node.value, Value::Null))
    }

    fn fault(&mut self, code: Code, at: &Path, message: impl Into<String>) {
        let place = self.tree.place(at);
        self.faults.push(Fault::new(code, at, place, message));
    }

    /// Says the way out of the fault just told.
    fn hint(&mut self, hint: impl Into<String>) {
        if let Some(fault) = self.faults.last_mut() {
            fault.hint = Some(hint.into());
        }
    }
}

fn did_you_mean<'n>(name: &str, known: impl Iterator<Item = &'n str>, key: &str) -> String {
    match suggest::nearest(name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("define it under `{key}`"),
    }
}

fn cores() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
