use super::*;

const EXAMPLE: &str = include_str!("../../origin.example.toml");
const LEAST: &str =
    "[server]\nfiles_url = \"https://files.example.com\"\n[store]\ndirectory = \"/var/lib/witness-origin\"\n";

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/etc/witness/origin.toml"))
}

fn problems(text: &str) -> Vec<String> {
    match parse(text) {
        Err(ConfigError::Problems { problems, .. }) => problems.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_example_is_accepted_and_its_defaults_are_the_defaults() {
    let config = parse(EXAMPLE).unwrap();
    assert!(matches!(&config.tier.as_ref().unwrap().place, TierPlace::S3(s3) if s3.bucket == "files"));
    assert!(matches!(&config.legacy[..], [Legacy::Url(url)] if url == "https://old.example.net"));
    let least = parse(LEAST).unwrap();
    let same = |one: &dyn fmt::Debug, other: &dyn fmt::Debug| assert_eq!(format!("{one:?}"), format!("{other:?}"));
    same(&least.server, &config.server);
    same(&least.store, &config.store);
    same(&least.upload, &config.upload);
    same(&least.serve, &config.serve);
    same(&least.compat, &config.compat);
    same(&least.backup, &config.backup);
}

#[test]
fn every_mistake_is_named_with_line_key_value_and_remedy() {
    let cases = [
        (
            "min_free = \"2GB\"",
            "min_free = 2",
            "11: store.min_free = 2: a size needs its unit; write \"2MB\" if that is the unit you mean; there are B, kB, KiB, MB, MiB, GB, GiB, TB, TiB",
        ),
        ("name_length", "name_lenght", "16: upload.name_lenght: there is no such key; did you mean \"name_length\"?"),
        (
            "name_length = 8",
            "name_length = 3",
            "16: upload.name_length = 3: this is not one of the possible numbers; write a whole number from 6 to 64",
        ),
        (
            "dedupe = \"same-url\"",
            "dedupe = \"same\"",
            "12: store.dedupe = \"same\": this is not one of the possible words; write \"same-url\" or \"storage-only\"",
        ),
        (
            "files_url = \"https://files.example.com\"",
            "files_url = \"files.example.com\"",
            "6: server.files_url = \"files.example.com\": this is no URL of a server; write it like \"https://files.example.com\"",
        ),
        (
            "listen = \"0.0.0.0:8080\"",
            "listen = \"here\"",
            "4: server.listen = \"here\": this is no address with a port; write it like \"0.0.0.0:8080\" or \"[::]:8080\"; names are not looked up here",
        ),
        (
            "per_address = \"1GiB/h\"",
            "per_address = \"1GiB\"",
            "21: upload.per_address = \"1GiB\": this is no size in a time; write it like \"1GiB/h\", with s, m, h or d behind the stroke, or \"\" for no limit",
        ),
        (
            "paths = [\"/upload.php\", \"/upload\"]",
            "paths = [\"/upload.php\", \"/upload.php\"]",
            "26: compat.paths = [\"/upload.php\", \"/upload.php\"]: \"/upload.php\" is there twice; write it once",
        ),
        (
            "low_watermark = \"80%\"",
            "low_watermark = \"95%\"",
            "31: tier.low_watermark = \"95%\": it must be less than high_watermark; write \"80%\", say",
        ),
        (
            "retention = \"7d,7;30d,4\"",
            "retention = \"7,x\"",
            "36: backup.retention = \"7,x\": these are no rules: \"x\" is not how many to keep; write them like \"7d,7;30d,4\": within 7 days, keep 7; ...",
        ),
    ];
    for (right, wrong, expected) in cases {
        assert!(EXAMPLE.contains(right), "{right}");
        assert_eq!(problems(&EXAMPLE.replacen(right, wrong, 1)), [expected], "{wrong}");
    }
}

#[test]
fn what_is_missing_is_told_and_everything_at_once() {
    let told = problems("[server]\nlisten = 5\n[upload]\nmax_size = \"1\"\nx = 1\n");
    assert_eq!(told.len(), 5, "{told:?}");
    assert!(told.iter().any(|line| line.ends_with("write files_url = \"https://files.example.com\"")), "{told:?}");
    let error = parse("[server]\nfiles_url = 5\n").unwrap_err().to_string();
    assert!(error.starts_with("/etc/witness/origin.toml:2: server.files_url = 5: a text belongs here"), "{error}");
}

#[test]
fn a_path_may_answer_in_its_own_way() {
    let text = format!(
        "{LEAST}[compat]\nextras = false\npaths = [\"/upload.php\", {{ path = \"/v1/upload.php\", json = \"compact\", url = \"bare\" }}]\n"
    );
    let paths = parse(&text).unwrap().compat.paths;
    assert_eq!(paths[0].1.json, Json::Pretty);
    assert_eq!((paths[1].1.json, paths[1].1.url, paths[1].1.extras), (Json::Compact, Url::Bare, false));
}

#[test]
fn a_secret_is_in_a_file_that_nobody_else_reads() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let text = LEAST.replace("[store]", "admin_token_file = \"token\"\n[store]");
    let read = || match Config::parse(&text, &folder.path().join("origin.toml")) {
        Ok(config) => Ok(config.server.admin_token.unwrap()),
        Err(error) => Err(error.to_string()),
    };
    let write = |content: &str, mode| {
        std::fs::write(&file, content).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    assert!(read().unwrap_err().contains("server.admin_token_file = \"token\": it cannot be read"));
    write("a-long-secret-of-a-test\n", 0o640);
    assert!(read().unwrap_err().contains("others can read it; chmod 600 "));
    write("short\n", 0o600);
    let told = read().unwrap_err();
    assert!(told.contains("of 16 characters at least") && !told.contains("short"), "{told}");
    write("a-long-secret-of-a-test\n", 0o600);
    let secret = read().unwrap();
    assert!(secret.is(b"a-long-secret-of-a-test") && !secret.is(b"a-long-secret-of-a-tesT"));
    assert_eq!(format!("{secret:?}"), "Secret(..)");
}
