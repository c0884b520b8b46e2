//! Host names of endpoints while an app runs: resolved at its start, and again whenever one is due.

use std::sync::Weak;
use std::time::{Duration, Instant};

use super::App;
use crate::config::Config;
use crate::upstream::resolve::{self, Names};
use crate::worker::Command;

/// For how long a name that resolves to something else waits for others that do.
const TOGETHER: Duration = Duration::from_millis(20);

/// How often is looked whether a name is due.
const LOOK: Duration = Duration::from_millis(500);

/// Waits for names that were not resolved yet, but not for long: requests can do without.
pub(super) async fn resolve(names: &Names, config: &Config) {
    let mut lookups = names.ask(config, Instant::now());
    let all = async { while names.hear(&mut lookups).await.is_some() {} };
    if tokio::time::timeout(resolve::PATIENCE, all).await.is_err() {
        tracing::warn!("names of endpoints take long to resolve; going on without");
    }
}

/// Resolves names again and again, until the app is gone.
pub(super) async fn keep_resolved(app: Weak<App>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(app) = app.upgrade() else { return };
        // One that gets no answer is not to hold up what others ask for meanwhile.
        tokio::spawn(async move { app.refresh_names().await });
    }
}

impl App {
    /// Resolves names that are due; where one resolves to something else, its endpoints are replaced,
    /// and all else stays.
    async fn refresh_names(&self) {
        let mut lookups = self.names.ask(&self.generation().config, Instant::now());
        while let Some(changed) = self.names.hear(&mut lookups).await {
            if changed {
                // Names often change together.
                while let Ok(Some(true)) =
                    tokio::time::timeout(TOGETHER, self.names.hear(&mut lookups)).await
                {
                }
                self.replace_endpoints().await;
            }
        }
    }

    async fn replace_endpoints(&self) {
        let _reloading = self.listening.lock().await;
        let before = self.generation.load_full();
        let plugins = (before.plugins.clone(), before.kv.clone());
        let (config, log) = (before.config.clone(), before.access_log.clone());
        self.put_in_place(before.number, config, plugins, log, &before);
        self.tell(|| Command::Reloaded);
    }
}
