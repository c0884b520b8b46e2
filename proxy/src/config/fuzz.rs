//! What must hold of configurations, whatever their text.

use std::path::Path;

use super::fault::{Severity, Source};
use super::report::Format;
use super::{Environment, parse};

/// Reads a configuration that is nowhere.
///
/// # Panics
///
/// Where nothing is wrong with what is not taken, a fault stands outside of the file or blames Weir, or a
/// report is not what its readers take.
pub fn configuration(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let file = Path::new("/nowhere/weir.yaml");
    let faults = match parse(text, file, &[], &Environment::default()) {
        Ok(loaded) => loaded.warnings,
        Err(faults) => {
            assert!(faults.count(Severity::Error) > 0);
            faults
        }
    };
    let breaks = text.bytes().filter(|byte| matches!(byte, b'\n' | b'\r'));
    let lines = 1..=breaks.count() as u64 + 1;
    for fault in &faults.list {
        assert_eq!(fault.place.source, Source::File, "{fault:?}");
        assert!(lines.contains(&fault.place.line), "{fault:?}");
        assert!(!fault.message.contains("a bug in Weir"), "{fault:?}");
    }
    for format in [Format::Json, Format::Sarif] {
        let report = faults.report(format);
        serde_json::from_str::<serde_json::Value>(&report).expect("it is JSON");
    }
    let annotations = faults.report(Format::Github);
    assert_eq!(annotations.lines().count(), faults.list.len());
}
