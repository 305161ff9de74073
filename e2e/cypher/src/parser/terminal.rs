//! Single tokens, and the memory of what was expected where reading got stuck.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    fmt,
};

use bolt_server::Version;
use winnow::{
    ModalResult, Parser,
    combinator::{cut_err, fail},
    error::{ErrMode, ParserError},
    stream::Stream,
    token::any,
};

use super::Input;
use crate::lexer::{Lexeme, Token};

/// Why a parser does not take its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// It does not look so. What would have, [`Furthest`] knows.
    Mismatch,
    /// It looks so, but Memgraph refuses it with this message.
    Refused(String),
    /// It looks like Cypher outside of the subset: the name of the construct.
    Unsupported(String),
}

pub(super) type Parsed<T> = ModalResult<T, Failure>;

impl ParserError<Input<'_>> for Failure {
    type Inner = Self;

    fn from_input(_: &Input<'_>) -> Self {
        Self::Mismatch
    }

    fn assert(input: &Input<'_>, _: &'static str) -> Self {
        Self::from_input(input)
    }

    fn into_inner(self) -> Result<Self::Inner, Self> {
        Ok(self)
    }
}

/// Memgraph's refusal, which no other way of reading can avert.
pub(super) fn refused(message: impl Into<String>) -> ErrMode<Failure> {
    ErrMode::Cut(Failure::Refused(message.into()))
}

/// Our refusal, likewise.
pub(super) fn unsupported(construct: impl Into<String>) -> ErrMode<Failure> {
    ErrMode::Cut(Failure::Unsupported(construct.into()))
}

/// The last place where reading got stuck, and what would have been taken there.
#[derive(Debug)]
pub(super) struct Furthest {
    remembers: bool,
    remaining: Cell<usize>,
    expected: RefCell<BTreeSet<Expected>>,
}

/// What would have been taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Expected {
    /// An operator or a bracket, shown between quotes.
    Symbol(&'static str),
    /// A keyword, or a kind of token.
    Kind(&'static str),
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Symbol(symbol) => write!(f, "'{symbol}'"),
            Self::Kind(kind) => f.write_str(kind),
        }
    }
}

impl Furthest {
    /// Remembers nothing.
    pub(super) fn ignored() -> Self {
        Self {
            remembers: false,
            remaining: Cell::new(0),
            expected: RefCell::default(),
        }
    }

    /// Remembers, in a text of so many tokens.
    pub(super) fn remembered(tokens: usize) -> Self {
        Self {
            remembers: true,
            remaining: Cell::new(tokens),
            expected: RefCell::default(),
        }
    }

    /// Something was looked for, with so many tokens remaining.
    pub(super) fn expect(&self, remaining: usize, what: Expected) {
        if !self.remembers || remaining > self.remaining.get() {
            return;
        }
        let mut expected = self.expected.borrow_mut();
        if remaining < self.remaining.get() {
            self.remaining.set(remaining);
            expected.clear();
        }
        expected.insert(what);
    }

    /// What Memgraph says about a text that it cannot read. The position is the one in its normalised form
    /// of the text: tokens separated by single spaces, literals replaced, all in one line.
    pub(super) fn message(&self, lexemes: &[Lexeme]) -> String {
        let index = lexemes.len() - self.remaining.get().min(lexemes.len());
        let width = |lexeme: &Lexeme| lexeme.shown.chars().count();
        let before: usize = lexemes[..index].iter().map(|lexeme| width(lexeme) + 1).sum();
        let (position, found) = match lexemes.get(index) {
            Some(lexeme) => (before + 1, lexeme.shown.replace('\n', "\\n")),
            // Nothing follows the last token, not even a space.
            None => (before.max(1), "<EOF>".to_owned()),
        };
        let expected = self.expected.borrow();
        let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
        let expected = match expected.as_slice() {
            [only] => only.clone(),
            several => format!("{{{}}}", several.join(", ")),
        };
        format!(
            "Error on line 1 position {position}. The underlying parsing error is mismatched input '{found}' \
             expecting {expected}"
        )
    }
}

/// The keyword, in any case.
pub(super) fn keyword<'a>(word: &'static str) -> impl Parser<Input<'a>, (), ErrMode<Failure>> {
    terminal(word, move |token| match token {
        Token::Word(found) => found.eq_ignore_ascii_case(word).then_some(()),
        _ => None,
    })
}

