//! Lists, sets and maps. What returns an element (`get`, `remove(int)`, `iterator`) is not for expressions.

use super::*;
use crate::value::{Entries, Entry, Items, Key, List, Map, java_equals};
use indexmap::IndexMap;
use std::sync::Arc;

fn list(value: &Value) -> Eval<&List> {
    match value {
        Value::List(list) => Ok(list),
        _ => Err(null_fault("a collection")),
    }
}

fn items(session: &Session<'_>, value: &Value) -> Eval<Arc<Items>> {
    match value {
        Value::List(list) => Ok(session.items(list)),
        _ => Err(null_fault("a collection")),
    }
}

fn map(value: &Value) -> Eval<&Map> {
    match value {
        Value::Map(map) => Ok(map),
        _ => Err(null_fault("a map")),
    }
}

fn contains(items: &[Value], wanted: &Value) -> bool {
    items.iter().any(|item| java_equals(item, wanted, 0))
}

/// The list to change; views and unmodifiable ones refuse, as in the original.
fn changeable(value: &Value) -> Eval<&List> {
    let list = list(value)?;
    match list.class {
        Base::ArrayList | Base::HashSet | Base::LinkedHashSet | Base::SubList => Ok(list),
        _ => Err(Fault::new("null")),
    }
}

fn changed(
    session: &Session<'_>,
    value: &Value,
    change: impl FnOnce(&mut Vec<Value>) -> Eval<bool>,
) -> Eval<Value> {
    let list = changeable(value)?;
    let mut all = session.items(list).0.clone();
    session.charge(all.len() * 24)?;
    session.steps(all.len() as u64)?;
    let before = all.len();
    let answer = change(&mut all)?;
    session.charge(all.len().saturating_sub(before) * 24)?;
    session.set_items(&list.items, all);
    Ok(Value::Bool(answer))
}

fn position(items: &[Value], wanted: &Value) -> Eval<Value> {
    let found = items.iter().position(|item| java_equals(item, wanted, 0));
    Ok(Value::Int(found.map_or(-1, |index| index as i32)))
}

fn out_of_bounds(index: i32, length: usize) -> Fault {
    Fault::new(format!("Index: {index}, Size: {length}"))
}

const CONTAINS: Method = method("contains", &[OBJECT], |s, t, a| {
    Ok(Value::Bool(contains(&items(s, t)?, arg(a, 0))))
});
const CONTAINS_ALL: Method = method("containsAll", &[COLLECTION], |s, t, a| {
    let all = items(s, t)?;
    let wanted = items(s, arg(a, 0))?;
    s.steps((all.len() as u64).saturating_mul(wanted.len() as u64))?;
    Ok(Value::Bool(wanted.iter().all(|item| contains(&all, item))))
});
const SIZE: Method = method("size", &[], |s, t, _| {
    Ok(Value::Int(items(s, t)?.len() as i32))
});
const IS_EMPTY: Method = method("isEmpty", &[], |s, t, _| {
    Ok(Value::Bool(items(s, t)?.is_empty()))
});
const ADD: Method = method("add", &[OBJECT], |s, t, a| {
    let value = arg(a, 0).clone();
    let set = crate::value::is_set(list(t)?.class);
    changed(s, t, |all| {
        if set && contains(all, &value) {
            return Ok(false);
        }
        all.push(value);
        Ok(true)
    })
});
const ADD_ALL: Method = method("addAll", &[COLLECTION], |s, t, a| {
    let more = items(s, arg(a, 0))?;
    changed(s, t, |all| {
        all.extend(more.iter().cloned());
        Ok(!more.is_empty())
    })
});
const REMOVE: Method = method("remove", &[OBJECT], |s, t, a| {
    changed(s, t, |all| {
        match all.iter().position(|item| java_equals(item, arg(a, 0), 0)) {
            Some(index) => {
                all.remove(index);
                Ok(true)
            }
            None => Ok(false),
        }
    })
});
const REMOVE_ALL: Method = method("removeAll", &[COLLECTION], |s, t, a| {
    let gone = items(s, arg(a, 0))?;
    changed(s, t, |all| {
        let before = all.len();
        all.retain(|item| !contains(&gone, item));
        Ok(all.len() != before)
    })
});
const RETAIN_ALL: Method = method("retainAll", &[COLLECTION], |s, t, a| {
    let kept = items(s, arg(a, 0))?;
    changed(s, t, |all| {
        let before = all.len();
        all.retain(|item| contains(&kept, item));
        Ok(all.len() != before)
    })
});
const CLEAR: Method = method("clear", &[], |s, t, _| {
    changed(s, t, |all| {
        all.clear();
        Ok(true)
    })?;
    Ok(Value::Null)
});
/// Takes a function, which no expression can make: the only argument is null.
const FOR_EACH: Method = method("forEach", &[Class::of(Base::Method)], |_, _, _| {
    Err(Fault::new("null"))
});
const REMOVE_IF: Method = method("removeIf", &[Class::of(Base::Method)], |_, _, _| {
    Err(Fault::new("null"))
});

