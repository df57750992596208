//! The bundled buildpacks without the engine: run as a stranger's process in the build image, then served from the
//! run image by the launcher.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bench;
mod errors;

use bench::{Bench, Served};
use slipway_tests::root;

fn fixture(name: &str) -> std::path::PathBuf {
    root().join("tests/fixtures/apps").join(name)
}

#[test]
fn a_python_app_is_built_the_same_twice_and_serves() {
    let first = Bench::new("python");
    first.copy(&fixture("python"));
    let built = first.build(&[]);
    built.succeeded();
    built.says("-----> Using Python 3.13, specified in .python-version");
    built.says("-----> Installing dependencies using 'pip install -r requirements.txt'");
    assert_eq!(built.release.trim(), "--- {}");
    assert_eq!(built.report["package_manager"], "pip");

    let second = Bench::new("python");
    second.copy(&fixture("python"));
    second.build(&[]).succeeded();
    assert_eq!(
        first.tree(),
        second.tree(),
        "empty caches, same source: same bytes"
    );

    let kept = second.cache();
    second.clear();
    second.copy(&fixture("python"));
    let built = second.build(&[]);
    built.succeeded();
    built.says("-----> Restoring cache");
    built.says("-----> Using cached install of Python 3.13");
    assert_eq!(first.tree(), second.tree(), "a cache changes nothing");
    assert_eq!(kept, second.cache(), "nor is it changed, and stored again");

    second.clear();
    second.copy(&fixture("python"));
    second.write("requirements.txt", "-r more.txt\r\n-e ./lib\n");
    second.write("more.txt", "six==1.17.0\n");
    let project = |needs: &str| {
        format!("[project]\nname = 'greet'\nversion = '1'\ndependencies = [{needs}]\n")
    };
    second.write("lib/pyproject.toml", project("'iniconfig'"));
    second.write("lib/greet.py", "");
    let built = second.build(&[]);
    built.succeeded();
    built.says(
        "-----> Discarding cache since:\n       - The contents of requirements.txt have changed\n",
    );
    let packages = second.tree();
    assert!(
        packages
            .iter()
            .any(|line| line.contains("/site-packages/six.py "))
    );
    assert!(
        !packages
            .iter()
            .any(|line| line.contains("/site-packages/flask/"))
    );
    // What is installed where it lies is found where it lies at run time.
    let packages = ".heroku/python/lib/python3.13/site-packages";
    let finder = second.read(&format!("{packages}/__editable___greet_1_finder.py"));
    assert!(finder.contains("{'greet': '/app/lib/greet'}"), "{finder}");

    second.write("lib/pyproject.toml", project(""));
    second.remove(".heroku");
    let built = second.build(&[]);
    built.succeeded();
    built.says("       - pyproject.toml, setup.py or setup.cfg of a folder in requirements.txt has changed");
    assert!(
        !second
            .tree()
            .iter()
            .any(|line| line.contains("/site-packages/iniconfig/"))
    );

    let app = Served::new(&first, "gunicorn --bind 0.0.0.0:$PORT app:app");
    assert_eq!(app.get("/"), "Hello from python");
    assert_eq!(app.get("/env/GREETED"), "a  b");
    assert_eq!(app.get("/env/WEB_CONCURRENCY"), "2");
    assert_eq!(app.get("/env/LANG"), "en_US.UTF-8");
    assert!(app.get("/env/PATH").starts_with("/app/.heroku/python/bin:"));
    assert_eq!(app.stop(), "0");
}

