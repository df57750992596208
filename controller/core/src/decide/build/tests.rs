//! Lives of an App, limited to its Builds: which are made, and why.

use crate::decide::build::{Input, RETRIES, Verdict, in_brief, outdated, variables, verdict};
use crate::{domain::app::BuildInputs, order::newest};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use slipway_crds::{
    conditions::{Reason, types},
    labels,
    v1alpha1::{
        Artifact, Build, BuildEnvVar, BuildGit, BuildPhase, BuildSource, BuildSpec, BuildStack,
        BuildStatus, EnvValueFrom, LocalRef, PushRevision, StackPack,
    },
};

struct World {
    inputs: BuildInputs,
    stack: BuildStack,
    url: String,
    secret: Option<String>,
    commit: String,
    /// Whether it was pushed.
    pushed: bool,
    /// The number of its Revision.
    number: Option<i64>,
    sub_path: Option<String>,
    request: Option<String>,
    /// The hash of the variables' values; `None`: Builds do not record it, like those of an older operator.
    env: Option<String>,
    /// The number of retries that Builds record; `None`: they record none, like those of an older operator.
    retries: Option<usize>,
    builds: Vec<Build>,
    /// Seconds since 1970.
    now: i64,
}

fn artifact(digit: &str) -> Artifact {
    Artifact {
        repository: "slipway/x".into(),
        digest: format!("sha256:{}", digit.repeat(64)),
    }
}

fn assert_same(one: Verdict<'_>, other: Verdict<'_>) {
    match (one, other) {
        (Verdict::Exists(one), Verdict::Exists(other)) => {
            assert_eq!(one.metadata.name, other.metadata.name);
        }
        (Verdict::Retry(one, at), Verdict::Retry(other, then)) => {
            assert_eq!((&one.metadata.name, at), (&other.metadata.name, then));
        }
        (one, other) => assert_eq!(one, other),
    }
}

impl World {
    fn new() -> Self {
        Self {
            inputs: BuildInputs {
                stack: "standard".into(),
                ..BuildInputs::default()
            },
            stack: BuildStack {
                name: "standard".into(),
                build_image: artifact("a"),
                run_image: artifact("b"),
                packs: vec![StackPack {
                    name: "python".into(),
                    artifact: artifact("c"),
                }],
                ..BuildStack::default()
            },
            url: "https://example.com/hello.git".into(),
            secret: None,
            commit: "1".repeat(40),
            pushed: false,
            number: None,
            sub_path: None,
            request: None,
            env: None,
            retries: Some(RETRIES),
            builds: Vec::new(),
            now: 0,
        }
    }

