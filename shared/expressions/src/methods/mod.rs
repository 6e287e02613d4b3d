//! The methods, getters and constructors of Java that expressions may use.
//!
//! A method that the original refuses for its return type is simply not in the tables. Overloads are chosen as Spring
//! does: an exact match, else the nearest, else the only one that arguments can be converted for.

mod collection;
mod model;
mod number;
mod string;
mod time;

use crate::class::{Base, Class};
use crate::evaluate::classes_text;
use crate::fault::{Eval, Fault};
use crate::session::Session;
use crate::value::Value;

type Run = fn(&Session<'_>, &Value, &[Value]) -> Eval<Value>;

/// One overload.
pub(crate) struct Method {
    name: &'static str,
    params: &'static [Class],
    varargs: bool,
    is_static: bool,
    run: Run,
}

const fn method(name: &'static str, params: &'static [Class], run: Run) -> Method {
    Method {
        name,
        params,
        varargs: false,
        is_static: false,
        run,
    }
}

const fn fixed(name: &'static str, params: &'static [Class], run: Run) -> Method {
    Method {
        name,
        params,
        varargs: false,
        is_static: true,
        run,
    }
}

const fn varargs(
    name: &'static str,
    params: &'static [Class],
    is_static: bool,
    run: Run,
) -> Method {
    Method {
        name,
        params,
        varargs: true,
        is_static,
        run,
    }
}

pub(crate) const INT: Class = Class::of(Base::IntP);
pub(crate) const LONG: Class = Class::of(Base::LongP);
pub(crate) const FLOAT: Class = Class::of(Base::FloatP);
pub(crate) const DOUBLE: Class = Class::of(Base::DoubleP);
pub(crate) const BOOLEAN: Class = Class::of(Base::BooleanP);
pub(crate) const BYTE: Class = Class::of(Base::ByteP);
pub(crate) const CHAR: Class = Class::of(Base::CharP);
pub(crate) const OBJECT: Class = Class::of(Base::Object);
pub(crate) const STRING: Class = Class::of(Base::String);
pub(crate) const CHARS: Class = Class::of(Base::CharSequence);
pub(crate) const COLLECTION: Class = Class::of(Base::Collection);
pub(crate) const ITERABLE: Class = Class::of(Base::Iterable);
pub(crate) const MAP: Class = Class::of(Base::Map);
pub(crate) const OBJECTS: Class = Class {
    base: Base::Object,
    dimensions: 1,
};
pub(crate) const CHAR_ARRAY: Class = Class {
    base: Base::CharP,
    dimensions: 1,
};
pub(crate) const BYTE_ARRAY: Class = Class {
    base: Base::ByteP,
    dimensions: 1,
};
pub(crate) const CHARS_ARRAY: Class = Class {
    base: Base::CharSequence,
    dimensions: 1,
};

/// `hashCode`, `equals` and `toString`, the methods of `Object` that are left.
static OBJECT_METHODS: [Method; 3] = [
    method("hashCode", &[], |_, this, _| {
        Ok(Value::Int(crate::value::java_hash(this, 0)))
    }),
    method("equals", &[OBJECT], |_, this, args| {
        Ok(Value::Bool(args.first().is_some_and(|other| {
            crate::value::java_equals(this, other, 0)
        })))
    }),
    method("toString", &[], |session, this, _| {
        session.text_of(this).map(Value::str)
    }),
];

/// The methods of a class, those of the class itself first.
fn tables(base: Base) -> [&'static [Method]; 2] {
    let own: &'static [Method] = match base {
        Base::String => string::METHODS,
        Base::Integer => number::INTEGER,
        Base::Long => number::LONG_METHODS,
        Base::Double => number::DOUBLE_METHODS,
        Base::Float => number::FLOAT_METHODS,
        Base::Byte => number::BYTE_METHODS,
        Base::Short => number::SHORT_METHODS,
        Base::BigInteger => number::BIG_METHODS,
        Base::Boolean => number::BOOLEAN_METHODS,
        Base::Character => number::CHARACTER_METHODS,
        Base::Math => number::MATH,
        Base::Date => time::DATE,
        Base::Instant => time::INSTANT,
        Base::LocalDate => time::LOCAL_DATE,
        Base::LocalDateTime => time::LOCAL_DATE_TIME,
        Base::DayOfWeek => time::DAY_OF_WEEK,
        Base::ChronoUnit => time::CHRONO_UNIT,
        Base::SimpleDateFormat => time::SIMPLE_DATE_FORMAT,
        Base::Uuid => time::UUID,
        Base::Random => time::RANDOM,
        Base::UrlEncoder => string::URL_ENCODER,
        Base::Status => model::STATUS,
        Base::Execution => model::EXECUTION,
        Base::Stage => model::STAGE,
        Base::StageContext | Base::StageRoot => collection::STAGE_CONTEXT,
        other => {
            let class = Class::of(other);
            if class.is_a(Base::List) {
                collection::LIST
            } else if class.is_a(Base::Collection) {
                collection::COLLECTION_METHODS
            } else if class.is_a(Base::Map) {
                collection::MAP_METHODS
            } else {
                &[]
            }
        }
    };
    [own, &OBJECT_METHODS]
}

