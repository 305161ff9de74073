//! Tests of the operator on a real API server without a node: what rests on the API server alone, in little time. They need
//! root: `make test-api`, or `cargo test -p e2e-node --test api -- --ignored` (with names of tests, only those).
//!
//! Each test starts operator processes of its own, beside the cluster. No pod of it ever runs.

mod changes;
mod deletion;
mod election;
mod gitops;
mod manifests;
mod namespaces;
mod neighbours;
mod outage;
mod ownership;
mod quiet;
mod refusals;
mod rest;
mod rules;
mod sizes;
mod status;

use std::env;
use std::process::ExitCode;

use e2e_node::node::{API_NAME, Node};
use e2e_node::stage::{self, Body};
use e2e_node::tests;

const TESTS: &[(&str, Body)] = tests! {
    refusals:
        wrong_clusters_are_refused_with_field_and_reason;
    rules:
        each_refuses_what_it_is_about_and_no_more;
    manifests:
        the_api_server_takes_examples_charts_and_kustomizations;
    namespaces:
        an_operator_looks_after_its_namespaces_and_leaves_all_others_alone;
    neighbours:
        a_second_installation_leaves_clusters_alone_until_the_first_one_is_gone;
    status:
        nothing_is_said_before_an_operator_has_looked_and_then_what_there_is
        a_change_that_nobody_has_seen_is_seen_by_the_next_leader
        a_death_seen_by_nobody_is_told_by_the_next_leader
        what_keeps_pods_from_running_is_told;
    ownership:
        the_operator_owns_what_it_applies_and_nothing_else
        what_others_write_stays_and_what_the_operator_applies_is_put_right;
    changes:
        a_changed_cluster_is_what_a_new_one_would_be;
    sizes:
        one_that_was_too_large_is_put_back_and_claims_are_made_again;
    quiet:
        a_cluster_at_rest_causes_no_write;
    election:
        the_next_process_leads_when_one_is_killed
        one_that_ends_lets_go_of_the_lease;
    outage:
        an_operator_outlives_an_api_server_that_is_away;
    deletion:
        all_of_a_cluster_goes_before_and_after_an_operator_has_seen_it
        a_cluster_goes_also_without_operator_and_rights
        with_the_policy_delete_the_claims_go_too;
    gitops:
        nothing_differs_from_git_for_argo_cd;
};

fn main() -> ExitCode {
    let name = env::var("DEVCLUSTER_NAME").unwrap_or_else(|_| API_NAME.to_owned());
    let up = async |interrupt: &_| Node::control_plane(&name, interrupt).await;
    match stage::run(TESTS.iter(), up) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cannot run the tests: {error:#}");
            ExitCode::FAILURE
        }
    }
}
