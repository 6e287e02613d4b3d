//! Version ranges as NPM writes them, for Helm triggers.

/// Longest version or range that is read.
const MAX_LENGTH: usize = 256;

/// A version: three numbers and what comes before its release.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    numbers: [u64; 3],
    before: Vec<Identifier>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    Number(u64),
    Text(String),
}

/// A version of which the last numbers may be missing, or `x`.
struct Partial {
    numbers: Vec<u64>,
    before: Vec<Identifier>,
}

#[derive(Clone, Copy, PartialEq)]
enum Bound {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
}

/// Whether a version is in a range: `>=1.0.0 <2.0.0`, `^1.2`, `~1.2.3 || 2.x`, `1.2 - 1.4`. None if either cannot be
/// read.
pub(crate) fn satisfies(version: &str, range: &str) -> Option<bool> {
    if version.len() > MAX_LENGTH || range.len() > MAX_LENGTH {
        return None;
    }
    let version = Version::read(version)?;
    let mut any = false;
    for alternative in range.split("||") {
        any |= in_alternative(&version, alternative.trim())?;
    }
    Some(any)
}

fn in_alternative(version: &Version, text: &str) -> Option<bool> {
    let bounds = bounds(text)?;
    Some(
        bounds
            .iter()
            .all(|(bound, limit)| version.is_within(*bound, limit)),
    )
}

/// The comparisons that a version has to pass.
fn bounds(text: &str) -> Option<Vec<(Bound, Version)>> {
    if let Some((low, high)) = text.split_once(" - ") {
        let (low, high) = (Partial::read(low)?, Partial::read(high)?);
        let mut found = vec![(Bound::GreaterOrEqual, low.lowest())];
        match high.next() {
            Some(next) => found.push((Bound::Less, next)),
            None => found.push((Bound::LessOrEqual, high.lowest())),
        }
        return Some(found);
    }
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    if rest.is_empty() {
        return Some(vec![(Bound::GreaterOrEqual, Version::zero())]);
    }
    while !rest.is_empty() {
        let operators = ["<=", ">=", "<", ">", "=", "^", "~>", "~"];
        let operator = operators
            .into_iter()
            .find(|operator| rest.starts_with(operator))
            .unwrap_or("");
        let after = rest.get(operator.len()..)?.trim_start();
        let end = after.find(char::is_whitespace).unwrap_or(after.len());
        let (word, next) = after.split_at_checked(end)?;
        rest = next.trim_start();
        let partial = Partial::read(word)?;
        let lowest = partial.lowest();
        let next = partial.next();
        match operator {
            "" | "=" => match next {
                Some(next) => {
                    found.push((Bound::GreaterOrEqual, lowest));
                    found.push((Bound::Less, next));
                }
                None if partial.numbers.is_empty() => {
                    found.push((Bound::GreaterOrEqual, lowest));
                }
                None => found.push((Bound::Equal, lowest)),
            },
            "^" => {
                let at = lowest
                    .numbers
                    .iter()
                    .take(partial.numbers.len().max(1))
                    .position(|number| *number > 0)
                    .unwrap_or(partial.numbers.len().saturating_sub(1));
                let upper = lowest.raised(at);
                found.push((Bound::GreaterOrEqual, lowest));
                if !partial.numbers.is_empty() {
                    found.push((Bound::Less, upper));
                }
            }
            "~" | "~>" => {
                let upper = lowest.raised(usize::from(partial.numbers.len() > 1));
                found.push((Bound::GreaterOrEqual, lowest));
                if !partial.numbers.is_empty() {
                    found.push((Bound::Less, upper));
                }
            }
            ">" => match next {
                Some(next) => found.push((Bound::GreaterOrEqual, next)),
                None => found.push((Bound::Greater, lowest)),
            },
            "<=" => match next {
                Some(next) => found.push((Bound::Less, next)),
                None => found.push((Bound::LessOrEqual, lowest)),
            },
            "<" => found.push((Bound::Less, lowest)),
            _ => found.push((Bound::GreaterOrEqual, lowest)),
        }
    }
    Some(found)
}

impl Version {
    fn zero() -> Self {
        Self {
            numbers: [0; 3],
            before: Vec::new(),
        }
    }

    fn read(text: &str) -> Option<Self> {
        let partial = Partial::read(text)?;
        match partial.numbers.as_slice() {
            [major, minor, patch] => Some(Self {
                numbers: [*major, *minor, *patch],
                before: partial.before,
            }),
            _ => None,
        }
    }

    /// This version with the number at `at` one higher and nothing after it.
    fn raised(&self, at: usize) -> Self {
        let mut numbers = self.numbers;
        for (index, number) in numbers.iter_mut().enumerate() {
            if index == at {
                *number = number.saturating_add(1);
            } else if index > at {
                *number = 0;
            }
        }
        Self {
            numbers,
            before: Vec::new(),
        }
    }

    fn is_within(&self, bound: Bound, limit: &Self) -> bool {
        let order = self.numbers.cmp(&limit.numbers).then_with(|| {
            match (self.before.is_empty(), limit.before.is_empty()) {
                (true, true) => std::cmp::Ordering::Equal,
                (true, false) => std::cmp::Ordering::Greater,
                (false, true) => std::cmp::Ordering::Less,
                (false, false) => self.before.cmp(&limit.before),
            }
        });
        match bound {
            Bound::Less => order.is_lt(),
            Bound::LessOrEqual => order.is_le(),
            Bound::Greater => order.is_gt(),
            Bound::GreaterOrEqual => order.is_ge(),
            Bound::Equal => order.is_eq(),
        }
    }
}

impl Partial {
    fn read(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches(['v', '=']).trim_start();
        let text = text.split_once('+').map_or(text, |(version, _)| version);
        let (numbers, before) = match text.split_once('-') {
            Some((numbers, before)) => (numbers, before.split('.').map(identifier).collect()),
            None => (text, Vec::new()),
        };
        let mut found = Vec::new();
        let mut open = false;
        for part in numbers.split('.') {
            if matches!(part, "x" | "X" | "*" | "") {
                open = true;
            } else if !open {
                found.push(part.parse().ok()?);
            }
        }
        if numbers.split('.').count() > 3 || text.is_empty() {
            return None;
        }
        Some(Self {
            numbers: found,
            before,
        })
    }

    fn number(&self, at: usize) -> u64 {
        self.numbers.get(at).copied().unwrap_or(0)
    }

    fn lowest(&self) -> Version {
        Version {
            numbers: [self.number(0), self.number(1), self.number(2)],
            before: self.before.clone(),
        }
    }

    /// The first version after all that this one may be; none if it is complete or anything.
    fn next(&self) -> Option<Version> {
        match self.numbers.len() {
            0 | 3 => None,
            length => Some(
                Version {
                    numbers: [self.number(0), self.number(1), self.number(2)],
                    before: Vec::new(),
                }
                .raised(length - 1),
            ),
        }
    }
}

fn identifier(text: &str) -> Identifier {
    match text.parse() {
        Ok(number) => Identifier::Number(number),
        Err(_) => Identifier::Text(text.to_owned()),
    }
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
            ("1.2.3", "<=1.2", true),
            ("1.3.0", ">1.2", true),
            ("1.2.9", ">1.2", false),
        ] {
            assert_eq!(satisfies(version, range), Some(wanted), "{version} in {range}");
        }
        assert_eq!(satisfies("1.2", "*"), None);
        assert_eq!(satisfies("1.2.3", "not a range"), None);
    }
}
