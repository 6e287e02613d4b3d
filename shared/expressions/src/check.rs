//! What can be said about a pipeline's expressions before it runs.

use crate::ast::Node;
use crate::class::{Located, locate};
use crate::functions;
use crate::json::MAX_JSON_DEPTH;
use crate::methods;
use crate::near::suggest;
use crate::rewrite::rewrite;
use crate::template::{Part, Template};
use serde_json::Value;
use std::collections::BTreeSet;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The expression cannot work.
    Error,
    /// The expression may not work.
    Warning,
}

/// One finding in a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Stable, kebab-case: `expression-syntax`, `unknown-function`, `wrong-arguments`, `unknown-type`, `forbidden-type`,
    /// `forbidden-call`, `unknown-method`, `unknown-name`, `unknown-parameter`, `unknown-stage`,
    /// `more-problems`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// JSON path of the text in the pipeline (`$.stages[2].context.image`).
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do, where something can be said.
    pub hint: Option<String>,
    /// The stage that holds it.
    pub ref_id: Option<String>,
}

/// Parses every expression of a pipeline and reports what cannot work, without evaluating anything.
///
/// Names are judged only where the pipeline tells all of them: with a stage that brings names of its own (a job, a
/// script, another pipeline) any name may be provided.
pub fn check(pipeline: &Value) -> Vec<Problem> {
    let mut checker = Checker {
        names: Names::of(pipeline),
        problems: Vec::new(),
        ref_id: None,
        own: BTreeSet::new(),
        suggestions: MAX_SUGGESTIONS,
        untold: 0,
        worst_untold: Severity::Warning,
    };
    checker.walk(pipeline, "$", 0);
    if checker.untold > 0 {
        checker.problems.push(Problem {
            code: "more-problems",
            severity: checker.worst_untold,
            path: "$".to_string(),
            message: format!(
                "{} more problems of expressions are not shown",
                checker.untold
            ),
            hint: None,
            ref_id: None,
        });
    }
    checker.problems
}

/// Near names that are looked for in one pipeline: comparing costs time, and nobody reads on after so many.
const MAX_SUGGESTIONS: usize = 200;

/// Problems of one pipeline that are kept.
const MAX_PROBLEMS: usize = 1_000;

/// Keys of the root that Orca or every stage may provide.
const ROOT_NAMES: [&str; 42] = [
    "trigger",
    "execution",
    "parameters",
    "scmInfo",
    "templateVariables",
    "deployedServerGroups",
    "deploymentDetails",
    "artifacts",
    "buildInfo",
    "judgmentInput",
    "manifests",
    "amiDetails",
    "imageId",
    "imageName",
    "outputs",
    "stageDetails",
    "deploy",
    "region",
    "regions",
    "account",
    "credentials",
    "cloudProvider",
    "cloudProviderType",
    "source",
    "webhook",
    "tasks",
    "status",
    "resolvedExpectedArtifacts",
    "boundArtifacts",
    "canaryScore",
    "canaryScores",
    "changeSets",
    "createdArtifacts",
    "executionId",
    "executionName",
    "exception",
    "manifestNamesByNamespace",
    "overallScore",
    "serverGroupName",
    "stackId",
    "targetDesiredSize",
    "zones",
];

/// Stage types whose outputs have names that the pipeline does not tell.
const OPEN_STAGES: [&str; 14] = [
    "jenkins",
    "travis",
    "wercker",
    "concourse",
    "script",
    "runJob",
    "runJobManifest",
    "webhook",
    "pipeline",
    "googleCloudBuild",
    "awsCodeBuild",
    "gcb",
    "findArtifactFromExecution",
    "preconfiguredWebhook",
];

/// Calls that people try and that the original refuses, with what does the same.
const REFUSED_CALLS: [(&str, &str); 18] = [
    ("get", "index with `['key']` or `[0]`"),
    ("getOrDefault", "use `map['key'] ?: default`"),
    ("put", "build a new map: `{a: 1}`"),
    ("stream", "use `.![…]` and `.?[…]`"),
    ("iterator", "use `.![…]`"),
    ("toArray", "a list works where an array does"),
    ("chars", "use `toCharArray()`"),
    ("lines", "use `split('\\n')`"),
    ("subSequence", "use `substring(…)`"),
    ("getClass", "classes are not for expressions"),
    ("forName", "classes are not for expressions"),
    ("clone", "values are copied anyway"),
    ("wait", "use a wait stage"),
    ("notify", "use a stage for it"),
    ("merge", "build a new map"),
    ("getBoolean", "use `#toBoolean(…)`"),
    ("getInteger", "use `#toInt(…)`"),
    ("getLong", "use `T(Long).parseLong(…)`"),
];

