//! Regular expressions as Java reads them: triggers and expected artifacts are written for `Pattern.matches`.

use fancy_regex::Regex;

/// Why a pattern gave no answer.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PatternError {
    /// It is no regular expression.
    #[error("`{pattern}` is no regular expression: {message}")]
    Invalid {
        /// As written.
        pattern: String,
        /// What is wrong with it.
        message: String,
    },
    /// It needs too many steps on this text.
    #[error("`{pattern}` takes too long on this text")]
    TooSlow {
        /// As written.
        pattern: String,
    },
}

/// Steps of backtracking after which a match is given up: about 20 ms. Patterns without look-around and
/// back-references never backtrack and are linear in the text.
const BACKTRACKS: usize = 100_000;

/// Whether the whole text matches the pattern, as Java's `String.matches`.
///
/// Quoting (`\Q…\E`) is understood.
///
/// # Errors
/// [`PatternError`]: a caller that follows the originals takes it as "does not match" and says why.
pub fn full_match(pattern: &str, text: &str) -> Result<bool, PatternError> {
    let anchored = format!(r"\A(?:{})\z", unquoted(pattern));
    let regex = fancy_regex::RegexBuilder::new(&anchored)
        .backtrack_limit(BACKTRACKS)
        .build()
        .map_err(|error| PatternError::Invalid {
            pattern: pattern.to_owned(),
            message: error.to_string(),
        })?;
    is_match(&regex, pattern, text)
}

fn is_match(regex: &Regex, pattern: &str, text: &str) -> Result<bool, PatternError> {
    regex.is_match(text).map_err(|_| PatternError::TooSlow {
        pattern: pattern.to_owned(),
    })
}

/// The pattern with Java's `\Q…\E` written out; a quotation that does not end goes to the end.
fn unquoted(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some((before, quoted)) = split_at_quote(rest) {
        out.push_str(before);
        let (literal, after) = quoted.split_once("\\E").unwrap_or((quoted, ""));
        out.push_str(&fancy_regex::escape(literal));
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Splits at the first `\Q` whose backslash is not itself escaped.
fn split_at_quote(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if escaped {
            if c == 'Q' {
                return Some((text.get(..at.saturating_sub(1))?, text.get(at + 1..)?));
            }
            escaped = false;
        } else {
            escaped = c == '\\';
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_text_has_to_match() {
        assert_eq!(full_match(r"v\d+", "v12"), Ok(true));
        assert_eq!(full_match(r"v\d+", "v12-rc"), Ok(false));
        assert_eq!(full_match("a|ab", "ab"), Ok(true));
        assert_eq!(full_match("a", "a\n"), Ok(false));
    }

    #[test]
    fn look_around_and_quoting_are_javas() {
        assert_eq!(full_match(r"(?!.*rc).*", "v1-rc1"), Ok(false));
        assert_eq!(full_match(r"(?!.*rc).*", "v1"), Ok(true));
        assert_eq!(full_match(r"\Q1.2\E|other", "1.2"), Ok(true));
        assert_eq!(full_match(r"\Q1.2\E", "1x2"), Ok(false));
        assert_eq!(full_match(r"\\Q", r"\Q"), Ok(true));
        assert_eq!(full_match(r"\Qa+", "a+"), Ok(true));
    }

    #[test]
    fn an_invalid_pattern_and_a_bomb_are_answered_in_bounded_time() {
        assert!(matches!(
            full_match("(", "x"),
            Err(PatternError::Invalid { .. })
        ));
        let text = format!("{}!", "a".repeat(40));
        assert!(!matches!(full_match(r"(?=(a+)+$)(a+)+\1", &text), Ok(true)));
    }
}
