//! Which endpoint of an upstream a request is sent to.
//!
//! One alone is taken without a look. Among several, each has a share of the requests: its weight, or
//! while it starts slowly a part of that. Those that are left out (see [`super::eject`]) have none;
//! where all are, all are taken as if none were. What a worker counts for this is its own.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Instant;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use smallvec::SmallVec;

use super::Upstream;
use super::retry::Budget;
use crate::config::{Balance, HashBy};

/// What a worker counts for an upstream.
pub struct Local {
    /// Whose turn is next.
    turns: Turns,
    /// Requests under way, by endpoint.
    active: Box<[Cell<u32>]>,
    /// Of the choice that is being made, by endpoint.
    shares: RefCell<Box<[u64]>>,
    pub budget: Budget,
}

/// Smooth weighted round robin: a choice adds to every endpoint its share, and takes what was added from
/// the one with the most. Over as many choices as the sum of the weights each has its weight exactly, and
/// the turns of a heavy one are spread.
struct Turns {
    /// What each endpoint is owed.
    owed: Box<[Cell<i64>]>,
    /// The sum of the shares of the last choice.
    all: Cell<i64>,
}

/// Parts of a weight, in which slow starts are counted.
const PARTS: u64 = 1024;

/// Most turns that a worker begins after another.
const FIRST_TURNS: u64 = 1000;

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
        let mut shares = vec![0; endpoints].into_boxed_slice();
        upstream.share_out(&mut shares, Instant::now(), |_| true);
        let turns = Turns::new(endpoints);
        // Workers do not begin with the same.
        let most = (shares.iter().sum::<u64>() / PARTS).clamp(1, FIRST_TURNS);
        for _ in 0..fastrand::u64(..most) {
            turns.next(&shares);
        }
        Self {
            turns,
            active: vec![Cell::new(0); endpoints].into_boxed_slice(),
            shares: RefCell::new(shares),
            budget: Budget::new(upstream.config.retries.budget_percent),
        }
    }

    /// The one that has less under way for its share.
    fn less_busy(&self, one: usize, other: usize, shares: &[u64]) -> usize {
        let active = |index: usize| u64::from(self.active[index].get());
        if active(other) * shares[one] < active(one) * shares[other] {
            other
        } else {
            one
        }
    }
}

impl Turns {
    fn new(endpoints: usize) -> Self {
        Self {
            owed: vec![Cell::new(0); endpoints].into_boxed_slice(),
            all: Cell::new(0),
        }
    }

    fn next(&self, shares: &[u64]) -> Option<usize> {
        let all = i64::try_from(shares.iter().sum::<u64>()).unwrap_or(i64::MAX);
        if self.all.replace(all) != all {
            // What other shares left behind: else that of a heavy one, now left out, lasts for long.
            for owed in &self.owed {
                owed.set(owed.get().clamp(-all, all));
            }
        }
        let mut first: Option<usize> = None;
        for (index, (owed, share)) in self.owed.iter().zip(shares).enumerate() {
            if *share == 0 {
                continue;
            }
            owed.set(owed.get() + i64::try_from(*share).unwrap_or(i64::MAX));
            if first.is_none_or(|first| owed.get() > self.owed[first].get()) {
                first = Some(index);
            }
        }
        let first = first?;
        self.owed[first].set(self.owed[first].get() - all);
        Some(first)
    }
}

