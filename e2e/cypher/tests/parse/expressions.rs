//! Precedence and the forms of expressions.

use cypher_subset::{
    Version,
    ast::{BinaryOperator, Clause, Expression, Literal, Statement, UnaryOperator},
    parse,
};

use crate::{parsed, refusal, unsupported};

/// The expression of `RETURN text`, with its structure in prefix form.
fn structure(text: &str, version: Version) -> String {
    match parse(&format!("RETURN {text}"), version) {
        Ok(statement) => show(&returned(statement)),
        Err(error) => panic!("{text}: {error}"),
    }
}

fn returned(statement: Statement) -> Expression {
    let Statement::Query(query) = statement else {
        panic!("{statement:?}")
    };
    match query.clauses.into_iter().next() {
        Some(Clause::Return(projection)) => projection.items.into_iter().next().unwrap().expression,
        other => panic!("{other:?}"),
    }
}

fn show(expression: &Expression) -> String {
    let all = |expressions: &[Expression]| expressions.iter().map(show).collect::<Vec<_>>().join(" ");
    let option = |expression: &Option<Box<Expression>>| expression.as_deref().map_or("_".to_owned(), show);
    match expression {
        Expression::Literal(Literal::Null) => "null".to_owned(),
        Expression::Literal(Literal::Boolean(value)) => value.to_string(),
        Expression::Literal(Literal::Integer(value)) => value.to_string(),
        Expression::Literal(Literal::Float(value)) => format!("{value:?}"),
        Expression::Literal(Literal::String(value)) => format!("{value:?}"),
        Expression::Parameter(name) => format!("${name}"),
        Expression::Variable(name) => name.clone(),
        Expression::List(items) => format!("[{}]", all(items)),
        Expression::Map(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .map(|(key, value)| format!("{key}:{}", show(value)))
                .collect();
            format!("{{{}}}", entries.join(" "))
        }
        Expression::Property { subject, key } => format!("(. {} {key})", show(subject)),
        Expression::Index { subject, index } => format!("(at {} {})", show(subject), show(index)),
        Expression::Slice { subject, from, to } => {
            format!("(slice {} {} {})", show(subject), option(from), option(to))
        }
        Expression::Unary { operator, operand } => {
            let name = match operator {
                UnaryOperator::Not => "not",
                UnaryOperator::Plus => "+",
                UnaryOperator::Minus => "-",
                UnaryOperator::IsNull => "null?",
                UnaryOperator::IsNotNull => "some?",
            };
            format!("({name} {})", show(operand))
        }
        Expression::Binary {
            operator,
            left,
            right,
        } => {
            let name = match operator {
                BinaryOperator::Or => "or",
                BinaryOperator::Xor => "xor",
                BinaryOperator::And => "and",
                BinaryOperator::Equal => "=",
                BinaryOperator::NotEqual => "!=",
                BinaryOperator::Less => "<",
                BinaryOperator::LessOrEqual => "<=",
                BinaryOperator::Greater => ">",
                BinaryOperator::GreaterOrEqual => ">=",
                BinaryOperator::In => "in",
                BinaryOperator::StartsWith => "starts",
                BinaryOperator::EndsWith => "ends",
                BinaryOperator::Contains => "contains",
                BinaryOperator::Add => "+",
                BinaryOperator::Subtract => "-",
                BinaryOperator::Multiply => "*",
                BinaryOperator::Divide => "/",
                BinaryOperator::Modulo => "%",
                BinaryOperator::Power => "^",
            };
            format!("({name} {} {})", show(left), show(right))
        }
        Expression::HasLabels { subject, labels } => {
            format!("(labels {} {})", show(subject), labels.join(" "))
        }
        Expression::CountAll => "(count *)".to_owned(),
        Expression::Function {
            name,
            distinct,
            arguments,
        } => {
            let distinct = if *distinct { " distinct" } else { "" };
            format!(
                "({name}{distinct}{}{})",
                if arguments.is_empty() { "" } else { " " },
                all(arguments)
            )
        }
        Expression::Case {
            operand,
            branches,
            otherwise,
        } => {
            let branches: Vec<String> = branches
                .iter()
                .map(|branch| format!("{}:{}", show(&branch.when), show(&branch.then)))
                .collect();
            format!(
                "(case {} {} {})",
                option(operand),
                branches.join(" "),
                option(otherwise)
            )
        }
        Expression::EnumValue { name, value } => format!("{name}::{value}"),
    }
}

