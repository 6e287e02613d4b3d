//! The report of a judgement: one JSON document, or one HTML page that needs nothing else.

use crate::config::{CanaryConfig, Thresholds};
use crate::judge::TOLERANCE;
use crate::judgement::{Classification, Judgement, MetricResult, Verdict, double};
use crate::mann_whitney::Interval;
use crate::pairs::MetricPair;
use crate::statistics::percentile;
use serde_json::{Value, json};
use std::fmt::Write;

/// The judgement of one interval, for the score over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// What stands below its point, such as `#3` or a time.
    pub label: String,
    /// Its score.
    pub score: f64,
    /// Its verdict.
    pub verdict: Verdict,
}

/// All a report is made of. Nothing else is read: the same report gives the same bytes.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// What was judged, such as the application and the execution.
    pub title: &'a str,
    /// The configuration.
    pub config: &'a CanaryConfig,
    /// The pairs of the last judgement, in the order of its results.
    pub pairs: &'a [MetricPair],
    /// The last judgement.
    pub judgement: &'a Judgement,
    /// The thresholds it was judged by.
    pub thresholds: Thresholds,
    /// The judgements of all intervals including the last, or none.
    pub looks: &'a [Look],
    /// Seconds between two points, if known: the time axes then count minutes.
    pub step_seconds: Option<f64>,
}

