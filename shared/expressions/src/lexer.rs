//! Tokens of one expression, as Spring's tokenizer makes them.

use crate::template::ParseError;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Int,
    Long,
    HexInt,
    HexLong,
    Str,
    Real,
    RealFloat,
    LParen,
    RParen,
    Comma,
    Identifier,
    Colon,
    Hash,
    RSquare,
    LSquare,
    LCurly,
    RCurly,
    Dot,
    Plus,
    Star,
    Minus,
    SelectFirst,
    SelectLast,
    Question,
    Project,
    Div,
    Ge,
    Gt,
    Le,
    Lt,
    Eq,
    Ne,
    Mod,
    Not,
    Assign,
    Select,
    Power,
    Elvis,
    SafeNavi,
    BeanRef,
    FactoryBeanRef,
    SymbolicOr,
    SymbolicAnd,
    Inc,
    Dec,
}

impl Kind {
    /// The name and sign as the original prints them.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Kind::Int => "literal_int",
            Kind::Long => "literal_long",
            Kind::HexInt => "literal_hexint",
            Kind::HexLong => "literal_hexlong",
            Kind::Str => "literal_string",
            Kind::Real => "literal_real",
            Kind::RealFloat => "literal_real_float",
            Kind::LParen => "lparen(()",
            Kind::RParen => "rparen())",
            Kind::Comma => "comma(,)",
            Kind::Identifier => "identifier",
            Kind::Colon => "colon(:)",
            Kind::Hash => "hash(#)",
            Kind::RSquare => "rsquare(])",
            Kind::LSquare => "lsquare([)",
            Kind::LCurly => "lcurly({)",
            Kind::RCurly => "rcurly(})",
            Kind::Dot => "dot(.)",
            Kind::Plus => "plus(+)",
            Kind::Star => "star(*)",
            Kind::Minus => "minus(-)",
            Kind::SelectFirst => "select_first(^[)",
            Kind::SelectLast => "select_last($[)",
            Kind::Question => "qmark(?)",
            Kind::Project => "project(![)",
            Kind::Div => "div(/)",
            Kind::Ge => "ge(>=)",
            Kind::Gt => "gt(>)",
            Kind::Le => "le(<=)",
            Kind::Lt => "lt(<)",
            Kind::Eq => "eq(==)",
            Kind::Ne => "ne(!=)",
            Kind::Mod => "mod(%)",
            Kind::Not => "not(!)",
            Kind::Assign => "assign(=)",
            Kind::Select => "select(?[)",
            Kind::Power => "power(^)",
            Kind::Elvis => "elvis(?:)",
            Kind::SafeNavi => "safe_navi(?.)",
            Kind::BeanRef => "bean_ref(@)",
            Kind::FactoryBeanRef => "factory_bean_ref(&)",
            Kind::SymbolicOr => "symbolic_or(||)",
            Kind::SymbolicAnd => "symbolic_and(&&)",
            Kind::Inc => "inc(++)",
            Kind::Dec => "dec(--)",
        }
    }
}

/// A token with its start in the expression, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token<'t> {
    pub(crate) kind: Kind,
    /// Literals and identifiers: their text (strings with their quotes); empty otherwise.
    pub(crate) text: &'t str,
    pub(crate) start: usize,
}

impl Token<'_> {
    pub(crate) fn is_identifier(&self) -> bool {
        self.kind == Kind::Identifier
    }

    /// The text for a message: the literal's own, or the sign.
    pub(crate) fn shown(&self) -> String {
        if self.text.is_empty() {
            self.kind.text().to_string()
        } else {
            self.text.to_string()
        }
    }
}

/// Words that are operators, longest list first in the original; compared without case.
const WORD_OPERATORS: [(&str, Kind); 9] = [
    ("DIV", Kind::Div),
    ("EQ", Kind::Eq),
    ("GE", Kind::Ge),
    ("GT", Kind::Gt),
    ("LE", Kind::Le),
    ("LT", Kind::Lt),
    ("MOD", Kind::Mod),
    ("NE", Kind::Ne),
    ("NOT", Kind::Not),
];

fn error(position: usize, message: impl Into<String>) -> ParseError {
    ParseError {
        message: message.into(),
        position,
    }
}

/// Splits an expression into tokens.
pub(crate) fn tokenize(text: &str) -> Result<Vec<Token<'_>>, ParseError> {
    let mut lexer = Lexer {
        text,
        bytes: text.as_bytes(),
        pos: 0,
        tokens: Vec::with_capacity(text.len() / 3 + 2),
    };
    lexer.run()?;
    Ok(lexer.tokens)
}

struct Lexer<'t> {
    text: &'t str,
    bytes: &'t [u8],
    pos: usize,
    tokens: Vec<Token<'t>>,
}