/// How well arguments fit parameters.
#[derive(PartialEq)]
enum Fit {
    Exact,
    Close,
    Converts,
}

fn fit(session: &Session<'_>, params: &[Class], args: &[Value]) -> Option<Fit> {
    if params.len() != args.len() {
        return None;
    }
    let mut fit = Fit::Exact;
    for (param, arg) in params.iter().zip(args) {
        fit = combine(fit, fit_one(session, *param, arg)?);
    }
    Some(fit)
}

fn combine(so_far: Fit, next: Fit) -> Fit {
    match (so_far, next) {
        (Fit::Converts, _) | (_, Fit::Converts) => Fit::Converts,
        (Fit::Close, _) | (_, Fit::Close) => Fit::Close,
        _ => Fit::Exact,
    }
}

fn fit_one(session: &Session<'_>, param: Class, arg: &Value) -> Option<Fit> {
    if arg.is_null() {
        return if param.is_primitive() {
            None
        } else {
            Some(Fit::Exact)
        };
    }
    let class = arg.class();
    if class == param {
        Some(Fit::Exact)
    } else if param.is_assignable_from(class) {
        Some(Fit::Close)
    } else if session.can_convert(arg, param) {
        Some(Fit::Converts)
    } else {
        None
    }
}

fn fit_varargs(session: &Session<'_>, params: &[Class], args: &[Value]) -> Option<Fit> {
    let (last, head) = params.split_last()?;
    if args.len() < head.len() {
        return None;
    }
    let (plain, rest) = args.split_at(head.len());
    let mut result = fit(session, head, plain)?;
    if let [only] = rest
        && only.class() == *last
    {
        return Some(result);
    }
    let element = last.component()?;
    for arg in rest {
        let one = if arg.is_null() && element.is_primitive() {
            return None;
        } else {
            fit_one(session, element, arg)?
        };
        result = combine(result, one);
    }
    Some(result)
}

