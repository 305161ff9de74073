//! Indexes, constraints, enums, triggers.

use cypher_subset::{
    Version,
    ast::{
        Constraint, ConstraintKind, EnumChange, Index, SchemaAction, Statement, Trigger, TriggerEvent,
        TriggerPhase, TriggerTarget,
    },
};

use crate::{parsed, refusal, unsupported};

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn indexes() {
    let index = |action, properties: &[&str]| Statement::Index {
        action,
        index: Index {
            label: "L".to_owned(),
            properties: strings(properties),
        },
    };
    for (text, expected) in [
        ("CREATE INDEX ON :L", index(SchemaAction::Create, &[])),
        ("create index on :L(p);", index(SchemaAction::Create, &["p"])),
        (
            "CREATE INDEX ON :`L`(p, `q`)",
            index(SchemaAction::Create, &["p", "q"]),
        ),
        ("DROP INDEX ON :L(p)", index(SchemaAction::Drop, &["p"])),
    ] {
        assert_eq!(parsed(text), expected, "{text}");
    }
    assert_eq!(
        refusal("CREATE INDEX ON :L(p, p)", Version::V3_12),
        "Properties cannot be repeated in a composite index."
    );
    assert!(
        refusal("CREATE INDEX ON L(p)", Version::V3_12).contains("mismatched input 'L' expecting {':', ")
    );
    for (text, construct) in [
        ("CREATE INDEX ON :L(a.b)", "indexes on nested properties"),
        (
            "CREATE INDEX ON :L(a) WITH CONFIG {'x': 1}",
            "indexes WITH CONFIG",
        ),
        ("CREATE INDEX FOR (n:L) ON (n.p)", "indexes in the form FOR .. ON"),
        (
            "CREATE INDEX name IF NOT EXISTS FOR (n:L) ON (n.p)",
            "indexes in the form FOR .. ON",
        ),
        ("CREATE EDGE INDEX ON :T", "CREATE EDGE INDEX"),
        ("CREATE VECTOR INDEX i ON :L(p) WITH CONFIG {}", "CREATE VECTOR"),
        ("DROP ALL INDEXES", "DROP ALL INDEXES"),
    ] {
        assert_eq!(unsupported(text), construct, "{text}");
    }
}

#[test]
fn constraints() {
    let constraint = |action, kind| Statement::Constraint {
        action,
        constraint: Constraint {
            label: "L".to_owned(),
            kind,
        },
    };
    for (text, expected) in [
        (
            "CREATE CONSTRAINT ON (n:L) ASSERT n.p IS UNIQUE",
            constraint(SchemaAction::Create, ConstraintKind::Unique(strings(&["p"]))),
        ),
        (
            "CREATE CONSTRAINT ON (n:L) ASSERT n.p, n.q IS UNIQUE",
            constraint(SchemaAction::Create, ConstraintKind::Unique(strings(&["p", "q"]))),
        ),
        (
            "CREATE CONSTRAINT ON (n:L) ASSERT EXISTS (n.p)",
            constraint(SchemaAction::Create, ConstraintKind::Exists("p".to_owned())),
        ),
        (
            "DROP CONSTRAINT ON (n:L) ASSERT EXISTS (n.p);",
            constraint(SchemaAction::Drop, ConstraintKind::Exists("p".to_owned())),
        ),
    ] {
        assert_eq!(parsed(text), expected, "{text}");
    }
    for (text, message) in [
        (
            "CREATE CONSTRAINT ON (n:L) ASSERT m.p IS UNIQUE",
            "All constraint variable should reference node 'n'",
        ),
        (
            "CREATE CONSTRAINT ON (n:L) ASSERT EXISTS (n.p, n.q)",
            "Exactly one property must be used for existence constraints.",
        ),
    ] {
        assert_eq!(refusal(text, Version::V3_12), message, "{text}");
    }
    for (text, construct) in [
        (
            "CREATE CONSTRAINT ON (n:L) ASSERT n.p IS TYPED STRING",
            "type constraints",
        ),
        (
            "CREATE CONSTRAINT ON (n:L) ASSERT (n.p) IS NODE KEY",
            "NODE KEY constraints",
        ),
        (
            "CREATE CONSTRAINT FOR (n:L) REQUIRE n.p IS UNIQUE",
            "constraints in the form FOR .. REQUIRE",
        ),
        (
            "CREATE CONSTRAINT c IF NOT EXISTS FOR (n:L) REQUIRE n.p IS UNIQUE",
            "constraints in the form FOR .. REQUIRE",
        ),
    ] {
        assert_eq!(unsupported(text), construct, "{text}");
    }
}

