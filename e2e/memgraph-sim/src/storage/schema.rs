//! Indexes, constraints and enums.

use serde::{Deserialize, Serialize};

/// An index that a user created.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Index {
    Label(String),
    LabelProperties(String, Vec<String>),
    RelationshipType(String),
    RelationshipTypeProperty(String, String),
}

impl Index {
    /// What Memgraph's errors call it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Label(_) => "label index",
            Self::LabelProperties(..) => "label property index",
            Self::RelationshipType(_) => "edge-type index",
            Self::RelationshipTypeProperty(..) => "edge-type + property index",
        }
    }
}

/// A constraint that a user created.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Constraint {
    Exists(String, String),
    Unique(String, Vec<String>),
}

impl Constraint {
    /// What Memgraph's errors call it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Exists(..) => "existence constraint",
            Self::Unique(..) => "unique constraint",
        }
    }
}

/// A logged change of the schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SchemaChange {
    CreateIndex(Index),
    DropIndex(Index),
    CreateConstraint(Constraint),
    DropConstraint(Constraint),
    CreateEnum { name: String, values: Vec<String> },
    AddEnumValue { name: String, value: String },
    RenameEnumValue { name: String, from: String, to: String },
}

/// An enum type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EnumType {
    pub(crate) name: String,
    pub(crate) values: Vec<String>,
}

/// Why an enum could not be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EnumError {
    TypeExists,
    DuplicateValue,
    UnknownType,
    UnknownValue,
}

/// The schema of a database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Schema {
    pub(crate) indexes: Vec<Index>,
    pub(crate) constraints: Vec<Constraint>,
    /// In the order in which they were created.
    pub(crate) enums: Vec<EnumType>,
}

impl Schema {
    /// Creates an enum.
    pub(crate) fn create_enum(&mut self, name: &str, values: &[String]) -> Result<(), EnumError> {
        if self.enums.iter().any(|known| known.name == name) {
            return Err(EnumError::TypeExists);
        }
        if values
            .iter()
            .enumerate()
            .any(|(at, value)| values[..at].contains(value))
        {
            return Err(EnumError::DuplicateValue);
        }
        self.enums.push(EnumType {
            name: name.to_owned(),
            values: values.to_vec(),
        });
        Ok(())
    }

    /// Adds a value to an enum.
    pub(crate) fn add_enum_value(&mut self, name: &str, value: &str) -> Result<(), EnumError> {
        let known = self.enum_mut(name)?;
        if known.values.iter().any(|known| known == value) {
            return Err(EnumError::DuplicateValue);
        }
        known.values.push(value.to_owned());
        Ok(())
    }

    /// Renames a value of an enum.
    pub(crate) fn rename_enum_value(&mut self, name: &str, from: &str, to: &str) -> Result<(), EnumError> {
        let known = self.enum_mut(name)?;
        if known.values.iter().any(|value| value == to) {
            return Err(EnumError::DuplicateValue);
        }
        let value = known
            .values
            .iter_mut()
            .find(|value| *value == from)
            .ok_or(EnumError::UnknownValue)?;
        *value = to.to_owned();
        Ok(())
    }

    /// Whether `name::value` exists.
    pub(crate) fn has_enum_value(&self, name: &str, value: &str) -> bool {
        self.enums
            .iter()
            .any(|known| known.name == name && known.values.iter().any(|known| known == value))
    }

    fn enum_mut(&mut self, name: &str) -> Result<&mut EnumType, EnumError> {
        self.enums
            .iter_mut()
            .find(|known| known.name == name)
            .ok_or(EnumError::UnknownType)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enum_values_are_renamed_in_place() {
        let mut schema = Schema::default();
        schema.create_enum("E", &["a".into(), "b".into()]).unwrap();
        schema.rename_enum_value("E", "a", "c").unwrap();
        assert_eq!(schema.enums[0].values, ["c", "b"]);
        assert_eq!(
            schema.rename_enum_value("E", "a", "d"),
            Err(EnumError::UnknownValue)
        );
        assert_eq!(
            schema.rename_enum_value("E", "c", "b"),
            Err(EnumError::DuplicateValue)
        );
        assert_eq!(schema.add_enum_value("F", "x"), Err(EnumError::UnknownType));
        assert_eq!(schema.create_enum("E", &[]), Err(EnumError::TypeExists));
        assert_eq!(
            schema.create_enum("G", &["x".into(), "x".into()]),
            Err(EnumError::DuplicateValue)
        );
    }
}
