//! Tests of the operator on a real Kubernetes node. They need root, the images of `make images` and minutes:
//! `make node-test`, or `cargo test -p e2e-node -- --ignored` (with names of tests, only those).

mod alerts;
mod auth;
mod bootstrap;
mod chart;
mod cluster_chart;
mod deletion;
mod docs;
mod drivers;
mod examples;
mod expansion;
mod failover;
mod faults;
mod grants;
mod hibernation;
mod modes;
mod nodes;
mod obstacles;
mod operations;
mod operators;
mod parts;
mod plugin;
mod policies;
mod quiet;
mod recipes;
mod reverts;
mod rollouts;
mod scaling;
mod steps;
mod switchover;
mod tls;
mod traces;
mod updates;
mod upgrade;
mod volumes;

use std::env;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use e2e_node::node::{NODES_VARIABLE, Node};
use e2e_node::stage::{self, Body};
use e2e_node::tests;

/// With this variable `short` in the environment, only [`SHORT`] is run; with `upgrade` [`UPGRADE`] and [`CHANGES`], with
/// `faults` [`FAULTS`].
const KIND_VARIABLE: &str = "NODE_TESTS";

/// What `make test` runs: each of them guards something that no other one does.
const SHORT: &[(&str, Body)] = tests! {
    bootstrap:
        a_new_cluster_has_a_main_a_strict_replica_and_an_asynchronous_one
        applying_the_same_cluster_again_changes_nothing
        a_single_instance_serves_and_keeps_its_data_over_a_kill;
    drivers:
        official_drivers_in_a_pod_write_and_read_through_the_gateways;
    failover:
        a_killed_main_is_replaced_and_comes_back_as_a_replica
        a_killed_replica_heals_without_a_new_term
        an_operator_that_starts_in_the_middle_of_a_failover_ends_it
        a_gateway_that_is_replaced_serves_again
        two_clusters_of_one_name_do_not_disturb_each_other;
    faults:
        a_main_that_is_killed
        a_main_whose_pod_is_deleted;
    grants:
        a_frozen_gateway_holds_a_failover_up_no_longer_than_its_grant;
    operators:
        one_that_is_deleted_hands_over_at_once
        one_that_hung_starts_over;
    scaling:
        instances_are_added_and_removed;
    switchover:
        main_moves_under_load_and_back_without_a_loss
        a_request_is_carried_out_once_or_refused;
    volumes:
        an_instance_whose_volume_is_lost_gets_the_data_again
        an_instance_is_filled_anew_when_somebody_asks_for_it;
    deletion:
        a_deleted_cluster_leaves_its_volumes_and_nothing_else
        a_cluster_that_is_made_again_over_its_volumes_goes_on
        with_the_policy_delete_the_volumes_go_too
        an_object_of_somebody_else_is_not_adopted;
    docs:
        a_backup_is_made_and_restored_as_the_guide_says;
    recipes:
        what_operators_type_into_a_pod_works;
    operations:
        every_command_of_the_guide_works
        a_second_main_is_demoted_and_the_log_says_so;
    chart:
        the_chart_is_installed_upgraded_and_removed_as_it_says;
    plugin:
        a_console_leads_to_main_and_a_report_tells_of_the_cluster
        a_pause_holds_a_failover_back;
};