pub(super) static COLLECTION_METHODS: &[Method] = &[
    CONTAINS,
    CONTAINS_ALL,
    SIZE,
    IS_EMPTY,
    ADD,
    ADD_ALL,
    REMOVE,
    REMOVE_ALL,
    RETAIN_ALL,
    CLEAR,
    FOR_EACH,
    REMOVE_IF,
];

pub(super) static LIST: &[Method] = &[
    CONTAINS,
    CONTAINS_ALL,
    SIZE,
    IS_EMPTY,
    ADD,
    ADD_ALL,
    REMOVE,
    REMOVE_ALL,
    RETAIN_ALL,
    CLEAR,
    FOR_EACH,
    REMOVE_IF,
    method("replaceAll", &[Class::of(Base::Method)], |_, _, _| {
        Err(Fault::new("null"))
    }),
    method("ensureCapacity", &[INT], |_, _, _| Ok(Value::Null)),
    method("trimToSize", &[], |_, _, _| Ok(Value::Null)),
    method("indexOf", &[OBJECT], |s, t, a| {
        position(&items(s, t)?, arg(a, 0))
    }),
    method("lastIndexOf", &[OBJECT], |s, t, a| {
        let found = items(s, t)?
            .iter()
            .rposition(|item| java_equals(item, arg(a, 0), 0));
        Ok(Value::Int(found.map_or(-1, |index| index as i32)))
    }),
    method("subList", &[INT, INT], |s, t, a| {
        let all = items(s, t)?;
        let (from, to) = (int_arg(a, 0), int_arg(a, 1));
        if from < 0 {
            return Err(Fault::new(format!("fromIndex = {from}")));
        }
        if to > all.len() as i32 {
            return Err(Fault::new(format!("toIndex = {to}")));
        }
        if from > to {
            return Err(Fault::new(format!("fromIndex({from}) > toIndex({to})")));
        }
        let part = all
            .get(from as usize..to as usize)
            .unwrap_or_default()
            .to_vec();
        let class = match list(t)?.class {
            Base::UnmodifiableList => Base::UnmodifiableList,
            _ => Base::SubList,
        };
        Ok(Value::list_of(class, part))
    }),
    method("add", &[INT, OBJECT], |s, t, a| {
        let index = int_arg(a, 0);
        changed(s, t, |all| {
            if index < 0 || index as usize > all.len() {
                return Err(out_of_bounds(index, all.len()));
            }
            all.insert(index as usize, arg(a, 1).clone());
            Ok(true)
        })?;
        Ok(Value::Null)
    }),
    method("addAll", &[INT, COLLECTION], |s, t, a| {
        let index = int_arg(a, 0);
        let more = items(s, arg(a, 1))?;
        changed(s, t, |all| {
            if index < 0 || index as usize > all.len() {
                return Err(out_of_bounds(index, all.len()));
            }
            all.splice(index as usize..index as usize, more.iter().cloned());
            Ok(!more.is_empty())
        })
    }),
    method("sort", &[Class::of(Base::Method)], |s, t, _| {
        let mut failed = None;
        changed(s, t, |all| {
            all.sort_by(|a, b| {
                crate::operators::compare(a, b).unwrap_or_else(|fault| {
                    failed = Some(fault);
                    std::cmp::Ordering::Equal
                })
            });
            Ok(true)
        })?;
        failed.map_or(Ok(Value::Null), Err)
    }),
];

fn keys(session: &Session<'_>, map: &Map) -> Value {
    let class = match map.class {
        Base::HashMap | Base::StageRoot => Base::HashKeySet,
        Base::UnmodifiableMap => Base::UnmodifiableSet,
        Base::EmptyMap => Base::EmptySet,
        _ => Base::LinkedKeySet,
    };
    Value::list_of(class, session.entries(map).keys().map(Key::value).collect())
}

fn values(session: &Session<'_>, map: &Map) -> Value {
    let class = match map.class {
        Base::HashMap | Base::StageRoot => Base::HashValues,
        Base::UnmodifiableMap => Base::UnmodifiableCollection,
        Base::EmptyMap => Base::EmptySet,
        _ => Base::LinkedValues,
    };
    Value::list_of(class, session.entries(map).values().cloned().collect())
}

fn entry_set(session: &Session<'_>, map: &Map) -> Value {
    let (class, entry) = match map.class {
        Base::HashMap | Base::StageRoot => (Base::HashEntrySet, Base::HashNode),
        Base::UnmodifiableMap => (Base::UnmodifiableEntrySet, Base::UnmodifiableEntry),
        Base::EmptyMap => (Base::EmptySet, Base::SimpleEntry),
        _ => (Base::LinkedEntrySet, Base::LinkedEntry),
    };
    let entries = session
        .entries(map)
        .iter()
        .map(|(key, value)| {
            Value::Entry(Arc::new(Entry {
                key: key.value(),
                value: value.clone(),
                class: entry,
            }))
        })
        .collect();
    Value::list_of(class, entries)
}

