//! Serves a few fixed queries on loopback, to try Bolt drivers against the session:
//!
//! ```sh
//! cargo run -p bolt-server --example fixed_answers -- 17687 3.12 [user:password]
//! ```
//!
//! With `BOLT_TRACE` set it prints what clients send and get, in hexadecimal digits.

mod backend;

use std::{
    error::Error,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use backend::FixedAnswers;
use bolt_server::{Session, SessionConfig, Version};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().unwrap_or_else(|| "17687".to_owned()).parse()?;
    let version: Version = arguments.next().unwrap_or_else(|| "3.12".to_owned()).parse()?;
    let user = arguments.next().and_then(|login| {
        login
            .split_once(':')
            .map(|(name, password)| (name.to_owned(), password.to_owned()))
    });

    let config = Arc::new(SessionConfig::new(
        version,
        "11111111-2222-3333-4444-555555555555",
    ));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    println!("serving on {}", listener.local_addr()?);
    for stream in listener.incoming() {
        let session = Session::new(Arc::clone(&config));
        let database = FixedAnswers::new(user.clone());
        let stream = stream?;
        thread::spawn(move || {
            if let Err(error) = serve(stream, session, database) {
                eprintln!("a connection failed: {error}");
            }
        });
    }
    Ok(())
}

fn serve(mut stream: TcpStream, mut session: Session, mut database: FixedAnswers) -> std::io::Result<()> {
    let trace = std::env::var_os("BOLT_TRACE").is_some();
    let show = |direction: &str, bytes: &[u8]| {
        if trace && !bytes.is_empty() {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            println!("{direction} {digits}");
        }
    };
    let mut buffer = vec![0; 16 << 10];
    while !session.is_closed() {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        show("C", &buffer[..count]);
        session.receive(&buffer[..count]);
        database.serve(&mut session).map_err(std::io::Error::other)?;
        let output = session.take_output();
        show("S", &output);
        stream.write_all(&output)?;
    }
    Ok(())
}
