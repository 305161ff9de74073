//! A client with a single connection, to which it shows if that is cut.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Magic number, Bolt 4.4 and nothing else.
const HANDSHAKE: [u8; 20] = [
    0x60, 0x60, 0xB0, 0x17, 0, 0, 4, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// A Bolt connection without a user, and no other in its place.
pub struct Session(TcpStream);

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// When nobody answers there.
    pub async fn connect(at: SocketAddr) -> Result<Self> {
        let mut stream = TcpStream::connect(at).await?;
        stream.write_all(&HANDSHAKE).await?;
        let mut version = [0; 4];
        stream.read_exact(&mut version).await?;
        ensure!(version == [0, 0, 4, 4], "no Bolt 4.4: {version:?}");
        let mut session = Self(stream);
        session
            .say(b"\xb1\x01\xa2\x8auser_agent\x87session\x86scheme\x84none")
            .await?;
        Ok(session)
    }

    /// Runs a statement of at most 255 bytes, in a transaction of its own.
    ///
    /// # Errors
    /// When the connection is lost, or the answer is no success.
    pub async fn run(&mut self, statement: &str) -> Result<()> {
        let length = u8::try_from(statement.len()).context("a statement that is too long")?;
        let run = [b"\xb3\x10\xd0", &[length][..], statement.as_bytes(), b"\xa0\xa0"].concat();
        self.say(&run).await?;
        self.say(b"\xb1\x3f\xa1\x81n\xff").await
    }

    /// Says a message, and reads up to the summary of its answer, which must be a success.
    async fn say(&mut self, message: &[u8]) -> Result<()> {
        let length = u16::try_from(message.len())?.to_be_bytes();
        self.0.write_all(&[&length, message, &[0, 0]].concat()).await?;
        loop {
            let mut answer = vec![0; usize::from(self.0.read_u16().await?)];
            self.0.read_exact(&mut answer).await?;
            ensure!(self.0.read_u16().await? == 0, "an answer in several chunks");
            match answer.get(1) {
                Some(0x70) => return Ok(()),
                Some(0x71) => {}
                other => bail!("the answer is {other:x?}"),
            }
        }
    }
}
