//! The rows of the state, and how a version is put together from them (ADR 0032).
//!
//! ```text
//! versions  1 → {"format":4}               an older weir reads it and refuses
//! heads     v → {"at","by","summary"}      one for each kept version, without a gap
//! whole     (v, part) → the document       one for every 64 versions or so, seldom if it is long
//! changes   (v, part) → a merge patch      what v has changed in the document of v - 1
//! ```
//!
//! A document is a spec with its base ([`base`]).
//!
//! Texts are cut into parts of a page: redb takes longer ones into pages of a power of two, for
//! which a nearly full file has no room in one piece. A version that is given up loses its head;
//! its document stays until no kept version is made of it. Some are set aside instead ([`aside`]).

use std::io;
use std::sync::Arc;

use redb::{
    Database, Durability, Key, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable,
    ReadableTableMetadata, Table, TableDefinition, TableError, WriteTransaction,
};
use serde_json::Value;
use weir_control_core::record::{Base, FORMAT, Head, Record, format_marker, format_of};
use weir_proto::answer::VersionRow;
use weir_proto::spec::Spec;

use super::{aside, base, difference};

pub(super) type Rows = TableDefinition<'static, u64, &'static str>;
/// Texts by version and number of the part.
pub(super) type Parts = TableDefinition<'static, (u64, u32), &'static [u8]>;

/// Formats 1 and 2 have every version here, whole.
pub(super) const VERSIONS: Rows = Rows::new("versions");
pub(super) const HEADS: Rows = Rows::new("heads");
const WHOLE: Parts = Parts::new("whole");
const CHANGES: Parts = Parts::new("changes");
/// Empty but for a moment of each append.
const SPARE: Parts = Parts::new("spare");
/// Pages that giving up [`CUT_MAX`] versions takes at most, with a margin.
const SPARE_PAGES: u32 = 48;
/// Bytes of a part: with its key it fills a page of 4 KiB.
pub(super) const PART: usize = 4000;

/// The key of the format's row: the first one that an older weir reads.
const MARKER: u64 = 1;
/// Differences after a whole spec: a version is read by applying these. More, if the whole spec is
/// so long that reading it takes longer: one for this number of bytes.
const CHANGES_MAX: usize = 63;
const BYTES_PER_CHANGE: usize = 8 << 10;
/// Versions that one commit gives up at most.
pub(super) const CUT_MAX: usize = 256;

/// Why a write has failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WriteError {
    /// There is no room.
    Full(String),
    Other(String),
}

impl core::fmt::Display for WriteError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (WriteError::Full(why) | WriteError::Other(why)) = self;
        f.write_str(why)
    }
}

impl<E: Into<redb::Error>> From<E> for WriteError {
    fn from(error: E) -> WriteError {
        match error.into() {
            redb::Error::Io(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                ) =>
            {
                WriteError::Full(error.to_string())
            }
            error => WriteError::Other(error.to_string()),
        }
    }
}

/// The newest version as the next one is compared with it.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    pub(super) version: u64,
    /// Its pools are shared with control's.
    spec: Spec,
    /// Its base, as the document has it.
    base: Value,
    /// Bytes of the last whole document; differences since then, and their bytes.
    whole_bytes: usize,
    changes: usize,
    bytes: usize,
}

impl Tail {
    /// One more difference may follow.
    fn has_room(&self) -> bool {
        self.changes < CHANGES_MAX.max(self.whole_bytes / BYTES_PER_CHANGE)
    }
}

pub(super) fn text(error: impl Into<redb::Error>) -> String {
    error.into().to_string()
}

