//! Searches. Each reads a few traces at a time and judges them afterwards, so that the database is
//! free in between for what comes.

use std::sync::Mutex;
use std::thread;

use super::database::Database;
use super::{Bucket, Filter, Page, Summary};
use crate::lock::lock;
use crate::trace::record;

/// Most summaries that one search looks at.
const SCAN: u64 = 500_000;

/// How many are read at a time.
const PART: usize = 250;

/// `limit` of those before `before` that `filter` lets through, newest first.
pub(super) fn page(
    database: &Mutex<Database>,
    filter: &Filter,
    before: Option<i64>,
    limit: usize,
) -> rusqlite::Result<Page> {
    let mut page = Page::default();
    let mut last = None;
    page.scanned = scan(database, filter, before, |summary| {
        if page.traces.len() == limit {
            page.next = last;
            return false;
        }
        last = Some(summary.id);
        page.traces.push(summary);
        true
    })?;
    Ok(page)
}

/// How many there are in each of `buckets` equal parts of the time from `from` to `to`.
pub(super) fn histogram(
    database: &Mutex<Database>,
    filter: &Filter,
    from: i64,
    to: i64,
    buckets: usize,
) -> rusqlite::Result<Vec<Bucket>> {
    let count = i64::try_from(buckets).unwrap_or(1).max(1);
    let width = ((to - from) / count).max(1);
    let mut histogram: Vec<Bucket> = (0..count)
        .map(|index| Bucket {
            start_us: from + index * width,
            ..Bucket::default()
        })
        .collect();
    let mut filter = filter.clone();
    filter.from = Some(from.max(filter.from.unwrap_or(from)));
    filter.to = Some(to.min(filter.to.unwrap_or(to)));
    scan(database, &filter, None, |summary| {
        let index = ((summary.start_us - from) / width).clamp(0, count - 1);
        let bucket = usize::try_from(index)
            .ok()
            .and_then(|index| histogram.get_mut(index));
        if let Some(bucket) = bucket {
            bucket.count += 1;
            bucket.failed += u64::from(summary.failed);
        }
        true
    })?;
    Ok(histogram)
}

/// Gives what `filter` lets through to `take`, newest first, until that has enough. Says how many
/// were looked at.
pub(super) fn scan(
    database: &Mutex<Database>,
    filter: &Filter,
    before: Option<i64>,
    mut take: impl FnMut(Summary) -> bool,
) -> rusqlite::Result<u64> {
    let mut before = before.unwrap_or(i64::MAX);
    let mut scanned = 0;
    while scanned < SCAN {
        let part = lock(database).summaries(before, PART)?;
        let Some(last) = part.last() else {
            break;
        };
        before = last.id;
        for summary in part {
            scanned += 1;
            if filter.matches(&summary)
                && (!filter.wants_trace() || has_attributes(database, filter, summary.id)?)
                && !take(summary)
            {
                return Ok(scanned);
            }
        }
        // Whoever waits for the lock would not get it from one that takes it again at once.
        thread::yield_now();
    }
    Ok(scanned)
}

/// Judges by the whole trace, which may have gone meanwhile.
fn has_attributes(database: &Mutex<Database>, filter: &Filter, id: i64) -> rusqlite::Result<bool> {
    let record = lock(database).record(id)?;
    Ok(record.is_some_and(|record| {
        let trace = record::read(&record);
        trace.is_ok_and(|trace| filter.matches_trace(&trace))
    }))
}
