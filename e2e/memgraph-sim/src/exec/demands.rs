//! What a WHERE demands of single properties, so that an index can be asked instead of looking at every node.

use cypher_subset::ast::{BinaryOperator, Expression};

use super::{
    Context,
    eval::{self, Scope},
};
use crate::{
    storage::Name,
    value::{Gid, Value},
};

/// Conditions `variable.key = value` that must all hold, along with others that are not here.
#[derive(Debug, Default)]
pub(super) struct Demands<'a>(Vec<Demand<'a>>);

#[derive(Debug)]
struct Demand<'a> {
    variable: &'a str,
    key: &'a str,
    value: &'a Expression,
}

impl<'a> Demands<'a> {
    /// Finds them in a condition.
    pub(super) fn of(condition: Option<&'a Expression>) -> Self {
        let mut demands = Self::default();
        demands.0.reserve(usize::from(condition.is_some()));
        demands.collect(condition);
        demands
    }

    fn collect(&mut self, condition: Option<&'a Expression>) {
        let Some(Expression::Binary {
            operator,
            left,
            right,
        }) = condition
        else {
            return;
        };
        match operator {
            BinaryOperator::And => {
                self.collect(Some(left));
                self.collect(Some(right));
            }
            BinaryOperator::Equal => {
                self.demand(left, right);
                self.demand(right, left);
            }
            _ => {}
        }
    }

    fn demand(&mut self, side: &'a Expression, value: &'a Expression) {
        if let Expression::Property { subject, key } = side
            && let Expression::Variable(variable) = &**subject
        {
            self.0.push(Demand { variable, key, value });
        }
    }

    /// The nodes among which those are that a variable can stand for, if an index knows. `row` has the variables
    /// that are bound so far.
    pub(super) fn candidates(
        &self,
        context: &Context<'_>,
        scope: &Scope,
        row: &[Value],
        variable: Option<&String>,
        labels: &[Name],
    ) -> Option<Vec<Gid>> {
        let variable = variable?;
        let demands = self.0.iter().filter(|demand| demand.variable == variable);
        demands
            .filter_map(|demand| {
                let key = context.graph.find_name(demand.key)?;
                if !is_bound(demand.value, scope, row) {
                    return None;
                }
                // What cannot be computed is left to the condition, which tells of it.
                let value = eval::value(context, scope, row, demand.value).ok()?;
                labels.iter().find_map(|label| {
                    context
                        .graph
                        .nodes_with_value(context.view(), *label, key, &value)
                })
            })
            .next()
    }
}

/// Whether an expression uses bound variables only.
fn is_bound(expression: &Expression, scope: &Scope, row: &[Value]) -> bool {
    let bound = |name: &String| scope.index(name).is_some_and(|at| at < row.len());
    match expression {
        Expression::Variable(name) => bound(name),
        other => other.children().all(|child| is_bound(child, scope, row)),
    }
}

#[cfg(test)]
mod tests {
    use bolt_server::{Map, Value as BoltValue, Version};
    use cypher_subset::ast::Statement;

    use crate::storage::{Graph, Index};

    /// Runs a query in a transaction of its own.
    fn run(graph: &mut Graph, clock: &mut u64, text: &str) -> Result<Vec<Vec<BoltValue>>, String> {
        let Statement::Query(query) = cypher_subset::parse(text, Version::default()).unwrap() else {
            panic!("{text} is no query");
        };
        let mut transaction = graph.begin(*clock);
        let parameters = crate::exec::parameters(Map::from([("id".to_owned(), 3.into())])).unwrap();
        let rows = crate::exec::execute(&query, graph, &mut transaction, &parameters, Version::default());
        *clock += 1;
        graph.commit(transaction, *clock);
        *clock += 1;
        rows.map_err(|failure| failure.message)
    }

    fn graph(indexed: bool) -> (Graph, u64) {
        let (mut graph, mut clock) = (Graph::default(), 0);
        if indexed {
            let mut transaction = graph.begin(clock);
            graph.create_index(
                &mut transaction,
                Index::LabelProperties("N".into(), vec!["id".into()]),
            );
            clock += 1;
            graph.commit(transaction, clock);
            clock += 1;
        }
        run(
            &mut graph,
            &mut clock,
            "UNWIND [1, 2, 3, 3.0, 4, 'a', null, [1], 0.0 / 0.0, true] AS id CREATE (:N {id: id, x: 7})-[:R]->(:M)",
        )
        .unwrap();
        (graph, clock)
    }

    #[test]
    fn an_index_changes_nothing_but_the_time() {
        let (mut scanned, mut clock) = graph(false);
        let (mut indexed, _) = graph(true);
        for condition in [
            "n.id = 3",
            "3 = n.id",
            "n.id = $id AND n.x = 7",
            "n.x = 7 AND (n.id = 1 + 2 AND true)",
            "n.id = 3 OR n.id = 4",
            "n.id = null",
            "n.id = [1]",
            "n.id = n.x",
            "n.id = m.id",
            "n.id = 0.0 / 0.0",
            "n.id = 1 / 0",
            "n.id = i",
            "m.x = n.id AND n.id = i",
            "NOT n.id = 3",
            "n.missing = 3",
        ] {
            let text = format!(
                "UNWIND [3, 'a', null] AS i MATCH (n:N)-[r:R]->(m) WHERE {condition} RETURN i, id(n), n.id, id(m)"
            );
            let expected = run(&mut scanned, &mut clock, &text);
            let mut now = clock;
            let found = run(&mut indexed, &mut now, &text);
            // As text, in which what is not a number equals itself.
            assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{text}");
        }
    }
}
