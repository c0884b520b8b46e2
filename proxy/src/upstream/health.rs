//! Active checks: endpoints are asked whether they are well, whatever requests meet there.
//!
//! A task for each endpoint on the main thread's runtime; workers only read what it found. An
//! endpoint counts as well until a check failed; its first check counts alone, later ones in rows.

mod ask;

use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use tokio::task::AbortHandle;

use super::{Endpoint, Upstream};
use crate::config::Health;
use crate::lock::lock;

/// The checks that are under way; dropped, they end.
#[derive(Debug, Default)]
pub struct Checks(Mutex<Vec<Task>>);

/// The checks of one endpoint; dropped, they end.
#[derive(Debug)]
struct Task {
    endpoint: Weak<Endpoint>,
    health: Health,
    task: AbortHandle,
}

impl Checks {
    /// Checks the endpoints of these upstreams from now on, and no others. What is checked as before goes
    /// on with what was found so far.
    pub fn replace<'u>(&self, upstreams: impl IntoIterator<Item = &'u Arc<Upstream>>) {
        let mut tasks = lock(&self.0);
        let mut before = std::mem::take(&mut *tasks);
        for upstream in upstreams {
            let Some(health) = &upstream.config.health else {
                // Nobody would find out that it is well again.
                for endpoint in &upstream.endpoints {
                    endpoint.state.set_healthy(true, Instant::now());
                }
                continue;
            };
            for endpoint in &upstream.endpoints {
                let same = |task: &Task| {
                    task.endpoint.as_ptr() == Arc::as_ptr(endpoint) && task.health == *health
                };
                let kept = before.iter().position(same);
                let kept = kept.map(|index| before.swap_remove(index));
                tasks.push(kept.unwrap_or_else(|| Task::start(upstream, endpoint, health)));
            }
        }
    }
}

impl Task {
    fn start(upstream: &Upstream, endpoint: &Arc<Endpoint>, health: &Health) -> Self {
        let watch = Watch {
            upstream: upstream.name.clone(),
            endpoint: Arc::downgrade(endpoint),
            health: health.clone(),
            first: !endpoint.checked(),
            row: 0,
        };
        Self {
            endpoint: Arc::downgrade(endpoint),
            health: health.clone(),
            task: tokio::spawn(watch.run()).abort_handle(),
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Watch {
    upstream: String,
    endpoint: Weak<Endpoint>,
    health: Health,
    first: bool,
    /// Checks in a row that said the contrary of what is held.
    row: u32,
}

impl Watch {
    /// Checks until the endpoint is gone.
    async fn run(mut self) {
        loop {
            let Some(endpoint) = self.endpoint.upgrade() else {
                return;
            };
            let checked = tokio::time::timeout(
                self.health.timeout,
                ask::check(&endpoint, &self.health.probe),
            );
            let problem = match checked.await {
                Ok(Ok(())) => None,
                Ok(Err(problem)) => Some(problem),
                Err(_) => Some(format!("no answer within {:?}", self.health.timeout)),
            };
            self.note(&endpoint, problem);
            drop(endpoint);
            // Checks of several endpoints spread by themselves.
            let spread = 0.95 + 0.1 * fastrand::f64();
            tokio::time::sleep(self.health.interval.mul_f64(spread)).await;
        }
    }

    fn note(&mut self, endpoint: &Endpoint, problem: Option<String>) {
        let well = problem.is_none();
        endpoint.note_check(problem.clone());
        if well != endpoint.state.is_unhealthy() {
            self.row = 0;
            self.first = false;
            return;
        }
        self.row += 1;
        let enough = match (std::mem::take(&mut self.first), well) {
            (true, _) => 1,
            (false, true) => self.health.healthy,
            (false, false) => self.health.unhealthy,
        };
        if self.row < enough {
            return;
        }
        self.row = 0;
        endpoint.state.set_healthy(well, Instant::now());
        let (upstream, endpoint) = (&self.upstream, &endpoint.label);
        match problem {
            None => tracing::info!(upstream, endpoint, "endpoint is healthy"),
            Some(problem) => tracing::warn!(upstream, endpoint, problem, "endpoint is unhealthy"),
        }
    }
}
