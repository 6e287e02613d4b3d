//! Version ranges as NPM writes them, for Helm triggers, read as semver4j does (Echo's library).

/// Longest version or range that is read.
const MAX_LENGTH: usize = 256;

/// Deepest nesting of brackets in a range.
const MAX_DEPTH: usize = 40;

/// A version of which the last numbers may be missing, or `x`.
#[derive(Clone, Debug)]
struct Version {
    /// As written, without blanks and `v`: equality is that of the text.
    value: String,
    major: i32,
    minor: Option<i32>,
    patch: Option<i32>,
    /// What comes before a release: `rc.1`.
    suffix: Vec<String>,
    build: Option<String>,
}

/// How strictly a version is read.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// `v1.x` is one.
    Npm,
    /// Two numbers are enough.
    Loose,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Tilde,
    Caret,
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Hyphen,
    Or,
    And,
    Opening,
    Closing,
    Version(String),
}

impl Token {
    fn is_unary(&self) -> bool {
        matches!(
            self,
            Self::Tilde
                | Self::Caret
                | Self::Equal
                | Self::Less
                | Self::LessOrEqual
                | Self::Greater
                | Self::GreaterOrEqual
        )
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Bound {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
}

#[derive(Debug)]
enum Requirement {
    Range(Version, Bound),
    And(Box<Requirement>, Box<Requirement>),
    Or(Box<Requirement>, Box<Requirement>),
}

/// Whether a version is in a range: `>=1.0.0 <2.0.0`, `^1.2`, `~1.2.3 || 2.x`, `1.2 - 1.4`. None if either cannot be
/// read.
pub(crate) fn satisfies(version: &str, range: &str) -> Option<bool> {
    if version.len() > MAX_LENGTH || range.len() > MAX_LENGTH {
        return None;
    }
    let version = Version::read(version, Kind::Npm)?;
    let range = if range.is_empty() { "*" } else { range };
    let mut postfix = to_postfix(with_brackets(joined(tokens(range))))?;
    let requirement = requirement(&mut postfix, 0)?;
    requirement.accepts(&version)
}

fn tokens(range: &str) -> Vec<Token> {
    let range = range
        .replace("||", "|")
        .replace("<=", "≤")
        .replace(">=", "≥");
    let mut found: Vec<Token> = Vec::new();
    let mut word = String::new();
    for c in range.chars().filter(|c| *c != ' ') {
        let token = match c {
            '~' => Token::Tilde,
            '^' => Token::Caret,
            '=' => Token::Equal,
            '<' => Token::Less,
            '≤' => Token::LessOrEqual,
            '>' => Token::Greater,
            '≥' => Token::GreaterOrEqual,
            '-' => Token::Hyphen,
            '|' => Token::Or,
            '(' => Token::Opening,
            ')' => Token::Closing,
            c => {
                word.push(c);
                continue;
            }
        };
        if !word.is_empty() {
            found.push(Token::Version(std::mem::take(&mut word)));
        }
        // `>=1.2.3 <4.5.6` has an "and" between its parts.
        if token.is_unary() && matches!(found.last(), Some(Token::Version(_))) {
            found.push(Token::And);
        }
        found.push(token);
    }
    if !word.is_empty() {
        found.push(Token::Version(word));
    }
    found
}

/// Puts versions together that were cut at the hyphen before their suffix: `1.2.3-rc.1`.
fn joined(tokens: Vec<Token>) -> Vec<Token> {
    let mut result = Vec::new();
    let mut rest = tokens.as_slice();
    while let Some((first, after)) = rest.split_first() {
        match rest {
            [
                Token::Version(version),
                Token::Hyphen,
                Token::Version(suffix),
                after @ ..,
            ] if Version::read(suffix, Kind::Npm).is_none() => {
                result.push(Token::Version(format!("{version}-{suffix}")));
                rest = after;
            }
            _ => {
                result.push(first.clone());
                rest = after;
            }
        }
    }
    result
}

fn with_brackets(tokens: Vec<Token>) -> Vec<Token> {
    let mut result = vec![Token::Opening];
    for token in tokens {
        if token == Token::Or {
            result.extend([Token::Closing, Token::Or, Token::Opening]);
        } else {
            result.push(token);
        }
    }
    result.push(Token::Closing);
    result
}

fn to_postfix(tokens: Vec<Token>) -> Option<Vec<Token>> {
    let mut queue = Vec::new();
    let mut stack: Vec<Token> = Vec::new();
    let mut rest = tokens.into_iter();
    while let Some(token) = rest.next() {
        match token {
            Token::Version(_) => queue.push(token),
            Token::Closing => {
                loop {
                    match stack.pop()? {
                        Token::Opening => break,
                        other => queue.push(other),
                    }
                }
                if stack.last().is_some_and(Token::is_unary) {
                    queue.extend(stack.pop());
                }
            }
            token if token.is_unary() => {
                queue.push(rest.next()?);
                queue.push(token);
            }
            token => stack.push(token),
        }
    }
    while let Some(token) = stack.pop() {
        queue.push(token);
    }
    Some(queue)
}

fn requirement(queue: &mut Vec<Token>, depth: usize) -> Option<Requirement> {
    if depth > MAX_DEPTH {
        return None;
    }
    let version_of = |queue: &mut Vec<Token>| match queue.pop()? {
        Token::Version(text) => Some(text),
        _ => None,
    };
    let token = queue.pop()?;
    let bound = match token {
        Token::Version(text) => {
            if text == "*" || text == "latest" {
                return Some(Requirement::Range(
                    Version::read("0.0.0", Kind::Loose)?,
                    Bound::GreaterOrEqual,
                ));
            }
            let version = Version::read(&text, Kind::Npm)?;
            if version.minor.is_some() && version.patch.is_some() {
                return Some(Requirement::Range(version, Bound::Equal));
            }
            return tilde(&version.value);
        }
        Token::Hyphen => {
            let upper = version_of(queue)?;
            let lower = version_of(queue)?;
            return hyphen(&lower, &upper);
        }
        Token::Tilde => return tilde(&version_of(queue)?),
        Token::Caret => return caret(&version_of(queue)?),
        Token::Equal => Bound::Equal,
        Token::Less => Bound::Less,
        Token::LessOrEqual => Bound::LessOrEqual,
        Token::Greater => Bound::Greater,
        Token::GreaterOrEqual => Bound::GreaterOrEqual,
        Token::Or | Token::And => {
            let second = Box::new(requirement(queue, depth + 1)?);
            let first = Box::new(requirement(queue, depth + 1)?);
            return Some(if token == Token::Or {
                Requirement::Or(first, second)
            } else {
                Requirement::And(first, second)
            });
        }
        Token::Opening | Token::Closing => return None,
    };
    Some(Requirement::Range(
        Version::read(&version_of(queue)?, Kind::Loose)?,
        bound,
    ))
}

fn between(lower: Version, upper: Version, bound: Bound) -> Requirement {
    Requirement::And(
        Box::new(Requirement::Range(lower, Bound::GreaterOrEqual)),
        Box::new(Requirement::Range(upper, bound)),
    )
}

fn release(major: i32, minor: i32, patch: i32) -> Option<Version> {
    Version::read(&format!("{major}.{minor}.{patch}"), Kind::Loose)
}

fn tilde(text: &str) -> Option<Requirement> {
    let version = Version::read(text, Kind::Npm)?;
    let next = match version.minor {
        Some(minor) => release(version.major, minor.checked_add(1)?, 0),
        None => release(version.major.checked_add(1)?, 0, 0),
    };
    Some(between(version.complete()?, next?, Bound::Less))
}

fn caret(text: &str) -> Option<Requirement> {
    let version = Version::read(text, Kind::Npm)?;
    let next = match (version.major, version.minor, version.patch) {
        (0, None, _) => release(1, 0, 0),
        (0, Some(0), None) => release(0, 1, 0),
        (0, Some(0), Some(patch)) => release(0, 0, patch.checked_add(1)?),
        (0, Some(minor), _) => release(0, minor.checked_add(1)?, 0),
        (major, ..) => release(major.checked_add(1)?, 0, 0),
    };
    Some(between(version.complete()?, next?, Bound::Less))
}

fn hyphen(lower: &str, upper: &str) -> Option<Requirement> {
    let lower = Version::read(lower, Kind::Npm)?.complete()?;
    let upper = Version::read(upper, Kind::Npm)?;
    let (upper, bound) = match (upper.minor, upper.patch) {
        (Some(_), Some(_)) => (upper, Bound::LessOrEqual),
        (None, _) => (release(upper.major.checked_add(1)?, 0, 0)?, Bound::Less),
        (Some(minor), None) => (release(upper.major, minor.checked_add(1)?, 0)?, Bound::Less),
    };
    Some(between(lower, upper, bound))
}

impl Requirement {
    fn accepts(&self, version: &Version) -> Option<bool> {
        match self {
            Self::Range(limit, bound) => version.is_within(*bound, limit),
            Self::Or(first, second) => Some(first.accepts(version)? || second.accepts(version)?),
            Self::And(first, second) => {
                let mut ranges = Vec::new();
                if !self.ranges(&mut ranges) {
                    return Some(first.accepts(version)? && second.accepts(version)?);
                }
                for (limit, bound) in &ranges {
                    if !version.is_within(*bound, limit)? {
                        return Some(false);
                    }
                }
                // What comes before a release is only taken where the range itself names such a version of it.
                Some(
                    version.suffix.is_empty()
                        || ranges.iter().any(|(limit, _)| {
                            !limit.suffix.is_empty()
                                && limit.major == version.major
                                && limit.minor == version.minor
                                && limit.patch == version.patch
                        }),
                )
            }
        }
    }

    /// The ranges that all have to hold; false if there is an "or" among them.
    fn ranges<'a>(&'a self, found: &mut Vec<(&'a Version, Bound)>) -> bool {
        match self {
            Self::Range(version, bound) => {
                found.push((version, *bound));
                true
            }
            Self::And(first, second) => first.ranges(found) && second.ranges(found),
            Self::Or(..) => false,
        }
    }
}

impl Version {
    fn read(text: &str, kind: Kind) -> Option<Self> {
        let mut value = text.trim();
        if kind == Kind::Npm
            && let Some(rest) = value.strip_prefix(['v', 'V'])
        {
            value = rest.trim();
        }
        let hyphen = value
            .find('-')
            .filter(|at| value.find('+').is_none_or(|plus| at < &plus));
        let (main, suffix) = match hyphen {
            Some(at) => (value.get(..at)?, Some(value.get(at + 1..)?)),
            None => (value, None),
        };
        let with_build = suffix.unwrap_or(main);
        if with_build.ends_with('+') {
            return None;
        }
        let (before, build) = match with_build.split_once('+') {
            Some((before, build)) if !build.contains('+') => (before, Some(build.to_owned())),
            Some((before, _)) => (before, None),
            None => (with_build, None),
        };
        let main = if suffix.is_some() { main } else { before };
        let mut numbers = main.split('.');
        let major = number(numbers.next()?)?;
        let mut part = || -> Option<Option<i32>> {
            match numbers.next() {
                None => Some(None),
                Some("x" | "X" | "*") if kind == Kind::Npm => Some(None),
                Some(digits) => number(digits).map(Some),
            }
        };
        let minor = part()?;
        let patch = part()?;
        Some(Self {
            value: value.to_owned(),
            major,
            minor,
            patch,
            suffix: suffix
                .map(|_| before.split('.').map(str::to_owned).collect())
                .unwrap_or_default(),
            build,
        })
    }

    /// The same version with zeros for what is missing.
    fn complete(&self) -> Option<Self> {
        let mut text = format!(
            "{}.{}.{}",
            self.major,
            self.minor.unwrap_or(0),
            self.patch.unwrap_or(0)
        );
        if !self.suffix.is_empty() {
            text.push('-');
            text.push_str(&self.suffix.join("."));
        }
        if let Some(build) = &self.build {
            text.push('+');
            text.push_str(build);
        }
        Self::read(&text, Kind::Npm)
    }

    fn is_within(&self, bound: Bound, limit: &Self) -> Option<bool> {
        Some(match bound {
            Bound::Equal => self.is_same(limit),
            Bound::Less => !self.is_greater(limit) && !self.is_same(limit),
            Bound::LessOrEqual => !self.is_greater(limit) || self.is_same(limit),
            Bound::Greater => self.is_greater(limit),
            Bound::GreaterOrEqual => self.is_greater(limit) || self.is_same(limit),
        })
    }

    fn is_greater(&self, other: &Self) -> bool {
        if self.major != other.major {
            return self.major > other.major;
        }
        let Some(minor) = other.minor else {
            return false;
        };
        if let Some(own) = self.minor
            && own != minor
        {
            return own > minor;
        }
        let Some(patch) = other.patch else {
            return false;
        };
        if let Some(own) = self.patch
            && own != patch
        {
            return own > patch;
        }
        match (self.suffix.is_empty(), other.suffix.is_empty()) {
            (true, false) => return true,
            (false, true) => return false,
            _ => {}
        }
        for (own, others) in self.suffix.iter().zip(&other.suffix) {
            let order = match (number(own), number(others)) {
                (Some(own), Some(others)) => own.cmp(&others),
                _ => own.to_lowercase().cmp(&others.to_lowercase()),
            };
            if order.is_ne() {
                return order.is_gt();
            }
        }
        self.suffix.len() > other.suffix.len()
    }

    /// Equal as far as the other one says; builds do not count.
    fn is_same(&self, other: &Self) -> bool {
        if self.build.is_none() {
            if self.major != other.major {
                return false;
            }
            if other.minor.is_none() || other.patch.is_none() {
                return true;
            }
        }
        self.without_build() == other.without_build()
    }

    fn without_build(&self) -> String {
        match &self.build {
            Some(build) => self.value.replace(&format!("+{build}"), ""),
            None => self.value.clone(),
        }
    }
}

fn number(text: &str) -> Option<i32> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_what_npm_says() {
        for (version, range, wanted) in [
            ("1.2.3", "^1.2", true),
            ("2.0.0", "^1.2", false),
            ("0.2.9", "^0.2.3", true),
            ("0.3.0", "^0.2.3", false),
            ("0.0.4", "^0.0.3", false),
            ("1.2.9", "~1.2.3", true),
            ("1.3.0", "~1.2.3", false),
            ("1.9.0", "~1", true),
            ("1.2.3", "1.x", true),
            ("1.2.3", "1.2.3 || 2.x", true),
            ("2.5.0", "1.2.3 || 2.x", true),
            ("3.0.0", ">=1.0.0 <2.0.0", false),
            ("1.4.9", "1.2 - 1.4", true),
            ("1.5.0", "1.2 - 1.4", false),
            ("1.2.3", "*", true),
            ("1.2.3", "latest", true),
            ("1.2.3-rc.1", "^1.2.2", false),
            ("1.2.3-rc.2", "^1.2.3-rc.1", true),
        ] {
            assert_eq!(
                satisfies(version, range),
                Some(wanted),
                "{version} in {range}"
            );
        }
        for broken in ["not a range", "(", ">=", "1 - ", ")", "||"] {
            assert_eq!(satisfies("1.2.3", broken), None, "{broken}");
        }
        assert_eq!(satisfies("1.2.3", &"(".repeat(255)), None);
    }
}
