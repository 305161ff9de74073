//! What is decided from the ledger, from MAIN's answers and from what was obeyed before.

use super::super::{Decision, decide, refusal};
use crate::{
    api::{
        ResetOutcome,
        ledger::{DataCopy, Ledger, Member, ResetOrder},
    },
    plan::observation::{Contents, Marker, Role, Sight, View},
};

pub(super) fn ledger() -> Ledger {
    let order = ResetOrder {
        instance: "demo-2".into(),
        token: "t4-r9".into(),
        term: 4,
        at: "2026-11-21T10:11:12.5Z".into(),
        ..ResetOrder::default()
    };
    Ledger {
        lineage: "l1".into(),
        term: 4,
        opened: true,
        main: DataCopy {
            instance: "demo-0".into(),
            ..DataCopy::default()
        },
        resets: vec![order],
        ..Ledger::default()
    }
}

fn outcome(ledger: &Ledger, obeyed: &[&str]) -> Option<ResetOutcome> {
    let obeyed: Vec<_> = obeyed.iter().map(|token| (*token).to_owned()).collect();
    match decide(Some(ledger), "demo-2", &obeyed) {
        Decision::Start(note) => Some(note.outcome),
        Decision::SetAside(_) => None,
    }
}

#[test]
fn an_order_is_obeyed_once_in_its_term_and_never_by_one_that_is_relied_on() {
    let member = Member {
        instance: "demo-2".into(),
        ..Member::default()
    };
    assert_eq!(outcome(&ledger(), &["t3-r1"]), None);
    assert_eq!(outcome(&ledger(), &["t3-r1", "t4-r9"]), Some(ResetOutcome::Done));
    let with = |change: &dyn Fn(&mut Ledger)| {
        let mut ledger = ledger();
        change(&mut ledger);
        outcome(&ledger, &[])
    };
    assert_eq!(with(&|l| l.term = 5), Some(ResetOutcome::Later));
    assert_eq!(
        with(&|l| l.in_sync.push(member.clone())),
        Some(ResetOutcome::Later)
    );
    assert_eq!(
        with(&|l| l.candidates.push(member.clone())),
        Some(ResetOutcome::Later)
    );
    assert_eq!(
        with(&|l| l.main.instance = "demo-2".into()),
        Some(ResetOutcome::Later)
    );
    assert_eq!(with(&|l| l.resets.clear()), Some(ResetOutcome::None));
    assert_eq!(
        with(&|l| l.resets[0].instance = "demo-1".into()),
        Some(ResetOutcome::None)
    );
    assert!(
        matches!(decide(None, "demo-2", &[]), Decision::Start(note) if note.outcome == ResetOutcome::None)
    );
}

fn main(empty: Option<bool>) -> View {
    View {
        role: Role::Main,
        registrations: Vec::new(),
        contents: Some(Contents {
            marker: Some(Marker { lineage: "l1".into() }),
        }),
        empty,
        version: "3.12.0".into(),
        storage_mode: None,
    }
}

#[test]
fn nothing_is_moved_unless_main_is_there_current_and_not_empty() {
    let order = ledger().resets.remove(0);
    let judge = |view: View, own: bool| {
        refusal(&ledger(), &order, &Sight::Serving(view), own).map(|(outcome, _)| outcome)
    };
    assert_eq!(judge(main(Some(false)), false), None);
    assert_eq!(judge(main(Some(true)), true), None, "two empty copies");
    assert_eq!(judge(main(Some(true)), false), Some(ResetOutcome::Refused));
    assert_eq!(judge(main(None), false), Some(ResetOutcome::Later));
    let kept = ResetOrder {
        preserve: true,
        ..order.clone()
    };
    let empty = Sight::Serving(main(Some(true)));
    assert_eq!(
        refusal(&ledger(), &kept, &empty, false),
        None,
        "it is kept for ever"
    );
    let mut foreign = main(Some(false));
    foreign.contents = Some(Contents {
        marker: Some(Marker {
            lineage: "lother".into(),
        }),
    });
    assert_eq!(judge(foreign, false), Some(ResetOutcome::Later));
    let replica = View {
        role: Role::Replica,
        ..main(Some(false))
    };
    assert_eq!(judge(replica, false), Some(ResetOutcome::Later));
    for contents in [None, Some(Contents { marker: None })] {
        let view = View {
            contents,
            ..main(Some(false))
        };
        assert_eq!(judge(view, false), Some(ResetOutcome::Later));
    }
    for sight in [Sight::Silent, Sight::Refused, Sight::Handshake, Sight::Unseen] {
        assert_eq!(
            refusal(&ledger(), &order, &sight, false).unwrap().0,
            ResetOutcome::Later
        );
    }
}