#[test]
fn enums() {
    let name = "E".to_owned();
    for (text, expected) in [
        (
            "CREATE ENUM E VALUES { A, `b c` }",
            EnumChange::Create {
                name: name.clone(),
                values: strings(&["A", "b c"]),
            },
        ),
        (
            "ALTER ENUM E ADD VALUE C",
            EnumChange::AddValue {
                name: name.clone(),
                value: "C".to_owned(),
            },
        ),
        (
            "ALTER ENUM E UPDATE VALUE A TO B",
            EnumChange::UpdateValue {
                name: name.clone(),
                old: "A".to_owned(),
                new: "B".to_owned(),
            },
        ),
        (
            "ALTER ENUM E REMOVE VALUE A",
            EnumChange::RemoveValue {
                name: name.clone(),
                value: "A".to_owned(),
            },
        ),
        ("DROP ENUM E", EnumChange::Drop { name: name.clone() }),
    ] {
        assert_eq!(parsed(text), Statement::Enum(expected), "{text}");
    }
    for text in [
        "CREATE ENUM E VALUES {}",
        "CREATE ENUM E { A }",
        "ALTER ENUM E",
        "DROP ENUM",
    ] {
        refusal(text, Version::V3_12);
    }
}

#[test]
fn triggers() {
    let create = |event, phase, statement: &str| {
        Statement::Trigger(Trigger::Create {
            name: "t".to_owned(),
            event,
            phase,
            statement: statement.to_owned(),
        })
    };
    for (text, expected) in [
        (
            "CREATE TRIGGER t AFTER COMMIT EXECUTE CREATE (:A {x: '?'});",
            create(None, TriggerPhase::AfterCommit, "CREATE (:A {x: '?'})"),
        ),
        (
            "CREATE TRIGGER t ON CREATE BEFORE COMMIT EXECUTE UNWIND createdVertices AS v SET v.x = 1 ; ",
            create(
                Some(TriggerEvent::Create(TriggerTarget::Any)),
                TriggerPhase::BeforeCommit,
                "UNWIND createdVertices AS v SET v.x = 1",
            ),
        ),
        (
            "create trigger t on () update after commit execute RETURN 1",
            create(
                Some(TriggerEvent::Update(TriggerTarget::Node)),
                TriggerPhase::AfterCommit,
                "RETURN 1",
            ),
        ),
        (
            "CREATE TRIGGER t ON --> DELETE AFTER COMMIT EXECUTE RETURN ?",
            create(
                Some(TriggerEvent::Delete(TriggerTarget::Relationship)),
                TriggerPhase::AfterCommit,
                "RETURN ?",
            ),
        ),
        (
            "DROP TRIGGER t",
            Statement::Trigger(Trigger::Drop { name: "t".to_owned() }),
        ),
        ("SHOW TRIGGERS", Statement::Trigger(Trigger::Show)),
    ] {
        assert_eq!(parsed(text), expected, "{text}");
    }
    let named_execute = parsed("CREATE TRIGGER execute AFTER COMMIT EXECUTE RETURN 1");
    assert!(matches!(named_execute, Statement::Trigger(Trigger::Create { name, .. }) if name == "execute"));
}
