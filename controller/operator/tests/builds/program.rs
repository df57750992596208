//! Stands in for the zones' programs in the Build controller's tests: static, told what to do by its input.

use std::{fs, io::Read as _, process::exit, thread::sleep, time::Duration};

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let input = fs::read_to_string("/slipway/input.json").unwrap();
    let zone = arguments.get(2).map_or("build", String::as_str);
    println!("-----> {zone}");
    match zone {
        "fetch" => fetch(&input),
        "export" => {
            if !fs::read("/workspace/nap").unwrap().is_empty() {
                sleep(Duration::from_secs(4));
            }
            report(&input, &format!(r#"{{"image": {{"repository": "slipway-test/app", "digest": "{DIGEST}"}}}}"#));
        }
        _ => build(&input),
    }
}

/// In one frame, with the mark that the input names.
fn report(input: &str, text: &str) {
    let (_, mark) = input.split_once(r#""mark":""#).unwrap();
    let (mark, _) = mark.split_once('"').unwrap();
    println!("\u{1e}slipway {mark} 1/1 {text}");
}

/// The branch says in which zone to take some time.
fn nap(input: &str, zone: &str) {
    if input.contains(&format!("nap-in-{zone}")) {
        sleep(Duration::from_secs(4));
    }
}

fn fetch(input: &str) {
    nap(input, "fetch");
    fs::create_dir_all("/workspace/slipway/bin").unwrap();
    fs::copy("/proc/self/exe", "/workspace/slipway/bin/slipway-builder").unwrap();
    report(input, &format!(
        r#"{{"source": {{"repository": "slipway-test/app", "digest": "{DIGEST}"}}, "appJson": "{{}}"}}"#
    ));
    // What only fetch is told of, for export.
    fs::write("/workspace/nap", if input.contains("nap-in-export") { "y" } else { "" }).unwrap();
}

fn build(input: &str) {
    let step = |name: &str| input.contains(&format!(r#""STEP":"{name}""#));
    if step("fail") {
        println!(" !     no such version");
        report(input, r#"{"failure": {"step": "compile", "pack": "test", "exitCode": 3, "message": "no such version"}}"#);
        exit(51);
    }
    if step("sleep") {
        sleep(Duration::from_secs(600));
    }
    if step("nap") {
        sleep(Duration::from_secs(4));
    }
    if step("eat") {
        let mut eaten = Vec::new();
        std::io::repeat(1).take(256 << 20).read_to_end(&mut eaten).unwrap();
        println!("ate {}", eaten.len());
    }
    report(
        input,
        r#"{"packs": [{"name": "test", "detected": "Test", "digest": "sha256:0"}], "processes": {"web": "serve"}}"#,
    );
}
