//! Metrics of the process, summed over all machines, and their text for Prometheus.
//!
//! Envoy's rules for names: everything but letters, digits and `_` becomes `_`; a segment
//! `tag=value` of a tag that the configuration declares becomes a label.
//!
//! Invariant: counting takes no lock; a metric keeps its id for the life of the process.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::view::{MetricId, MetricKind, Status};

/// Most metrics; the next one is refused, so that names made of input cannot fill memory.
const MOST: usize = 1024;
/// Upper bounds of Envoy's histogram buckets.
const BOUNDS: [f64; 19] = [
    0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 3e4, 6e4, 3e5, 6e5,
    1.8e6, 3.6e6,
];

/// All metrics; put one behind an `Arc` for the process.
pub struct Metrics {
    slots: Box<[OnceLock<Entry>]>,
    /// Kind (as in the ABI) and name to id.
    ids: Mutex<BTreeMap<(u8, String), MetricId>>,
}

struct Entry {
    kind: MetricKind,
    /// A counter's or gauge's value, or the sum of a histogram.
    value: AtomicU64,
    count: AtomicU64,
    /// Recorded values at or under each bound.
    buckets: [AtomicU64; BOUNDS.len()],
}

impl Default for Metrics {
    fn default() -> Self {
        let slots = (0..MOST).map(|_| OnceLock::new()).collect();
        Self { slots, ids: Mutex::default() }
    }
}

impl Metrics {
    /// The id of a metric; a name that is not text is `BadArgument`, one too many
    /// `InternalFailure`.
    pub fn define(&self, kind: MetricKind, name: &[u8]) -> Result<MetricId, Status> {
        let name = std::str::from_utf8(name).map_err(|_| Status::BadArgument)?;
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let next = ids.len();
        let key = (kind as u8, name.to_owned());
        if let Some(id) = ids.get(&key) {
            return Ok(*id);
        }
        self.slots.get(next).ok_or(Status::InternalFailure)?.get_or_init(|| Entry::new(kind));
        let id = MetricId::try_from(next).map_err(|_| Status::InternalFailure)?;
        ids.insert(key, id);
        Ok(id)
    }

    /// Adds to a counter, adds to or takes from a gauge.
    pub fn increment(&self, id: MetricId, by: i64) -> Result<(), Status> {
        let entry = self.entry(id)?;
        match (entry.kind, by >= 0) {
            (MetricKind::Gauge, false) => entry.value.fetch_sub(by.unsigned_abs(), Relaxed),
            (MetricKind::Counter | MetricKind::Gauge, true) => {
                entry.value.fetch_add(by.unsigned_abs(), Relaxed)
            }
            _ => return Err(Status::BadArgument),
        };
        Ok(())
    }

    /// Sets a gauge, adds to a counter, records into a histogram.
    pub fn record(&self, id: MetricId, value: u64) -> Result<(), Status> {
        let entry = self.entry(id)?;
        match entry.kind {
            MetricKind::Gauge => entry.value.store(value, Relaxed),
            MetricKind::Counter => drop(entry.value.fetch_add(value, Relaxed)),
            MetricKind::Histogram => entry.observe(value),
        }
        Ok(())
    }

    /// Value of a counter or gauge.
    pub fn value(&self, id: MetricId) -> Result<u64, Status> {
        let entry = self.entry(id)?;
        if entry.kind == MetricKind::Histogram {
            return Err(Status::BadArgument);
        }
        Ok(entry.value.load(Relaxed))
    }

    /// Name and value of every counter and gauge.
    pub fn values(&self) -> Vec<(String, u64)> {
        let ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let values =
            ids.iter().filter_map(|((_, name), id)| Some((name.clone(), self.value(*id).ok()?)));
        values.collect()
    }

    /// Everything in Prometheus' text format; `tags` are the names of
    /// `stats_config.stats_tags`.
    pub fn prometheus(&self, tags: &[&str]) -> String {
        let ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let mut families: BTreeMap<String, (MetricKind, String)> = BTreeMap::new();
        for ((_, name), id) in ids.iter() {
            let Ok(entry) = self.entry(*id) else { continue };
            let (name, labels) = labelled(name, tags);
            let family =
                families.entry(name.clone()).or_insert_with(|| (entry.kind, String::new()));
            entry.write(&name, &labels, &mut family.1);
        }
        let mut text = String::new();
        for (name, (kind, lines)) in families {
            let _ = write!(text, "# TYPE {name} {}\n{lines}", word(kind));
        }
        text
    }

