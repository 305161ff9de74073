//! Expressions: operators by precedence (Cypher.g4, `expression12` to `expression2a`).

use winnow::{
    Parser,
    combinator::{alt, opt, peek, repeat, separated},
    stream::Stream,
};

use super::{
    Input,
    operand::labelled,
    terminal::{Parsed, keyword, keywords, must, since, symbol, unsupported},
};
use crate::{
    Version,
    ast::{BinaryOperator, Expression, UnaryOperator},
};

/// How deep expressions may be nested: enough for any statement, and no danger for the stack.
const MAX_NESTING: usize = 40;
/// How high the tree of an expression may be, whatever makes it so.
const MAX_HEIGHT: usize = 400;

/// An expression and the height of its tree.
pub(super) struct Tree {
    pub(super) expression: Expression,
    pub(super) height: usize,
}

impl Tree {
    pub(super) const fn leaf(expression: Expression) -> Self {
        Self {
            expression,
            height: 1,
        }
    }
}

/// An expression of any precedence.
pub(super) fn expression(input: &mut Input<'_>) -> Parsed<Expression> {
    tree(input).map(|tree| tree.expression)
}

/// Expressions with commas between them.
pub(super) fn expressions(input: &mut Input<'_>) -> Parsed<Vec<Expression>> {
    separated(1.., expression, symbol(",")).parse_next(input)
}

/// An expression of any precedence, with its height.
pub(super) fn tree(input: &mut Input<'_>) -> Parsed<Tree> {
    climb(input, Precedence::Or)
}

/// Joins trees under a new root.
pub(super) fn join(children: &[usize], expression: Expression) -> Parsed<Tree> {
    let height = 1 + children.iter().max().copied().unwrap_or_default();
    if height > MAX_HEIGHT {
        return Err(unsupported(format!(
            "expressions of more than {MAX_HEIGHT} operations on top of each other"
        )));
    }
    Ok(Tree { expression, height })
}

fn binary(operator: BinaryOperator, left: Tree, right: Tree) -> Parsed<Tree> {
    let heights = [left.height, right.height];
    join(
        &heights,
        Expression::Binary {
            operator,
            left: Box::new(left.expression),
            right: Box::new(right.expression),
        },
    )
}

fn unary(operator: UnaryOperator, operand: Tree) -> Parsed<Tree> {
    join(
        &[operand.height],
        Expression::Unary {
            operator,
            operand: Box::new(operand.expression),
        },
    )
}

/// How tight an operator binds, from loose to tight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Precedence {
    Or,
    Xor,
    And,
    Not,
    Comparison,
    /// `IS NULL`, `IN`, `STARTS WITH` and the like.
    Predicate,
    Sum,
    Product,
    Power,
    /// Signs bind tighter than `^`: `-2 ^ 2` is 4.
    Sign,
}

/// An operator after an operand.
#[derive(Debug, Clone, Copy)]
enum Infix {
    /// With another operand behind it, which binds tighter.
    Binary(BinaryOperator, Precedence, Precedence),
    /// One of a chain.
    Comparison(BinaryOperator),
    /// Without another operand.
    NullTest(UnaryOperator),
}

impl Infix {
    const fn precedence(self) -> Precedence {
        match self {
            Self::Binary(_, precedence, _) => precedence,
            Self::Comparison(_) => Precedence::Comparison,
            Self::NullTest(_) => Precedence::Predicate,
        }
    }
}

/// An expression of operators that bind at least so tight ("precedence climbing": one call for each pair of
/// brackets, rather than one for each level of the grammar, keeps the stack low).
fn climb(input: &mut Input<'_>, loosest: Precedence) -> Parsed<Tree> {
    let nesting = input.state.nesting;
    if nesting.get() >= MAX_NESTING {
        return Err(unsupported(format!(
            "expressions nested more than {MAX_NESTING} levels deep"
        )));
    }
    nesting.set(nesting.get() + 1);
    let climbed = operations(input, loosest);
    nesting.set(nesting.get() - 1);
    climbed
}

fn operations(input: &mut Input<'_>, loosest: Precedence) -> Parsed<Tree> {
    let mut left = prefixed(input, loosest)?;
    loop {
        let before = input.checkpoint();
        let operator = match opt(infix).parse_next(input)? {
            Some(operator) if operator.precedence() >= loosest => operator,
            _ => {
                input.reset(&before);
                return Ok(left);
            }
        };
        left = match operator {
            Infix::NullTest(operator) => unary(operator, left)?,
            Infix::Comparison(operator) => comparisons(input, left, operator)?,
            Infix::Binary(operator, _, tighter) => {
                let right = operand(input, tighter)?;
                binary(operator, left, right)?
            }
        };
    }
}