/// Keywords one after another.
pub(super) fn keywords<'a>(words: &'static [&'static str]) -> impl Parser<Input<'a>, (), ErrMode<Failure>> {
    move |input: &mut Input<'a>| words.iter().try_for_each(|word| keyword(word).parse_next(input))
}

/// An operator or a bracket.
pub(super) fn symbol<'a>(text: &'static str) -> impl Parser<Input<'a>, (), ErrMode<Failure>> {
    token(Expected::Symbol(text), move |token| {
        (*token == Token::Symbol(text)).then_some(())
    })
}

/// A name: any word, also a keyword, or anything between backticks.
pub(super) fn name(input: &mut Input<'_>) -> Parsed<String> {
    input
        .state
        .furthest
        .expect(input.input.len(), Expected::Kind("EscapedSymbolicName"));
    terminal("UnescapedSymbolicName", |token| match token {
        Token::Word(name) | Token::QuotedName(name) => Some(name.clone()),
        _ => None,
    })
    .parse_next(input)
}

/// A string literal; another literal is refused with the message.
pub(super) fn string_or<'a>(message: &'static str) -> impl Parser<Input<'a>, String, ErrMode<Failure>> {
    terminal("StringLiteral", move |token| match token {
        Token::String(text) => Some(Ok(text.clone())),
        _ if is_literal(token) => Some(Err(message)),
        _ => None,
    })
    .try_map_or_refuse()
}

/// An integer literal; another literal is refused with the message.
pub(super) fn integer_or<'a>(message: &'static str) -> impl Parser<Input<'a>, i64, ErrMode<Failure>> {
    terminal("DecimalLiteral", move |token| match token {
        Token::Integer(number) => Some(Ok(*number)),
        _ if is_literal(token) => Some(Err(message)),
        _ => None,
    })
    .try_map_or_refuse()
}

/// A string literal or `null`; another literal is refused with the message.
pub(super) fn string_or_null<'a>(
    message: &'static str,
) -> impl Parser<Input<'a>, Option<String>, ErrMode<Failure>> {
    terminal("StringLiteral", move |token| match token {
        Token::String(text) => Some(Ok(Some(text.clone()))),
        Token::Word(word) if word.eq_ignore_ascii_case("null") => Some(Ok(None)),
        _ if is_literal(token) => Some(Err(message)),
        _ => None,
    })
    .try_map_or_refuse()
}

/// What the grammar calls a literal, of those that are one token.
fn is_literal(token: &Token) -> bool {
    match token {
        Token::Integer(_) | Token::Float(_) | Token::String(_) => true,
        Token::Word(word) => ["true", "false", "null"]
            .iter()
            .any(|literal| word.eq_ignore_ascii_case(literal)),
        _ => false,
    }
}

trait RefuseExt<'a, T>: Parser<Input<'a>, Result<T, &'static str>, ErrMode<Failure>> + Sized {
    fn try_map_or_refuse(mut self) -> impl Parser<Input<'a>, T, ErrMode<Failure>> {
        move |input: &mut Input<'a>| self.parse_next(input)?.map_err(refused)
    }
}

impl<'a, T, P> RefuseExt<'a, T> for P where P: Parser<Input<'a>, Result<T, &'static str>, ErrMode<Failure>> {}

/// A token that `accept` takes; `what` says so in messages.
pub(super) fn terminal<'a, T>(
    what: &'static str,
    accept: impl Fn(&Token) -> Option<T>,
) -> impl Parser<Input<'a>, T, ErrMode<Failure>> {
    token(Expected::Kind(what), accept)
}

fn token<'a, T>(
    what: Expected,
    accept: impl Fn(&Token) -> Option<T>,
) -> impl Parser<Input<'a>, T, ErrMode<Failure>> {
    move |input: &mut Input<'a>| {
        input.state.furthest.expect(input.input.len(), what);
        let start = input.checkpoint();
        let lexeme: &Lexeme = any.parse_next(input)?;
        accept(&lexeme.token).ok_or_else(|| {
            input.reset(&start);
            ErrMode::Backtrack(Failure::Mismatch)
        })
    }
}

/// A parser for what only newer releases have.
pub(super) fn since<'a, T>(
    version: Version,
    mut parser: impl Parser<Input<'a>, T, ErrMode<Failure>>,
) -> impl Parser<Input<'a>, T, ErrMode<Failure>> {
    move |input: &mut Input<'a>| {
        if input.state.version < version {
            fail.parse_next(input)
        } else {
            parser.parse_next(input)
        }
    }
}

/// A parser without alternatives: where it gets stuck, the whole statement does.
pub(super) fn must<'a, T>(
    parser: impl Parser<Input<'a>, T, ErrMode<Failure>>,
) -> impl Parser<Input<'a>, T, ErrMode<Failure>> {
    cut_err(parser)
}
