//! The config of an image of a run image and an app.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::export::image::merge;
use slipway_base::zone::{
    frame::Mark,
    input::{Artifact, ExportInput, RegistryAccess},
    report::BuildReport,
};

fn input() -> ExportInput {
    ExportInput {
        mark: Mark::new("f00d".into()),
        repository: "slipway/ns/app".into(),
        image_tag: "t".into(),
        cache_tag: "c".into(),
        run_image: Artifact {
            repository: "r".into(),
            digest: "d".into(),
        },
        user_id: 32767,
        source_date_epoch: 315_532_800,
        labels: BTreeMap::from([("slipway.dev/app".into(), "app".into())]),
        stack_name: Some("heroku-24".into()),
        registry: RegistryAccess {
            address: "r:5000".into(),
            username: None,
            password: None,
            ca_pem: None,
            insecure: false,
        },
        disk_reserve_bytes: 0,
    }
}

#[test]
fn the_config_is_that_of_the_run_image_with_the_app_on_top() {
    let base = r#"{"architecture":"amd64","os":"linux","docker_version":"20","container":"x",
            "created":"2026-01-01T00:00:00Z",
            "config":{"User":"root","Cmd":["bash"],"Entrypoint":["x"],"Env":["PATH=/opt:/bin","STACK=old","LANG=C"],"Labels":{"a":"b"}},
            "rootfs":{"type":"layers","diff_ids":["sha256:1"]},"history":[{"created_by":"base"}]}"#;
    let built = BuildReport {
        config_vars: BTreeMap::from([("A".into(), "x\"y".into()), ("PATH".into(), "bad".into())]),
        ..BuildReport::default()
    };
    let bytes = merge(base.as_bytes(), &input(), &built, &[("Own", "sha256:2")]).unwrap();
    let config: Value = serde_json::from_slice(&bytes).unwrap();
    let expected: Value = serde_json::from_str(r#"{
            "architecture":"amd64","os":"linux","created":"1980-01-01T00:00:00Z",
            "config":{"User":"32767:32767","WorkingDir":"/app","Entrypoint":["/slipway/launcher"],
              "Env":["A=x\"y","HOME=/app","LANG=C","PATH=/opt:/bin","STACK=heroku-24"],
              "Labels":{"a":"b","slipway.dev/app":"app"}},
            "rootfs":{"type":"layers","diff_ids":["sha256:1","sha256:2"]},
            "history":[{"created_by":"base"},{"created":"1980-01-01T00:00:00Z","created_by":"slipway","comment":"Own"}]}"#).unwrap();
    assert_eq!(config, expected);
}

#[test]
fn a_config_that_is_none_is_an_error() {
    for (base, expected) in [
        ("x", "config"),
        ("{}", "layers"),
        (r#"{"rootfs":{"diff_ids":[]}}"#, "processor"),
    ] {
        let error = merge(base.as_bytes(), &input(), &BuildReport::default(), &[]).unwrap_err();
        assert!(error.contains(expected), "{base}: {error}");
    }
}
