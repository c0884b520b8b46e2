//! Weir: an edge proxy whose every plugin hook is sandboxed, traced and delivered.

pub mod cli;
pub mod config;
pub mod demo;
pub mod export;
pub mod filter;
pub mod trace;
