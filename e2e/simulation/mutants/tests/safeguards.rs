//! Every safeguard is where its mutant says.

use std::path::Path;

use simulation_mutants::{mutant, tree};

#[test]
fn every_safeguard_is_where_its_mutant_says() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let all = mutant::read_all(&package.join("safeguards")).unwrap();
    let mutated = tree::mutated(&package.join("../../.."), &all).unwrap();
    for mutant in &all {
        let switch = format!("removed(\"{}\")", mutant.name);
        let switched = mutated.values().any(|text| text.contains(&switch));
        assert!(switched, "{} changes nothing", mutant.name);
    }
}