/// Reads the format, then the newest version. `None`: there is none.
pub(super) fn newest(database: &Database) -> Result<Option<(Record, Tail)>, String> {
    let transaction = database.begin_read().map_err(text)?;
    check_format(&transaction)?;
    let Some(heads) = open(&transaction, HEADS)? else { return Ok(None) };
    let ends = (heads.first().map_err(text)?, heads.last().map_err(text)?);
    let (Some((first, _)), Some((last, head))) = ends else { return Ok(None) };
    let (first, version) = (first.value(), last.value());
    if heads.len().map_err(text)? != version - first + 1 {
        return Err(format!("a version between {first} and {version} is missing"));
    }
    let (record, tail) = read(&transaction, version, head.value())?;
    Ok(Some((record, tail)))
}

/// One version, if it is kept.
pub(super) fn get(database: &Database, version: u64) -> Result<Option<Record>, String> {
    let transaction = database.begin_read().map_err(text)?;
    let Some(heads) = open(&transaction, HEADS)? else { return Ok(None) };
    let Some(head) = heads.get(version).map_err(text)? else {
        return aside::get(&transaction, version);
    };
    Ok(Some(read(&transaction, version, head.value())?.0))
}

/// At most `most` versions before `before`, newest first. Reads no spec.
pub(super) fn page(
    database: &Database,
    before: Option<u64>,
    most: usize,
) -> Result<Vec<VersionRow>, String> {
    let transaction = database.begin_read().map_err(text)?;
    let Some(heads) = open(&transaction, HEADS)? else { return Ok(Vec::new()) };
    let before = before.unwrap_or(u64::MAX);
    let mut rows = aside::page_of(&heads, before, most)?;
    // Those that are set aside are older.
    rows.extend(aside::page(&transaction, before, most - rows.len())?);
    Ok(rows)
}

/// The oldest version that is kept.
pub(super) fn oldest(database: &Database) -> Result<Option<u64>, String> {
    let transaction = database.begin_read().map_err(text)?;
    let Some(heads) = open(&transaction, HEADS)? else { return Ok(None) };
    Ok(heads.first().map_err(text)?.map(|(version, _)| version.value()))
}

/// The oldest version that was not made before `time`, RFC 3339; at most [`CUT_MAX`] are looked at.
pub(super) fn first_since(database: &Database, time: &str) -> Result<u64, String> {
    let transaction = database.begin_read().map_err(text)?;
    let Some(heads) = open(&transaction, HEADS)? else { return Ok(0) };
    let mut first = 0;
    for row in heads.iter().map_err(text)?.take(CUT_MAX) {
        let (version, head) = row.map_err(text)?;
        first = version.value();
        if parse_head(first, head.value())?.at() >= time {
            break;
        }
    }
    Ok(first)
}

/// A table, if it was ever written.
pub(super) fn open<K: Key + 'static, V: redb::Value + 'static>(
    transaction: &ReadTransaction,
    rows: TableDefinition<'static, K, V>,
) -> Result<Option<ReadOnlyTable<K, V>>, String> {
    match transaction.open_table(rows) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(text(error)),
    }
}

fn check_format(transaction: &ReadTransaction) -> Result<u32, String> {
    let Some(versions) = open(transaction, VERSIONS)? else { return Ok(FORMAT) };
    let Some((key, first)) = versions.first().map_err(text)? else { return Ok(FORMAT) };
    format_of(first.value()).map_err(|why| format!("version {}: {why}", key.value()))
}

pub(super) fn parse_head(version: u64, text: &str) -> Result<Head, String> {
    serde_json::from_str(text).map_err(|why| format!("version {version}: {why}"))
}

/// Versions that are searched for the last one that a file has made.
const LOOKED_AT_MAX: usize = 200;

pub(super) fn read(
    transaction: &ReadTransaction,
    version: u64,
    head: &str,
) -> Result<(Record, Tail), String> {
    let head = parse_head(version, head)?;
    let Document { value, whole_bytes, changes, bytes } = document(transaction, version)?;
    let read = base::read(value).map_err(|why| format!("version {version}: {why}"))?;
    let tail =
        Tail { version, spec: read.spec.clone(), base: read.value, whole_bytes, changes, bytes };
    let record = Record::of(version, head, read.spec);
    let base = read.base.map_or_else(|| file_before(transaction, &record), Ok)?;
    Ok((record.with_base(base), tail))
}

