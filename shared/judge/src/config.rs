//! Canary configurations, JSON as Kayenta stores them.

use crate::error::{JudgeError, Problem, Severity};
use crate::sequential::Sequential;
use serde_json::{Map, Value};

/// Which shifts count against the canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Only a canary above its baseline.
    Increase,
    /// Only a canary below its baseline.
    Decrease,
    /// Both.
    Either,
}

/// What becomes of missing points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NanStrategy {
    /// They are left out.
    Remove,
    /// They count as 0.0.
    Replace,
}

/// How the size of an effect is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EffectMeasure {
    /// Canary mean over baseline mean; limits default to 1.0.
    MeanRatio,
    /// Probability that a canary value exceeds a baseline value; limits default to 0.5.
    CommonLanguage,
}

/// What `analysisConfigurations.canary` of a metric says, defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Analysis {
    /// `direction`, default either.
    pub direction: Direction,
    /// `nanStrategy`, default remove.
    pub nan_strategy: NanStrategy,
    /// `outliers.outlierFactor` (default 3.0) when `outliers.strategy` is `remove`; none otherwise.
    pub outlier_factor: Option<f64>,
    /// `critical`: failing this metric fails the canary.
    pub critical: bool,
    /// `mustHaveData`: a side without data fails this metric.
    pub must_have_data: bool,
    /// `muted`: classified and shown, not scored.
    pub muted: bool,
    /// `effectSize.measure`.
    pub measure: EffectMeasure,
    /// `effectSize.allowedIncrease`: effects below are not High.
    pub allowed_increase: f64,
    /// `effectSize.allowedDecrease`: effects above are not Low.
    pub allowed_decrease: f64,
    /// `effectSize.criticalIncrease`: effects below do not fail the canary at once.
    pub critical_increase: f64,
    /// `effectSize.criticalDecrease`: effects above do not fail the canary at once.
    pub critical_decrease: f64,
    /// Whether a direction was given at all (the lint asks).
    pub direction_given: bool,
}

/// One metric of a configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricConfig {
    /// Its name, by which pairs refer to it.
    pub name: String,
    /// The query, not read by the judge.
    pub query: Value,
    /// The groups it is scored in; a group named twice counts twice. None only under [`CanaryConfig::parse_compatible`].
    pub groups: Option<Vec<String>>,
    /// The scope its query runs in, `default` if not given.
    pub scope_name: String,
    analysis: Result<Analysis, String>,
}

impl MetricConfig {
    /// The settings.
    ///
    /// # Errors
    /// Only for a configuration read by [`CanaryConfig::parse_compatible`]: a setting the original throws on, which it
    /// does when (and only when) a pair of this metric is judged.
    pub fn analysis(&self) -> Result<&Analysis, JudgeError> {
        self.analysis
            .as_ref()
            .map_err(|reason| JudgeError::Setting {
                metric: self.name.clone(),
                reason: reason.clone(),
            })
    }
}

/// A canary configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct CanaryConfig {
    /// Its name, empty if not given.
    pub name: String,
    /// `judge.name`, if given. Every configuration is judged by `NetflixACAJudge-v1.0`.
    pub judge: Option<String>,
    /// The metrics, in order.
    pub metrics: Vec<MetricConfig>,
    /// `classifier.groupWeights`, in order.
    pub group_weights: Vec<(String, f64)>,
    /// Query templates by name, in order.
    pub templates: Vec<(String, String)>,
    /// The promise about repeated looks, if `judge.judgeConfigurations.sequential` asks for one:
    /// `{"falseAlarmRate": 0.02, "plannedPoints": 60}`. The original reads no judge configurations.
    pub sequential: Option<Sequential>,
    /// `classifier.scoreThresholds`; shown by editors, not read by the judge.
    pub score_thresholds: Option<Thresholds>,
    classifier_given: bool,
    metrics_given: bool,
}

/// The scores from which a canary passes, and from which it is marginal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// A score of at least this is a Pass.
    pub pass: f64,
    /// Otherwise a score of at least this is Marginal, and anything else a Fail.
    pub marginal: f64,
}

