//! What a canary does next, from its schedule and the scores so far.

use gennaker_judge::Thresholds;

use crate::schedule::Schedule;

/// What the stage does after so many judgements.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Judges this interval now.
    Judge {
        /// Its number, from 1.
        number: u32,
    },
    /// The next interval is not over.
    Wait {
        /// Its number.
        number: u32,
        /// Milliseconds left.
        millis: i64,
    },
    /// Ends the stage.
    End(Verdict),
}

/// How a canary ends.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The last score reaches `pass`.
    Pass {
        /// The last score.
        score: f64,
    },
    /// A score is not above `marginal`: the canary is not watched further.
    NotAboveMarginal {
        /// The score.
        score: f64,
        /// The interval.
        number: u32,
    },
    /// The last score is above `marginal`, and below `pass`.
    BelowPass {
        /// The last score.
        score: f64,
    },
}

impl Verdict {
    /// `canaryScoreMessage`, in the original's words.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Pass { score } => {
                format!("Final canary score {score:?} met or exceeded the pass score threshold.")
            }
            Self::NotAboveMarginal { score, number } => format!(
                "Canary score {score:?} of interval {number} is not above the marginal score threshold."
            ),
            Self::BelowPass { score } => {
                format!("Final canary score {score:?} is below the pass score threshold.")
            }
        }
    }
}

/// What to do next, with these scores so far.
///
/// A score *not above* `marginal` ends the canary at once, though the judge calls a score equal to it Marginal: the
/// original's rule.
#[must_use]
pub fn decide(schedule: &Schedule, thresholds: Thresholds, scores: &[f64], now: i64) -> Decision {
    if let Some((index, score)) = scores
        .iter()
        .enumerate()
        .find(|(_, score)| **score <= thresholds.marginal)
    {
        let number = u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1);
        return Decision::End(Verdict::NotAboveMarginal {
            score: *score,
            number,
        });
    }
    let done = u32::try_from(scores.len()).unwrap_or(u32::MAX);
    match scores.last() {
        Some(score) if done >= schedule.intervals => Decision::End(if *score < thresholds.pass {
            Verdict::BelowPass { score: *score }
        } else {
            Verdict::Pass { score: *score }
        }),
        _ => {
            let number = done.saturating_add(1);
            let due = schedule.due(number);
            if now >= due {
                Decision::Judge { number }
            } else {
                Decision::Wait {
                    number,
                    millis: due.saturating_sub(now),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_last_score_decides_and_one_that_is_not_above_marginal_ends_it() {
        let config = json!({ "lifetimeDuration": "PT1H", "canaryAnalysisIntervalMins": 30 });
        let schedule = Schedule::of(config.as_object().unwrap(), 0).unwrap();
        let thresholds = Thresholds {
            pass: 75.0,
            marginal: 50.0,
        };
        let decide =
            |scores: &[f64], minutes: i64| decide(&schedule, thresholds, scores, minutes * 60_000);
        assert_eq!(
            decide(&[], 29),
            Decision::Wait {
                number: 1,
                millis: 60_000
            }
        );
        assert_eq!(decide(&[], 30), Decision::Judge { number: 1 });
        assert_eq!(decide(&[60.0], 60), Decision::Judge { number: 2 });
        assert_eq!(
            decide(&[60.0, 75.0], 60),
            Decision::End(Verdict::Pass { score: 75.0 })
        );
        assert_eq!(
            decide(&[100.0, 74.9], 60),
            Decision::End(Verdict::BelowPass { score: 74.9 })
        );
        assert_eq!(
            decide(&[50.0], 31),
            Decision::End(Verdict::NotAboveMarginal {
                score: 50.0,
                number: 1
            })
        );
    }

    #[test]
    fn the_message_is_the_originals() {
        let message = Verdict::Pass { score: 100.0 }.message();
        assert_eq!(
            message,
            "Final canary score 100.0 met or exceeded the pass score threshold."
        );
    }
}
