//! From tokens to a statement.

mod admin;
mod clause;
mod expression;
mod operand;
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
    // What could have stood where reading got stuck is only worth finding out when it did.
    if let Ok(statement) = read(&lexemes, source, version, &Furthest::ignored()) {
        return Ok(statement);
    }
    let furthest = Furthest::remembered(lexemes.len());
    read(&lexemes, source, version, &furthest).map_err(|failure| match failure {
        Failure::Refused(message) => Error::Refused(message),
        Failure::Unsupported(construct) => Error::Unsupported(construct),
        Failure::Mismatch => match unsupported::statement(&lexemes) {
            Some(construct) => Error::Unsupported(construct),
            None => Error::Refused(furthest.message(&lexemes)),
        },
    })
}

fn read(
    lexemes: &[Lexeme],
    source: &str,
    version: Version,
    furthest: &Furthest,
) -> Result<Statement, Failure> {
    let nesting = Cell::new(0);
    let context = Context {
        version,
        source,
        nesting: &nesting,
        furthest,
    };
    let mut input = Input {
        input: TokenSlice::new(lexemes),
        state: context,
    };
    terminated(statement, (opt(symbol(";")), end))
        .parse_next(&mut input)
        .map_err(|error| error.into_inner().unwrap_or(Failure::Mismatch))
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
