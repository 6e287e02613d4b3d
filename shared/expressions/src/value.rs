//! Java values as expressions see them.
//!
//! Collections are immutable and shared; what an expression changes is kept beside them (see `session`), found by the
//! identity of the shared storage. So one context serves any number of evaluations at once.

use crate::class::{Base, Class};
use crate::dateformat::DateFormat;
use crate::model::{Bean, Execution};
use indexmap::{Equivalent, IndexMap};
use num_bigint::BigInt;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Byte(i8),
    Short(i16),
    Char(u16),
    Int(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    Big(Arc<BigInt>),
    Str(Arc<str>),
    /// Lists, sets and the views of maps.
    List(List),
    Map(Map),
    Array(Array),
    Entry(Arc<Entry>),
    Class(Class),
    /// A function named without a call: its signature.
    Method(Arc<str>),
    Date(i64),
    LocalDate(jiff::civil::Date),
    LocalDateTime(jiff::civil::DateTime),
    Instant(Instant),
    DayOfWeek(u8),
    ChronoUnit(u8),
    Uuid(u128),
    Random(Arc<Random>),
    DateFormat(Arc<DateFormat>),
    /// An `ExecutionStatus`.
    Status(Status),
    Execution(Arc<Execution>),
    Stage(Arc<Execution>, usize),
    Bean(Arc<Bean>),
    NotEvaluable(Arc<Value>),
}

/// Seconds and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant {
    pub(crate) seconds: i64,
    pub(crate) nanos: u32,
}

/// `java.util.Random`: 48 bits of state.
#[derive(Debug)]
pub(crate) struct Random {
    pub(crate) state: AtomicU64,
    /// The second value of a pair of gaussians, as bits; zero bits: none.
    pub(crate) next_gaussian: AtomicU64,
}

/// Orca's execution statuses, in declaration order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status(pub(crate) u8);

impl Status {
    pub(crate) const NAMES: [&'static str; 12] = [
        "NOT_STARTED",
        "RUNNING",
        "PAUSED",
        "SUSPENDED",
        "SUCCEEDED",
        "FAILED_CONTINUE",
        "TERMINAL",
        "CANCELED",
        "REDIRECT",
        "STOPPED",
        "SKIPPED",
        "BUFFERED",
    ];

    pub(crate) fn parse(name: &str) -> Option<Status> {
        Self::NAMES
            .iter()
            .position(|known| *known == name)
            .map(|index| Status(index as u8))
    }

    pub(crate) fn name(self) -> &'static str {
        Self::NAMES
            .get(usize::from(self.0))
            .copied()
            .unwrap_or("NOT_STARTED")
    }

    pub(crate) fn is_complete(self) -> bool {
        matches!(
            self.name(),
            "SUCCEEDED" | "FAILED_CONTINUE" | "TERMINAL" | "CANCELED" | "STOPPED" | "SKIPPED"
        )
    }

    pub(crate) fn is_halt(self) -> bool {
        matches!(self.name(), "TERMINAL" | "CANCELED" | "STOPPED")
    }

    pub(crate) fn is_successful(self) -> bool {
        matches!(self.name(), "SUCCEEDED" | "STOPPED" | "SKIPPED")
    }

    pub(crate) fn is_failure(self) -> bool {
        matches!(self.name(), "TERMINAL" | "STOPPED" | "FAILED_CONTINUE")
    }

    pub(crate) fn is_skipped(self) -> bool {
        self.name() == "SKIPPED"
    }
}

/// The storage of a list. Dropping never recurses, however deep lists hold lists.
#[derive(Debug, Default)]
pub(crate) struct Items(pub(crate) Vec<Value>);

#[derive(Debug, Clone)]
pub(crate) struct List {
    pub(crate) items: Arc<Items>,
    pub(crate) class: Base,
}

#[derive(Debug, Clone)]
pub(crate) struct Array {
    pub(crate) items: Arc<Items>,
    /// The class of the elements.
    pub(crate) element: Class,
}

