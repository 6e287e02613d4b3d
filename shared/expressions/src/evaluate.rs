//! Walks the tree of one expression.

use crate::ast::{Keep, Node};
use crate::class::{Base, Class, Located, locate};
use crate::fault::{Eval, Fault};
use crate::functions;
use crate::methods;
use crate::operators;
use crate::session::Session;
use crate::text::{unit_at, utf16_length};
use crate::value::{Array, Entry, Key, List, Map, TextKey, Value, hash_order};
use indexmap::IndexMap;
use std::sync::Arc;

/// What names without an owner refer to: the root, or the element of the innermost selection.
pub(crate) struct Scope {
    active: Vec<Value>,
    elements: Vec<Value>,
}

impl Scope {
    pub(crate) fn new() -> Scope {
        Scope {
            active: Vec::new(),
            elements: Vec::new(),
        }
    }
}

/// Most elements of an array made by `new`: Spring refuses 262,143 and more.
const MAX_ARRAY: i64 = 256 * 1024 - 2;

impl Session<'_> {
    pub(crate) fn eval(&self, node: &Node, scope: &mut Scope) -> Eval<Value> {
        self.step()?;
        match node {
            Node::Null => Ok(Value::Null),
            Node::Bool(value) => Ok(Value::Bool(*value)),
            Node::Int(value) => Ok(Value::Int(*value)),
            Node::Long(value) => Ok(Value::Long(*value)),
            Node::Float(value) => Ok(Value::Float(*value)),
            Node::Double(value) => Ok(Value::Double(*value)),
            Node::Str(text) => Ok(Value::Str(text.clone())),
            Node::Property { .. }
            | Node::Method { .. }
            | Node::Index(_)
            | Node::Select { .. }
            | Node::Project { .. } => {
                let target = self.active(scope);
                self.eval_on(&target, node, scope)
            }
            Node::Path(nodes) => self.eval_path(nodes, scope),
            Node::Function { name, args } => self.call_function(name, args, scope),
            Node::Variable(name) => self.variable(name, scope),
            Node::Bean(name) => Err(Fault::new(format!(
                "EL1057E: No bean resolver registered in the context to resolve access to bean '{name}'"
            ))),
            Node::Type(name) => {
                let class = self.located(&name.name)?;
                let dimensions = u8::try_from(name.dimensions)
                    .map_err(|_| Fault::new("too many array dimensions"))?;
                Ok(Value::Class(Class {
                    base: class.base,
                    dimensions,
                }))
            }
            Node::New { name, args } => {
                let args = self.arguments(args, scope)?;
                let class = self
                    .located(name)
                    .map_err(|fault| Fault::new(format!("{} - EL1003E: A problem occurred whilst attempting to construct an object of type '{name}'", fault.message)))?;
                methods::construct(self, class, &args)
            }
            Node::NewArray {
                name,
                dimensions,
                init,
            } => self.new_array(name, dimensions, init.as_deref(), scope),
            Node::List { items, constant } => {
                let mut values = Vec::with_capacity(items.len());
                for item in items {
                    values.push(self.eval(item, scope)?);
                }
                self.charge(values.len() * 24)?;
                Ok(Value::list_of(
                    if *constant {
                        Base::UnmodifiableList
                    } else {
                        Base::ArrayList
                    },
                    values,
                ))
            }
            Node::Map { entries, constant } => {
                let mut values = IndexMap::with_capacity(entries.len());
                for (key, value) in entries {
                    let key = match key {
                        Node::Property { name, .. } => Key::Str(name.clone()),
                        other => Key::of(&self.eval(other, scope)?),
                    };
                    values.insert(key, self.eval(value, scope)?);
                }
                self.charge(values.len() * 48)?;
                Ok(Value::map_of(
                    if *constant {
                        Base::UnmodifiableMap
                    } else {
                        Base::LinkedHashMap
                    },
                    values,
                ))
            }
            Node::Chain { first, rest } => {
                let mut left = self.eval(first, scope)?;
                let mut typed_left = returns_typed_list(first);
                for (op, right) in rest {
                    let value = self.eval(right, scope)?;
                    left = operators::apply(
                        self,
                        *op,
                        &left,
                        &value,
                        typed_left,
                        returns_typed_list(right),
                    )?;
                    typed_left = false;
                }
                Ok(left)
            }
            Node::And(operands) => {
                for operand in operands {
                    if !self.boolean(operand, scope)? {
                        return Ok(Value::Bool(false));
                    }
                }
                Ok(Value::Bool(true))
            }
            Node::Or(operands) => {
                for operand in operands {
                    if self.boolean(operand, scope)? {
                        return Ok(Value::Bool(true));
                    }
                }
                Ok(Value::Bool(false))
            }
            Node::Not(count, operand) => {
                let value = self.boolean(operand, scope)?;
                Ok(Value::Bool(value != (count % 2 == 1)))
            }
            Node::Plus(operand) => operators::plus(self.eval(operand, scope)?),
            Node::Minus(count, operand) => {
                let mut value = self.eval(operand, scope)?;
                for _ in 0..*count {
                    value = operators::minus(value)?;
                }
                Ok(value)
            }
            Node::Ternary(test, yes, no) => {
                if self.boolean(test, scope)? {
                    self.eval(yes, scope)
                } else {
                    self.eval(no, scope)
                }
            }
            Node::Elvis(value, other) => match self.eval(value, scope)? {
                Value::Null => self.eval(other, scope),
                Value::Str(text) if text.is_empty() => self.eval(other, scope),
                value => Ok(value),
            },
            Node::Assign(target, value) => {
                // The original finds the place first only where the place is a path; the value is the same.
                let value = self.eval(value, scope)?;
                self.assign(target, value.clone(), scope)?;
                Ok(value)
            }
            Node::Step {
                target,
                increment,
                prefix,
            } => {
                let before = self.eval(target, scope)?;
                let after = operators::step(&before, *increment)?;
                self.assign(target, after.clone(), scope)?;
                Ok(if *prefix { after } else { before })
            }
        }
    }

    fn eval_path(&self, nodes: &[Node], scope: &mut Scope) -> Eval<Value> {
        let Some((first, rest)) = nodes.split_first() else {
            return Ok(Value::Null);
        };
        let mut value = self.eval(first, scope)?;
        let mut previous = first;
        // What the value before was read from; for hints.
        let mut owner = Value::Null;
        for node in rest {
            let next = match node {
                // What these hold is evaluated on the root.
                Node::Property { .. } | Node::Index(_) | Node::Method { .. } => {
                    self.eval_on(&value, node, scope)
                }
                _ => {
                    scope.active.push(value.clone());
                    let next = self.eval_on(&value, node, scope);
                    scope.active.pop();
                    next
                }
            };
            let next = next.map_err(|fault| {
                if !value.is_null() {
                    return fault;
                }
                let owner = if owner.is_null() { &self.root } else { &owner };
                fault.with_hint(self.near_name(owner, previous))
            })?;
            owner = std::mem::replace(&mut value, next);
            previous = node;
        }
        Ok(value)
    }

    /// One step of a path.
    fn eval_on(&self, target: &Value, node: &Node, scope: &mut Scope) -> Eval<Value> {
        self.step()?;
        match node {
            Node::Property { name, safe } => {
                if target.is_null() && *safe {
                    return Ok(Value::Null);
                }
                self.property(target, name)
            }
            Node::Method { name, args, safe } => {
                let args = self.arguments(args, scope)?;
                if target.is_null() {
                    if *safe {
                        return Ok(Value::Null);
                    }
                    return Err(Fault::new(format!(
                        "EL1011E: Method call: Attempted to call method {name}({}) on null context object",
                        classes_text(&args)
                    )));
                }
                methods::call(self, target, name, &args)
            }
            Node::Index(index) => {
                let key = self.index_key(target, index, scope)?;
                self.index(target, &key)
            }
            Node::Select { keep, test, safe } => self.select(target, *keep, test, *safe, scope),
            Node::Project { body, safe } => self.project(target, body, *safe, scope),
            other => self.eval(other, scope),
        }
    }

    fn active(&self, scope: &Scope) -> Value {
        scope
            .active
            .last()
            .cloned()
            .unwrap_or_else(|| self.root.clone())
    }

    fn variable(&self, name: &Arc<str>, scope: &Scope) -> Eval<Value> {
        match &**name {
            "this" => Ok(self.active(scope)),
            "root" => Ok(self.root.clone()),
            _ => {
                if let Some(value) = self.variables.borrow().get(name) {
                    return Ok(value.clone());
                }
                Ok(functions::signature(name)
                    .map_or(Value::Null, |text| Value::Method(text.into())))
            }
        }
    }

    /// The value of a literal, which depends on nothing.
    fn literal(&self, node: &Node) -> Eval<Option<Value>> {
        let value = match node {
            Node::Int(value) => Value::Int(*value),
            Node::Str(text) => Value::Str(text.clone()),
            _ => return Ok(None),
        };
        self.step()?;
        Ok(Some(value))
    }

    fn arguments(&self, args: &[Node], scope: &mut Scope) -> Eval<Vec<Value>> {
        let mut values = Vec::with_capacity(args.len());
        for arg in args {
            if let Some(value) = self.literal(arg)? {
                values.push(value);
                continue;
            }
            let root = scope
                .elements
                .last()
                .cloned()
                .unwrap_or_else(|| self.root.clone());
            scope.active.push(root);
            let value = self.eval(arg, scope);
            scope.active.pop();
            values.push(value?);
        }
        Ok(values)
    }

    fn call_function(&self, name: &Arc<str>, args: &[Node], scope: &mut Scope) -> Eval<Value> {
        let changed = self.variables.borrow().contains_key(name);
        if changed {
            return Err(Fault::new(format!(
                "EL1022E: The function '{name}' mapped to an object of type that cannot be invoked"
            )));
        }
        let function = functions::find(name).ok_or_else(|| {
            Fault::new(format!("EL1006E: Function '{name}' could not be found")).with_hint(
                crate::near::suggest(name, functions::names())
                    .map(|near| format!("there is `#{near}`")),
            )
        })?;
        let mut values = Vec::with_capacity(args.len());
        for arg in args {
            values.push(self.eval(arg, scope)?);
        }
        functions::call(self, function, values)
    }

    fn located(&self, name: &str) -> Eval<Class> {
        match locate(name) {
            Located::Allowed(class) => Ok(class),
            Located::Refused => Err(Fault::new(format!(
                "EL1021E: A problem occurred whilst attempting to access the property '{name}': '{{1}}'"
            ))
            .with_hint(Some(format!("the type `{name}` may not be used in expressions")))),
            Located::Unknown => Err(Fault::new(format!("EL1005E: Type cannot be found '{name}'"))
                .with_hint(Some("types outside java.lang need their full name, such as `java.util.UUID`".to_string()))),
        }
    }

    fn boolean(&self, node: &Node, scope: &mut Scope) -> Eval<bool> {
        let value = self.eval(node, scope)?;
        if let Value::Bool(value) = value {
            return Ok(value);
        }
        match self.convert(&value, Class::of(Base::Boolean))? {
            Value::Bool(value) => Ok(value),
            _ => Err(Fault::new(
                "EL1001E: Type conversion problem, cannot convert from null to boolean",
            )),
        }
    }

    /// Reads a property as the original's accessors do.
    pub(crate) fn property(&self, target: &Value, name: &str) -> Eval<Value> {
        match target {
            Value::Null => Err(Fault::new(format!(
                "EL1007E: Property or field '{name}' cannot be found on null"
            ))),
            Value::Map(map) => {
                if let Some(value) = self.entries(map).get(&TextKey(name)) {
                    return Ok(value.clone());
                }
                if let Some(Value::Map(stored)) = functions::stored_map(self, target) {
                    return Ok(self.map_get(&stored, name).unwrap_or(Value::Null));
                }
                if self.options.allow_unknown_keys {
                    return Ok(self.map_get(map, name).unwrap_or(Value::Null));
                }
                methods::getter(self, target, name)?.ok_or_else(|| self.no_property(target, name))
            }
            Value::Array(array) if name == "length" => Ok(Value::Int(
                i32::try_from(self.array_items(array).len()).unwrap_or(i32::MAX),
            )),
            _ => methods::getter(self, target, name)?.ok_or_else(|| self.no_property(target, name)),
        }
    }

    fn no_property(&self, target: &Value, name: &str) -> Fault {
        let class = match target {
            Value::Class(class) => *class,
            other => other.class(),
        };
        Fault::new(format!(
            "requested getter {name} not found on type class {class} - EL1021E: A problem occurred whilst attempting to access the property '{name}'"
        ))
        .with_hint(self.near_key(target, name))
    }

    /// `map.get(key)` of a text key; a stage's context looks into its ancestors' outputs.
    pub(crate) fn map_get(&self, map: &Map, name: &str) -> Option<Value> {
        if let Some(value) = self.entries(map).get(&TextKey(name)) {
            return Some(value.clone());
        }
        let (execution, index) = map.stage.as_ref()?;
        execution.inherited(*index as usize, name)
    }

    fn index_key(&self, target: &Value, index: &Node, scope: &mut Scope) -> Eval<Value> {
        if let (Value::Map(_), Node::Property { name, .. }) = (target, index) {
            return Ok(Value::Str(name.clone()));
        }
        let key = match self.literal(index)? {
            Some(key) => key,
            None => {
                scope.active.push(self.root.clone());
                let key = self.eval(index, scope);
                scope.active.pop();
                key?
            }
        };
        if key.is_null() {
            return Err(Fault::new("No index"));
        }
        Ok(key)
    }

    pub(crate) fn list_index(&self, key: &Value) -> Eval<i32> {
        match self.convert(key, Class::of(Base::Integer))? {
            Value::Int(index) => Ok(index),
            _ => Err(Fault::new(
                "EL1001E: Type conversion problem, cannot convert the index to java.lang.Integer",
            )),
        }
    }

    fn index(&self, target: &Value, key: &Value) -> Eval<Value> {
        match target {
            Value::Null => Err(Fault::new("EL1012E: Cannot index into a null value")),
            Value::Map(map) => Ok(match key {
                Value::Str(name) => self.map_get(map, name).unwrap_or(Value::Null),
                other => self
                    .entries(map)
                    .get(&Key::of(other))
                    .cloned()
                    .unwrap_or(Value::Null),
            }),
            Value::List(list) => {
                let index = self.list_index(key)?;
                let items = self.items(list);
                in_bounds(&items, index, "EL1025E: The collection has", "elements").cloned()
            }
            Value::Array(array) => {
                let index = self.list_index(key)?;
                let items = self.array_items(array);
                in_bounds(&items, index, "EL1024E: The array has", "elements").cloned()
            }
            Value::Str(text) => {
                let index = self.list_index(key)?;
                match usize::try_from(index)
                    .ok()
                    .and_then(|index| unit_at(text, index))
                {
                    Some(unit) => Ok(Value::str(crate::text::char_text(unit))),
                    None => Err(Fault::new(format!(
                        "EL1026E: The string has '{}' characters, index '{index}' is invalid",
                        utf16_length(text)
                    ))),
                }
            }
            other => match key {
                Value::Str(name) => self.property(other, name),
                _ => Err(Fault::new(format!(
                    "EL1027E: Indexing into type '{}' is not supported",
                    other.class()
                ))),
            },
        }
    }

    fn with_element<T>(
        &self,
        scope: &mut Scope,
        element: Value,
        body: impl FnOnce(&mut Scope) -> Eval<T>,
    ) -> Eval<T> {
        scope.active.push(element.clone());
        scope.elements.push(element);
        let result = body(scope);
        scope.elements.pop();
        scope.active.pop();
        result
    }

    fn accepts(&self, element: Value, test: &Node, scope: &mut Scope) -> Eval<bool> {
        match self.with_element(scope, element, |scope| self.eval(test, scope))? {
            Value::Bool(accepted) => Ok(accepted),
            _ => Err(Fault::new(
                "EL1018E: Result of selection criteria is not boolean",
            )),
        }
    }

    fn select(
        &self,
        target: &Value,
        keep: Keep,
        test: &Node,
        safe: bool,
        scope: &mut Scope,
    ) -> Eval<Value> {
        match target {
            Value::Map(map) => {
                let mut kept = IndexMap::new();
                for (key, value) in self.entries(map).iter() {
                    let entry = entry_of(map, key, value);
                    if self.accepts(entry, test, scope)? {
                        if keep == Keep::Last {
                            kept.clear();
                        }
                        kept.insert(key.clone(), value.clone());
                        if keep == Keep::First {
                            break;
                        }
                    }
                }
                if keep != Keep::All && kept.is_empty() {
                    return Ok(Value::Null);
                }
                self.charge(kept.len() * 48)?;
                Ok(Value::map_of(Base::HashMap, hash_order(kept)))
            }
            Value::List(List { items, .. }) | Value::Array(Array { items, .. }) => {
                let items = self.storage(items);
                let mut kept = Vec::new();
                for item in items.iter() {
                    if self.accepts(item.clone(), test, scope)? {
                        if keep == Keep::First {
                            return Ok(item.clone());
                        }
                        kept.push(item.clone());
                    }
                }
                if keep != Keep::All {
                    return Ok(kept.pop().unwrap_or(Value::Null));
                }
                self.charge(kept.len() * 24)?;
                Ok(match target {
                    Value::Array(array) => Value::array(array.element.boxed(), kept),
                    _ => Value::list(kept),
                })
            }
            Value::Null if safe => Ok(Value::Null),
            other => Err(Fault::new(format!(
                "EL1019E: Cannot perform selection on input data of type '{}'",
                other.class()
            ))),
        }
    }

    fn project(&self, target: &Value, body: &Node, safe: bool, scope: &mut Scope) -> Eval<Value> {
        match target {
            Value::Map(map) => {
                let mut results = Vec::new();
                for (key, value) in self.entries(map).iter() {
                    let entry = entry_of(map, key, value);
                    results.push(self.with_element(scope, entry, |scope| self.eval(body, scope))?);
                }
                Ok(Value::list(results))
            }
            Value::List(List { items, .. }) | Value::Array(Array { items, .. }) => {
                let items = self.storage(items);
                self.charge(items.len() * 24)?;
                let mut results = Vec::with_capacity(items.len());
                for item in items.iter() {
                    results.push(
                        self.with_element(scope, item.clone(), |scope| self.eval(body, scope))?,
                    );
                }
                if matches!(target, Value::Array(_)) {
                    let mut classes = results
                        .iter()
                        .filter(|value| !value.is_null())
                        .map(Value::class);
                    let first = classes.next().unwrap_or(Class::of(Base::Object));
                    let element = if classes.all(|class| class == first) {
                        first
                    } else {
                        Class::of(Base::Object)
                    };
                    return Ok(Value::array(element, results));
                }
                Ok(Value::list(results))
            }
            Value::Null if safe => Ok(Value::Null),
            Value::Null => Err(Fault::new("EL1007E: projection not supported on null")),
            other => Err(Fault::new(format!(
                "EL1020E: Projection not supported on type '{}'",
                other.class()
            ))),
        }
    }

    fn new_array(
        &self,
        name: &str,
        dimensions: &[Option<Node>],
        init: Option<&Node>,
        scope: &mut Scope,
    ) -> Eval<Value> {
        let class = self.located(name)?;
        let Some(init) = init else {
            let mut sizes = Vec::new();
            let mut total: i64 = 1;
            for dimension in dimensions {
                let Some(dimension) = dimension else {
                    return Err(Fault::new(
                        "EL1063E: A required array dimension has not been specified",
                    ));
                };
                let size = self.eval(dimension, scope)?;
                let size = self.list_index(&size)?;
                if size < 0 {
                    return Err(Fault::new(size.to_string()));
                }
                total = total.saturating_mul(i64::from(size));
                sizes.push(size as usize);
                if total > MAX_ARRAY {
                    return Err(Fault::new(format!(
                        "EL1081E: Array declares too many elements, exceeding the threshold of '{MAX_ARRAY}'"
                    )));
                }
            }
            return self.empty_array(class, &sizes);
        };
        if dimensions.len() > 1 {
            return Err(Fault::new(
                "EL1064E: Using an initializer to build a multi-dimensional array is not currently supported",
            ));
        }
        let items = match self.eval(init, scope)? {
            Value::List(list) => self.items(&list).0.clone(),
            _ => return Err(Fault::new("an array initializer must be a list")),
        };
        if let Some(Some(dimension)) = dimensions.first() {
            let size = self.eval(dimension, scope)?;
            if self.list_index(&size)? as i64 != items.len() as i64 {
                return Err(Fault::new(
                    "EL1065E: Array initializer size does not match array dimensions",
                ));
            }
        }
        let mut values = Vec::with_capacity(items.len());
        for item in &items {
            if item.is_null() && class.is_primitive() {
                return Err(Fault::new(format!(
                    "EL1001E: Type conversion problem, cannot convert from null to {class}"
                )));
            }
            values.push(self.convert(item, class)?);
        }
        Ok(Value::array(class, values))
    }

    fn empty_array(&self, class: Class, sizes: &[usize]) -> Eval<Value> {
        let Some((size, rest)) = sizes.split_first() else {
            return Ok(Value::Null);
        };
        self.charge(size * 24)?;
        let mut element = class;
        for _ in rest {
            element = element.array_of();
        }
        let mut items = Vec::with_capacity(*size);
        for _ in 0..*size {
            items.push(if rest.is_empty() {
                default_element(class)
            } else {
                self.empty_array(class, rest)?
            });
        }
        Ok(Value::array(element, items))
    }

    fn assign(&self, target: &Node, value: Value, scope: &mut Scope) -> Eval<()> {
        match target {
            Node::Variable(name) => {
                if matches!(&**name, "this" | "root") {
                    return Err(Fault::new(format!(
                        "EL1032E: setValue(ExpressionState, Object) not supported for '#{name}'"
                    )));
                }
                self.variables.borrow_mut().insert(name.clone(), value);
                Ok(())
            }
            Node::Property { .. } | Node::Index(_) => {
                let owner = self.active(scope);
                self.assign_in(&owner, target, value, scope)
            }
            Node::Path(nodes) => {
                let Some((last, owners)) = nodes.split_last() else {
                    return Ok(());
                };
                let owner = match owners {
                    [only] => self.eval(only, scope)?,
                    _ => self.eval_path(owners, scope)?,
                };
                scope.active.push(owner.clone());
                let done = self.assign_in(&owner, last, value, scope);
                scope.active.pop();
                done
            }
            _ => Err(Fault::new(
                "EL1032E: setValue(ExpressionState, Object) not supported for this part of an expression",
            )),
        }
    }

    fn assign_in(&self, owner: &Value, place: &Node, value: Value, scope: &mut Scope) -> Eval<()> {
        match (owner, place) {
            (Value::Map(map), Node::Property { name, .. }) => {
                self.put(map, Key::Str(name.clone()), value)
            }
            (Value::Null, Node::Property { name, safe }) => {
                if *safe {
                    return Ok(());
                }
                Err(Fault::new(format!(
                    "EL1010E: Property or field '{name}' cannot be set on object of type 'null'"
                )))
            }
            (Value::Map(map), Node::Index(index)) => {
                let key = self.index_key(owner, index, scope)?;
                self.put(map, Key::of(&key), value)
            }
            (Value::List(list), Node::Index(index)) => {
                let key = self.index_key(owner, index, scope)?;
                let at = self.list_index(&key)?;
                if !matches!(list.class, Base::ArrayList | Base::SubList) {
                    return Err(Fault::new("null"));
                }
                let mut items = self.items(list).0.clone();
                in_bounds(&items, at, "EL1025E: The collection has", "elements")?;
                if let Some(slot) = items.get_mut(at as usize) {
                    *slot = value;
                }
                self.charge(items.len() * 24)?;
                self.set_items(&list.items, items);
                Ok(())
            }
            (Value::Array(array), Node::Index(index)) => {
                let key = self.index_key(owner, index, scope)?;
                let at = self.list_index(&key)?;
                let value = self.convert(&value, array.element)?;
                let mut items = self.array_items(array).0.clone();
                in_bounds(&items, at, "EL1024E: The array has", "elements")?;
                if let Some(slot) = items.get_mut(at as usize) {
                    *slot = value;
                }
                self.charge(items.len() * 24)?;
                self.set_items(&array.items, items);
                Ok(())
            }
            (other, Node::Property { name, .. }) => Err(Fault::new(format!(
                "EL1010E: Property or field '{name}' cannot be set on object of type '{}' - maybe not public or not writable?",
                other.class()
            ))),
            (Value::Null, _) => Err(Fault::new("EL1012E: Cannot index into a null value")),
            (other, Node::Index(_)) => Err(Fault::new(format!(
                "EL1027E: Indexing into type '{}' is not supported",
                other.class()
            ))),
            _ => Err(Fault::new(
                "EL1032E: setValue(ExpressionState, Object) not supported for this part of an expression",
            )),
        }
    }

    pub(crate) fn put(&self, map: &Map, key: Key, value: Value) -> Eval<()> {
        if matches!(map.class, Base::UnmodifiableMap | Base::EmptyMap) {
            return Err(Fault::new("null"));
        }
        let mut entries = self.entries(map).0.clone();
        self.charge(entries.len() * 48)?;
        entries.insert(key, value);
        let entries = if map.class == Base::LinkedHashMap || map.class == Base::StageContext {
            entries
        } else {
            hash_order(entries)
        };
        self.set_entries(map, crate::value::Entries(entries));
        Ok(())
    }
}