fn choose<'m>(
    session: &Session<'_>,
    candidates: impl Iterator<Item = &'m Method>,
    name: &str,
    args: &[Value],
) -> Eval<Option<&'m Method>> {
    let mut close: Option<(&Method, usize)> = None;
    let mut converting: Option<&Method> = None;
    let mut several = false;
    // Fewer parameters first, plain ones before those that take any number, as the original sorts them.
    // One with another number of them cannot fit.
    let mut candidates =
        candidates.filter(|method| method.varargs || method.params.len() == args.len());
    let Some(first) = candidates.next() else {
        return Ok(None);
    };
    let Some(second) = candidates.next() else {
        let varargs = first.varargs && args.len() + 1 >= first.params.len();
        let fits = if varargs {
            fit_varargs(session, first.params, args)
        } else {
            fit(session, first.params, args)
        };
        return Ok(fits.map(|_| first));
    };
    let mut sorted: Vec<&Method> = vec![first, second];
    sorted.extend(candidates);
    sorted.sort_by_key(|method| (method.params.len(), method.varargs));
    for method in sorted {
        let fits = if method.varargs && args.len() + 1 >= method.params.len() {
            fit_varargs(session, method.params, args)
        } else {
            fit(session, method.params, args)
        };
        match fits {
            Some(Fit::Exact) => return Ok(Some(method)),
            Some(Fit::Close) => {
                let weight = method.params.iter().zip(args).fold(0, |sum, (param, arg)| {
                    sum + if arg.is_null() {
                        0
                    } else {
                        arg.class().distance_to(*param)
                    }
                });
                if close.is_none_or(|(_, best)| weight < best) {
                    close = Some((method, weight));
                }
            }
            Some(Fit::Converts) => {
                several |= converting.is_some();
                converting = Some(method);
            }
            None => {}
        }
    }
    if let Some((method, _)) = close {
        return Ok(Some(method));
    }
    if several {
        return Err(Fault::new(format!(
            "EL1033E: Method call of '{name}' is ambiguous, supported type conversions allow multiple variants to match"
        )));
    }
    Ok(converting)
}

fn prepared(session: &Session<'_>, method: &Method, args: &[Value]) -> Eval<Vec<Value>> {
    let mut values = Vec::with_capacity(args.len());
    if !method.varargs {
        for (param, arg) in method.params.iter().zip(args) {
            values.push(session.convert(arg, *param)?);
        }
        return Ok(values);
    }
    let Some((last, head)) = method.params.split_last() else {
        return Ok(values);
    };
    let (plain, rest) = args.split_at(head.len().min(args.len()));
    for (param, arg) in head.iter().zip(plain) {
        values.push(session.convert(arg, *param)?);
    }
    match rest {
        // An array stands for all of them; any other single argument is made one as a whole, so a list or a text
        // with commas falls apart.
        [only] if only.class() == *last => values.push(only.clone()),
        [Value::Null] => values.push(Value::Null),
        [only] if Some(only.class()) != last.component() => {
            values.push(session.convert(only, *last)?)
        }
        [only] if only.class().dimensions > 0 && last.is_assignable_from(only.class()) => {
            values.push(only.clone())
        }
        rest => {
            let element = last.component().unwrap_or(OBJECT);
            let mut items = Vec::with_capacity(rest.len());
            for arg in rest {
                items.push(session.convert(arg, element)?);
            }
            values.push(Value::array(element, items));
        }
    }
    Ok(values)
}

/// Calls a method of a value, or a static one of a class.
pub(crate) fn call(
    session: &Session<'_>,
    target: &Value,
    name: &str,
    args: &[Value],
) -> Eval<Value> {
    session.step()?;
    let found = match target {
        Value::Class(class) => {
            let [own, _] = tables(class.base);
            let candidates = own
                .iter()
                .filter(|method| method.is_static && method.name == name);
            if class.dimensions > 0 || class.is_primitive() {
                None
            } else {
                choose(session, candidates, name, args)?
            }
        }
        Value::Array(_) => choose(
            session,
            OBJECT_METHODS.iter().filter(|method| method.name == name),
            name,
            args,
        )?,
        Value::Bean(bean) => {
            if args.is_empty()
                && let Some(property) = getter_name(name)
                && let Some(value) = bean.get(&property)
            {
                return Ok(value);
            }
            choose(
                session,
                OBJECT_METHODS.iter().filter(|method| method.name == name),
                name,
                args,
            )?
        }
        other => {
            let [own, object] = tables(other.class().base);
            let overridden = |method: &&Method| method.name == name;
            choose(
                session,
                own.iter()
                    .filter(overridden)
                    .chain(object.iter().filter(overridden)),
                name,
                args,
            )?
        }
    };
    let Some(method) = found else {
        if let Some(value) = model::call(target, name, args)? {
            return Ok(value);
        }
        let class = match target {
            Value::Class(class) => *class,
            other => other.class(),
        };
        return Err(Fault::new(format!(
            "EL1004E: Method call: Method {name}({}) cannot be found on type {class}",
            classes_text(args)
        ))
        .with_hint(near_method(target, name)));
    };
    let args = prepared(session, method, args)?;
    (method.run)(session, target, &args)
}