    fn entry(&self, id: MetricId) -> Result<&Entry, Status> {
        let slot = usize::try_from(id).ok().and_then(|id| self.slots.get(id));
        slot.and_then(OnceLock::get).ok_or(Status::NotFound)
    }
}

impl Entry {
    fn new(kind: MetricKind) -> Self {
        let buckets = std::array::from_fn(|_| AtomicU64::new(0));
        Self { kind, value: AtomicU64::new(0), count: AtomicU64::new(0), buckets }
    }

    fn observe(&self, value: u64) {
        self.value.fetch_add(value, Relaxed);
        self.count.fetch_add(1, Relaxed);
        for (bound, bucket) in BOUNDS.iter().zip(&self.buckets) {
            if value as f64 <= *bound {
                bucket.fetch_add(1, Relaxed);
            }
        }
    }

    /// Writing to a `String` cannot fail.
    fn write(&self, name: &str, labels: &str, out: &mut String) {
        let value = self.value.load(Relaxed);
        if self.kind != MetricKind::Histogram {
            let _ = writeln!(out, "{name}{{{labels}}} {value}");
            return;
        }
        let (count, comma) = (self.count.load(Relaxed), if labels.is_empty() { "" } else { "," });
        for (bound, bucket) in BOUNDS.iter().zip(&self.buckets) {
            let _ = writeln!(
                out,
                "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {}",
                bucket.load(Relaxed)
            );
        }
        let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}");
        let _ = writeln!(out, "{name}_sum{{{labels}}} {value}\n{name}_count{{{labels}}} {count}");
    }
}

fn word(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Counter => "counter",
        MetricKind::Gauge => "gauge",
        MetricKind::Histogram => "histogram",
    }
}

/// `a.reason=x.total` is `a_total` with `reason="x"`.
fn labelled(name: &str, tags: &[&str]) -> (String, String) {
    let (mut plain, mut labels) = (Vec::new(), Vec::new());
    for segment in name.split('.') {
        match segment.split_once('=').filter(|(tag, _)| tags.contains(tag)) {
            Some((tag, value)) => {
                labels.push(format!("{tag}=\"{}\"", value.replace(['"', '\\', '\n'], "_")))
            }
            None => plain.push(segment),
        }
    }
    let plain = plain.join("_");
    let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    (plain.chars().map(letter).collect(), labels.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_one_family_come_together_with_their_label() {
        let metrics = Metrics::default();
        for (name, by) in [("a.denied.reason=x.total", 2), ("a.denied.reason=y.total", 3)] {
            let id = metrics.define(MetricKind::Counter, name.as_bytes()).unwrap();
            assert_eq!(metrics.define(MetricKind::Counter, name.as_bytes()), Ok(id));
            metrics.increment(id, by).unwrap();
        }
        let want = "# TYPE a_denied_total counter\na_denied_total{reason=\"x\"} 2\na_denied_total{reason=\"y\"} 3\n";
        assert_eq!(metrics.prometheus(&["reason"]), want);
        assert!(metrics.prometheus(&[]).contains("a_denied_reason_x_total{} 2"));
    }

    #[test]
    fn each_kind_takes_what_is_meant_for_it() {
        let metrics = Metrics::default();
        let [counter, gauge, histogram] =
            [MetricKind::Counter, MetricKind::Gauge, MetricKind::Histogram]
                .map(|kind| metrics.define(kind, b"m").unwrap());
        assert_eq!(metrics.increment(counter, -1), Err(Status::BadArgument));
        assert_eq!(metrics.increment(histogram, 1), Err(Status::BadArgument));
        assert_eq!(metrics.increment(99, 1), Err(Status::NotFound));
        assert_eq!((metrics.record(gauge, 7), metrics.increment(gauge, -2)), (Ok(()), Ok(())));
        assert_eq!(metrics.value(gauge), Ok(5));
        metrics.record(histogram, 6).unwrap();
        let text = metrics.prometheus(&[]);
        assert!(text.contains("m_bucket{le=\"5\"} 0\nm_bucket{le=\"10\"} 1\n"), "{text}");
        assert!(text.ends_with("m_sum{} 6\nm_count{} 1\n"), "{text}");
    }

    #[test]
    fn one_metric_too_many_is_refused() {
        let metrics = Metrics::default();
        let define = |n: usize| metrics.define(MetricKind::Counter, n.to_string().as_bytes());
        assert!((0..MOST).all(|n| define(n).is_ok()));
        assert_eq!(define(MOST), Err(Status::InternalFailure));
        assert_eq!(define(0), Ok(0));
    }
}
