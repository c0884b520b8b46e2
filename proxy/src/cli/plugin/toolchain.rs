//! What builds plugins in Rust: cargo with the target `wasm32-unknown-unknown`.
//!
//! Rustup's target is taken where it is there. Where rustup cannot fetch it, Debian's rustc-web,
//! cargo-web and rust-web-src build the standard library too, and rustup's toolchain links. The
//! script `wasm-plugins/build.sh` does the same for the plugins that are inside of this binary, for
//! which it comes too late.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Error;

const TARGET: &str = "wasm32-unknown-unknown";

/// What is not found in the path of commands.
pub(super) const RUST: &str = "install Rust by https://rustup.rs";

/// What Debian's way needs beside rustup's linker.
const DEBIAN: [&str; 3] = [
    "/usr/bin/rustc",
    "/usr/bin/cargo",
    "/usr/lib/rustlib/src/rust/library/std",
];

pub(super) const WAYS: &str = "run `rustup target add wasm32-unknown-unknown`,\n\
    or where that cannot be fetched (Debian): `apt-get install rustc-web cargo-web rust-web-src`";

/// How Rust is built to WebAssembly here.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rust {
    /// By the toolchain's own target.
    Target,
    /// By Debian's compiler, linked by what is in this folder of rustup's toolchain.
    Debian { linker: PathBuf },
}

/// What there is.
#[derive(Debug)]
pub(super) enum Found {
    Rust(Rust),
    NoTarget,
    NoRust,
}

/// Looks for a toolchain, as it is chosen in a folder; changes nothing.
pub(super) fn find(folder: &Path) -> Found {
    let Some(sysroot) = said(folder, "rustc", &["--print", "sysroot"]) else {
        return Found::NoRust;
    };
    let rustlib = Path::new(&sysroot).join("lib/rustlib");
    if rustlib.join(TARGET).join("lib").is_dir() {
        return Found::Rust(Rust::Target);
    }
    let host = said(folder, "rustc", &["-vV"]).and_then(|version| {
        let host = version.lines().find_map(|line| line.strip_prefix("host: "));
        host.map(str::to_owned)
    });
    let linker = rustlib.join(host.unwrap_or_default()).join("bin");
    if linker.join("rust-lld").is_file() && DEBIAN.iter().all(|path| Path::new(path).exists()) {
        return Found::Rust(Rust::Debian { linker });
    }
    Found::NoTarget
}

/// A toolchain; the target is fetched where it is missing.
pub(super) fn get(folder: &Path) -> Result<Rust, Error> {
    match find(folder) {
        Found::Rust(rust) => return Ok(rust),
        Found::NoRust => return Err(Error::new("there is no `rustc`").help(RUST)),
        Found::NoTarget => {}
    }
    eprintln!("fetching the target {TARGET}");
    let added = Command::new("rustup")
        .args(["target", "add", TARGET])
        .current_dir(folder)
        .stdin(Stdio::null())
        .status();
    match (added, find(folder)) {
        (Ok(_), Found::Rust(rust)) => Ok(rust),
        _ => Err(Error::new(format!(
            "Rust has no target {TARGET} here, and rustup could not fetch it"
        ))
        .help(WAYS)),
    }
}

impl Rust {
    /// For people.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Target => format!("rustup's target {TARGET}"),
            Self::Debian { linker } => {
                format!("Debian's rustc-web with rust-lld of {}", linker.display())
            }
        }
    }

    /// `cargo build` in a folder, for one module without paths of this machine in it.
    pub(super) fn cargo_build(&self, folder: &Path) -> Command {
        let mut command = match self {
            Self::Target => Command::new("cargo"),
            Self::Debian { linker } => {
                let mut path = OsString::from(linker);
                for more in [
                    linker.join("gcc-ld").into_os_string(),
                    std::env::var_os("PATH").unwrap_or_default(),
                ] {
                    path.push(":");
                    path.push(more);
                }
                let mut command = Command::new("/usr/bin/cargo");
                command
                    .env("PATH", path)
                    .env("RUSTC", "/usr/bin/rustc")
                    .env("RUSTC_BOOTSTRAP", "1");
                command
            }
        };
        command
            .current_dir(folder)
            .args(["build", "--release", "--lib", "--target", TARGET])
            .args(["--message-format", "json-render-diagnostics"])
            .stdin(Stdio::null());
        if let Self::Debian { .. } = self {
            command.arg("-Zbuild-std=std,panic_abort");
        }
        // What an author says rules.
        if std::env::var_os("RUSTFLAGS").is_none()
            && std::env::var_os("CARGO_ENCODED_RUSTFLAGS").is_none()
        {
            command.env("CARGO_ENCODED_RUSTFLAGS", self.remap(folder));
        }
        command
    }

    /// Takes folders of this machine out of what panics say, so that the same source makes the same
    /// module anywhere.
    fn remap(&self, folder: &Path) -> OsString {
        let mut flags = OsString::from("--remap-path-prefix=");
        flags.push(folder);
        flags.push("/=");
        let mut add = |from: PathBuf, to: &str| {
            flags.push("\u{1f}--remap-path-prefix=");
            flags.push(from);
            flags.push(format!("={to}"));
        };
        let home = std::env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| {
                let home = std::env::var_os("HOME")?;
                Some(Path::new(&home).join(".cargo"))
            });
        if let Some(home) = home {
            add(home.join("registry/src"), "/crates");
        }
        if let Self::Debian { .. } = self {
            let source = Path::new("/usr/lib/rustlib/src/rust");
            add(source.to_path_buf(), "/rust");
            if let Ok(real) = source.canonicalize() {
                add(real, "/rust");
            }
        }
        flags
    }
}

/// What a command says on one line or more, if it succeeds.
pub(super) fn said(folder: &Path, program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    if !output.status.success() {
        return None;
    }
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
