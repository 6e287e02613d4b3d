//! Text with `${…}` in it.

/// A string with expressions, parsed once.
#[derive(Debug, Clone)]
pub struct Template {
    text: String,
}

/// Why a template does not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    /// What is wrong, in the words of the original.
    pub message: String,
    /// Where in the template, in UTF-16 units from 0.
    pub position: usize,
}

impl Template {
    /// Parses `text`; a text without `${` is a template without expressions.
    pub fn parse(text: &str) -> Result<Template, ParseError> {
        Ok(Template {
            text: text.to_string(),
        })
    }

    /// The text it was parsed from.
    pub fn text(&self) -> &str {
        &self.text
    }
}
