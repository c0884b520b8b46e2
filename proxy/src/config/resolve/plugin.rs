//! Plugins: their names, modules and limits.

use indexmap::IndexMap;
use serde_json::Value as Json;

use super::{Resolver, did_you_mean, suggest};
use crate::config::fault::Code;
use crate::config::path::Path;
use crate::config::raw::plugin as keys;
use crate::config::tree::Value;
use crate::config::units::ByteSize;
use crate::config::{
    Breaker, Isolation, Limits, Module, OnError, OnLargeBody, Plugin, PluginUse, Recycle,
    normal_name, raw,
};
use crate::plugin::registry::builtins;

impl Resolver<'_> {
    pub(super) fn plugins(
        &mut self,
        raw: IndexMap<String, keys::Plugin>,
    ) -> IndexMap<String, Plugin> {
        let at = Path::root().key("plugins");
        let mut seen: Vec<String> = Vec::new();
        let mut plugins = IndexMap::new();
        for (name, raw) in raw {
            let at = at.key(&name);
            self.plugin_name(&at, &name, &seen);
            seen.push(name.clone());
            let plugin = self.plugin(&at, raw);
            plugins.extend(plugin.map(|plugin| (name, plugin)));
        }
        plugins
    }

    /// The plugins of a chain, in which each stands once.
    pub(super) fn chain(&mut self, of: &Path, raw: &[raw::chain::PluginUse]) -> Vec<PluginUse> {
        let mut chain: Vec<PluginUse> = Vec::new();
        for (index, raw::chain::PluginUse { plugin }) in raw.iter().enumerate() {
            let item = &of.index(index);
            let keys = item.key(plugin);
            let node = self.tree.get(&keys).filter(|node| node.is_collection());
            // Else it had its fault before.
            if node.is_none() && !self.is_text(item) {
                continue;
            }
            let at = if node.is_some() { &keys } else { item };
            if !self.names.plugins.contains(plugin) {
                let known = self.names.plugins.iter().map(String::as_str);
                let hint = did_you_mean(plugin, known, "plugins");
                self.fault(Code::UnknownName, at, format!("unknown plugin `{plugin}`"));
                self.hint(hint);
            } else if let Some(first) = chain.iter().position(|other| other.plugin == *plugin) {
                let message = format!("`{plugin}` stands in `{}` already", of.index(first));
                self.fault(Code::Conflict, at, message);
                self.hint("give its module a second name under `plugins`");
            }
            let config = node.map(|node| self.expand_all(&keys, node));
            chain.push(PluginUse {
                plugin: plugin.clone(),
                config: config.and_then(|config| match config {
                    Json::Object(keys) => Some(keys),
                    _ => None,
                }),
            });
        }
        chain
    }

    fn is_text(&self, at: &Path) -> bool {
        let node = self.tree.get(at);
        node.is_some_and(|node| matches!(node.value, Value::String(_)))
    }

    fn plugin_name(&mut self, at: &Path, name: &str, seen: &[String]) {
        let normal = normal_name(name);
        if name.trim().is_empty() {
            self.fault(Code::InvalidValue, at, "a plugin's name may not be empty");
        } else if name.contains('.') {
            self.fault(Code::InvalidValue, at, "a plugin's name may not have a dot");
            self.hint(format!("write `{}`", name.replace('.', "-")));
        } else if let Some(other) = seen.iter().find(|other| normal_name(other) == normal) {
            let message = format!("`{name}` and `{other}` are both `{normal}` in span names");
            self.fault(Code::InvalidValue, at, message);
        }
    }

    fn plugin(&mut self, at: &Path, raw: keys::Plugin) -> Option<Plugin> {
        let module = self.module(&at.key("module"), &raw.module);
        let config = &at.key("config");
        let config = match self.tree.get(config) {
            Some(node) => self.expand_all(config, node),
            None => raw.config,
        };
        let limits = self.limits(&at.key("limits"), &raw.limits);
        let of_upstreams = at.key("upstreams");
        for (index, name) in raw.upstreams.iter().enumerate() {
            self.upstream_name(&of_upstreams.index(index), name);
        }
        Some(Plugin {
            module: module?,
            sha256: raw.sha256.map(|digest| digest.to_ascii_lowercase()),
            config,
            upstreams: raw.upstreams,
            on_error: match raw.on_error {
                keys::OnError::Reject => OnError::Reject,
                keys::OnError::Continue => OnError::Continue,
            },
            on_large_body: match raw.on_large_body {
                keys::OnLargeBody::Reject => OnLargeBody::Reject,
                keys::OnLargeBody::Bypass => OnLargeBody::Bypass,
            },
            limits,
            isolation: match raw.isolation {
                keys::Isolation::Shared => Isolation::Shared,
                keys::Isolation::Request => Isolation::Request,
            },
            breaker: Breaker {
                failures: raw.breaker.failures,
                pause: self.positive(&at.key("breaker").key("pause"), raw.breaker.pause),
            },
            recycle: Recycle {
                hooks: raw.recycle.hooks,
                age: self.positive(&at.key("recycle").key("age"), raw.recycle.age),
            },
        })
    }

    fn module(&mut self, at: &Path, module: &str) -> Option<Module> {
        if let Some(name) = module.strip_prefix("builtin:") {
            if builtins().any(|builtin| builtin == name) {
                return Some(Module::Builtin(name.to_owned()));
            }
            self.fault(
                Code::UnknownName,
                at,
                format!("unknown builtin plugin `{name}`"),
            );
            self.hint(match suggest::nearest(name, builtins()) {
                Some(near) => format!("did you mean `builtin:{near}`?"),
                None => format!(
                    "there are {}",
                    suggest::list(&builtins().collect::<Vec<_>>())
                ),
            });
            return None;
        }
        if !self.is_present(at) {
            return None;
        }
        let file = self.file(module);
        let readable = std::fs::metadata(&file).map(|meta| meta.is_file());
        let path = file.display();
        let message = match readable {
            Ok(true) => return Some(Module::File(file)),
            Ok(false) => format!("module `{path}` is not a file"),
            Err(error) => format!("module `{path}` cannot be read: {error}"),
        };
        self.fault(Code::File, at, message);
        if builtins().any(|builtin| builtin == module) {
            self.hint(format!("write `builtin:{module}` for the bundled one"));
        }
        None
    }

    fn limits(&mut self, at: &Path, raw: &keys::Limits) -> Limits {
        let memory = raw.memory.map(|memory| {
            let (least, most) = (ByteSize::kib(64), ByteSize::mib(4 << 10));
            ("memory", memory, least, most)
        });
        let sizes = [
            ("body", raw.body, ByteSize::kib(1), ByteSize::mib(1 << 10)),
            (
                "answer",
                raw.answer,
                ByteSize::kib(1),
                ByteSize::mib(1 << 20),
            ),
            ("kv", raw.kv, ByteSize::kib(64), ByteSize::mib(16 << 10)),
        ];
        for (key, size, least, most) in memory.into_iter().chain(sizes) {
            let at = &at.key(key);
            self.at_least(at, size, least);
            if size.0 > most.0 {
                self.fault(Code::InvalidValue, at, format!("must be at most {most}"));
            }
        }
        self.kv_limit(at, raw);
        Limits {
            memory: raw.memory.map(ByteSize::bytes),
            cpu_time: self.positive(&at.key("cpu_time"), raw.cpu_time),
            wall_time: self.positive(&at.key("wall_time"), raw.wall_time),
            body: raw.body.bytes(),
            answer: raw.answer.0,
            answer_time: self.positive(&at.key("answer_time"), raw.answer_time),
            kv: raw.kv.bytes(),
            calls: raw.calls,
        }
    }
}