/// The document of a version, and of what it was put together.
struct Document {
    value: Value,
    /// Bytes of the whole one that it is built on; differences since then, and their bytes.
    whole_bytes: usize,
    changes: usize,
    bytes: usize,
}

fn document(transaction: &ReadTransaction, version: u64) -> Result<Document, String> {
    let bad = |why: &dyn core::fmt::Display| format!("version {version}: {why}");
    let parse = |text: &[u8]| -> Result<Value, String> {
        serde_json::from_slice(text).map_err(|why| bad(&why))
    };
    let whole = open(transaction, WHOLE)?.ok_or_else(|| bad(&"it has no spec"))?;
    let base = whole.range(..=(version, u32::MAX)).map_err(text)?.next_back();
    let base = base.ok_or_else(|| bad(&"it has no spec"))?.map_err(text)?.0.value().0;
    let base_text = joined(&whole, base)?;
    let (mut value, mut bytes) = (parse(&base_text)?, 0);
    let changes = open(transaction, CHANGES)?;
    for number in base + 1..=version {
        let patch = changes.as_ref().map_or(Ok(Vec::new()), |changes| joined(changes, number))?;
        if patch.is_empty() {
            return Err(bad(&format!("what version {number} has changed is missing")));
        }
        bytes += patch.len();
        difference::apply(&mut value, parse(&patch)?);
    }
    let changes = usize::try_from(version - base).unwrap_or(usize::MAX);
    Ok(Document { value, whole_bytes: base_text.len(), changes, bytes })
}

/// The base of a version that a weir before format 4 has made: the last version that came from a
/// file was the file.
fn file_before(transaction: &ReadTransaction, record: &Record) -> Result<Base, String> {
    let Some(heads) = open(transaction, HEADS)? else { return Ok(None) };
    for row in heads.range(..=record.version).map_err(text)?.rev().take(LOOKED_AT_MAX) {
        let (version, head) = row.map_err(text)?;
        let version = version.value();
        if parse_head(version, head.value())?.is_of_a_file() {
            if version == record.version {
                return Ok(Some(Arc::new(record.spec.clone())));
            }
            let mut spec = base::read(document(transaction, version)?.value)?.spec;
            spec.share_with(&record.spec);
            return Ok(Some(Arc::new(spec)));
        }
    }
    Ok(None)
}

/// The parts of one version, in one piece.
pub(super) fn joined(
    parts: &ReadOnlyTable<(u64, u32), &'static [u8]>,
    version: u64,
) -> Result<Vec<u8>, String> {
    let mut whole = Vec::new();
    for (number, row) in (0..).zip(parts.range((version, 0)..(version + 1, 0)).map_err(text)?) {
        let (key, part) = row.map_err(text)?;
        if key.value().1 != number {
            return Err(format!("version {version}: part {number} is missing"));
        }
        whole.extend_from_slice(part.value());
    }
    Ok(whole)
}

type PartTable<'a> = Table<'a, (u64, u32), &'static [u8]>;

/// Writes a text in parts.
pub(super) fn write_parts(
    table: &mut PartTable<'_>,
    version: u64,
    text: &str,
) -> Result<(), WriteError> {
    for (number, part) in (0..).zip(text.as_bytes().chunks(PART)) {
        table.insert((version, number), part)?;
    }
    Ok(())
}

/// The tables of the state in a transaction that writes.
pub(super) struct Writer<'a> {
    pub(super) transaction: &'a WriteTransaction,
    heads: Table<'a, u64, &'static str>,
    whole: PartTable<'a>,
    changes: PartTable<'a>,
}