#[test]
fn expressions() {
    let cases = [
        ("1", "1"),
        ("017", "15"),
        ("0xff", "255"),
        (".5", "0.5"),
        ("1e3", "1000.0"),
        ("1.5E-1", "0.15"),
        ("'it\\'s'", "\"it's\""),
        ("TRUE", "true"),
        ("Null", "null"),
        ("$p", "$p"),
        ("$0", "$0"),
        ("$`a b`", "$a b"),
        ("`a b`", "a b"),
        ("[]", "[]"),
        ("[1, [2], 'x']", "[1 [2] \"x\"]"),
        ("{}", "{}"),
        ("{a: 1, `b c`: {d: 2}}", "{a:1 b c:{d:2}}"),
        ("n.a.b", "(. (. n a) b)"),
        ("n[0].x[1..]", "(slice (. (at n 0) x) 1 _)"),
        ("n[..2]", "(slice n _ 2)"),
        ("n[1..-1]", "(slice n 1 (- 1))"),
        ("$p.x", "(. $p x)"),
        ("n:A:B", "(labels n A B)"),
        ("Status::Good", "Status::Good"),
        ("count(*)", "(count *)"),
        ("Count( * )", "(count *)"),
        ("count(DISTINCT n.x)", "(COUNT distinct (. n x))"),
        ("count(distinct)", "(COUNT distinct)"),
        ("collect(n)", "(COLLECT n)"),
        ("toInteger('1')", "(TOINTEGER \"1\")"),
        ("timestamp()", "(TIMESTAMP)"),
        ("coalesce(a, b, 1)", "(COALESCE a b 1)"),
        ("range(1, 10, 2)", "(RANGE 1 10 2)"),
        ("my.module.f(1)", "(MY.MODULE.F 1)"),
        // Precedence
        ("1 + 2 * 3", "(+ 1 (* 2 3))"),
        ("(1 + 2) * 3", "(* (+ 1 2) 3)"),
        ("1 - 2 - 3", "(- (- 1 2) 3)"),
        ("2 ^ 3 ^ 4", "(^ (^ 2 3) 4)"),
        ("-2 ^ 2", "(^ (- 2) 2)"),
        ("- - 1", "(- (- 1))"),
        ("2 * -3", "(* 2 (- 3))"),
        ("7 % 4 / 2", "(/ (% 7 4) 2)"),
        ("a OR b AND c XOR d", "(or a (xor (and b c) d))"),
        ("NOT a AND b", "(and (not a) b)"),
        ("NOT NOT a = b", "(not (not (= a b)))"),
        ("a = b OR c <> d", "(or (= a b) (!= c d))"),
        ("a != b", "(!= a b)"),
        ("1 < 2 <= 3", "(and (< 1 2) (<= 2 3))"),
        ("1 < 2 < 3 < 4", "(and (and (< 1 2) (< 2 3)) (< 3 4))"),
        ("a IS NULL", "(null? a)"),
        ("a.b IS NOT NULL AND c", "(and (some? (. a b)) c)"),
        ("x IN [1, 2]", "(in x [1 2])"),
        ("NOT x IN $list", "(not (in x $list))"),
        ("a STARTS WITH 'x'", "(starts a \"x\")"),
        (
            "a ENDS WITH 'x' OR b CONTAINS 'y'",
            "(or (ends a \"x\") (contains b \"y\"))",
        ),
        // Case
        ("CASE WHEN a THEN 1 END", "(case _ a:1 _)"),
        (
            "CASE n.x WHEN 1 THEN 'a' WHEN 2 THEN 'b' ELSE 'c' END",
            "(case (. n x) 1:\"a\" 2:\"b\" \"c\")",
        ),
        // Keywords are names where nothing else fits.
        ("match.where", "(. match where)"),
        ("count", "count"),
        ("limit + skip", "(+ limit skip)"),
        ("case", "case"),
    ];
    for (text, expected) in cases {
        assert_eq!(structure(text, Version::V3_12), expected, "{text}");
    }
}

#[test]
fn predicates_bind_looser_than_arithmetic_since_3_11() {
    let cases = [
        ("1 + x IS NULL", "(+ 1 (null? x))", "(null? (+ 1 x))"),
        (
            "'a' + b STARTS WITH 'a' + c",
            "(+ (+ \"a\" (starts b \"a\")) c)",
            "(starts (+ \"a\" b) (+ \"a\" c))",
        ),
        ("-x IN l", "(- (in x l))", "(in (- x) l)"),
    ];
    for (text, before, since) in cases {
        assert_eq!(structure(text, Version::V3_10), before, "{text}");
        assert_eq!(structure(text, Version::V3_11), since, "{text}");
    }
}