#[test]
fn a_node_app_is_built_the_same_twice_and_serves() {
    let first = Bench::new("nodejs");
    first.copy(&fixture("node"));
    let built = first.build(&[]);
    built.succeeded();
    built.says("       engines.node in package.json: 22.x\n       Node.js 22.");
    built.says("-----> Installing dependencies using 'npm ci'");
    built.says("       Left as they are: package-lock.json names none");
    assert_eq!(
        built.release,
        "---\ndefault_process_types:\n  web: npm start\n"
    );
    assert!(built.report["node_version"].starts_with("22."));

    let second = Bench::new("nodejs");
    second.copy(&fixture("node"));
    second.build(&[]).succeeded();
    assert_eq!(
        first.tree(),
        second.tree(),
        "empty caches, same source: same bytes"
    );

    let kept = second.cache();
    second.clear();
    second.copy(&fixture("node"));
    let built = second.build(&[]);
    built.succeeded();
    built.says("-----> Restoring cache");
    assert_eq!(first.tree(), second.tree(), "a cache changes nothing");
    assert_eq!(kept, second.cache(), "nor is it changed, and stored again");

    let app = Served::new(&first, "npm start");
    assert_eq!(app.get("/"), "Hello from node");
    assert_eq!(app.get("/env/GREETED"), "a  b");
    assert_eq!(app.get("/env/WEB_CONCURRENCY"), "1");
    assert_eq!(app.get("/env/MEMORY_AVAILABLE"), "512");
    assert_eq!(app.get("/env/NODE_ENV"), "production");
    assert_eq!(app.stop(), "143");
}

/// A package.json with a dependency that only the build needs, and scripts that tell what they see.
const SCRIPTS: &str = r#"{
  "name": "scripts", "version": "1.0.0", "engines": {"node": ">=18", "npm": "10.9.x"},
  "scripts": {
    "heroku-prebuild": "echo prebuild with $NODE_ENV",
    "build": "is-odd-or-even 3 || ls node_modules; printf %s \"$SECRET\" > seen; echo \"$PATH\" > path; echo built \"$@\" --"
  },
  "devDependencies": {"is-number": "7.0.0"}
}"#;

#[test]
fn a_node_apps_scripts_see_its_configuration_and_what_the_build_needed_is_pruned() {
    let bench = Bench::new("nodejs");
    bench.write("package.json", SCRIPTS);
    let built = bench.build(&[
        ("SECRET", "two\nlines\n"),
        ("PATH", "/nowhere"),
        ("not-a-name", "x"),
        ("build_dir", "/nowhere"),
    ]);
    built.succeeded();
    // A wide range keeps to the line with long-term support.
    built.says("       engines.node in package.json: >=18\n       Node.js 24.");
    built.says("       npm 10.9.");
    built.says("prebuild with production");
    built.says(" !     There is no package-lock.json, so each build may install other versions.");
    built.says("       is-number");
    assert_eq!(bench.read("seen"), "two\nlines\n");
    assert!(bench.read("path").contains("/tmp/build/.heroku/node/bin:"));
    assert!(
        !bench
            .tree()
            .iter()
            .any(|line| line.contains("node_modules/is-number/"))
    );

    bench.clear();
    let postbuild = SCRIPTS.replace(
        "\"build\":",
        "\"heroku-postbuild\": \"echo postbuild\", \"build\":",
    );
    bench.write("package.json", &postbuild);
    let built = bench.build(&[
        ("NPM_CONFIG_PRODUCTION", "false"),
        ("NODE_MODULES_CACHE", "false"),
    ]);
    built.succeeded();
    built.says("       postbuild");
    built.says("       Left as they are: NPM_CONFIG_PRODUCTION is set");
    assert!(
        !built.log.contains("-----> Running build"),
        "heroku-postbuild takes the place of build"
    );
    assert!(
        bench
            .tree()
            .iter()
            .any(|line| line.contains("node_modules/is-number/"))
    );
}

/// What npm makes of a devDependency.
const LOCK: &str = r#"{
  "name": "dev", "version": "1.0.0", "lockfileVersion": 3, "requires": true,
  "packages": {
    "": {"name": "dev", "version": "1.0.0", "devDependencies": {"is-number": "7.0.0"}},
    "node_modules/is-number": {
      "version": "7.0.0", "resolved": "https://registry.npmjs.org/is-number/-/is-number-7.0.0.tgz", "dev": true,
      "integrity": "sha512-41Cifkg6e8TylSpdtTpeLVMqvSBEVzTttHvERD741+pnZ8ANv0004MRL43QKPDlK9cGvNp6NZWZUBlbGXYxxng=="
    }
  }
}"#;

