//! What must hold whatever others send: a function for each target of `tests/fuzz`, which panics where it
//! does not. Each stands beside what it looks into.
//!
//! Not in a Weir that is delivered. Tests run the targets' seeds through them.

pub use crate::config::fuzz::configuration;
pub use crate::exchange::fuzz::path;
pub use crate::export::spool::fuzz::spool;
pub use crate::listener::proxy_protocol::fuzz::proxy_protocol;
pub use crate::otlp::fuzz::{otlp_json, otlp_protobuf};
pub use crate::receive::fuzz::otlp_body;
pub use crate::trace::context::fuzz::trace_context;
pub use crate::trace::record::fuzz::trace_record;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    type Target = fn(&[u8]);

    /// The targets by their names, which are those of their programs and of their seeds' folders.
    const TARGETS: [(&str, Target); 9] = [
        ("configuration", configuration),
        ("otlp_body", otlp_body),
        ("otlp_json", otlp_json),
        ("otlp_protobuf", otlp_protobuf),
        ("path", path),
        ("proxy_protocol", proxy_protocol),
        ("spool", spool),
        ("trace_context", trace_context),
        ("trace_record", trace_record),
    ];

    fn files(folder: &str) -> Vec<PathBuf> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz");
        let entries = fs::read_dir(root.join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn what_holds_of_all_bytes_holds_of_the_seeds() {
        for (name, target) in TARGETS {
            let seeds = files(&format!("seeds/{name}"));
            assert!(!seeds.is_empty(), "{name}");
            for seed in seeds {
                // Shown where it fails.
                println!("{}", seed.display());
                target(&fs::read(seed).unwrap());
            }
        }
    }

    #[test]
    fn each_target_has_a_program() {
        let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        let programs: BTreeSet<String> = files("fuzz_targets").into_iter().map(stem).collect();
        let targets = TARGETS.map(|(name, _)| name.to_owned());
        assert_eq!(programs, BTreeSet::from(targets));
    }
}
