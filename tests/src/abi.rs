//! The two ABIs in which Weir speaks the world `weir:plugin`, for tests of both.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, WorldId};

use crate::weir::{binary, guest};

/// How a guest is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abi {
    /// A core module, by Weir itself.
    Module,
    /// A component, by wasmtime's runtime for them.
    Component,
}

impl Abi {
    pub const BOTH: [Self; 2] = [Self::Module, Self::Component];

    /// A guest that `make guests` built, by name.
    ///
    /// # Panics
    ///
    /// When it was not built, or is no guest of the world.
    pub fn guest(self, name: &str) -> PathBuf {
        let module = guest(name);
        match self {
            Self::Module => module,
            Self::Component => store(&component(&fs::read(module).expect("the guest"))),
        }
    }

    /// A module in WebAssembly's text format.
    ///
    /// # Panics
    ///
    /// When it is not well-formed, or as a component is no guest of the world.
    pub fn written(self, text: &str) -> PathBuf {
        let mut module = wat::parse_str(text).expect("the module is well-formed");
        if self == Self::Component {
            let (resolve, world) = world();
            embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
                .expect("a world that can be embedded");
            module = component(&module);
        }
        store(&module)
    }
}

/// The world of `sdk/wit`.
///
/// # Panics
///
/// When it cannot be read.
pub fn world() -> (Resolve, WorldId) {
    let mut resolve = Resolve::default();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../sdk/wit");
    let (package, _) = resolve.push_path(folder).expect("the contract");
    let world = resolve.select_world(&[package], Some("plugin"));
    let world = world.expect("the world `plugin`");
    (resolve, world)
}

fn component(module: &[u8]) -> Vec<u8> {
    let encoder = ComponentEncoder::default().module(module);
    let component = encoder.and_then(|encoder| encoder.validate(true).encode());
    component.unwrap_or_else(|error| panic!("a module that makes no component: {error:#}"))
}

/// A file of these bytes, in the folder of what is built; its name is of its content.
///
/// # Panics
///
/// When it cannot be written.
pub fn store(bytes: &[u8]) -> PathBuf {
    let binary = binary();
    let target = binary.parent().and_then(Path::parent);
    let folder = target.expect("target/debug").join("tmp/guests");
    fs::create_dir_all(&folder).expect("a folder");
    let digest = Sha256::digest(bytes)[..16]
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    let file = folder.join(digest).with_extension("wasm");
    if !file.is_file() {
        let new = tempfile::NamedTempFile::new_in(&folder).expect("a file");
        fs::write(&new, bytes).expect("write the guest");
        new.persist(&file).expect("keep the guest");
    }
    file
}