impl Thresholds {
    /// Reads `{"pass","marginal"}`; a number may be in a string, as expressions leave it.
    ///
    /// # Errors
    /// [`JudgeError::Thresholds`] when either is missing, null or no finite number.
    pub fn parse(value: &Value) -> Result<Self, JudgeError> {
        let read = |key: &str| {
            let value = value.get(key).unwrap_or(&Value::Null);
            finite(value).ok_or_else(|| {
                JudgeError::Thresholds(format!("`{key}` must be a number, is {}", kind(value)))
            })
        };
        Ok(Self {
            pass: read("pass")?,
            marginal: read("marginal")?,
        })
    }

    /// Reads thresholds as the original does: numbers may be strings, and a missing or null one is 0.0, which every
    /// score from 0 on reaches.
    ///
    /// # Errors
    /// [`JudgeError::Thresholds`] when the whole is not an object, or one is no number.
    pub fn parse_compatible(value: &Value) -> Result<Self, JudgeError> {
        let fields = value
            .as_object()
            .ok_or_else(|| JudgeError::Thresholds(format!("must be an object, is `{value}`")))?;
        let read = |key: &str| {
            coerced_double(fields.get(key).unwrap_or(&Value::Null))
                .map(|number| number.unwrap_or(0.0))
                .map_err(|reason| JudgeError::Thresholds(format!("`{key}` {reason}")))
        };
        Ok(Self {
            pass: read("pass")?,
            marginal: read("marginal")?,
        })
    }
}

/// A finite number, or a string that holds one.
fn finite(value: &Value) -> Option<f64> {
    coerced_double(value)
        .ok()
        .flatten()
        .filter(|number| number.is_finite())
}

/// A text as the original's JSON reader takes it: a string, or the text of a number or truth value.
pub(crate) fn coerced_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// A double as the original's JSON reader takes it: a number, or a string that holds one; null and "" are absent.
pub(crate) fn coerced_double(value: &Value) -> Result<Option<f64>, String> {
    match value {
        Value::Null => Ok(None),
        Value::Number(number) => Ok(number.as_f64()),
        Value::String(text) => match text.trim() {
            "" => Ok(None),
            "NaN" => Ok(Some(f64::NAN)),
            "Infinity" | "INF" | "+Infinity" | "+INF" => Ok(Some(f64::INFINITY)),
            "-Infinity" | "-INF" => Ok(Some(f64::NEG_INFINITY)),
            // Rust's reader also takes `inf` and `nan`, which Java's refuses.
            number if !number.contains(['n', 'N', 'i', 'I']) => number
                .parse()
                .map(Some)
                .map_err(|_| format!("must be a number, is \"{text}\"")),
            _ => Err(format!("must be a number, is \"{text}\"")),
        },
        Value::Array(_) => Err("must be a number, is a list".to_owned()),
        Value::Object(_) => Err("must be a number, is an object".to_owned()),
        Value::Bool(flag) => Err(format!("must be a number, is `{flag}`")),
    }
}

impl CanaryConfig {
    /// Reads a configuration strictly: what the original would silently replace by a default is a problem here.
    ///
    /// # Errors
    /// All problems at once, each with its path: a missing or mistyped field, a null setting, an unknown setting or
    /// value (with what was probably meant), two metrics of one name.
    pub fn parse(value: &Value) -> Result<Self, Vec<Problem>> {
        let mut reader = StrictReader {
            problems: Vec::new(),
        };
        let config = reader.config(value);
        match config {
            Some(config) if reader.problems.is_empty() => Ok(config),
            _ => Err(reader.problems),
        }
    }

    /// Reads a configuration as the original does: unknown names become defaults, and what it throws on is kept to be
    /// thrown when a pair of that metric is judged.
    ///
    /// # Errors
    /// What the original's JSON reader refuses: a field of a wrong type, a metric without a name.
    pub fn parse_compatible(value: &Value) -> Result<Self, Vec<Problem>> {
        compatible_config(value).map_err(|(path, message)| {
            vec![Problem::new(
                Severity::Error,
                "wrong-type",
                path,
                message,
                "",
            )]
        })
    }

