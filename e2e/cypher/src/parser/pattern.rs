//! Nodes and relationships of patterns.

use winnow::{
    Parser,
    combinator::{alt, opt, peek, preceded, repeat, separated},
};

use super::{
    Input,
    operand::{map_entries, parameter},
    terminal::{Parsed, must, name, symbol, unsupported},
};
use crate::ast::{Direction, Hop, NodePattern, PatternPart, Properties, RelationshipPattern};

/// Pattern parts with commas between them.
pub(super) fn patterns(input: &mut Input<'_>) -> Parsed<Vec<PatternPart>> {
    separated(1.., part, symbol(",")).parse_next(input)
}

/// A node, or two with a relationship between them; with a name for the path if it has one.
pub(super) fn part(input: &mut Input<'_>) -> Parsed<PatternPart> {
    let path = opt((name, symbol("=")).map(|(name, ())| name)).parse_next(input)?;
    if peek(opt((symbol("("), symbol("(")))).parse_next(input)?.is_some() {
        return Err(unsupported("patterns in parentheses"));
    }
    let start = node(input)?;
    let hop = opt(hop).parse_next(input)?;
    if hop.is_some() && peek(opt(arrow_start)).parse_next(input)?.is_some() {
        return Err(unsupported("patterns of more than one relationship"));
    }
    Ok(PatternPart { path, start, hop })
}

/// `(variable:Label {key: value})`
pub(super) fn node(input: &mut Input<'_>) -> Parsed<NodePattern> {
    symbol("(").parse_next(input)?;
    let variable = opt(name).parse_next(input)?;
    let labels = repeat(0.., label).parse_next(input)?;
    if peek(opt(symbol("|"))).parse_next(input)?.is_some() {
        return Err(unsupported("label expressions"));
    }
    let properties = opt(properties).parse_next(input)?;
    symbol(")").parse_next(input)?;
    Ok(NodePattern {
        variable,
        labels,
        properties,
    })
}

/// `:Label`
pub(super) fn label(input: &mut Input<'_>) -> Parsed<String> {
    preceded(symbol(":"), label_name).parse_next(input)
}

/// The name of a label or a relationship type.
fn label_name(input: &mut Input<'_>) -> Parsed<String> {
    if peek(opt(parameter)).parse_next(input)?.is_some() {
        return Err(unsupported("labels and types given as parameters"));
    }
    let label = name(input)?;
    if peek(opt((symbol("."), name))).parse_next(input)?.is_some() {
        return Err(unsupported("labels and types given as properties"));
    }
    Ok(label)
}

fn properties(input: &mut Input<'_>) -> Parsed<Properties> {
    alt((
        map_entries.map(Properties::Map),
        parameter.map(Properties::Parameter),
    ))
    .parse_next(input)
}

/// What a relationship starts with.
pub(super) fn arrow_start(input: &mut Input<'_>) -> Parsed<()> {
    (opt(symbol("<")), symbol("-"), alt((symbol("["), symbol("-"))))
        .void()
        .parse_next(input)
}

fn hop(input: &mut Input<'_>) -> Parsed<Hop> {
    peek(arrow_start).parse_next(input)?;
    let left = opt(symbol("<")).parse_next(input)?.is_some();
    must(symbol("-")).parse_next(input)?;
    let detail = opt(detail).parse_next(input)?.unwrap_or_default();
    must(symbol("-")).parse_next(input)?;
    let right = opt(symbol(">")).parse_next(input)?.is_some();
    let end = must(node).parse_next(input)?;
    let direction = match (left, right) {
        (true, false) => Direction::Left,
        (false, true) => Direction::Right,
        (true, true) | (false, false) => Direction::Either,
    };
    let Detail {
        variable,
        types,
        properties,
    } = detail;
    Ok(Hop {
        relationship: RelationshipPattern {
            variable,
            types,
            direction,
            properties,
        },
        end,
    })
}

/// What stands between the brackets of a relationship.
#[derive(Default)]
struct Detail {
    variable: Option<String>,
    types: Vec<String>,
    properties: Option<Properties>,
}

fn detail(input: &mut Input<'_>) -> Parsed<Detail> {
    symbol("[").parse_next(input)?;
    let variable = opt(name).parse_next(input)?;
    let separator = (symbol("|"), opt(symbol(":"))).void();
    let types = opt(preceded(symbol(":"), must(separated(1.., label_name, separator)))).parse_next(input)?;
    if peek(opt(symbol("*"))).parse_next(input)?.is_some() {
        return Err(unsupported("relationships of variable length"));
    }
    let properties = opt(properties).parse_next(input)?;
    must(symbol("]")).parse_next(input)?;
    Ok(Detail {
        variable,
        types: types.unwrap_or_default(),
        properties,
    })
}
