//! One call of `evaluate`: bounds, the private copy of what expressions change, variables, chance.

use crate::Options;
use crate::context::Context;
use crate::fault::{Eval, Fault};
use crate::regex::JavaRegex;
use crate::value::{Array, Entries, Items, List, Map, Value};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// Distinct regular expressions kept compiled per call.
const MAX_REGEXES: usize = 256;

/// Changed storage by the address of the original, which is kept alive beside it.
type Changed<T> = RefCell<HashMap<usize, (Arc<T>, Arc<T>)>>;

pub(crate) struct Session<'a> {
    pub(crate) context: &'a Context,
    pub(crate) options: &'a Options<'a>,
    pub(crate) root: Value,
    lists: Changed<Items>,
    maps: Changed<Entries>,
    changed: Cell<bool>,
    pub(crate) variables: RefCell<HashMap<Arc<str>, Value>>,
    steps: Cell<u64>,
    bytes: Cell<usize>,
    random: Cell<u64>,
    regexes: RefCell<HashMap<String, Rc<JavaRegex>>>,
}

impl<'a> Session<'a> {
    pub(crate) fn new(context: &'a Context, root: Value, options: &'a Options<'a>) -> Session<'a> {
        Session {
            context,
            options,
            root,
            lists: RefCell::default(),
            maps: RefCell::default(),
            changed: Cell::new(false),
            variables: RefCell::default(),
            steps: Cell::new(0),
            bytes: Cell::new(0),
            random: Cell::new(options.seed),
            regexes: RefCell::default(),
        }
    }

    /// Counts a step of work.
    pub(crate) fn step(&self) -> Eval<()> {
        self.steps(1)
    }

    pub(crate) fn steps(&self, count: u64) -> Eval<()> {
        let steps = self.steps.get().saturating_add(count);
        self.steps.set(steps);
        if steps > self.options.limits.steps {
            return Err(Fault::limit(format!(
                "the evaluation takes more than {} steps",
                self.options.limits.steps
            )));
        }
        Ok(())
    }

    /// Counts memory before it is taken.
    pub(crate) fn charge(&self, bytes: usize) -> Eval<()> {
        let total = self.bytes.get().saturating_add(bytes);
        if total > self.options.limits.bytes {
            return Err(self.too_large());
        }
        self.bytes.set(total);
        Ok(())
    }

    pub(crate) fn too_large(&self) -> Fault {
        Fault::limit(format!(
            "the evaluation makes more than {} bytes of values",
            self.options.limits.bytes
        ))
    }

    pub(crate) fn items(&self, list: &List) -> Arc<Items> {
        self.storage(&list.items)
    }

    pub(crate) fn array_items(&self, array: &Array) -> Arc<Items> {
        self.storage(&array.items)
    }

    pub(crate) fn storage(&self, items: &Arc<Items>) -> Arc<Items> {
        if self.changed.get()
            && let Some((_, current)) = self.lists.borrow().get(&(Arc::as_ptr(items) as usize))
        {
            return current.clone();
        }
        items.clone()
    }

    pub(crate) fn entries(&self, map: &Map) -> Arc<Entries> {
        if self.changed.get()
            && let Some((_, current)) = self
                .maps
                .borrow()
                .get(&(Arc::as_ptr(&map.entries) as usize))
        {
            return current.clone();
        }
        map.entries.clone()
    }

    /// Replaces what a list holds, for the rest of this session.
    pub(crate) fn set_items(&self, original: &Arc<Items>, items: Vec<Value>) {
        self.changed.set(true);
        let key = Arc::as_ptr(original) as usize;
        self.lists
            .borrow_mut()
            .insert(key, (original.clone(), Arc::new(Items(items))));
    }

    /// Replaces what a map holds, for the rest of this session.
    pub(crate) fn set_entries(&self, map: &Map, entries: Entries) {
        self.changed.set(true);
        let key = Arc::as_ptr(&map.entries) as usize;
        self.maps
            .borrow_mut()
            .insert(key, (map.entries.clone(), Arc::new(entries)));
    }

    /// The next 64 random bits (splitmix64 over the seed).
    pub(crate) fn random_bits(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mut bits = state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    pub(crate) fn regex(&self, pattern: &str) -> Eval<Rc<JavaRegex>> {
        if let Some(regex) = self.regexes.borrow().get(pattern) {
            return Ok(regex.clone());
        }
        self.steps(pattern.len() as u64)?;
        let regex = Rc::new(JavaRegex::new(pattern)?);
        let mut regexes = self.regexes.borrow_mut();
        if regexes.len() >= MAX_REGEXES {
            regexes.clear();
        }
        regexes.insert(pattern.to_string(), regex.clone());
        Ok(regex)
    }
}