    /// The first metric of a name, as the original looks it up.
    pub fn metric(&self, name: &str) -> Option<&MetricConfig> {
        self.metrics.iter().find(|metric| metric.name == name)
    }

    /// What the original throws on once a judgement starts, whatever the pairs.
    pub(crate) fn missing_part(&self) -> Option<&'static str> {
        if !self.classifier_given {
            Some("classifier")
        } else if !self.metrics_given {
            Some("metrics")
        } else {
            None
        }
    }
}

type Refused = (String, String);

fn compatible_config(value: &Value) -> Result<CanaryConfig, Refused> {
    let fields = value
        .as_object()
        .ok_or_else(|| ("$".to_owned(), "must be an object".to_owned()))?;
    let absent = |value: &&Value| !value.is_null();
    let metrics = fields.get("metrics").filter(absent);
    let mut read = Vec::new();
    if let Some(metrics) = metrics {
        let list = metrics
            .as_array()
            .ok_or_else(|| ("$.metrics".to_owned(), "must be a list".to_owned()))?;
        for (index, metric) in list.iter().enumerate() {
            read.push(compatible_metric(metric, &format!("$.metrics[{index}]"))?);
        }
    }
    let classifier = fields.get("classifier").filter(absent);
    let mut group_weights = Vec::new();
    if let Some(classifier) = classifier {
        let path = "$.classifier";
        let classifier = classifier
            .as_object()
            .ok_or_else(|| (path.to_owned(), "must be an object".to_owned()))?;
        if let Some(weights) = classifier.get("groupWeights").filter(absent) {
            let path = format!("{path}.groupWeights");
            let weights = weights
                .as_object()
                .ok_or_else(|| (path.clone(), "must be an object".to_owned()))?;
            for (group, weight) in weights {
                let weight = coerced_double(weight)
                    .map_err(|reason| (format!("{path}[\"{group}\"]"), reason))?;
                group_weights.push((group.clone(), weight.unwrap_or(0.0)));
            }
        }
    }
    Ok(CanaryConfig {
        name: text_of(fields, "name").unwrap_or_default(),
        judge: judge_name(fields),
        metrics: read,
        group_weights,
        templates: templates_of(fields),
        sequential: None,
        score_thresholds: thresholds_of(fields),
        classifier_given: classifier.is_some(),
        metrics_given: metrics.is_some(),
    })
}

fn text_of(fields: &Map<String, Value>, key: &str) -> Option<String> {
    fields.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn judge_name(fields: &Map<String, Value>) -> Option<String> {
    fields
        .get("judge")
        .and_then(|judge| judge.get("name"))
        .and_then(Value::as_str)
        .map(str::to_owned)
}

fn templates_of(fields: &Map<String, Value>) -> Vec<(String, String)> {
    fields
        .get("templates")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(name, text)| Some((name.clone(), text.as_str()?.to_owned())))
        .collect()
}

fn thresholds_of(fields: &Map<String, Value>) -> Option<Thresholds> {
    let thresholds = fields.get("classifier")?.get("scoreThresholds")?;
    Thresholds::parse(thresholds).ok()
}