impl Report<'_> {
    /// The report as JSON: verdict, thresholds, looks, for each metric the interval of the shift and the effect beside
    /// its classification, and the whole `judgeResult`.
    pub fn to_json(&self) -> Value {
        let looks: Vec<Value> = self
            .looks
            .iter()
            .map(|look| {
                json!({ "label": look.label, "score": double(look.score), "classification": look.verdict.as_str() })
            })
            .collect();
        let metrics: Vec<Value> = self.judgement.results.iter().map(metric_json).collect();
        let score = &self.judgement.score;
        json!({
            "title": self.title,
            "configuration": self.config.name,
            "score": double(score.score),
            "classification": score.verdict.as_str(),
            "classificationReason": score.reason,
            "thresholds": { "pass": self.thresholds.pass, "marginal": self.thresholds.marginal },
            "looks": looks,
            "metrics": metrics,
            "judgeResult": self.judgement.to_json(),
        })
    }

    /// The report as a page: HTML with its style and drawings inside, no script and no other file, light or dark as the
    /// reader prefers, one column on a phone. All text is escaped.
    pub fn to_html(&self) -> String {
        let mut page = Page::default();
        let title = escaped(self.title);
        page.put(&format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <title>{title}: {}</title>\n<style>\n{}</style></head>\n<body>\n",
            self.judgement.score.verdict.as_str(),
            include_str!("report.css"),
        ));
        self.head(&mut page, &title);
        self.looks(&mut page);
        self.groups(&mut page);
        page.put("<h2>Metrics</h2>\n<p><span class=\"key kb\">baseline</span><span class=\"key kc\">canary</span></p>\n");
        let mut order: Vec<(&MetricResult, Option<&MetricPair>)> = self
            .judgement
            .results
            .iter()
            .enumerate()
            .map(|(index, result)| (result, self.pairs.get(index)))
            .collect();
        // What failed the canary comes first, what passed last; within each in the order given.
        order.sort_by_key(|(result, _)| rank(result));
        for (result, pair) in order {
            self.metric(&mut page, result, pair);
        }
        page.put("</body></html>\n");
        page.text
    }

    fn head(&self, page: &mut Page, title: &str) {
        let score = &self.judgement.score;
        let Thresholds { pass, marginal } = self.thresholds;
        page.put(&format!(
            "<h1>{title}</h1>\n<section class=\"verdict {}\"><strong>{} with {}</strong>\
             <span class=\"dim\">pass from {pass}, marginal from {marginal}</span>",
            tone(score.verdict),
            score.verdict.as_str(),
            shown(score.score),
        ));
        if !score.reason.is_empty() {
            page.put(&format!("<span>{}</span>", escaped(&score.reason)));
        }
        page.put("</section>\n");
        if !self.config.name.is_empty() {
            page.put(&format!(
                "<p class=\"dim\">Configuration {}</p>\n",
                escaped(&self.config.name)
            ));
        }
    }

    fn looks(&self, page: &mut Page) {
        if self.looks.len() < 2 {
            return;
        }
        page.put("<h2>Score over time</h2>\n");
        let scores = self.looks.iter().map(|look| look.score);
        let (low, high) = range(scores.chain([0.0, 100.0]));
        let frame = Frame::new(
            480.0,
            170.0,
            (0.0, (self.looks.len() - 1) as f64),
            (low, high),
        );
        let mut svg = frame.open("Score at each look, with the thresholds");
        for (value, verdict) in [
            (self.thresholds.pass, Verdict::Pass),
            (self.thresholds.marginal, Verdict::Marginal),
        ] {
            let y = frame.y(value.clamp(low, high));
            let _ = write!(
                svg,
                "<g class=\"{}\"><path class=\"toneline\" stroke-dasharray=\"4 4\" d=\"M{} {y:.1}H{}\"/></g>",
                tone(verdict),
                Frame::LEFT,
                frame.right(),
            );
        }
        let scores: Vec<f64> = self.looks.iter().map(|look| look.score).collect();
        let _ = write!(svg, "<path class=\"score\" d=\"{}\"/>", frame.path(&scores));
        for (index, look) in self.looks.iter().enumerate() {
            let _ = write!(
                svg,
                "<g class=\"{}\"><circle class=\"tone\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\"><title>{}: {} {}</title></circle></g>",
                tone(look.verdict),
                frame.x(index as f64),
                frame.y(look.score),
                escaped(&look.label),
                look.verdict.as_str(),
                shown(look.score),
            );
        }
        let ends = [self.looks.first(), self.looks.last()];
        let [first, last] = ends.map(|look| look.map_or("", |look| look.label.as_str()));
        frame.label_x(&mut svg, first, last);
        page.put(&svg);
        page.put("</svg>\n");
    }

    fn groups(&self, page: &mut Page) {
        page.put("<h2>Groups</h2>\n<div class=\"scroll\"><table><tr><th>Group</th><th>Score</th><th>Weight</th></tr>\n");
        for group in &self.judgement.group_scores {
            let weight = self
                .config
                .group_weights
                .iter()
                .find(|(name, _)| *name == group.name)
                .map_or_else(|| "share".to_owned(), |(_, weight)| shown(*weight));
            let score = if group.no_data {
                "no data".to_owned()
            } else {
                shown(group.score)
            };
            page.put(&format!(
                "<tr><td>{}</td><td>{score}</td><td>{weight}</td></tr>\n",
                escaped(&group.name)
            ));
        }
        page.put("</table></div>\n");
    }

    fn metric(&self, page: &mut Page, result: &MetricResult, pair: Option<&MetricPair>) {
        page.put(&format!(
            "<section class=\"metric {}\"><header><h3>{}</h3><span class=\"word\">{}</span>",
            metric_tone(result),
            escaped(&result.name),
            result.classification.as_str(),
        ));
        for (flag, word) in [
            (result.critical, "failed the canary"),
            (result.muted, "muted"),
        ] {
            if flag {
                page.put(&format!("<span class=\"dim\">{word}</span>"));
            }
        }
        page.put("</header>\n");
        if let Some(reason) = &result.reason {
            page.put(&format!("<p>{}</p>\n", escaped(reason)));
        }
        if let Some(tags) = result.tags.as_ref().and_then(Value::as_object)
            && !tags.is_empty()
        {
            let tags: Vec<String> = tags
                .iter()
                .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("?")))
                .collect();
            page.put(&format!(
                "<p class=\"dim\">{}</p>\n",
                escaped(&tags.join(", "))
            ));
        }
        if let Some(pair) = pair.filter(|pair| pair.name == result.name) {
            page.put("<div class=\"plots\"><div><h4>Over time</h4>\n");
            page.put(&self.lines(pair));
            page.put("</div><div><h4>Distribution</h4>\n");
            page.put(&distribution(pair));
            page.put("</div></div>\n");
        }
        if let Some(interval) = &result.interval {
            page.put("<h4>Shift of the canary, and the quarter of it around zero that its interval has to clear</h4>\n");
            page.put(&shift(interval));
        }
        page.put("<div class=\"scroll\"><table><tr><th></th><th>Points</th><th>Mean</th><th>Deviation</th><th>Least</th><th>Greatest</th></tr>\n");
        for (side, summary) in [("Baseline", &result.baseline), ("Canary", &result.canary)] {
            page.put(&format!(
                "<tr><td>{side}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
                summary.count,
                shown(summary.mean),
                shown(summary.std),
                shown(summary.min),
                shown(summary.max),
            ));
        }
        page.put("</table></div>\n");
        if let (Some(ratio), Some(_)) = (result.ratio, &result.interval) {
            page.put(&format!("<p class=\"dim\">Mean ratio {}", shown(ratio)));
            if let Some(effect) = result
                .effect
                .filter(|effect| *effect != ratio && !effect.is_nan())
            {
                page.put(&format!(", common language effect {}", shown(effect)));
            }
            page.put("</p>\n");
        }
        page.put("</section>\n");
    }

    fn lines(&self, pair: &MetricPair) -> String {
        let present = pair.baseline.iter().chain(&pair.canary);
        let Some(bounds) = finite_range(present.copied()) else {
            return "<p class=\"dim\">no data</p>\n".to_owned();
        };
        let points = pair.baseline.len().max(pair.canary.len());
        let frame = Frame::new(
            480.0,
            200.0,
            (0.0, points.saturating_sub(1).max(1) as f64),
            bounds,
        );
        let mut svg = frame.open("Baseline and canary over time");
        for (class, values) in [("b", &pair.baseline), ("c", &pair.canary)] {
            let _ = write!(
                svg,
                "<path class=\"{class}\" d=\"{}\"/>",
                frame.path(values)
            );
        }
        let end = match self.step_seconds {
            Some(step) => format!(
                "{} min",
                shown(points.saturating_sub(1) as f64 * step / 60.0)
            ),
            None => format!("{points} points"),
        };
        frame.label_x(&mut svg, "0", &end);
        svg + "</svg>\n"
    }
}

