//! What the page looks like: no script, one style sheet, everything else escaped.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gennaker_domain::approval::{Approval, Choice, Person};
use gennaker_lambda::HttpAnswer;
use gennaker_messages::approval::facts;
use gennaker_messages::plain::without_html;
use sha2::{Digest, Sha256};

const STYLE: &str = include_str!("page.css");

/// A form that decides.
pub(crate) struct Form<'a> {
    /// Proves that this page made it.
    pub token: &'a str,
    /// Who answers.
    pub person: &'a Person,
    /// What has to be typed.
    pub word: &'a str,
    /// What was wrong with it before.
    pub wrong: Option<&'a str>,
}

/// What is shown.
pub(crate) enum View<'a> {
    /// A question that waits, with a form if the viewer may answer.
    Asked {
        /// The question.
        approval: &'a Approval,
        /// How to answer here.
        form: Option<Form<'a>>,
        /// Why one cannot.
        note: Option<&'a str>,
    },
    /// What became of it.
    Told {
        /// The question.
        approval: &'a Approval,
        /// One or two words.
        title: &'a str,
        /// A sentence.
        text: &'a str,
    },
    /// No such approval.
    Unknown,
    /// Too much was sent.
    TooLarge,
}

/// Text as HTML: nothing of it is markup.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// An answer with the headers of the page and no body.
pub(crate) fn bare(status: u16) -> HttpAnswer {
    let style = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    HttpAnswer::new(status, "text/html; charset=utf-8", "")
        .header("content-security-policy", policy)
        .header("referrer-policy", "no-referrer")
        .header("x-frame-options", "DENY")
        .header("x-robots-tag", "noindex, nofollow")
        .header("cross-origin-opener-policy", "same-origin")
        .header("cross-origin-resource-policy", "same-origin")
        .header(
            "strict-transport-security",
            "max-age=31536000; includeSubDomains",
        )
}

/// The page.
pub(crate) fn answer(status: u16, view: &View<'_>) -> HttpAnswer {
    let (title, body) = match view {
        View::Asked {
            approval,
            form,
            note,
        } => (
            approval.question.name.as_str(),
            asked(approval, form.as_ref(), *note),
        ),
        View::Told {
            approval,
            title,
            text,
        } => (
            *title,
            format!(
                "<p class=\"told\" role=\"status\">{}</p>{}",
                escaped(text),
                summary(approval)
            ),
        ),
        View::Unknown => (
            "There is nothing here",
            "<p>Nobody asks anything at this address. It may have been copied incompletely.</p>"
                .to_owned(),
        ),
        View::TooLarge => (
            "Too large",
            "<p>More was sent than this page takes.</p>".to_owned(),
        ),
    };
    let of = match view {
        View::Asked { approval, .. } | View::Told { approval, .. } => {
            let question = &approval.question;
            format!(
                "<p class=\"of\">{} of {}</p>",
                escaped(&question.pipeline),
                escaped(&question.application)
            )
        }
        View::Unknown | View::TooLarge => String::new(),
    };
    let title = escaped(title);
    let mut answer = bare(status);
    answer.body = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
<style>{STYLE}</style></head><body><main>{of}<h1>{title}</h1>{body}</main></body></html>"
    );
    answer
}

fn asked(approval: &Approval, form: Option<&Form<'_>>, note: Option<&str>) -> String {
    let question = &approval.question;
    let mut out = String::new();
    if !question.changes.is_empty() {
        let changes: String = question
            .changes
            .iter()
            .map(|change| format!("<li>{}</li>", escaped(change)))
            .collect();
        out.push_str(&format!(
            "<section class=\"changed\"><h2>Asked again, because something changed</h2><ul>{changes}</ul></section>"
        ));
    }
    let instructions = without_html(&question.instructions);
    if !instructions.is_empty() {
        out.push_str(&format!(
            "<div class=\"instructions\">{}</div>",
            escaped(&instructions)
        ));
    }
    out.push_str(&summary(approval));
    if let Some(note) = note {
        out.push_str(&format!("<p class=\"note\">{}</p>", escaped(note)));
    }
    out.push_str(&match form {
        Some(form) => form_of(approval, form),
        None => other_ways(approval),
    });
    out
}

fn summary(approval: &Approval) -> String {
    let rows: String = facts(approval)
        .iter()
        .map(|(name, value)| {
            format!(
                "<div><dt>{}</dt><dd>{}</dd></div>",
                escaped(name),
                escaped(value)
            )
        })
        .collect();
    format!("<dl>{rows}</dl>")
}

fn form_of(approval: &Approval, form: &Form<'_>) -> String {
    let question = &approval.question;
    // The address without its query: what the personal link proved is in the token.
    let action = format!("/approvals/{}", approval.reference());
    let wrong = form.wrong.map_or_else(String::new, |wrong| {
        format!("<p class=\"wrong\" role=\"alert\">{}</p>", escaped(wrong))
    });
    let who = match &form.person.name {
        Some(name) => format!("You answer as <strong>{}</strong>.", escaped(name)),
        None => "You answer without a name; this is recorded as <strong>unattributed</strong>."
            .to_owned(),
    };
    let options: String = question
        .options
        .iter()
        .map(|option| {
            let option = escaped(option);
            format!("<option value=\"{option}\">{option}</option>")
        })
        .collect();
    let input = if options.is_empty() {
        String::new()
    } else {
        format!(
            "<label for=\"input\">Input</label><select id=\"input\" name=\"input\"><option value=\"\">none</option>{options}</select>"
        )
    };
    let button = |choice: Choice, label: &str| {
        let name = choice.as_str();
        format!(
            "<button class=\"{name}\" name=\"choice\" value=\"{name}\">{}</button>",
            escaped(label)
        )
    };
    format!(
        "<form method=\"post\" action=\"{action}\" autocomplete=\"off\">{wrong}<p>{who}</p>\
<input type=\"hidden\" name=\"token\" value=\"{}\">{input}\
<label for=\"reason\">Reason</label><textarea id=\"reason\" name=\"reason\" maxlength=\"1000\" rows=\"3\"></textarea>\
<label for=\"word\">To confirm, type <strong>{}</strong></label>\
<input id=\"word\" name=\"word\" required autocapitalize=\"none\" spellcheck=\"false\">\
<p class=\"buttons\">{}{}</p></form>",
        escaped(form.token),
        escaped(form.word),
        button(Choice::Continue, &question.continue_text),
        button(Choice::Stop, &question.stop_text),
    )
}

/// How to answer where this page cannot tell who looks at it.
fn other_ways(approval: &Approval) -> String {
    let question = &approval.question;
    let (execution, stage) = (&question.run.execution, escaped(&question.stage));
    format!(
        "<section><h2>How to answer</h2><p>This address is in a message that many may have, so it does not say who you are. \
Answer in Slack if the message came there, or by the command</p>\
<pre>gennaker execution judge {execution} --stage {stage} continue</pre>\
<p>or get this page with your name by</p><pre>gennaker execution judge {execution} --stage {stage} --page</pre></section>"
    )
}
