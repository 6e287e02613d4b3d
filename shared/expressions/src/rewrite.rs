//! The textual rewriting that happens before an expression is parsed, inside literals too.

use crate::functions::execution_functions;
use std::borrow::Cow;

const EXECUTION_ARGUMENT: &str = "( #root.execution, ";
const BARE: &str = "deployedServerGroups";
const BARE_CALL: &str = "#deployedServerGroups( #root.execution)";

/// Puts the execution into calls that need it, and turns the bare word `deployedServerGroups` into a call.
pub(crate) fn rewrite(text: &str) -> Cow<'_, str> {
    let mut result = Cow::Borrowed(text);
    if text.contains('#') {
        for name in execution_functions() {
            if !result.contains(name) {
                continue;
            }
            let call = format!("#{name}(");
            let done = format!("#{name}{EXECUTION_ARGUMENT}");
            if result.contains(&call) && !result.contains(&done) {
                result = Cow::Owned(result.replace(&call, &done));
            }
        }
    }
    if !result.contains(BARE) {
        return result;
    }
    let mut out = String::with_capacity(result.len() + 64);
    let mut rest: &str = &result;
    while let Some(at) = rest.find(BARE) {
        let (head, tail) = rest.split_at(at);
        out.push_str(head);
        // A call that is written out stays.
        let called = out.ends_with('#');
        out.push_str(if called { BARE } else { BARE_CALL });
        rest = tail.get(BARE.len()..).unwrap_or_default();
    }
    out.push_str(rest);
    Cow::Owned(out)
}
