//! Names that were probably meant.

use crate::ast::Node;
use crate::session::Session;
use crate::value::{Key, Value};

/// Most differing letters between a name and what is suggested for it.
fn allowed_distance(name: &str) -> usize {
    match name.chars().count() {
        0..=2 => 0,
        3..=5 => 1,
        _ => 2,
    }
}

/// The nearest of `known` to `name`, if it is near.
pub(crate) fn suggest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    let bound = allowed_distance(name);
    known
        .into_iter()
        .filter(|candidate| *candidate != name && candidate.len().abs_diff(name.len()) <= bound + 1)
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= bound)
        .min_by_key(|(distance, candidate)| (*distance, candidate.len()))
        .map(|(_, candidate)| candidate.to_string())
}

/// Edits between two names, a change of case counting nothing.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().take(64).flat_map(char::to_lowercase).collect();
    let right: Vec<char> = right
        .chars()
        .take(64)
        .flat_map(char::to_lowercase)
        .collect();
    let mut previous: Vec<usize> = (0..=right.len()).collect();
    for (row, a) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, b) in right.iter().enumerate() {
            let replaced = previous.get(column).copied().unwrap_or(0) + usize::from(a != b);
            let removed = previous.get(column + 1).copied().unwrap_or(0) + 1;
            let added = current.last().copied().unwrap_or(0) + 1;
            current.push(replaced.min(removed).min(added));
        }
        previous = current;
    }
    previous.last().copied().unwrap_or(0)
}

/// Most keys of a map that are looked at for a suggestion.
const MAX_KEYS: usize = 500;

impl Session<'_> {
    /// What a person may have meant by a key that a value does not have.
    pub(crate) fn near_key(&self, target: &Value, name: &str) -> Option<String> {
        let Value::Map(map) = target else { return None };
        let entries = self.entries(map);
        let own = entries.keys().take(MAX_KEYS).filter_map(|key| match key {
            Key::Str(text) => Some(&**text),
            Key::Other(_) => None,
        });
        suggest(name, own)
            .map(|near| format!("there is `{near}`"))
            .or_else(|| {
                let (execution, index) = map.stage.as_ref()?;
                let names = execution.inherited_names(*index as usize);
                suggest(name, names.iter().map(|name| &**name))
                    .map(|near| format!("there is `{near}`"))
            })
    }

    /// What a person may have meant by the node that gave null.
    pub(crate) fn near_name(&self, owner: &Value, node: &Node) -> Option<String> {
        let name = match node {
            Node::Property { name, .. } => name,
            Node::Index(index) => match &**index {
                Node::Str(name) | Node::Property { name, .. } => name,
                _ => return None,
            },
            _ => return None,
        };
        Some(match self.near_key(owner, name) {
            Some(near) => format!("`{name}` is null; {near}"),
            None => format!("`{name}` is null"),
        })
    }
}

impl Session<'_> {
    /// What is missing where a whole expression gave null: looks where the last name was looked up.
    pub(crate) fn missing(&self, node: &Node) -> Option<String> {
        let (owner, place, name) = match node {
            Node::Property { name, .. } => (self.root.clone(), String::new(), name),
            Node::Path(nodes) => {
                let (last, owners) = nodes.split_last()?;
                // Only plain access is done again: calls and assignments may change something.
                let mut place = String::new();
                for node in owners {
                    place.push_str(&plain_step(node)?);
                }
                let owner = self
                    .eval(
                        &Node::Path(owners.to_vec()),
                        &mut crate::evaluate::Scope::new(),
                    )
                    .ok()?;
                let name = match last {
                    Node::Property { name, .. } => name,
                    Node::Index(index) => match &**index {
                        Node::Str(name) => name,
                        _ => return None,
                    },
                    _ => return None,
                };
                (owner, place, name)
            }
            _ => return None,
        };
        let held = match &owner {
            Value::Map(map) => self.map_get(map, name),
            _ => return None,
        };
        let place = place.trim_start_matches('.');
        let place = if place.is_empty() {
            "here".to_string()
        } else {
            format!("in `{place}`")
        };
        // Another part of the text may be what is missing.
        if held.as_ref().is_some_and(|value| !value.is_null()) {
            return None;
        }
        if held.is_some() {
            return Some(format!("`{name}` {place} is null"));
        }
        let near = self
            .near_key(&owner, name)
            .map(|near| format!("; {near}"))
            .unwrap_or_default();
        Some(format!("no `{name}` {place}{near}"))
    }
}

/// The text of a step that only reads; `None` for any other.
fn plain_step(node: &Node) -> Option<String> {
    Some(match node {
        Node::Property { name, .. } => format!(".{name}"),
        Node::Variable(name) => format!("#{name}"),
        Node::Index(index) => match &**index {
            Node::Str(name) | Node::Property { name, .. } => format!("['{name}']"),
            Node::Int(index) => format!("[{index}]"),
            _ => return None,
        },
        _ => return None,
    })
}
