//! What extends a grant while neither a leader nor the API server answers.

use super::*;
use crate::api::ledger::Member;

const PROCESSES: [&str; 2] = ["operator-0", "operator-1"];

pub(super) fn voucher(process: usize, nonce: u64) -> Voucher {
    Voucher {
        nonce,
        operator: PROCESSES[process].to_owned(),
    }
}

/// What one of the two processes grants with; no replica is in sync.
pub(super) fn named_by(process: usize) -> Failsafe {
    Failsafe {
        by: PROCESSES[process].to_owned(),
        operators: PROCESSES.map(str::to_owned).to_vec(),
        members: Vec::new(),
    }
}

fn member() -> Member {
    Member {
        instance: "demo-1".to_owned(),
        generation: 3,
        ..Member::default()
    }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Granted at this moment by the first process, with one replica in sync.
fn granted_at(now: Duration) -> Holder {
    let mut holder = holder();
    let failsafe = Failsafe {
        members: vec![MemberPort {
            copy: member().copy(),
            address: "10.0.0.11:10000".parse().unwrap(),
        }],
        ..named_by(0)
    };
    let ledger = Ledger {
        in_sync: vec![member()],
        ..ledger()
    };
    let issuing = Issuing {
        failsafe: Some(failsafe),
        ..issuing(&ledger)
    };
    let grant = issue(issuing, &response(&mut holder, now)).unwrap();
    holder.accept(&grant, now).unwrap();
    holder
}

fn vouch(holder: &mut Holder, process: usize, sent: Duration, heard: Duration) {
    let nonce = holder.nonce(sent);
    holder.vouched(CLUSTER, &voucher(process, nonce), heard);
}

/// The replica and MAIN are there.
fn attest(holder: &mut Holder, now: Duration) {
    holder.attested(7, now, now);
    holder.heard(7, now);
}

fn until(holder: &Holder, now: Duration) -> Option<Duration> {
    holder.permit(now).map(|permit| permit.until)
}

#[test]
fn the_word_of_all_processes_extends_a_grant_from_the_oldest_of_the_nonces() {
    let mut holder = granted_at(secs(100));
    attest(&mut holder, secs(103));
    vouch(&mut holder, 1, secs(102), secs(103));
    assert_eq!(
        until(&holder, secs(103)),
        Some(secs(104)),
        "the first one has said nothing since"
    );
    vouch(&mut holder, 0, secs(101), secs(103));
    let permit = holder.permit(secs(103)).unwrap();
    assert_eq!((permit.until, permit.free_until), (secs(105), secs(104)));
    assert!(!holder.held(secs(103)).unwrap().failsafe);
    assert!(holder.held(millis(104_500)).unwrap().failsafe);
    assert_eq!(until(&holder, secs(105)), None);
}

#[test]
fn whatever_is_missing_it_is_not_extended() {
    let times = [secs(101), secs(102), secs(103)];
    for missing in 0..4 {
        let mut holder = granted_at(secs(100));
        for at in times {
            let parts: [&dyn Fn(&mut Holder); 4] = [
                &|holder| vouch(holder, 0, at, at),
                &|holder| vouch(holder, 1, at, at),
                &|holder| holder.attested(7, at, at),
                &|holder| holder.heard(7, at),
            ];
            for (number, part) in parts.iter().enumerate() {
                if number != missing {
                    part(&mut holder);
                }
            }
        }
        // The word of the process that granted is known from then.
        assert_eq!(until(&holder, secs(103)), Some(secs(104)), "{missing}");
        assert_eq!(until(&holder, secs(104)), None, "{missing}");
    }
}

#[test]
fn the_word_of_somebody_else_or_for_another_nonce_or_cluster_counts_for_nothing() {
    let mut holder = granted_at(secs(100));
    attest(&mut holder, secs(103));
    vouch(&mut holder, 0, secs(103), secs(103));
    let nonce = holder.nonce(secs(103));
    let stranger = Voucher {
        nonce,
        operator: "operator-2".to_owned(),
    };
    holder.vouched(CLUSTER, &stranger, secs(103));
    holder.vouched(CLUSTER, &voucher(1, nonce.wrapping_add(1)), secs(103));
    holder.vouched("another", &voucher(1, nonce), secs(103));
    assert_eq!(until(&holder, secs(103)), Some(secs(104)));
}

#[test]
fn a_grant_that_has_ended_is_extended_by_nothing() {
    let mut holder = granted_at(secs(100));
    vouch(&mut holder, 0, secs(103), secs(104));
    vouch(&mut holder, 1, secs(103), secs(104));
    holder.attested(7, secs(103), secs(104));
    holder.heard(7, secs(104));
    assert_eq!(until(&holder, secs(104)), None);
    attest(&mut holder, secs(106));
    assert_eq!(until(&holder, secs(106)), None);
}

#[test]
fn a_tainted_grant_is_not_extended() {
    let mut holder = granted_at(secs(100));
    holder.taint(7, secs(101));
    vouch(&mut holder, 0, secs(103), secs(103));
    vouch(&mut holder, 1, secs(103), secs(103));
    attest(&mut holder, secs(103));
    assert_eq!(until(&holder, secs(103)), Some(secs(104)));
}

#[test]
fn a_later_ledger_ends_it_at_once() {
    let mut holder = granted_at(secs(100));
    vouch(&mut holder, 0, secs(103), secs(103));
    vouch(&mut holder, 1, secs(103), secs(103));
    attest(&mut holder, secs(103));
    assert!(holder.permit(secs(106)).is_some());
    holder.learn(CLUSTER, &closed(8), secs(106));
    assert_eq!(holder.permit(secs(106)), None);
    vouch(&mut holder, 0, secs(106), secs(106));
    vouch(&mut holder, 1, secs(106), secs(106));
    assert_eq!(holder.permit(secs(106)), None);
}

#[test]
fn it_goes_on_for_as_long_as_all_say_so_and_ends_when_one_is_silent() {
    let mut holder = granted_at(secs(100));
    for second in 101..160 {
        vouch(&mut holder, 0, secs(second), secs(second));
        vouch(&mut holder, 1, secs(second), secs(second));
        attest(&mut holder, secs(second));
        assert!(holder.permit(secs(second)).is_some());
    }
    for second in 160..163 {
        vouch(&mut holder, 0, secs(second), secs(second));
        attest(&mut holder, secs(second));
        assert_eq!(until(&holder, secs(second)), Some(secs(163)));
    }
    assert_eq!(until(&holder, secs(163)), None);
}

#[test]
fn the_ledger_renews_it_on_the_way_and_only_for_the_same_replicas_it_can_be_extended_further() {
    let same = Ledger {
        in_sync: vec![member()],
        ..ledger()
    };
    for (ledger, further) in [(same, true), (ledger(), false)] {
        let mut holder = granted_at(secs(100));
        vouch(&mut holder, 0, secs(103), secs(103));
        vouch(&mut holder, 1, secs(103), secs(103));
        attest(&mut holder, secs(103));
        holder.confirm(CLUSTER, &ledger, secs(106), secs(106)).unwrap();
        let permit = holder.permit(secs(106)).unwrap();
        assert_eq!((permit.until, permit.free_until), (secs(110), secs(110)));
        vouch(&mut holder, 0, secs(109), secs(109));
        vouch(&mut holder, 1, secs(109), secs(109));
        attest(&mut holder, secs(109));
        assert_eq!(
            until(&holder, secs(109)),
            Some(if further { secs(113) } else { secs(110) })
        );
    }
}

#[test]
fn the_replicas_ports_are_of_interest_once_a_grant_was_not_renewed_for_half_its_time() {
    let mut holder = granted_at(secs(100));
    assert_eq!(holder.to_attest(millis(101_999)), None);
    let (term, members) = holder.to_attest(millis(102_000)).unwrap();
    assert_eq!((term, members[0].copy.instance.as_str()), (7, "demo-1"));
    assert_eq!(holder.to_attest(secs(104)), None);
    assert_eq!(
        holding(secs(100)).to_attest(secs(103)),
        None,
        "it cannot be extended"
    );
    let again = granted(&mut holder, &ledger(), secs(103));
    holder.accept(&again, secs(103)).unwrap();
    assert_eq!(
        holder.to_attest(secs(106)),
        None,
        "the leader does not let it be extended any more"
    );
}
