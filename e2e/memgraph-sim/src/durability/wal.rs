//! Log files: the transactions of one epoch, in the order of their timestamps.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

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

/// A logged transaction; what is written borrows its changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LoggedTransaction<Deltas = Vec<Delta>> {
    /// MAIN's commit timestamp.
    pub(crate) timestamp: u64,
    pub(crate) deltas: Deltas,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Record<Transaction> {
    Header(WalHeader),
    Committed(Transaction),
    /// The first phase of a two-phase commit. Memgraph flips a flag in place when the second one follows;
    /// here a record is added.
    Prepared(Transaction),
    Decided {
        timestamp: u64,
    },
}

/// The record of a transaction as it is written.
type Written<'a> = Record<LoggedTransaction<&'a [Delta]>>;
/// The record of a transaction up to its timestamp.
type Head = Record<u64>;

/// Encodes the start of a log file.
pub(crate) fn header(header: &WalHeader) -> Vec<u8> {
    encode(&Record::Header(header.clone()))
}

/// Encodes a transaction; `prepared` ones count only once [`decided`] follows.
pub(crate) fn transaction(timestamp: u64, deltas: &[Delta], prepared: bool) -> Vec<u8> {
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

fn encode(record: &Written<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::append(&mut bytes, record);
    bytes
}

/// A log file. Its transactions stay encoded until they are asked for: there can be many.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wal {
    pub(crate) header: WalHeader,
    bytes: Vec<u8>,
    range: Option<(u64, u64)>,
    undecided: Option<u64>,
}

impl Wal {
    /// Reads a log file. A torn tail is left out.
    ///
    /// # Errors
    ///
    /// The file has no whole header.
    pub(crate) fn read(bytes: Vec<u8>) -> Result<Self, CorruptFile> {
        let mut records = records(&bytes);
        let Record::Header(header) = records.require::<Head>()? else {
            return Err(CorruptFile {
                what: "WAL file",
                reason: "it does not start with a header".into(),
            });
        };
        let mut range: Option<(u64, u64)> = None;
        let mut undecided = None;
        while let Some(record) = records.next::<Head>() {
            match record {
                Record::Header(_) => break,
                Record::Committed(timestamp) | Record::Prepared(timestamp) => {
                    range = Some((range.map_or(timestamp, |(first, _)| first), timestamp));
                    undecided = matches!(record, Record::Prepared(_)).then_some(timestamp);
                }
                Record::Decided { timestamp } => {
                    undecided.take_if(|open| *open == timestamp);
                }
            }
        }
        Ok(Self {
            header,
            bytes,
            range,
            undecided,
        })
    }

    /// The timestamps of the first and the last whole transaction, be they committed or not: `ReadWalInfo`
    /// (`src/storage/v2/durability/wal.cpp`) does not look at that.
    pub(crate) const fn range(&self) -> Option<(u64, u64)> {
        self.range
    }

    /// The last transaction, if it waits for its decision.
    pub(crate) const fn undecided(&self) -> Option<u64> {
        self.undecided
    }

    /// What was committed, in order.
    pub(crate) fn transactions(&self) -> impl Iterator<Item = LoggedTransaction> {
        let mut records = records(&self.bytes);
        // The header, which was there before.
        let _ = records.next::<Head>();
        Committed::new(records, |transaction: &LoggedTransaction| transaction.timestamp)
    }
}

fn records(bytes: &[u8]) -> Records<'_> {
    Records::new(bytes, "WAL file")
}

/// Those of the transactions in `records` that were committed.
struct Committed<'a, Transaction> {
    records: Records<'a>,
    timestamp: fn(&Transaction) -> u64,
    prepared: Option<Transaction>,
}

impl<'a, Transaction> Committed<'a, Transaction> {
    fn new(records: Records<'a>, timestamp: fn(&Transaction) -> u64) -> Self {
        Self {
            records,
            timestamp,
            prepared: None,
        }
    }
}

impl<Transaction: DeserializeOwned> Iterator for Committed<'_, Transaction> {
    type Item = Transaction;

    fn next(&mut self) -> Option<Transaction> {
        loop {
            match self.records.next()? {
                Record::Header(_) => return None,
                Record::Committed(transaction) => return Some(transaction),
                Record::Prepared(transaction) => self.prepared = Some(transaction),
                Record::Decided { timestamp } => {
                    let decided = |prepared: &Transaction| (self.timestamp)(prepared) == timestamp;
                    if let Some(transaction) = self.prepared.take().filter(decided) {
                        return Some(transaction);
                    }
                }
            }
        }
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
        bytes.extend(transaction(2, &deltas, false));
        bytes.extend(transaction(4, &deltas, true));
        bytes.extend(transaction(6, &deltas, true));
        bytes.extend(decided(6));
        bytes.extend(transaction(8, &deltas, true));
        assert!(Wal::read(bytes[3..].to_vec()).is_err());
        let wal = Wal::read(bytes).unwrap();
        assert_eq!(wal.header, start);
        let transactions: Vec<_> = wal.transactions().collect();
        let logged = |timestamp| LoggedTransaction {
            timestamp,
            deltas: deltas.clone(),
        };
        assert_eq!(transactions, [logged(2), logged(6)]);
        assert_eq!(wal.range(), Some((2, 8)));
        assert_eq!(wal.undecided(), Some(8));
    }
}