    fn verdict(&self) -> Verdict<'_> {
        // The verdict is the same if an older operator made all Builds, or the first of them.
        for made in [self.builds.len(), self.builds.len() / 2] {
            let mut older = self.builds.clone();
            for build in older.iter_mut().take(made) {
                build.spec.inputs = None;
                build.spec.attempt = None;
            }
            assert_same(self.of(&self.builds), self.of(older.leak()));
        }
        // The same if the cache keeps only a part of the older Builds.
        let newest = newest(&self.builds).and_then(|build| build.metadata.name.clone());
        let mut brief = self.builds.clone();
        for build in &mut brief {
            if build.metadata.name != newest {
                build.spec.env = vec![in_brief(&build.spec.env)];
                build.spec.stack = BuildStack::default();
                build.spec.buildpacks.clear();
            }
        }
        assert_same(self.of(&self.builds), self.of(brief.leak()));
        self.of(&self.builds)
    }

    fn of<'a>(&'a self, builds: &'a [Build]) -> Verdict<'a> {
        verdict(&Input {
            app: "hello",
            uid: "u-1",
            source: Box::leak(Box::new(self.source())),
            number: self.number,
            inputs: &self.inputs,
            env: self.env.as_deref().unwrap_or("now"),
            variables: variables(&self.inputs.env).leak(),
            stack: &self.stack,
            request: self.request.as_deref(),
            builds,
            now: Timestamp::from_second(self.now).unwrap(),
        })
    }

    fn source(&self) -> BuildSource {
        let git = BuildGit {
            url: self.url.clone(),
            r#ref: Some("main".into()),
            commit: self.commit.clone(),
            secret_ref: self.secret.clone().map(|name| LocalRef { name }),
        };
        let push = PushRevision {
            commit: self.commit.clone(),
            r#ref: "main".into(),
            artifact: artifact("d"),
        };
        BuildSource {
            git: Some(git).filter(|_| !self.pushed),
            push: Some(push).filter(|_| self.pushed),
            sub_path: self.sub_path.clone(),
        }
    }

    /// Makes the wanted Build and gives it this phase and reason. Returns why it was made, or that it existed.
    fn make(&mut self, phase: BuildPhase, reason: Reason) -> String {
        let (name, cause, request, inputs, attempt) = match self.verdict() {
            Verdict::Exists(_) => return "(exists)".into(),
            Verdict::Retry(_, at) => return format!("(at {})", at.as_second()),
            Verdict::Make {
                name,
                cause,
                request,
                inputs,
                attempt,
            } => (name, cause, request, inputs, attempt),
        };
        let spec = BuildSpec {
            source: self.source(),
            revision_number: self.number,
            stack: self.stack.clone(),
            buildpacks: self.inputs.buildpacks.clone(),
            env: self.inputs.env.clone(),
            resources: self.inputs.resources.clone(),
            timeout: self.inputs.own_timeout.unwrap_or_default(),
            request,
            inputs: Some(inputs),
            attempt: Some(attempt),
            ..BuildSpec::default()
        };
        let mut build = Build::new(&name, spec);
        let env = self.env.clone().map(|env| (labels::BUILD_ENV, env));
        let retries = self.retries.map(|n| (labels::BUILD_RETRIES, n.to_string()));
        let noted = env.into_iter().chain(retries);
        build.metadata.annotations = Some(
            noted
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        );
        let second = i64::try_from(self.builds.len()).unwrap();
        let time = Time(Timestamp::from_second(second).unwrap());
        build.metadata.creation_timestamp = Some(time.clone());
        build.status = Some(BuildStatus {
            phase,
            conditions: vec![Condition {
                type_: types::READY.into(),
                status: "False".into(),
                reason: reason.as_str().into(),
                message: String::new(),
                last_transition_time: time,
                observed_generation: None,
            }],
            finished_at: Some(Time(Timestamp::from_second(self.now).unwrap())),
            ..BuildStatus::default()
        });
        self.builds.push(build);
        cause
    }

    fn built(&mut self) -> String {
        self.make(BuildPhase::Succeeded, Reason::BuildSucceeded)
    }
}

#[test]
fn each_changed_input_makes_a_build_and_says_so() {
    let mut world = World::new();
    assert_eq!(world.built(), "first build, of 111111111111 (main)");
    assert_eq!(world.built(), "(exists)");
    world.commit = "2".repeat(40);
    assert_eq!(world.built(), "new commit: 222222222222 (main)");
    world.sub_path = Some("app".into());
    assert_eq!(world.built(), "subPath changed");
    world.stack.packs[0].artifact = artifact("d");
    assert_eq!(
        world.built(),
        "the Stack standard changed: buildpack python"
    );
    world.stack.run_image = artifact("e");
    assert_eq!(world.built(), "the Stack standard changed: run image");
    world.inputs.buildpacks = vec!["python".into()];
    assert_eq!(world.built(), "build.buildpacks changed");
    let variable = BuildEnvVar {
        name: "NODE_ENV".into(),
        value: Some("secret".into()),
        value_from: None,
    };
    world.inputs.own_env = vec![variable.clone()];
    world.inputs.env = vec![variable];
    assert_eq!(world.built(), "build.env changed: NODE_ENV");
    world.inputs.own_timeout = Some("1h".parse().unwrap());
    assert_eq!(world.built(), "the limits of builds changed");
    world.request = Some("now".into());
    assert_eq!(world.built(), "a rebuild was requested");
    assert_eq!(world.built(), "(exists)");
}

