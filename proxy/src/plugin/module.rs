//! Core modules that speak the canonical ABI of the world `plugin` of `sdk/wit/weir.wit`: what
//! `wit-bindgen` makes for `wasm32-unknown-unknown`, and so every plugin in Rust.
//!
//! They are called as they are, without a component around them. What a component's runtime does for
//! any world (types looked up, tables of resources, owned copies of each string) is known here
//! beforehand; texts are read where the guest has them, and a hook costs a third of it.
//! <https://github.com/WebAssembly/component-model/blob/main/design/mvp/CanonicalABI.md>

mod abi;
mod imports;

use std::sync::Arc;

use wasmtime::{ExternType, InstancePre, Linker, Module, ModuleExport, Store, TypedFunc, ValType};

use super::engine::Engine;
use super::host::Host;
use super::sandbox::{Asked, Sandbox};
use super::{Action, Call, Called, Failure, Interests};
use crate::config::Limits;
use crate::exchange::state::State;

pub(super) use abi::Exports;

/// What a plugin's module exports beside its memory: name, count of parameters and of results, all
/// `i32`.
const FUNCTIONS: [(&str, usize, usize); 6] = [
    ("cabi_realloc", 4, 1),
    ("configure", 2, 1),
    ("config-schema", 0, 1),
    ("on-pre-request", 1, 1),
    ("on-request", 1, 1),
    ("on-response", 1, 1),
];

/// In the order of [`super::Hook`].
const HOOKS: [&str; 3] = ["on-pre-request", "on-request", "on-response"];

/// A compiled and linked module with its configuration.
pub struct Guest {
    engine: Engine,
    pre: InstancePre<Host>,
    hooks: [ModuleExport; 3],
    name: Arc<str>,
    id: u32,
    config: String,
}

impl Guest {
    /// Links a compiled module; fails where it imports or exports something else than the world.
    pub fn new(
        engine: &Engine,
        module: &Module,
        id: u32,
        name: &str,
        config: String,
    ) -> wasmtime::Result<Self> {
        for (function, params, results) in FUNCTIONS {
            check_export(module, function, params, results)?;
        }
        let hook = |name| {
            let export = module.get_export_index(name);
            export.ok_or_else(|| wasmtime::Error::msg(format!("it exports no `{name}`")))
        };
        let mut linker = Linker::<Host>::new(&engine.wasm);
        imports::link(&mut linker)?;
        Ok(Self {
            engine: engine.clone(),
            pre: linker.instantiate_pre(module)?,
            hooks: [hook(HOOKS[0])?, hook(HOOKS[1])?, hook(HOOKS[2])?],
            name: name.into(),
            id,
            config,
        })
    }

    /// A fresh instance, configured, and what it asked for.
    pub async fn instantiate(&self, limits: Limits) -> Result<(Instance, Interests), Failure> {
        let mut sandbox = Sandbox::new(&self.engine, self.id, Arc::clone(&self.name), limits);
        let (guest, interests) = sandbox
            .configure(limits, async |store| self.begin(store).await)
            .await?;
        let (hooks, instance) = guest;
        Ok((
            Instance {
                sandbox,
                hooks,
                instance,
            },
            interests,
        ))
    }

    async fn begin(
        &self,
        store: &mut Store<Host>,
    ) -> wasmtime::Result<(Begun, Result<Asked, String>)> {
        let instance = self.pre.instantiate_async(&mut *store).await?;
        let exports = Exports::of(&instance, &mut *store)?;
        store.data_mut().exports = Some(exports);
        if let Ok(start) = instance.get_typed_func::<(), ()>(&mut *store, "_initialize") {
            start.call_async(&mut *store, ()).await?;
        }
        let hook = |store: &mut Store<Host>, export| {
            let function = instance.get_module_export(&mut *store, export);
            let function = function.and_then(wasmtime::Extern::into_func);
            let function = function.ok_or_else(|| wasmtime::Error::msg("a hook is no function"))?;
            function.typed::<u32, u32>(store)
        };
        let [pre_request, request, response] = &self.hooks;
        let hooks = [
            hook(store, pre_request)?,
            hook(store, request)?,
            hook(store, response)?,
        ];
        let asked = abi::configure(&instance, store, &self.config).await?;
        Ok(((hooks, instance), asked))
    }
}

type Begun = ([TypedFunc<u32, u32>; 3], wasmtime::Instance);

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
    hooks: [TypedFunc<u32, u32>; 3],
    instance: wasmtime::Instance,
}

impl Instance {
    /// See [`super::Instance::call`].
    pub async fn call(&mut self, call: Call, slot: &mut Option<Box<State>>) -> Called {
        let function = &self.hooks[call.hook as usize];
        self.sandbox
            .hook(call, slot, async |store| {
                let handle = abi::lend(store.data_mut(), call.hook)?;
                let action = function.call_async(&mut *store, handle).await?;
                abi::take_back(store.data())?;
                match action {
                    0 => Ok(Action::Proceed),
                    1 => Ok(Action::Respond),
                    other => Err(abi::broken(format!("`{other}` is no action"))),
                }
            })
            .await
    }

    /// The JSON Schema of the plugin's configuration; empty where it has none.
    pub async fn config_schema(&mut self, limits: &Limits) -> Result<String, Failure> {
        let instance = self.instance;
        self.sandbox
            .setup(limits, async |store| {
                abi::config_schema(&instance, store).await
            })
            .await
    }
}
