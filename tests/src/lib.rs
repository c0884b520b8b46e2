//! What tests of the whole are made of: the real binary, upstreams, clients, a real Kafka.

pub mod client;
pub mod kafka;
pub mod upstream;
pub mod wait;
pub mod weir;
