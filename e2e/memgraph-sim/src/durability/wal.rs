//! Log files: the transactions of one epoch, in the order of their timestamps.

use serde::{Deserialize, Serialize};

use super::frame::{self, CorruptFile, Records};
use crate::{ident::Uuid, storage::Delta};

/// The first record of a log file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WalHeader {
    /// The database that it belongs to.
    pub(crate) database: Uuid,
    /// The epoch of all its transactions.
    pub(crate) epoch: Uuid,
    /// Grows by one with each file; a gap means that a file is missing.
    pub(crate) sequence: u64,
}

/// A logged transaction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LoggedTransaction {
    /// MAIN's commit timestamp.
    pub(crate) timestamp: u64,
    pub(crate) deltas: Vec<Delta>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Record {
    Header(WalHeader),
    Committed(LoggedTransaction),
    /// The first phase of a two-phase commit. Memgraph flips a flag in place when the second one follows;
    /// here a record is added.
    Prepared(LoggedTransaction),
    Decided {
        timestamp: u64,
    },
}

/// Encodes the start of a log file.
pub(crate) fn header(header: &WalHeader) -> Vec<u8> {
    encode(&Record::Header(header.clone()))
}

/// Encodes a transaction; `prepared` ones count only once [`decided`] follows.
pub(crate) fn transaction(timestamp: u64, deltas: Vec<Delta>, prepared: bool) -> Vec<u8> {
    let transaction = LoggedTransaction { timestamp, deltas };
    encode(&if prepared {
        Record::Prepared(transaction)
    } else {
        Record::Committed(transaction)
    })
}

/// Encodes the decision to commit a prepared transaction.
pub(crate) fn decided(timestamp: u64) -> Vec<u8> {
    encode(&Record::Decided { timestamp })
}

fn encode(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::append(&mut bytes, record);
    bytes
}

/// The content of a log file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wal {
    pub(crate) header: WalHeader,
    /// Only what was committed.
    pub(crate) transactions: Vec<LoggedTransaction>,
}

impl Wal {
    /// Reads a log file. A torn tail and undecided transactions are left out.
    ///
    /// # Errors
    ///
    /// The file has no whole header.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, CorruptFile> {
        let mut records = Records::new(bytes, "WAL file");
        let Record::Header(header) = records.require()? else {
            return Err(CorruptFile {
                what: "WAL file",
                reason: "it does not start with a header".into(),
            });
        };
        let mut transactions = Vec::new();
        let mut prepared: Option<LoggedTransaction> = None;
        while let Some(record) = records.next() {
            match record {
                Record::Header(_) => break,
                Record::Committed(transaction) => transactions.push(transaction),
                Record::Prepared(transaction) => prepared = Some(transaction),
                Record::Decided { timestamp } => {
                    transactions.extend(prepared.take().filter(|it| it.timestamp == timestamp));
                }
            }
        }
        Ok(Self { header, transactions })
    }

    /// The timestamps of the first and the last transaction.
    pub(crate) fn range(&self) -> Option<(u64, u64)> {
        Some((
            self.transactions.first()?.timestamp,
            self.transactions.last()?.timestamp,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Gid;

    fn uuid(byte: u8) -> Uuid {
        use rand::SeedableRng;
        Uuid::random(&mut rand::rngs::StdRng::seed_from_u64(byte.into()))
    }

    #[test]
    fn undecided_transactions_do_not_count() {
        let start = WalHeader {
            database: uuid(1),
            epoch: uuid(2),
            sequence: 3,
        };
        let deltas = vec![Delta::CreateNode { gid: Gid(1) }];
        let mut bytes = header(&start);
        bytes.extend(transaction(2, deltas.clone(), false));
        bytes.extend(transaction(4, deltas.clone(), true));
        bytes.extend(transaction(6, deltas.clone(), true));
        bytes.extend(decided(6));
        bytes.extend(transaction(8, deltas, true));
        let wal = Wal::read(&bytes).unwrap();
        assert_eq!(wal.header, start);
        assert_eq!(
            wal.transactions.iter().map(|it| it.timestamp).collect::<Vec<_>>(),
            [2, 6]
        );
        assert_eq!(wal.range(), Some((2, 6)));
        assert!(Wal::read(&bytes[3..]).is_err());
    }
}