#[test]
fn an_apps_own_variables_and_the_operators_defaults_make_no_build() {
    let mut world = World::new();
    world.built();
    world.inputs.env = vec![variable("A", "1")];
    world.inputs.timeout = std::time::Duration::from_secs(9);
    assert_eq!(world.built(), "(exists)");
    // A changed literal is not reported; a variable from a Secret or ConfigMap is.
    assert_eq!(outdated(&world.builds[0], &world.inputs), [""; 0]);
    world.inputs.env[0].value_from = Some(EnvValueFrom::default());
    assert_eq!(outdated(&world.builds[0], &world.inputs), ["A"]);
    world.inputs.env.clear();
    world.builds[0].spec.env = vec![variable("B", "1")];
    assert_eq!(outdated(&world.builds[0], &world.inputs), [""; 0]);
    world.builds[0].status.as_mut().unwrap().phase = BuildPhase::Failed;
    assert_eq!(outdated(&world.builds[0], &world.inputs), ["B"]);
}

fn variable(name: &str, value: &str) -> BuildEnvVar {
    BuildEnvVar {
        name: name.into(),
        value: Some(value.into()),
        value_from: None,
    }
}

#[test]
fn a_corrected_variable_is_another_try_of_what_failed() {
    let mut world = World::new();
    let see = |world: &mut World, env: &[(&str, &str)]| {
        world.inputs.env = env.iter().map(|(n, v)| variable(n, v)).collect();
        world.env = Some(format!("{env:?}"));
        let cause = world.make(BuildPhase::Failed, Reason::BuildFailed);
        let name = world.builds.last().unwrap().metadata.name.clone().unwrap();
        cause.replace(&name, "it")
    };
    let changed = |name: &str| format!("env changed since {name} could not be built");
    assert_eq!(
        see(&mut world, &[("A", "1")]),
        "first build, of 111111111111 (main)"
    );
    for env in [&[("A", "2")][..], &[("A", "2"), ("B", "1")], &[]] {
        let before = world.builds.last().unwrap().metadata.name.clone().unwrap();
        assert_eq!(see(&mut world, env), changed(&before), "{env:?}");
        assert_eq!(see(&mut world, env), "(exists)", "{env:?}");
    }
    // Back to earlier values, with which the Build has failed already.
    assert_eq!(see(&mut world, &[("A", "1")]), "(exists)");
    // After a success, changed variables make no Build.
    world.inputs.env = vec![variable("C", "1")];
    world.env = Some("c".into());
    world.built();
    assert_eq!(see(&mut world, &[("D", "1")]), "(exists)");
}

#[test]
fn a_value_behind_a_reference_that_is_another_one_is_tried_a_few_times() {
    let mut world = World::new();
    for value in 0..4 {
        world.env = Some(format!("{value}"));
        let cause = world.make(BuildPhase::Failed, Reason::BuildFailed);
        if value > 0 {
            assert!(
                cause.starts_with("a value that env refers to changed since "),
                "{cause}"
            );
        }
        assert_eq!(world.built(), "(exists)");
    }
    // Nor when all attempts but the last are pruned.
    for _ in 0..2 {
        world.env = Some("4".into());
        assert_eq!(world.built(), "(exists)");
        world.builds.drain(..world.builds.len() - 1);
    }
    // A change of the spec itself makes another attempt.
    world.inputs.env = vec![variable("A", "1")];
    assert!(world.built().starts_with("env changed since "));
}

#[test]
fn a_failed_build_is_not_made_again_until_asked() {
    let mut world = World::new();
    world.make(BuildPhase::Failed, Reason::BuildFailed);
    assert_eq!(world.built(), "(exists)");
    world.request = Some("again".into());
    assert_eq!(world.built(), "a rebuild was requested");
}

#[test]
fn taking_the_request_away_asks_for_nothing() {
    let mut world = World::new();
    world.built();
    world.request = Some("again".into());
    world.built();
    world.request = None;
    assert_eq!(world.built(), "(exists)");
}

#[test]
fn a_build_that_was_overtaken_is_made_again_when_it_is_wanted_again() {
    let mut world = World::new();
    world.make(BuildPhase::Cancelled, Reason::BuildSuperseded);
    world.commit = "2".repeat(40);
    world.built();
    world.commit = "1".repeat(40);
    assert_eq!(
        world.built(),
        "111111111111 (main) is wanted again; its build before was overtaken"
    );
    assert_eq!(world.built(), "(exists)");
    // A Build that a user cancelled is not made again.
    let mut world = World::new();
    world.make(BuildPhase::Cancelled, Reason::BuildCancelled);
    assert_eq!(world.built(), "(exists)");
}