/// The storage of a map, in the order that Java iterates it.
#[derive(Debug, Default)]
pub(crate) struct Entries(pub(crate) IndexMap<Key, Value>);

#[derive(Debug, Clone)]
pub(crate) struct Map {
    pub(crate) entries: Arc<Entries>,
    pub(crate) class: Base,
    /// A stage's context falls back to the outputs of that stage's ancestors.
    pub(crate) stage: Option<(Arc<Execution>, u32)>,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: Value,
    pub(crate) value: Value,
    pub(crate) class: Base,
}

/// A key of a map: nearly always text.
#[derive(Debug, Clone)]
pub(crate) enum Key {
    Str(Arc<str>),
    Other(Value),
}

/// A text that looks up a key without making one.
pub(crate) struct TextKey<'a>(pub(crate) &'a str);

impl Hash for TextKey<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Equivalent<Key> for TextKey<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        matches!(key, Key::Str(text) if **text == *self.0)
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Key::Str(text) => (**text).hash(state),
            Key::Other(value) => java_hash(value, 0).hash(state),
        }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Key::Str(a), Key::Str(b)) => a == b,
            (Key::Other(a), Key::Other(b)) => java_equals(a, b, 0),
            _ => false,
        }
    }
}

impl Eq for Key {}

impl Key {
    pub(crate) fn of(value: &Value) -> Key {
        match value {
            Value::Str(text) => Key::Str(text.clone()),
            other => Key::Other(other.clone()),
        }
    }

    pub(crate) fn value(&self) -> Value {
        match self {
            Key::Str(text) => Value::Str(text.clone()),
            Key::Other(value) => value.clone(),
        }
    }

    fn java_hash(&self) -> i32 {
        match self {
            Key::Str(text) => string_hash(text),
            Key::Other(value) => java_hash(value, 0),
        }
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Key::Str(text.into())
    }
}

impl Deref for Items {
    type Target = Vec<Value>;
    fn deref(&self) -> &Vec<Value> {
        &self.0
    }
}

impl DerefMut for Items {
    fn deref_mut(&mut self) -> &mut Vec<Value> {
        &mut self.0
    }
}

impl Deref for Entries {
    type Target = IndexMap<Key, Value>;
    fn deref(&self) -> &IndexMap<Key, Value> {
        &self.0
    }
}

impl DerefMut for Entries {
    fn deref_mut(&mut self) -> &mut IndexMap<Key, Value> {
        &mut self.0
    }
}

fn holds_values(value: &Value) -> bool {
    matches!(
        value,
        Value::List(_) | Value::Map(_) | Value::Array(_) | Value::Entry(_) | Value::NotEvaluable(_)
    )
}

/// Takes nested storage apart on a list of its own instead of the stack.
fn dismantle(mut pending: Vec<Value>) {
    while let Some(mut value) = pending.pop() {
        match &mut value {
            Value::List(List { items, .. }) | Value::Array(Array { items, .. }) => {
                if let Some(items) = Arc::get_mut(items) {
                    pending.extend(items.0.drain(..).filter(holds_values));
                }
            }
            Value::Map(map) => {
                if let Some(entries) = Arc::get_mut(&mut map.entries) {
                    for (key, value) in entries.0.drain(..) {
                        if let Key::Other(key) = key {
                            pending.push(key);
                        }
                        if holds_values(&value) {
                            pending.push(value);
                        }
                    }
                }
            }
            Value::Entry(entry) => {
                if let Some(entry) = Arc::get_mut(entry) {
                    pending.push(std::mem::replace(&mut entry.key, Value::Null));
                    pending.push(std::mem::replace(&mut entry.value, Value::Null));
                }
            }
            Value::NotEvaluable(inner) => {
                if let Some(inner) = Arc::get_mut(inner) {
                    pending.push(std::mem::replace(inner, Value::Null));
                }
            }
            _ => {}
        }
    }
}

impl Drop for Items {
    fn drop(&mut self) {
        if self.0.iter().any(holds_values) {
            dismantle(self.0.drain(..).filter(holds_values).collect());
        }
    }
}

