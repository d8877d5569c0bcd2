//! Everything dies: the last ones stay, whatever they are.

use crate::world::{Settings, World};

#[test]
fn the_last_two_stay_when_all_are_dead() {
    let Some(mut world) = World::start() else { return };
    let settings = Settings { policy: "keep = 2\nmax_withdrawn = 4", ..Settings::new("floor") };
    let mut watch = world.watch(&settings);

    for number in 1..=4 {
        world.node(number).kill_all();
    }
    let out = watch.wait("two are out and two are held at the floor", |status| {
        let holds = status["holds"].as_array()?;
        let held = holds.iter().filter(|hold| hold["guard"] == "keep").count();
        let nodes = status["nodes"].as_array()?;
        let number = |node: &serde_json::Value| node["node"].as_str()?.strip_prefix('n')?.parse::<usize>().ok();
        let out: Vec<usize> = nodes.iter().filter(|node| node["standing"] == "withdrawn").filter_map(number).collect();
        (held == 2 && out.len() == 2).then_some(out)
    });
    let stay: Vec<usize> = (1..=4).filter(|number| !out.contains(number)).collect();
    // Whoever they are, none of the others was gone in between.
    world.wait_for(&stay);
    watch.ticks(8);
    world.assert_unchanged();
    world.assert_resolves(&stay);
    let (code, line) = watch.check();
    assert_eq!(code, 2, "{line}");
    let status = watch.status().unwrap();
    assert_eq!(status["vantage"], "clear", "the anchors answer: it is not our network");

    // By hand neither, unless one insists; and nobody has to probe to be told.
    let (code, _, error) = watch.command(world.network(), &["withdraw", &format!("n{}", stay[0])]);
    assert_eq!(code, 3, "{error}");
    let (code, _, error) = watch.command(world.network(), &["reinstate", &format!("n{}", out[0])]);
    assert_eq!(code, 3, "{error}");
    world.assert_unchanged();

    for number in 1..=4 {
        world.node(number).restart().unwrap();
    }
    world.wait_for(&[1, 2, 3, 4]);
    world.assert_resolves(&[1, 2, 3, 4]);
    watch.stop();
    drop(watch);
    world.end();
}
