//! In which order sessions get their turn.

use std::{num::NonZero, thread::available_parallelism};

use tokio::runtime::Builder;

/// How many tasks have their turn before the system is asked again who has something to say, unless all have had it before.
///
/// More than there are sessions, so that all have had it. With tokio's own 61, and threads that take work from each other, those
/// that were told of last wait in a second queue, while the first one, which holds 256, is filled again and again: of 1000 sessions
/// that always have something to say some waited for 150 ms, and most for 5. It also means that whoever yields lets all others go
/// first.
const TURNS: u32 = 16 * 1024;

/// The runtime that a gateway is to run in. On one processor it has one thread for everything, which costs less for each request;
/// on more it has one for each.
#[must_use]
pub fn runtime() -> Builder {
    with_threads(available_parallelism().map_or(1, NonZero::get))
}

fn with_threads(threads: usize) -> Builder {
    let mut builder = match threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.enable_all().event_interval(TURNS);
    builder
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tokio::{net::UnixStream, task::yield_now};

    use super::*;
    use crate::gateway::descriptors;

    const SESSIONS: usize = 1000;
    const TURNS_OF_EACH: usize = 20;

    /// Has something to say to itself all the time, which only the system can tell it.
    async fn talk(turns: Arc<AtomicUsize>) {
        let (said, heard) = UnixStream::pair().unwrap();
        loop {
            said.writable().await.unwrap();
            said.try_write(&[0]).unwrap();
            heard.readable().await.unwrap();
            // Up to the read that finds nothing, so that the next event is waited for.
            while heard.try_read(&mut [0; 8]).is_ok() {}
            turns.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn nobody_has_many_turns_before_all_others_have_had_one() {
        descriptors::raise_limit();
        // The threads that take work from each other are one, too, so that all sessions are its.
        for (threads, workers) in [(1, 1), (2, 1)] {
            let runtime = with_threads(threads).worker_threads(workers).build().unwrap();
            let sessions: Vec<_> = (0..SESSIONS).map(|_| Arc::new(AtomicUsize::new(0))).collect();
            let had = || sessions.iter().map(|turns| turns.load(Ordering::Relaxed));
            runtime.block_on(async {
                for turns in &sessions {
                    tokio::spawn(talk(Arc::clone(turns)));
                }
                while had().sum::<usize>() < SESSIONS * TURNS_OF_EACH {
                    yield_now().await;
                }
            });
            runtime.shutdown_background();
            assert!(
                had().min().unwrap() >= TURNS_OF_EACH / 2,
                "{threads} threads: {:?}",
                had().collect::<Vec<_>>()
            );
        }
    }
}
