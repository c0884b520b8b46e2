//! Numbers that a plugin counts itself, on `/metrics`.
//!
//! A [`Family`] is of the process; each instance knows by number those that it defined
//! ([`Measures`]), and keeps the series it has used, so that counting is an atomic addition. Names,
//! labels and series are bounded; what is more is dropped and counted.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

pub use super::contract::weir::plugin::metrics::Error;
use super::refusals::{Refusals, Refused};
use crate::lock::lock;

/// Most metrics of a plugin, labels of one, and buckets of a histogram.
const METRICS: usize = 64;
const LABELS: usize = 8;
const BOUNDS: usize = 32;

/// Most sets of labels of all metrics of a plugin together.
const SERIES: usize = 2_000;

/// Most bytes of a name, of a help text and of a label's value.
const NAME: usize = 128;
const HELP: usize = 512;
const VALUE: usize = 256;

#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Counter,
    Gauge,
    /// With the upper bounds of its buckets.
    Histogram(Vec<f64>),
}

/// What becomes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Add,
    Set,
}

/// One metric with its series.
#[derive(Debug)]
pub struct Family {
    /// As the plugin names it.
    pub name: String,
    pub help: String,
    pub labels: Vec<String>,
    pub kind: Kind,
    series: Mutex<BTreeMap<String, Arc<Series>>>,
}

/// The numbers of one set of labels.
#[derive(Debug)]
pub struct Series {
    pub values: Vec<String>,
    /// Of a counter or gauge its value, of a histogram the sum; as bits.
    number: AtomicU64,
    /// Of a histogram, with those past the last bound.
    buckets: Vec<AtomicU64>,
}

impl Series {
    pub fn number(&self) -> f64 {
        f64::from_bits(self.number.load(Relaxed))
    }

    /// Not cumulative.
    pub fn buckets(&self) -> impl Iterator<Item = u64> {
        self.buckets.iter().map(|bucket| bucket.load(Relaxed))
    }

    fn add(&self, value: f64) {
        let _ = self.number.fetch_update(Relaxed, Relaxed, |bits| {
            Some((f64::from_bits(bits) + value).to_bits())
        });
    }
}

/// All metrics of one plugin.
#[derive(Debug, Default)]
pub struct Families {
    /// Of the plugin as it was before a reload: what is defined alike counts on.
    before: BTreeMap<String, Arc<Family>>,
    defined: Mutex<BTreeMap<String, Arc<Family>>>,
    series: Arc<AtomicUsize>,
    dropped: Arc<AtomicU64>,
    refusals: Arc<Refusals>,
}

impl Families {
    /// Those of a plugin that is loaded anew.
    pub fn after(before: &Self) -> Self {
        let known = before.defined();
        let series = known.values().map(|family| family.series().len()).sum();
        Self {
            before: known.clone(),
            defined: Mutex::default(),
            series: Arc::new(AtomicUsize::new(series)),
            dropped: Arc::clone(&before.dropped),
            refusals: Arc::clone(&before.refusals),
        }
    }

