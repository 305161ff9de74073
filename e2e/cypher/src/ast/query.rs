//! Clauses over the graph.

use super::Expression;

/// A chain of clauses.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// At least one clause.
    pub clauses: Vec<Clause>,
}

/// One clause.
#[derive(Debug, Clone, PartialEq)]
pub enum Clause {
    /// `MATCH`, `OPTIONAL MATCH`
    Match {
        /// A row without a match is kept, with nulls.
        optional: bool,
        /// At least one part; all must match.
        patterns: Vec<PatternPart>,
        /// `WHERE`
        filter: Option<Expression>,
    },
    /// `UNWIND list AS variable`
    Unwind {
        /// What gives one row per element.
        list: Expression,
        /// Name of the element.
        variable: String,
    },
    /// `CREATE`
    Create {
        /// At least one part.
        patterns: Vec<PatternPart>,
    },
    /// `MERGE`
    Merge(Merge),
    /// `SET`
    Set(Vec<SetItem>),
    /// `REMOVE`
    Remove(Vec<RemoveItem>),
    /// `DELETE`, `DETACH DELETE`
    Delete {
        /// Delete the relationships of a node, too.
        detach: bool,
        /// Nodes and relationships.
        targets: Vec<Expression>,
    },
    /// `WITH`
    With {
        /// What the following clauses see.
        projection: Projection,
        /// `WHERE`, on the projected rows.
        filter: Option<Expression>,
    },
    /// `RETURN`
    Return(Projection),
}

/// `MERGE pattern ON CREATE SET .. ON MATCH SET ..`
#[derive(Debug, Clone, PartialEq)]
pub struct Merge {
    /// What is found or else created as a whole.
    pub pattern: PatternPart,
    /// Run when it was created.
    pub on_create: Vec<SetItem>,
    /// Run when it was found.
    pub on_match: Vec<SetItem>,
}

/// What RETURN and WITH hand on.
#[derive(Debug, Clone, PartialEq)]
pub struct Projection {
    /// `DISTINCT`
    pub distinct: bool,
    /// `*`: all variables in scope, before the items.
    pub all_variables: bool,
    /// The items; at least one unless `all_variables`.
    pub items: Vec<ProjectionItem>,
    /// `ORDER BY`
    pub order_by: Vec<SortItem>,
    /// `SKIP`
    pub skip: Option<Expression>,
    /// `LIMIT`
    pub limit: Option<Expression>,
}

/// One column.
#[derive(Debug, Clone, PartialEq)]
pub struct ProjectionItem {
    /// Its value.
    pub expression: Expression,
    /// Its name: the alias, or else the expression's text as written.
    pub name: String,
    /// Whether the name is an alias.
    pub aliased: bool,
}

/// One sort key.
#[derive(Debug, Clone, PartialEq)]
pub struct SortItem {
    /// The key.
    pub expression: Expression,
    /// Its direction.
    pub order: SortOrder,
}

/// The direction of a sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SortOrder {
    /// `ASC`
    #[default]
    Ascending,
    /// `DESC`
    Descending,
}

/// A node, or two nodes and the relationship between them.
#[derive(Debug, Clone, PartialEq)]
pub struct PatternPart {
    /// `name =` before the pattern: the whole of it as a path.
    pub path: Option<String>,
    /// The first node of the text.
    pub start: NodePattern,
    /// The relationship and the second node.
    pub hop: Option<Hop>,
}

/// From one node of a pattern to the next.
#[derive(Debug, Clone, PartialEq)]
pub struct Hop {
    /// The relationship.
    pub relationship: RelationshipPattern,
    /// The node behind it.
    pub end: NodePattern,
}

/// `(variable:Label {key: value})`
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NodePattern {
    /// The node's name, if it has one.
    pub variable: Option<String>,
    /// Labels that it must have.
    pub labels: Vec<String>,
    /// Properties that it must have.
    pub properties: Option<Properties>,
}

/// `-[variable:TYPE|OTHER {key: value}]->`
#[derive(Debug, Clone, PartialEq)]
pub struct RelationshipPattern {
    /// The relationship's name, if it has one.
    pub variable: Option<String>,
    /// Types of which it must have one; none means any.
    pub types: Vec<String>,
    /// Which way it points.
    pub direction: Direction,
    /// Properties that it must have.
    pub properties: Option<Properties>,
}

/// Which way a relationship of a pattern points, in the order of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// `-->`
    Right,
    /// `<--`
    Left,
    /// `--` and `<-->`
    Either,
}

/// The properties of a pattern.
#[derive(Debug, Clone, PartialEq)]
pub enum Properties {
    /// `{key: value}`
    Map(Vec<(String, Expression)>),
    /// `$name`: a map given as a parameter.
    Parameter(String),
}

/// One item of SET.
#[derive(Debug, Clone, PartialEq)]
pub enum SetItem {
    /// `subject.key = value`
    Property {
        /// Mostly a variable.
        subject: Expression,
        /// The property's name.
        key: String,
        /// Its new value; null removes it.
        value: Expression,
    },
    /// `variable = value`: exactly these properties.
    Replace {
        /// A node or relationship.
        variable: String,
        /// A map, node or relationship.
        value: Expression,
    },
    /// `variable += value`: these properties besides the others.
    Update {
        /// A node or relationship.
        variable: String,
        /// A map, node or relationship.
        value: Expression,
    },
    /// `variable:Label:Other`
    Labels {
        /// A node.
        variable: String,
        /// At least one label.
        labels: Vec<String>,
    },
}

/// One item of REMOVE.
#[derive(Debug, Clone, PartialEq)]
pub enum RemoveItem {
    /// `subject.key`
    Property {
        /// Mostly a variable.
        subject: Expression,
        /// The property's name.
        key: String,
    },
    /// `variable:Label:Other`
    Labels {
        /// A node.
        variable: String,
        /// At least one label.
        labels: Vec<String>,
    },
}
