//! A cluster is put to sleep and wakes up while clients want to write all the time.

use memgraph_operator::api::names;
use serde_json::{Value, json};
use simulation::{
    api::{Object, Resource},
    script::play,
    world::{Options, World},
};
use tokio::time::sleep;

use crate::secs;

/// Names of pods of the cluster, of this kind.
fn pods(world: &World, component: &str) -> Vec<String> {
    let store = world.api.store();
    let of = |pod: &Object| pod["metadata"]["labels"][names::COMPONENT_LABEL] == component;
    let pods = store.all(&Resource::pods()).filter(|(_, pod)| of(pod));
    pods.map(|(key, _)| key.1.clone()).collect()
}

/// The volume of each claim.
fn volumes(world: &World) -> Vec<Value> {
    let store = world.api.store();
    let claims = store.all(&Resource::claims());
    let mut volumes: Vec<_> = claims
        .map(|(_, claim)| claim["spec"]["volumeName"].clone())
        .collect();
    volumes.sort_by_key(Value::to_string);
    volumes
}

/// Volumes go with instances that are taken away.
fn options(spec: Value) -> Options {
    let mut spec = spec;
    spec["storage"] = json!({"retentionPolicy": {"whenScaled": "Delete"}});
    Options {
        nodes: 5,
        spec,
        ..Options::default()
    }
}

fn set_asleep(world: &World, asleep: bool) {
    world.edit_spec(|spec| spec["hibernated"] = json!(asleep));
}

fn is_asleep(world: &World) -> bool {
    world.condition("Hibernated") == ("True".to_owned(), "Hibernated".to_owned())
}

/// What instances are made from later.
const OTHER_TIMEOUT: &str = "601";

fn has_other_timeout(world: &World, instance: &str) -> bool {
    let pod = world.pod(instance).unwrap_or_default();
    let args = &pod["spec"]["containers"][0]["args"];
    args.to_string().contains(OTHER_TIMEOUT)
}

fn all_have_other_timeout(world: &World) -> bool {
    let names = pods(world, names::INSTANCE);
    names.len() == 3 && names.iter().all(|name| has_other_timeout(world, name))
}

#[test]
fn it_comes_back_with_every_acknowledged_write() {
    play(&options(json!({})), async |world| {
        assert!(world.writes(20, secs(30)).await);
        let (before, main) = (volumes(&world), world.main_name());
        set_asleep(&world, true);
        let gateways_first = |w: &World| {
            let gateways = pods(w, names::GATEWAY);
            let ending =
                |name: &String| !w.pod(name).unwrap_or_default()["metadata"]["deletionTimestamp"].is_null();
            let instances = pods(w, names::INSTANCE);
            gateways.is_empty() || instances.len() == 3 && !instances.iter().any(ending)
        };
        let mut ordered = true;
        while !is_asleep(&world) {
            ordered &= gateways_first(&world);
            sleep(std::time::Duration::from_millis(20)).await;
        }
        assert!(ordered, "instances end once no gateway is there any more");
        assert_eq!(pods(&world, names::INSTANCE), Vec::<String>::new());
        assert_eq!(pods(&world, names::GATEWAY), Vec::<String>::new());
        assert_eq!(volumes(&world), before);
        for (condition, expected) in [
            ("Ready", ("False", "Hibernated")),
            ("Reconciling", ("False", "Hibernated")),
            ("Stalled", ("False", "AsExpected")),
        ] {
            let (status, reason) = world.condition(condition);
            assert_eq!((status.as_str(), reason.as_str()), expected, "{condition}");
        }
        assert_eq!((world.status().main, world.status().replicas), (None, 0));

        // A night, in which nothing is written.
        sleep(secs(60)).await;
        let resting = world.status();
        sleep(secs(3_600)).await;
        assert_eq!(world.status(), resting);

        let acknowledged = world.clients.acknowledged();
        set_asleep(&world, false);
        assert!(world.settled(1, secs(120)).await, "{:?}", world.status());
        assert!(world.writes(20, secs(30)).await);
        assert!(world.clients.acknowledged() > acknowledged);
        assert_eq!(
            world.main_name(),
            main,
            "it has lost nothing, so that it leads again"
        );
        assert_eq!(volumes(&world), before);
        let known = world.condition("Hibernated");
        assert_eq!(known, ("False".to_owned(), "AsExpected".to_owned()));
    });
}

