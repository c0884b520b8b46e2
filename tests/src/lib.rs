//! What tests of the whole are made of: the real binary, upstreams, clients, a real Kafka.

pub mod abi;
pub mod acme;
pub mod browser;
pub mod client;
pub mod config;
pub mod dev;
pub mod dns;
pub mod grpc;
pub mod http2;
pub mod kafka;
pub mod link;
pub mod load;
pub mod nginx;
pub mod recorder;
pub mod redis;
pub mod service;
pub mod steps;
pub mod tls;
pub mod toxiproxy;
pub mod trace;
pub mod upstream;
pub mod wait;
pub mod websocket;
pub mod weir;
