//! A definition as a JSON value, read from its text when somebody first looks.

use std::{ops::Deref, sync::OnceLock};

use serde::{Serialize, Serializer};
use serde_json::Value;

/// A definition: text at hand, value on demand. Saving needs the text only, and reading a megabyte of it takes longer
/// than everything else the compiler does.
#[derive(Clone, Debug)]
pub struct Document {
    text: String,
    value: OnceLock<Value>,
}

impl Document {
    pub(crate) fn new(text: String) -> Self {
        Self {
            text,
            value: OnceLock::new(),
        }
    }
}

impl Deref for Document {
    type Target = Value;

    fn deref(&self) -> &Value {
        // What the compiler wrote is JSON; the tests read every definition that they make.
        self.value
            .get_or_init(|| serde_json::from_str(&self.text).unwrap_or(Value::Null))
    }
}

impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}
