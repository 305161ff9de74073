use super::*;
use crate::value::Value;

/// Commits and begins at growing timestamps, as the engine does.
struct Clock(u64);

impl Clock {
    fn tick(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

#[test]
fn committed_nodes_are_seen_by_later_transactions_only() {
    let (mut graph, mut clock) = (Graph::default(), Clock(0));
    let mut writer = graph.begin(clock.tick());
    let reader = graph.begin(clock.tick());
    let gid = graph.create_node(&mut writer);
    graph.add_label(&mut writer, gid, "A").unwrap();
    let at = clock.tick();
    graph.commit(writer, at);
    assert!(graph.node(reader.view, gid).is_none());
    let later = graph.begin(clock.tick());
    let label = graph.find_name("A").unwrap();
    assert_eq!(graph.nodes_with_label(later.view, label), [gid]);
    assert!(graph.nodes_with_label(reader.view, label).is_empty());
}

#[test]
fn aborted_transactions_leave_nothing_but_enums() {
    let (mut graph, mut clock) = (Graph::default(), Clock(0));
    let mut txn = graph.begin(clock.tick());
    let gid = graph.create_node(&mut txn);
    let other = graph.create_node(&mut txn);
    graph.create_relationship(&mut txn, "R", gid, other).unwrap();
    graph.create_index(&mut txn, Index::Label("A".into()));
    let change = SchemaChange::CreateEnum {
        name: "E".into(),
        values: vec!["a".into()],
    };
    graph.change_enum(&mut txn, change).unwrap();
    graph.abort(txn);
    assert_eq!(graph.counts(), (0, 0));
    assert!(graph.schema().indexes.is_empty());
    assert_eq!(graph.schema().enums.len(), 1, "Memgraph does not undo enums");
}

#[test]
fn nodes_with_relationships_are_not_deleted() {
    let (mut graph, mut clock) = (Graph::default(), Clock(0));
    let mut txn = graph.begin(clock.tick());
    let gid = graph.create_node(&mut txn);
    let relationship = graph.create_relationship(&mut txn, "R", gid, gid).unwrap();
    assert_eq!(
        graph.delete_node(&mut txn, gid),
        Err(WriteError::HasRelationships)
    );
    graph.delete_relationship(&mut txn, relationship).unwrap();
    graph.delete_node(&mut txn, gid).unwrap();
    assert_eq!(txn.deltas.len(), 4);
    graph.commit(txn, clock.tick());
    assert_eq!(graph.counts(), (0, 0));
}

#[test]
fn unique_constraints_hold_over_transactions() {
    let (mut graph, mut clock) = (Graph::default(), Clock(0));
    let create = |graph: &mut Graph, clock: &mut Clock, id: i64| {
        let mut txn = graph.begin(clock.tick());
        let gid = graph.create_node(&mut txn);
        graph.add_label(&mut txn, gid, "A").unwrap();
        graph
            .set_node_property(&mut txn, gid, "id", Value::Int(id))
            .unwrap();
        (txn, gid)
    };
    let (first, gid) = create(&mut graph, &mut clock, 1);
    graph.commit(first, clock.tick());
    let mut txn = graph.begin(clock.tick());
    let unique = Constraint::Unique("A".into(), vec!["id".into()]);
    assert_eq!(
        graph.create_constraint(&mut txn, unique.clone()),
        Ok(SchemaOutcome::Changed)
    );
    graph.commit(txn, clock.tick());
    let (second, _) = create(&mut graph, &mut clock, 1);
    assert_eq!(graph.check_constraints(&second), Err(Violation(unique)));
    graph.abort(second);
    // Two nodes may swap their values within a transaction.
    let (mut swap, other) = create(&mut graph, &mut clock, 1);
    graph
        .set_node_property(&mut swap, gid, "id", Value::Int(2))
        .unwrap();
    assert_eq!(graph.check_constraints(&swap), Ok(()));
    graph.commit(swap, clock.tick());
    let view = graph.begin(clock.tick()).view;
    let (label, key) = (graph.find_name("A").unwrap(), graph.find_name("id").unwrap());
    assert_eq!(
        graph.nodes_with_value(view, label, key, &Value::Int(1)),
        Some(vec![other])
    );
    assert_eq!(
        graph.nodes_with_value(view, label, key, &Value::Int(2)),
        Some(vec![gid])
    );
}

#[test]
fn repeating_the_deltas_gives_the_same_graph() {
    let (mut graph, mut copy, mut clock) = (Graph::default(), Graph::default(), Clock(0));
    let mut txn = graph.begin(clock.tick());
    let gid = graph.create_node(&mut txn);
    graph.add_label(&mut txn, gid, "A").unwrap();
    let other = graph.create_node(&mut txn);
    let relationship = graph.create_relationship(&mut txn, "R", gid, other).unwrap();
    graph
        .set_relationship_property(&mut txn, relationship, "p", Value::Float(0.5))
        .unwrap();
    let mut repeated = copy.begin(1);
    for delta in txn.deltas.clone() {
        copy.apply(&mut repeated, delta).unwrap();
    }
    assert_eq!(repeated.deltas, txn.deltas);
    graph.commit(txn, clock.tick());
    copy.commit(repeated, 2);
    let (mine, theirs) = (graph.begin(clock.tick()).view, copy.begin(3).view);
    assert!(graph.node_records(mine).eq(copy.node_records(theirs)));
    assert!(
        graph
            .relationship_records(mine)
            .eq(copy.relationship_records(theirs))
    );
}
