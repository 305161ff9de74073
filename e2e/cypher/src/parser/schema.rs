//! Indexes, constraints, enums and triggers.

use winnow::{
    Parser,
    combinator::{alt, opt, peek, preceded, separated},
};

use super::{
    Input,
    terminal::{Parsed, keyword, keywords, must, name, refused, since, symbol, terminal, unsupported},
};
use crate::{
    Version,
    ast::{
        Constraint, ConstraintKind, EnumChange, Index, SchemaAction, Statement, Trigger, TriggerEvent,
        TriggerPhase, TriggerTarget,
    },
    lexer::Token,
};

pub(super) fn statement(input: &mut Input<'_>) -> Parsed<Statement> {
    alt((
        index,
        constraint,
        enum_change.map(Statement::Enum),
        create_trigger.map(Statement::Trigger),
        preceded(keywords(&["DROP", "TRIGGER"]), must(name))
            .map(|name| Statement::Trigger(Trigger::Drop { name })),
    ))
    .parse_next(input)
}

fn action(input: &mut Input<'_>) -> Parsed<SchemaAction> {
    alt((
        keyword("CREATE").value(SchemaAction::Create),
        keyword("DROP").value(SchemaAction::Drop),
    ))
    .parse_next(input)
}

/// `[name] [IF NOT EXISTS] FOR ..`, the form of other databases.
fn neo4j_form(input: &mut Input<'_>) -> Parsed<()> {
    let guarded = || (opt(keywords(&["IF", "NOT", "EXISTS"])), keyword("FOR")).void();
    alt((guarded(), preceded(name, guarded()))).parse_next(input)
}

fn index(input: &mut Input<'_>) -> Parsed<Statement> {
    let (action, ()) = (action, keyword("INDEX")).parse_next(input)?;
    if peek(opt(since(Version::V3_10, neo4j_form)))
        .parse_next(input)?
        .is_some()
    {
        return Err(unsupported("indexes in the form FOR .. ON"));
    }
    must(keyword("ON")).parse_next(input)?;
    let label = preceded(must(symbol(":")), must(name)).parse_next(input)?;
    let properties = opt(property_list).parse_next(input)?.unwrap_or_default();
    if peek(opt(keyword("WITH"))).parse_next(input)?.is_some() {
        return Err(unsupported("indexes WITH CONFIG"));
    }
    Ok(Statement::Index {
        action,
        index: Index { label, properties },
    })
}

fn property_list(input: &mut Input<'_>) -> Parsed<Vec<String>> {
    symbol("(").parse_next(input)?;
    let properties: Vec<String> = must(separated(1.., index_property, symbol(","))).parse_next(input)?;
    must(symbol(")")).parse_next(input)?;
    let mut sorted = properties.clone();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(refused("Properties cannot be repeated in a composite index."));
    }
    Ok(properties)
}

fn index_property(input: &mut Input<'_>) -> Parsed<String> {
    let property = name(input)?;
    if peek(opt(symbol("."))).parse_next(input)?.is_some() {
        return Err(unsupported("indexes on nested properties"));
    }
    Ok(property)
}

fn constraint(input: &mut Input<'_>) -> Parsed<Statement> {
    let (action, ()) = (action, keyword("CONSTRAINT")).parse_next(input)?;
    if peek(opt(since(Version::V3_10, neo4j_form)))
        .parse_next(input)?
        .is_some()
    {
        return Err(unsupported("constraints in the form FOR .. REQUIRE"));
    }
    must((keyword("ON"), symbol("("))).parse_next(input)?;
    let (node, (), label) = must((name, symbol(":"), name)).parse_next(input)?;
    must((symbol(")"), keyword("ASSERT"))).parse_next(input)?;
    let kind = must(alt((exists, unique))).parse_next(input)?;
    let (references, kind) = kind;
    if references.iter().any(|reference| *reference != node) {
        return Err(refused(format!(
            "All constraint variable should reference node '{node}'"
        )));
    }
    Ok(Statement::Constraint {
        action,
        constraint: Constraint { label, kind },
    })
}

/// The variables that a constraint refers to, and what it demands.
type Demand = (Vec<String>, ConstraintKind);

fn exists(input: &mut Input<'_>) -> Parsed<Demand> {
    (keyword("EXISTS"), symbol("(")).parse_next(input)?;
    let (references, mut properties) = must(property_references).parse_next(input)?;
    must(symbol(")")).parse_next(input)?;
    match (properties.pop(), properties.is_empty()) {
        (Some(property), true) => Ok((references, ConstraintKind::Exists(property))),
        _ => Err(refused(
            "Exactly one property must be used for existence constraints.",
        )),
    }
}

