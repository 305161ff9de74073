//! Any text.

use cypher_subset::{Version, ast::Statement, parse};
use proptest::{collection, prelude::*, sample::select};

const WORDS: &[&str] = &[
    "MATCH",
    "OPTIONAL",
    "RETURN",
    "CREATE",
    "MERGE",
    "ON",
    "SET",
    "REMOVE",
    "DELETE",
    "DETACH",
    "UNWIND",
    "WITH",
    "WHERE",
    "AS",
    "ORDER",
    "BY",
    "SKIP",
    "LIMIT",
    "DISTINCT",
    "AND",
    "OR",
    "XOR",
    "NOT",
    "IN",
    "IS",
    "NULL",
    "STARTS",
    "ENDS",
    "CONTAINS",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "COUNT",
    "EXISTS",
    "ALL",
    "INDEX",
    "CONSTRAINT",
    "ASSERT",
    "UNIQUE",
    "ENUM",
    "VALUES",
    "VALUE",
    "ALTER",
    "UPDATE",
    "ADD",
    "TO",
    "DROP",
    "SHOW",
    "REPLICATION",
    "ROLE",
    "REPLICA",
    "REPLICAS",
    "REGISTER",
    "SYNC",
    "ASYNC",
    "STRICT_SYNC",
    "PORT",
    "MAIN",
    "SNAPSHOT",
    "RECOVER",
    "FORCE",
    "STORAGE",
    "INFO",
    "DATABASE",
    "SETTING",
    "USER",
    "PASSWORD",
    "FOR",
    "TRIGGER",
    "COMMIT",
    "EXECUTE",
    "AFTER",
    "TRANSACTIONS",
    "n",
    "m",
    "Label",
    "`quoted`",
    "$p",
    "1",
    "2.5",
    "'text'",
    "true",
];
const SYMBOLS: &[&str] = &[
    "(", ")", "[", "]", "{", "}", ",", ".", ":", ";", "=", "<", ">", "<=", "<>", "+", "-", "*", "/", "%",
    "^", "|", "..", "+=", "=~", "->", "<-", "--",
];

fn version() -> impl Strategy<Value = Version> {
    select(Version::ALL.to_vec())
}

fn token() -> impl Strategy<Value = &'static str> {
    prop_oneof![3 => select(WORDS.to_vec()), 2 => select(SYMBOLS.to_vec())]
}

/// Statements of many kinds, in tokens.
fn statement() -> impl Strategy<Value = Vec<&'static str>> {
    let statements: Vec<Vec<&str>> = [
        "MATCH ( n : Label { x : $p } ) - [ r : T | U ] -> ( m ) WHERE n . x > 1 AND m . y IN [ 1 , 2 ] RETURN n AS a , \
         count ( * ) AS c ORDER BY c DESC SKIP 1 LIMIT 2",
        "UNWIND range ( 1 , 10 ) AS i CREATE ( : A { i : i } ) ;",
        "MERGE ( n : A ) ON CREATE SET n . x = 1 ON MATCH SET n += { y : 'text' }",
        "REGISTER REPLICA `mg-0` STRICT_SYNC TO 'host:10000' ;",
        "SET REPLICATION ROLE TO REPLICA WITH PORT 10000",
        "CREATE CONSTRAINT ON ( n : L ) ASSERT n . a , n . b IS UNIQUE",
        "ALTER ENUM E UPDATE VALUE A TO B",
        "SHOW STORAGE INFO ON CURRENT DATABASE",
        "RETURN CASE WHEN a . b [ 0 ] IS NOT NULL THEN - 1 ELSE E :: A END AS x",
        "CREATE USER IF NOT EXISTS u IDENTIFIED BY 'p'",
    ]
    .iter()
    .map(|statement| statement.split(' ').filter(|token| !token.is_empty()).collect())
    .collect();
    select(statements)
}

fn space() -> impl Strategy<Value = String> {
    select(vec![" ", "\n", "\t ", " /* comment */ ", " // line\n", "\u{a0}"]).prop_map(str::to_owned)
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,80}", version in version()) {
        let _ = parse(&text, version);
    }

    #[test]
    fn any_tokens_are_read_or_refused(tokens in collection::vec(token(), 0..40), version in version()) {
        let _ = parse(&tokens.join(" "), version);
        let _ = parse(&tokens.concat(), version);
    }

    #[test]
    fn cut_and_spoilt_statements_are_read_or_refused(
        tokens in statement(),
        at in any::<prop::sample::Index>(),
        with in token(),
        version in version(),
    ) {
        let mut spoilt = tokens.clone();
        let at = at.index(tokens.len());
        spoilt[at] = with;
        let _ = parse(&spoilt.join(" "), version);
        spoilt.truncate(at);
        let _ = parse(&spoilt.join(" "), version);
        let text = tokens.join(" ");
        let _ = parse(&text[..text.len() * at / tokens.len()], version);
    }

    /// White space, comments and the case of keywords mean nothing.
    #[test]
    fn spelling_means_nothing(
        tokens in statement(),
        spaces in collection::vec(space(), 80),
        lower in any::<bool>(),
    ) {
        let plain = parse(&tokens.join(" "), Version::Head);
        prop_assert!(plain.is_ok(), "{:?}", plain);
        let spelt: String = tokens
            .iter()
            .zip(&spaces)
            .map(|(token, space)| {
                let keyword = WORDS.contains(token) && token.chars().all(|c| c.is_ascii_uppercase() || c == '_');
                let token = if keyword && lower { token.to_lowercase() } else { (*token).to_owned() };
                format!("{space}{token}")
            })
            .collect();
        prop_assert_eq!(parse(&spelt, Version::Head), plain, "{}", spelt);
    }

    /// Names between backticks can be anything.
    #[test]
    fn quoted_names(name in "[^`]{1,10}", version in version()) {
        let statement = parse(&format!("DROP REPLICA `{name}`"), version);
        let expected = cypher_subset::ast::Replication::DropReplica { name };
        prop_assert_eq!(statement, Ok(Statement::Replication(expected)));
    }

    /// So can strings, escaped as Rust does.
    #[test]
    fn string_literals(text in "[^\u{0}-\u{1f}\u{7f}]{0,20}") {
        let literal = format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
        let statement = parse(&format!("RECOVER SNAPSHOT {literal}"), Version::Head);
        let expected = cypher_subset::ast::Durability::RecoverSnapshot { path: text, force: false };
        prop_assert_eq!(statement, Ok(Statement::Durability(expected)));
    }
}
