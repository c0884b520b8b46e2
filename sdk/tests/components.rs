//! Each built plugin is what the host takes: a core module that wraps into a component.

use std::path::Path;

use wit_component::ComponentEncoder;

#[test]
fn every_built_plugin_wraps_into_a_component() {
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/guests");
    let guests = guests
        .read_dir()
        .expect("`make guests` has built the plugins");
    let mut count = 0;
    for path in guests.map(|entry| entry.unwrap().path()) {
        if path.to_string_lossy().ends_with("-proxy-wasm.wasm") {
            // For another host, which the race measures beside.
            continue;
        }
        let module = std::fs::read(&path).unwrap();
        let encoded = ComponentEncoder::default()
            .module(&module)
            .and_then(|encoder| encoder.validate(true).encode());
        assert!(
            encoded.is_ok(),
            "{}: {:#}",
            path.display(),
            encoded.unwrap_err()
        );
        count += 1;
    }
    assert!(count > 0, "`make guests` has built the plugins");
}