fn metric_json(result: &MetricResult) -> Value {
    let interval = result.interval.map(|interval| {
        json!({ "lower": double(interval.lower), "upper": double(interval.upper), "estimate": double(interval.estimate) })
    });
    json!({
        "name": result.name,
        "id": result.id,
        "classification": result.classification.as_str(),
        "classificationReason": result.reason,
        "critical": result.critical,
        "muted": result.muted,
        "shift": interval,
        "meanRatio": result.ratio.map(double),
        "effect": result.effect.map(double),
    })
}

fn rank(result: &MetricResult) -> u8 {
    match (result.critical, result.classification) {
        _ if result.muted => 4,
        (true, _) => 0,
        (_, Classification::Pass) => 3,
        (_, Classification::Nodata) => 2,
        _ => 1,
    }
}

fn tone(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Marginal => "marginal",
        Verdict::Fail => "fail",
    }
}

fn metric_tone(result: &MetricResult) -> &'static str {
    match result.classification {
        _ if result.muted => "none",
        Classification::Pass => "pass",
        Classification::Nodata if !result.critical => "none",
        _ => "fail",
    }
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn put(&mut self, text: &str) {
        self.text.push_str(text);
    }
}

/// Text for HTML content and attributes.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// A number with about four significant digits.
fn shown(value: f64) -> String {
    let magnitude = value.abs();
    if !value.is_finite() {
        "undefined".to_owned()
    } else if magnitude != 0.0 && !(1e-4..1e7).contains(&magnitude) {
        format!("{value:.3e}")
    } else {
        let decimals = match magnitude {
            m if m >= 1000.0 => 1,
            m if m >= 10.0 => 2,
            m if m >= 0.1 || m == 0.0 => 3,
            _ => 6,
        };
        let text = format!("{value:.decimals$}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        if text == "-0" {
            "0".to_owned()
        } else {
            text.to_owned()
        }
    }
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    finite_range(values).unwrap_or((0.0, 1.0))
}

