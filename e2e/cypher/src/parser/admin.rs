//! Statements about the instance rather than the graph, besides those that only tell something.

use winnow::{
    Parser,
    combinator::{alt, opt, preceded, separated},
};

use super::{
    Input,
    terminal::{
        Parsed, integer_or, keyword, keywords, must, name, refused, since, string_or, string_or_null, symbol,
        terminal, unsupported,
    },
};
use crate::{
    Version,
    ast::{
        Auth, Durability, Instance, IsolationLevel, IsolationScope, MultiDatabase, Replication,
        ReplicationRole, Settings, Statement, StorageMode, SyncMode, TransactionQueue,
    },
    lexer::Token,
};

pub(super) fn statement(input: &mut Input<'_>) -> Parsed<Statement> {
    alt((
        replication.map(Statement::Replication),
        auth.map(Statement::Auth),
        durability.map(Statement::Durability),
        multi_database.map(Statement::MultiDatabase),
        terminate.map(Statement::TransactionQueue),
        setting.map(Statement::Settings),
        instance.map(Statement::Instance),
    ))
    .parse_next(input)
}

fn replication(input: &mut Input<'_>) -> Parsed<Replication> {
    alt((
        preceded(keywords(&["SET", "REPLICATION", "ROLE", "TO"]), must(role)).map(Replication::SetRole),
        preceded(keywords(&["REGISTER", "REPLICA"]), must(register)),
        preceded(keywords(&["DROP", "REPLICA"]), must(name)).map(|name| Replication::DropReplica { name }),
    ))
    .parse_next(input)
}

fn role(input: &mut Input<'_>) -> Parsed<ReplicationRole> {
    let main = alt((keyword("MAIN").value(true), keyword("REPLICA").value(false))).parse_next(input)?;
    let with_port = opt(keywords(&["WITH", "PORT"])).parse_next(input)?.is_some();
    match (main, with_port) {
        (true, false) => Ok(ReplicationRole::Main),
        (true, true) => Err(refused("Main can't set a port!")),
        (false, false) => Err(refused("Replica must set a port!")),
        (false, true) => {
            let port = integer_or("Port must be an integer literal!").parse_next(input)?;
            Ok(ReplicationRole::Replica { port })
        }
    }
}

fn register(input: &mut Input<'_>) -> Parsed<Replication> {
    let name = name(input)?;
    let mode = alt((
        keyword("SYNC").value(SyncMode::Sync),
        keyword("ASYNC").value(SyncMode::Async),
        since(Version::V3_5, keyword("STRICT_SYNC")).value(SyncMode::StrictSync),
    ))
    .parse_next(input)?;
    let address = preceded(
        keyword("TO"),
        string_or("Socket address should be a string literal!"),
    )
    .parse_next(input)?;
    Ok(Replication::RegisterReplica { name, mode, address })
}

const PASSWORD: &str = "Password should be a string literal or null.";

fn auth(input: &mut Input<'_>) -> Parsed<Auth> {
    alt((
        preceded(keywords(&["CREATE", "USER"]), must(create_user)),
        preceded(keywords(&["DROP", "USER"]), must(name)).map(|name| Auth::DropUser { name }),
        preceded(
            keywords(&["SET", "PASSWORD", "FOR"]),
            must((name, keyword("TO"), string_or_null(PASSWORD))),
        )
        .map(|(name, (), password)| Auth::SetPassword { name, password }),
        preceded(keywords(&["SET", "PASSWORD", "TO"]), must(change_password)),
    ))
    .parse_next(input)
}

fn create_user(input: &mut Input<'_>) -> Parsed<Auth> {
    let if_not_exists = opt(keywords(&["IF", "NOT", "EXISTS"]))
        .parse_next(input)?
        .is_some();
    let name = name(input)?;
    let password = opt(preceded(
        keywords(&["IDENTIFIED", "BY"]),
        must(string_or_null(PASSWORD)),
    ))
    .parse_next(input)?
    .flatten();
    Ok(Auth::CreateUser {
        name,
        if_not_exists,
        password,
    })
}

fn change_password(input: &mut Input<'_>) -> Parsed<Auth> {
    let new = string_or("New password should be a string literal or null.").parse_next(input)?;
    keyword("REPLACE").parse_next(input)?;
    let old = string_or("Old password should be a string literal or null.").parse_next(input)?;
    Ok(Auth::ChangePassword { new, old })
}

fn durability(input: &mut Input<'_>) -> Parsed<Durability> {
    alt((
        keywords(&["CREATE", "SNAPSHOT"]).value(Durability::CreateSnapshot),
        preceded(keywords(&["RECOVER", "SNAPSHOT"]), must(recover)),
    ))
    .parse_next(input)
}

