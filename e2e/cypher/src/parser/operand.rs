//! What operators stand between (Cypher.g4, `expression2a` to `atom`).

use winnow::{
    Parser,
    combinator::{alt, delimited, fail, opt, peek, preceded, repeat, separated},
};

use super::{
    Input,
    expression::{Tree, join, tree},
    pattern,
    terminal::{Parsed, keyword, must, name, refused, since, symbol, terminal, unsupported},
};
use crate::{
    Version,
    ast::{BinaryOperator, CaseBranch, Expression, Literal},
    lexer::Token,
};

/// What an expression starts with, without operators, accessors and labels.
pub(super) fn atom(input: &mut Input<'_>) -> Parsed<Expression> {
    primary(input).map(|tree| tree.expression)
}

/// `{key: value, ..}`
pub(super) fn map_entries(input: &mut Input<'_>) -> Parsed<Vec<(String, Expression)>> {
    let (entries, _) = map(input)?;
    Ok(entries)
}

/// `n:Label`
pub(super) fn labelled(input: &mut Input<'_>) -> Parsed<Tree> {
    let tree = accessed(input)?;
    let labels: Vec<String> = repeat(0.., pattern::label).parse_next(input)?;
    if labels.is_empty() {
        return Ok(tree);
    }
    join(
        &[tree.height],
        Expression::HasLabels {
            subject: Box::new(tree.expression),
            labels,
        },
    )
}

/// `a.b`, `a[b]`, `a[b..c]`
fn accessed(input: &mut Input<'_>) -> Parsed<Tree> {
    let mut tree = primary(input)?;
    while let Some(accessor) = opt(accessor).parse_next(input)? {
        let boxed = |tree: Tree| Box::new(tree.expression);
        let mut heights = vec![tree.height];
        let subject = boxed(tree);
        let expression = match accessor {
            Accessor::Key(key) => Expression::Property { subject, key },
            Accessor::Index(index) => {
                heights.push(index.height);
                Expression::Index {
                    subject,
                    index: boxed(index),
                }
            }
            Accessor::Slice(from, to) => {
                heights.extend(from.iter().chain(&to).map(|tree| tree.height));
                Expression::Slice {
                    subject,
                    from: from.map(boxed),
                    to: to.map(boxed),
                }
            }
        };
        tree = join(&heights, expression)?;
    }
    Ok(tree)
}

/// What takes a part of a value.
enum Accessor {
    Key(String),
    Index(Tree),
    Slice(Option<Tree>, Option<Tree>),
}

fn accessor(input: &mut Input<'_>) -> Parsed<Accessor> {
    alt((
        preceded(symbol("."), must(name)).map(Accessor::Key),
        delimited(symbol("["), must(subscript), must(symbol("]"))),
    ))
    .parse_next(input)
}

fn subscript(input: &mut Input<'_>) -> Parsed<Accessor> {
    let at = |text: &'static str, input: &mut Input<'_>| {
        peek(opt(symbol(text)))
            .parse_next(input)
            .map(|found| found.is_some())
    };
    let from = if at("..", input)? {
        None
    } else {
        Some(tree(input)?)
    };
    if opt(symbol("..")).parse_next(input)?.is_none() {
        return match from {
            Some(index) => Ok(Accessor::Index(index)),
            None => fail.parse_next(input),
        };
    }
    let to = if at("]", input)? { None } else { Some(tree(input)?) };
    if from.is_none() && to.is_none() {
        return Err(refused("List slicing operator requires at least one bound."));
    }
    Ok(Accessor::Slice(from, to))
}

fn primary(input: &mut Input<'_>) -> Parsed<Tree> {
    alt((
        literal.map(|literal| Tree::leaf(Expression::Literal(literal))),
        parameter.map(|name| Tree::leaf(Expression::Parameter(name))),
        list,
        map_literal,
        parenthesized,
        named,
    ))
    .parse_next(input)
}

/// What starts with a word.
fn named(input: &mut Input<'_>) -> Parsed<Tree> {
    alt((case, special_form, count_all, function, enum_value, variable)).parse_next(input)
}

