//! From tokens to a statement.

mod admin;
mod clause;
mod expression;
mod pattern;
mod schema;
mod show;
mod terminal;
mod unsupported;

use std::cell::Cell;

use bolt_server::Version;
use winnow::{
    Parser,
    combinator::{alt, eof, opt, terminated},
    stream::{Stateful, TokenSlice},
};

use crate::{
    Error,
    ast::{Statement, Transaction},
    lexer::{Lexeme, lex},
};
use terminal::{Expected, Failure, Furthest, Parsed, symbol};

/// The tokens, and what is known while they are read.
type Input<'a> = Stateful<TokenSlice<'a, Lexeme>, Context<'a>>;

#[derive(Debug, Clone, Copy)]
struct Context<'a> {
    version: Version,
    source: &'a str,
    /// How many expressions are open around the present token.
    nesting: &'a Cell<usize>,
    furthest: &'a Furthest,
}

/// Reads one statement as a release of Memgraph would.
///
/// A `;` may follow it, except behind the texts `BEGIN`, `COMMIT` and `ROLLBACK`, which Memgraph compares as
/// a whole.
///
/// # Errors
/// [`Error::Refused`] with Memgraph's message where Memgraph refuses the text when it reads it;
/// [`Error::Unsupported`] where it may well take it, but this crate does not.
pub fn parse(source: &str, version: Version) -> Result<Statement, Error> {
    if let Some(transaction) = transaction(source) {
        return Ok(Statement::Transaction(transaction));
    }
    let lexemes = lex(source, version)?;
    let (nesting, furthest) = (Cell::new(0), Furthest::new(lexemes.len()));
    let context = Context {
        version,
        source,
        nesting: &nesting,
        furthest: &furthest,
    };
    let mut input = Input {
        input: TokenSlice::new(&lexemes),
        state: context,
    };
    match terminated(statement, (opt(symbol(";")), end)).parse_next(&mut input) {
        Ok(statement) => Ok(statement),
        Err(error) => Err(match error.into_inner() {
            Ok(Failure::Refused(message)) => Error::Refused(message),
            Ok(Failure::Unsupported(construct)) => Error::Unsupported(construct),
            Ok(Failure::Mismatch) | Err(_) => match unsupported::statement(&lexemes) {
                Some(construct) => Error::Unsupported(construct),
                None => Error::Refused(furthest.message(&lexemes)),
            },
        }),
    }
}

/// Memgraph compares the whole text, without white space around it (`Interpreter::Parse`).
fn transaction(source: &str) -> Option<Transaction> {
    match source.trim().to_ascii_uppercase().as_str() {
        "BEGIN" => Some(Transaction::Begin),
        "COMMIT" => Some(Transaction::Commit),
        "ROLLBACK" => Some(Transaction::Rollback),
        _ => None,
    }
}

fn statement(input: &mut Input<'_>) -> Parsed<Statement> {
    // Administrative statements come first: `SET REPLICATION ROLE` begins as a SET clause could.
    alt((
        schema::statement,
        show::statement,
        admin::statement,
        clause::query.map(Statement::Query),
    ))
    .parse_next(input)
}

fn end(input: &mut Input<'_>) -> Parsed<()> {
    input
        .state
        .furthest
        .expect(input.input.len(), Expected::Kind("<EOF>"));
    eof.void().parse_next(input)
}