fn recover(input: &mut Input<'_>) -> Parsed<Durability> {
    let path = string_or("Snapshot path must be a string literal.").parse_next(input)?;
    if opt(since(Version::V3_8, keywords(&["WITH", "CONFIG"])))
        .parse_next(input)?
        .is_some()
    {
        return Err(unsupported("RECOVER SNAPSHOT .. WITH CONFIG"));
    }
    let force = opt(keyword("FORCE")).parse_next(input)?.is_some();
    Ok(Durability::RecoverSnapshot { path, force })
}

fn multi_database(input: &mut Input<'_>) -> Parsed<MultiDatabase> {
    alt((
        preceded(keywords(&["USE", "DATABASE"]), must(name)).map(MultiDatabase::Use),
        preceded(keywords(&["CREATE", "DATABASE"]), must(name)).map(MultiDatabase::Create),
        (
            keywords(&["DROP", "DATABASE"]),
            must(name),
            opt(since(Version::V3_6, keyword("FORCE"))),
        )
            .map(|((), name, force)| MultiDatabase::Drop {
                name,
                force: force.is_some(),
            }),
    ))
    .parse_next(input)
}

fn terminate(input: &mut Input<'_>) -> Parsed<TransactionQueue> {
    keywords(&["TERMINATE", "TRANSACTIONS"]).parse_next(input)?;
    let id = terminal("StringLiteral", |token| match token {
        Token::String(text) => Some(text.clone()),
        Token::Integer(number) => Some(number.to_string()),
        _ => None,
    });
    let ids = must(separated(1.., id, symbol(","))).parse_next(input)?;
    Ok(TransactionQueue::Terminate { ids })
}

fn setting(input: &mut Input<'_>) -> Parsed<Settings> {
    keywords(&["SET", "DATABASE", "SETTING"]).parse_next(input)?;
    let name = must(string_or("Setting name should be a string literal")).parse_next(input)?;
    let value = must(preceded(
        keyword("TO"),
        string_or("Setting value should be a string literal"),
    ))
    .parse_next(input)?;
    Ok(Settings::Set { name, value })
}

fn instance(input: &mut Input<'_>) -> Parsed<Instance> {
    alt((
        keywords(&["FREE", "MEMORY"]).value(Instance::FreeMemory),
        keywords(&["DUMP", "DATABASE"]).value(Instance::DumpDatabase),
        preceded(keywords(&["STORAGE", "MODE"]), must(storage_mode)).map(Instance::SetStorageMode),
        keywords(&["LOCK", "DATA", "DIRECTORY"]).value(Instance::LockDataDirectory),
        keywords(&["UNLOCK", "DATA", "DIRECTORY"]).value(Instance::UnlockDataDirectory),
        keywords(&["DATA", "DIRECTORY", "LOCK", "STATUS"]).value(Instance::DataDirectoryLockStatus),
        since(
            Version::V3_10,
            keywords(&["RELOAD", "BOLT_SERVER", "TLS"]).value(Instance::ReloadBoltTls),
        ),
        since(
            Version::V3_11,
            keywords(&["RELOAD", "INTRA_CLUSTER", "TLS"]).value(Instance::ReloadClusterTls),
        ),
        isolation_level,
    ))
    .parse_next(input)
}

fn storage_mode(input: &mut Input<'_>) -> Parsed<StorageMode> {
    alt((
        keyword("IN_MEMORY_TRANSACTIONAL").value(StorageMode::InMemoryTransactional),
        keyword("IN_MEMORY_ANALYTICAL").value(StorageMode::InMemoryAnalytical),
        keyword("ON_DISK_TRANSACTIONAL").value(StorageMode::OnDiskTransactional),
    ))
    .parse_next(input)
}

fn isolation_level(input: &mut Input<'_>) -> Parsed<Instance> {
    keyword("SET").parse_next(input)?;
    let scope = alt((
        keyword("GLOBAL").value(IsolationScope::Global),
        keyword("SESSION").value(IsolationScope::Session),
        keyword("NEXT").value(IsolationScope::Next),
    ))
    .parse_next(input)?;
    keywords(&["TRANSACTION", "ISOLATION", "LEVEL"]).parse_next(input)?;
    let level = must(alt((
        keywords(&["SNAPSHOT", "ISOLATION"]).value(IsolationLevel::Snapshot),
        keywords(&["READ", "COMMITTED"]).value(IsolationLevel::ReadCommitted),
        keywords(&["READ", "UNCOMMITTED"]).value(IsolationLevel::ReadUncommitted),
    )))
    .parse_next(input)?;
    Ok(Instance::SetIsolationLevel { scope, level })
}
