//! From tokens to a tree, by the rules (and with the positions and messages) of Spring's parser.

use crate::ast::{Keep, Node, Op, TypeName};
use crate::lexer::{Kind, Token, tokenize};
use crate::template::ParseError;

/// Longest expression in characters, Spring's own default (EL1079E).
pub(crate) const MAX_EXPRESSION_LENGTH: usize = 10_000;

/// Deepest nesting of brackets, calls and ternaries. The original overflows its stack somewhere in the thousands; people
/// nest less than ten deep. 200 levels need less than 1 MiB of stack in an optimised build.
const MAX_DEPTH: usize = 200;

type Parsed = Result<Option<Node>, ParseError>;

/// The error of an expression that is longer than `longest` characters.
pub(crate) fn too_long(longest: usize) -> ParseError {
    ParseError {
        message: format!(
            "EL1079E: SpEL expression is too long, exceeding the threshold of '{longest}' characters"
        ),
        position: 0,
    }
}

/// Parses one expression (the text between `${` and `}`, trimmed).
pub(crate) fn parse(text: &str) -> Result<Node, ParseError> {
    let tokens = without_doubled_brackets(tokenize(text)?);
    let mut parser = Parser {
        text,
        tokens,
        pos: 0,
        depth: 0,
    };
    let Some(node) = parser.expression()? else {
        return Err(parser.fail(0, "EL1044E: Unexpectedly ran out of input"));
    };
    if let Some(token) = parser.peek() {
        let (position, shown) = (token.start, token.shown());
        return Err(parser.fail(
            position,
            &format!("EL1041E: After parsing a valid expression, there is still more data in the expression: '{shown}'"),
        ));
    }
    Ok(node)
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token<'a>>,
    pos: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    /// A failure at a byte of the text; people count characters.
    fn fail(&self, byte: usize, message: &str) -> ParseError {
        let position = self
            .text
            .get(..byte)
            .map_or_else(|| self.text.chars().count(), |head| head.chars().count());
        ParseError {
            message: format!("Expression [{}] @{position}: {message}", self.text),
            position,
        }
    }

    fn missing_operand(&self) -> ParseError {
        ParseError {
            message: "Operand must not be null".to_string(),
            position: self.peek().map_or(self.text.len(), |token| token.start),
        }
    }

    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.pos).copied()
    }

    fn peek_kind(&self) -> Option<Kind> {
        self.peek().map(|token| token.kind)
    }

    fn is(&self, kind: Kind) -> bool {
        self.peek_kind() == Some(kind)
    }

    fn start(&self) -> usize {
        self.peek().map_or(0, |token| token.start)
    }

    fn take(&mut self, kind: Kind) -> bool {
        let found = self.is(kind);
        if found {
            self.pos += 1;
        }
        found
    }

    fn is_word(&self, word: &str) -> bool {
        self.peek()
            .is_some_and(|token| token.is_identifier() && token.text.eq_ignore_ascii_case(word))
    }

    fn expect(&mut self, kind: Kind) -> Result<Token<'a>, ParseError> {
        match self.peek() {
            None => Err(self.fail(
                self.text.chars().count(),
                "EL1044E: Unexpectedly ran out of input",
            )),
            Some(token) if token.kind == kind => {
                self.pos += 1;
                Ok(token)
            }
            Some(token) => Err(self.fail(
                token.start,
                &format!(
                    "EL1043E: Unexpected token. Expected '{}' but was '{}'",
                    kind.text(),
                    token.kind.text()
                ),
            )),
        }
    }

    fn enter(&mut self) -> Result<(), ParseError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.fail(
                self.start(),
                &format!("the expression is nested more than {MAX_DEPTH} deep"),
            ));
        }
        Ok(())
    }

    fn need(&self, node: Option<Node>) -> Result<Node, ParseError> {
        node.ok_or_else(|| self.missing_operand())
    }

    fn boxed(&self, node: Option<Node>) -> Result<Box<Node>, ParseError> {
        self.need(node).map(Box::new)
    }

    fn expression(&mut self) -> Parsed {
        self.enter()?;
        let node = self.expression_inner();
        self.depth -= 1;
        node
    }

    fn expression_inner(&mut self) -> Parsed {
        let first = self.binary(Level::Or)?;
        match self.peek_kind() {
            Some(Kind::Assign) => {
                self.pos += 1;
                let value = self.binary(Level::Or)?;
                Ok(Some(Node::Assign(
                    Box::new(first.unwrap_or(Node::Null)),
                    self.boxed(value)?,
                )))
            }
            Some(Kind::Elvis) => {
                self.pos += 1;
                let other = self.expression()?;
                Ok(Some(Node::Elvis(
                    Box::new(first.unwrap_or(Node::Null)),
                    Box::new(other.unwrap_or(Node::Null)),
                )))
            }
            Some(Kind::Question) => {
                self.pos += 1;
                let yes = self.expression()?;
                self.expect(Kind::Colon)?;
                let no = self.expression()?;
                Ok(Some(Node::Ternary(
                    Box::new(first.unwrap_or(Node::Null)),
                    self.boxed(yes)?,
                    self.boxed(no)?,
                )))
            }
            _ => Ok(first),
        }
    }

    fn check_operands(
        &self,
        at: usize,
        left: Option<Node>,
        right: Option<Node>,
    ) -> Result<(Node, Node), ParseError> {
        match (left, right) {
            (None, _) => Err(self.fail(at, "EL1070E: Problem parsing left operand")),
            (_, None) => Err(self.fail(at, "EL1042E: Problem parsing right operand")),
            (Some(left), Some(right)) => Ok((left, right)),
        }
    }

    fn binary_operator(&self) -> Option<(Level, Binary)> {
        let word = |word| self.is_word(word);
        Some(match self.peek_kind()? {
            Kind::SymbolicOr => (Level::Or, Binary::Or),
            Kind::SymbolicAnd => (Level::And, Binary::And),
            Kind::Gt => (Level::Relation, Binary::Op(Op::Gt)),
            Kind::Lt => (Level::Relation, Binary::Op(Op::Lt)),
            Kind::Le => (Level::Relation, Binary::Op(Op::Le)),
            Kind::Ge => (Level::Relation, Binary::Op(Op::Ge)),
            Kind::Eq => (Level::Relation, Binary::Op(Op::Eq)),
            Kind::Ne => (Level::Relation, Binary::Op(Op::Ne)),
            Kind::Plus => (Level::Sum, Binary::Op(Op::Add)),
            Kind::Minus => (Level::Sum, Binary::Op(Op::Sub)),
            // `a^b ++ c`: the original reads the right operand and drops it.
            Kind::Inc => (Level::Sum, Binary::Dropped),
            Kind::Star => (Level::Product, Binary::Op(Op::Mul)),
            Kind::Div => (Level::Product, Binary::Op(Op::Div)),
            Kind::Mod => (Level::Product, Binary::Op(Op::Mod)),
            Kind::Identifier if word("or") => (Level::Or, Binary::Or),
            Kind::Identifier if word("and") => (Level::And, Binary::And),
            Kind::Identifier if word("instanceof") => (Level::Relation, Binary::Op(Op::InstanceOf)),
            Kind::Identifier if word("matches") => (Level::Relation, Binary::Op(Op::Matches)),
            Kind::Identifier if word("between") => (Level::Relation, Binary::Op(Op::Between)),
            _ => return None,
        })
    }

    /// Operators of `lowest` level and up, by precedence climbing: one frame a bracket instead of one a level.
    fn binary(&mut self, lowest: Level) -> Parsed {
        let mut left = self.power()?;
        // The level of the chain that `left` is and that may grow; relations do not chain.
        let mut open: Option<Level> = None;
        let mut highest = Level::Product;
        while let Some((level, operator)) = self.binary_operator() {
            if level < lowest || level > highest {
                break;
            }
            let at = self.start();
            self.pos += 1;
            let right = self.binary(level.above())?;
            if matches!(operator, Binary::Dropped) {
                let (kept, _) = self.check_operands(at, left, right)?;
                left = Some(kept);
                continue;
            }
            let (before, right) = self.check_operands(at, left, right)?;
            left = Some(joined(before, operator, right, open == Some(level)));
            open = Some(level);
            if level == Level::Relation {
                highest = Level::And;
            }
        }
        Ok(left)
    }

    fn power(&mut self) -> Parsed {
        let left = self.unary()?;
        if self.is(Kind::Power) {
            let at = self.start();
            self.pos += 1;
            let Some(right) = self.unary()? else {
                return Err(self.fail(at, "EL1042E: Problem parsing right operand"));
            };
            return Ok(Some(Node::Chain {
                first: self.boxed(left)?,
                rest: vec![(Op::Power, right)],
            }));
        }
        if let (Some(_), Some(Kind::Inc | Kind::Dec)) = (&left, self.peek_kind()) {
            let increment = self.is(Kind::Inc);
            self.pos += 1;
            return Ok(Some(Node::Step {
                target: self.boxed(left)?,
                increment,
                prefix: false,
            }));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Parsed {
        let kind = match self.peek_kind() {
            Some(kind @ (Kind::Plus | Kind::Minus | Kind::Not | Kind::Inc | Kind::Dec)) => kind,
            _ => return self.primary(),
        };
        let at = self.start();
        self.pos += 1;
        // A row of the same sign is one node.
        let mut count = 1;
        while matches!(kind, Kind::Plus | Kind::Minus | Kind::Not) && self.is(kind) {
            self.pos += 1;
            count += 1;
        }
        self.enter()?;
        let operand = self.unary()?;
        self.depth -= 1;
        if matches!(kind, Kind::Inc | Kind::Dec) {
            let target = self.boxed(operand)?;
            return Ok(Some(Node::Step {
                target,
                increment: kind == Kind::Inc,
                prefix: true,
            }));
        }
        let Some(operand) = operand else {
            return Err(self.fail(at, "EL1044E: Unexpectedly ran out of input"));
        };
        let operand = Box::new(operand);
        Ok(Some(match kind {
            Kind::Not => Node::Not(count, operand),
            Kind::Plus => Node::Plus(operand),
            _ => Node::Minus(count, operand),
        }))
    }

    fn primary(&mut self) -> Parsed {
        let start = self.start_node()?;
        if !matches!(
            self.peek_kind(),
            Some(Kind::Dot | Kind::SafeNavi | Kind::LSquare)
        ) {
            return Ok(start);
        }
        let mut nodes = Vec::with_capacity(6);
        let started = start.is_some();
        nodes.extend(start);
        loop {
            let node = match self.peek_kind() {
                Some(Kind::Dot | Kind::SafeNavi) => Some(self.dotted_node()?),
                Some(Kind::LSquare) => self.indexer()?,
                _ => None,
            };
            match node {
                Some(node) => nodes.push(node),
                None => break,
            }
        }
        // Without a start the original forgets the nodes it has read.
        Ok(started.then_some(Node::Path(nodes)))
    }

    fn dotted_node(&mut self) -> Result<Node, ParseError> {
        let at = self.start();
        let safe = self.is(Kind::SafeNavi);
        self.pos += 1;
        if let Some(node) = self.method_or_property(safe)? {
            return Ok(node);
        }
        if let Some(node) = self.function_or_variable()? {
            return Ok(node);
        }
        if let Some(node) = self.projection(safe)? {
            return Ok(node);
        }
        if let Some(node) = self.selection(safe)? {
            return Ok(node);
        }
        match self.peek() {
            None => Err(self.fail(at, "EL1044E: Unexpectedly ran out of input")),
            Some(token) => Err(self.fail(
                at,
                &format!("EL1049E: Unexpected data after '.': '{}'", token.shown()),
            )),
        }
    }

    fn start_node(&mut self) -> Parsed {
        if let Some(node) = self.literal()? {
            return Ok(Some(node));
        }
        if self.is(Kind::LParen) {
            let at = self.start();
            self.pos += 1;
            let inner = self.expression()?;
            let Some(inner) = inner else {
                return Err(self.fail(at, "EL1044E: Unexpectedly ran out of input"));
            };
            self.expect(Kind::RParen)?;
            return Ok(Some(inner));
        }
        if let Some(node) = self.type_reference()? {
            return Ok(Some(node));
        }
        if self.is_word("null") {
            self.pos += 1;
            return Ok(Some(Node::Null));
        }
        if let Some(node) = self.constructor()? {
            return Ok(Some(node));
        }
        if let Some(node) = self.method_or_property(false)? {
            return Ok(Some(node));
        }
        if let Some(node) = self.function_or_variable()? {
            return Ok(Some(node));
        }
        if let Some(node) = self.bean()? {
            return Ok(Some(node));
        }
        if let Some(node) = self.projection(false)? {
            return Ok(Some(node));
        }
        if let Some(node) = self.selection(false)? {
            return Ok(Some(node));
        }
        if let Some(node) = self.indexer()? {
            return Ok(Some(node));
        }
        self.inline_list_or_map()
    }

    fn literal(&mut self) -> Parsed {
        let Some(token) = self.peek() else {
            return Ok(None);
        };
        let text = token.text;
        let node = match token.kind {
            Kind::Int => Node::Int(
                text.parse()
                    .map_err(|_| self.not_a_number(text, "EL1035E", "an int", 10))?,
            ),
            Kind::HexInt => Node::Int(
                i32::from_str_radix(text, 16)
                    .map_err(|_| self.not_a_number(text, "EL1035E", "an int", 16))?,
            ),
            Kind::Long => Node::Long(
                text.parse()
                    .map_err(|_| self.not_a_number(text, "EL1036E", "a long", 10))?,
            ),
            Kind::HexLong => Node::Long(
                i64::from_str_radix(text, 16)
                    .map_err(|_| self.not_a_number(text, "EL1036E", "a long", 16))?,
            ),
            Kind::Real => Node::Double(text.parse().map_err(|_| self.not_a_real(text))?),
            Kind::RealFloat => Node::Float(text.parse().map_err(|_| self.not_a_real(text))?),
            Kind::Str => {
                let quote = text.chars().next().unwrap_or('\'');
                let inner = text
                    .get(1..text.len().saturating_sub(1))
                    .unwrap_or_default();
                if inner.contains(quote) {
                    let doubled: String = [quote, quote].iter().collect();
                    Node::Str(inner.replace(&doubled, &quote.to_string()).into())
                } else {
                    Node::Str(inner.into())
                }
            }
            Kind::Identifier if text.eq_ignore_ascii_case("true") => Node::Bool(true),
            Kind::Identifier if text.eq_ignore_ascii_case("false") => Node::Bool(false),
            _ => return Ok(None),
        };
        self.pos += 1;
        Ok(Some(node))
    }

    fn not_a_number(&self, text: &str, code: &str, what: &str, radix: u32) -> ParseError {
        let radix = if radix == 10 {
            String::new()
        } else {
            format!(" under radix {radix}")
        };
        ParseError {
            message: format!(
                "For input string: \"{text}\"{radix} - {code}: The value '{text}' cannot be parsed as {what}"
            ),
            position: self.start(),
        }
    }

    fn not_a_real(&self, text: &str) -> ParseError {
        ParseError {
            message: format!(
                "For input string: \"{text}\" - EL1037E: The value '{text}' cannot be parsed as a double"
            ),
            position: self.start(),
        }
    }

    fn type_reference(&mut self) -> Parsed {
        match self.peek() {
            Some(token) if token.is_identifier() && token.text == "T" => {}
            _ => return Ok(None),
        }
        self.pos += 1;
        if self.is(Kind::RSquare) {
            return Ok(Some(Node::Property {
                name: "T".into(),
                safe: false,
            }));
        }
        self.expect(Kind::LParen)?;
        let name = self.qualified_id()?;
        let mut dimensions = 0;
        while self.take(Kind::LSquare) {
            self.expect(Kind::RSquare)?;
            dimensions += 1;
        }
        self.expect(Kind::RParen)?;
        Ok(Some(Node::Type(TypeName { name, dimensions })))
    }

    fn qualified_id(&mut self) -> Result<String, ParseError> {
        let mut parts: Vec<String> = Vec::new();
        while let Some(token) = self.peek() {
            let valid = match token.kind {
                Kind::Str => false,
                Kind::Dot | Kind::Identifier => true,
                _ => {
                    !token.text.is_empty()
                        && token
                            .text
                            .chars()
                            .all(|c| c.is_alphanumeric() || c == '_' || c == '$')
                }
            };
            if !valid {
                break;
            }
            if token.kind != Kind::Dot {
                parts.push(token.text.to_string());
            }
            self.pos += 1;
        }
        if parts.is_empty() {
            return Err(match self.peek() {
                None => self.fail(self.text.len(), "EL1044E: Unexpectedly ran out of input"),
                Some(token) => self.fail(
                    token.start,
                    &format!(
                        "EL1043E: Unexpected token. Expected 'qualified ID' but was '{}'",
                        token.kind.text()
                    ),
                ),
            });
        }
        Ok(parts.join("."))
    }

    fn constructor(&mut self) -> Parsed {
        if !self.is_word("new") {
            return Ok(None);
        }
        let word = self.peek().map(|token| token.text).unwrap_or_default();
        self.pos += 1;
        if self.is(Kind::RSquare) {
            return Ok(Some(Node::Property {
                name: word.into(),
                safe: false,
            }));
        }
        let name = self.qualified_id()?;
        if self.is(Kind::LSquare) {
            let mut dimensions = Vec::new();
            while self.take(Kind::LSquare) {
                if self.is(Kind::RSquare) {
                    dimensions.push(None);
                } else {
                    let size = self.expression()?;
                    dimensions.push(Some(self.need(size)?));
                }
                self.expect(Kind::RSquare)?;
            }
            let init = self.inline_list_or_map()?.map(Box::new);
            return Ok(Some(Node::NewArray {
                name,
                dimensions,
                init,
            }));
        }
        if !self.is(Kind::LParen) {
            let at = self.peek().map_or(self.text.len(), |token| token.start);
            return Err(self.fail(
                at,
                "EL1050E: The arguments '(...)' for the constructor call are missing",
            ));
        }
        let args = self.arguments()?;
        Ok(Some(Node::New { name, args }))
    }

    /// Reads `(…)`; the next token is the opening bracket.
    fn arguments(&mut self) -> Result<Vec<Node>, ParseError> {
        let at = self.start();
        let mut args = Vec::new();
        loop {
            self.pos += 1;
            match self.peek_kind() {
                None => return Err(self.fail(at, "EL1051E: Unexpectedly ran out of arguments")),
                Some(Kind::RParen) => {}
                Some(_) => {
                    let arg = self.expression()?;
                    args.push(self.need(arg)?);
                }
            }
            match self.peek_kind() {
                Some(Kind::Comma) => {}
                None => return Err(self.fail(at, "EL1051E: Unexpectedly ran out of arguments")),
                Some(_) => break,
            }
        }
        self.expect(Kind::RParen)?;
        Ok(args)
    }

    fn method_or_property(&mut self, safe: bool) -> Parsed {
        let Some(token) = self.peek().filter(|token| token.is_identifier()) else {
            return Ok(None);
        };
        let name = token.text.into();
        self.pos += 1;
        if self.is(Kind::LParen) {
            let args = self.arguments()?;
            return Ok(Some(Node::Method { name, args, safe }));
        }
        Ok(Some(Node::Property { name, safe }))
    }

    fn function_or_variable(&mut self) -> Parsed {
        if !self.take(Kind::Hash) {
            return Ok(None);
        }
        let name = match self.peek() {
            // The original reports the end of the text where it would stand.
            None => {
                return Err(self.fail(self.text.len(), "EL1044E: Unexpectedly ran out of input"));
            }
            Some(_) => self.expect(Kind::Identifier)?.text,
        };
        let name = name.into();
        if self.is(Kind::LParen) {
            let args = self.arguments()?;
            return Ok(Some(Node::Function { name, args }));
        }
        Ok(Some(Node::Variable(name)))
    }

    fn bean(&mut self) -> Parsed {
        let prefix = match self.peek_kind() {
            Some(Kind::BeanRef) => "",
            Some(Kind::FactoryBeanRef) => "&",
            _ => return Ok(None),
        };
        let at = self.start();
        self.pos += 1;
        let name = match self.peek() {
            Some(token) if token.kind == Kind::Identifier => token.text.to_string(),
            Some(token) if token.kind == Kind::Str => token
                .text
                .get(1..token.text.len().saturating_sub(1))
                .unwrap_or_default()
                .to_string(),
            _ => {
                return Err(self.fail(
                    at,
                    "EL1059E: @ or & can only be followed by an identifier or a quoted name",
                ));
            }
        };
        self.pos += 1;
        Ok(Some(Node::Bean(format!("{prefix}{name}"))))
    }

    fn projection(&mut self, safe: bool) -> Parsed {
        let at = self.start();
        if !self.take(Kind::Project) {
            return Ok(None);
        }
        let body = self.expression()?;
        let Some(body) = body else {
            return Err(self.fail(at, "EL1044E: Unexpectedly ran out of input"));
        };
        self.expect(Kind::RSquare)?;
        Ok(Some(Node::Project {
            body: Box::new(body),
            safe,
        }))
    }

    fn selection(&mut self, safe: bool) -> Parsed {
        let keep = match self.peek_kind() {
            Some(Kind::Select) => Keep::All,
            Some(Kind::SelectFirst) => Keep::First,
            Some(Kind::SelectLast) => Keep::Last,
            _ => return Ok(None),
        };
        let at = self.start();
        self.pos += 1;
        let test = self.expression()?;
        let Some(test) = test else {
            return Err(self.fail(
                at,
                "EL1071E: A required selection expression has not been specified",
            ));
        };
        self.expect(Kind::RSquare)?;
        Ok(Some(Node::Select {
            keep,
            test: Box::new(test),
            safe,
        }))
    }

    fn indexer(&mut self) -> Parsed {
        let at = self.start();
        if !self.take(Kind::LSquare) {
            return Ok(None);
        }
        let index = self.expression()?;
        let Some(index) = index else {
            return Err(self.fail(
                at,
                "EL1071E: A required selection expression has not been specified",
            ));
        };
        self.expect(Kind::RSquare)?;
        Ok(Some(Node::Index(Box::new(index))))
    }

    fn inline_list_or_map(&mut self) -> Parsed {
        let at = self.start();
        if !self.take(Kind::LCurly) {
            return Ok(None);
        }
        if self.take(Kind::RCurly) {
            return Ok(Some(Node::List {
                items: Vec::new(),
                constant: true,
            }));
        }
        if self.take(Kind::Colon) {
            self.expect(Kind::RCurly)?;
            return Ok(Some(Node::Map {
                entries: Vec::new(),
                constant: true,
            }));
        }
        let first = self.expression()?;
        match self.peek_kind() {
            Some(Kind::RCurly | Kind::Comma) => {
                let mut items = vec![self.need(first)?];
                while self.take(Kind::Comma) {
                    let item = self.expression()?;
                    items.push(self.need(item)?);
                }
                self.expect(Kind::RCurly)?;
                let constant = items.iter().all(is_constant_item);
                Ok(Some(Node::List { items, constant }))
            }
            Some(Kind::Colon) => {
                self.pos += 1;
                let value = self.expression()?;
                let mut entries = vec![(self.need(first)?, self.need(value)?)];
                while self.take(Kind::Comma) {
                    let key = self.expression()?;
                    self.expect(Kind::Colon)?;
                    let value = self.expression()?;
                    entries.push((self.need(key)?, self.need(value)?));
                }
                self.expect(Kind::RCurly)?;
                let constant = entries.iter().all(|(key, value)| {
                    (is_constant(key) || matches!(key, Node::Property { .. })) && is_constant(value)
                });
                Ok(Some(Node::Map { entries, constant }))
            }
            _ => Err(self.fail(at, "EL1044E: Unexpectedly ran out of input")),
        }
    }
}

fn is_literal(node: &Node) -> bool {
    matches!(
        node,
        Node::Null
            | Node::Bool(_)
            | Node::Int(_)
            | Node::Long(_)
            | Node::Float(_)
            | Node::Double(_)
            | Node::Str(_)
    )
}

fn is_constant_item(node: &Node) -> bool {
    is_literal(node) || matches!(node, Node::List { constant: true, .. })
}

fn is_constant(node: &Node) -> bool {
    is_constant_item(node) || matches!(node, Node::Map { constant: true, .. })
}

/// What binds tighter stands later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Or,
    And,
    Relation,
    Sum,
    Product,
    Power,
}

