//! Rubbish for a configuration, a secret or a zone: said, with the place, and never a panic.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use crate::world::{Chance, Nodes, World, seeds};

/// Commands that read the configuration and ask nobody over a network.
const QUIET: [&[&str]; 2] = [&["status"], &["zone", "show"]];

#[test]
fn rubbish_for_a_configuration() {
    let nodes = Nodes::start();
    let world = World::new(&nodes);
    world.run(&["once"]).is(0);
    let good = fs::read(world.path("witness.toml")).unwrap();
    for seed in 0..seeds(240) / 4 {
        let mut chance = Chance::new(seed);
        let mut bytes = good.clone();
        for _ in 0..=chance.below(4) {
            let at = usize::try_from(chance.below(bytes.len() as u64)).unwrap();
            let some = usize::try_from(chance.below(40)).unwrap().min(bytes.len() - at);
            let byte = u8::try_from(chance.below(256)).unwrap();
            match chance.below(5) {
                0 => bytes[at] = byte,
                1 => bytes.truncate(at.max(1)),
                2 => drop(bytes.drain(at..at + some)),
                3 => bytes.insert(at, b"\"[]={}#'\\\n.-9"[usize::from(byte) % 13]),
                _ => {
                    let copy = bytes[at..at + some].to_vec();
                    bytes.splice(at..at, copy);
                }
            }
        }
        fs::write(world.path("witness.toml"), &bytes).unwrap();
        let ran = world.run(QUIET[usize::try_from(seed).unwrap() % QUIET.len()]);
        let text = String::from_utf8_lossy(&bytes);
        assert!(matches!(ran.code, Some(0..=2)), "seed {seed}: {ran:?}\n{text}");
        assert!(ran.code == Some(0) || ran.err.contains("witness"), "seed {seed}: {ran:?}\n{text}");
    }
    assert_eq!(world.writes(), 0);

    for bytes in [&b""[..], b"\xff\xfe\x00", b"[[[[", b"a = ", &[0; 3000]] {
        fs::write(world.path("witness.toml"), bytes).unwrap();
        for command in [&["once"][..], &["run"], &["status"], &["check"]] {
            let ran = world.run(command).is(2);
            assert!(format!("{}{}", ran.out, ran.err).contains("witness.toml"), "{ran:?}");
        }
    }
    fs::remove_file(world.path("witness.toml")).unwrap();
    world.run(&["once"]).is(2).says(&["witness.toml"]);
    fs::create_dir(world.path("witness.toml")).unwrap();
    world.run(&["once"]).is(2).says(&["witness.toml"]);
}

#[test]
fn rubbish_for_a_secret() {
    let nodes = Nodes::start();
    let world = World::new(&nodes);
    world.edit_config(|text| {
        text.replace(
            "kind = \"mock\"\nfile = \"zone.json\"\n",
            "kind = \"namecheap\"\nendpoint = \"https://127.0.0.1:1/\"\napi_user = \"example\"\nclient_ip = \"192.0.2.1\"\n\
             api_key_file = \"key\"\n",
        )
    });
    let key = world.path("key");
    let pin = ["pin", "slice1", "in", "--for", "1h", "--reason", "test"];
    world.run(&pin).is(2).says(&["api_key_file", "key"]);
    for (content, mode) in [
        (&b""[..], 0o600),
        (b"\n\n", 0o600),
        (b"\xff\xfe\xfd", 0o600),
        (b"TOPSECRET\0KEY", 0o600),
        (b"TOPSECRET\nTOPSECRET\n", 0o600),
        (b"TOPSECRET", 0o644),
    ] {
        fs::write(&key, content).unwrap();
        fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
        let ran = world.run(&pin).is(2).says(&["api_key_file"]);
        assert!(!ran.err.contains("TOPSECRET") && !ran.out.contains("TOPSECRET"), "{ran:?}");
    }
    fs::remove_file(&key).unwrap();
    fs::create_dir(&key).unwrap();
    world.run(&pin).is(2).says(&["api_key_file"]);
    fs::remove_dir(&key).unwrap();
    fs::write(&key, "TOPSECRET\n").unwrap();
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    let ran = world.run(&pin).is(0);
    assert!(!ran.err.contains("TOPSECRET"), "{ran:?}");
}

#[test]
fn rubbish_for_a_zone() {
    let nodes = Nodes::with_a_dead_one();
    let world = World::new(&nodes);
    for _ in 0..3 {
        world.run(&["once"]).is(0);
    }
    let path = world.path("zone.json");
    let good = fs::read_to_string(&path).unwrap();
    let huge = format!("{good}{}", " ".repeat(5 << 20));
    let rubbish: [&[u8]; 8] = [
        b"",
        b"{",
        b"\xff\xfe\x00\x01",
        b"[]",
        b"{\"zone\":\"example.com\",\"serial\":1,\"sets\":{\"@ A\":{\"ttl\":60,\"addresses\":[\"2001:db8::1\"]}}}",
        b"{\"zone\":\"example.org\",\"serial\":1,\"sets\":{}}",
        b"{\"zone\":\"example.com\",\"serial\":-1,\"sets\":{}}",
        huge.as_bytes(),
    ];
    for bytes in rubbish {
        fs::write(&path, bytes).unwrap();
        world.run(&["once"]).is(1).says(&["could not read zone example.com", "zone.json"]);
        assert_eq!(fs::read(&path).unwrap(), bytes, "it is left as it is");
    }
    fs::remove_file(&path).unwrap();
    let ran = world.run(&["once"]).says(&["zone.json"]);
    assert!(matches!(ran.code, Some(1 | 2)), "{ran:?}");
    fs::create_dir(&path).unwrap();
    world.run(&["once"]).is(2).says(&["registrars.file.file", "zone.json is a folder"]);
    fs::remove_dir(&path).unwrap();
    fs::write(&path, &good).unwrap();
    world.wait("it is out", || {
        world.run(&["once"]).is(0);
        world.members() == [1, 2, 4].into()
    });
    assert_eq!(world.writes(), 1);
}