fn literal(input: &mut Input<'_>) -> Parsed<Literal> {
    terminal("StringLiteral", |token| match token {
        Token::Integer(number) => Some(Literal::Integer(*number)),
        Token::Float(number) => Some(Literal::Float(*number)),
        Token::String(text) => Some(Literal::String(text.clone())),
        Token::Word(word) if word.eq_ignore_ascii_case("null") => Some(Literal::Null),
        Token::Word(word) if word.eq_ignore_ascii_case("true") => Some(Literal::Boolean(true)),
        Token::Word(word) if word.eq_ignore_ascii_case("false") => Some(Literal::Boolean(false)),
        _ => None,
    })
    .parse_next(input)
}

/// `$name`
pub(super) fn parameter(input: &mut Input<'_>) -> Parsed<String> {
    terminal("Parameter", |token| match token {
        Token::Parameter(name) => Some(name.clone()),
        _ => None,
    })
    .parse_next(input)
}

fn list(input: &mut Input<'_>) -> Parsed<Tree> {
    symbol("[").parse_next(input)?;
    if peek(opt((symbol("("), opt(name), alt((symbol(":"), symbol(")"))))))
        .parse_next(input)?
        .is_some()
    {
        return Err(unsupported("pattern comprehensions"));
    }
    let items: Vec<Tree> = separated(0.., tree, symbol(",")).parse_next(input)?;
    if is_comprehension(&items) && peek(opt(symbol("]"))).parse_next(input)?.is_none() {
        return Err(unsupported("list comprehensions"));
    }
    must(symbol("]")).parse_next(input)?;
    let heights: Vec<usize> = items.iter().map(|tree| tree.height).collect();
    join(
        &heights,
        Expression::List(items.into_iter().map(|tree| tree.expression).collect()),
    )
}

/// `x IN list` at the start of a list, before `WHERE` or `|`.
fn is_comprehension(items: &[Tree]) -> bool {
    let [
        Tree {
            expression:
                Expression::Binary {
                    operator: BinaryOperator::In,
                    left,
                    ..
                },
            ..
        },
    ] = items
    else {
        return false;
    };
    matches!(**left, Expression::Variable(_))
}

fn map_literal(input: &mut Input<'_>) -> Parsed<Tree> {
    let (entries, height) = map(input)?;
    join(&[height], Expression::Map(entries))
}

fn map(input: &mut Input<'_>) -> Parsed<(Vec<(String, Expression)>, usize)> {
    symbol("{").parse_next(input)?;
    let entry = (name, must(symbol(":")), must(tree)).map(|(key, (), value)| (key, value));
    let entries: Vec<(String, Tree)> = separated(0.., entry, symbol(",")).parse_next(input)?;
    must(symbol("}")).parse_next(input)?;
    let height = entries
        .iter()
        .map(|(_, value)| value.height)
        .max()
        .unwrap_or_default();
    let mut keys: Vec<&String> = entries.iter().map(|(key, _)| key).collect();
    keys.sort_unstable();
    if keys.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(refused("Same key can't appear twice in a map literal."));
    }
    Ok((
        entries
            .into_iter()
            .map(|(key, value)| (key, value.expression))
            .collect(),
        height,
    ))
}

fn parenthesized(input: &mut Input<'_>) -> Parsed<Tree> {
    peek(symbol("(")).parse_next(input)?;
    if peek(opt((pattern::node, pattern::arrow_start)))
        .parse_next(input)?
        .is_some()
    {
        return Err(unsupported("patterns as expressions"));
    }
    delimited(symbol("("), must(tree), must(symbol(")"))).parse_next(input)
}

fn case(input: &mut Input<'_>) -> Parsed<Tree> {
    (keyword("CASE"), peek(not_a_name_alone)).parse_next(input)?;
    let operand = if peek(opt(keyword("WHEN"))).parse_next(input)?.is_some() {
        None
    } else {
        Some(tree(input)?)
    };
    let branch = (
        preceded(keyword("WHEN"), must(tree)),
        preceded(must(keyword("THEN")), must(tree)),
    );
    let branches: Vec<(Tree, Tree)> = repeat(1.., branch).parse_next(input)?;
    let otherwise = opt(preceded(keyword("ELSE"), must(tree))).parse_next(input)?;
    must(keyword("END")).parse_next(input)?;

    let mut heights: Vec<usize> = branches
        .iter()
        .flat_map(|(when, then)| [when.height, then.height])
        .collect();
    heights.extend(operand.iter().chain(&otherwise).map(|tree| tree.height));
    let boxed = |tree: Tree| Box::new(tree.expression);
    let branches = branches
        .into_iter()
        .map(|(when, then)| CaseBranch {
            when: when.expression,
            then: then.expression,
        })
        .collect();
    let case = Expression::Case {
        operand: operand.map(boxed),
        branches,
        otherwise: otherwise.map(boxed),
    };
    join(&heights, case)
}

