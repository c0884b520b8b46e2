//! What the bytes of a module tell, without running them.

use std::collections::BTreeMap;

use wasmparser::{Encoding, KnownCustom, Parser, Payload};

use crate::plugin::bounds;
use crate::plugin::module::{PROXY_WASM, is_proxy_wasm};

const PAGE: u64 = 64 << 10;

/// Custom sections by which a core module says which world it is made for.
const COMPONENT_TYPE: &str = "component-type:";

/// What `wit-bindgen` says of the world that it embeds, whole or in two parts.
const SUFFIXES: [&str; 2] = [":encoded world", ":imports and exports"];
const WITHOUT_EXPORTS: &str = "-with-all-of-its-exports-removed";

/// The package of the contract.
const PACKAGE: &str = "weir:plugin";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Component,
    /// A core module that embeds the type of a component.
    Module,
    ProxyWasm,
    Other,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Binary {
    pub(super) kind: Kind,
    pub(super) world: Option<String>,
    /// Bytes, of all memories together.
    pub(super) memory: u64,
    /// The same, where all have a limit.
    pub(super) memory_max: Option<u64>,
    /// Languages and tools, as `rustc 1.95.0`.
    pub(super) producers: Vec<String>,
    /// Names by where they are imported from; a component's have none.
    pub(super) imports: BTreeMap<String, Vec<String>>,
    pub(super) exports: Vec<String>,
}

impl Binary {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        bounds::magic(bytes)?;
        let mut binary = Self {
            kind: Kind::Other,
            world: None,
            memory: 0,
            memory_max: Some(0),
            producers: Vec::new(),
            imports: BTreeMap::new(),
            exports: Vec::new(),
        };
        // How deep in modules and components that are inside of others.
        let mut depth = 0;
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload.map_err(|error| error.to_string())?;
            match &payload {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth -= 1,
                _ => {}
            }
            (binary.add(&payload, depth > 0)).map_err(|error| error.to_string())?;
        }
        if binary.kind == Kind::Other && binary.exports.iter().any(|name| is_proxy_wasm(name)) {
            binary.kind = Kind::ProxyWasm;
        }
        if binary.kind == Kind::Component {
            let contract = |name: &&String| name.starts_with(PACKAGE);
            let version = binary.imports.keys().find(contract);
            let version = version.and_then(|name| name.rsplit_once('@'));
            binary.world = version.map(|(_, version)| format!("{PACKAGE}/plugin@{version}"));
        }
        Ok(binary)
    }

    fn add(&mut self, payload: &Payload<'_>, inner: bool) -> wasmparser::Result<()> {
        match payload {
            Payload::Version {
                encoding: Encoding::Component,
                ..
            } if !inner => self.kind = Kind::Component,
            Payload::MemorySection(memories) => {
                for memory in memories.clone() {
                    let memory = memory?;
                    self.memory += memory.initial * PAGE;
                    let both = self.memory_max.zip(memory.maximum);
                    self.memory_max = both.map(|(sum, most)| sum + most * PAGE);
                }
            }
            Payload::ImportSection(imports) if !inner => {
                for import in imports.clone().into_imports() {
                    let import = import?;
                    let names = self.imports.entry(import.module.to_owned()).or_default();
                    names.push(import.name.to_owned());
                }
            }
            Payload::ComponentImportSection(imports) if !inner => {
                for import in imports.clone() {
                    let name = import?.name.name.to_owned();
                    self.imports.entry(name).or_default();
                }
            }
            Payload::ExportSection(exports) if !inner => {
                for export in exports.clone() {
                    self.exports.push(export?.name.to_owned());
                }
            }
            Payload::ComponentExportSection(exports) if !inner => {
                for export in exports.clone() {
                    self.exports.push(export?.name.name.to_owned());
                }
            }
            Payload::CustomSection(section) if !inner => {
                let name = section.name();
                if self.kind == Kind::Other && name.starts_with(COMPONENT_TYPE) {
                    self.kind = Kind::Module;
                }
                if let Some(world) = world(name) {
                    self.world = Some(world);
                }
                if let KnownCustom::Producers(producers) = section.as_known() {
                    for field in producers {
                        for value in field?.values {
                            let value = value?;
                            let text = format!("{} {}", value.name, value.version);
                            self.producers.push(text.trim_end().to_owned());
                        }
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Why this is none of Weir's plugins, as far as the bytes tell.
    pub(super) fn no_plugin(&self) -> Option<&'static str> {
        match self.kind {
            Kind::ProxyWasm => Some(PROXY_WASM),
            Kind::Other => {
                Some("it does not say that it is made for a world of the component model")
            }
            Kind::Module | Kind::Component => match &self.world {
                Some(world) if !world.starts_with(PACKAGE) => {
                    Some("it is made for another world than weir:plugin")
                }
                _ => None,
            },
        }
    }
}

/// Of `component-type:wit-bindgen:0.61.0:weir:plugin@0.1.0:plugin:encoded world`, the world.
fn world(section: &str) -> Option<String> {
    let made = section.strip_prefix(COMPONENT_TYPE)?;
    let made = SUFFIXES
        .iter()
        .find_map(|suffix| made.strip_suffix(suffix))?;
    let mut parts = made.rsplitn(2, ':');
    let (world, rest) = (parts.next()?, parts.next()?);
    if world.ends_with(WITHOUT_EXPORTS) {
        return None;
    }
    let at = rest.rfind('@')?;
    let (names, version) = rest.split_at(at);
    let mut names = names.rsplit(':');
    let (package, namespace) = (names.next()?, names.next()?);
    Some(format!("{namespace}:{package}/{world}{version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_world_is_in_the_name_of_a_section() {
        let section = "component-type:wit-bindgen:0.61.0:weir:plugin@0.1.0:plugin:encoded world";
        assert_eq!(world(section).as_deref(), Some("weir:plugin/plugin@0.1.0"));
        let section =
            "component-type:wit-bindgen:0.61.1:weir:plugin@0.1.0:plugin:imports and exports";
        assert_eq!(world(section).as_deref(), Some("weir:plugin/plugin@0.1.0"));
        let part = "component-type:x:weir:plugin@0.1.0:plugin-with-all-of-its-exports-removed:encoded world";
        assert_eq!(world(part), None);
        assert_eq!(world("name"), None);
    }

    #[test]
    fn a_bundled_plugin_is_a_module_of_the_contracts_world() {
        let bytes = crate::plugin::registry::builtin("key-auth").expect("it is there");
        let binary = Binary::read(bytes).expect("it is WebAssembly");
        assert_eq!(binary.kind, Kind::Module);
        assert_eq!(binary.world.as_deref(), Some("weir:plugin/plugin@0.1.0"));
        assert_eq!(binary.no_plugin(), None);
        assert!(binary.memory >= PAGE);
        let http = &binary.imports["weir:plugin/http@0.1.0"];
        assert!(http.iter().any(|name| name == "[method]request.header"));
        assert!(binary.exports.iter().any(|name| name == "on-request"));
    }

    #[test]
    fn what_is_no_plugin_is_told_by_its_bytes() {
        let empty = b"\0asm\x01\0\0\0";
        assert!(Binary::read(empty).expect("a module").no_plugin().is_some());
        assert!(Binary::read(b"#!/bin/sh\n").is_err());
    }
}