impl Level {
    fn above(self) -> Level {
        match self {
            Level::Or => Level::And,
            Level::And => Level::Relation,
            Level::Relation => Level::Sum,
            Level::Sum => Level::Product,
            Level::Product | Level::Power => Level::Power,
        }
    }
}

#[derive(Clone, Copy)]
enum Binary {
    Or,
    And,
    Op(Op),
    Dropped,
}

/// `left operator right`, added to the chain that `left` is if it is still open.
fn joined(left: Node, operator: Binary, right: Node, open: bool) -> Node {
    match (left, operator) {
        (Node::Or(mut all), Binary::Or) if open => {
            all.push(right);
            Node::Or(all)
        }
        (Node::And(mut all), Binary::And) if open => {
            all.push(right);
            Node::And(all)
        }
        (Node::Chain { first, mut rest }, Binary::Op(op)) if open => {
            rest.push((op, right));
            Node::Chain { first, rest }
        }
        (left, Binary::Or) => Node::Or(vec![left, right]),
        (left, Binary::And) => Node::And(vec![left, right]),
        (left, Binary::Op(op)) => Node::Chain {
            first: Box::new(left),
            rest: vec![(op, right)],
        },
        (left, Binary::Dropped) => left,
    }
}

/// Takes brackets away that only enclose brackets: `(((1)))` is `(1)`, so they do not count as depth.
fn without_doubled_brackets(tokens: Vec<Token<'_>>) -> Vec<Token<'_>> {
    let kind = |index: usize| tokens.get(index).map(|token| token.kind);
    let doubled = (1..tokens.len())
        .any(|index| kind(index - 1) == Some(Kind::LParen) && kind(index) == Some(Kind::LParen));
    if !doubled {
        return tokens;
    }
    let mut closes: Vec<Option<usize>> = vec![None; tokens.len()];
    let mut open = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::LParen => open.push(index),
            Kind::RParen => {
                if let Some(opened) = open.pop()
                    && let Some(slot) = closes.get_mut(opened)
                {
                    *slot = Some(index);
                }
            }
            _ => {}
        }
    }
    let mut dropped = vec![false; tokens.len()];
    for index in 1..tokens.len() {
        // The outer bracket must group, not call: `f((x))` keeps both.
        let groups = index < 2 || !matches!(kind(index - 2), Some(Kind::Identifier));
        let (outer, inner) = (
            closes.get(index - 1).copied().flatten(),
            closes.get(index).copied().flatten(),
        );
        if kind(index - 1) == Some(Kind::LParen)
            && kind(index) == Some(Kind::LParen)
            && groups
            && let (Some(outer), Some(inner)) = (outer, inner)
            && inner + 1 == outer
        {
            for place in [index, inner] {
                if let Some(slot) = dropped.get_mut(place) {
                    *slot = true;
                }
            }
        }
    }
    tokens
        .into_iter()
        .zip(dropped)
        .filter(|(_, dropped)| !dropped)
        .map(|(token, _)| token)
        .collect()
}
