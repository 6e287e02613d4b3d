//! The tree of one expression. Chains of one precedence are kept flat, so that the depth of the tree is the depth of
//! brackets, which the parser bounds.

use std::sync::Arc;

/// Binary operators that need both operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Power,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    InstanceOf,
    Matches,
    Between,
}

/// Which elements a selection keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    All,
    First,
    Last,
}

/// A named type with array dimensions.
#[derive(Debug, Clone)]
pub(crate) struct TypeName {
    pub(crate) name: String,
    pub(crate) dimensions: usize,
}

#[derive(Debug, Clone)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    Str(Arc<str>),
    Property {
        name: Arc<str>,
        safe: bool,
    },
    Method {
        name: Arc<str>,
        args: Vec<Node>,
        safe: bool,
    },
    Function {
        name: Arc<str>,
        args: Vec<Node>,
    },
    Variable(Arc<str>),
    Bean(String),
    Index(Box<Node>),
    Select {
        keep: Keep,
        test: Box<Node>,
        safe: bool,
    },
    Project {
        body: Box<Node>,
        safe: bool,
    },
    /// Each node works on the value of the one before.
    Path(Vec<Node>),
    Type(TypeName),
    New {
        name: String,
        args: Vec<Node>,
    },
    NewArray {
        name: String,
        dimensions: Vec<Option<Node>>,
        init: Option<Box<Node>>,
    },
    /// `constant`: literals only, then the original hands out an unmodifiable list.
    List {
        items: Vec<Node>,
        constant: bool,
    },
    Map {
        entries: Vec<(Node, Node)>,
        constant: bool,
    },
    /// `first op operand op operand …` of one precedence.
    Chain {
        first: Box<Node>,
        rest: Vec<(Op, Node)>,
    },
    And(Vec<Node>),
    Or(Vec<Node>),
    /// `!` so many times.
    Not(usize, Box<Node>),
    Plus(Box<Node>),
    /// `-` so many times.
    Minus(usize, Box<Node>),
    Ternary(Box<Node>, Box<Node>, Box<Node>),
    Elvis(Box<Node>, Box<Node>),
    Assign(Box<Node>, Box<Node>),
    Step {
        target: Box<Node>,
        increment: bool,
        prefix: bool,
    },
}
