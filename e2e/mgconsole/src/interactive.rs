//! Statements from a terminal, line by line, without editing and history.

use std::{
    io::{self, BufRead, Write},
    thread,
    time::{Duration, Instant},
};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::{
    Stopped,
    client::{Failure, Session},
    flags::Flags,
    input::Statements,
    output,
};

/// How soon it is tried again to connect.
const AGAIN: Duration = Duration::from_secs(1);
const PROMPT: &str = "memgraph> ";
const NEXT_LINE: &str = "       -> ";
const HELP: &str = "In interactive mode, user can enter Cypher queries and supported commands.\n\n\
    Cypher queries can span through multiple lines and conclude with a\n\
    semi-colon (;). Each query is executed in the database and the results\n\
    are printed out.\n\n\
    The following interactive commands are supported:\n\n\
    \t:help\t Print out usage for interactive mode\n\
    \t:quit\t Exit the shell\n";

/// Talks with whoever is at the terminal.
pub(crate) fn run(mut flags: Flags) -> Result<(), Stopped> {
    if !flags.username.is_empty() && flags.password.is_empty() {
        flags.password = ask_password()?.ok_or_else(|| Stopped::NoPassword(flags.username.clone()))?;
    }
    let mut session = Session::connect(&flags).map_err(Stopped::Connection)?;
    let server = format!("memgraph://{}:{}", flags.host, flags.port);
    println!("mgconsole {} (stand-in)", env!("CARGO_PKG_VERSION"));
    println!("Connected to '{server}'\nType :help for shell usage");
    println!("Quit the shell by typing Ctrl-D(eof) or :quit");
    let mut statements = Statements::new(Commands::default());
    while let Some(statement) = statements.next_with(prompt)? {
        if statement.is_empty() {
            continue;
        }
        let begin = Instant::now();
        match session.execute(&statement) {
            Ok(answer) => {
                let seconds = begin.elapsed().as_secs_f64();
                output::write(&mut io::stdout().lock(), &answer, &flags)?;
                let set = match answer.rows.len() {
                    0 => "Empty set".to_owned(),
                    1 => "1 row in set".to_owned(),
                    rows => format!("{rows} rows in set"),
                };
                println!("{set} (round trip in {seconds:.3} sec)");
            }
            Err(Failure::Query(reason)) => println!("Client received query exception: {reason}"),
            Err(Failure::Connection(reason)) => {
                println!("Client received connection exception: {reason}");
                println!("Whether the statement was carried out is not known: look before it is repeated.");
                println!("Trying to reconnect...");
                session = reconnect(&flags)?;
                println!("Connected to '{server}'");
            }
        }
    }
    println!("Bye");
    Ok(())
}

/// Connects again to whoever takes the place of the one that has gone, for as long as [`Flags::patience`] lasts.
fn reconnect(flags: &Flags) -> Result<Session, Stopped> {
    let limit = Instant::now() + flags.patience;
    loop {
        match Session::connect(flags) {
            Ok(session) => return Ok(session),
            Err(Failure::Connection(_)) if Instant::now() < limit => thread::sleep(AGAIN),
            Err(failure) => return Err(Stopped::Connection(failure)),
        }
    }
}

fn prompt(first: bool) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(if first { PROMPT } else { NEXT_LINE }.as_bytes())?;
    output.flush()
}

/// Lines from the terminal. Those with commands are carried out and not passed on.
#[derive(Default)]
struct Commands {
    line: Vec<u8>,
    read: usize,
}

impl Commands {
    fn fill(&mut self) -> io::Result<()> {
        self.line.clear();
        self.read = 0;
        io::stdin().lock().read_until(b'\n', &mut self.line)?;
        if self.line.first() == Some(&b':') {
            let command = String::from_utf8_lossy(&self.line).trim().to_owned();
            // An empty line is not part of a statement.
            self.line = b"\n".to_vec();
            match command.as_str() {
                ":quit" => self.line.clear(),
                ":help" => println!("{HELP}"),
                _ => println!("Unsupported command: {command}\n{HELP}"),
            }
        }
        Ok(())
    }
}

impl io::Read for Commands {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = io::Read::read(&mut self.fill_buf()?, buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Commands {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.read == self.line.len() {
            self.fill()?;
        }
        Ok(&self.line[self.read..])
    }

    fn consume(&mut self, amount: usize) {
        self.read += amount;
    }
}

/// Reads a line without showing it.
fn ask_password() -> io::Result<Option<String>> {
    let mut output = io::stdout().lock();
    output.write_all(b"Password: ")?;
    output.flush()?;
    let shown = tcgetattr(io::stdin())?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(io::stdin(), OptionalActions::Now, &hidden)?;
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    tcsetattr(io::stdin(), OptionalActions::Now, &shown)?;
    writeln!(output)?;
    Ok((read? > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned()))
}
