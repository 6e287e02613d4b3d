//! What people are told of an approval.

use gennaker_domain::approval::{Approval, Choice, Decision, State, Tally};

use crate::plain::without_html;
use crate::{Announcement, Answer, Ask, Link};

/// How an approval stands, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As its state says.
    AsStored,
    /// It was asked again, or the execution began anew: another message asks.
    Superseded,
    /// The execution was canceled before anybody decided.
    Canceled,
    /// The execution is over.
    Over,
}

/// The announcement of an approval as it stands. `url` is the page's address, if there is a page.
#[must_use]
pub fn announcement(approval: &Approval, standing: Standing, url: Option<&str>) -> Announcement {
    let question = &approval.question;
    let of = format!("{} of {}", question.pipeline, question.application);
    let heading = heading(approval, standing);
    let asks = standing == Standing::AsStored && approval.is_pending();
    let mut text = Vec::new();
    if asks && !question.changes.is_empty() {
        text.push(format!(
            "Asked again, because something changed since: {}",
            question.changes.join("; ")
        ));
    }
    let instructions = without_html(&question.instructions);
    if !instructions.is_empty() {
        text.push(instructions);
    }
    if let (
        Some(Decision {
            reason: Some(reason),
            ..
        }),
        Standing::AsStored,
    ) = (approval.decision(), standing)
    {
        text.push(format!("Reason: {reason}"));
    }
    Announcement {
        title: format!("{of}: {heading}"),
        text,
        facts: facts(approval),
        link: url.filter(|_| asks).map(|url| Link {
            label: "See what is asked, and answer".to_owned(),
            url: url.to_owned(),
        }),
        ask: asks.then(|| ask(approval)),
    }
}

fn heading(approval: &Approval, standing: Standing) -> String {
    match (standing, &approval.state) {
        (_, State::Decided(decision)) => {
            let input = decision.input.as_ref();
            let input = input.map_or_else(String::new, |input| format!(" with `{input}`"));
            match decision.choice {
                Choice::Continue => format!("{} continued{input}", decision.by),
                Choice::Stop => format!("{} stopped{input}", decision.by),
            }
        }
        (_, State::Expired { .. }) => "nobody decided in time".to_owned(),
        (Standing::Superseded, State::Pending) => "superseded, another message asks".to_owned(),
        (Standing::Canceled, State::Pending) => "canceled, nobody has to answer".to_owned(),
        (Standing::Over, State::Pending) => "the execution is over".to_owned(),
        (Standing::AsStored, State::Pending) => {
            format!("{} needs an answer", approval.question.name)
        }
    }
}

fn ask(approval: &Approval) -> Ask {
    let answer = |choice: Choice, label: &str| Answer {
        name: choice.as_str().to_owned(),
        label: label.to_owned(),
        primary: choice == Choice::Continue,
    };
    Ask {
        answers: vec![
            answer(Choice::Continue, &approval.question.continue_text),
            answer(Choice::Stop, &approval.question.stop_text),
        ],
        options: approval.question.options.clone(),
        reference: format!("{}/{}", approval.reference(), approval.round),
    }
}

/// Names and values that an answer is about.
#[must_use]
pub fn facts(approval: &Approval) -> Vec<(String, String)> {
    let question = &approval.question;
    let mut facts = vec![(
        "Execution".to_owned(),
        format!("{}, stage {}", question.run.execution, question.stage),
    )];
    if let Some(requester) = &question.requester {
        facts.push(("Asked for by".to_owned(), requester.clone()));
    }
    let roles = question.rules.deciding_roles();
    if !roles.is_empty() {
        facts.push(("May decide".to_owned(), roles.join(", ")));
    }
    for artifact in &question.shown.artifacts {
        facts.push(("Artifact".to_owned(), artifact.line()));
    }
    for verdict in &question.shown.canary {
        facts.push(("Canary".to_owned(), verdict.line()));
    }
    for vote in &approval.votes {
        let said = match vote.choice {
            Choice::Continue => "continue",
            Choice::Stop => "stop",
        };
        facts.push(("Answered".to_owned(), format!("{}: {said}", vote.by)));
    }
    if let (true, Tally::Missing { what }) =
        (approval.is_pending(), question.rules.tally(&approval.votes))
        && (question.rules.required > 1 || !question.rules.required_by_role.is_empty())
    {
        facts.push(("Still needed".to_owned(), what));
    }
    facts
}