    /// Values that were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// What the host refused the plugin.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    pub fn all(&self) -> Vec<Arc<Family>> {
        self.defined().values().cloned().collect()
    }

    fn define(
        &self,
        kind: Kind,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<Arc<Family>, Error> {
        if !is_name(name) || !labels.iter().all(|label| is_label(label)) {
            return Err(Error::InvalidName);
        }
        if labels.len() > LABELS {
            return Err(Error::TooMany);
        }
        if let Kind::Histogram(bounds) = &kind {
            let rising = bounds.windows(2).all(|pair| pair[0] < pair[1]);
            if bounds.len() > BOUNDS {
                return Err(Error::TooMany);
            }
            if !rising || !bounds.iter().all(|bound| bound.is_finite()) {
                return Err(Error::InvalidName);
            }
        }
        let same = |family: &&Arc<Family>| family.kind == kind && family.labels == labels;
        let mut defined = self.defined();
        if let Some(family) = defined.get(name) {
            return Some(family).filter(same).cloned().ok_or(Error::Conflict);
        }
        if defined.len() >= METRICS {
            return Err(Error::TooMany);
        }
        let family = match self.before.get(name).filter(same) {
            Some(family) => Arc::clone(family),
            None => Arc::new(Family {
                name: name.to_owned(),
                help: help[..help.floor_char_boundary(HELP)].to_owned(),
                labels: labels.iter().map(|label| (*label).to_owned()).collect(),
                kind,
                series: Mutex::default(),
            }),
        };
        defined.insert(name.to_owned(), Arc::clone(&family));
        Ok(family)
    }

    fn defined(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Family>>> {
        lock(&self.defined)
    }
}

impl Family {
    pub fn all(&self) -> Vec<Arc<Series>> {
        self.series().values().cloned().collect()
    }

    fn series(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Series>>> {
        lock(&self.series)
    }

    /// The series of these labels, which is made where there is room for it.
    fn find(&self, key: &str, labels: &[&str], made: &AtomicUsize) -> Option<Arc<Series>> {
        let mut series = self.series();
        if let Some(found) = series.get(key) {
            return Some(Arc::clone(found));
        }
        let fits = |count: usize| (count < SERIES).then_some(count + 1);
        made.fetch_update(Relaxed, Relaxed, fits).ok()?;
        let buckets = match &self.kind {
            Kind::Histogram(bounds) => bounds.len() + 1,
            Kind::Counter | Kind::Gauge => 0,
        };
        let new = Arc::new(Series {
            values: labels.iter().map(|label| (*label).to_owned()).collect(),
            number: AtomicU64::new(0_f64.to_bits()),
            buckets: (0..buckets).map(|_| AtomicU64::new(0)).collect(),
        });
        series.insert(key.to_owned(), Arc::clone(&new));
        Some(new)
    }
}

/// Series that an instance has used, by their labels.
type Used = HashMap<String, Arc<Series>>;

/// What one instance has defined, by number, with the series it has used.
pub(super) struct Measures {
    families: Arc<Families>,
    defined: Vec<(Arc<Family>, Used)>,
    /// A series' key while it is looked up.
    key: String,
}

impl Measures {
    pub(super) fn new(families: &Arc<Families>) -> Self {
        Self {
            families: Arc::clone(families),
            defined: Vec::new(),
            key: String::new(),
        }
    }

    pub(super) fn define(
        &mut self,
        kind: Kind,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<u32, Error> {
        let family = self.families.define(kind, name, help, labels)?;
        let same = |(known, _): &(Arc<Family>, _)| Arc::ptr_eq(known, &family);
        let index = self.defined.iter().position(same).unwrap_or_else(|| {
            self.defined.push((family, HashMap::new()));
            self.defined.len() - 1
        });
        u32::try_from(index).map_err(|_| Error::TooMany)
    }

    /// The host refuses the plugin something.
    pub(super) fn refuse(&self, what: Refused, count: u64) {
        self.families.refusals.count(what, count);
    }

    /// Takes a value, or counts that it was dropped.
    pub(super) fn take(&mut self, metric: u32, labels: &[&str], value: f64, change: Change) {
        if self.change(metric, labels, value, change).is_none() {
            self.families.dropped.fetch_add(1, Relaxed);
        }
    }

    fn change(&mut self, metric: u32, labels: &[&str], value: f64, change: Change) -> Option<()> {
        let (family, used) = self.defined.get_mut(metric as usize)?;
        if labels.len() != family.labels.len() || !value.is_finite() {
            return None;
        }
        self.key.clear();
        for label in labels {
            if label.len() > VALUE || label.contains('\0') {
                return None;
            }
            self.key.push_str(label);
            self.key.push('\0');
        }
        let series = match used.get(&self.key) {
            Some(series) => series,
            None => {
                let series = family.find(&self.key, labels, &self.families.series)?;
                &*used.entry(self.key.clone()).or_insert(series)
            }
        };
        match (&family.kind, change) {
            (Kind::Counter, Change::Add) if value >= 0.0 => series.add(value),
            (Kind::Gauge, Change::Add) => series.add(value),
            (Kind::Gauge, Change::Set) => series.number.store(value.to_bits(), Relaxed),
            (Kind::Histogram(bounds), Change::Add) => {
                let bucket = bounds.partition_point(|bound| *bound < value);
                series.buckets[bucket].fetch_add(1, Relaxed);
                series.add(value);
            }
            _ => return None,
        }
        Some(())
    }
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= NAME
        && bytes
            .next()
            .is_some_and(|first| first == b'_' || first.is_ascii_alphabetic())
        && bytes.all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
}

fn is_label(label: &str) -> bool {
    is_name(label) && !label.starts_with("__") && label != "plugin" && label != "le"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(measures: &mut Measures, name: &str, labels: &[&str]) -> u32 {
        measures.define(Kind::Counter, name, "", labels).unwrap()
    }

    #[test]
    fn instances_count_into_the_same() {
        let families = Arc::default();
        for _ in 0..2 {
            let mut measures = Measures::new(&families);
            let seen = counted(&mut measures, "seen", &["kind"]);
            assert_eq!(counted(&mut measures, "seen", &["kind"]), seen);
            measures.take(seen, &["a"], 2.0, Change::Add);
            measures.take(seen, &["b"], 1.0, Change::Add);
        }
        let series = families.all()[0].all();
        let numbers: Vec<f64> = series.iter().map(|series| series.number()).collect();
        assert_eq!(numbers, [4.0, 2.0]);
        assert_eq!(families.dropped(), 0);
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let families = Arc::default();
        let mut measures = Measures::new(&families);
        let seen = counted(&mut measures, "seen", &["kind"]);
        let level = measures.define(Kind::Gauge, "level", "", &[]).unwrap();
        measures.take(seen, &[], 1.0, Change::Add);
        measures.take(seen, &["a"], -1.0, Change::Add);
        measures.take(seen, &["a"], 1.0, Change::Set);
        measures.take(seen, &["a\0b"], 1.0, Change::Add);
        measures.take(level, &[], f64::NAN, Change::Set);
        measures.take(99, &[], 1.0, Change::Add);
        assert_eq!(families.dropped(), 6);
    }

    #[test]
    fn a_flood_of_labels_and_names_has_its_bound() {
        let families = Arc::default();
        let mut measures = Measures::new(&families);
        let seen = counted(&mut measures, "seen", &["kind"]);
        for n in 0..SERIES + 5 {
            measures.take(seen, &[&n.to_string()], 1.0, Change::Add);
        }
        assert_eq!(families.dropped(), 5);
        for n in 1..METRICS {
            counted(&mut measures, &format!("more_{n}"), &[]);
        }
        let past = measures.define(Kind::Counter, "past", "", &[]);
        assert_eq!(past, Err(Error::TooMany));
    }

    #[test]
    fn names_are_prometheus() {
        let families = Arc::default();
        let mut measures = Measures::new(&families);
        for name in ["", "1st", "a-b", "ü", &"x".repeat(NAME + 1)] {
            let defined = measures.define(Kind::Gauge, name, "", &[]);
            assert_eq!(defined, Err(Error::InvalidName), "{name}");
        }
        for label in ["plugin", "le", "__name__", "a b"] {
            let defined = measures.define(Kind::Gauge, "level", "", &[label]);
            assert_eq!(defined, Err(Error::InvalidName), "{label}");
        }
        counted(&mut measures, "seen", &[]);
        let other = measures.define(Kind::Gauge, "seen", "", &[]);
        assert_eq!(other, Err(Error::Conflict));
    }

    #[test]
    fn a_reload_counts_on_where_the_definition_is_the_same() {
        let families = Arc::default();
        let mut measures = Measures::new(&families);
        let seen = counted(&mut measures, "seen", &[]);
        measures.take(seen, &[], 3.0, Change::Add);
        counted(&mut measures, "changed", &[]);

        let later = Arc::new(Families::after(&families));
        let mut measures = Measures::new(&later);
        let seen = counted(&mut measures, "seen", &[]);
        measures.take(seen, &[], 1.0, Change::Add);
        let changed = measures.define(Kind::Gauge, "changed", "", &["new"]);
        assert!(changed.is_ok());
        let all = later.all();
        let seen = all.iter().find(|family| family.name == "seen").unwrap();
        assert_eq!(seen.all()[0].number(), 4.0);
    }

    #[test]
    fn a_histogram_has_buckets() {
        let families = Arc::default();
        let mut measures = Measures::new(&families);
        let kind = Kind::Histogram(vec![1.0, 2.0]);
        let sizes = measures.define(kind, "sizes", "", &[]).unwrap();
        for value in [0.5, 1.0, 1.5, 9.0] {
            measures.take(sizes, &[], value, Change::Add);
        }
        let series = &families.all()[0].all()[0];
        assert_eq!(series.buckets().collect::<Vec<_>>(), [2, 1, 1]);
        assert_eq!(series.number(), 12.0);
        let falling = Kind::Histogram(vec![2.0, 1.0]);
        assert!(measures.define(falling, "falling", "", &[]).is_err());
    }
}
