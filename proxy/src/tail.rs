//! `weir traces tail`: reads a topic of traces and prints each for people, a line a trace.
//!
//! The topic and its brokers come from an exporter of a configuration file, or from the command
//! line. Messages of every format are read into one shape ([`decode`]), parts of a trace are put
//! together ([`whole`]), [`filter`] says which are shown, and [`show`] how.

mod args;
mod decode;
mod filter;
mod otlp;
mod show;
mod whole;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::export::kafka::consumer::{Consumer, Event};
pub use args::TailArgs;
use show::Show;
use whole::Whole;

/// Longest wait before looking whether to end.
const STEP: Duration = Duration::from_millis(100);

/// Prints traces until it is stopped, or has shown what was asked for.
pub fn command(args: &TailArgs) -> ExitCode {
    let config = match args.kafka() {
        Ok(config) => config,
        Err(message) => {
            eprint!("{message}");
            return ExitCode::FAILURE;
        }
    };
    let stop = stop_on_signal();
    let consumer = match Consumer::new(&config, args.from) {
        Ok(consumer) => consumer,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::FAILURE;
        }
    };
    let show = Show {
        json: args.json,
        color: args.color.is_on(io::stdout().is_terminal()),
    };
    let mut tail = Tail {
        args,
        show,
        whole: Whole::default(),
        shown: 0,
    };
    match tail.run(consumer, &stop) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read it has had enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot write: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Tail<'a> {
    args: &'a TailArgs,
    show: Show,
    whole: Whole,
    shown: u64,
}

impl Tail<'_> {
    fn run(&mut self, mut consumer: Consumer, stop: &AtomicBool) -> io::Result<()> {
        let mut trouble = None;
        while !stop.load(Ordering::Relaxed) && !self.is_done() {
            match consumer.next(STEP) {
                Event::Message(message) => {
                    trouble = None;
                    match decode::decode(&message, self.args.format) {
                        Ok(traces) => {
                            let part = message.part.as_deref();
                            let parent = message.traceparent.as_deref();
                            for trace in traces {
                                for trace in self.whole.add(trace, part, parent) {
                                    self.print(&trace)?;
                                }
                            }
                        }
                        Err(cause) => {
                            let key = String::from_utf8_lossy(&message.key);
                            eprintln!("a message that is no trace (key {key:?}): {cause}");
                        }
                    }
                }
                Event::End if self.args.no_follow => break,
                Event::End | Event::Nothing => io::stdout().flush()?,
                Event::Trouble(cause) => {
                    if trouble.as_ref() != Some(&cause) {
                        eprintln!("cannot read now: {cause}; trying again");
                    }
                    trouble = Some(cause);
                }
            }
        }
        // What lacks a part is shown as far as it is known.
        for trace in self.whole.take() {
            self.print(&trace)?;
        }
        io::stdout().flush()
    }

    fn print(&mut self, trace: &decode::Trace) -> io::Result<()> {
        if self.is_done() || !self.args.filter().matches(trace) {
            return Ok(());
        }
        self.shown += 1;
        writeln!(io::stdout(), "{}", self.show.line(trace))
    }

    fn is_done(&self) -> bool {
        self.args.count.is_some_and(|count| self.shown >= count)
    }
}

/// True from the first SIGINT or SIGTERM on.
fn stop_on_signal() -> Arc<AtomicBool> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build();
    if let Ok(runtime) = runtime {
        // Registered before anything is waited for, so that no signal is missed.
        let signals = {
            let _inside = runtime.enter();
            [SignalKind::interrupt(), SignalKind::terminate()].map(signal)
        };
        if let [Ok(mut interrupt), Ok(mut terminate)] = signals {
            thread::spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                });
                told.store(true, Ordering::Relaxed);
            });
        }
    }
    stop
}
