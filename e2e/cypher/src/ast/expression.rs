//! Expressions.

/// A literal value.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// `null`
    Null,
    /// `true`, `false`
    Boolean(bool),
    /// Decimal, octal or hexadecimal digits. The sign is an operator.
    Integer(i64),
    /// Digits with a fraction or an exponent.
    Float(f64),
    /// Text between quotes, decoded.
    String(String),
}

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    /// A literal.
    Literal(Literal),
    /// `$name` (or `$0`), without the dollar.
    Parameter(String),
    /// A variable.
    Variable(String),
    /// `[a, b]`
    List(Vec<Expression>),
    /// `{key: value}`, in the order of the text. No key stands twice.
    Map(Vec<(String, Expression)>),
    /// `subject.key`
    Property {
        /// A node, relationship or map.
        subject: Box<Expression>,
        /// The property's name.
        key: String,
    },
    /// `subject[index]`
    Index {
        /// A list, map, node or relationship.
        subject: Box<Expression>,
        /// A number, or a name.
        index: Box<Expression>,
    },
    /// `subject[from..to]`
    Slice {
        /// A list.
        subject: Box<Expression>,
        /// The first element, counted from 0.
        from: Option<Box<Expression>>,
        /// One after the last element.
        to: Option<Box<Expression>>,
    },
    /// An operator before or after its only operand.
    Unary {
        /// The operator.
        operator: UnaryOperator,
        /// Its operand.
        operand: Box<Expression>,
    },
    /// An operator between its operands.
    Binary {
        /// The operator.
        operator: BinaryOperator,
        /// Its left operand.
        left: Box<Expression>,
        /// Its right operand.
        right: Box<Expression>,
    },
    /// `n:Label:Other`: whether the node has all the labels.
    HasLabels {
        /// A node.
        subject: Box<Expression>,
        /// At least one label.
        labels: Vec<String>,
    },
    /// `count(*)`
    CountAll,
    /// `name(arguments)`, aggregations included.
    Function {
        /// The name in upper case, as Memgraph looks it up: `TOINTEGER`. Parts of a dotted name keep dots.
        name: String,
        /// `name(DISTINCT ..)`
        distinct: bool,
        /// The arguments.
        arguments: Vec<Expression>,
    },
    /// `CASE WHEN condition THEN value .. ELSE value END`, with or without an operand.
    Case {
        /// What each branch's `when` is compared with; without it each `when` is a condition.
        operand: Option<Box<Expression>>,
        /// At least one branch.
        branches: Vec<CaseBranch>,
        /// The value when no branch fits; null if it is missing.
        otherwise: Option<Box<Expression>>,
    },
    /// `Status::Good`
    EnumValue {
        /// The enum's name.
        name: String,
        /// The value's name.
        value: String,
    },
}

/// `WHEN when THEN then`
#[derive(Debug, Clone, PartialEq)]
pub struct CaseBranch {
    /// The condition, or what the operand must equal.
    pub when: Expression,
    /// The value of the branch.
    pub then: Expression,
}

/// An operator with one operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnaryOperator {
    /// `NOT`
    Not,
    /// `+`
    Plus,
    /// `-`
    Minus,
    /// `IS NULL`
    IsNull,
    /// `IS NOT NULL`
    IsNotNull,
}

/// An operator with two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BinaryOperator {
    /// `OR`
    Or,
    /// `XOR`
    Xor,
    /// `AND`
    And,
    /// `=`
    Equal,
    /// `<>`, `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `IN`
    In,
    /// `STARTS WITH`
    StartsWith,
    /// `ENDS WITH`
    EndsWith,
    /// `CONTAINS`
    Contains,
    /// `+`: sum, or concatenation of strings and lists
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Modulo,
    /// `^`
    Power,
}

impl Expression {
    /// Whether this is a call of one of Memgraph's aggregations (not looking inside of it).
    pub fn is_aggregation(&self) -> bool {
        match self {
            Self::CountAll => true,
            Self::Function { name, .. } => {
                matches!(name.as_str(), "COUNT" | "COLLECT" | "SUM" | "AVG" | "MIN" | "MAX")
            }
            _ => false,
        }
    }

    /// Whether an aggregation occurs anywhere in this expression.
    pub fn contains_aggregation(&self) -> bool {
        self.is_aggregation() || self.children().any(Self::contains_aggregation)
    }

    /// The expressions directly inside of this one, in the order of the text.
    pub fn children(&self) -> impl Iterator<Item = &Self> {
        let mut children: Vec<&Self> = Vec::new();
        match self {
            Self::Literal(_)
            | Self::Parameter(_)
            | Self::Variable(_)
            | Self::CountAll
            | Self::EnumValue { .. } => {}
            Self::List(items) => children.extend(items),
            Self::Map(entries) => children.extend(entries.iter().map(|(_, value)| value)),
            Self::Property { subject, .. } | Self::HasLabels { subject, .. } => children.push(subject),
            Self::Index { subject, index } => children.extend([&**subject, &**index]),
            Self::Slice { subject, from, to } => {
                children.push(subject);
                children.extend(from.as_deref());
                children.extend(to.as_deref());
            }
            Self::Unary { operand, .. } => children.push(operand),
            Self::Binary { left, right, .. } => children.extend([&**left, &**right]),
            Self::Function { arguments, .. } => children.extend(arguments),
            Self::Case {
                operand,
                branches,
                otherwise,
            } => {
                children.extend(operand.as_deref());
                children.extend(branches.iter().flat_map(|branch| [&branch.when, &branch.then]));
                children.extend(otherwise.as_deref());
            }
        }
        children.into_iter()
    }
}
