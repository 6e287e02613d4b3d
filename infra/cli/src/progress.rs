//! Progress of the set-up: a bar on a terminal, a line for each step elsewhere.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use gennaker_local::{Progress, Step};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Output;

/// Shows the steps.
pub(crate) struct Bar {
    output: Output,
    current: Mutex<Option<(String, ProgressBar)>>,
}

impl Bar {
    /// On standard error, if somebody looks at it.
    pub(crate) fn new(output: &Output) -> Self {
        Self {
            output: *output,
            current: Mutex::new(None),
        }
    }

    /// The last step is done.
    pub(crate) fn finish(&self) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((title, bar)) = current.take() {
            self.end(&title, &bar);
        }
    }

    fn end(&self, title: &str, bar: &ProgressBar) {
        let elapsed = bar.elapsed();
        bar.finish_and_clear();
        if self.output.terminal {
            let mark = self.output.paint("✔", crate::output::GREEN);
            self.output
                .say(&format!("{mark} {title} ({:.1} s)", elapsed.as_secs_f64()));
        }
    }

    fn begin(&self, title: &str) -> ProgressBar {
        if !self.output.terminal {
            self.output.say(title);
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(ProgressStyle::default_spinner());
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }
}

impl Progress for Bar {
    fn report(&self, step: Step) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let same = current
            .as_ref()
            .is_some_and(|(title, _)| *title == step.title);
        if !same {
            if let Some((title, bar)) = current.take() {
                self.end(&title, &bar);
            }
            *current = Some((step.title.clone(), self.begin(&step.title)));
        }
        let Some((_, bar)) = current.as_ref() else {
            return;
        };
        if let Some((done, of)) = step.done {
            if bar.length() != Some(of) {
                bar.set_length(of);
                if let Ok(style) =
                    ProgressStyle::with_template("{spinner} {prefix} [{bar:30}] {pos}/{len} {msg}")
                {
                    bar.set_style(style.progress_chars("=> "));
                }
            }
            bar.set_position(done);
        } else if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(step.title);
        bar.set_message(step.detail);
    }
}