impl Drop for Entries {
    fn drop(&mut self) {
        if self
            .0
            .iter()
            .any(|(key, value)| matches!(key, Key::Other(_)) || holds_values(value))
        {
            let mut pending = Vec::new();
            for (key, value) in self.0.drain(..) {
                if let Key::Other(key) = key {
                    pending.push(key);
                }
                pending.push(value);
            }
            dismantle(pending);
        }
    }
}

impl Value {
    pub(crate) fn str(text: impl AsRef<str>) -> Value {
        Value::Str(Arc::from(text.as_ref()))
    }

    pub(crate) fn list(items: Vec<Value>) -> Value {
        Value::list_of(Base::ArrayList, items)
    }

    pub(crate) fn list_of(class: Base, items: Vec<Value>) -> Value {
        Value::List(List {
            items: Arc::new(Items(items)),
            class,
        })
    }

    pub(crate) fn array(element: Class, items: Vec<Value>) -> Value {
        Value::Array(Array {
            items: Arc::new(Items(items)),
            element,
        })
    }

    pub(crate) fn map_of(class: Base, entries: IndexMap<Key, Value>) -> Value {
        Value::Map(Map {
            entries: Arc::new(Entries(entries)),
            class,
            stage: None,
        })
    }

    /// A `LinkedHashMap`, as JSON objects become.
    pub(crate) fn linked(entries: IndexMap<Key, Value>) -> Value {
        Value::map_of(Base::LinkedHashMap, entries)
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The class that the original's values have.
    pub(crate) fn class(&self) -> Class {
        Class::of(match self {
            Value::Null => Base::Object,
            Value::Bool(_) => Base::Boolean,
            Value::Byte(_) => Base::Byte,
            Value::Short(_) => Base::Short,
            Value::Char(_) => Base::Character,
            Value::Int(_) => Base::Integer,
            Value::Long(_) => Base::Long,
            Value::Float(_) => Base::Float,
            Value::Double(_) => Base::Double,
            Value::Big(_) => Base::BigInteger,
            Value::Str(_) => Base::String,
            Value::List(list) => list.class,
            Value::Map(map) => map.class,
            Value::Array(array) => return array.element.array_of(),
            Value::Entry(entry) => entry.class,
            Value::Class(_) => Base::Class,
            Value::Method(_) => Base::Method,
            Value::Date(_) => Base::Date,
            Value::LocalDate(_) => Base::LocalDate,
            Value::LocalDateTime(_) => Base::LocalDateTime,
            Value::Instant(_) => Base::Instant,
            Value::DayOfWeek(_) => Base::DayOfWeek,
            Value::ChronoUnit(_) => Base::ChronoUnit,
            Value::Uuid(_) => Base::Uuid,
            Value::Random(_) => Base::Random,
            Value::DateFormat(_) => Base::SimpleDateFormat,
            Value::Status(_) => Base::Status,
            Value::Execution(_) => Base::Execution,
            Value::Stage(..) => Base::Stage,
            Value::Bean(bean) => bean.class,
            Value::NotEvaluable(_) => Base::NotEvaluable,
        })
    }

    pub(crate) fn is_number(&self) -> bool {
        matches!(
            self,
            Value::Byte(_)
                | Value::Short(_)
                | Value::Int(_)
                | Value::Long(_)
                | Value::Float(_)
                | Value::Double(_)
                | Value::Big(_)
        )
    }
}

/// `String.hashCode`.
pub(crate) fn string_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}

/// Deepest value that equality, hashes and texts follow.
pub(crate) const MAX_VALUE_DEPTH: usize = 200;

/// Whether a class keeps its own order (and is equal to any collection of its kind with the same elements).
pub(crate) fn is_set(class: Base) -> bool {
    Class::of(class).is_a(Base::Set)
}

pub(crate) fn is_list(class: Base) -> bool {
    Class::of(class).is_a(Base::List)
}

