//! Rows with moments in them, which `SHOW TRANSACTIONS` has from 3.11 on.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::memgraph::{Bolt, Neo4rsBolt, Session, quiesced};

const SOON: Duration = Duration::from_secs(10);
/// Version 4.3 of Bolt.
const VERSION: [u8; 4] = [0, 0, 3, 4];
const RUN: u8 = 0x10;
const PULL: u8 = 0x3f;

/// A text of PackStream.
fn text(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap();
    let marker = if length < 16 {
        vec![0x80 | length]
    } else {
        vec![0xd0, length]
    };
    [marker, text.as_bytes().to_vec()].concat()
}

/// SUCCESS with these fields.
fn fields() -> Vec<u8> {
    let names = [
        "username",
        "transaction_id",
        "query",
        "status",
        "metadata",
        "start_time",
        "elapsed_ms",
    ];
    let list: Vec<u8> = names.iter().flat_map(|name| text(name)).collect();
    [vec![0xb1, 0x70, 0xa1], text("fields"), vec![0x97], list].concat()
}

/// A transaction that has run `query` since a moment in the time zone `Etc/UTC`, as Bolt 4 tells it (`WriteLegacyZonedDateTime` in
/// `communication/bolt/v1/encoder/base_encoder.hpp`).
fn record(query: &str) -> Vec<u8> {
    let seconds = [vec![0xcb], 1_790_000_000_i64.to_be_bytes().to_vec()].concat();
    let nanoseconds = [vec![0xca], 123_456_000_i32.to_be_bytes().to_vec()].concat();
    let moment = [vec![0xb3, 0x66], seconds, nanoseconds, text("Etc/UTC")].concat();
    [
        vec![0xb1, 0x71, 0x97],
        text(""),
        text("9223372036854775809"),
        vec![0x91],
        text(query),
        text("running"),
        vec![0xa0],
        moment,
        vec![0x05],
    ]
    .concat()
}

fn chunk(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap();
    [&length.to_be_bytes(), message, &[0, 0]].concat()
}

/// Says that `query` is all that runs, whatever it is asked.
async fn serve(mut stream: TcpStream, query: &'static str) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 20]).await?;
    stream.write_all(&VERSION).await?;
    loop {
        let mut message = Vec::new();
        loop {
            let size = stream.read_u16().await?;
            if size == 0 && !message.is_empty() {
                break;
            }
            let mut part = vec![0; usize::from(size)];
            stream.read_exact(&mut part).await?;
            message.extend(part);
        }
        let success = vec![0xb1, 0x70, 0xa0];
        let answers = match message[1] {
            RUN => vec![fields()],
            PULL => vec![record(query), success],
            _ => vec![success],
        };
        for answer in answers {
            stream.write_all(&chunk(&answer)).await?;
        }
        stream.flush().await?;
    }
}

async fn server(query: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, query));
        }
    });
    at
}

#[tokio::test]
async fn transactions_that_tell_when_they_began_can_be_read() {
    let bolt = Neo4rsBolt::anonymous();
    let at = server("SHOW TRANSACTIONS").await;
    let rows = bolt.session(at).run("SHOW TRANSACTIONS", SOON).await.unwrap();
    assert_eq!(rows[0]["transaction_id"], "9223372036854775809");
    assert_eq!(rows[0]["status"], "running");
    quiesced(&bolt, at).await.unwrap();
    assert!(quiesced(&bolt, server("CREATE (n)").await).await.is_err());
}