#[test]
fn a_lock_file_is_looked_at_before_there_is_nothing_to_prune() {
    let bench = Bench::new("nodejs");
    let package = r#"{"name": "dev", "version": "1.0.0", "engines": {"node": "22.x"}, "devDependencies": {"is-number": "7.0.0"}}"#;
    bench.write("package.json", package);
    bench.write("package-lock.json", LOCK);
    let built = bench.build(&[]);
    built.succeeded();
    built.says("-----> Installing dependencies using 'npm ci'\n\n       added 1 package");
    built.says("-----> Pruning devDependencies\n\n       up to date");
    assert!(!bench.tree().iter().any(|line| line.contains("/is-number/")));

    // What a script has added is no part of the lock file.
    bench.clear();
    let plain = |text: &str| {
        text.replace("devDependencies", "dependencies")
            .replace(", \"dev\": true", "")
    };
    let script =
        r#""scripts": {"build": "cp -r node_modules/is-number node_modules/more"}, "dependencies""#;
    let package = plain(package).replace(r#""dependencies""#, script);
    bench.write("package.json", package);
    bench.write("package-lock.json", plain(LOCK));
    let built = bench.build(&[]);
    built.succeeded();
    built.says("-----> Pruning devDependencies\n\n       removed 1 package");
    assert!(!bench.tree().iter().any(|line| line.contains("/more/")));
    assert!(bench.tree().iter().any(|line| line.contains("/is-number/")));
}

#[test]
fn a_native_add_on_is_compiled_the_same_twice_and_runs() {
    let first = Bench::new("nodejs");
    first.copy(&fixture("addon"));
    let built = first.build(&[]);
    built.succeeded();
    built.says("       Node.js 26.");
    // Newer node-gyps take settings in upper case, too, and sort what they write.
    built.says("       npm 10.8.2");

    let second = Bench::new("nodejs");
    second.copy(&fixture("addon"));
    second.build(&[]).succeeded();
    assert_eq!(first.tree(), second.tree(), "same source: same bytes");

    let app = Served::new(&first, "npm start");
    assert_eq!(app.get("/"), "ok");
}

#[test]
fn an_old_npm_installs_and_prunes_and_named_folders_are_kept_from_build_to_build() {
    let source = r#"{
        "engines": {"node": "14.x"}, "devDependencies": {"is-number": "7.0.0"}, "cacheDirectories": [".kept/", "none"],
        "scripts": {"build": "ls node_modules; mkdir -p .kept; echo again >> .kept/builds; cat .kept/builds"}
    }"#;
    let bench = Bench::new("nodejs");
    bench.write("package.json", source);
    let built = bench.build(&[]);
    built.succeeded();
    built.says("       npm 6.");
    built.says("       is-number\n       again\n-----> Saving the cacheDirectories of package.json\n       .kept\n       none: is not there\n");
    assert!(
        !bench
            .tree()
            .iter()
            .any(|line| line.contains("node_modules/is-number/"))
    );

    bench.clear();
    bench.write("package.json", source);
    let built = bench.build(&[]);
    built.succeeded();
    built.says("-----> Restoring cache\n       .kept\n");
    built.says("       again\n       again\n");
    assert!(!bench.cache().iter().any(|line| line.contains("_logs")));
}

#[test]
fn install_scripts_that_a_new_npm_blocks_are_told() {
    let bench = Bench::new("nodejs");
    let source = |engines: &str| {
        format!(r#"{{"engines": {engines}, "dependencies": {{"core-js": "3.30.0"}}}}"#)
    };
    bench.write("package.json", source(r#"{"node": "26.x"}"#));
    let built = bench.build(&[]);
    built.succeeded();
    built.says("       npm 11.19.1\n");
    let blocked = " did not run the install scripts of these packages";
    assert!(!built.log.contains(blocked), "{}", built.log);

    bench.clear();
    bench.write("package.json", source(r#"{"node": "26.x", "npm": ">=12"}"#));
    let built = bench.build(&[]);
    built.succeeded();
    built.says(blocked);
    built.says(" !       core-js@3.30.0 (postinstall: ");
}