/// Least and greatest finite value; a single value gets some room. None without any.
fn finite_range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
    if low > high {
        None
    } else if low == high {
        let room = if low == 0.0 { 1.0 } else { low.abs() * 0.1 };
        Some((low - room, high + room))
    } else {
        Some((low, high))
    }
}

/// A drawing area with axes: data coordinates in, SVG coordinates out.
struct Frame {
    width: f64,
    height: f64,
    x: (f64, f64),
    y: (f64, f64),
}

impl Frame {
    const LEFT: f64 = 64.0;
    const TOP: f64 = 8.0;
    const BELOW: f64 = 22.0;
    /// More points than this are drawn as the least and greatest of as many stretches.
    const MOST_POINTS: usize = 400;

    fn new(width: f64, height: f64, x: (f64, f64), y: (f64, f64)) -> Self {
        Self {
            width,
            height,
            x,
            y,
        }
    }

    fn right(&self) -> f64 {
        self.width - 10.0
    }

    fn bottom(&self) -> f64 {
        self.height - Self::BELOW
    }

    fn x(&self, value: f64) -> f64 {
        Self::LEFT + share(value, self.x) * (self.right() - Self::LEFT)
    }

    fn y(&self, value: f64) -> f64 {
        self.bottom() - share(value, self.y) * (self.bottom() - Self::TOP)
    }

    /// The opening tag, the axes and the labels of the y axis.
    fn open(&self, title: &str) -> String {
        let (left, top, bottom) = (Self::LEFT, Self::TOP, self.bottom());
        format!(
            "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{title}\">\
             <path class=\"axis\" d=\"M{left} {top}V{bottom}H{}\"/>\
             <text x=\"{labels}\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <text x=\"{labels}\" y=\"{bottom}\" text-anchor=\"end\">{}</text>",
            self.width,
            self.height,
            self.right(),
            top + 10.0,
            shown(self.y.1),
            shown(self.y.0),
            labels = left - 6.0,
        )
    }

    fn label_x(&self, svg: &mut String, first: &str, last: &str) {
        let y = self.height - 6.0;
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{y}\">{}</text><text x=\"{}\" y=\"{y}\" text-anchor=\"end\">{}</text>",
            Self::LEFT,
            escaped(first),
            self.right(),
            escaped(last),
        );
    }

    /// A line through the values at x = 0, 1, 2, …, interrupted where a value is missing or infinite.
    fn path(&self, values: &[f64]) -> String {
        let stretch = values.len().div_ceil(Self::MOST_POINTS / 2).max(1);
        let mut path = String::new();
        let mut pen_down = false;
        let mut point = |index: usize, value: f64, path: &mut String| {
            if value.is_finite() {
                let command = if pen_down { 'L' } else { 'M' };
                let _ = write!(
                    path,
                    "{command}{:.1} {:.1}",
                    self.x(index as f64),
                    self.y(value)
                );
            }
            pen_down = value.is_finite();
        };
        for (number, values) in values.chunks(stretch).enumerate() {
            let start = number * stretch;
            if stretch == 1 {
                for value in values {
                    point(start, *value, &mut path);
                }
            } else {
                match extremes(values) {
                    Some((low, high)) => {
                        point(start, low, &mut path);
                        point(start + stretch / 2, high, &mut path);
                    }
                    None => point(start, f64::NAN, &mut path),
                }
            }
        }
        path
    }
}

/// The least and greatest finite value, if there is one.
fn extremes(values: &[f64]) -> Option<(f64, f64)> {
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    Some((finite().reduce(f64::min)?, finite().reduce(f64::max)?))
}