fn unique(input: &mut Input<'_>) -> Parsed<Demand> {
    if peek(opt(symbol("("))).parse_next(input)?.is_some() {
        return Err(unsupported("NODE KEY constraints"));
    }
    let (references, properties) = property_references(input)?;
    keyword("IS").parse_next(input)?;
    if peek(opt(keyword("TYPED"))).parse_next(input)?.is_some() {
        return Err(unsupported("type constraints"));
    }
    keyword("UNIQUE").parse_next(input)?;
    Ok((references, ConstraintKind::Unique(properties)))
}

/// `n.a, n.b`
fn property_references(input: &mut Input<'_>) -> Parsed<(Vec<String>, Vec<String>)> {
    let reference = (name, symbol("."), name).map(|(variable, (), property)| (variable, property));
    separated(1.., reference, symbol(","))
        .map(|references: Vec<(String, String)>| references.into_iter().unzip())
        .parse_next(input)
}

fn enum_change(input: &mut Input<'_>) -> Parsed<EnumChange> {
    alt((
        preceded(
            keywords(&["CREATE", "ENUM"]),
            must((name, keyword("VALUES"), enum_values)),
        )
        .map(|(name, (), values)| EnumChange::Create { name, values }),
        preceded(keywords(&["DROP", "ENUM"]), must(name)).map(|name| EnumChange::Drop { name }),
        preceded(keywords(&["ALTER", "ENUM"]), must(alter_enum)),
    ))
    .parse_next(input)
}

fn enum_values(input: &mut Input<'_>) -> Parsed<Vec<String>> {
    symbol("{").parse_next(input)?;
    let values = separated(1.., name, symbol(",")).parse_next(input)?;
    symbol("}").parse_next(input)?;
    Ok(values)
}

fn alter_enum(input: &mut Input<'_>) -> Parsed<EnumChange> {
    let enum_name = name(input)?;
    alt((
        preceded(keywords(&["ADD", "VALUE"]), name).map(|value| EnumChange::AddValue {
            name: enum_name.clone(),
            value,
        }),
        preceded(keywords(&["UPDATE", "VALUE"]), (name, keyword("TO"), name)).map(|(old, (), new)| {
            EnumChange::UpdateValue {
                name: enum_name.clone(),
                old,
                new,
            }
        }),
        preceded(keywords(&["REMOVE", "VALUE"]), name).map(|value| EnumChange::RemoveValue {
            name: enum_name.clone(),
            value,
        }),
    ))
    .parse_next(input)
}

fn create_trigger(input: &mut Input<'_>) -> Parsed<Trigger> {
    keywords(&["CREATE", "TRIGGER"]).parse_next(input)?;
    let name = must(name).parse_next(input)?;
    if opt(since(Version::V3_8, keyword("SECURITY")))
        .parse_next(input)?
        .is_some()
    {
        return Err(unsupported("triggers with SECURITY"));
    }
    let event = opt(preceded(keyword("ON"), must(trigger_event))).parse_next(input)?;
    let phase = must(alt((
        keyword("BEFORE").value(TriggerPhase::BeforeCommit),
        keyword("AFTER").value(TriggerPhase::AfterCommit),
    )))
    .parse_next(input)?;
    must(keywords(&["COMMIT", "EXECUTE"])).parse_next(input)?;
    let statement = must(terminal("statement", |token| match token {
        Token::Trigger(statement) => Some(statement.clone()),
        _ => None,
    }))
    .parse_next(input)?;
    Ok(Trigger::Create {
        name,
        event,
        phase,
        statement,
    })
}

fn trigger_event(input: &mut Input<'_>) -> Parsed<TriggerEvent> {
    let target = alt((
        (symbol("("), symbol(")")).value(TriggerTarget::Node),
        (symbol("-"), symbol("-"), symbol(">")).value(TriggerTarget::Relationship),
    ));
    let target = opt(target).parse_next(input)?.unwrap_or(TriggerTarget::Any);
    alt((
        keyword("CREATE").value(TriggerEvent::Create(target)),
        keyword("UPDATE").value(TriggerEvent::Update(target)),
        keyword("DELETE").value(TriggerEvent::Delete(target)),
    ))
    .parse_next(input)
}
