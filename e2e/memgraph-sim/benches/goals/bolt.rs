//! A light Bolt 4.4 client: it sends RUN and PULL in one packet, as drivers do for auto-commit transactions.

use anyhow::{Context as _, bail};
use bolt_server::{
    Map, Value,
    packstream::{Decoder, Encoder, Structures},
};
use bytes::{Buf, BufMut, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const HANDSHAKE: [u8; 20] = [
    0x60, 0x60, 0xB0, 0x17, 0, 0, 4, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

mod signature {
    pub(super) const HELLO: u8 = 0x01;
    pub(super) const RUN: u8 = 0x10;
    pub(super) const PULL: u8 = 0x3F;
    pub(super) const SUCCESS: u8 = 0x70;
    pub(super) const RECORD: u8 = 0x71;
}

/// A connection that waits for queries.
pub struct Client {
    stream: TcpStream,
    input: BytesMut,
    message: BytesMut,
    output: BytesMut,
}

impl Client {
    /// Connects to a port of this machine and says hello.
    pub async fn connect(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let mut client = Self {
            stream,
            input: BytesMut::with_capacity(16 * 1024),
            message: BytesMut::with_capacity(1024),
            output: BytesMut::with_capacity(1024),
        };
        client.stream.write_all(&HANDSHAKE).await?;
        let mut chosen = [0; 4];
        client.stream.read_exact(&mut chosen).await?;
        anyhow::ensure!(
            chosen == [0, 0, 4, 4],
            "the server does not speak Bolt 4.4 but {chosen:?}"
        );
        let hello = Map::from([("user_agent".to_owned(), "bench-sim".into())]);
        client.put(signature::HELLO, 1, |encoder| encoder.map(&hello));
        client.send().await?;
        client.success().await?;
        Ok(client)
    }

    /// Runs a statement, whose rows come back.
    pub async fn query(&mut self, text: &str, parameters: &Map) -> anyhow::Result<Vec<Vec<Value>>> {
        self.put_query(text, parameters);
        self.send().await?;
        self.success().await.with_context(|| text.to_owned())?;
        let mut rows = Vec::new();
        loop {
            let message = self.receive().await?;
            if message.get(1) != Some(&signature::RECORD) {
                check(&message).with_context(|| text.to_owned())?;
                return Ok(rows);
            }
            rows.push(Decoder::new(&message[2..], Structures::Legacy).list()?);
        }
    }

    /// Runs a statement that returns nothing, and waits until both parts are acknowledged.
    pub async fn execute(&mut self, text: &str, parameters: &Map) -> anyhow::Result<()> {
        self.put_query(text, parameters);
        self.send().await?;
        self.success().await?;
        self.success().await
    }

    fn put_query(&mut self, text: &str, parameters: &Map) {
        self.put(signature::RUN, 3, |encoder| {
            encoder.value(&text.into());
            encoder.map(parameters);
            encoder.map(&Map::new());
        });
        let all = Map::from([("n".to_owned(), (-1).into())]);
        self.put(signature::PULL, 1, |encoder| encoder.map(&all));
    }

    fn put(&mut self, signature: u8, fields: u8, body: impl FnOnce(&mut Encoder<'_>)) {
        self.message.clear();
        let mut encoder = Encoder::new(&mut self.message, Structures::Legacy);
        encoder.structure(signature, fields);
        body(&mut encoder);
        for chunk in self.message.chunks(0xFFFF) {
            // A chunk is no longer than its length field can say.
            self.output.put_u16(chunk.len() as u16);
            self.output.put_slice(chunk);
        }
        self.output.put_u16(0);
    }

    async fn send(&mut self) -> anyhow::Result<()> {
        self.stream.write_all(&self.output).await?;
        self.output.clear();
        Ok(())
    }

    async fn success(&mut self) -> anyhow::Result<()> {
        let message = self.receive().await?;
        check(&message)
    }

    /// The next message. The server's messages are short, so that each is one chunk.
    async fn receive(&mut self) -> anyhow::Result<BytesMut> {
        loop {
            if let Some(message) = self.next_message()? {
                return Ok(message);
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                bail!("the server closed the connection");
            }
        }
    }

    fn next_message(&mut self) -> anyhow::Result<Option<BytesMut>> {
        let Some(head) = self.input.first_chunk::<2>() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes(*head));
        let Some(end) = self.input.get(2 + length..4 + length) else {
            return Ok(None);
        };
        anyhow::ensure!(end == [0, 0], "a message of several chunks");
        self.input.advance(2);
        let message = self.input.split_to(length);
        self.input.advance(2);
        Ok(Some(message))
    }
}

fn check(message: &[u8]) -> anyhow::Result<()> {
    match message {
        [_, signature::SUCCESS, ..] => Ok(()),
        [_, _, metadata @ ..] => {
            let metadata = Decoder::new(metadata, Structures::Legacy).map();
            bail!("the server refused: {metadata:?}")
        }
        _ => bail!("an empty message"),
    }
}