fn near_method(target: &Value, name: &str) -> Option<String> {
    let base = match target {
        Value::Class(class) => class.base,
        other => other.class().base,
    };
    let [own, object] = tables(base);
    crate::near::suggest(name, own.iter().chain(object).map(|method| method.name))
        .map(|near| format!("there is `{near}()`"))
}

/// `getFoo` and `isFoo` as the property they read.
fn getter_name(method: &str) -> Option<String> {
    let rest = method
        .strip_prefix("get")
        .or_else(|| method.strip_prefix("is"))?;
    let mut chars = rest.chars();
    let first = chars.next().filter(char::is_ascii_uppercase)?;
    Some(first.to_ascii_lowercase().to_string() + chars.as_str())
}

/// Reads a property through `getFoo()`, `isFoo()` or `foo()`; `None` if there is none that may be used.
pub(crate) fn getter(session: &Session<'_>, target: &Value, name: &str) -> Eval<Option<Value>> {
    if let Some(value) = model::property(target, name) {
        return Ok(Some(value));
    }
    let base = match target {
        Value::Class(class) if class.dimensions == 0 && !class.is_primitive() => class.base,
        Value::Class(_) | Value::Array(_) | Value::Bean(_) => return Ok(None),
        other => other.class().base,
    };
    let only_static = matches!(target, Value::Class(_));
    let [own, object] = tables(base);
    let object = if only_static { &[] } else { object };
    let reads = |method: &Method, prefix: &str| {
        method
            .name
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.len() == name.len() && capitalized(rest, name))
    };
    let usable = |method: &&Method| method.params.is_empty() && (method.is_static || !only_static);
    let mut found = None;
    for method in own.iter().chain(object).filter(usable) {
        // `getFoo` before `isFoo` before `foo`.
        let rank = if reads(method, "get") {
            0
        } else if reads(method, "is") {
            1
        } else if method.name == name {
            2
        } else {
            continue;
        };
        if found.is_none_or(|(best, _)| rank < best) {
            found = Some((rank, method));
        }
    }
    match found {
        Some((_, method)) => (method.run)(session, target, &[]).map(Some),
        None => Ok(None),
    }
}

/// Whether `method` is `property` with a capital first letter.
fn capitalized(method: &str, property: &str) -> bool {
    let (mut a, mut b) = (method.chars(), property.chars());
    match (a.next(), b.next()) {
        (Some(x), Some(y)) => x == y.to_ascii_uppercase() && a.as_str() == b.as_str(),
        _ => false,
    }
}

/// `new Type(…)`.
pub(crate) fn construct(session: &Session<'_>, class: Class, args: &[Value]) -> Eval<Value> {
    let table: &'static [Method] = match class.base {
        Base::String => string::CONSTRUCTORS,
        Base::Integer => number::NEW_INTEGER,
        Base::Long => number::NEW_LONG,
        Base::Double => number::NEW_DOUBLE,
        Base::Byte => number::NEW_BYTE,
        Base::Boolean => number::NEW_BOOLEAN,
        Base::Date => time::NEW_DATE,
        Base::SimpleDateFormat => time::NEW_SIMPLE_DATE_FORMAT,
        Base::Uuid => time::NEW_UUID,
        Base::Random => time::NEW_RANDOM,
        _ => &[],
    };
    let found = choose_constructor(session, table, args)?;
    let Some(method) = found else {
        return Err(Fault::new(format!(
            "EL1002E: Constructor call: No suitable constructor found on type {class} for arguments ({})",
            classes_text(args)
        )));
    };
    let args = prepared(session, method, args)?;
    (method.run)(session, &Value::Class(class), &args)
}

