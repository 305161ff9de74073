//! Indexes, constraints, enums and triggers.

/// Whether something is made or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SchemaAction {
    /// `CREATE`
    Create,
    /// `DROP`
    Drop,
}

/// `ON :Label(property, ..)`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The label.
    pub label: String,
    /// The properties, in order; none for a label index.
    pub properties: Vec<String>,
}

/// `ON (n:Label) ASSERT ..`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    /// The label.
    pub label: String,
    /// What holds for the nodes with that label.
    pub kind: ConstraintKind,
}

/// What a constraint demands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConstraintKind {
    /// `EXISTS (n.property)`
    Exists(String),
    /// `n.a, n.b IS UNIQUE`: no two nodes have the same values of all of these.
    Unique(Vec<String>),
}

/// A change of the enums.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnumChange {
    /// `CREATE ENUM name VALUES { values }`
    Create {
        /// The enum.
        name: String,
        /// At least one value; a repeated value is an error when it is executed.
        values: Vec<String>,
    },
    /// `ALTER ENUM name ADD VALUE value`
    AddValue {
        /// The enum.
        name: String,
        /// The new value.
        value: String,
    },
    /// `ALTER ENUM name UPDATE VALUE old TO new`: a renaming.
    UpdateValue {
        /// The enum.
        name: String,
        /// The value's present name.
        old: String,
        /// Its new name.
        new: String,
    },
    /// `ALTER ENUM name REMOVE VALUE value`: in the grammar, but refused in every release.
    RemoveValue {
        /// The enum.
        name: String,
        /// The value.
        value: String,
    },
    /// `DROP ENUM name`: in the grammar, but refused in every release.
    Drop {
        /// The enum.
        name: String,
    },
}

/// About triggers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// `CREATE TRIGGER`
    Create {
        /// The trigger.
        name: String,
        /// What sets it off; `None` means any change.
        event: Option<TriggerEvent>,
        /// When it runs.
        phase: TriggerPhase,
        /// The text after EXECUTE, which Memgraph parses when it is executed.
        statement: String,
    },
    /// `DROP TRIGGER`
    Drop {
        /// The trigger.
        name: String,
    },
    /// `SHOW TRIGGERS`
    Show,
}

/// What sets a trigger off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TriggerEvent {
    /// `ON CREATE`, `ON () CREATE`, `ON --> CREATE`
    Create(TriggerTarget),
    /// `ON UPDATE`, ...
    Update(TriggerTarget),
    /// `ON DELETE`, ...
    Delete(TriggerTarget),
}

/// Which objects a trigger looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TriggerTarget {
    /// Any.
    Any,
    /// `()`
    Node,
    /// `-->`
    Relationship,
}

/// When a trigger runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TriggerPhase {
    /// `BEFORE COMMIT`: inside of the transaction.
    BeforeCommit,
    /// `AFTER COMMIT`: in a transaction of its own.
    AfterCommit,
}