fn compatible_metric(value: &Value, path: &str) -> Result<MetricConfig, Refused> {
    let fields = value
        .as_object()
        .ok_or_else(|| (path.to_owned(), "must be an object".to_owned()))?;
    // A metric without a name is never found by a pair.
    let name = match fields.get("name") {
        None | Some(Value::Null) => String::new(),
        Some(name) => coerced_text(name)
            .ok_or_else(|| (format!("{path}.name"), "must be a string".to_owned()))?,
    };
    let groups = match fields.get("groups") {
        None | Some(Value::Null) => None,
        Some(Value::Array(groups)) => Some(
            groups
                .iter()
                .map(|group| {
                    coerced_text(group).ok_or_else(|| {
                        let reason = format!("must be a list of strings, has `{group}`");
                        (format!("{path}.groups"), reason)
                    })
                })
                .collect::<Result<_, _>>()?,
        ),
        Some(_) => return Err((format!("{path}.groups"), "must be a list".to_owned())),
    };
    let configurations = match fields.get("analysisConfigurations") {
        None | Some(Value::Null) => &Value::Null,
        Some(configurations @ Value::Object(_)) => configurations,
        Some(_) => {
            let path = format!("{path}.analysisConfigurations");
            return Err((path, "must be an object".to_owned()));
        }
    };
    for (key, value) in configurations.as_object().into_iter().flatten() {
        if !value.is_null() && !value.is_object() {
            let path = format!("{path}.analysisConfigurations.{key}");
            return Err((path, "must be an object".to_owned()));
        }
    }
    let canary = configurations.get("canary").unwrap_or(&Value::Null);
    Ok(MetricConfig {
        name,
        query: fields.get("query").cloned().unwrap_or(Value::Null),
        groups,
        scope_name: text_of(fields, "scopeName").unwrap_or_else(|| "default".to_owned()),
        analysis: compatible_analysis(canary),
    })
}

/// A setting as the original's path look-up finds it.
enum Found<'a> {
    /// Nothing there: the default holds.
    Absent,
    /// A value, null included.
    Value(&'a Value),
    /// A list was crossed on the way, so the value became a list.
    Listed,
}

fn look_up<'a>(value: &'a Value, path: &[&str]) -> Found<'a> {
    let [head, rest @ ..] = path else {
        return Found::Value(value);
    };
    match value {
        Value::Object(fields) => fields
            .get(*head)
            .map_or(Found::Absent, |inner| look_up(inner, rest)),
        Value::Array(items) => {
            let any = items
                .iter()
                .any(|item| !matches!(look_up(item, path), Found::Absent));
            if any { Found::Listed } else { Found::Absent }
        }
        _ => Found::Absent,
    }
}

/// A setting's text: anything but a string has a text form that no known name equals; null has none, which throws.
fn compatible_text<'a>(canary: &'a Value, path: &[&str]) -> Result<Option<&'a str>, String> {
    match look_up(canary, path) {
        Found::Absent => Ok(None),
        Found::Value(Value::Null) => Err(format!("`{}` is null", path.join("."))),
        Found::Value(Value::String(text)) => Ok(Some(text)),
        Found::Value(_) | Found::Listed => Ok(Some("")),
    }
}

fn compatible_flag(canary: &Value, path: &[&str]) -> Result<bool, String> {
    match look_up(canary, path) {
        Found::Absent | Found::Value(Value::Null) => Ok(false),
        Found::Value(Value::Bool(flag)) => Ok(*flag),
        Found::Value(other) => Err(format!(
            "`{}` must be true or false, is `{other}`",
            path.join(".")
        )),
        Found::Listed => Err(format!("`{}` is inside a list", path.join("."))),
    }
}

/// A setting's number: integers beyond 32 bits are another type in the original, which it cannot convert.
fn compatible_number(canary: &Value, path: &[&str], default: f64) -> Result<f64, String> {
    match look_up(canary, path) {
        Found::Absent => Ok(default),
        Found::Value(Value::Null) => Ok(0.0),
        Found::Value(Value::Number(number)) => {
            if let Some(integer) = number.as_i64() {
                return i32::try_from(integer)
                    .map(f64::from)
                    .map_err(|_| format!("`{}` exceeds 32 bits", path.join(".")));
            }
            if number.is_u64() {
                return Err(format!("`{}` exceeds 32 bits", path.join(".")));
            }
            number
                .as_f64()
                .ok_or_else(|| format!("`{}` is no double", path.join(".")))
        }
        Found::Value(other) => Err(format!(
            "`{}` must be a number, is `{other}`",
            path.join(".")
        )),
        Found::Listed => Err(format!("`{}` is inside a list", path.join("."))),
    }
}