/// What the pipeline provides.
struct Names {
    parameters: Option<BTreeSet<String>>,
    stages: BTreeSet<String>,
    /// Every name that some stage provides; `None` where that cannot be told.
    root: Option<BTreeSet<String>>,
}

impl Names {
    fn of(pipeline: &Value) -> Names {
        let parameters = pipeline
            .get("parameterConfig")
            .and_then(Value::as_array)
            .map(|all| {
                all.iter()
                    .filter_map(|one| one.get("name").and_then(Value::as_str))
                    .map(str::to_string)
                    .collect()
            });
        let mut stages = BTreeSet::new();
        let mut root: BTreeSet<String> = ROOT_NAMES.iter().map(|name| name.to_string()).collect();
        let mut open = false;
        for stage in pipeline
            .get("stages")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let text = |name: &str| stage.get(name).and_then(Value::as_str);
            stages.extend(text("name").map(str::to_string));
            stages.extend(text("id").map(str::to_string));
            open |=
                text("type").is_none_or(|kind| OPEN_STAGES.contains(&kind) || kind.contains('$'));
            open |= stage.get("propertyFile").is_some();
            for variable in stage
                .get("variables")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                root.extend(
                    variable
                        .get("key")
                        .and_then(Value::as_str)
                        .map(str::to_string),
                );
            }
        }
        Names {
            parameters,
            stages,
            root: (!open).then_some(root),
        }
    }
}

struct Checker {
    names: Names,
    problems: Vec<Problem>,
    ref_id: Option<String>,
    /// The keys of the stage that is walked, those of its clusters included: sub-stages have them too.
    own: BTreeSet<String>,
    /// Suggestions that may still be looked for.
    suggestions: usize,
    /// Problems beyond the bound.
    untold: usize,
    worst_untold: Severity,
}

/// A stage's `refId`, numbers as text.
fn ref_id(stage: &Value) -> Option<String> {
    match stage.get("refId") {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    }
}

/// Names that a stage's own context gives to its expressions.
fn own_names(stage: &Value) -> BTreeSet<String> {
    let clusters = stage
        .get("clusters")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .chain(stage.get("cluster"));
    std::iter::once(stage)
        .chain(clusters)
        .filter_map(Value::as_object)
        .flat_map(|fields| fields.keys().cloned())
        .collect()
}

/// Where a node stands.
#[derive(Clone, Copy)]
struct Place<'p> {
    path: &'p str,
    /// Inside a selection or projection, where names belong to elements.
    element: bool,
}

