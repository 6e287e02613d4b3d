use std::collections::BTreeMap;

/// One side of a canary: whose metrics, of which time.
#[derive(Clone, Debug, PartialEq)]
pub struct Scope {
    /// A server group's name, as a rule.
    pub scope: String,
    /// A region, as a rule.
    pub location: String,
    /// Start, UTC milliseconds.
    pub start: i64,
    /// End, UTC milliseconds.
    pub end: i64,
    /// Seconds of one point; 0 lets the store choose where it can.
    pub step: u32,
    /// `extendedScopeParams`.
    pub extended: BTreeMap<String, String>,
}

impl Scope {
    /// Points that the time holds; 0 for a step of 0.
    #[must_use]
    pub fn points(&self) -> usize {
        expected(self.start, self.end, i64::from(self.step) * 1_000)
    }

    /// A series without a point, which stands for a store that has no data.
    #[must_use]
    pub fn nothing(&self) -> Series {
        Series {
            tags: BTreeMap::new(),
            start: self.start,
            end: self.end,
            step_millis: i64::from(self.step) * 1_000,
            values: Vec::new(),
        }
    }
}

/// One series of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What distinguishes it from the metric's other series.
    pub tags: BTreeMap<String, String>,
    /// Time of the first point, UTC milliseconds.
    pub start: i64,
    /// End, UTC milliseconds.
    pub end: i64,
    /// Milliseconds between points; 0 if unknown.
    pub step_millis: i64,
    /// Values in order of time; NaN where a point is missing.
    pub values: Vec<f64>,
}

impl Series {
    /// Points that its time holds; 0 if the step is unknown.
    #[must_use]
    pub fn expected_points(&self) -> usize {
        expected(self.start, self.end, self.step_millis)
    }
}

fn expected(start: i64, end: i64, step: i64) -> usize {
    if step <= 0 {
        return 0;
    }
    usize::try_from(end.saturating_sub(start).max(0) / step).unwrap_or(usize::MAX)
}
