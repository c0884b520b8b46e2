//! Which endpoint of an upstream a request is sent to.
//!
//! One alone is taken without a look. Among several, those that are left out (see [`super::eject`])
//! are passed over; where all are, all are taken as if none were. What a worker counts for this is
//! its own.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use http::HeaderValue;
use http::header::COOKIE;
use smallvec::SmallVec;

use super::Upstream;
use super::retry::Budget;
use crate::config::{Balance, HashBy};
use crate::exchange::state::RequestHead;

/// What a worker counts for an upstream.
pub struct Local {
    turn: Cell<usize>,
    /// Requests under way, by endpoint.
    active: Box<[Cell<u32>]>,
    pub budget: Budget,
}

/// Endpoints that a request was sent to already.
pub type Tried = SmallVec<[usize; 4]>;

/// Counts a request to one of several endpoints for as long as it is under way.
pub struct Busy {
    local: Rc<Local>,
    index: usize,
}

impl Local {
    pub fn new(upstream: &Upstream) -> Self {
        let endpoints = upstream.endpoints.len();
        Self {
            // Workers do not begin with the same.
            turn: Cell::new(fastrand::usize(..endpoints.max(1))),
            active: vec![Cell::new(0); endpoints].into_boxed_slice(),
            budget: Budget::new(upstream.config.retries.budget_percent),
        }
    }

    fn less_busy(&self, [one, other]: [usize; 2]) -> usize {
        if self.active[other].get() < self.active[one].get() {
            other
        } else {
            one
        }
    }
}

impl Busy {
    pub fn new(local: &Rc<Local>, index: usize) -> Self {
        let active = &local.active[index];
        active.set(active.get() + 1);
        Self {
            local: Rc::clone(local),
            index,
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let active = &self.local.active[self.index];
        active.set(active.get() - 1);
    }
}

impl Upstream {
    /// The place of the endpoint for a request, of which `key` is [`Upstream::key`]. Those tried
    /// already are not taken again: `None` where there is no other.
    pub fn choose(&self, local: &Local, key: u64, tried: &Tried, now: Instant) -> Option<usize> {
        let count = self.endpoints.len();
        if count == 1 {
            return tried.is_empty().then_some(0);
        }
        let may =
            |index: usize| !tried.contains(&index) && self.endpoints[index].state.is_available(now);
        let first = match &self.config.balance {
            // A further try takes nobody's turn: else one that fails would be first each time.
            Balance::RoundRobin if !tried.is_empty() => None,
            Balance::RoundRobin => {
                let turn = local.turn.get();
                local.turn.set(turn.wrapping_add(1));
                Some(turn % count)
            }
            Balance::Random => Some(fastrand::usize(..count)),
            Balance::LeastRequests => {
                let first = fastrand::usize(..count);
                let second = (first + fastrand::usize(1..count)) % count;
                let both = may(first) && may(second);
                both.then(|| local.less_busy([first, second]))
            }
            Balance::ConsistentHash(_) => return self.by_hash(key, tried, may),
        };
        let mut slow = None;
        if let Some(first) = first
            && may(first)
        {
            if self.takes_its_share(first, now) {
                return Some(first);
            }
            slow = Some(first);
        }
        let others: SmallVec<[usize; 16]> = (0..count)
            .filter(|index| may(*index) && slow != Some(*index))
            .collect();
        match others.as_slice() {
            [] if slow.is_some() => slow,
            // All are left out: as if none were. What failed just now is not tried at another such.
            [] => tried
                .is_empty()
                .then(|| first.unwrap_or_else(|| fastrand::usize(..count))),
            [only] => Some(*only),
            others => {
                let first = fastrand::usize(..others.len());
                let drawn = others[first];
                if self.config.balance != Balance::LeastRequests {
                    return Some(drawn);
                }
                let second = (first + fastrand::usize(1..others.len())) % others.len();
                Some(local.less_busy([drawn, others[second]]))
            }
        }
    }

    /// Whether an endpoint that is used again takes this request: its share grows with time.
    fn takes_its_share(&self, index: usize, now: Instant) -> bool {
        let Some(slow_start) = self.config.slow_start else {
            return true;
        };
        match self.endpoints[index].state.back_since(now) {
            Some(since) if since < slow_start => {
                let grown = since.as_secs_f64() / slow_start.as_secs_f64();
                fastrand::f64() < grown.max(0.1)
            }
            _ => true,
        }
    }

    /// The endpoint with the highest score for the key (rendezvous hashing): where one comes or
    /// goes, only its own keys move.
    fn by_hash(&self, key: u64, tried: &Tried, may: impl Fn(usize) -> bool) -> Option<usize> {
        let score = |index: &usize| mix(key ^ self.endpoints[*index].hash);
        let all = 0..self.endpoints.len();
        let best = all.clone().filter(|index| may(*index)).max_by_key(score);
        best.or_else(|| tried.is_empty().then(|| all.max_by_key(score)).flatten())
    }

    /// What the choice goes by; 0 where it goes by nothing of the request.
    pub fn key(&self, request: &RequestHead) -> u64 {
        let Balance::ConsistentHash(by) = &self.config.balance else {
            return 0;
        };
        let value = match by {
            HashBy::ClientAddress => None,
            HashBy::Header(name) => request.headers.get(name).map(HeaderValue::as_bytes),
            HashBy::Cookie(name) => cookie(request, name),
        };
        if let Some(value) = value {
            return hash(value);
        }
        match request.client.map(|client| client.ip()) {
            Some(std::net::IpAddr::V4(ip)) => hash(&ip.octets()),
            Some(std::net::IpAddr::V6(ip)) => hash(&ip.octets()),
            None => 0,
        }
    }
}

fn cookie<'r>(request: &'r RequestHead, name: &str) -> Option<&'r [u8]> {
    let fields = request.headers.get_all(COOKIE).iter();
    let mut pairs = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
    pairs.find_map(|pair| {
        let pair = pair.trim_ascii().strip_prefix(name.as_bytes())?;
        pair.strip_prefix(b"=")
    })
}

/// FNV-1a, and its bits spread. The same in every worker, process and version.
pub fn hash(bytes: &[u8]) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold))
}

/// The finaliser of `SplitMix64`.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests;
