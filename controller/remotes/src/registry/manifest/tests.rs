//! Manifests, configs and names, as registries send them.

use crate::registry::manifest::{
    config::{ConfigFile, PORTS, RunConfig},
    digest,
    index::Index,
    is_digest, is_plain,
};

#[test]
fn a_config_is_read_with_the_nulls_that_engines_write() {
    let text = r#"{"architecture":"amd64","config":{"User":"1000:1000","ExposedPorts":{"80/tcp":{}},
            "Entrypoint":null,"Cmd":["/bin/sh"],"Env":null,"WorkingDir":"/srv","Labels":null}}"#;
    let file: ConfigFile = serde_json::from_str(text).unwrap();
    assert_eq!(file.platform(), None);
    let wanted = RunConfig {
        user: "1000:1000".into(),
        ports: [80].into(),
        ..RunConfig::default()
    };
    assert_eq!(file.config, wanted);
    let without: ConfigFile = serde_json::from_str(r#"{"config":null}"#).unwrap();
    assert_eq!(without, ConfigFile::default());
    let nulls = r#"{"config":{"ExposedPorts":null}}"#;
    let without: ConfigFile = serde_json::from_str(nulls).unwrap();
    assert_eq!(without, ConfigFile::default());
}

#[test]
fn what_an_image_says_of_ports_and_entrypoint() {
    let read = |text: &str| -> RunConfig { serde_json::from_str(text).unwrap() };
    for (exposed, ports) in [
        ("{}", &[][..]),
        (r#"{"8080/tcp":{}}"#, &[8080]),
        (r#"{"8080":{}}"#, &[8080]),
        (
            r#"{"9090/tcp":{},"8080/tcp":null,"53/udp":{}}"#,
            &[8080, 9090],
        ),
        (
            r#"{"70000/tcp":{},"0/tcp":{},"x/tcp":{},"80-81/tcp":{}}"#,
            &[],
        ),
    ] {
        let found = read(&format!(r#"{{"ExposedPorts":{exposed}}}"#)).ports;
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ports, "{exposed}");
    }
    let many: Vec<String> = (1..100).map(|n| format!(r#""{n}":{{}}"#)).collect();
    let many = read(&format!(r#"{{"ExposedPorts":{{{}}}}}"#, many.join(",")));
    assert_eq!(many.ports.len(), PORTS);
    for (env, port) in [
        ("null", None),
        ("[]", None),
        (r#"["PATH=/bin","PORT=9000","REPORT=1"]"#, Some(9000)),
        (r#"["PORT=9000","PORT=9001"]"#, Some(9001)),
        (r#"["PORT=$X"]"#, None),
        (r#"["PORT=0","PORT"]"#, None),
        (r#"["PORT=65536"]"#, None),
    ] {
        assert_eq!(read(&format!(r#"{{"Env":{env}}}"#)).port, port, "{env}");
    }
    for (entrypoint, there) in [("null", false), ("[]", false), (r#"["/e"]"#, true)] {
        let found = read(&format!(r#"{{"Entrypoint":{entrypoint}}}"#));
        assert_eq!(found.entrypoint, there, "{entrypoint}");
    }
}

#[test]
fn the_image_of_this_machine_is_chosen_from_an_index() {
    let text = r#"{"manifests":[
            {"mediaType":"m","digest":"sha256:a","size":1,"platform":{"os":"windows","architecture":"amd64"}},
            {"mediaType":"m","digest":"sha256:b","size":1,"platform":{"os":"linux","architecture":"amd64"}},
            {"mediaType":"m","digest":"sha256:c","size":1,"platform":{"os":"linux","architecture":"arm64"}}]}"#;
    let index: Index = serde_json::from_str(text).unwrap();
    let ours = if cfg!(target_arch = "aarch64") {
        "sha256:c"
    } else {
        "sha256:b"
    };
    assert_eq!(index.ours(), Some(ours));
    assert_eq!(index.platforms(), "linux/amd64, linux/arm64, windows/amd64");
    let none: Index = serde_json::from_str(
            r#"{"manifests":[{"mediaType":"m","digest":"sha256:a","size":1,"platform":{"os":"unknown","architecture":"unknown"}}]}"#,
        )
        .unwrap();
    assert_eq!(none.ours(), None);
    assert_eq!(none.platforms(), "no platform that it names");
}

#[test]
fn names_lead_nowhere_else() {
    for (name, plain) in [
        ("slipway/slipway.dev/packs/p", true),
        ("v1.2_3-x", true),
        ("sha256:ab", true),
        ("a//b", false),
        ("", false),
        ("a/../b", false),
        ("a?x=1", false),
        ("a%2fb", false),
        ("a#b", false),
    ] {
        assert_eq!(is_plain(name), plain, "{name}");
    }
    assert!(is_digest(&digest(b"")) && !is_digest("sha256:ab") && !is_digest("sha512:ab"));
}

#[test]
fn a_digest_is_named_with_its_algorithm() {
    assert_eq!(
        digest(b""),
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
}
