//! `make torture`: what takes too long for `make test`. A real Weir at full load, a real Kafka, and
//! everything that breaks them, again and again; then every trace is counted.
//!
//! Says now and then how far it is, prints a table, and exits with 1 where a promise was broken: a
//! trace is lost whose response was seen, one is altered or invented, or a bound of time, memory or
//! load did not hold.

mod progress;
mod scenarios;
mod scene;

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const USAGE: &str = "\
usage: torture [--short] [--kills N] [--backlog MIB] [--outage SECONDS] [SCENARIO…]

Scenarios, all by default:
  kills     Weir is killed at load, 200 times (--short: 10)
  outage    the broker hangs for 5 minutes at load (--short: 20 s)
  cuts      the connection is cut between messages and acknowledgements, 300 times (--short: 20)
  backlog   10 GiB wait on the disk for a broker (--short: 256 MiB)
  flips     bits of the spool are flipped, 500 of them (--short: 40)

WEIR_BINARY is the binary to torture; by default it is the one that was built beside this.";

/// How much of each.
#[derive(Clone, Copy, Debug)]
struct Amounts {
    /// Time to find out how many requests a second there are without faults.
    calm: Duration,
    kills: usize,
    outage: Duration,
    cuts: usize,
    backlog_bytes: u64,
    flips: usize,
}

const LONG: Amounts = Amounts {
    calm: Duration::from_secs(10),
    kills: 200,
    outage: Duration::from_mins(5),
    cuts: 300,
    backlog_bytes: 10 << 30,
    flips: 500,
};

const SHORT: Amounts = Amounts {
    calm: Duration::from_secs(5),
    kills: 10,
    outage: Duration::from_secs(20),
    cuts: 20,
    backlog_bytes: 256 << 20,
    flips: 40,
};

/// What came of a scenario.
#[derive(Debug, Default)]
struct Outcome {
    /// What was done, in words.
    faults: String,
    /// Requests a second while there was load.
    load: f64,
    /// Responses whose end was seen.
    sent: usize,
    /// Of these, those whose trace is in the topic.
    found: usize,
    /// Messages that came again.
    doubled: usize,
    notes: String,
    /// From its beginning to the count of its traces.
    took: Duration,
    /// Promises that were not kept.
    broken: Vec<String>,
}

impl Outcome {
    fn lost(&self) -> usize {
        self.sent - self.found
    }

    /// Notes a promise that was not kept.
    fn demand(&mut self, kept: bool, promise: impl Into<String>) {
        if !kept {
            self.broken.push(promise.into());
        }
    }
}

fn main() -> ExitCode {
    let Some((amounts, wanted)) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let mut outcomes = Vec::new();
    for (name, run) in scenarios::ALL {
        if wanted.is_empty() || wanted.iter().any(|one| one == name) {
            eprintln!("{name} …");
            let begun = Instant::now();
            let outcome = panic::catch_unwind(AssertUnwindSafe(|| run(&amounts)));
            let mut outcome = outcome.unwrap_or_else(|_| Outcome {
                broken: vec!["it did not come to its end: see above".to_owned()],
                ..Outcome::default()
            });
            outcome.took = begun.elapsed();
            eprintln!("{}", row(name, &outcome));
            outcomes.push((name, outcome));
        }
    }
    println!("| scenario | faults | requests/s held | sent | found | lost | doubled | s | |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for (name, outcome) in &outcomes {
        println!("{}", row(name, outcome));
    }
    println!("{}", sum(&outcomes));
    let mut kept = true;
    for (name, outcome) in &outcomes {
        for promise in &outcome.broken {
            eprintln!("{name}: NOT kept: {promise}");
            kept = false;
        }
    }
    if !kept {
        return ExitCode::FAILURE;
    }
    eprintln!("every promise was kept");
    ExitCode::SUCCESS
}

fn arguments() -> Option<(Amounts, Vec<String>)> {
    let mut words = std::env::args().skip(1).peekable();
    let short = words.next_if(|word| word == "--short").is_some();
    let mut amounts = if short { SHORT } else { LONG };
    let mut wanted = Vec::new();
    while let Some(word) = words.next() {
        let mut number = || words.next()?.parse::<u32>().ok();
        match word.as_str() {
            "--kills" => amounts.kills = number()? as usize,
            "--backlog" => amounts.backlog_bytes = u64::from(number()?) << 20,
            "--outage" => amounts.outage = Duration::from_secs(number()?.into()),
            name if scenarios::ALL.iter().any(|(known, _)| *known == name) => wanted.push(word),
            _ => return None,
        }
    }
    Some((amounts, wanted))
}

fn row(name: &str, outcome: &Outcome) -> String {
    let Outcome {
        faults,
        load,
        sent,
        found,
        doubled,
        notes,
        took,
        ..
    } = outcome;
    let (lost, took) = (outcome.lost(), took.as_secs());
    format!(
        "| {name} | {faults} | {load:.0} | {sent} | {found} | {lost} | {doubled} | {took} | {notes} |"
    )
}

/// Of all scenarios together, what can be added up.
fn sum(outcomes: &[(&str, Outcome)]) -> String {
    let outcomes = || outcomes.iter().map(|(_, outcome)| outcome);
    let sent: usize = outcomes().map(|outcome| outcome.sent).sum();
    let found: usize = outcomes().map(|outcome| outcome.found).sum();
    let lost: usize = outcomes().map(Outcome::lost).sum();
    let doubled: usize = outcomes().map(|outcome| outcome.doubled).sum();
    let took: Duration = outcomes().map(|outcome| outcome.took).sum();
    let took = took.as_secs();
    format!("| all | | | {sent} | {found} | {lost} | {doubled} | {took} | |")
}