/// What must follow an operator.
fn operand(input: &mut Input<'_>, loosest: Precedence) -> Parsed<Tree> {
    must(|input: &mut Input<'_>| climb(input, loosest)).parse_next(input)
}

fn infix(input: &mut Input<'_>) -> Parsed<Infix> {
    let predicates = since(Version::V3_11, predicate);
    alt((
        logic,
        comparison_operator.map(Infix::Comparison),
        predicates,
        arithmetic,
    ))
    .parse_next(input)
}

fn logic(input: &mut Input<'_>) -> Parsed<Infix> {
    use Precedence::{And, Not, Or, Xor};
    alt((
        keyword("OR").value(Infix::Binary(BinaryOperator::Or, Or, Xor)),
        keyword("XOR").value(Infix::Binary(BinaryOperator::Xor, Xor, And)),
        keyword("AND").value(Infix::Binary(BinaryOperator::And, And, Not)),
    ))
    .parse_next(input)
}

fn arithmetic(input: &mut Input<'_>) -> Parsed<Infix> {
    use Precedence::{Power, Product, Sign, Sum};
    alt((
        symbol("+").value(Infix::Binary(BinaryOperator::Add, Sum, Product)),
        symbol("-").value(Infix::Binary(BinaryOperator::Subtract, Sum, Product)),
        symbol("*").value(Infix::Binary(BinaryOperator::Multiply, Product, Power)),
        symbol("/").value(Infix::Binary(BinaryOperator::Divide, Product, Power)),
        symbol("%").value(Infix::Binary(BinaryOperator::Modulo, Product, Power)),
        symbol("^").value(Infix::Binary(BinaryOperator::Power, Power, Sign)),
    ))
    .parse_next(input)
}

/// `IS NULL`, `IN`, `STARTS WITH` and the like, as operators between comparisons and arithmetic.
fn predicate(input: &mut Input<'_>) -> Parsed<Infix> {
    let binary =
        predicate_operator.map(|operator| Infix::Binary(operator, Precedence::Predicate, Precedence::Sum));
    alt((null_test.map(Infix::NullTest), binary)).parse_next(input)
}

fn null_test(input: &mut Input<'_>) -> Parsed<UnaryOperator> {
    alt((
        keywords(&["IS", "NULL"]).value(UnaryOperator::IsNull),
        keywords(&["IS", "NOT", "NULL"]).value(UnaryOperator::IsNotNull),
    ))
    .parse_next(input)
}

fn predicate_operator(input: &mut Input<'_>) -> Parsed<BinaryOperator> {
    if peek(opt(symbol("=~"))).parse_next(input)?.is_some() {
        return Err(unsupported("regular expressions (=~)"));
    }
    alt((
        keyword("IN").value(BinaryOperator::In),
        keywords(&["STARTS", "WITH"]).value(BinaryOperator::StartsWith),
        keywords(&["ENDS", "WITH"]).value(BinaryOperator::EndsWith),
        keyword("CONTAINS").value(BinaryOperator::Contains),
    ))
    .parse_next(input)
}

fn comparison_operator(input: &mut Input<'_>) -> Parsed<BinaryOperator> {
    alt((
        symbol("=").value(BinaryOperator::Equal),
        symbol("<>").value(BinaryOperator::NotEqual),
        symbol("!=").value(BinaryOperator::NotEqual),
        symbol("<=").value(BinaryOperator::LessOrEqual),
        symbol(">=").value(BinaryOperator::GreaterOrEqual),
        symbol("<").value(BinaryOperator::Less),
        symbol(">").value(BinaryOperator::Greater),
    ))
    .parse_next(input)
}

/// `a < b <= c` means `a < b AND b <= c`, so operands in the middle stand twice.
fn comparisons(input: &mut Input<'_>, first: Tree, operator: BinaryOperator) -> Parsed<Tree> {
    let (mut left, mut operator) = (first, operator);
    let mut chain: Option<Tree> = None;
    loop {
        let right = operand(input, Precedence::Predicate)?;
        let next = opt(comparison_operator).parse_next(input)?;
        // Copies of copies would grow without bound.
        if next.is_some() && size(&right.expression) > 100 {
            return Err(unsupported("chained comparisons of large expressions"));
        }
        let copy = next.map(|next| {
            (
                next,
                Tree {
                    expression: right.expression.clone(),
                    height: right.height,
                },
            )
        });
        let compared = binary(operator, left, right)?;
        let joined = match chain.take() {
            Some(chain) => binary(BinaryOperator::And, chain, compared)?,
            None => compared,
        };
        match copy {
            Some((next, middle)) => (operator, left, chain) = (next, middle, Some(joined)),
            None => return Ok(joined),
        }
    }
}

fn size(expression: &Expression) -> usize {
    1 + expression.children().map(size).sum::<usize>()
}

/// An operand with the operators before it.
fn prefixed(input: &mut Input<'_>, loosest: Precedence) -> Parsed<Tree> {
    if loosest <= Precedence::Not {
        let negations: usize = repeat(0.., keyword("NOT")).parse_next(input)?;
        if negations > 0 {
            let mut tree = operand(input, Precedence::Comparison)?;
            for _ in 0..negations {
                tree = unary(UnaryOperator::Not, tree)?;
            }
            return Ok(tree);
        }
    }
    let sign = alt((
        symbol("+").value(UnaryOperator::Plus),
        symbol("-").value(UnaryOperator::Minus),
    ));
    let signs: Vec<UnaryOperator> = repeat(0.., sign).parse_next(input)?;
    let mut tree = tightly_predicated(input)?;
    for sign in signs.into_iter().rev() {
        tree = unary(sign, tree)?;
    }
    Ok(tree)
}

/// Before 3.11 predicates bind tighter than signs: there `1 + x IS NULL` means `1 + (x IS NULL)`.
fn tightly_predicated(input: &mut Input<'_>) -> Parsed<Tree> {
    let mut tree = labelled(input)?;
    while input.state.version < Version::V3_11 {
        tree = match opt(predicate).parse_next(input)? {
            None => break,
            Some(Infix::NullTest(operator)) => unary(operator, tree)?,
            Some(Infix::Binary(operator, ..) | Infix::Comparison(operator)) => {
                let right = must(labelled).parse_next(input)?;
                binary(operator, tree, right)?
            }
        };
    }
    Ok(tree)
}
