//! A look at a Lease of others.

use std::time::Duration;

use tokio::time::{Instant, advance};

use super::super::{Bystander, Record, Stands, Timing};

fn bystander() -> Bystander {
    let millis = Duration::from_millis;
    Bystander::new(Timing::new(millis(2_000), millis(1_500), millis(400)).unwrap())
}

fn held(duration: u64, transitions: i32) -> Record {
    Record {
        holder: Some("a".to_owned()),
        duration: Duration::from_secs(duration),
        transitions,
        ..Record::default()
    }
}

fn given_up() -> Record {
    Record {
        duration: Duration::from_secs(1),
        ..Record::default()
    }
}

/// For how long this must be found, second after second, until nobody is known to hold it.
async fn seconds(bystander: &mut Bystander, found: Option<&Record>) -> u64 {
    let begun = Instant::now();
    while bystander.looks(found, Instant::now()) != Stands::Vacant {
        assert!(begun.elapsed() < Duration::from_secs(600));
        advance(Duration::from_secs(1)).await;
    }
    begun.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn one_that_changes_is_held_however_long_ago_the_last_look_was() {
    let mut bystander = bystander();
    for transitions in 0..20 {
        // Its last holder may have gone before the first look.
        let expected = if transitions == 0 {
            Stands::Still
        } else {
            Stands::Held
        };
        assert_eq!(
            bystander.looks(Some(&held(2, transitions)), Instant::now()),
            expected
        );
        advance(Duration::from_secs(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_change_is_waited_for() {
    assert_eq!(seconds(&mut bystander(), Some(&held(2, 0))).await, 16);
    assert_eq!(
        seconds(&mut bystander(), Some(&held(40, 0))).await,
        41,
        "as long as its holders wait"
    );
    assert_eq!(
        seconds(&mut bystander(), Some(&given_up())).await,
        16,
        "the next process is to find everything as it was"
    );
}

#[tokio::test(start_paused = true)]
async fn one_that_is_not_there_is_waited_for_as_long_as_its_holders_may_wait() {
    assert_eq!(seconds(&mut bystander(), None).await, 61);
    let mut knows = bystander();
    knows.looks(Some(&held(2, 0)), Instant::now());
    assert_eq!(seconds(&mut knows, None).await, 16);
    let mut knows = bystander();
    knows.looks(Some(&held(100, 0)), Instant::now());
    assert_eq!(seconds(&mut knows, None).await, 101);
}

/// It may have been made, held and deleted in between.
#[tokio::test(start_paused = true)]
async fn one_that_was_not_there_in_looks_far_apart_may_have_been() {
    let mut bystander = bystander();
    bystander.looks(Some(&given_up()), Instant::now());
    for _ in 0..50 {
        assert_ne!(bystander.looks(None, Instant::now()), Stands::Vacant);
        advance(Duration::from_secs(2)).await;
    }
}

/// A renewal may have come between the question and the answer, and after either.
#[tokio::test(start_paused = true)]
async fn answers_that_take_long_lengthen_the_wait() {
    let mut bystander = bystander();
    let slow = async |bystander: &mut Bystander| {
        let asked = Instant::now();
        advance(Duration::from_secs(10)).await;
        bystander.looks(Some(&held(2, 0)), asked)
    };
    assert_eq!(slow(&mut bystander).await, Stands::Still);
    assert_eq!(slow(&mut bystander).await, Stands::Still);
    assert_eq!(
        slow(&mut bystander).await,
        Stands::Still,
        "10 s between an answer and a question"
    );
    assert_eq!(slow(&mut bystander).await, Stands::Vacant);
}

#[tokio::test(start_paused = true)]
async fn whoever_takes_it_in_the_last_moment_holds_it() {
    let mut bystander = bystander();
    seconds(&mut bystander, Some(&held(2, 0))).await;
    assert_eq!(bystander.looks(Some(&held(2, 1)), Instant::now()), Stands::Held);
}
