//! Parsed templates kept between evaluations.

use crate::parser::MAX_EXPRESSION_LENGTH;
use crate::template::{ParseError, Template};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Templates kept; a pipeline has tens, an application hundreds.
const CAPACITY: usize = 4_096;
/// Longest text kept, so that the cache stays under 16 MiB of source (4,096 × 4 KiB).
const MAX_KEPT_BYTES: usize = 4_096;

/// A cache of parsed templates for a function that stays warm; share one between threads and calls.
#[derive(Debug, Default)]
pub struct Templates {
    kept: Mutex<HashMap<String, Arc<Template>>>,
}

impl Templates {
    /// An empty cache.
    pub fn new() -> Templates {
        Templates::default()
    }

    /// The template of `text`, parsed at most once while it is kept. When the cache is full it starts anew.
    ///
    /// # Errors
    /// As [`Template::parse`]; failures are not kept.
    pub fn parse(&self, text: &str) -> Result<Arc<Template>, ParseError> {
        self.parse_within(text, MAX_EXPRESSION_LENGTH)
    }

    /// The same where an expression may have so many characters.
    pub(crate) fn parse_within(
        &self,
        text: &str,
        longest: usize,
    ) -> Result<Arc<Template>, ParseError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(template) = kept.get(text).filter(|template| template.fits(longest)) {
            return Ok(template.clone());
        }
        let template = Arc::new(Template::parse_within(text, longest)?);
        if text.len() <= MAX_KEPT_BYTES {
            if kept.len() >= CAPACITY {
                kept.clear();
            }
            kept.insert(text.to_string(), template.clone());
        }
        Ok(template)
    }
}