#[test]
fn a_corrected_address_or_secret_is_another_try_of_what_failed() {
    let mut world = World::new();
    world.url = "https://example.com/helo.git".into();
    world.make(BuildPhase::Failed, Reason::BuildFailed);
    let failed = world.builds[0].metadata.name.clone().unwrap();
    world.url = "https://example.com/hello.git".into();
    assert_eq!(
        world.make(BuildPhase::Failed, Reason::BuildFailed),
        format!("source.git.url changed since {failed} could not be built")
    );
    assert_eq!(world.built(), "(exists)");
    let failed = world.builds[1].metadata.name.clone().unwrap();
    world.secret = Some("git".into());
    assert_eq!(
        world.built(),
        format!("source.git.secretRef changed since {failed} could not be built")
    );
    // After a success, another address makes no Build: the commit is the same.
    world.url = "https://mirror.example.com/hello.git".into();
    assert_eq!(world.built(), "(exists)");
}

#[test]
fn an_interrupted_build_is_made_again_for_hours_and_later_each_time() {
    let interrupt = |world: &mut World| {
        let cause = world.make(BuildPhase::Failed, Reason::BuildInterrupted);
        let last = world.builds.last().unwrap();
        (cause, last.metadata.name.clone().unwrap())
    };
    let mut world = World::new();
    let (_, mut before) = interrupt(&mut world);
    for due in [10, 70, 430, 1630, 5230, 16030] {
        assert_eq!(world.built(), format!("(at {due})"));
        world.now = due - 1;
        assert_eq!(world.built(), format!("(at {due})"));
        world.now = due;
        let (cause, name) = interrupt(&mut world);
        assert_eq!(cause, format!("{before} was interrupted"));
        before = name;
    }
    world.now = 99_999;
    assert_eq!(world.built(), "(exists)");
    // Nor when the first attempts are pruned.
    world.builds.drain(..3);
    assert_eq!(world.built(), "(exists)");
    // Another address makes another attempt, and the count starts again.
    world.url = "https://mirror.example.com/hello.git".into();
    let (cause, _) = interrupt(&mut world);
    assert_eq!(
        cause,
        format!("source.git.url changed since {before} could not be built")
    );
    assert_eq!(world.built(), "(at 100009)");
    world.now = 100_009;
    assert!(world.built().ends_with(" was interrupted"));
    assert_eq!(world.built(), "(exists)");
}

#[test]
fn what_an_older_operator_has_given_up_stays_so() {
    let mut world = World::new();
    world.retries = None;
    for due in [10, 70, 430] {
        world.make(BuildPhase::Failed, Reason::BuildInterrupted);
        world.now = due;
    }
    // The newer operator starts before the last attempt of the older one.
    let mut amid = World {
        retries: Some(RETRIES),
        builds: world.builds.clone(),
        ..World::new()
    };
    amid.now = world.now;
    amid.make(BuildPhase::Failed, Reason::BuildInterrupted);
    assert_eq!(amid.built(), "(at 1630)");
    // The newer operator starts after it.
    world.make(BuildPhase::Failed, Reason::BuildInterrupted);
    world.retries = Some(RETRIES);
    world.now = 99_999;
    assert_eq!(world.built(), "(exists)");
}

#[test]
fn who_cancels_what_was_interrupted_or_wants_another_commit_ends_its_attempts() {
    let mut world = World::new();
    world.make(BuildPhase::Failed, Reason::BuildInterrupted);
    assert_eq!(world.built(), "(at 10)");
    let newer = World {
        commit: "2".repeat(40),
        builds: world.builds.clone(),
        ..World::new()
    };
    assert!(matches!(
        newer.verdict(),
        Verdict::Make { cause, .. } if cause.starts_with("new commit")
    ));
    let annotations = world.builds[0].metadata.annotations.as_mut().unwrap();
    annotations.insert(labels::CANCEL.to_owned(), "true".to_owned());
    world.now = 99_999;
    assert_eq!(world.built(), "(exists)");
}

