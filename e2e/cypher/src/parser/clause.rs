//! Clauses over the graph.

use winnow::{
    Parser,
    combinator::{alt, eof, fail, opt, peek, preceded, repeat, separated},
};

use super::{
    Input,
    expression::{expression, expressions},
    operand::atom,
    pattern::{label, part, patterns},
    terminal::{Parsed, keyword, keywords, must, name, refused, symbol, terminal, unsupported},
};
use crate::{
    ast::{
        Clause, Expression, Merge, Projection, ProjectionItem, Query, RemoveItem, SetItem, SortItem,
        SortOrder,
    },
    lexer::{Lexeme, Token},
};

/// A chain of clauses that makes sense in its order.
pub(super) fn query(input: &mut Input<'_>) -> Parsed<Query> {
    let clauses: Vec<Clause> = repeat(1.., clause).parse_next(input)?;
    if let Some(construct) = peek(opt(unsupported_continuation)).parse_next(input)? {
        return Err(unsupported(construct));
    }
    if peek(opt(end_of_query)).parse_next(input)?.is_some() {
        check_order(&clauses).map_err(refused)?;
    }
    Ok(Query { clauses })
}

fn end_of_query(input: &mut Input<'_>) -> Parsed<()> {
    alt((symbol(";"), eof.void())).parse_next(input)
}