fn compatible_analysis(canary: &Value) -> Result<Analysis, String> {
    let direction = compatible_text(canary, &["direction"])?;
    let nan_strategy = compatible_text(canary, &["nanStrategy"])?;
    let outliers = compatible_text(canary, &["outliers", "strategy"])?;
    let factor = compatible_number(canary, &["outliers", "outlierFactor"], 3.0)?;
    let critical = compatible_flag(canary, &["critical"])?;
    let must_have_data = compatible_flag(canary, &["mustHaveData"])?;
    let muted = compatible_flag(canary, &["muted"])?;
    let measure = match compatible_text(canary, &["effectSize", "measure"])? {
        Some("cles") => EffectMeasure::CommonLanguage,
        _ => EffectMeasure::MeanRatio,
    };
    let limit = |key| compatible_number(canary, &["effectSize", key], measure.no_effect());
    let (allowed_increase, allowed_decrease) =
        (limit("allowedIncrease")?, limit("allowedDecrease")?);
    let (critical_increase, critical_decrease) =
        (limit("criticalIncrease")?, limit("criticalDecrease")?);
    let outlier_factor = (outliers == Some("remove")).then_some(factor);
    if outlier_factor.is_some_and(|factor| factor <= 0.0) {
        return Err("`outliers.outlierFactor` must be above zero".to_owned());
    }
    Ok(Analysis {
        direction: match direction {
            Some("increase") => Direction::Increase,
            Some("decrease") => Direction::Decrease,
            _ => Direction::Either,
        },
        nan_strategy: match nan_strategy {
            Some("replace") => NanStrategy::Replace,
            _ => NanStrategy::Remove,
        },
        outlier_factor,
        critical,
        must_have_data,
        muted,
        measure,
        allowed_increase,
        allowed_decrease,
        critical_increase,
        critical_decrease,
        direction_given: direction.is_some(),
    })
}

impl EffectMeasure {
    /// The value that means no effect, which is what every limit defaults to.
    pub fn no_effect(self) -> f64 {
        match self {
            Self::MeanRatio => 1.0,
            Self::CommonLanguage => 0.5,
        }
    }
}

struct StrictReader {
    problems: Vec<Problem>,
}

impl StrictReader {
    fn error(&mut self, code: &'static str, path: &str, message: String, hint: &str) {
        self.problems
            .push(Problem::new(Severity::Error, code, path, message, hint));
    }

