//! Core modules that speak the canonical ABI of the world `plugin` of `sdk/wit/weir.wit`: what
//! `wit-bindgen` makes for `wasm32-unknown-unknown`, and so every plugin in Rust.
//!
//! They are called as they are, without a component around them. What a component's runtime does for
//! any world (types looked up, tables of resources, owned copies of each string) is known here
//! beforehand; texts are read where the guest has them, and a hook costs a third of it.
//! <https://github.com/WebAssembly/component-model/blob/main/design/mvp/CanonicalABI.md>

mod abi;
mod given;
mod imports;
mod passed;

use wasmtime::{ExternType, InstancePre, Linker, Module, Store, TypedFunc, ValType};

use super::host::Host;
use super::sandbox::{Sandbox, Seed};
use super::{Call, Called, Failure, Interests, Made};
use crate::config::Limits;
use crate::exchange::state::State;

pub(super) use abi::Exports;

/// What a plugin's module exports beside its memory: name, count of parameters and of results, all
/// `i32`.
const FUNCTIONS: [(&str, usize, usize); 9] = [
    ("cabi_realloc", 4, 1),
    ("configure", 2, 1),
    ("config-schema", 0, 1),
    ("on-pre-request", 1, 1),
    ("on-request", 1, 1),
    ("on-response", 1, 1),
    ("on-request-body", 1, 1),
    ("on-response-body", 1, 1),
    ("on-answer-body", 1, 1),
];

/// What it may export: called once its memory is there, and after each function of the same name.
const OPTIONAL: [(&str, usize, usize); 9] = [
    ("_initialize", 0, 0),
    ("cabi_post_configure", 1, 0),
    ("cabi_post_config-schema", 1, 0),
    ("cabi_post_on-pre-request", 1, 0),
    ("cabi_post_on-request", 1, 0),
    ("cabi_post_on-response", 1, 0),
    ("cabi_post_on-request-body", 1, 0),
    ("cabi_post_on-response-body", 1, 0),
    ("cabi_post_on-answer-body", 1, 0),
];

/// In the order of [`super::Hook`].
const HOOKS: [(&str, &str); 6] = [
    ("on-pre-request", "cabi_post_on-pre-request"),
    ("on-request", "cabi_post_on-request"),
    ("on-response", "cabi_post_on-response"),
    ("on-request-body", "cabi_post_on-request-body"),
    ("on-response-body", "cabi_post_on-response-body"),
    ("on-answer-body", "cabi_post_on-answer-body"),
];

/// What is said of a filter that is made for other proxies.
pub const PROXY_WASM: &str =
    "it is a proxy-wasm filter, which is to be written anew (docs/writing-a-plugin.md)";

/// Whether only such a filter exports this.
pub fn is_proxy_wasm(export: &str) -> bool {
    export.starts_with("proxy_abi_version_")
}

/// A compiled and linked module with its configuration.
pub struct Guest {
    seed: Seed,
    pre: InstancePre<Host>,
}

impl Guest {
    /// Links a compiled module; fails where it imports or exports something else than the world.
    pub fn new(seed: Seed, module: &Module) -> wasmtime::Result<Self> {
        let mut exports = module.exports();
        if exports.any(|export| is_proxy_wasm(export.name())) {
            return Err(wasmtime::Error::msg(PROXY_WASM));
        }
        if !matches!(module.get_export("memory"), Some(ExternType::Memory(_))) {
            return Err(wasmtime::Error::msg("it exports no memory `memory`"));
        }
        for (function, params, results) in FUNCTIONS {
            check_export(module, function, params, results)?;
        }
        for (function, params, results) in OPTIONAL {
            if module.get_export(function).is_some() {
                check_export(module, function, params, results)?;
            }
        }
        let mut linker = Linker::<Host>::new(&seed.engine.wasm);
        imports::link(&mut linker, &seed.kv)?;
        Ok(Self {
            seed,
            pre: linker.instantiate_pre(module)?,
        })
    }

    pub(super) fn code(&self) -> &Module {
        self.pre.module()
    }