/// Where a value lies in a range, from 0 to 1; what lies outside is drawn at the edge.
fn share(value: f64, (low, high): (f64, f64)) -> f64 {
    // Halved first: the width of a range may be infinite where its ends are not.
    let width = high / 2.0 - low / 2.0;
    let share = (value / 2.0 - low / 2.0) / width;
    if share.is_nan() {
        0.5
    } else {
        share.clamp(0.0, 1.0)
    }
}

/// Two histograms over the range that holds all but the outermost per cent of either side.
fn distribution(pair: &MetricPair) -> String {
    const BINS: usize = 24;
    let finite =
        |values: &[f64]| -> Vec<f64> { values.iter().copied().filter(|v| v.is_finite()).collect() };
    let (baseline, canary) = (finite(&pair.baseline), finite(&pair.canary));
    let ends = [&baseline, &canary]
        .into_iter()
        .filter(|values| !values.is_empty())
        .flat_map(|values| [percentile(values, 1.0), percentile(values, 99.0)]);
    let Some(bounds) = finite_range(ends) else {
        return "<p class=\"dim\">no data</p>\n".to_owned();
    };
    let shares = |values: &[f64]| -> Vec<f64> {
        let mut bins = vec![0.0; BINS];
        for value in values {
            let bin = (share(*value, bounds).clamp(0.0, 1.0) * BINS as f64) as usize;
            if let Some(count) = bins.get_mut(bin.min(BINS - 1)) {
                *count += 100.0 / values.len() as f64;
            }
        }
        bins
    };
    let sides = [("bf", shares(&baseline)), ("cf", shares(&canary))];
    let most = sides
        .iter()
        .flat_map(|(_, bins)| bins)
        .fold(1.0, |most: f64, share| most.max(*share));
    let frame = Frame::new(340.0, 200.0, (0.0, BINS as f64), (0.0, most));
    let mut svg = frame.open("Distribution of baseline and canary, in per cent of the points");
    for (class, bins) in &sides {
        for (bin, value) in bins.iter().enumerate().filter(|(_, value)| **value > 0.0) {
            let (x, y) = (frame.x(bin as f64), frame.y(*value));
            let _ = write!(
                svg,
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                frame.x(1.0) - frame.x(0.0) - 1.0,
                frame.bottom() - y,
            );
        }
    }
    frame.label_x(&mut svg, &shown(bounds.0), &shown(bounds.1));
    svg + "</svg>\n"
}

fn shift(interval: &Interval) -> String {
    let bound = TOLERANCE * interval.estimate.abs();
    let ends = [interval.lower, interval.upper, interval.estimate];
    let (low, high) = range(ends.into_iter().chain([0.0, bound, -bound]));
    let room = (high - low) * 0.08;
    let frame = Frame::new(480.0, 56.0, (low - room, high + room), (0.0, 1.0));
    let (x, middle) = (|value: f64| frame.x(value), 20.0);
    format!(
        "<svg viewBox=\"0 0 480 56\" role=\"img\" aria-label=\"Shift {estimate}, interval {lower} to {upper}\">\
         <rect class=\"band\" x=\"{:.1}\" y=\"4\" width=\"{:.1}\" height=\"32\"/>\
         <path class=\"zero\" d=\"M{zero:.1} 4V36\"/>\
         <path class=\"ci\" d=\"M{:.1} {middle}H{:.1}\"/><circle class=\"cs\" cx=\"{:.1}\" cy=\"{middle}\" r=\"7\"/>\
         <text x=\"{zero:.1}\" y=\"52\" text-anchor=\"middle\">0</text>\
         </svg>\n<p class=\"dim\">{lower} to {upper}, estimate {estimate}</p>\n",
        x(-bound),
        x(bound) - x(-bound),
        x(interval.lower),
        x(interval.upper),
        x(interval.estimate),
        zero = x(0.0),
        lower = shown(interval.lower),
        upper = shown(interval.upper),
        estimate = shown(interval.estimate),
    )
}