    fn object<'a>(&mut self, value: &'a Value, path: &str) -> Option<&'a Map<String, Value>> {
        if !value.is_object() {
            self.error(
                "wrong-type",
                path,
                format!("must be an object, is {}", kind(value)),
                "",
            );
        }
        value.as_object()
    }

    fn required<'a>(
        &mut self,
        fields: &'a Map<String, Value>,
        key: &str,
        path: &str,
        hint: &str,
    ) -> Option<&'a Value> {
        let value = fields.get(key).filter(|value| !value.is_null());
        if value.is_none() {
            self.error(
                "missing-field",
                &format!("{path}.{key}"),
                format!("`{key}` is missing"),
                hint,
            );
        }
        value
    }

    fn config(&mut self, value: &Value) -> Option<CanaryConfig> {
        let fields = self.object(value, "$")?;
        if !fields.contains_key("metrics")
            && fields.get("canaryConfig").is_some_and(Value::is_object)
        {
            // As Kayenta's standalone requests have it, beside `executionRequest`.
            let message = "the configuration is inside `canaryConfig`".to_owned();
            self.error(
                "wrapped-configuration",
                "$.canaryConfig",
                message,
                "give what `canaryConfig` holds, alone",
            );
            return None;
        }
        let mut metrics: Vec<MetricConfig> = Vec::new();
        let hint = "a canary configuration lists its metrics";
        if let Some(list) = self.required(fields, "metrics", "$", hint) {
            if let Some(list) = list.as_array() {
                for (index, metric) in list.iter().enumerate() {
                    let path = format!("$.metrics[{index}]");
                    let Some(metric) = self.metric(metric, &path) else {
                        continue;
                    };
                    if metrics.iter().any(|other| other.name == metric.name) {
                        self.error(
                            "duplicate-metric",
                            &format!("{path}.name"),
                            format!("a metric `{}` is already defined", metric.name),
                            "pairs find their metric by name, so the second would never be used",
                        );
                    }
                    metrics.push(metric);
                }
            } else {
                let message = format!("must be a list, is {}", kind(list));
                self.error("wrong-type", "$.metrics", message, "");
            }
        }
        let mut group_weights = Vec::new();
        let hint = "give `{\"groupWeights\": {\"<group>\": 100}}`";
        if let Some(classifier) = self.required(fields, "classifier", "$", hint)
            && let Some(classifier) = self.object(classifier, "$.classifier")
        {
            self.weights(classifier, &mut group_weights);
            self.own_thresholds(classifier);
        }
        Some(CanaryConfig {
            name: text_of(fields, "name").unwrap_or_default(),
            judge: judge_name(fields),
            metrics,
            group_weights,
            templates: self.templates(fields),
            sequential: self.sequential(fields),
            score_thresholds: thresholds_of(fields),
            classifier_given: true,
            metrics_given: true,
        })
    }

    fn weights(&mut self, classifier: &Map<String, Value>, group_weights: &mut Vec<(String, f64)>) {
        let path = "$.classifier.groupWeights";
        // Without weights every group gets an equal share, which is what the original does as well.
        let Some(weights) = classifier.get("groupWeights").filter(|v| !v.is_null()) else {
            return;
        };
        for (group, weight) in self.object(weights, path).into_iter().flatten() {
            match finite(weight) {
                Some(number) => group_weights.push((group.clone(), number)),
                None => self.error(
                    if weight.is_null() {
                        "null-setting"
                    } else {
                        "wrong-type"
                    },
                    &format!("{path}[\"{group}\"]"),
                    format!(
                        "the weight of group `{group}` must be a number, is {}",
                        kind(weight)
                    ),
                    "",
                ),
            }
        }
    }

    fn sequential(&mut self, fields: &Map<String, Value>) -> Option<Sequential> {
        let path = "$.judge.judgeConfigurations.sequential";
        let configurations = fields.get("judge")?.get("judgeConfigurations")?;
        let sequential = configurations.get("sequential")?;
        let sequential = self.object(sequential, path)?;
        self.known_keys(sequential, path, &["falseAlarmRate", "plannedPoints"]);
        let rate = self.number(sequential, "falseAlarmRate", path, 0.02);
        let planned = self.number(sequential, "plannedPoints", path, 60.0);
        let promise = Sequential::new(rate, planned);
        if promise.is_none() {
            let message = format!("no promise of {rate} for {planned} planned points can be kept");
            let hint = "`falseAlarmRate` is above 0 and below 1, `plannedPoints` at least 1";
            self.error("out-of-range", path, message, hint);
        }
        promise
    }

    fn own_thresholds(&mut self, classifier: &Map<String, Value>) {
        if let Some(thresholds) = classifier.get("scoreThresholds").filter(|v| !v.is_null())
            && let Err(error) = Thresholds::parse(thresholds)
        {
            self.error(
                "wrong-type",
                "$.classifier.scoreThresholds",
                error.to_string(),
                "",
            );
        }
    }

    fn templates(&mut self, fields: &Map<String, Value>) -> Vec<(String, String)> {
        let Some(templates) = fields.get("templates").filter(|v| !v.is_null()) else {
            return Vec::new();
        };
        let mut read = Vec::new();
        for (name, text) in self.object(templates, "$.templates").into_iter().flatten() {
            match text.as_str() {
                Some(text) => read.push((name.clone(), text.to_owned())),
                None => self.error(
                    "wrong-type",
                    &format!("$.templates[\"{name}\"]"),
                    format!("a template is a string, this is {}", kind(text)),
                    "",
                ),
            }
        }
        read
    }

    fn metric(&mut self, value: &Value, path: &str) -> Option<MetricConfig> {
        let fields = self.object(value, path)?;
        let name = self.required(fields, "name", path, "")?;
        let Some(name) = name.as_str() else {
            let message = format!("must be a string, is {}", kind(name));
            self.error("wrong-type", &format!("{path}.name"), message, "");
            return None;
        };
        let mut groups = Vec::new();
        let groups_path = format!("{path}.groups");
        let hint = "a metric is scored in its groups: name at least one";
        if let Some(list) = self.required(fields, "groups", path, hint) {
            match list.as_array() {
                Some(list) => {
                    for group in list {
                        match group.as_str() {
                            Some(group) => groups.push(group.to_owned()),
                            None => {
                                let message =
                                    format!("a group is a string, this is {}", kind(group));
                                self.error("wrong-type", &groups_path, message, "");
                            }
                        }
                    }
                }
                None => {
                    let message = format!("must be a list, is {}", kind(list));
                    self.error("wrong-type", &groups_path, message, "");
                }
            }
        }
        let path = format!("{path}.analysisConfigurations");
        let mut canary = None;
        if let Some(configurations) = fields
            .get("analysisConfigurations")
            .filter(|v| !v.is_null())
        {
            let configurations = self.object(configurations, &path)?;
            if let Some(value) = configurations.get("canary").filter(|v| !v.is_null()) {
                canary = Some(self.object(value, &format!("{path}.canary"))?);
            }
        }
        let nothing = Map::new();
        let analysis = self.analysis(canary.unwrap_or(&nothing), &format!("{path}.canary"));
        Some(MetricConfig {
            name: name.to_owned(),
            query: fields.get("query").cloned().unwrap_or(Value::Null),
            groups: Some(groups),
            scope_name: text_of(fields, "scopeName").unwrap_or_else(|| "default".to_owned()),
            analysis: Ok(analysis),
        })
    }

    fn analysis(&mut self, canary: &Map<String, Value>, path: &str) -> Analysis {
        self.known_keys(
            canary,
            path,
            &[
                "direction",
                "nanStrategy",
                "outliers",
                "critical",
                "mustHaveData",
                "muted",
                "effectSize",
            ],
        );
        let direction = self.choice(
            canary,
            "direction",
            path,
            &[
                ("either", Direction::Either),
                ("increase", Direction::Increase),
                ("decrease", Direction::Decrease),
            ],
        );
        let nan_strategy = self.choice(
            canary,
            "nanStrategy",
            path,
            &[
                ("none", NanStrategy::Remove),
                ("remove", NanStrategy::Remove),
                ("replace", NanStrategy::Replace),
            ],
        );
        let outliers_path = format!("{path}.outliers");
        let nothing = Map::new();
        let outliers = self.inner(canary, "outliers", path).unwrap_or(&nothing);
        self.known_keys(outliers, &outliers_path, &["strategy", "outlierFactor"]);
        let remove = self.choice(
            outliers,
            "strategy",
            &outliers_path,
            &[("none", false), ("keep", false), ("remove", true)],
        );
        let factor = self.number(outliers, "outlierFactor", &outliers_path, 3.0);
        if remove == Some(true) && factor <= 0.0 {
            self.error(
                "out-of-range",
                &format!("{outliers_path}.outlierFactor"),
                format!("the outlier factor must be above zero, is {factor}"),
                "3.0 is the default",
            );
        }
        let effect_path = format!("{path}.effectSize");
        let effect = self.inner(canary, "effectSize", path).unwrap_or(&nothing);
        self.known_keys(
            effect,
            &effect_path,
            &[
                "measure",
                "allowedIncrease",
                "allowedDecrease",
                "criticalIncrease",
                "criticalDecrease",
            ],
        );
        let measure = self
            .choice(
                effect,
                "measure",
                &effect_path,
                &[
                    ("meanRatio", EffectMeasure::MeanRatio),
                    ("cles", EffectMeasure::CommonLanguage),
                ],
            )
            .unwrap_or(EffectMeasure::MeanRatio);
        let mut limit = |key| self.number(effect, key, &effect_path, measure.no_effect());
        let (allowed_increase, allowed_decrease) =
            (limit("allowedIncrease"), limit("allowedDecrease"));
        let (critical_increase, critical_decrease) =
            (limit("criticalIncrease"), limit("criticalDecrease"));
        Analysis {
            direction: direction.unwrap_or(Direction::Either),
            nan_strategy: nan_strategy.unwrap_or(NanStrategy::Remove),
            outlier_factor: (remove == Some(true)).then_some(factor),
            critical: self.flag(canary, "critical", path),
            must_have_data: self.flag(canary, "mustHaveData", path),
            muted: self.flag(canary, "muted", path),
            measure,
            allowed_increase,
            allowed_decrease,
            critical_increase,
            critical_decrease,
            direction_given: canary.contains_key("direction"),
        }
    }

    fn known_keys(&mut self, fields: &Map<String, Value>, path: &str, known: &[&str]) {
        for key in fields.keys() {
            if !known.contains(&key.as_str()) {
                self.error(
                    "unknown-setting",
                    &format!("{path}.{key}"),
                    format!("unknown setting `{key}`"),
                    &meant(key, known),
                );
            }
        }
    }

    /// A value that is there; null is a problem of its own, as the original throws on some and zeroes others.
    fn present<'a>(
        &mut self,
        fields: &'a Map<String, Value>,
        key: &str,
        path: &str,
    ) -> Option<&'a Value> {
        let value = fields.get(key)?;
        if value.is_null() {
            self.error(
                "null-setting",
                &format!("{path}.{key}"),
                format!("`{key}` is null"),
                "leave it out to get the default",
            );
            return None;
        }
        Some(value)
    }

    fn inner<'a>(
        &mut self,
        fields: &'a Map<String, Value>,
        key: &str,
        path: &str,
    ) -> Option<&'a Map<String, Value>> {
        let value = self.present(fields, key, path)?;
        self.object(value, &format!("{path}.{key}"))
    }

    fn choice<T: Copy>(
        &mut self,
        fields: &Map<String, Value>,
        key: &str,
        path: &str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let value = self.present(fields, key, path)?;
        let found = value
            .as_str()
            .and_then(|text| choices.iter().find(|(name, _)| *name == text));
        if found.is_none() {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            let hint = value.as_str().map_or_else(
                || format!("one of {}", quoted(&names)),
                |text| meant(text, &names),
            );
            self.error(
                "unknown-value",
                &format!("{path}.{key}"),
                format!(
                    "unknown {key} `{}`",
                    value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned)
                ),
                &hint,
            );
        }
        found.map(|(_, choice)| *choice)
    }

    fn flag(&mut self, fields: &Map<String, Value>, key: &str, path: &str) -> bool {
        let Some(value) = self.present(fields, key, path) else {
            return false;
        };
        value.as_bool().unwrap_or_else(|| {
            let message = format!("`{key}` must be true or false, is {}", kind(value));
            self.error("wrong-type", &format!("{path}.{key}"), message, "");
            false
        })
    }

    fn number(&mut self, fields: &Map<String, Value>, key: &str, path: &str, default: f64) -> f64 {
        let Some(value) = self.present(fields, key, path) else {
            return default;
        };
        value.as_f64().filter(|n| n.is_finite()).unwrap_or_else(|| {
            let message = format!("`{key}` must be a number, is {}", kind(value));
            self.error("wrong-type", &format!("{path}.{key}"), message, "");
            default
        })
    }
}

fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::String(text) => format!("the string `{text}`"),
        Value::Bool(_) | Value::Number(_) => format!("`{value}`"),
    }
}

fn quoted(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// The name that was probably meant: the same but for case, or within two edits.
fn meant(text: &str, names: &[&str]) -> String {
    let close = names.iter().min_by_key(|name| {
        if name.eq_ignore_ascii_case(text) {
            0
        } else {
            strsim::levenshtein(&name.to_ascii_lowercase(), &text.to_ascii_lowercase())
        }
    });
    match close {
        Some(name)
            if name.eq_ignore_ascii_case(text)
                || strsim::levenshtein(&name.to_ascii_lowercase(), &text.to_ascii_lowercase())
                    <= 2 =>
        {
            format!("did you mean `{name}`?")
        }
        _ => format!("one of {}", quoted(names)),
    }
}