/// Constructors are matched as methods are, but the first close one wins and conversions never clash.
fn choose_constructor<'m>(
    session: &Session<'_>,
    table: &'m [Method],
    args: &[Value],
) -> Eval<Option<&'m Method>> {
    let mut sorted: Vec<&Method> = table.iter().collect();
    sorted.sort_by_key(|method| method.params.len());
    let mut close = None;
    let mut converting = None;
    for method in sorted {
        match fit(session, method.params, args) {
            Some(Fit::Exact) => return Ok(Some(method)),
            Some(Fit::Close) => close = Some(method),
            Some(Fit::Converts) => converting = Some(method),
            None => {}
        }
    }
    Ok(close.or(converting))
}

/// The name of a class as `Class.getName` writes it (`[I`, `[Ljava.lang.String;`).
pub(crate) fn array_signature(class: Class) -> String {
    if class.dimensions == 0 {
        return class.base.name().to_string();
    }
    let brackets = "[".repeat(usize::from(class.dimensions));
    let letter = match class.base {
        Base::BooleanP => "Z",
        Base::ByteP => "B",
        Base::ShortP => "S",
        Base::CharP => "C",
        Base::IntP => "I",
        Base::LongP => "J",
        Base::FloatP => "F",
        Base::DoubleP => "D",
        other => return format!("{brackets}L{};", other.name()),
    };
    format!("{brackets}{letter}")
}

fn text_arg(args: &[Value], index: usize) -> Eval<&str> {
    match args.get(index) {
        Some(Value::Str(text)) => Ok(text),
        _ => Err(Fault::new("Cannot use a text because it is null")),
    }
}

fn int_arg(args: &[Value], index: usize) -> i32 {
    args.get(index).map_or(0, crate::operators::to_i32)
}

fn long_arg(args: &[Value], index: usize) -> i64 {
    args.get(index).map_or(0, crate::operators::to_i64)
}

fn double_arg(args: &[Value], index: usize) -> f64 {
    args.get(index).map_or(0.0, crate::operators::to_f64)
}

fn float_arg(args: &[Value], index: usize) -> f32 {
    args.get(index).map_or(0.0, crate::operators::to_f32)
}

fn arg(args: &[Value], index: usize) -> &Value {
    args.get(index).unwrap_or(&Value::Null)
}

fn null_fault(what: &str) -> Fault {
    Fault::new(format!("Cannot use {what} because it is null"))
}

/// Every class with methods of its own.
const WITH_METHODS: [Base; 30] = [
    Base::String,
    Base::Integer,
    Base::Long,
    Base::Double,
    Base::Float,
    Base::Byte,
    Base::Short,
    Base::BigInteger,
    Base::Boolean,
    Base::Character,
    Base::Math,
    Base::Date,
    Base::Instant,
    Base::LocalDate,
    Base::LocalDateTime,
    Base::DayOfWeek,
    Base::ChronoUnit,
    Base::SimpleDateFormat,
    Base::Uuid,
    Base::Random,
    Base::UrlEncoder,
    Base::Status,
    Base::Execution,
    Base::Stage,
    Base::StageContext,
    Base::ArrayList,
    Base::HashSet,
    Base::HashMap,
    Base::MapEntry,
    Base::Object,
];

/// The names of all methods.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    WITH_METHODS
        .iter()
        .flat_map(|base| tables(*base))
        .flatten()
        .map(|method| method.name)
}

/// Whether some value has a method of this name.
pub(crate) fn is_known(name: &str) -> bool {
    const MODEL: [&str; 3] = ["ancestors", "directAncestors", "allDownstreamStages"];
    MODEL.contains(&name)
        || getter_name(name).is_some()
        || name.starts_with("set")
        || names().any(|known| known == name)
}
