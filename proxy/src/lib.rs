//! Weir: an edge proxy whose every plugin hook is sandboxed, traced and delivered.

pub mod access_log;
pub mod admin;
pub mod alarm;
pub mod app;
pub mod cli;
pub mod coding;
pub mod config;
pub mod demo;
pub mod exchange;
pub mod export;
pub mod filter;
mod frames;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod health;
mod hex;
pub mod import;
pub mod listener;
mod lock;
pub mod metrics;
pub mod otlp;
pub mod plugin;
pub mod push;
pub mod receive;
pub mod router;
pub mod run;
pub mod server;
pub mod store;
pub mod tail;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod trace;
pub mod transport;
pub mod upstream;
pub mod worker;
