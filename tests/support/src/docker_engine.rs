//! What the test suites that need a Docker Engine share: its address, images with one program, and the engine's events.

use std::{
    collections::HashMap,
    path::Path,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use bollard::{
    Docker,
    models::EventMessage,
    query_parameters::{CreateImageOptionsBuilder, EventsOptionsBuilder},
};
use futures::TryStreamExt as _;
use serde_json::Value;

/// The facts that `make cluster-up` wrote.
pub fn facts() -> Value {
    let path = std::env::var("SLIPWAY_TEST_FACTS")
        .expect("SLIPWAY_TEST_FACTS is the path of the facts of a cluster that runs");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The text at a JSON pointer of the facts.
pub fn text(facts: &Value, path: &str) -> String {
    facts.pointer(path).unwrap().as_str().unwrap().to_owned()
}

/// Compiles a Rust file to a static program, and imports an image with nothing else into the engine.
pub async fn import(docker: &Docker, image: &str, source: &Path, program_in_image: &str) {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    let compiled = Command::new("rustc")
        .args([
            "--edition",
            "2024",
            "-C",
            "target-feature=+crt-static",
            "-o",
        ])
        .arg(&program)
        .arg(source)
        .status()
        .unwrap();
    assert!(compiled.success());
    let (repository, tag) = image.split_once(':').unwrap();
    let options = CreateImageOptionsBuilder::new()
        .from_src("-")
        .repo(repository)
        .tag(tag)
        .build();
    let archive = bollard::body_full(archive(&program, program_in_image).into());
    docker
        .create_image(Some(options), Some(archive), None)
        .try_collect::<Vec<_>>()
        .await
        .unwrap();
}

fn archive(program: &Path, program_in_image: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for name in ["tmp/", "workspace/"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o1777);
        header.set_size(0);
        archive
            .append_data(&mut header, name, std::io::empty())
            .unwrap();
    }
    archive
        .append_path_with_name(program, program_in_image)
        .unwrap();
    archive.into_inner().unwrap()
}

/// The start events of all containers that a filter matches.
pub async fn starts(docker: &Docker, filter: &str, value: &str) -> Vec<EventMessage> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let filters = HashMap::from([(filter, vec![value]), ("event", vec!["start"])]);
    let options = EventsOptionsBuilder::new()
        .since("0")
        .until(&(now.as_secs() + 1).to_string())
        .filters(&filters)
        .build();
    docker.events(Some(options)).try_collect().await.unwrap()
}
