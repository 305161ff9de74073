//! Statements that only tell something.

use winnow::{
    Parser,
    combinator::{alt, not, opt, preceded, separated},
};

use super::{
    Input,
    terminal::{Parsed, keyword, keywords, must, name, since, string_or, symbol},
};
use crate::{
    Version,
    ast::{
        Auth, DatabaseInfo, Durability, MultiDatabase, ReplicationInfo, Settings, Statement,
        StorageInfoScope, SystemInfo, TransactionQueue, TransactionStatus, Trigger,
    },
};

pub(super) fn statement(input: &mut Input<'_>) -> Parsed<Statement> {
    keyword("SHOW").parse_next(input)?;
    alt((
        replication.map(Statement::ReplicationInfo),
        database_info.map(Statement::DatabaseInfo),
        system_info.map(Statement::SystemInfo),
        multi_database.map(Statement::MultiDatabase),
        settings.map(Statement::Settings),
        snapshots.map(Statement::Durability),
        transactions.map(Statement::TransactionQueue),
        users.map(Statement::Auth),
        triggers.map(Statement::Trigger),
    ))
    .parse_next(input)
}

fn replication(input: &mut Input<'_>) -> Parsed<ReplicationInfo> {
    alt((
        keywords(&["REPLICATION", "ROLE"]).value(ReplicationInfo::ShowRole),
        keyword("REPLICAS").value(ReplicationInfo::ShowReplicas),
    ))
    .parse_next(input)
}

fn database_info(input: &mut Input<'_>) -> Parsed<DatabaseInfo> {
    alt((
        alt((
            keywords(&["INDEX", "INFO"]),
            since(Version::V3_5, keyword("INDEXES")),
        ))
        .value(DatabaseInfo::Indexes),
        alt((
            keywords(&["CONSTRAINT", "INFO"]),
            since(Version::V3_5, keyword("CONSTRAINTS")),
        ))
        .value(DatabaseInfo::Constraints),
        keyword("ENUMS").value(DatabaseInfo::Enums),
        alt((
            keywords(&["METRICS", "INFO"]),
            since(Version::V3_5, keyword("METRICS")),
        ))
        .value(DatabaseInfo::Metrics),
    ))
    .parse_next(input)
}

fn system_info(input: &mut Input<'_>) -> Parsed<SystemInfo> {
    alt((
        preceded(keywords(&["STORAGE", "INFO"]), storage_scope).map(SystemInfo::Storage),
        keywords(&["BUILD", "INFO"]).value(SystemInfo::Build),
        keywords(&["LICENSE", "INFO"]).value(SystemInfo::License),
        alt((
            keywords(&["ACTIVE", "USERS", "INFO"]),
            since(Version::V3_5, keywords(&["ACTIVE", "USERS"])),
        ))
        .value(SystemInfo::ActiveUsers),
        keyword("VERSION").value(SystemInfo::Version),
        keyword("CONFIG").value(SystemInfo::Config),
    ))
    .parse_next(input)
}

fn storage_scope(input: &mut Input<'_>) -> Parsed<StorageInfoScope> {
    let scope = alt((
        since(Version::V3_11, keywords(&["ON", "CURRENT", "DATABASE"]))
            .value(StorageInfoScope::CurrentDatabase),
        since(
            Version::V3_10,
            preceded(keywords(&["ON", "DATABASE"]), must(name)),
        )
        .map(StorageInfoScope::Database),
    ));
    Ok(opt(scope)
        .parse_next(input)?
        .unwrap_or(StorageInfoScope::Unqualified))
}

fn multi_database(input: &mut Input<'_>) -> Parsed<MultiDatabase> {
    alt((
        keyword("DATABASES").value(MultiDatabase::ShowAll),
        since(Version::V3_5, keywords(&["CURRENT", "DATABASE"])).value(MultiDatabase::ShowCurrent),
        // Not the start of SHOW DATABASE SETTING.
        (
            keyword("DATABASE"),
            not(alt((keyword("SETTING"), keyword("SETTINGS")))),
        )
            .value(MultiDatabase::ShowCurrent),
    ))
    .parse_next(input)
}

fn settings(input: &mut Input<'_>) -> Parsed<Settings> {
    keyword("DATABASE").parse_next(input)?;
    alt((
        keyword("SETTINGS").value(Settings::ShowAll),
        preceded(
            keyword("SETTING"),
            must(string_or("Setting name should be a string literal")),
        )
        .map(|name| Settings::Show { name }),
    ))
    .parse_next(input)
}

fn snapshots(input: &mut Input<'_>) -> Parsed<Durability> {
    alt((
        keyword("SNAPSHOTS").value(Durability::ShowSnapshots),
        since(Version::V3_5, keywords(&["NEXT", "SNAPSHOT"])).value(Durability::ShowNextSnapshot),
    ))
    .parse_next(input)
}

fn transactions(input: &mut Input<'_>) -> Parsed<TransactionQueue> {
    let status = alt((
        keyword("RUNNING").value(TransactionStatus::Running),
        keyword("COMMITTING").value(TransactionStatus::Committing),
        keyword("ABORTING").value(TransactionStatus::Aborting),
    ));
    let statuses = opt(since(Version::V3_10, separated(1.., status, symbol(",")))).parse_next(input)?;
    keyword("TRANSACTIONS").parse_next(input)?;
    Ok(TransactionQueue::Show {
        statuses: statuses.unwrap_or_default(),
    })
}

fn users(input: &mut Input<'_>) -> Parsed<Auth> {
    alt((
        (keyword("USERS"), not(keyword("FOR"))).value(Auth::ShowUsers),
        keywords(&["CURRENT", "USER"]).value(Auth::ShowCurrentUser),
    ))
    .parse_next(input)
}

fn triggers(input: &mut Input<'_>) -> Parsed<Trigger> {
    alt((
        keyword("TRIGGERS"),
        since(Version::V3_5, keywords(&["TRIGGER", "INFO"])),
    ))
    .value(Trigger::Show)
    .parse_next(input)
}