fn hash_long(value: i64) -> i32 {
    (value ^ ((value as u64) >> 32) as i64) as i32
}

/// `Object.hashCode`, deep for collections.
pub(crate) fn java_hash(value: &Value, depth: usize) -> i32 {
    if depth > MAX_VALUE_DEPTH {
        return 0;
    }
    match value {
        Value::Null => 0,
        Value::Bool(value) => {
            if *value {
                1231
            } else {
                1237
            }
        }
        Value::Byte(value) => i32::from(*value),
        Value::Short(value) => i32::from(*value),
        Value::Char(value) => i32::from(*value),
        Value::Int(value) => *value,
        Value::Long(value) => hash_long(*value),
        Value::Float(value) => {
            if value.is_nan() {
                0x7fc0_0000
            } else {
                value.to_bits() as i32
            }
        }
        Value::Double(value) => hash_long(if value.is_nan() {
            0x7ff8_0000_0000_0000
        } else {
            value.to_bits() as i64
        }),
        Value::Big(value) => {
            let (sign, digits) = value.to_u32_digits();
            let hash = digits.iter().rev().fold(0i32, |hash, digit| {
                hash.wrapping_mul(31).wrapping_add(*digit as i32)
            });
            if sign == num_bigint::Sign::Minus {
                hash.wrapping_neg()
            } else {
                hash
            }
        }
        Value::Str(text) => string_hash(text),
        Value::List(list) if is_set(list.class) => list.items.iter().fold(0i32, |hash, item| {
            hash.wrapping_add(java_hash(item, depth + 1))
        }),
        Value::List(list) => list.items.iter().fold(1i32, |hash, item| {
            hash.wrapping_mul(31)
                .wrapping_add(java_hash(item, depth + 1))
        }),
        Value::Map(map) => map.entries.iter().fold(0i32, |hash, (key, value)| {
            hash.wrapping_add(key.java_hash() ^ java_hash(value, depth + 1))
        }),
        Value::Entry(entry) => {
            java_hash(&entry.key, depth + 1) ^ java_hash(&entry.value, depth + 1)
        }
        Value::Date(millis) => hash_long(*millis),
        Value::Uuid(uuid) => {
            let mixed = ((*uuid >> 64) as i64) ^ (*uuid as i64);
            ((mixed as u64) >> 32) as i32 ^ mixed as i32
        }
        Value::LocalDate(date) => {
            let year = i32::from(date.year());
            (year & 0xffff_f800u32 as i32)
                ^ ((year << 11) + (i32::from(date.month()) << 6) + i32::from(date.day()))
        }
        Value::Instant(instant) => {
            hash_long(instant.seconds).wrapping_add(instant.nanos.wrapping_mul(51) as i32)
        }
        Value::DateFormat(format) => string_hash(format.pattern()),
        // Identity in the original; any number will do.
        _ => 42,
    }
}