const MAP_SIZE: Method = method("size", &[], |s, t, _| {
    Ok(Value::Int(s.entries(map(t)?).len() as i32))
});
const MAP_IS_EMPTY: Method = method("isEmpty", &[], |s, t, _| {
    Ok(Value::Bool(s.entries(map(t)?).is_empty()))
});
const CONTAINS_KEY: Method = method("containsKey", &[OBJECT], |s, t, a| {
    Ok(Value::Bool(
        s.entries(map(t)?).contains_key(&Key::of(arg(a, 0))),
    ))
});
const CONTAINS_VALUE: Method = method("containsValue", &[OBJECT], |s, t, a| {
    Ok(Value::Bool(
        s.entries(map(t)?)
            .values()
            .any(|value| java_equals(value, arg(a, 0), 0)),
    ))
});
const KEY_SET: Method = method("keySet", &[], |s, t, _| Ok(keys(s, map(t)?)));
const VALUES: Method = method("values", &[], |s, t, _| Ok(values(s, map(t)?)));
const ENTRY_SET: Method = method("entrySet", &[], |s, t, _| Ok(entry_set(s, map(t)?)));
const MAP_FOR_EACH: Method = method("forEach", &[Class::of(Base::Method)], |_, _, _| {
    Err(Fault::new("null"))
});
const MAP_CLEAR: Method = method("clear", &[], |s, t, _| {
    let map = changeable_map(t)?;
    s.set_entries(map, Entries::default());
    Ok(Value::Null)
});
const PUT_ALL: Method = method("putAll", &[MAP], |s, t, a| {
    let target = changeable_map(t)?;
    for (key, value) in s.entries(map(arg(a, 0))?).iter() {
        s.put(target, key.clone(), value.clone())?;
    }
    Ok(Value::Null)
});
/// `remove(key, value)` and `replace(key, old, new)` answer a boolean and are therefore allowed.
const REMOVE_PAIR: Method = method("remove", &[OBJECT, OBJECT], |s, t, a| {
    let target = changeable_map(t)?;
    let mut entries: IndexMap<Key, Value> = s.entries(target).0.clone();
    let key = Key::of(arg(a, 0));
    let found = entries
        .get(&key)
        .is_some_and(|value| java_equals(value, arg(a, 1), 0));
    if found {
        s.charge(entries.len() * 48)?;
        entries.shift_remove(&key);
        s.set_entries(target, Entries(entries));
    }
    Ok(Value::Bool(found))
});
const REPLACE_PAIR: Method = method("replace", &[OBJECT, OBJECT, OBJECT], |s, t, a| {
    let target = changeable_map(t)?;
    let key = Key::of(arg(a, 0));
    let found = s
        .entries(target)
        .get(&key)
        .is_some_and(|value| java_equals(value, arg(a, 1), 0));
    if found {
        s.put(target, key, arg(a, 2).clone())?;
    }
    Ok(Value::Bool(found))
});

fn changeable_map(value: &Value) -> Eval<&Map> {
    let map = map(value)?;
    match map.class {
        Base::UnmodifiableMap | Base::EmptyMap => Err(Fault::new("null")),
        _ => Ok(map),
    }
}

pub(super) static MAP_METHODS: &[Method] = &[
    MAP_SIZE,
    MAP_IS_EMPTY,
    CONTAINS_KEY,
    CONTAINS_VALUE,
    KEY_SET,
    VALUES,
    ENTRY_SET,
    MAP_FOR_EACH,
    MAP_CLEAR,
    PUT_ALL,
    REMOVE_PAIR,
    REPLACE_PAIR,
];

pub(super) static STAGE_CONTEXT: &[Method] = &[
    MAP_SIZE,
    MAP_IS_EMPTY,
    CONTAINS_KEY,
    CONTAINS_VALUE,
    KEY_SET,
    VALUES,
    ENTRY_SET,
    MAP_FOR_EACH,
    MAP_CLEAR,
    PUT_ALL,
    REMOVE_PAIR,
    REPLACE_PAIR,
    method("getAll", &[STRING], |s, t, a| {
        let map = map(t)?;
        let key = Key::of(arg(a, 0));
        let mut found = Vec::new();
        found.extend(s.entries(map).get(&key).cloned());
        if let Some((execution, index)) = &map.stage {
            for ancestor in execution.ancestors(*index as usize) {
                let outputs = execution.stages.get(ancestor).map(|stage| &stage.outputs);
                found.extend(
                    outputs
                        .and_then(|outputs| outputs.entries.get(&key))
                        .cloned(),
                );
            }
        }
        Ok(Value::list(found))
    }),
];
