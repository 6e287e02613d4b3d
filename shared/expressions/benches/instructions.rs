//! Repeats one piece of work, to count its instructions where the clock is not to be trusted:
//! `valgrind --tool=callgrind --toggle-collect='*work*' <this binary> "evaluate trigger tag" 1000`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

mod sample;

use gennaker_expressions::{Context, ExecutionView, Options, Template, Templates, evaluate};
use std::hint::black_box;

/// What is counted.
#[inline(never)]
fn work(times: usize, one: &dyn Fn()) {
    for _ in 0..times {
        one();
    }
}

fn main() {
    // `cargo bench` adds a flag of its own.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let wanted = arguments.first().cloned().unwrap_or_default();
    let times = arguments
        .get(1)
        .and_then(|times| times.parse().ok())
        .unwrap_or(1);
    let execution = sample::execution();
    let context = Context::from_execution(&execution, Some("99"), None);
    let templates = Templates::new();
    let options = Options {
        templates: Some(&templates),
        ..Options::default()
    };
    let mut names = Vec::new();
    let mut run = |name: String, one: &dyn Fn()| {
        if name == wanted {
            one();
            work(times, one);
        }
        names.push(name);
    };
    for (name, text) in sample::TEXTS {
        run(format!("parse {name}"), &|| {
            black_box(Template::parse(black_box(text)).unwrap());
        });
        let template = Template::parse(text).unwrap();
        run(format!("evaluate {name}"), &|| {
            black_box(template.evaluate(black_box(&context), &options));
        });
    }
    let configuration = sample::configuration();
    run("configuration".to_owned(), &|| {
        black_box(evaluate(black_box(&configuration), &context, &options));
    });
    let cold = Options::default();
    run("configuration parsed anew".to_owned(), &|| {
        black_box(evaluate(black_box(&configuration), &context, &cold));
    });
    run("context".to_owned(), &|| {
        black_box(Context::from_execution(&execution, Some("99"), None));
    });
    let view = ExecutionView::new(&execution);
    run("context of view".to_owned(), &|| {
        black_box(Context::of_stage(&view, "99", None));
    });
    if !names.contains(&wanted) {
        println!("one of: {}", names.join(", "));
    }
}
