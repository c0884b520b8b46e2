//! A worker's warm instances.
//!
//! Belongs to one worker: no lock. An instance is taken for one hook and given back when the hook
//! went well; one that failed is dropped by not giving it back.

use std::cell::RefCell;

use super::{Failure, Instance, Plugin};

/// Most warm instances a worker keeps of one plugin: as many as hooks of it were ever suspended at
/// once, within this bound.
const WARM: usize = 64;

/// Hooks an instance serves before a fresh one takes its place, so that a slow leak in a guest
/// cannot grow for ever.
const HOOKS: u32 = 100_000;

/// See the module's documentation.
#[derive(Default)]
pub struct Instances(RefCell<Vec<Warm>>);

struct Warm {
    plugin: u32,
    free: Vec<(Instance, u32)>,
}

impl Instances {
    /// A warm instance, or a fresh one; with the number of hooks it has served.
    pub async fn take(&self, plugin: &Plugin) -> Result<(Instance, u32), Failure> {
        let warm = self.with(plugin.id, Vec::pop);
        match warm {
            Some(instance) => Ok(instance),
            None => {
                let (instance, _) = plugin.guest.instantiate(plugin.config.limits).await?;
                Ok((instance, 0))
            }
        }
    }

    /// Gives an instance back after a hook that went well.
    pub fn give(&self, plugin: &Plugin, instance: Instance, served: u32) {
        if served < HOOKS {
            self.with(plugin.id, |free| {
                if free.len() < WARM {
                    free.push((instance, served + 1));
                }
            });
        }
    }

    /// Drops what belongs to none of `plugins`: after a reload.
    pub fn retain(&self, plugins: impl Fn(u32) -> bool) {
        self.0.borrow_mut().retain(|warm| plugins(warm.plugin));
    }

    fn with<T>(&self, plugin: u32, f: impl FnOnce(&mut Vec<(Instance, u32)>) -> T) -> T {
        let mut all = self.0.borrow_mut();
        let index = all
            .iter()
            .position(|warm| warm.plugin == plugin)
            .unwrap_or_else(|| {
                all.push(Warm {
                    plugin,
                    free: Vec::new(),
                });
                all.len() - 1
            });
        f(&mut all[index].free)
    }
}