/// What takes long: waits for grants to run out, for suspicion to grow, for the kubelet.
const LONG: &[(&str, Body)] = tests! {
    alerts:
        critical_ones_fire_on_what_is_read_here;
    cluster_chart:
        its_test_asks_main_by_tls_and_as_a_user_and_fails_for_whoever_is_kept_out;
    auth:
        whoever_has_no_password_gets_in_nowhere_and_another_password_restarts_nothing;
    expansion:
        they_grow_while_they_are_used_and_no_instance_restarts
        a_class_that_allows_none_is_quoted_and_another_volume_is_larger;
    failover:
        a_main_that_dies_while_the_operator_is_away_is_replaced_when_it_is_back;
    faults:
        a_main_whose_pod_is_evicted
        a_main_whose_pod_is_deleted_by_force
        a_main_that_is_stopped
        a_main_that_is_frozen
        a_main_in_a_black_hole
        both_operators_at_once
        an_api_server_that_is_away_for_a_minute;
    grants:
        without_an_operator_sessions_go_on
        without_an_operator_and_an_api_server_writers_are_cut_off
        a_client_that_comes_during_a_failover_is_held;
    operators:
        the_other_one_takes_over_from_one_that_dies;
    operations:
        a_lost_strict_replica_is_replaced_and_the_status_says_so
        a_failover_waits_for_a_word_and_then_loses_nothing;
    deletion:
        a_state_that_tells_nothing_waits_for_a_word_and_obeys_it
        it_goes_in_every_phase;
    docs:
        the_first_steps_are_as_the_guide_says
        a_cluster_grows_and_shrinks_as_the_guide_says
        a_running_cluster_is_looked_at_and_changed_as_the_guides_say;
    examples:
        each_comes_to_be_ready;
    obstacles:
        are_told_and_the_status_stays_still;
    modes:
        a_session_outlives_a_change_and_nothing_acknowledged_is_lost;
    hibernation:
        gives_all_pods_back_and_loses_no_volume_and_no_write
        what_is_changed_meanwhile_takes_effect_one_after_the_other;
    parts:
        gateways_are_switched_off_and_on;
    policies:
        no_client_gets_past_the_gateways_and_nothing_else_is_kept_out;
    reverts:
        a_cluster_serves_meanwhile_and_heals_without_a_human
        a_size_of_volumes_that_nobody_has_is_put_back;
    rollouts:
        of_gateways_refuse_nobody_and_drop_no_session_that_ends_in_time;
    scaling:
        under_load_from_three_to_five_and_back;
    steps:
        of_a_failover
        of_a_switchover
        of_a_bootstrap
        of_a_repair
        of_a_reset;
    traces:
        of_a_failover_are_told_by_operator_and_gateways;
    tls:
        ends_at_gateways_leads_to_each_main_and_changes_without_a_session_cut;
    updates:
        a_changed_configuration_reaches_one_instance_after_the_other
        an_update_that_somebody_supervises_waits_for_a_word_before_main_moves
        data_that_lies_in_pods_outlives_an_update_a_kill_and_the_eviction_of_each_pod;
    volumes:
        whichever_volume_is_lost_no_acknowledged_write_goes_with_it;
    quiet:
        a_cluster_at_rest_causes_no_write;
};

/// What needs several nodes: `NODES=3` in the environment.
const NODES: &[(&str, Body)] = tests! {
    nodes:
        the_machine_of_main_loses_its_power
        the_machine_of_main_is_cut_off
        the_machine_of_main_never_comes_back
        the_machine_of_main_is_drained;
};

/// What needs an earlier version of the operator and of Memgraph: `make e2e-upgrade`.
const UPGRADE: &[(&str, Body)] = tests! {
    upgrade:
        of_the_operator_by_helm_and_back_restarts_no_database_pod
        of_the_operator_by_kustomize_and_back_restarts_no_database_pod
        two_versions_side_by_side_do_no_harm
        of_memgraph_fails_no_transaction;
};

/// Others that change what runs, which are run with them.
const CHANGES: &[&str] = &[
    "chart::",
    "expansion::",
    "modes::",
    "rollouts::",
    "scaling::",
    "updates::",
];

/// What is broken on one machine: `make e2e-faults`.
const FAULTS: &[&str] = &["faults::", "steps::", "volumes::"];

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cannot run the tests: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .context("there is no target folder")?;
    let images = target.join("images");
    stage::run(tests_of_this_run(), async |interrupt| {
        Node::up(&images, interrupt).await
    })
}

fn tests_of_this_run() -> impl Iterator<Item = &'static (&'static str, Body)> {
    let kind = env::var(KIND_VARIABLE).unwrap_or_default();
    let (long, upgrade, modules): (&[_], &[_], &[&str]) = match kind.as_str() {
        "short" => (&[], &[], &[]),
        "upgrade" => (LONG, UPGRADE, CHANGES),
        "faults" => (LONG, &[], FAULTS),
        _ => (LONG, &[], &[]),
    };
    let several = env::var(NODES_VARIABLE).is_ok_and(|nodes| nodes != "1");
    let nodes = if several { NODES } else { &[] };
    let belongs =
        move |name: &str| modules.is_empty() || modules.iter().any(|module| name.starts_with(module));
    let others = SHORT.iter().chain(long).filter(move |(name, _)| belongs(name));
    upgrade.iter().chain(others).chain(nodes)
}