/// It sleeps with five instances, of which the last one is MAIN, and is to wake up with three.
#[test]
fn fewer_instances_wake_up_only_after_main_has_moved() {
    play(&options(json!({"replicas": 5})), async |world| {
        world.edit_spec(|spec| spec["switchover"] = json!({"requestId": "a", "target": "demo-4"}));
        assert!(world.until(secs(60), |w| w.is_open_to("demo-4")).await);
        assert!(world.writes(20, secs(30)).await);
        set_asleep(&world, true);
        assert!(world.until(secs(120), is_asleep).await, "{:?}", world.status());
        world.edit_spec(|spec| spec["replicas"] = json!(3));
        sleep(secs(30)).await;
        assert!(is_asleep(&world));
        set_asleep(&world, false);
        let all = |w: &World| pods(w, names::INSTANCE).len() == 5;
        assert!(world.until(secs(60), all).await, "MAIN comes back before it goes");
        let three = |w: &World| pods(w, names::INSTANCE).len() == 3 && volumes(w).len() == 3;
        assert!(world.until(secs(180), three).await, "{:?}", world.status());
        assert!(world.settled(1, secs(60)).await);
        assert!(world.writes(20, secs(30)).await);
    });
}

/// What instances are made from is another one by then; each gets it in its turn, while the others serve.
#[test]
fn another_configuration_reaches_instances_one_after_the_other_once_they_are_awake() {
    play(&options(json!({})), async |world| {
        assert!(world.writes(20, secs(30)).await);
        set_asleep(&world, true);
        assert!(world.until(secs(120), is_asleep).await);
        world.edit_spec(|spec| spec["config"] = json!({"query-execution-timeout-sec": OTHER_TIMEOUT}));
        sleep(secs(5)).await;
        set_asleep(&world, false);
        let all = |w: &World| pods(w, names::INSTANCE).len() == 3;
        assert!(world.until(secs(60), all).await);
        for name in pods(&world, names::INSTANCE) {
            assert!(!has_other_timeout(&world, &name), "{name} is as it was");
        }
        assert!(
            world.until(secs(300), all_have_other_timeout).await,
            "{:?}",
            world.status()
        );
        assert!(world.settled(1, secs(120)).await);
    });
}

/// It is called off while gateways end, and again while instances do; the leading operator dies each time.
#[test]
fn it_can_be_called_off_at_any_moment_whoever_leads() {
    for seconds in [1, 6, 12, 18, 22, 26, 30] {
        play(&options(json!({})), async |world| {
            assert!(world.writes(20, secs(30)).await);
            let before = volumes(&world);
            set_asleep(&world, true);
            sleep(secs(seconds)).await;
            if let Some(leader) = world.leader() {
                leader.crash();
            }
            sleep(secs(1)).await;
            set_asleep(&world, false);
            assert!(
                world.settled(1, secs(180)).await,
                "{seconds}: {:?}",
                world.status()
            );
            // MAIN may take a while to load its data.
            assert!(world.writes(20, secs(90)).await);
            assert_eq!(volumes(&world), before);
        });
    }
}

/// MAIN serves for a moment more while all pods end, and what instances are made from is changed in the write that calls sleep off.
#[test]
fn pods_that_end_for_a_sleep_that_is_called_off_come_back_as_they_were() {
    play(&options(json!({})), async |world| {
        assert!(world.writes(20, secs(30)).await);
        let metadata = |w: &World, name: &str| w.pod(name).unwrap_or_default()["metadata"].clone();
        let uids = |w: &World| -> Vec<Value> {
            let names = pods(w, names::INSTANCE);
            names
                .iter()
                .map(|name| metadata(w, name)["uid"].clone())
                .collect()
        };
        let before = uids(&world);
        set_asleep(&world, true);
        let ends = |w: &World| {
            let names = pods(w, names::INSTANCE);
            names
                .iter()
                .all(|name| !metadata(w, name)["deletionTimestamp"].is_null())
        };
        assert!(world.until(secs(120), ends).await);
        assert_eq!(uids(&world), before);
        world.edit_spec(|spec| {
            spec["hibernated"] = json!(false);
            spec["config"] = json!({"query-execution-timeout-sec": OTHER_TIMEOUT});
        });
        let all_anew = |w: &World| {
            let now = uids(w);
            now.len() == 3 && !now.iter().any(|uid| before.contains(uid))
        };
        assert!(world.until(secs(120), all_anew).await);
        for name in pods(&world, names::INSTANCE) {
            assert!(!has_other_timeout(&world, &name), "{name} is as it was");
        }
        assert!(
            // A restart and a move of MAIN that does not come about are two changes, after which the next one waits.
            world.until(secs(900), all_have_other_timeout).await,
            "{:?}",
            world.status()
        );
        assert!(world.settled(1, secs(120)).await);
    });
}