/// Runs `work` in one durable transaction: after a crash all of it is there, or nothing. It begins
/// only with that number of spare pages.
pub(super) fn commit<T>(
    database: &Database,
    spare_pages: u32,
    work: impl FnOnce(&mut Writer<'_>) -> Result<T, WriteError>,
) -> Result<T, WriteError> {
    let transaction = begin(database)?;
    spare(&transaction, spare_pages)?;
    let done = {
        let mut marker = transaction.open_table(VERSIONS)?;
        let is_marked = marker.get(MARKER)?.is_some_and(|row| row.value() == format_marker());
        if !is_marked {
            marker.insert(MARKER, format_marker().as_str())?;
        }
        work(&mut Writer::open(&transaction)?)?
    };
    transaction.commit()?;
    Ok(done)
}

fn begin(database: &Database) -> Result<WriteTransaction, WriteError> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    // With one phase, a newest version whose pages went bad would silently become the one before it
    // at the next start; with two, that is an error.
    transaction.set_two_phase_commit(true);
    Ok(transaction)
}

/// Fails unless the file has enough free pages to give up old versions when it cannot grow any
/// more: giving up takes pages, too. They are free again at once.
fn spare(transaction: &WriteTransaction, pages: u32) -> Result<(), WriteError> {
    if pages == 0 {
        return Ok(());
    }
    let mut spare = transaction.open_table(SPARE)?;
    for number in 0..pages {
        spare.insert((0, number), &[0; PART][..])?;
    }
    Ok(spare.retain(|_, _| false)?)
}

/// Adds a version, and gives up what is before `first`, at most [`CUT_MAX`] versions of it.
pub(super) fn append(
    database: &Database,
    record: &Record,
    before: Option<&Tail>,
    first: u64,
) -> Result<Tail, WriteError> {
    commit(database, SPARE_PAGES, |rows| {
        let tail = rows.add(record, before)?;
        rows.cut(first.min(record.version))?;
        Ok(tail)
    })
}

/// Takes away every version after `newest`.
pub(super) fn take_back(database: &Database, newest: u64) -> Result<(), WriteError> {
    commit(database, 0, |rows| {
        rows.heads.retain_in(newest + 1.., |_, _| false)?;
        rows.whole.retain_in((newest + 1, 0).., |_, _| false)?;
        Ok(rows.changes.retain_in((newest + 1, 0).., |_, _| false)?)
    })
}

