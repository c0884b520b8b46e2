//! A sandboxed hook with its span, and an instance made afresh.
//!
//! Each hook reads one header and sets one (`bench-header`), as in the race.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue};
use weir::coding::Decoder;
use weir::config::{self, Environment};
use weir::exchange::state::{Answer, State};
use weir::metrics::Metrics;
use weir::plugin::Hook;
use weir::plugin::answer::Begun;
use weir::plugin::chain::{Bodies, Chain, Fit, Outcome, Progress, Runner};
use weir::plugin::engine::Engine;
use weir::plugin::instances::Instances;
use weir::plugin::registry::Registry;
use weir::plugin::stream::Pipe;
use weir::plugin::variants::Plugins;

const PLUGINS: usize = 5;

fn chain(runtime: &tokio::runtime::Runtime) -> Chain {
    let guests = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/guests");
    let guests = std::env::var("WEIR_GUESTS").unwrap_or_else(|_| guests.to_owned());
    let plugins: String = (0..PLUGINS)
        .map(|number| format!("  bench-{number}: {{ module: {guests}/bench-header.wasm }}\n"))
        .collect();
    let text = format!(
        "listeners: [{{ address: \"127.0.0.1:0\" }}]\n\
         upstreams: {{ api: {{ endpoints: [\"http://127.0.0.1:1\"] }} }}\n\
         routes: [{{ upstream: api }}]\n\
         plugins:\n{plugins}"
    );
    let environment = Environment::default();
    let loaded = config::parse(&text, Path::new("bench.yaml"), &[], &environment);
    let config = loaded.expect("a configuration that can be served").config;
    let registry = Registry::new(Engine::new().expect("an engine"));
    let metrics = Metrics::new(1);
    let plugins = runtime
        .block_on(registry.load(&config, None, &Plugins::new(), 1, &metrics))
        .expect("plugins that load");
    let plugins = plugins.values().map(|plugin| Arc::clone(plugin.first()));
    Chain::new(plugins.collect())
}

fn headers() -> HeaderMap {
    let fields = [
        ("host", "shop.example:8080"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64)"),
        ("accept", "*/*"),
        ("content-type", "application/json"),
    ];
    let field = |(name, value)| {
        let name = http::HeaderName::from_static(name);
        (name, HeaderValue::from_static(value))
    };
    fields.into_iter().map(field).collect()
}

/// No hook asks for it.
struct NoBody;

impl Bodies for NoBody {
    async fn hold(&mut self, _: usize, _: &mut State) -> Result<Fit, Answer> {
        unreachable!()
    }

    fn comes(&self, _: &State) -> bool {
        unreachable!()
    }

    fn attach(&mut self, _: Pipe, _: Option<Decoder>, _: &mut State) -> bool {
        unreachable!()
    }

    fn answers(&mut self, _: Box<Begun>) {
        unreachable!()
    }

    fn refusal(&self) -> Answer {
        unreachable!()
    }

    fn malformed(&self) -> Answer {
        unreachable!()
    }
}

/// Both hooks of each plugin, on a request that is as if it had just come in.
async fn exchange(chain: &Chain, runner: Runner<'_>, slot: &mut Option<Box<State>>) {
    let now = Instant::now();
    if let Some(state) = slot {
        state.clear();
        state.request.headers = headers();
        state.response.headers = headers();
        state.recorder.begin(None, now);
    }
    let mut progress = Progress::new(now);
    let body = &mut NoBody;
    let outcome = chain.run_request(Hook::Request, runner, slot, &mut progress, body);
    assert_eq!(outcome.await, Outcome::Proceed);
    chain.run_response(runner, slot, &mut progress, body).await;
}

fn benches(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let chain = chain(&runtime);
    let none = Chain::default();
    let instances = Rc::<Instances>::default();
    let runner = Runner {
        instances: &instances,
        worker: 0,
        calls: &weir::plugin::callout::NoCalls,
    };
    let timed = |chain: &Chain, count: u64| -> Duration {
        let mut slot = Some(Box::<State>::default());
        runtime.block_on(async {
            let start = Instant::now();
            for _ in 0..count {
                exchange(chain, runner, &mut slot).await;
            }
            start.elapsed()
        })
    };

    let mut group = criterion.benchmark_group("hook");
    group.bench_function("an exchange without hooks", |bencher| {
        bencher.iter_custom(|count| timed(&none, count));
    });
    group.throughput(Throughput::Elements(2 * PLUGINS as u64));
    group.bench_function("ten hooks", |bencher| {
        bencher.iter_custom(|count| timed(&chain, count));
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("a fresh instance", |bencher| {
        let plugin = &chain.plugins()[0];
        bencher.iter_custom(|count| {
            runtime.block_on(async {
                let start = Instant::now();
                for _ in 0..count {
                    let made = Instances::default().take(plugin, &mut None, start).await;
                    drop(made.expect("room"));
                }
                start.elapsed()
            })
        });
    });
    group.finish();
}

criterion_group!(hook, benches);
criterion_main!(hook);
