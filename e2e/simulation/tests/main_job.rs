//! The main job without faults: set up, write, lose MAIN, go on, take the old one back.

use std::time::Duration;

use simulation::{run::run, world::Options};
use tokio::time::sleep;

#[test]
fn a_cluster_is_set_up_and_survives_the_loss_of_main() {
    let secs = Duration::from_secs;
    let options = Options::default();
    let outcome = run(1, &options, true, async |world| {
        world.create_cluster(&Options::default().spec);
        assert!(
            world.settled(1, secs(60)).await,
            "{:?}",
            world.cluster().unwrap().status
        );
        sleep(secs(20)).await;
        let before = world.clients.acknowledged();
        assert!(before > 10, "{before} writes");
        let main = world.ledger().unwrap().main.instance;
        let instance = world.instances.named(&main).unwrap();
        world.memgraphs.kill(instance.process.unwrap());
        sleep(secs(1)).await;
        assert!(world.settled(1, secs(60)).await);
        assert_ne!(world.ledger().unwrap().main.instance, main);
        sleep(secs(20)).await;
        assert!(world.clients.acknowledged() > before + 10);
        assert!(world.settled(1, secs(60)).await);
    })
    .unwrap();
    for line in &outcome.lines {
        println!("{line}");
    }
    assert_eq!(outcome.violations, []);
}
