//! Parsed queries, kept for clients that send the same text again, as those that watch over instances do.

use std::{cell::RefCell, num::NonZeroUsize, rc::Rc};

use bolt_server::Version;
use cypher_subset::ast::Statement;
use lru::LruCache;

/// How many queries are kept. Memgraph keeps 1,000 plans (`--query-plan-cache-max-size`).
const CAPACITY: NonZeroUsize = NonZeroUsize::new(256).unwrap();
/// Longer texts (in bytes) are not kept: they contain data, and do not come again.
const LONGEST: usize = 4096;

/// Queries that were parsed, by their text. None of them has a password in it.
pub(super) struct Plans(RefCell<LruCache<Box<str>, Rc<Statement>>>);

impl Default for Plans {
    fn default() -> Self {
        // Small at first: most instances of a test see few queries.
        let mut cache = LruCache::unbounded();
        cache.resize(CAPACITY);
        Self(RefCell::new(cache))
    }
}

impl Plans {
    /// The statement of a text.
    ///
    /// # Errors
    ///
    /// The text is not understood.
    pub(super) fn parse(&self, text: &str, version: Version) -> Result<Rc<Statement>, cypher_subset::Error> {
        if let Some(known) = self.0.borrow_mut().get(text) {
            return Ok(Rc::clone(known));
        }
        let statement = Rc::new(cypher_subset::parse(text, version)?);
        let kept = matches!(
            *statement,
            Statement::Query(_) | Statement::ReplicationInfo(_) | Statement::DatabaseInfo(_)
        );
        if kept && text.len() <= LONGEST {
            self.0.borrow_mut().put(text.into(), Rc::clone(&statement));
        }
        Ok(statement)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_parsed_once_while_it_is_kept() {
        let plans = Plans::default();
        let parse = |text: &str| plans.parse(text, Version::default()).unwrap();
        let first = parse("RETURN 1");
        assert!(Rc::ptr_eq(&first, &parse("RETURN 1")));
        for number in 0..CAPACITY.get() {
            parse(&format!("RETURN {number} AS number"));
        }
        assert!(!Rc::ptr_eq(&first, &parse("RETURN 1")));
        assert!(plans.0.borrow().len() <= CAPACITY.get());
    }

    #[test]
    fn administrative_and_long_queries_are_not_kept() {
        let plans = Plans::default();
        let long = format!("RETURN '{}'", "x".repeat(LONGEST));
        for text in ["CREATE USER someone IDENTIFIED BY 'secret'", &long] {
            plans.parse(text, Version::default()).unwrap();
        }
        assert!(plans.0.borrow().is_empty());
    }
}