/// Functions whose result the original knows to be a list of maps, which it prints instead of joining.
fn returns_typed_list(node: &Node) -> bool {
    matches!(node, Node::Function { name, .. } if matches!(&**name, "deployedServerGroups" | "resolvedArtifacts"))
}

fn entry_of(map: &Map, key: &Key, value: &Value) -> Value {
    let class = match map.class {
        Base::HashMap => Base::HashNode,
        Base::UnmodifiableMap => Base::UnmodifiableEntry,
        _ => Base::LinkedEntry,
    };
    Value::Entry(Arc::new(Entry {
        key: key.value(),
        value: value.clone(),
        class,
    }))
}

fn in_bounds<'v>(items: &'v [Value], index: i32, what: &str, of: &str) -> Eval<&'v Value> {
    usize::try_from(index)
        .ok()
        .and_then(|index| items.get(index))
        .ok_or_else(|| {
            if index < 0 {
                Fault::new(format!(
                    "Index {index} out of bounds for length {}",
                    items.len()
                ))
            } else {
                Fault::new(format!(
                    "{what} '{}' {of}, index '{index}' is invalid",
                    items.len()
                ))
            }
        })
}

fn default_element(class: Class) -> Value {
    match class.base {
        Base::BooleanP => Value::Bool(false),
        Base::ByteP => Value::Byte(0),
        Base::ShortP => Value::Short(0),
        Base::CharP => Value::Char(0),
        Base::IntP => Value::Int(0),
        Base::LongP => Value::Long(0),
        Base::FloatP => Value::Float(0.0),
        Base::DoubleP => Value::Double(0.0),
        _ => Value::Null,
    }
}

/// The classes of arguments as messages list them.
pub(crate) fn classes_text(args: &[Value]) -> String {
    args.iter()
        .map(|arg| {
            if arg.is_null() {
                "null".to_string()
            } else {
                arg.class().to_string()
            }
        })
        .collect::<Vec<_>>()
        .join(",")
}
