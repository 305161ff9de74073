//! A gateway's part of a session: it passes what a client and an instance say, as far as its rules let it.

use std::future::Future;

use super::stream::{Ended, Incoming, Stream};

/// The session must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut;

/// The rules by which a session's bytes are passed. They are asked before each piece of data, in both directions, and
/// end by themselves when the session must end while they let it wait.
pub trait Passage {
    /// Completes when what has just come from the client may be passed to the instance.
    fn towards_instance(&mut self) -> impl Future<Output = Result<(), Cut>>;

    /// Completes when what has just come from the instance may be passed to the client.
    fn towards_client(&mut self) -> impl Future<Output = Result<(), Cut>>;

    /// Completes when the session must end.
    fn cut(&self) -> impl Future<Output = ()>;
}

/// Which side of a session has ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The client.
    Client,
    /// The instance.
    Instance,
}

/// Passes what both sides say, until one of them has ended or the rules say so. Then both connections are reset, and
/// only after that the passage is given back. The connection to the instance may still be in the making.
///
/// Returns who has ended it, and how; `None` for a cut.
pub async fn relay<P: Passage>(
    mut client: Stream,
    mut instance: Stream,
    mut passage: P,
) -> (Option<(By, Ended)>, P) {
    client.reset_on_drop();
    instance.reset_on_drop();
    let ended = pass(&mut client, &mut instance, &mut passage).await;
    if matches!(ended, Some((_, Ended::Closed))) {
        // Both directions end in an orderly way: nothing is left to throw away.
        client.close_on_drop();
        instance.close_on_drop();
    }
    drop(client);
    drop(instance);
    (ended, passage)
}

/// What comes next, from whom.
enum Next {
    Cut,
    Client(Incoming),
    Instance(Incoming),
}

async fn pass<P: Passage>(
    client: &mut Stream,
    instance: &mut Stream,
    passage: &mut P,
) -> Option<(By, Ended)> {
    loop {
        let next = tokio::select! {
            biased;
            () = passage.cut() => Next::Cut,
            incoming = instance.next() => Next::Instance(incoming),
            incoming = client.next() => Next::Client(incoming),
        };
        match next {
            Next::Cut => return None,
            Next::Client(Incoming::Ended(ended)) => return Some((By::Client, ended)),
            Next::Instance(Incoming::Ended(ended)) => return Some((By::Instance, ended)),
            Next::Client(Incoming::Request(request)) => {
                passage.towards_instance().await.ok()?;
                instance.ask(request);
            }
            Next::Instance(Incoming::Answer(answer)) => {
                passage.towards_client().await.ok()?;
                client.answer(answer);
            }
            Next::Client(_) | Next::Instance(_) => {}
        }
    }
}