/// One by chance, each as likely as its share; `None` where nobody has one.
fn draw(shares: &[u64]) -> Option<usize> {
    let mut left = match shares.iter().sum::<u64>() {
        0 => return None,
        all => fastrand::u64(..all),
    };
    shares.iter().position(|share| {
        let found = left < *share;
        left = left.saturating_sub(*share);
        found
    })
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
        let mut shares = local.shares.borrow_mut();
        let may =
            |index: usize| !tried.contains(&index) && self.endpoints[index].state.is_available(now);
        if !self.share_out(&mut shares, now, may) {
            // All are left out: as if none were. What failed just now is not tried at another such.
            if !tried.is_empty() {
                return None;
            }
            self.share_out(&mut shares, now, |_| true);
        }
        match &self.config.balance {
            // A further try takes nobody's turn: else one that fails would be first each time.
            Balance::RoundRobin if tried.is_empty() => local.turns.next(&shares),
            Balance::RoundRobin | Balance::Random => draw(&shares),
            Balance::LeastRequests => {
                let one = draw(&shares)?;
                let share = std::mem::take(&mut shares[one]);
                let other = draw(&shares);
                shares[one] = share;
                Some(other.map_or(one, |other| local.less_busy(one, other, &shares)))
            }
            Balance::ConsistentHash(_) => self.by_hash(key, &shares),
        }
    }

    /// Whether all that could have a share are left out, and so none is.
    pub fn spares_none(&self, now: Instant) -> bool {
        let mut shares = vec![0; self.endpoints.len()];
        !self.share_out(&mut shares, now, |index| {
            self.endpoints[index].state.is_available(now)
        })
    }

    /// Gives their shares to those that may have one, and are of the first priority with any such; false
    /// where there is none.
    fn share_out(&self, shares: &mut [u64], now: Instant, may: impl Fn(usize) -> bool) -> bool {
        let mut first = None;
        for (index, share) in shares.iter_mut().enumerate() {
            *share = if may(index) {
                self.share(index, now)
            } else {
                0
            };
            let priority = Some(self.priorities[index]).filter(|_| *share > 0);
            first = [first, priority].into_iter().flatten().min();
        }
        for (share, priority) in shares.iter_mut().zip(&self.priorities) {
            if Some(*priority) != first {
                *share = 0;
            }
        }
        first.is_some()
    }

    /// What an endpoint may have of the requests: its weight, or where it is used again a part that
    /// grows with time.
    fn share(&self, index: usize, now: Instant) -> u64 {
        let whole = u64::from(self.weights[index]) * PARTS;
        let Some(slow_start) = self.config.slow_start else {
            return whole;
        };
        match self.endpoints[index].state.back_since(now) {
            Some(since) if since < slow_start => {
                let grown = since.as_millis() * u128::from(PARTS) / slow_start.as_millis().max(1);
                let grown = u64::try_from(grown).unwrap_or(PARTS).max(PARTS / 10);
                u64::from(self.weights[index]) * grown
            }
            _ => whole,
        }
    }

    /// The endpoint with the highest score for the key (weighted rendezvous hashing): where one comes
    /// or goes, or has another weight, only its own keys move. So the whole weight counts at once.
    fn by_hash(&self, key: u64, shares: &[u64]) -> Option<usize> {
        let score = |index: &usize| {
            let drawn = mix(key ^ self.endpoints[*index].hash);
            // Its upper bits as a fraction of 1: above 0, and below 1.
            let drawn = f64::from_bits(1_f64.to_bits() | drawn >> 12) - (1.0 - f64::EPSILON / 2.0);
            -f64::from(self.weights[*index]) / drawn.ln()
        };
        let may = (0..shares.len()).filter(|index| shares[*index] > 0);
        may.max_by(|one, other| score(one).total_cmp(&score(other)))
    }

    /// What the choice goes by; 0 where it goes by nothing of the request.
    pub fn key(&self, headers: &HeaderMap, client: Option<SocketAddr>) -> u64 {
        let Balance::ConsistentHash(by) = &self.config.balance else {
            return 0;
        };
        let value = match by {
            HashBy::ClientAddress => None,
            HashBy::Header(name) => headers.get(name).map(HeaderValue::as_bytes),
            HashBy::Cookie(name) => cookie(headers, name),
        };
        if let Some(value) = value {
            return hash(value);
        }
        match client.map(|client| client.ip()) {
            Some(IpAddr::V4(ip)) => hash(&ip.octets()),
            Some(IpAddr::V6(ip)) => hash(&ip.octets()),
            None => 0,
        }
    }
}

fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    let fields = headers.get_all(COOKIE).iter();
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
