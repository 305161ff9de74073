//! A result that a client takes page by page.

use std::vec;

use crate::{Executed, Prepared, Summary, Value};

/// A prepared query, and what is left of its rows once it was executed.
#[derive(Debug)]
pub(crate) struct OpenResult {
    columns: usize,
    query_id: Option<i64>,
    execution: Option<Box<Execution>>,
}

#[derive(Debug)]
struct Execution {
    rows: vec::IntoIter<Vec<Value>>,
    summary: Option<Summary>,
}

/// What is behind a page.
#[derive(Debug)]
pub(crate) enum AfterPage {
    /// More rows.
    More(OpenResult),
    /// The end, and the backend said how it ended.
    Ended(Summary),
    /// The end, but the backend has to end it first.
    ToBeFinished,
}

impl OpenResult {
    pub(crate) fn new(prepared: Prepared) -> Self {
        Self {
            columns: prepared.fields.len(),
            query_id: prepared.query_id,
            execution: None,
        }
    }

    pub(crate) const fn query_id(&self) -> Option<i64> {
        self.query_id
    }

    pub(crate) const fn is_executed(&self) -> bool {
        self.execution.is_some()
    }

    pub(crate) fn fill(&mut self, executed: Executed) {
        self.execution = Some(Box::new(Execution {
            rows: executed.rows.into_iter(),
            summary: executed.summary,
        }));
    }

    /// Hands the next rows to `send`; all of them without a limit.
    pub(crate) fn take_page(mut self, limit: Option<u64>, mut send: impl FnMut(&[Value])) -> AfterPage {
        let Some(mut execution) = self.execution.take() else {
            return AfterPage::More(self);
        };
        let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let page = execution.rows.by_ref().take(limit);
        if self.columns == 0 {
            page.for_each(drop);
            // Memgraph looks for one row more, to tell whether there are any, and keeps a found one for the
            // next page only if it is to be sent (`PullPlan::Pull`).
            let found = limit != usize::MAX && execution.rows.next().is_some();
            if !found {
                return execution.end();
            }
        } else {
            page.for_each(|row| send(&row));
            if execution.rows.len() == 0 {
                return execution.end();
            }
        }
        self.execution = Some(execution);
        AfterPage::More(self)
    }
}

impl Execution {
    fn end(self) -> AfterPage {
        self.summary.map_or(AfterPage::ToBeFinished, AfterPage::Ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(columns: usize, rows: usize, summary: Option<Summary>) -> OpenResult {
        let mut result = OpenResult::new(Prepared {
            fields: vec!["x".to_owned(); columns],
            query_id: None,
        });
        let rows = (0..rows)
            .map(|n| vec![Value::Integer(n.try_into().unwrap()); columns])
            .collect();
        result.fill(Executed { rows, summary });
        result
    }

    /// The sizes of the pages that a client sees, and how the last one ended.
    fn pages(mut result: OpenResult, limit: Option<u64>) -> (Vec<usize>, &'static str) {
        let mut sizes = Vec::new();
        loop {
            let mut size = 0;
            let after = result.take_page(limit, |_| size += 1);
            sizes.push(size);
            match after {
                AfterPage::More(rest) => result = rest,
                AfterPage::Ended(_) => return (sizes, "ended"),
                AfterPage::ToBeFinished => return (sizes, "to be finished"),
            }
        }
    }

    #[test]
    fn the_last_page_knows_that_it_is_the_last() {
        assert_eq!(
            pages(open(1, 5, None), Some(2)),
            (vec![2, 2, 1], "to be finished")
        );
        assert_eq!(
            pages(open(1, 4, Some(Summary::default())), Some(2)),
            (vec![2, 2], "ended")
        );
        assert_eq!(pages(open(1, 0, None), Some(2)), (vec![0], "to be finished"));
        assert_eq!(pages(open(1, 3, None), None), (vec![3], "to be finished"));
        assert_eq!(
            pages(open(1, 3, None), Some(u64::MAX)),
            (vec![3], "to be finished")
        );
    }

    #[test]
    fn rows_without_columns_are_counted_but_not_sent() {
        assert_eq!(pages(open(0, 5, None), Some(5)), (vec![0], "to be finished"));
        assert_eq!(pages(open(0, 5, None), Some(4)), (vec![0, 0], "to be finished"));
        assert_eq!(
            pages(open(0, 6, None), Some(2)),
            (vec![0, 0, 0], "to be finished")
        );
        assert_eq!(pages(open(0, 5, None), None), (vec![0], "to be finished"));
    }

    #[test]
    fn nothing_is_paged_before_the_execution() {
        let result = OpenResult::new(Prepared::default());
        assert!(!result.is_executed());
        assert!(matches!(result.take_page(None, |_| panic!()), AfterPage::More(_)));
    }
}
