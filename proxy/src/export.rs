pub mod handoff { pub struct Handoff; impl Handoff { pub fn append(&self, _: impl FnOnce(&mut Vec<u8>)) {} pub async fn flush_loop(&self) {} } }
pub mod status;
use indexmap::IndexMap;
pub struct Exporters;
impl Exporters { pub fn start(_: &IndexMap<String, crate::config::Exporter>) -> Self { Self } pub fn handoff(&self) -> handoff::Handoff { handoff::Handoff } pub fn apply(&self, _: &IndexMap<String, crate::config::Exporter>) {} pub fn status(&self) -> Vec<status::Status> { vec![] } pub fn shutdown(&self, _: std::time::Instant) -> Vec<status::Status> { vec![] } }