/// Words that go on after a clause, but not in the subset.
fn unsupported_continuation(input: &mut Input<'_>) -> Parsed<&'static str> {
    alt((
        keyword("UNION").value("UNION"),
        keyword("CALL").value("CALL"),
        keyword("FOREACH").value("FOREACH"),
        keywords(&["LOAD", "CSV"]).value("LOAD CSV"),
        keywords(&["LOAD", "PARQUET"]).value("LOAD PARQUET"),
        keywords(&["LOAD", "JSONL"]).value("LOAD JSONL"),
        keywords(&["QUERY", "MEMORY"]).value("QUERY MEMORY"),
    ))
    .parse_next(input)
}

fn clause(input: &mut Input<'_>) -> Parsed<Clause> {
    alt((
        match_clause,
        preceded(keyword("UNWIND"), must((expression, keyword("AS"), name)))
            .map(|(list, (), variable)| Clause::Unwind { list, variable }),
        preceded(keyword("CREATE"), patterns).map(|patterns| Clause::Create { patterns }),
        preceded(keyword("MERGE"), must(merge)).map(Clause::Merge),
        set.map(Clause::Set),
        preceded(keyword("REMOVE"), separated(1.., remove_item, symbol(","))).map(Clause::Remove),
        (opt(keyword("DETACH")), keyword("DELETE"), must(expressions)).map(|(detach, (), targets)| {
            Clause::Delete {
                detach: detach.is_some(),
                targets,
            }
        }),
        with,
        preceded(keyword("RETURN"), must(projection)).map(Clause::Return),
    ))
    .parse_next(input)
}

fn match_clause(input: &mut Input<'_>) -> Parsed<Clause> {
    let optional = opt(keyword("OPTIONAL")).parse_next(input)?.is_some();
    keyword("MATCH").parse_next(input)?;
    let patterns = must(patterns).parse_next(input)?;
    let filter = opt(filter).parse_next(input)?;
    Ok(Clause::Match {
        optional,
        patterns,
        filter,
    })
}

fn filter(input: &mut Input<'_>) -> Parsed<Expression> {
    preceded(keyword("WHERE"), must(expression)).parse_next(input)
}

fn merge(input: &mut Input<'_>) -> Parsed<Merge> {
    let pattern = part(input)?;
    let (mut on_create, mut on_match) = (Vec::new(), Vec::new());
    while opt(keyword("ON")).parse_next(input)?.is_some() {
        let created = must(alt((
            keyword("CREATE").value(true),
            keyword("MATCH").value(false),
        )))
        .parse_next(input)?;
        let items = must(set).parse_next(input)?;
        if created { &mut on_create } else { &mut on_match }.extend(items);
    }
    Ok(Merge {
        pattern,
        on_create,
        on_match,
    })
}

fn set(input: &mut Input<'_>) -> Parsed<Vec<SetItem>> {
    preceded(keyword("SET"), separated(1.., set_item, symbol(","))).parse_next(input)
}

fn set_item(input: &mut Input<'_>) -> Parsed<SetItem> {
    let (subject, key) = property_path(input)?;
    let Some(key) = key else {
        let Expression::Variable(variable) = subject else {
            return fail.parse_next(input);
        };
        return alt((
            preceded(symbol("="), must(expression)).map(|value| SetItem::Replace {
                variable: variable.clone(),
                value,
            }),
            preceded(symbol("+="), must(expression)).map(|value| SetItem::Update {
                variable: variable.clone(),
                value,
            }),
            repeat(1.., label).map(|labels| SetItem::Labels {
                variable: variable.clone(),
                labels,
            }),
        ))
        .parse_next(input);
    };
    if peek(opt(symbol("+="))).parse_next(input)?.is_some() {
        return Err(unsupported("SET property += value"));
    }
    let value = preceded(symbol("="), must(expression)).parse_next(input)?;
    Ok(SetItem::Property { subject, key, value })
}

fn remove_item(input: &mut Input<'_>) -> Parsed<RemoveItem> {
    match property_path(input)? {
        (subject, Some(key)) => Ok(RemoveItem::Property { subject, key }),
        (Expression::Variable(variable), None) => {
            let labels = repeat(1.., label).parse_next(input)?;
            Ok(RemoveItem::Labels { variable, labels })
        }
        _ => fail.parse_next(input),
    }
}

/// `subject.key`, with further keys in the subject; or only the subject.
fn property_path(input: &mut Input<'_>) -> Parsed<(Expression, Option<String>)> {
    let mut subject = atom(input)?;
    let mut keys: Vec<String> = repeat(0.., preceded(symbol("."), must(name))).parse_next(input)?;
    if keys.len() > 100 {
        return Err(unsupported("properties nested more than 100 levels deep"));
    }
    let last = keys.pop();
    for key in keys {
        subject = Expression::Property {
            subject: Box::new(subject),
            key,
        };
    }
    Ok((subject, last))
}

fn with(input: &mut Input<'_>) -> Parsed<Clause> {
    let mut projection = preceded(keyword("WITH"), must(projection)).parse_next(input)?;
    let filter = opt(filter).parse_next(input)?;
    for item in projection.items.iter_mut().filter(|item| !item.aliased) {
        let Expression::Variable(variable) = &item.expression else {
            return Err(refused("Only variables can be non-aliased in WITH."));
        };
        item.name.clone_from(variable);
    }
    Ok(Clause::With { projection, filter })
}

fn projection(input: &mut Input<'_>) -> Parsed<Projection> {
    // A column may itself be called "distinct".
    let distinct = opt((keyword("DISTINCT"), peek(not_the_end_of_an_item)))
        .parse_next(input)?
        .is_some();
    let all_variables = opt(symbol("*")).parse_next(input)?.is_some();
    let items = if all_variables {
        repeat(0.., preceded(symbol(","), must(item))).parse_next(input)?
    } else {
        separated(1.., item, symbol(",")).parse_next(input)?
    };
    let order_by = opt(preceded(
        keywords(&["ORDER", "BY"]),
        must(separated(1.., sort_item, symbol(","))),
    ))
    .parse_next(input)?
    .unwrap_or_default();
    let skip = opt(preceded(keyword("SKIP"), must(expression))).parse_next(input)?;
    let limit = opt(preceded(keyword("LIMIT"), must(expression))).parse_next(input)?;
    Ok(Projection {
        distinct,
        all_variables,
        items,
        order_by,
        skip,
        limit,
    })
}

fn not_the_end_of_an_item(input: &mut Input<'_>) -> Parsed<()> {
    terminal("DecimalLiteral", |token| match token {
        Token::Symbol("*" | "(" | "[" | "{" | "-" | "+") => Some(()),
        Token::Symbol(_) => None,
        Token::Word(word) => (!word.eq_ignore_ascii_case("AS")).then_some(()),
        _ => Some(()),
    })
    .parse_next(input)
}

fn item(input: &mut Input<'_>) -> Parsed<ProjectionItem> {
    let before = input.input.clone();
    let expression = expression(input)?;
    let text = written(input, &before);
    let alias = opt(preceded(keyword("AS"), must(name))).parse_next(input)?;
    let aliased = alias.is_some();
    Ok(ProjectionItem {
        expression,
        name: alias.unwrap_or(text),
        aliased,
    })
}

/// The source between the first of these tokens and the present one.
fn written(input: &Input<'_>, before: &[Lexeme]) -> String {
    let count = before.len().saturating_sub(input.input.len());
    match &before[..count] {
        [] => String::new(),
        tokens => input.state.source[tokens[0].span.start..tokens[count - 1].span.end].to_owned(),
    }
}

fn sort_item(input: &mut Input<'_>) -> Parsed<SortItem> {
    let order = alt((
        alt((keyword("ASCENDING"), keyword("ASC"))).value(SortOrder::Ascending),
        alt((keyword("DESCENDING"), keyword("DESC"))).value(SortOrder::Descending),
    ));
    (expression, opt(order))
        .map(|(expression, order)| SortItem {
            expression,
            order: order.unwrap_or_default(),
        })
        .parse_next(input)
}

/// Memgraph's rules for the order of clauses (`CypherMainVisitor::visitSingleQuery`).
fn check_order(clauses: &[Clause]) -> Result<(), &'static str> {
    let (mut updates, mut returns, mut optional_matches) = (false, false, false);
    for clause in clauses {
        match clause {
            Clause::Unwind { .. } if updates || returns => {
                return Err("UNWIND can't be put after RETURN clause or after an update.");
            }
            Clause::Unwind { .. } => {}
            Clause::Match { .. } if updates || returns => {
                return Err("MATCH can't be put after RETURN clause or after an update.");
            }
            Clause::Match { optional: false, .. } if optional_matches => {
                return Err("MATCH can't be put after OPTIONAL MATCH.");
            }
            Clause::Match { optional, .. } => optional_matches |= optional,
            Clause::Return(_) if returns => return Err("There can only be one RETURN in a clause."),
            Clause::Return(_) => returns = true,
            Clause::With { .. } if returns => return Err("RETURN can't be put before WITH."),
            Clause::With { .. } => (updates, optional_matches) = (false, false),
            _ if returns => return Err("Update clause can't be used after RETURN."),
            _ => updates = true,
        }
    }
    if !updates && !returns {
        return Err("Query should either create or update something, or return results!");
    }
    Ok(())
}