#[test]
fn aggregations_are_recognised() {
    for (text, contains) in [
        ("count(*)", true),
        ("1 + sum(n.x)", true),
        ("{a: [min(x)]}", true),
        ("CASE WHEN max(x) > 1 THEN 1 END", true),
        ("size(x)", false),
        ("n.count", false),
    ] {
        assert_eq!(
            returned(parsed(&format!("RETURN {text}"))).contains_aggregation(),
            contains,
            "{text}"
        );
    }
}

#[test]
fn refused_expressions() {
    for (text, message) in [
        (
            "RETURN {a: 1, a: 2}",
            "Same key can't appear twice in a map literal.",
        ),
        (
            "RETURN l[..]",
            "List slicing operator requires at least one bound.",
        ),
        ("RETURN 9223372036854775808", "Integer literal exceeds 64 bits."),
        (
            "RETURN '\\u12'",
            "Expected 4 hex digits as unicode codepoint started with \\u. Use \\U for 8 hex digits format.",
        ),
    ] {
        assert_eq!(refusal(text, Version::V3_12), message, "{text}");
    }
    for text in [
        "RETURN 1 +",
        "RETURN (1",
        "RETURN [1,]",
        "RETURN {a 1}",
        "RETURN a.",
        "RETURN CASE WHEN 1 END",
    ] {
        assert!(
            refusal(text, Version::V3_12).starts_with("Error on line 1 position "),
            "{text}"
        );
    }
}

#[test]
fn unsupported_expressions() {
    for (text, construct) in [
        ("[x IN l WHERE x > 1]", "list comprehensions"),
        ("[x IN l | x + 1]", "list comprehensions"),
        ("[(a)-->(b) | b.x]", "pattern comprehensions"),
        ("all(x IN l WHERE x > 1)", "ALL(..)"),
        ("reduce(a = 0, x IN l | a + x)", "REDUCE(..)"),
        ("exists((n)-->())", "EXISTS(..)"),
        ("EXISTS { MATCH (n) }", "EXISTS subqueries"),
        ("COUNT { (n)-->() }", "COUNT subqueries"),
        ("n {.x, y: 1}", "map projections"),
        ("a =~ 'x.*'", "regular expressions (=~)"),
        ("(a)-->(b)", "patterns as expressions"),
        ("NOT (a)-[:T]-(b)", "patterns as expressions"),
        ("(a)<-[:T]-(b)", "patterns as expressions"),
    ] {
        assert_eq!(unsupported(&format!("RETURN {text}")), construct, "{text}");
    }
    // Brackets that look like the start of one of these.
    for (text, expected) in [
        ("[x IN l]", "[(in x l)]"),
        ("(a) - 1", "(- a 1)"),
        ("(a) < (b)", "(< a b)"),
        ("(n:Label)", "(labels n Label)"),
        ("({a: 1}).a", "(. {a:1} a)"),
    ] {
        assert_eq!(structure(text, Version::Head), expected, "{text}");
    }
}

#[test]
fn towers_are_refused_by_name() {
    let nested = |open: &str, close: &str, levels: usize| {
        parse(
            &format!("RETURN {}1{}", open.repeat(levels), close.repeat(levels)),
            Version::Head,
        )
    };
    for (open, close) in [
        ("(", ")"),
        ("[", "]"),
        ("{a: ", "}"),
        ("f(", ")"),
        ("CASE WHEN ", " THEN 1 END"),
        ("x[", "]"),
    ] {
        assert!(nested(open, close, 35).is_ok(), "{open}");
        for levels in [100, 10_000] {
            assert!(
                matches!(
                    nested(open, close, levels),
                    Err(cypher_subset::Error::Unsupported(_))
                ),
                "{open}"
            );
        }
    }
    for chain in ["1 + ", "NOT ", "- ", "1 < ", "x OR ", "x IS NULL = "] {
        assert!(nested(chain, "", 100).is_ok(), "{chain}");
        assert!(
            matches!(
                nested(chain, "", 10_000),
                Err(cypher_subset::Error::Unsupported(_))
            ),
            "{chain}"
        );
    }
    assert!(nested("", ".a", 100).is_ok());
    assert!(matches!(
        nested("", ".a", 10_000),
        Err(cypher_subset::Error::Unsupported(_))
    ));
    assert!(matches!(
        nested("", "[0]", 10_000),
        Err(cypher_subset::Error::Unsupported(_))
    ));
}