#[test]
fn a_corrected_variable_is_another_try_of_what_cannot_begin() {
    let variable = |value: &str| variable("TOKEN", value);
    let mut world = World::new();
    world.inputs.env = vec![variable("typo")];
    world.make(BuildPhase::Pending, Reason::ReferenceMissing);
    assert_eq!(world.built(), "(exists)");
    let waits = world.builds[0].metadata.name.clone().unwrap();
    world.inputs.env = vec![variable("right")];
    assert_eq!(
        world.built(),
        format!("env changed since {waits} could not be built")
    );
    // A Build that waits in the queue, or that failed under an older operator, is not made again.
    for (phase, reason) in [
        (BuildPhase::Pending, Reason::BuildQueued),
        (BuildPhase::Failed, Reason::BuildFailed),
    ] {
        let mut world = World::new();
        world.make(phase, reason);
        world.inputs.env = vec![variable("right")];
        assert_eq!(world.built(), "(exists)");
    }
}

#[test]
fn an_attempt_that_was_pruned_is_not_made_again() {
    let mut world = World::new();
    world.make(BuildPhase::Cancelled, Reason::BuildSuperseded);
    world.built();
    world.builds.remove(0);
    assert_eq!(world.built(), "(exists)");
}

#[test]
fn an_upgrade_of_the_operator_names_builds_as_before() {
    let mut world = World::new();
    let name = |world: &World| match world.verdict() {
        Verdict::Make { name, .. } => name,
        other => panic!("{other:?}"),
    };
    assert_eq!(name(&world), "hello-051bb030a2");
    world.make(BuildPhase::Cancelled, Reason::BuildSuperseded);
    assert_eq!(name(&world), "hello-2ab449b5ee");
    world.sub_path = Some("web".into());
    world.request = Some("now".into());
    assert_eq!(name(&world), "hello-385bf3bae2");
}

#[test]
fn who_pushes_a_commit_again_has_it_built_again_and_a_look_up_has_not() {
    let mut world = World::new();
    world.number = Some(1);
    world.built();
    world.number = Some(2);
    assert_eq!(world.built(), "(exists)");
    let mut world = World::new();
    (world.pushed, world.number) = (true, Some(1));
    assert_eq!(world.built(), "first build, of 111111111111 (main)");
    assert_eq!(world.built(), "(exists)");
    world.number = Some(2);
    assert_eq!(world.built(), "111111111111 (main) was pushed again");
    world.number = Some(3);
    world.commit = "2".repeat(40);
    world.env = Some("before".into());
    assert_eq!(
        world.make(BuildPhase::Failed, Reason::BuildFailed),
        "new commit: 222222222222 (main)"
    );
    // A failed Build is made again like any other.
    world.inputs.env = vec![variable("A", "1")];
    world.env = Some("then".into());
    let failed = world.builds.last().unwrap().metadata.name.clone().unwrap();
    assert_eq!(
        world.make(BuildPhase::Failed, Reason::BuildInterrupted),
        format!("env changed since {failed} could not be built")
    );
    assert_eq!(world.built(), "(at 10)");
}

#[test]
fn a_build_says_its_inputs_and_which_attempt_it_is() {
    let mut world = World::new();
    world.make(BuildPhase::Cancelled, Reason::BuildSuperseded);
    world.make(BuildPhase::Cancelled, Reason::BuildSuperseded);
    world.commit = "2".repeat(40);
    world.built();
    let said = |build: &Build| (build.spec.inputs.clone().unwrap(), build.spec.attempt);
    let said: Vec<_> = world.builds.iter().map(said).collect();
    assert!(said[0].0.starts_with("051bb030a2") && said[0].0.len() == 40);
    assert_eq!(
        (&said[0].0, said[0].1, said[1].1),
        (&said[1].0, Some(1), Some(2))
    );
    assert_ne!(said[0].0, said[2].0);
    assert_eq!(said[2].1, Some(1));
}

#[test]
fn names_are_short_and_of_the_app() {
    let world = World::new();
    let Verdict::Make { name, .. } = world.verdict() else {
        panic!("to be made")
    };
    assert!(
        name.starts_with("hello-") && name.len() == "hello-".len() + 10,
        "{name}"
    );
}
