//! The rules of Orca once more, stated naively: this engine knows nothing of plans, definitions or roll-ups. It goes from
//! one end to the next and asks for every stage whether its requisites let it start.

use proptest::prelude::*;
use serde_json::{Value, json};

#[derive(Clone, Debug, PartialEq)]
pub struct Naive {
    pub requisites: Vec<usize>,
    /// `halt`, `branch`, `later` or `ignore`.
    pub policy: &'static str,
    pub end: &'static str,
    pub seconds: u32,
    pub enabled: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    pub status: Option<&'static str>,
    pub started: Option<u32>,
    pub ended: Option<u32>,
}

/// The status of the execution, when it ended, and what became of each stage.
pub fn naive(stages: &[Naive]) -> (&'static str, u32, Vec<State>) {
    let mut states = vec![State::default(); stages.len()];
    let mut now = 0;
    loop {
        // Ends and starts of this instant, until nothing more happens in it.
        loop {
            let mut changed = false;
            for at in 0..stages.len() {
                let stage = &stages[at];
                let state = states[at].clone();
                if let (Some(started), None) = (state.started, state.ended)
                    && started + stage.seconds == now
                {
                    let failed = |otherwise| match stage.policy {
                        "halt" => otherwise,
                        "ignore" => "FAILED_CONTINUE",
                        _ => "STOPPED",
                    };
                    states[at].status = Some(match stage.end {
                        "TERMINAL" => failed("TERMINAL"),
                        "CANCELED" => failed("CANCELED"),
                        "SKIPPED" => "SUCCEEDED",
                        other => other,
                    });
                    states[at].ended = Some(now);
                    changed = true;
                }
                let ready = stage.requisites.iter().all(|of| {
                    matches!(
                        states[*of].status,
                        Some("SUCCEEDED" | "FAILED_CONTINUE" | "SKIPPED")
                    )
                });
                if state.started.is_none() && state.status.is_none() && ready {
                    if stage.enabled {
                        states[at].started = Some(now);
                    } else {
                        states[at].status = Some("SKIPPED");
                        states[at].ended = Some(now);
                    }
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
        let has =
            |states: &[State], status| states.iter().any(|state| state.status == Some(status));
        for halt in ["TERMINAL", "CANCELED"] {
            if has(&states, halt) {
                for state in &mut states {
                    if state.started.is_some() && state.ended.is_none() {
                        state.status = Some("CANCELED");
                        state.ended = Some(now);
                    }
                }
                return (halt, now, states);
            }
        }
        let next = stages
            .iter()
            .zip(&states)
            .filter(|(_, state)| state.ended.is_none())
            .filter_map(|(stage, state)| state.started.map(|started| started + stage.seconds))
            .min();
        let Some(next) = next else {
            let later = stages
                .iter()
                .zip(&states)
                .any(|(stage, state)| state.status == Some("STOPPED") && stage.policy == "later");
            return (if later { "TERMINAL" } else { "SUCCEEDED" }, now, states);
        };
        now = next;
    }
}

/// The pipeline as Spinnaker has it, and its outcomes.
pub fn pipeline(stages: &[Naive]) -> (Value, Value) {
    let mut outcomes = serde_json::Map::new();
    let list: Vec<Value> = stages
        .iter()
        .enumerate()
        .map(|(at, stage)| {
            outcomes.insert(at.to_string(), json!({"status": stage.end, "seconds": stage.seconds}));
            let (fail, go_on, later) = match stage.policy {
                "branch" => (json!(false), json!(false), json!(false)),
                "later" => (json!(false), json!(false), json!(true)),
                "ignore" => (json!(false), json!(true), json!(false)),
                _ => (Value::Null, Value::Null, Value::Null),
            };
            json!({
                "refId": at,
                "type": if at % 2 == 0 { "wait" } else { "evaluateVariables" },
                "waitTime": 1,
                "requisiteStageRefIds": stage.requisites,
                "failPipeline": fail, "continuePipeline": go_on, "completeOtherBranchesThenFail": later,
                "stageEnabled": {"type": "expression", "expression": stage.enabled.to_string()},
            })
        })
        .collect();
    (json!({"stages": list}), Value::Object(outcomes))
}

/// Random graphs with random policies and ends.
pub fn stages() -> impl Strategy<Value = Vec<Naive>> {
    let stage = (
        prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        prop::sample::select(vec!["halt", "branch", "later", "ignore"]),
        prop::sample::select(vec![
            "SUCCEEDED",
            "SUCCEEDED",
            "SUCCEEDED",
            "SUCCEEDED",
            "TERMINAL",
            "CANCELED",
            "SKIPPED",
            "STOPPED",
            "FAILED_CONTINUE",
        ]),
        // Few different times, so that much happens at one instant.
        prop::sample::select(vec![0_u32, 1, 2, 5, 10, 100]),
        prop::bool::weighted(0.9),
    );
    prop::collection::vec(stage, 1..25).prop_map(|list| {
        list.into_iter()
            .enumerate()
            .map(|(at, (picks, policy, end, seconds, enabled))| {
                let mut requisites: Vec<usize> = picks
                    .iter()
                    .filter(|_| at > 0)
                    .map(|pick| pick.index(at))
                    .collect();
                requisites.sort_unstable();
                requisites.dedup();
                Naive {
                    requisites,
                    policy,
                    end,
                    seconds,
                    enabled,
                }
            })
            .collect()
    })
}