impl<'t> Lexer<'t> {
    /// The byte at an index as a character; bytes of wider characters stand for none that the language knows.
    fn at(&self, index: usize) -> char {
        self.bytes.get(index).map_or('\0', |byte| char::from(*byte))
    }

    fn push(&mut self, kind: Kind, length: usize) {
        self.tokens.push(Token {
            kind,
            text: "",
            start: self.pos,
        });
        self.pos += length;
    }

    fn slice(&self, start: usize, end: usize) -> &'t str {
        self.text.get(start..end).unwrap_or_default()
    }

    fn run(&mut self) -> Result<(), ParseError> {
        while self.pos < self.bytes.len() {
            let c = self.at(self.pos);
            let next = self.at(self.pos + 1);
            match c {
                'a'..='z' | 'A'..='Z' => self.identifier(),
                '_' => self.identifier(),
                '+' => {
                    if next == '+' {
                        self.push(Kind::Inc, 2)
                    } else {
                        self.push(Kind::Plus, 1)
                    }
                }
                '-' => {
                    if next == '-' {
                        self.push(Kind::Dec, 2)
                    } else {
                        self.push(Kind::Minus, 1)
                    }
                }
                ':' => self.push(Kind::Colon, 1),
                '.' => self.push(Kind::Dot, 1),
                ',' => self.push(Kind::Comma, 1),
                '*' => self.push(Kind::Star, 1),
                '/' => self.push(Kind::Div, 1),
                '%' => self.push(Kind::Mod, 1),
                '(' => self.push(Kind::LParen, 1),
                ')' => self.push(Kind::RParen, 1),
                '[' => self.push(Kind::LSquare, 1),
                '#' => self.push(Kind::Hash, 1),
                ']' => self.push(Kind::RSquare, 1),
                '{' => self.push(Kind::LCurly, 1),
                '}' => self.push(Kind::RCurly, 1),
                '@' => self.push(Kind::BeanRef, 1),
                '^' => {
                    if next == '[' {
                        self.push(Kind::SelectFirst, 2)
                    } else {
                        self.push(Kind::Power, 1)
                    }
                }
                '!' => match next {
                    '=' => self.push(Kind::Ne, 2),
                    '[' => self.push(Kind::Project, 2),
                    _ => self.push(Kind::Not, 1),
                },
                '=' => {
                    if next == '=' {
                        self.push(Kind::Eq, 2)
                    } else {
                        self.push(Kind::Assign, 1)
                    }
                }
                '&' => {
                    if next == '&' {
                        self.push(Kind::SymbolicAnd, 2)
                    } else {
                        self.push(Kind::FactoryBeanRef, 1)
                    }
                }
                '|' => {
                    if next != '|' {
                        return Err(error(self.pos, "EL1069E: Missing expected character '|'"));
                    }
                    self.push(Kind::SymbolicOr, 2)
                }
                '?' => match next {
                    '[' => self.push(Kind::Select, 2),
                    ':' => self.push(Kind::Elvis, 2),
                    '.' => self.push(Kind::SafeNavi, 2),
                    _ => self.push(Kind::Question, 1),
                },
                '$' => {
                    if next == '[' {
                        self.push(Kind::SelectLast, 2)
                    } else {
                        self.identifier()
                    }
                }
                '>' => {
                    if next == '=' {
                        self.push(Kind::Ge, 2)
                    } else {
                        self.push(Kind::Gt, 1)
                    }
                }
                '<' => {
                    if next == '=' {
                        self.push(Kind::Le, 2)
                    } else {
                        self.push(Kind::Lt, 1)
                    }
                }
                '0'..='9' => self.number(c == '0')?,
                ' ' | '\t' | '\r' | '\n' => self.pos += 1,
                '\'' | '"' => self.string(c)?,
                '\0' => self.pos += 1,
                '\\' => return Err(error(self.pos, "EL1065E: Unexpected escape character")),
                _ => {
                    let other = self
                        .text
                        .get(self.pos..)
                        .and_then(|rest| rest.chars().next())
                        .unwrap_or('\0');
                    return Err(error(
                        self.pos,
                        format!("Cannot handle ({}) '{other}'", first_unit(other)),
                    ));
                }
            }
        }
        Ok(())
    }

    fn string(&mut self, quote: char) -> Result<(), ParseError> {
        let start = self.pos;
        let mut at = start + 1;
        loop {
            if at >= self.bytes.len() {
                let name = if quote == '\'' {
                    "EL1045E: Cannot find terminating '"
                } else {
                    "EL1046E: Cannot find terminating \""
                };
                return Err(error(start, format!("{name} for string")));
            }
            if self.at(at) == quote {
                if self.at(at + 1) == quote && at + 1 < self.bytes.len() {
                    at += 1;
                } else {
                    break;
                }
            }
            at += 1;
        }
        let text = self.slice(start, at + 1);
        self.tokens.push(Token {
            kind: Kind::Str,
            text,
            start,
        });
        self.pos = at + 1;
        Ok(())
    }

    fn identifier(&mut self) {
        let start = self.pos;
        let mut at = start;
        while let Some(byte) = self.bytes.get(at)
            && (byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$'))
        {
            at += 1;
        }
        let text = self.slice(start, at);
        // The alternative operator names are at most three letters long.
        let known = (text.len() <= 3)
            .then(|| {
                WORD_OPERATORS
                    .iter()
                    .find(|(word, _)| word.eq_ignore_ascii_case(text))
            })
            .flatten();
        if let Some((_, kind)) = known {
            self.push(*kind, text.len());
            return;
        }
        self.tokens.push(Token {
            kind: Kind::Identifier,
            text,
            start,
        });
        self.pos = at;
    }

    fn number(&mut self, first_is_zero: bool) -> Result<(), ParseError> {
        let start = self.pos;
        let second = self.at(self.pos + 1);
        if first_is_zero && (second == 'x' || second == 'X') {
            let mut at = self.pos + 2;
            while self.at(at).is_ascii_hexdigit() {
                at += 1;
            }
            let digits = self.slice(start + 2, at);
            let suffix = self.at(at);
            let (kind, end) = if suffix == 'L' || suffix == 'l' {
                (Kind::HexLong, at + 1)
            } else {
                (Kind::HexInt, at)
            };
            if digits.is_empty() {
                let code = if kind == Kind::HexLong {
                    ("EL1036E", "a long")
                } else {
                    ("EL1035E", "an int")
                };
                return Err(error(
                    start,
                    format!(
                        "{}: The value '{}' cannot be parsed as {}",
                        code.0,
                        self.slice(start, at),
                        code.1
                    ),
                ));
            }
            self.tokens.push(Token {
                kind,
                text: digits,
                start,
            });
            self.pos = end;
            return Ok(());
        }
        let mut real = false;
        let mut at = self.pos;
        while self.at(at).is_ascii_digit() {
            at += 1;
        }
        if self.at(at) == '.' {
            let dot = at;
            at += 1;
            while self.at(at).is_ascii_digit() {
                at += 1;
            }
            if at == dot + 1 {
                // `3.foo()`: the dot belongs to what follows.
                let text = self.slice(start, dot);
                self.tokens.push(Token {
                    kind: Kind::Int,
                    text,
                    start,
                });
                self.pos = dot;
                return Ok(());
            }
            real = true;
        }
        let end_of_number = at;
        let c = self.at(at);
        if c == 'L' || c == 'l' {
            if real {
                return Err(error(
                    start,
                    format!(
                        "EL1061E: Real number cannot be suffixed with a long (L or l) suffix: {}",
                        self.slice(start, at)
                    ),
                ));
            }
            let text = self.slice(start, end_of_number);
            self.tokens.push(Token {
                kind: Kind::Long,
                text,
                start,
            });
            self.pos = at + 1;
            return Ok(());
        }
        if c == 'e' || c == 'E' {
            at += 1;
            if self.at(at) == '+' || self.at(at) == '-' {
                at += 1;
            }
            if at >= self.bytes.len() {
                return Err(error(
                    at,
                    format!("Index {} out of bounds for length {}", at + 1, at + 1),
                ));
            }
            // The original takes the first character after the exponent whatever it is; the literal refuses it then.
            at += 1;
            while self.at(at).is_ascii_digit() {
                at += 1;
            }
            let suffix = self.at(at);
            return self.real(start, at, suffix);
        }
        if matches!(c, 'f' | 'F' | 'd' | 'D') {
            return self.real(start, at, c);
        }
        let text = self.slice(start, at);
        self.tokens.push(Token {
            kind: if real { Kind::Real } else { Kind::Int },
            text,
            start,
        });
        self.pos = at;
        Ok(())
    }

    fn real(&mut self, start: usize, at: usize, suffix: char) -> Result<(), ParseError> {
        let (kind, end) = match suffix {
            'f' | 'F' => (Kind::RealFloat, at + 1),
            'd' | 'D' => (Kind::Real, at + 1),
            _ => (Kind::Real, at),
        };
        let text = self.slice(start, at);
        self.tokens.push(Token { kind, text, start });
        self.pos = end;
        Ok(())
    }
}

/// The first UTF-16 unit of a character, as the original counts.
fn first_unit(c: char) -> u32 {
    let mut units = [0u16; 2];
    c.encode_utf16(&mut units)
        .first()
        .map_or(0, |unit| u32::from(*unit))
}
