//! Statuses, executions and stages.

use super::*;
use crate::value::Status;

fn status(value: &Value) -> Status {
    match value {
        Value::Status(status) => *status,
        _ => Status(0),
    }
}

pub(super) static STATUS: &[Method] = &[
    method("name", &[], |_, t, _| Ok(Value::str(status(t).name()))),
    method("ordinal", &[], |_, t, _| {
        Ok(Value::Int(i32::from(status(t).0)))
    }),
    method("isComplete", &[], |_, t, _| {
        Ok(Value::Bool(status(t).is_complete()))
    }),
    method("isHalt", &[], |_, t, _| {
        Ok(Value::Bool(status(t).is_halt()))
    }),
    method("isSuccessful", &[], |_, t, _| {
        Ok(Value::Bool(status(t).is_successful()))
    }),
    method("isFailure", &[], |_, t, _| {
        Ok(Value::Bool(status(t).is_failure()))
    }),
    method("isSkipped", &[], |_, t, _| {
        Ok(Value::Bool(status(t).is_skipped()))
    }),
    method(
        "compareTo",
        &[Class::of(Base::Status)],
        |_, t, a| match arg(a, 0) {
            Value::Status(other) => Ok(Value::Int(i32::from(status(t).0) - i32::from(other.0))),
            _ => Err(null_fault("a status")),
        },
    ),
    fixed("values", &[], |_, _, _| {
        let all = (0..Status::NAMES.len())
            .map(|index| Value::Status(Status(index as u8)))
            .collect();
        Ok(Value::array(Class::of(Base::Status), all))
    }),
    fixed("valueOf", &[STRING], |_, _, a| {
        let name = text_arg(a, 0)?;
        Status::parse(name)
            .map(Value::Status)
            .ok_or_else(|| Fault::new(format!("No enum constant {}.{name}", Base::Status.name())))
    }),
];

pub(super) static EXECUTION: &[Method] = &[
    method("stageByRef", &[STRING], |_, t, a| match t {
        Value::Execution(execution) => {
            let ref_id = text_arg(a, 0)?;
            execution
                .stage_index(ref_id)
                .map(|index| Value::Stage(execution.clone(), index))
                .ok_or_else(|| Fault::new(format!("No stage with refId {ref_id}")))
        }
        _ => Err(null_fault("an execution")),
    }),
    method("stageById", &[STRING], |_, t, a| match t {
        Value::Execution(execution) => {
            let id = text_arg(a, 0)?;
            execution
                .stages
                .iter()
                .position(|stage| *stage.id == *id)
                .map(|index| Value::Stage(execution.clone(), index))
                .ok_or_else(|| Fault::new(format!("No stage with id {id}")))
        }
        _ => Err(null_fault("an execution")),
    }),
    // Looks for the type, not the name, whatever it is called.
    method("namedStage", &[STRING], |_, t, a| match t {
        Value::Execution(execution) => {
            let kind = text_arg(a, 0)?;
            let found = execution
                .stages
                .iter()
                .position(|stage| *stage.kind == *kind);
            Ok(found.map_or(Value::Null, |index| Value::Stage(execution.clone(), index)))
        }
        _ => Err(null_fault("an execution")),
    }),
];

pub(super) static STAGE: &[Method] = &[];

/// A property of a model object; `None` where there is none that expressions may read.
pub(super) fn property(target: &Value, name: &str) -> Option<Value> {
    let read = |name: &str| match target {
        Value::Execution(execution) => execution.property(name),
        Value::Stage(execution, index) => execution.stage_property(*index, name),
        Value::Bean(bean) => bean.get(name),
        _ => None,
    };
    read(name).or_else(|| match target {
        Value::Execution(_) | Value::Stage(..) | Value::Bean(_) => getter_name(name)
            .and_then(|property| read(&property))
            .filter(|_| name.starts_with("is") || name.starts_with("get")),
        _ => None,
    })
}

/// Getters and setters of model objects by their Java names.
pub(super) fn call(target: &Value, name: &str, args: &[Value]) -> Eval<Option<Value>> {
    if !matches!(
        target,
        Value::Execution(_) | Value::Stage(..) | Value::Bean(_)
    ) {
        return Ok(None);
    }
    if args.is_empty() {
        if matches!(
            name,
            "ancestors" | "directAncestors" | "allDownstreamStages"
        ) {
            return Ok(property(target, name));
        }
        return Ok(getter_name(name).and_then(|name| property(target, &name)));
    }
    // A setter answers nothing; what it would set is not set here.
    let sets = name
        .strip_prefix("set")
        .and_then(|rest| getter_name(&format!("get{rest}")));
    if let (Some(name), 1) = (sets, args.len())
        && property(target, &name).is_some()
    {
        return Ok(Some(Value::Null));
    }
    Ok(None)
}
