//! Another configuration for an app that runs: all that may fail comes first and changes nothing, then it
//! is put in place.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use super::generation::Generation;
use super::listening::{self, Bound};
use super::{App, Error, names, open_log, plugins};
use crate::access_log::AccessLog;
use crate::config::Config;
use crate::listener;
use crate::plugin::kv::redis::Redis;
use crate::plugin::variants::Plugins;
use crate::worker::Command;

impl App {
    /// Reads the configuration anew and puts it in place, or changes nothing. Gives the number of
    /// the new generation. A shutdown does not wait for it. Cancel safe.
    pub async fn reload(&self) -> Result<u64, Error> {
        let mut draining = self.draining.subscribe();
        let drains = async {
            // It fails only where the app is gone.
            let _ = draining.wait_for(|draining| *draining).await;
        };
        tokio::select! {
            biased;
            () = drains => Err(Error::Draining),
            reloaded = self.reload_in_turn() => reloaded,
        }
    }

    async fn reload_in_turn(&self) -> Result<u64, Error> {
        let mut listening = self.listening.lock().await;
        let text = self.document().and_then(|document| document.read().ok());
        let reloaded = self.reload_into(&mut listening).await;
        match &reloaded {
            Ok(generation) => self.history.served(*generation, text),
            Err(error) => {
                let generation = self.generation.load().number;
                self.history.refused(generation, error.to_string());
            }
        }
        reloaded
    }

    async fn reload_into(
        &self,
        listening: &mut HashMap<listener::Id, Bound>,
    ) -> Result<u64, Error> {
        let before = self.generation.load_full();
        let number = before.number + 1;
        let mut config = (self.load)().map_err(Error::Config)?;
        keep_what_needs_a_restart(&mut config, &before.config);
        let kv = Redis::of(config.kv.as_ref(), before.kv.as_ref(), &self.metrics);
        let plugins = plugins::load(
            &self.registry,
            &config,
            kv.clone(),
            before.plugins.clone(),
            number,
            &self.metrics,
            self.document.as_ref(),
        )
        .await?;
        let wanted: Vec<listener::Id> = listener::ids(&config.listeners).collect();
        let (kept, closed): (Vec<_>, Vec<_>) = listening
            .iter()
            .map(|(id, bound)| (*id, bound.address))
            .partition(|(id, _)| wanted.contains(id));
        let mut opened = Vec::new();
        for (index, id) in wanted.into_iter().enumerate() {
            if listening.contains_key(&id) {
                continue;
            }
            // The kernel would let both have it, and give each a part of the connections.
            if kept.iter().any(|(_, bound)| *bound == id.address) {
                let source = io::Error::new(
                    io::ErrorKind::AddrInUse,
                    "a listener with port 0 was given this port",
                );
                return Err(Error::Bind {
                    key: listening::listener_key(index),
                    address: id.address,
                    source,
                });
            }
            let workers = config.workers.get();
            opened.push((id, listening::bind_anew(index, id, workers)?));
        }
        names::resolve(&self.names, &config).await;
        let log = open_log(&config, before.access_log.as_ref())?;

        // From here on nothing fails. Requests under way finish on the generation they began with.
        self.exporters.apply(&config.exporters);
        if let (Some(receiver), Some(otlp)) = (&self.receiver, &config.otlp) {
            receiver.apply(otlp);
        }
        self.certificates.apply(config.tls().map(|(_, tls)| tls));
        let in_redis = kv.is_some();
        self.put_in_place(number, config, (plugins, kv), log, &before);
        if in_redis {
            self.registry.forget_stores();
        }
        self.apply_store(Some(&before.config));
        for (id, sockets) in opened {
            self.listen(listening, id, sockets);
        }
        for (id, _) in closed {
            // Before the workers do: the last to close a socket must have accepted what waits.
            listening.remove(&id);
            self.tell(|| Command::Close(id));
        }
        self.tell(|| Command::Reloaded);
        tracing::info!(generation = number, "reloaded");
        Ok(number)
    }

    pub(super) fn put_in_place(
        &self,
        number: u64,
        config: Config,
        (plugins, kv): (Plugins, Option<Arc<Redis>>),
        log: Option<Arc<AccessLog>>,
        before: &Generation,
    ) {
        let generation = Generation::new(
            number,
            config,
            plugins,
            Some(before),
            &self.names,
            log,
            &self.metrics,
        )
        .with_acme(self.certificates.answers())
        .with_kv(kv);
        self.checks.replace(generation.upstreams.values());
        self.generation.store(Arc::new(generation));
    }
}

/// Threads and the admin's socket are made once.
fn keep_what_needs_a_restart(config: &mut Config, before: &Config) {
    if config.workers != before.workers {
        tracing::warn!(
            workers = before.workers,
            "a change of `workers` takes effect at the next start"
        );
        config.workers = before.workers;
    }
    if config.data_dir != before.data_dir || config.spool != before.spool {
        tracing::warn!("a change of `data_dir` or `spool` takes effect at the next start");
        config.data_dir = before.data_dir.clone();
        config.spool = before.spool.clone();
    }
    let moved = match (&mut config.otlp, &before.otlp) {
        (Some(now), Some(before)) => now.keep_places(before),
        (now, before) => {
            let moved = now.is_some() != before.is_some();
            now.clone_from(before);
            moved
        }
    };
    if moved {
        tracing::warn!(
            "a change of addresses or of the room on the disk under `receivers` takes effect at the next start"
        );
    }
    if config.admin.address != before.admin.address {
        tracing::warn!(address = %before.admin.address, "a change of `admin.address` takes effect at the next start");
        config.admin.address = before.admin.address;
    }
}