impl<'a> Writer<'a> {
    fn open(transaction: &'a WriteTransaction) -> Result<Writer<'a>, WriteError> {
        Ok(Writer {
            transaction,
            heads: transaction.open_table(HEADS)?,
            whole: transaction.open_table(WHOLE)?,
            changes: transaction.open_table(CHANGES)?,
        })
    }

    fn add(&mut self, record: &Record, before: Option<&Tail>) -> Result<Tail, WriteError> {
        let fault = |why: serde_json::Error| WriteError::Other(why.to_string());
        let version = record.version;
        let head = serde_json::to_string(&record.head()).map_err(fault)?;
        let base = base::of(record).map_err(WriteError::Other)?;
        self.heads.insert(version, head.as_str())?;
        if let Some(tail) = before.filter(|tail| tail.version + 1 == version && tail.has_room()) {
            let patch = difference::of_specs(&tail.spec, &record.spec).map_err(fault)?;
            let patch = patch.and_then(|patch| base::also(patch, [&tail.base, &base]));
            let patch = patch.map(|patch| patch.to_string());
            // Differences that are as long as the whole are no gain.
            let bytes = tail.bytes + patch.as_ref().map_or(0, String::len);
            if let Some(patch) = patch.filter(|_| bytes < tail.whole_bytes) {
                write_parts(&mut self.changes, version, &patch)?;
                let (spec, changes) = (record.spec.clone(), tail.changes + 1);
                let whole_bytes = tail.whole_bytes;
                return Ok(Tail { version, spec, base, whole_bytes, changes, bytes });
            }
        }
        let text = base::document(&record.spec, &base).map_err(fault)?.to_string();
        write_parts(&mut self.whole, version, &text)?;
        let spec = record.spec.clone();
        Ok(Tail { version, spec, base, whole_bytes: text.len(), changes: 0, bytes: 0 })
    }

    /// Gives up what is before `first`, at most [`CUT_MAX`] versions. How many.
    pub(super) fn cut(&mut self, first: u64) -> Result<usize, WriteError> {
        let mut count = 0;
        while count < CUT_MAX {
            let oldest = self.heads.first()?.map(|(version, _)| version.value());
            let Some(oldest) = oldest.filter(|oldest| *oldest < first) else { break };
            self.heads.remove(oldest)?;
            count += 1;
        }
        let oldest = self.heads.first()?.map(|(version, _)| version.value());
        let Some(oldest) = oldest.filter(|_| count > 0) else { return Ok(count) };
        // The newest whole spec that a kept version is made of, and all before it.
        let base = self.whole.range(..=(oldest, u32::MAX))?.next_back().transpose()?;
        if let Some((base, _)) = base.map(|(key, _)| key.value()) {
            self.whole.retain_in(..(base, 0), |_, _| false)?;
            self.changes.retain_in(..(base, 0), |_, _| false)?;
        }
        Ok(count)
    }
}

/// The format, if it is not the one that this weir writes.
pub(super) fn old_format(database: &Database) -> Result<Option<u32>, String> {
    let format = check_format(&database.begin_read().map_err(text)?)?;
    Ok((format < FORMAT).then_some(format))
}

/// Makes what an older weir has written into what this one writes, in one transaction; of formats 1
/// and 2 the newest `keep` versions.
pub(super) fn migrate(database: &Database, keep: u64) -> Result<(), WriteError> {
    let format = old_format(database).map_err(WriteError::Other)?;
    if format.is_some_and(|format| format < ROWS) {
        return make_rows(database, keep);
    }
    // The newest version gets its base, which the next file is merged with. Those of the others are
    // found when they are wanted.
    let Some((newest, _)) = newest(database).map_err(WriteError::Other)? else { return Ok(()) };
    commit(database, 0, |rows| {
        let own = || (newest.version, 0)..(newest.version + 1, 0);
        rows.changes.retain_in(own(), |_, _| false)?;
        rows.whole.retain_in(own(), |_, _| false)?;
        rows.add(&newest, None)
    })?;
    Ok(())
}

/// The first format of rows.
pub(super) const ROWS: u32 = 3;

/// Makes rows of the newest `keep` versions of formats 1 and 2, and gives each its base.
fn make_rows(database: &Database, keep: u64) -> Result<(), WriteError> {
    let transaction = begin(database)?;
    {
        let old = transaction.open_table(VERSIONS)?;
        let last = old.last()?.map_or(0, |(version, _)| version.value());
        if old.len()? != last {
            let mut keys = (1..).zip(old.iter()?);
            let gap = keys.find(|(key, row)| row.as_ref().is_ok_and(|row| row.0.value() != *key));
            let gap = gap.map_or(last, |(key, _)| key);
            return Err(WriteError::Other(format!("version {gap} is missing")));
        }
        let mut rows = Writer::open(&transaction)?;
        let (mut tail, mut file) = (None, None);
        let first = last.saturating_sub(keep) + 1;
        // What is not kept may have been the last file.
        let looked_at = first.saturating_sub(LOOKED_AT_MAX as u64).max(1);
        for row in old.range(looked_at..)? {
            let (key, text) = row?;
            let bad = |why| WriteError::Other(format!("version {}: {why}", key.value()));
            let record = Record::parse_whole(text.value()).map_err(bad)?;
            if record.version != key.value() {
                return Err(bad(format!("it says that it is version {}", record.version)));
            }
            if record.is_of_a_file() {
                file = Some(Arc::new(record.spec.clone()));
            }
            if record.version >= first {
                tail = Some(rows.add(&record.with_base(file.clone()), tail.as_ref())?);
            }
        }
    }
    transaction.delete_table(VERSIONS)?;
    transaction.open_table(VERSIONS)?.insert(MARKER, format_marker().as_str())?;
    transaction.commit()?;
    Ok(())
}
