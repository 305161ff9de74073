//! Tests of the decisions: tables for single situations, and a small world in which random faults happen.

mod access;
mod addresses;
mod data_in_pods;
mod decisions;
mod failing;
mod fenced;
mod hibernation;
mod limits;
mod lost_ledger;
mod manual;
mod paused;
mod planned_change;
mod random;
mod refused;
mod release;
mod reset;
mod restarts;
mod safeguards;
mod scaling;
mod silence;
mod storage_mode;
mod stuck;
mod telling;
mod update;
mod volumes;
mod world;
