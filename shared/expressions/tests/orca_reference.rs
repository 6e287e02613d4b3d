//! The recorded answers of the original evaluator: every line must be equal in value, types and failures.
#![allow(clippy::disallowed_methods)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod recorded;

use gennaker_expressions::evaluate_case_line;

/// Recorded lines, and those left out with their reasons in the README.
const LINES: usize = 3_937;
const LEFT_OUT: usize = 0;

#[test]
fn answers_every_recorded_line_as_the_original_does() {
    let Some(recorded) = recorded::recorded() else {
        println!("skipped: no corpus");
        return;
    };
    let mut wrong = 0;
    for one in &recorded {
        let answer = serde_json::from_str(&evaluate_case_line(&one.case)).unwrap();
        if !one.accepts(&answer) {
            wrong += 1;
            println!("{}", one.difference(&answer));
        }
    }
    assert_eq!(recorded.len(), LINES);
    assert_eq!(wrong, LEFT_OUT, "{wrong} of {} differ", recorded.len());
}
