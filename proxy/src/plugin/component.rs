//! Components of the world `plugin` of `sdk/wit/weir.wit`, in any language.
//!
//! [`Guest`] is a compiled component, linked once; [`Instance`] is one with its store.

mod imports;

use wasmtime::component::{Component, HasSelf, Linker, Resource};

use super::contract::{self, Hooks, PluginPre};
use super::host::Host;
use super::sandbox::{Sandbox, Seed};
use super::{Action, BodyMode, Call, Called, Failure, Hook, Interests, Made, kv};
use crate::config::Limits;
use crate::exchange::state::State;

/// A compiled and linked component with its configuration.
pub struct Guest {
    seed: Seed,
    pre: PluginPre<Host>,
}

impl Guest {
    /// Links a compiled component; fails where it imports or exports something else than the world.
    pub fn new(seed: Seed, component: &Component) -> wasmtime::Result<Self> {
        let mut linker = Linker::<Host>::new(&seed.engine.wasm);
        contract::Plugin::add_to_linker::<_, HasSelf<_>>(&mut linker, |host| host)?;
        if let kv::Store::Redis(_) = &seed.kv {
            imports::link_redis(&mut linker)?;
        }
        Ok(Self {
            seed,
            pre: PluginPre::new(linker.instantiate_pre(component)?)?,
        })
    }

    /// A fresh instance, configured under these limits.
    pub async fn instantiate(&self, limits: Limits) -> Result<Made<Instance>, Failure> {
        let mut sandbox = Sandbox::new(&self.seed, limits);
        let made = sandbox
            .configure(limits, async |store| {
                let guest = self.pre.instantiate_async(&mut *store).await?;
                let asked = guest.call_configure(&mut *store, &self.seed.config).await?;
                Ok((guest, asked.map(|asked| asked_for(&asked))))
            })
            .await?;
        Ok(made.map(|guest| Instance { sandbox, guest }))
    }

    pub(super) fn code(&self) -> &Component {
        self.pre.instance_pre().component()
    }

    /// See [`super::Guest::config_schema`].
    pub async fn config_schema(&self, limits: Limits) -> Result<String, Failure> {
        let mut sandbox = Sandbox::new(&self.seed, limits);
        let asked = sandbox.setup(&limits, async |store| {
            let guest = self.pre.instantiate_async(&mut *store).await?;
            guest.call_config_schema(store).await
        });
        Ok(asked.await?.0)
    }
}

fn asked_for(asked: &contract::Interests) -> Interests {
    let hooks = [Hooks::PRE_REQUEST, Hooks::REQUEST, Hooks::RESPONSE];
    let mode = |mode: &contract::BodyMode| match mode {
        contract::BodyMode::None => BodyMode::None,
        contract::BodyMode::Buffer(bytes) => {
            BodyMode::Buffer(usize::try_from(*bytes).unwrap_or(usize::MAX))
        }
        contract::BodyMode::Stream => BodyMode::Stream,
    };
    Interests {
        hooks: hooks.map(|hook| asked.hooks.contains(hook)),
        bodies: [mode(&asked.request_body), mode(&asked.response_body)],
        request_head: asked.request_head,
        decoded: asked.decoded,
    }
}

impl From<contract::Action> for Action {
    fn from(action: contract::Action) -> Self {
        match action {
            contract::Action::Proceed => Self::Proceed,
            contract::Action::Respond => Self::Respond,
        }
    }
}

/// A component's instance with its store.
pub struct Instance {
    sandbox: Sandbox,
    guest: contract::Plugin,
}

impl Instance {
    /// See [`super::Instance::call`].
    pub async fn call(&mut self, call: Call<'_>, slot: &mut Option<Box<State>>) -> Called {
        let guest = &self.guest;
        self.sandbox
            .hook(call, slot, async |store| {
                let flow = match call.hook {
                    Hook::PreRequest => {
                        let request = Resource::new_borrow(0);
                        return Ok(guest.call_on_pre_request(store, request).await?.into());
                    }
                    Hook::Request => {
                        let request = Resource::new_borrow(0);
                        return Ok(guest.call_on_request(store, request).await?.into());
                    }
                    Hook::Response => {
                        let response = Resource::new_borrow(0);
                        return Ok(guest.call_on_response(store, response).await?.into());
                    }
                    Hook::RequestBody => {
                        let chunk = Resource::new_borrow(0);
                        guest.call_on_request_body(store, chunk).await?
                    }
                    Hook::ResponseBody => {
                        let chunk = Resource::new_borrow(0);
                        guest.call_on_response_body(store, chunk).await?
                    }
                    Hook::AnswerBody => {
                        let chunk = Resource::new_borrow(0);
                        guest.call_on_answer_body(store, chunk).await?
                    }
                };
                Ok(match flow {
                    contract::Flow::Pass => Action::Proceed,
                    contract::Flow::Replace => Action::Replace,
                    contract::Flow::Respond => Action::Respond,
                    contract::Flow::Abort => Action::Abort,
                })
            })
            .await
    }

    /// The JSON Schema of the plugin's configuration; empty where it has none.
    pub async fn config_schema(&mut self, limits: &Limits) -> Result<String, Failure> {
        let guest = &self.guest;
        let asked = self
            .sandbox
            .setup(limits, async |store| guest.call_config_schema(store).await);
        Ok(asked.await?.0)
    }
}