impl Checker {
    fn walk(&mut self, value: &Value, path: &str, depth: usize) {
        if depth > MAX_JSON_DEPTH {
            return;
        }
        match value {
            Value::String(text) => self.text(text, path),
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    let inner = format!("{path}[{index}]");
                    let stage = path == "$.stages";
                    if stage {
                        self.ref_id = ref_id(item);
                        self.own = own_names(item);
                    }
                    self.walk(item, &inner, depth + 1);
                    if stage {
                        self.ref_id = None;
                        self.own.clear();
                    }
                }
            }
            Value::Object(fields) => {
                for (key, item) in fields {
                    if key.contains("${") {
                        self.text(key, path);
                    }
                    let simple = !key.is_empty()
                        && key
                            .chars()
                            .all(|c| c.is_alphanumeric() || c == '_' || c == '-');
                    let inner = if simple {
                        format!("{path}.{key}")
                    } else {
                        format!("{path}['{key}']")
                    };
                    // These fields are expressions without delimiters.
                    let bare = key == "expression"
                        && (path.ends_with(".stageEnabled") || path.contains("preconditions["))
                        && item
                            .as_str()
                            .is_some_and(|text| !text.trim().is_empty() && !text.contains("${"));
                    match item.as_str() {
                        Some(text) if bare => self.text(&format!("${{{text}}}"), &inner),
                        _ => self.walk(item, &inner, depth + 1),
                    }
                }
            }
            _ => {}
        }
    }

    fn report(
        &mut self,
        code: &'static str,
        severity: Severity,
        path: &str,
        message: String,
        hint: Option<String>,
    ) {
        if self.problems.len() >= MAX_PROBLEMS {
            self.untold += 1;
            if severity == Severity::Error {
                self.worst_untold = Severity::Error;
            }
            return;
        }
        let ref_id = self.ref_id.clone();
        self.problems.push(Problem {
            code,
            severity,
            path: path.to_string(),
            message,
            hint,
            ref_id,
        });
    }

    fn text(&mut self, text: &str, path: &str) {
        if !text.contains("${") {
            return;
        }
        let template = match Template::parse(&rewrite(text)) {
            Ok(template) => template,
            Err(error) => {
                // The place is one in what the author wrote, where that does not parse either.
                let written = Template::parse(text).err().unwrap_or(error);
                let message = format!(
                    "cannot parse `{}`: {} (character {})",
                    shortened(text),
                    written.message,
                    written.position
                );
                // Text around it (a script, say) works as it stands: what does not parse stays verbatim.
                let whole = text.starts_with("${") && text.ends_with('}');
                let severity = if whole {
                    Severity::Error
                } else {
                    Severity::Warning
                };
                let hint = Some(
                    if whole {
                        "Spinnaker leaves such a text as it is: correct the expression, or take the `${…}` away"
                    } else {
                        "the text stays as it is; `${…}` of a shell is read as an expression too"
                    }
                    .to_string(),
                );
                self.report("expression-syntax", severity, path, message, hint);
                return;
            }
        };
        for part in template.parts() {
            if let Part::Expression { node, .. } = part {
                self.node(
                    node,
                    Place {
                        path,
                        element: false,
                    },
                );
            }
        }
    }

    fn nodes<'n>(&mut self, nodes: impl IntoIterator<Item = &'n Node>, place: Place<'_>) {
        for node in nodes {
            self.node(node, place);
        }
    }

    fn node(&mut self, node: &Node, place: Place<'_>) {
        match node {
            Node::Property { name, .. } => self.root_name(name, place),
            Node::Method { name, args, .. } => {
                self.method(name, place);
                self.nodes(args, place);
            }
            Node::Function { name, args } => self.function(name, args, place),
            Node::Path(nodes) => self.path(nodes, place),
            Node::Index(index) => {
                if let Node::Property { .. } = **index {
                    return;
                }
                self.node(index, place);
            }
            Node::Select { test: body, .. } | Node::Project { body, .. } => {
                self.node(
                    body,
                    Place {
                        element: true,
                        ..place
                    },
                );
            }
            Node::Type(name) => self.type_name(&name.name, place),
            Node::New { name, args } => {
                self.type_name(name, place);
                self.nodes(args, place);
            }
            Node::NewArray {
                name,
                dimensions,
                init,
            } => {
                self.type_name(name, place);
                self.nodes(dimensions.iter().flatten(), place);
                self.nodes(init.as_deref(), place);
            }
            Node::List { items, .. } | Node::And(items) | Node::Or(items) => {
                self.nodes(items, place)
            }
            Node::Map { entries, .. } => {
                for (key, value) in entries {
                    if !matches!(key, Node::Property { .. }) {
                        self.node(key, place);
                    }
                    self.node(value, place);
                }
            }
            Node::Chain { first, rest } => {
                self.node(first, place);
                self.nodes(rest.iter().map(|(_, node)| node), place);
            }
            Node::Not(_, operand) | Node::Plus(operand) | Node::Minus(_, operand) => {
                self.node(operand, place)
            }
            Node::Ternary(test, yes, no) => self.nodes([&**test, &**yes, &**no], place),
            // `nope ?: default` is how people ask for names that may not be there.
            Node::Elvis(value, other) => self.nodes(
                [&**value, &**other],
                Place {
                    element: true,
                    ..place
                },
            ),
            Node::Assign(_, value) => self.node(value, place),
            Node::Step { .. } | Node::Variable(_) | Node::Bean(_) => {}
            Node::Null
            | Node::Bool(_)
            | Node::Int(_)
            | Node::Long(_)
            | Node::Float(_)
            | Node::Double(_)
            | Node::Str(_) => {}
        }
    }

    fn path(&mut self, nodes: &[Node], place: Place<'_>) {
        let Some((first, rest)) = nodes.split_first() else {
            return;
        };
        self.node(first, place);
        let step = |node: Option<&Node>| match node {
            Some(Node::Property { name, .. }) => Some(name.to_string()),
            Some(Node::Index(index)) => match &**index {
                Node::Str(name) => Some(name.to_string()),
                _ => None,
            },
            _ => None,
        };
        let head = step(Some(first));
        let parameter = match head.as_deref() {
            Some("parameters") => step(rest.first()),
            Some("trigger") if step(rest.first()).as_deref() == Some("parameters") => {
                step(rest.get(1))
            }
            _ => None,
        };
        if let Some(parameter) = parameter
            && !place.element
        {
            self.parameter(&parameter, place);
        }
        for node in rest {
            match node {
                Node::Property { .. } => {}
                other => self.node(other, place),
            }
        }
    }

    fn root_name(&mut self, name: &str, place: Place<'_>) {
        if place.element || self.own.contains(name) {
            return;
        }
        let Some(known) = &self.names.root else {
            return;
        };
        if known.contains(name) {
            return;
        }
        let near = (self.suggestions > 0)
            .then(|| suggest(name, known.iter().chain(&self.own).map(String::as_str)))
            .flatten();
        self.suggestions = self.suggestions.saturating_sub(1);
        let hint = Some(near.map_or_else(
            || "a name that nothing provides leaves the text as it is; `${name ?: 'default'}` gives it a value".to_string(),
            |near| format!("did you mean `{near}`?"),
        ));
        self.report(
            "unknown-name",
            Severity::Warning,
            place.path,
            format!("no stage provides `{name}`"),
            hint,
        );
    }

    fn parameter(&mut self, name: &str, place: Place<'_>) {
        let Some(known) = &self.names.parameters else {
            return;
        };
        if known.contains(name) {
            return;
        }
        let near = (self.suggestions > 0)
            .then(|| suggest(name, known.iter().map(String::as_str)))
            .flatten();
        self.suggestions = self.suggestions.saturating_sub(1);
        let hint = Some(near.map_or_else(
            || "add it to `parameterConfig`: unless the trigger happens to carry it, the text stays as it is".to_string(),
            |near| format!("did you mean `{near}`?"),
        ));
        let message = format!("the pipeline has no parameter `{name}`");
        self.report(
            "unknown-parameter",
            Severity::Warning,
            place.path,
            message,
            hint,
        );
    }

    fn type_name(&mut self, name: &str, place: Place<'_>) {
        match locate(name) {
            Located::Allowed(_) => {}
            Located::Refused => {
                let message = format!("the type `{name}` may not be used in expressions");
                self.report("forbidden-type", Severity::Error, place.path, message, None);
            }
            Located::Unknown => {
                let hint = Some(
                    "types outside java.lang need their full name, such as `java.util.UUID`"
                        .to_string(),
                );
                self.report(
                    "unknown-type",
                    Severity::Error,
                    place.path,
                    format!("unknown type `{name}`"),
                    hint,
                );
            }
        }
    }

    fn method(&mut self, name: &str, place: Place<'_>) {
        if let Some((_, instead)) = REFUSED_CALLS.iter().find(|(refused, _)| *refused == name) {
            let message = format!("`{name}()` may not be called in expressions");
            self.report(
                "forbidden-call",
                Severity::Error,
                place.path,
                message,
                Some(instead.to_string()),
            );
            return;
        }
        if methods::is_known(name) {
            return;
        }
        let hint = (self.suggestions > 0)
            .then(|| suggest(name, methods::names()))
            .flatten()
            .map(|near| format!("did you mean `{near}()`?"));
        self.suggestions = self.suggestions.saturating_sub(1);
        self.report(
            "unknown-method",
            Severity::Error,
            place.path,
            format!("unknown method `{name}()`"),
            hint,
        );
    }

    fn function(&mut self, name: &str, args: &[Node], place: Place<'_>) {
        self.nodes(args, place);
        let Some(function) = functions::find(name) else {
            let hint = (self.suggestions > 0)
                .then(|| suggest(name, functions::names()))
                .flatten()
                .map(|near| format!("did you mean `#{near}`?"));
            self.suggestions = self.suggestions.saturating_sub(1);
            self.report(
                "unknown-function",
                Severity::Error,
                place.path,
                format!("unknown function `#{name}`"),
                hint,
            );
            return;
        };
        if !functions::accepts(function, args.len()) {
            let takes = functions::written_params(function);
            let message = format!(
                "`#{name}` takes {takes} argument{}",
                if takes == 1 { "" } else { "s" }
            );
            self.report(
                "wrong-arguments",
                Severity::Error,
                place.path,
                message,
                None,
            );
            return;
        }
        if let ("stage" | "judgment" | "judgement", Some(Node::Str(stage))) = (name, args.get(1))
            && !self.names.stages.contains(&**stage)
        {
            let known = self.names.stages.iter().map(String::as_str);
            let hint = (self.suggestions > 0)
                .then(|| suggest(stage, known))
                .flatten()
                .map(|near| format!("did you mean `{near}`?"));
            self.suggestions = self.suggestions.saturating_sub(1);
            let message = format!("no stage is called `{stage}`");
            self.report(
                "unknown-stage",
                Severity::Warning,
                place.path,
                message,
                hint,
            );
        }
    }
}

/// Longest piece of a text that a message repeats, in characters.
const MAX_SHOWN: usize = 120;

fn shortened(text: &str) -> String {
    if text.chars().count() <= MAX_SHOWN {
        return text.to_string();
    }
    text.chars().take(MAX_SHOWN).chain("…".chars()).collect()
}