/// Something that can follow CASE, so that it is no variable of that name.
fn not_a_name_alone(input: &mut Input<'_>) -> Parsed<()> {
    terminal("WHEN", |token| match token {
        Token::Symbol("(" | "[" | "{" | "-" | "+") => Some(()),
        Token::Symbol(_) | Token::Trigger(_) => None,
        Token::Word(word) if word.eq_ignore_ascii_case("AS") => None,
        _ => Some(()),
    })
    .parse_next(input)
}

/// Expressions with a grammar of their own, outside of the subset.
fn special_form(input: &mut Input<'_>) -> Parsed<Tree> {
    const WITH_PARENTHESIS: [&str; 8] = [
        "ALL", "ANY", "NONE", "SINGLE", "REDUCE", "EXTRACT", "FILTER", "EXISTS",
    ];
    let word = |input: &mut Input<'_>| {
        terminal("UnescapedSymbolicName", |token| match token {
            Token::Word(word) => Some(word.to_ascii_uppercase()),
            _ => None,
        })
        .parse_next(input)
    };
    let (word, bracket) =
        peek((word, alt((symbol("(").value("("), symbol("{").value("{"))))).parse_next(input)?;
    match bracket {
        "(" if WITH_PARENTHESIS.contains(&word.as_str()) => Err(unsupported(format!("{word}(..)"))),
        "{" if word == "EXISTS" => since(Version::V3_5, subquery(word)).parse_next(input),
        "{" if word == "COUNT" => since(Version::Head, subquery(word)).parse_next(input),
        "{" => Err(unsupported("map projections")),
        _ => fail.parse_next(input),
    }
}

fn subquery<'a>(word: String) -> impl FnMut(&mut Input<'a>) -> Parsed<Tree> {
    move |_| Err(unsupported(format!("{word} subqueries")))
}

fn count_all(input: &mut Input<'_>) -> Parsed<Tree> {
    (keyword("COUNT"), symbol("("), symbol("*"), must(symbol(")")))
        .map(|_| Tree::leaf(Expression::CountAll))
        .parse_next(input)
}

fn function(input: &mut Input<'_>) -> Parsed<Tree> {
    let dotted_name = separated(1.., name, symbol(".")).map(|parts: Vec<String>| parts.join("."));
    let (name, ()) = (dotted_name, symbol("(")).parse_next(input)?;
    // An argument may itself be called "distinct".
    let distinct = opt((keyword("DISTINCT"), peek(not_the_end_of_an_argument)))
        .parse_next(input)?
        .is_some();
    let arguments: Vec<Tree> = separated(0.., tree, symbol(",")).parse_next(input)?;
    must(symbol(")")).parse_next(input)?;
    let heights: Vec<usize> = arguments.iter().map(|tree| tree.height).collect();
    let arguments = arguments.into_iter().map(|tree| tree.expression).collect();
    join(
        &heights,
        Expression::Function {
            name: name.to_uppercase(),
            distinct,
            arguments,
        },
    )
}

fn not_the_end_of_an_argument(input: &mut Input<'_>) -> Parsed<()> {
    terminal("DecimalLiteral", |token| match token {
        Token::Symbol(")" | "," | "." | "=" | "<" | ">" | "*" | "/") => None,
        _ => Some(()),
    })
    .parse_next(input)
}

fn enum_value(input: &mut Input<'_>) -> Parsed<Tree> {
    (name, symbol(":"), symbol(":"), must(name))
        .map(|(name, (), (), value)| Tree::leaf(Expression::EnumValue { name, value }))
        .parse_next(input)
}

fn variable(input: &mut Input<'_>) -> Parsed<Tree> {
    name.map(|name| Tree::leaf(Expression::Variable(name)))
        .parse_next(input)
}
