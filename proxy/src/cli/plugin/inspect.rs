//! `weir plugin inspect`: what a module is, without serving anything with it.

mod binary;

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Error, bytes, print};
use crate::config::Limits;
use crate::hex;
use crate::plugin::engine::Engine;
use crate::plugin::kv::{Kv, Store};
use crate::plugin::{Code, Guest, Hook, Interests, Seed, registry};
use binary::{Binary, Kind};

/// Show what a module is: its kind and world, what it imports and exports, its size, memory and
/// digest, the hooks that it asks for, and the schema of its configuration. Which hooks it asks for
/// may hang on the configuration. Nothing of it is served; exits with 1 if it is no plugin.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  weir plugin inspect dist/hello.wasm
  weir plugin inspect builtin:key-auth --config '{keys: [secret]}'
  weir plugin inspect dist/hello.wasm --json | jq .config_schema")]
pub struct InspectArgs {
    /// The module, or `builtin:NAME` for a bundled plugin
    #[arg(value_name = "FILE")]
    pub module: String,
    /// The plugin's `config`, in YAML
    #[arg(long, value_name = "YAML", default_value = "{}")]
    pub config: String,
    /// As one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Limits that no honest plugin meets while it is only looked at.
const LIMITS: Limits = Limits {
    memory: Some(1 << 30),
    cpu_time: std::time::Duration::from_secs(5),
    wall_time: std::time::Duration::from_secs(5),
    body: 1 << 30,
    answer: 1 << 30,
    answer_time: std::time::Duration::from_hours(1),
    calls: 8,
    kv: 1 << 20,
};

pub(super) fn run(args: &InspectArgs) -> Result<ExitCode, Error> {
    let module = read(&args.module)?;
    let config: Value = serde_saphyr::from_str(&args.config)
        .map_err(|error| Error::new(format!("--config is no YAML: {error}")))?;
    let binary = Binary::read(&module)
        .map_err(|reason| Error::new(format!("{} cannot be read: {reason}", args.module)))?;
    let said = match binary.no_plugin() {
        None => ask(&module, &config),
        Some(reason) => Said {
            refused: Some(reason.to_owned()),
            ..Said::default()
        },
    };
    let seen = Seen {
        size: module.len(),
        digest: hex::text(&Sha256::digest(&module)),
        binary,
        said,
    };
    print(&if args.json {
        format!("{:#}\n", seen.json())
    } else {
        seen.table(&args.module)
    });
    Ok(if seen.binary.no_plugin().is_none() && !seen.said.broken {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Why a module's bytes are none of a plugin, as far as they tell by themselves.
pub(super) fn no_plugin(module: &[u8]) -> Option<String> {
    match Binary::read(module) {
        Ok(binary) => binary.no_plugin().map(str::to_owned),
        Err(reason) => Some(reason),
    }
}

/// The bytes of a module that is named as in a configuration.
pub(super) fn read(module: &str) -> Result<Vec<u8>, Error> {
    if let Some(name) = module.strip_prefix("builtin:") {
        return registry::builtin(name).map(<[u8]>::to_vec).ok_or_else(|| {
            let names: Vec<_> = registry::builtins().collect();
            Error::new(format!("there is no builtin `{name}`"))
                .help(format!("there are {}", names.join(", ")))
        });
    }
    let file = Path::new(module);
    std::fs::read(file).map_err(|error| {
        let error = Error::new(format!("cannot read {module}: {error}"));
        if file.is_dir() {
            error.help("give the module, as dist/NAME.wasm; `weir plugin build` makes it")
        } else {
            error
        }
    })
}

/// What a plugin said when it was asked.
#[derive(Default)]
struct Said {
    interests: Option<Interests>,
    schema: Option<Value>,
    /// Why it has no interests.
    refused: Option<String>,
    /// It is no plugin after all, rather than in want of a configuration.
    broken: bool,
}

fn ask(module: &[u8], config: &Value) -> Said {
    let broken = |reason: String| Said {
        refused: Some(reason),
        broken: true,
        ..Said::default()
    };
    let engine = match Engine::new() {
        Ok(engine) => engine,
        Err(error) => return broken(format!("{error:#}")),
    };
    let seed = Seed {
        engine: engine.clone(),
        id: 0,
        name: "inspected".into(),
        config: config.to_string(),
        kv: Store::Memory(Arc::new(Kv::new(LIMITS.kv))),
        families: Arc::default(),
        upstreams: Arc::from([]),
    };
    let guest = Code::compile(&engine, module).and_then(|code| Guest::new(seed, &code));
    let guest = match guest {
        Ok(guest) => guest,
        Err(error) => return broken(format!("{error:#}")),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return broken(error.to_string()),
    };
    let mut said = Said::default();
    match runtime.block_on(guest.config_schema(LIMITS)) {
        Ok(schema) => said.schema = serde_json::from_str(&schema).ok(),
        Err(failure) => return broken(failure.to_string()),
    }
    match runtime.block_on(guest.instantiate(LIMITS)) {
        Ok(made) => said.interests = Some(made.interests),
        Err(failure) => said.refused = Some(failure.to_string()),
    }
    said
}

/// All there is to show.
struct Seen {
    size: usize,
    digest: String,
    binary: Binary,
    said: Said,
}

/// As in the WIT.
fn hooks(interests: Interests) -> Vec<&'static str> {
    let names = ["pre-request", "request", "response"];
    let wanted = |hook: &Hook| interests.hooks[*hook as usize];
    let hooks = Hook::ALL.into_iter().filter(wanted);
    hooks.map(|hook| names[hook as usize]).collect()
}

impl Seen {
    fn json(&self) -> Value {
        let Self { binary, said, .. } = self;
        json!({
            "kind": binary.kind.word(),
            "world": binary.world,
            "size_bytes": self.size,
            "sha256": self.digest,
            "memory_bytes": binary.memory,
            "memory_max_bytes": binary.memory_max,
            "producers": binary.producers,
            "imports": binary.imports,
            "exports": binary.exports,
            "hooks": said.interests.map(hooks),
            "request_head": said.interests.map(|interests| interests.request_head),
            "decoded": said.interests.map(|interests| interests.decoded),
            "refused": said.refused,
            "config_schema": said.schema,
        })
    }

    fn table(&self, name: &str) -> String {
        let Self { binary, said, .. } = self;
        let mut out = format!("{name}\n");
        let mut row = |key: &str, value: &str| {
            let value = value.replace('\n', &format!("\n{}", " ".repeat(13)));
            let _ = writeln!(out, "  {key:<10} {value}");
        };
        row("kind", binary.kind.describe());
        row("world", binary.world.as_deref().unwrap_or("none"));
        row("size", &bytes(self.size as u64));
        row("sha256", &self.digest);
        let most = binary.memory_max.map(bytes);
        let most = most.map_or_else(
            || "no limit of its own".to_owned(),
            |most| format!("at most {most}"),
        );
        row(
            "memory",
            &format!("{} at first, {most}", bytes(binary.memory)),
        );
        if !binary.producers.is_empty() {
            row("made by", &binary.producers.join(", "));
        }
        let imports = binary.imports.iter().map(|(from, names)| {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            if names.is_empty() {
                from.clone()
            } else {
                format!("{from}: {}", names.join(", "))
            }
        });
        let imports: Vec<String> = imports.collect();
        row(
            "imports",
            if imports.is_empty() { "nothing" } else { "" }.trim(),
        );
        for import in &imports {
            row("", import);
        }
        row("exports", &binary.exports.join(", "));
        match (said.interests, &said.refused) {
            (Some(interests), _) => {
                let mut hooks = hooks(interests).join(", ");
                if hooks.is_empty() {
                    "none: it is never called".clone_into(&mut hooks);
                }
                if interests.request_head {
                    hooks += " (keeps the request's fields for the response)";
                }
                if interests.decoded {
                    hooks += " (sees bodies decoded)";
                }
                row("hooks", &hooks);
            }
            (None, Some(reason)) => row("hooks", &format!("unknown: {reason}")),
            (None, None) => {}
        }
        match &said.schema {
            Some(schema) => row("config", &format!("{schema:#}")),
            None => row("config", "has no schema"),
        }
        if said.refused.is_some() && binary.no_plugin().is_none() && !said.broken {
            row("", "give one by --config '{…}' to see the hooks");
        }
        // No line ends in blanks, where a row has no value.
        let lines = out.lines().map(|line| format!("{}\n", line.trim_end()));
        lines.collect()
    }
}

impl Kind {
    fn describe(self) -> &'static str {
        match self {
            Self::Component => "component",
            Self::Module => "core module with a component type",
            Self::ProxyWasm => "proxy-wasm filter",
            Self::Other => "core module",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Component => "component",
            Self::Module => "module",
            Self::ProxyWasm => "proxy-wasm",
            Self::Other => "other",
        }
    }
}
