//! Java's regular expressions for others: triggers and artifacts are written for `java.util.regex`.

use crate::regex::JavaRegex;

/// Longest pattern that is compiled.
const MAX_LENGTH: usize = 10_000;

/// A compiled Java regular expression whose searches take bounded time.
#[derive(Debug)]
pub struct Pattern(JavaRegex);

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(pattern: &str) -> Result<Self, String> {
        if pattern.len() > MAX_LENGTH {
            return Err(format!("the pattern has more than {MAX_LENGTH} bytes"));
        }
        JavaRegex::new(pattern)
            .map(Self)
            .map_err(|fault| fault.message)
    }

    /// Whether the whole text matches: `Matcher.matches`.
    ///
    /// # Errors
    /// The search takes too long.
    pub fn matches(&self, text: &str) -> Result<bool, String> {
        self.0.matches(text).map_err(|fault| fault.message)
    }

    /// Whether a part of the text matches: `Matcher.find`.
    ///
    /// # Errors
    /// The search takes too long.
    pub fn finds(&self, text: &str) -> Result<bool, String> {
        self.0.finds(text).map_err(|fault| fault.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_is_the_whole_text_and_finds_a_part() {
        let pattern = Pattern::new(r"\Qa.b\E\d").unwrap();
        assert_eq!(pattern.matches("a.b1"), Ok(true));
        assert_eq!(pattern.matches("xa.b1"), Ok(false));
        assert_eq!(pattern.finds("xa.b1x"), Ok(true));
        assert_eq!(pattern.finds("acb1"), Ok(false));
    }

    #[test]
    fn a_broken_pattern_and_a_bomb_are_answers() {
        for broken in ["(", "*", "[z-a]", "a{2,1}", "\\", "[", "a{,2}"] {
            assert!(Pattern::new(broken).is_err(), "{broken}");
        }
        let bomb = Pattern::new(r"(a+)+\1$").unwrap();
        assert_ne!(bomb.matches(&format!("{}!", "a".repeat(60))), Ok(true));
    }
}
