//! Grants without leader and API server.

use simulation::world::World;
use tokio::time::sleep;

use crate::{play, secs};

fn set_api(world: &World, there: bool) {
    let nodes = world.kubernetes.instance_nodes().iter();
    let nodes = nodes.chain(world.kubernetes.gateway_nodes());
    let names = nodes.map(|node| node.name());
    for name in names.chain(world.operators.iter().map(|operator| operator.name())) {
        world.way(name).set(|way| way.refuses = !there);
    }
}

fn nobody_writes(world: &World) -> bool {
    let mut gateways = world.gateways.all().into_iter();
    gateways.all(|gateway| gateway.enforced().read_write.is_none())
}

/// Every process vouches again once nobody is let in any more: between the two another MAIN may have been made by one of them.
#[test]
fn words_that_come_after_the_end_of_a_grant_begin_none() {
    play(async |world| {
        set_api(&world, false);
        sleep(secs(10)).await;
        assert!(!nobody_writes(&world));
        world.operators[1].freeze(secs(7));
        sleep(secs(6)).await;
        assert!(nobody_writes(&world));
        assert!(world.throughout(secs(20), nobody_writes).await);
        set_api(&world, true);
        assert!(world.writes(5, secs(30)).await);
        assert!(world.settled(1, secs(60)).await);
    });
}
