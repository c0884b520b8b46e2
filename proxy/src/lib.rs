//! Weir: an edge proxy whose every plugin hook is sandboxed, traced and delivered.
//!

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod demo;
pub mod exchange;
pub mod export;
pub mod filter;
pub mod listener;
pub mod metrics;
pub mod plugin;
pub mod router;
pub mod run;
pub mod server;
pub mod store;
pub mod trace;
pub mod upstream;
pub mod worker;
