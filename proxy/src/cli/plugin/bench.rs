//! `weir plugin bench`: what a plugin's hooks cost.

use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::calls::Canned;
use super::test::{Loaded, Ready, Subject};
use super::trial::{self, Alone};
use super::{Error, bytes, print};
use crate::plugin::Hook;
use crate::plugin::chain::Chain;

/// Fresh instances that are made.
const INSTANCES: usize = 50;

/// Measure what a plugin's hooks cost: nanoseconds of a warm instance with the hook's span, the
/// instance's memory, and what a fresh instance takes. Each case is an exchange to measure. Nothing
/// of a socket is in the figures.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  weir plugin bench
  weir plugin bench dist/hello.wasm --iterations 100000
  weir plugin bench builtin:cors --cases cors.yaml --json")]
pub struct BenchArgs {
    /// The plugin's folder, or a module: a file, or `builtin:NAME`
    #[arg(value_name = "DIR|FILE", default_value = ".")]
    pub plugin: PathBuf,
    /// The file of cases; else `cases.yaml` in the folder, or beside the module
    #[arg(long, value_name = "FILE")]
    pub cases: Option<PathBuf>,
    /// How often each exchange is run
    #[arg(short, long, value_name = "N", default_value = "10000")]
    pub iterations: NonZeroUsize,
    /// Print the figures as JSON
    #[arg(long)]
    pub json: bool,
}

/// What a hook cost in an exchange.
struct Row<'c> {
    hook: &'static str,
    median: u64,
    p99: u64,
    memory: u64,
    case: &'c str,
}

pub(super) fn run(args: &BenchArgs) -> Result<ExitCode, Error> {
    let subject = Subject::find(&args.plugin, args.cases.as_deref())?;
    let module = subject.build()?;
    let trial = subject.trial()?;
    let plugins = subject.load(&trial, &module.module)?;
    let ready = plugins.iter().find_map(|plugin| match plugin {
        Loaded::Ready(plugin) => Some(plugin),
        Loaded::Failed(_) => None,
    });
    let Some(first) = ready else {
        return Err(Error::new(
            "no case has a configuration that the plugin accepts",
        ));
    };
    let mut fresh = Vec::new();
    for _ in 0..INSTANCES {
        fresh.push(nanos(trial.instantiate(first)?));
    }
    let fresh = part(&mut fresh, 50);
    let mut rows = Vec::new();
    for (case, plugin) in subject.cases.iter().zip(&plugins) {
        let Loaded::Ready(plugin) = plugin else {
            continue;
        };
        let (Ok(request), Ok(response)) = (case.request(), case.response()) else {
            continue;
        };
        let way = Alone(Chain::new(vec![Arc::clone(plugin)]));
        let calls = Canned::new(Some(case));
        let memory = memory(&trial.run(&way, &request, &response, &calls).trace);
        let calls = Canned::silent(case);
        let count = args.iterations.get();
        let costs = trial.measure(&way, &request, &response, &calls, count);
        for (hook, mut costs) in costs {
            rows.push(Row {
                hook: match hook {
                    Hook::PreRequest => "pre-request",
                    Hook::Request => "request",
                    Hook::Response => "response",
                    Hook::RequestBody => "request body",
                    Hook::ResponseBody => "response body",
                    Hook::AnswerBody => "answer body",
                },
                median: part(&mut costs, 50),
                p99: part(&mut costs, 99),
                memory,
                case: &case.name,
            });
        }
    }
    print(&if args.json {
        for_programs(&module, fresh, &rows)
    } else {
        for_people(&module, fresh, &rows)
    });
    Ok(ExitCode::SUCCESS)
}

fn for_people(module: &Ready, fresh: u64, rows: &[Row<'_>]) -> String {
    let mut text = format!("{}  {}\n", module.shown, bytes(module.size));
    let _ = writeln!(
        text,
        "a fresh instance takes {} (of {INSTANCES}, the median)\n",
        time(fresh)
    );
    let _ = writeln!(
        text,
        "{:<13}{:>12}{:>12}{:>12}   case",
        "hook", "median", "p99", "memory"
    );
    for row in rows {
        let _ = writeln!(
            text,
            "{:<13}{:>12}{:>12}{:>12}   {}",
            row.hook,
            time(row.median),
            time(row.p99),
            bytes(row.memory),
            row.case
        );
    }
    if cfg!(debug_assertions) {
        text += "\nthis weir was built for development: one built by `make build` is faster\n";
    }
    text
}

fn for_programs(module: &Ready, fresh: u64, rows: &[Row<'_>]) -> String {
    let hooks = rows.iter().map(|row| {
        json!({
            "hook": row.hook,
            "case": row.case,
            "median_ns": row.median,
            "p99_ns": row.p99,
            "memory_bytes": row.memory,
        })
    });
    let figures = json!({
        "module": module.shown,
        "size_bytes": module.size,
        "sha256": module.digest,
        "fresh_instance_ns": fresh,
        "hooks": hooks.collect::<Vec<_>>(),
    });
    format!("{figures}\n")
}

/// Most memory that the instance had after a hook.
fn memory(trace: &serde_json::Value) -> u64 {
    let of = |(_, _, span): (&str, &str, &serde_json::Map<String, serde_json::Value>)| {
        span["Attributes"]["weir.hook.memory_bytes"].as_u64()
    };
    trial::hooks(trace).filter_map(of).max().unwrap_or(0)
}

fn nanos(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The value that so many percent of all do not exceed.
fn part(times: &mut [u64], percent: usize) -> u64 {
    times.sort_unstable();
    let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(index).copied().unwrap_or(0)
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn time(nanos: u64) -> String {
    if nanos < 10_000 {
        format!("{nanos} ns")
    } else if nanos < 10_000_000 {
        format!("{:.1} µs", nanos as f64 / 1e3)
    } else {
        format!("{:.1} ms", nanos as f64 / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_last_percent_are_of_the_sorted_times() {
        let mut times: Vec<u64> = (1..=100).rev().collect();
        assert_eq!(part(&mut times, 50), 51);
        assert_eq!(part(&mut times, 99), 100);
        assert_eq!(part(&mut [], 50), 0);
        assert_eq!(part(&mut [7], 99), 7);
    }

    #[test]
    fn times_are_written_with_their_unit() {
        assert_eq!(time(950), "950 ns");
        assert_eq!(time(31_250), "31.2 µs");
        assert_eq!(time(12_000_000), "12.0 ms");
    }
}
