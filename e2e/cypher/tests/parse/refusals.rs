//! Messages about texts that cannot be read.

use cypher_subset::{Error, Version, parse};

use crate::refusal;

#[test]
fn a_syntax_error_names_position_and_token() {
    for (text, position, found) in [
        ("FOO", 1, "FOO"),
        ("RETURN", 7, "<EOF>"),
        ("", 1, "<EOF>"),
        ("RETURN 1 2", 10, "0"),
        ("MATCH (n RETURN n", 11, "RETURN"),
        ("CREATE (n", 11, "<EOF>"),
        ("SHOW FOO", 6, "FOO"),
        ("DROP REPLICA r r", 16, "r"),
        ("RETURN 1; RETURN 2", 12, "RETURN"),
        ("SET REPLICATION ROLE TO FOO", 25, "FOO"),
    ] {
        let message = refusal(text, Version::V3_12);
        let start = format!(
            "Error on line 1 position {position}. The underlying parsing error is mismatched input '{found}' expecting "
        );
        assert!(message.starts_with(&start), "{text}: {message}");
    }
}

/// Memgraph reads a normalised text: one line, single spaces, literals replaced by others of their kind.
#[test]
fn positions_are_those_of_the_normalised_text() {
    for (text, position, found) in [
        ("RETURN\n\n   'long text' 'x'", 12, "\"a\""),
        ("RETURN /* comment */ 12345 12345", 10, "0"),
        ("RETURN 1.25 1.25", 12, "0.0"),
        ("RETURN false true", 13, "true"),
        ("MATCH(n)RETURN n n", 22, "n"),
        ("RETURN $parameter $parameter", 19, "$parameter"),
    ] {
        let message = refusal(text, Version::V3_12);
        assert!(
            message.contains(&format!("position {position}. ")),
            "{text}: {message}"
        );
        assert!(
            message.contains(&format!("mismatched input '{found}' ")),
            "{text}: {message}"
        );
    }
}

#[test]
fn a_character_that_starts_no_token() {
    let message = |spelling: &str, position: usize, start: char| {
        format!(
            "Invalid query. There is a wrong token at {spelling} {position} starting with {start}. Remove that part of \
             the query and try to rerun it."
        )
    };
    for (text, position, start) in [
        ("RETURN ?", 7, '?'),
        ("RETURN n`", 8, '`'),
        ("RETURN 'open", 7, '\''),
        ("RETURN 'ü' #", 12, '#'),
        ("@", 0, '@'),
    ] {
        assert_eq!(
            refusal(text, Version::V3_12),
            message("position", position, start),
            "{text}"
        );
        assert_eq!(
            refusal(text, Version::V3_6),
            message("postion", position, start),
            "{text}"
        );
    }
    assert!(refusal("RETURN 'bad escape \\q'", Version::V3_12).contains("wrong token at position 7"));
}

#[test]
fn refusals_tell_whose_they_are() {
    let error = parse("RETURN [x IN l | x]", Version::V3_12).unwrap_err();
    assert_eq!(
        error.to_string(),
        "not supported by the simulator: list comprehensions"
    );
    let error = parse("SET REPLICATION ROLE TO REPLICA", Version::V3_12).unwrap_err();
    assert_eq!(error, Error::Refused("Replica must set a port!".to_owned()));
    assert_eq!(error.to_string(), "Replica must set a port!");
}