    /// A fresh instance, configured under these limits.
    pub async fn instantiate(&self, limits: Limits) -> Result<Made<Instance>, Failure> {
        let mut sandbox = Sandbox::new(&self.seed, limits);
        let made = sandbox
            .configure(limits, async |store| self.begin(store).await)
            .await?;
        Ok(made.map(|(hooks, instance)| Instance {
            sandbox,
            hooks,
            instance,
        }))
    }

    /// See [`super::Guest::config_schema`].
    pub async fn config_schema(&self, limits: Limits) -> Result<String, Failure> {
        let mut sandbox = Sandbox::new(&self.seed, limits);
        let asked = sandbox.setup(&limits, async |store| {
            let instance = self.start(store).await?;
            abi::config_schema(&instance, store).await
        });
        Ok(asked.await?.0)
    }

    async fn start(&self, store: &mut Store<Host>) -> wasmtime::Result<wasmtime::Instance> {
        let instance = self.pre.instantiate_async(&mut *store).await?;
        let exports = Exports::of(&instance, &mut *store)?;
        store.data_mut().exports = Some(exports);
        if let Ok(start) = instance.get_typed_func::<(), ()>(&mut *store, "_initialize") {
            start.call_async(&mut *store, ()).await?;
        }
        Ok(instance)
    }

    async fn begin(
        &self,
        store: &mut Store<Host>,
    ) -> wasmtime::Result<(Begun, Result<Interests, String>)> {
        let instance = self.start(store).await?;
        let hook = |store: &mut Store<Host>, (name, post): (&str, &str)| {
            Ok::<_, wasmtime::Error>(Hook {
                call: instance.get_typed_func(&mut *store, name)?,
                post: instance.get_typed_func(&mut *store, post).ok(),
            })
        };
        let hooks = [
            hook(store, HOOKS[0])?,
            hook(store, HOOKS[1])?,
            hook(store, HOOKS[2])?,
            hook(store, HOOKS[3])?,
            hook(store, HOOKS[4])?,
            hook(store, HOOKS[5])?,
        ];
        let asked = abi::configure(&instance, store, &self.seed.config).await?;
        Ok(((hooks, instance), asked))
    }
}

type Begun = ([Hook; 6], wasmtime::Instance);

/// A hook's function, and what lets the guest clean up after it.
struct Hook {
    call: TypedFunc<u32, u32>,
    post: Option<TypedFunc<u32, ()>>,
}

fn check_export(
    module: &Module,
    name: &str,
    params: usize,
    results: usize,
) -> wasmtime::Result<()> {
    let Some(ExternType::Func(function)) = module.get_export(name) else {
        return Err(wasmtime::Error::msg(format!(
            "it exports no function `{name}`"
        )));
    };
    let fits = function.params().len() == params
        && function.results().len() == results
        && (function.params().chain(function.results())).all(|each| matches!(each, ValType::I32));
    if !fits {
        return Err(wasmtime::Error::msg(format!(
            "its function `{name}` has another type: {function}"
        )));
    }
    Ok(())
}

/// A module's instance with its store.
pub struct Instance {
    sandbox: Sandbox,
    /// In the order of [`super::Hook`].
    hooks: [Hook; 6],
    instance: wasmtime::Instance,
}

impl Instance {
    /// See [`super::Instance::call`].
    pub async fn call(&mut self, call: Call<'_>, slot: &mut Option<Box<State>>) -> Called {
        let hook = &self.hooks[call.hook as usize];
        self.sandbox
            .hook(call, slot, async |store| {
                let handle = abi::lend(store.data_mut(), call.hook)?;
                let returned = hook.call.call_async(&mut *store, handle).await?;
                let action = abi::action(call.hook, returned)?;
                abi::take_back(store.data())?;
                if let Some(post) = &hook.post {
                    abi::confined(store, post, returned).await?;
                }
                Ok(action)
            })
            .await
    }

    /// The JSON Schema of the plugin's configuration; empty where it has none.
    pub async fn config_schema(&mut self, limits: &Limits) -> Result<String, Failure> {
        let instance = self.instance;
        let asked = self.sandbox.setup(limits, async |store| {
            abi::config_schema(&instance, store).await
        });
        Ok(asked.await?.0)
    }
}
