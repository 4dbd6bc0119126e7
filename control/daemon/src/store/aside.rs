//! Versions that are beyond the retention while sessions that began under them live on: each is set
//! aside whole, beside the rows, until its last session has ended.
//!
//! ```text
//! aside-heads  v → as in heads              a version that is set aside has left the rows
//! aside-whole  (v, part) → its document
//! ```
//! The rows keep no gap, and an older weir passes over these tables.

use std::collections::BTreeSet;

use redb::{
    AccessGuard, Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable,
    ReadableTableMetadata,
};
use weir_control_core::record::Record;
use weir_proto::answer::VersionRow;

use super::base;
use super::rows::{self, CUT_MAX, PART, Parts, Rows, WriteError, Writer};

const HEADS: Rows = Rows::new("aside-heads");
const WHOLE: Parts = Parts::new("aside-whole");

/// Versions that one commit sets aside at most: each is put together from up to 64 rows.
const STEP: usize = 8;
/// Versions with live sessions that are kept for them at most, the newest ones.
pub(crate) const IN_USE_MAX: usize = 1_000;
/// Parts of documents that are set aside at most: 64 MiB.
const PARTS_MAX: u64 = (64 << 20) / PART as u64;

/// A version as it is set aside.
struct Moving {
    version: u64,
    head: String,
    document: String,
}

/// True if [`cut`] has something to do.
pub(super) fn is_due(
    database: &Database,
    first: u64,
    in_use: &BTreeSet<u64>,
) -> Result<bool, String> {
    if rows::oldest(database)?.is_some_and(|oldest| oldest < first) {
        return Ok(true);
    }
    let transaction = database.begin_read().map_err(rows::text)?;
    let Some(heads) = rows::open(&transaction, HEADS)? else { return Ok(false) };
    for row in heads.iter().map_err(rows::text)? {
        if !in_use.contains(&row.map_err(rows::text)?.0.value()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Gives up some of what is before `first`, as [`Writer::cut`] does; what is in use is set aside,
/// as far as there may be so much. Those that were set aside and are not in use any more go, too.
pub(super) fn cut(
    database: &Database,
    first: u64,
    in_use: &BTreeSet<u64>,
) -> Result<usize, WriteError> {
    let (first, moving) = next(database, first, in_use).map_err(WriteError::Other)?;
    let is_used = is_used(database).map_err(WriteError::Other)?;
    rows::commit(database, 0, |rows| {
        // Two more tables take pages, of which a full disk has few.
        if is_used || !moving.is_empty() {
            keep_aside(rows, &moving, in_use)?;
        }
        rows.cut(first)
    })
}

/// True if something was ever set aside.
fn is_used(database: &Database) -> Result<bool, String> {
    let transaction = database.begin_read().map_err(rows::text)?;
    Ok(rows::open(&transaction, HEADS)?.is_some())
}

/// The next versions that are to be set aside, and how far the rows may then be cut.
fn next(
    database: &Database,
    first: u64,
    in_use: &BTreeSet<u64>,
) -> Result<(u64, Vec<Moving>), String> {
    let mut moving = Vec::new();
    let transaction = database.begin_read().map_err(rows::text)?;
    let Some(heads) = rows::open(&transaction, rows::HEADS)? else { return Ok((first, moving)) };
    for row in heads.range(..first).map_err(rows::text)?.take(CUT_MAX) {
        let (version, head) = row.map_err(rows::text)?;
        let version = version.value();
        if !in_use.contains(&version) {
            continue;
        }
        if moving.len() == STEP {
            return Ok((version, moving));
        }
        let (record, _) = rows::read(&transaction, version, head.value())?;
        let base = base::of(&record)?;
        let document = base::document(&record.spec, &base).map_err(|why| why.to_string())?;
        let (head, document) = (head.value().to_owned(), document.to_string());
        moving.push(Moving { version, head, document });
    }
    Ok((first, moving))
}

/// Sets these aside, and gives up those that were set aside and are not in use.
fn keep_aside(
    rows: &Writer<'_>,
    moving: &[Moving],
    in_use: &BTreeSet<u64>,
) -> Result<(), WriteError> {
    let mut heads = rows.transaction.open_table(HEADS)?;
    let mut whole = rows.transaction.open_table(WHOLE)?;
    heads.retain(|version, _| in_use.contains(&version))?;
    whole.retain(|(version, _), _| in_use.contains(&version))?;
    for Moving { version, head, document } in moving {
        let parts = document.len().div_ceil(PART) as u64;
        if heads.len()? >= IN_USE_MAX as u64 || whole.len()? + parts > PARTS_MAX {
            continue;
        }
        heads.insert(version, head.as_str())?;
        rows::write_parts(&mut whole, *version, document)?;
    }
    Ok(())
}

/// One version, if it is set aside.
pub(super) fn get(transaction: &ReadTransaction, version: u64) -> Result<Option<Record>, String> {
    let Some(heads) = rows::open(transaction, HEADS)? else { return Ok(None) };
    let Some(head) = heads.get(version).map_err(rows::text)? else { return Ok(None) };
    let bad = |why: String| format!("version {version}: {why}");
    let head = rows::parse_head(version, head.value())?;
    let whole = rows::open(transaction, WHOLE)?.ok_or_else(|| bad("it has no spec".to_owned()))?;
    let document = rows::joined(&whole, version)?;
    let value = serde_json::from_slice(&document).map_err(|why| bad(why.to_string()))?;
    let read = base::read(value).map_err(bad)?;
    Ok(Some(Record::of(version, head, read.spec).with_base(read.base.flatten())))
}

/// At most `most` of those before `before`, newest first.
pub(super) fn page(
    transaction: &ReadTransaction,
    before: u64,
    most: usize,
) -> Result<Vec<VersionRow>, String> {
    match rows::open(transaction, HEADS)? {
        Some(heads) => page_of(&heads, before, most),
        None => Ok(Vec::new()),
    }
}

/// At most `most` versions before `before` of one table of heads, newest first.
pub(super) fn page_of(
    heads: &ReadOnlyTable<u64, &'static str>,
    before: u64,
    most: usize,
) -> Result<Vec<VersionRow>, String> {
    type Row<'a> = (AccessGuard<'a, u64>, AccessGuard<'a, &'static str>);
    let row = |row: Result<Row<'_>, redb::StorageError>| {
        let (version, head) = row.map_err(rows::text)?;
        Ok(rows::parse_head(version.value(), head.value())?.row(version.value()))
    };
    heads.range(..before).map_err(rows::text)?.rev().take(most).map(row).collect()
}