/// `Object.equals`, deep for collections.
pub(crate) fn java_equals(left: &Value, right: &Value, depth: usize) -> bool {
    if depth > MAX_VALUE_DEPTH {
        return false;
    }
    match (left, right) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Byte(a), Value::Byte(b)) => a == b,
        (Value::Short(a), Value::Short(b)) => a == b,
        (Value::Char(a), Value::Char(b)) => a == b,
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Long(a), Value::Long(b)) => a == b,
        (Value::Float(a), Value::Float(b)) => {
            a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
        }
        (Value::Double(a), Value::Double(b)) => {
            a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
        }
        (Value::Big(a), Value::Big(b)) => a == b,
        (Value::Str(a), Value::Str(b)) => a == b,
        (Value::List(a), Value::List(b)) => {
            if Arc::ptr_eq(&a.items, &b.items) {
                return true;
            }
            if a.items.len() != b.items.len() {
                return false;
            }
            if is_set(a.class) && is_set(b.class) {
                return a.items.iter().all(|item| {
                    b.items
                        .iter()
                        .any(|other| java_equals(item, other, depth + 1))
                });
            }
            is_list(a.class)
                && is_list(b.class)
                && a.items
                    .iter()
                    .zip(b.items.iter())
                    .all(|(x, y)| java_equals(x, y, depth + 1))
        }
        (Value::Map(a), Value::Map(b)) => {
            Arc::ptr_eq(&a.entries, &b.entries)
                || (a.entries.len() == b.entries.len()
                    && a.entries.iter().all(|(key, value)| {
                        b.entries
                            .get(key)
                            .is_some_and(|other| java_equals(value, other, depth + 1))
                    }))
        }
        (Value::Array(a), Value::Array(b)) => Arc::ptr_eq(&a.items, &b.items),
        (Value::Entry(a), Value::Entry(b)) => {
            java_equals(&a.key, &b.key, depth + 1) && java_equals(&a.value, &b.value, depth + 1)
        }
        (Value::Class(a), Value::Class(b)) => a == b,
        (Value::Method(a), Value::Method(b)) => a == b,
        (Value::Date(a), Value::Date(b)) => a == b,
        (Value::LocalDate(a), Value::LocalDate(b)) => a == b,
        (Value::LocalDateTime(a), Value::LocalDateTime(b)) => a == b,
        (Value::Instant(a), Value::Instant(b)) => a == b,
        (Value::DayOfWeek(a), Value::DayOfWeek(b)) => a == b,
        (Value::ChronoUnit(a), Value::ChronoUnit(b)) => a == b,
        (Value::Uuid(a), Value::Uuid(b)) => a == b,
        (Value::Random(a), Value::Random(b)) => Arc::ptr_eq(a, b),
        (Value::DateFormat(a), Value::DateFormat(b)) => a.pattern() == b.pattern(),
        (Value::Status(a), Value::Status(b)) => a == b,
        (Value::Execution(a), Value::Execution(b)) => a.id() == b.id(),
        (Value::Stage(a, i), Value::Stage(b, j)) => a.id() == b.id() && i == j,
        (Value::Bean(a), Value::Bean(b)) => {
            a.class == b.class && java_equals(&a.as_map(), &b.as_map(), depth + 1)
        }
        (Value::NotEvaluable(a), Value::NotEvaluable(b)) => Arc::ptr_eq(a, b),
        _ => false,
    }
}

/// `java.util.HashMap.tableSizeFor`.
fn table_size_for(capacity: usize) -> usize {
    capacity.next_power_of_two().max(1)
}

/// The slots of a table that grew from `initial` while `count` entries were put.
fn table_size(initial: usize, count: usize) -> usize {
    let mut size = initial;
    while count as f64 > size as f64 * 0.75 {
        size *= 2;
    }
    size
}

fn spread(hash: i32) -> u32 {
    (hash ^ ((hash as u32) >> 16) as i32) as u32
}

/// Orders entries as a `HashMap` iterates them that was filled one by one.
pub(crate) fn hash_order(entries: IndexMap<Key, Value>) -> IndexMap<Key, Value> {
    let size = table_size(16, entries.len());
    in_table_order(entries, size)
}

/// Orders entries as `new HashMap(map)` iterates them, which sizes its table at once.
pub(crate) fn hash_copy_order(entries: IndexMap<Key, Value>, added: usize) -> IndexMap<Key, Value> {
    let base = entries.len().saturating_sub(added);
    let initial = if base == 0 {
        16
    } else {
        table_size_for((base as f64 / 0.75 + 1.0) as usize)
    };
    let size = table_size(initial, entries.len());
    in_table_order(entries, size)
}

fn in_table_order(entries: IndexMap<Key, Value>, size: usize) -> IndexMap<Key, Value> {
    let mask = (size - 1) as u32;
    let mut slots: Vec<(u32, (Key, Value))> = entries
        .into_iter()
        .map(|(key, value)| (spread(key.java_hash()) & mask, (key, value)))
        .collect();
    // Stable: entries of one slot stay in the order they came.
    slots.sort_by_key(|(slot, _)| *slot);
    slots.into_iter().map(|(_, entry)| entry).collect()
}
