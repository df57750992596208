//! Whole lives of Apps over plain data: plan, carry out in memory, report, repeat.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Secret},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{Resource as _, ResourceExt as _};
use serde_json::{Value, json};
use slipway_crds::{
    conditions::types,
    v1alpha1::{
        App, BuildFailure, BuildPhase, BuildStatus, ImageRevision, Quantity, ReleaseFailure,
        ReleasePhase, ReleaseSite, ReleaseStatus, Revision, RevisionBy, RevisionSpec, Stack,
    },
};

use crate::controllers::{
    app::{
        apply::{self, Target},
        lookup::Source,
        observe::Observed,
        plan::{self, Plan},
        referred::Data,
        report::{Facts, Report, Step},
        running,
        seen::{Seen, Variables},
        status,
    },
    caches::Caches,
};
use slipway_core::{
    domain::{
        app::{Defaults, ValidApp},
        env::{Config, HashKey},
        repository::Repositories,
    },
    order,
    records::Owner,
    settings::{AppSettings, ServiceType},
};
use slipway_k8s::{clock::Clock, events::Publisher};
use slipway_support::fake_api::Fake;

struct World {
    app: App,
    observed: Observed,
    source: Source,
    site: ReleaseSite,
    second: i64,
}

fn app(spec: &Value) -> App {
    serde_json::from_value(json!({
        "apiVersion": "slipway.dev/v1alpha1", "kind": "App",
        "metadata": {"name": "hello", "namespace": "team", "uid": "u-1", "generation": 1},
        "spec": spec,
    }))
    .unwrap()
}

fn digest(c: &str) -> String {
    format!("sha256:{}", c.repeat(64))
}

fn stack() -> Stack {
    let artifact = |name: &str, c: &str| json!({"repository": format!("slipway/slipway.dev/stacks/standard/{name}"), "digest": digest(c)});
    let mut pack = artifact("python", "c");
    pack["name"] = json!("python");
    serde_json::from_value(json!({
        "apiVersion": "slipway.dev/v1alpha1", "kind": "Stack", "metadata": {"name": "standard"},
        "spec": {"buildImage": artifact("build", "a"), "runImage": artifact("run", "b"), "packs": [pack]},
    }))
    .unwrap()
}

fn defaults() -> Defaults {
    Defaults {
        stack: "standard".into(),
        protocols: vec!["https".into()],
        repositories: Repositories::new("slipway", []),
        ..Defaults::default()
    }
}

impl World {
    fn git(extra: Value) -> Self {
        let mut spec = json!({"source": {"git": {"url": "https://example.com/hello.git"}}});
        if let (Some(spec), Value::Object(extra)) = (spec.as_object_mut(), extra) {
            spec.extend(extra);
        }
        let mut world = Self {
            app: app(&spec),
            observed: Observed {
                stack: Some(stack()),
                ..Observed::default()
            },
            source: Source {
                revision: None,
                trouble: None,
                handled: None,
                next: None,
                begun: false,
            },
            site: ReleaseSite {
                registry: "registry.example:5000".into(),
                pull_secret: None,
                program_image: "operator:1".into(),
                drain_seconds: 5,
            },
            second: 0,
        };
        world.commit("1");
        world
    }

    fn image(user: &str, extra: Value) -> Self {
        let mut world = Self::git(extra);
        world.app.spec.source =
            serde_json::from_value(json!({"image": {"reference": "ghcr.io/team/app:1"}})).unwrap();
        let mut revision = world.source.revision.clone().unwrap();
        revision.git = None;
        revision.image = Some(ImageRevision {
            reference: "ghcr.io/team/app:1".into(),
            resolved: format!("ghcr.io/team/app@{}", digest("9")),
            pull_secret_ref: None,
            port: Some(8080),
            user: Some(user.into()),
            entrypoint: true,
            ..ImageRevision::default()
        });
        world.source.revision = Some(revision);
        world
    }

    fn commit(&mut self, digit: &str) {
        let spec = json!({
            "app": {"name": "hello", "uid": "u-1"},
            "git": {"url": "https://example.com/hello.git", "ref": "HEAD", "commit": digit.repeat(40)},
            "by": "Poll",
        });
        self.source.revision = Some(serde_json::from_value::<RevisionSpec>(spec).unwrap());
        assert_eq!(self.source.revision.as_ref().unwrap().by, RevisionBy::Poll);
    }

    fn secret(&mut self, name: &str, entries: &[(&str, &str)]) {
        let values = entries
            .iter()
            .map(|(k, v)| ((*k).into(), v.as_bytes().to_vec()))
            .collect();
        self.observed
            .referred
            .secrets
            .insert(name.into(), Data::new(values, String::new(), |_| true));
    }

    fn plan(&self) -> Plan {
        let valid = ValidApp::new(&self.app, &defaults()).unwrap();
        let key = HashKey::from_bytes(&[7; 32]).unwrap();
        plan::plan(Seen {
            app: &self.app,
            valid: &valid,
            observed: &self.observed,
            source: &self.source,
            key: &key,
            variables: &Variables::of(&valid, &self.observed.referred, &key),
            site: &self.site,
            now: Timestamp::from_second(self.second).unwrap(),
        })
    }

    /// One reconcile: what it made, and what `Ready` says.
    fn step(&mut self) -> (Vec<String>, String) {
        let plan = self.plan();
        self.second += 1;
        let made_at = Some(Time(Timestamp::from_second(self.second).unwrap()));
        let mut made = Vec::new();
        if let Some(mut revision) = plan.revision.clone() {
            revision.metadata.creation_timestamp = made_at.clone();
            made.push("Revision".to_owned());
            self.observed.revisions.push(revision);
        }
        if let Some(mut build) = plan.build.clone() {
            build.metadata.creation_timestamp = made_at.clone();
            made.push(format!("Build: {}", build.spec.cause));
            self.observed.builds.push(build);
        }
        if let Some(secret) = plan.config.clone() {
            made.push("config".to_owned());
            self.store(secret);
        }
        if let Some(mut release) = plan.release.clone() {
            release.metadata.creation_timestamp = made_at;
            made.push(format!("{}: {}", release.name_any(), release.spec.cause));
            self.observed.releases.push(release);
        }
        (made, self.tell(&plan.report))
    }

    fn store(&mut self, secret: Secret) {
        let data: BTreeMap<_, _> = secret.data.clone().unwrap_or_default();
        let config = Config::stored(data.into_iter().map(|(k, v)| (k, v.0)));
        self.observed.configs.insert(secret.name_any(), config);
        self.observed.config_secrets.push(secret);
    }

    fn tell(&mut self, report: &Report) -> String {
        let settings = AppSettings {
            service_type: ServiceType::ClusterIp,
            node_address: None,
            cluster_domain: "cluster.local".into(),
            interval: slipway_crds::v1alpha1::Duration::from_secs(60),
            drain_seconds: 5,
            max_history: 100,
        };
        let running = running::running("hello", "team", &self.observed, &settings);
        let facts = Facts {
            before: self.app.status.as_ref(),
            generation: self.app.metadata.generation,
            app: "hello",
            report,
            serving: slipway_core::decide::release::serving(&self.observed.releases),
            running: &running,
        };
        let status = status::status(&facts, Timestamp::from_second(self.second).unwrap());
        let ready = status
            .conditions
            .iter()
            .find(|c| c.type_ == types::READY)
            .unwrap()
            .clone();
        self.app.status = Some(status);
        format!("{} {}: {}", ready.status, ready.reason, ready.message)
    }

    fn last_build(&self) -> String {
        self.observed.builds.last().unwrap().name_any()
    }

    fn build_ends(&mut self, status: &Value) {
        let status: BuildStatus = serde_json::from_value(status.clone()).unwrap();
        self.observed.builds.last_mut().unwrap().status = Some(status);
    }

    fn build_succeeds(&mut self, image: &str) {
        self.build_ends(&json!({
            "phase": "Succeeded", "processes": {"web": "serve", "worker": "work"},
            "image": {"repository": "slipway/team/hello", "digest": digest(image)},
        }));
    }

    fn release_ends(&mut self, phase: ReleasePhase) {
        let (last, rest) = self.observed.releases.split_last_mut().unwrap();
        let failure = (phase == ReleasePhase::Failed).then(|| ReleaseFailure {
            reason: "ChecksFailed".into(),
            message: "GET / was answered with 500".into(),
            ..ReleaseFailure::default()
        });
        last.status = Some(ReleaseStatus {
            phase,
            failure,
            ..ReleaseStatus::default()
        });
        if phase == ReleasePhase::Serving {
            for release in rest {
                release.status = Some(ReleaseStatus {
                    phase: ReleasePhase::Superseded,
                    ..ReleaseStatus::default()
                });
            }
        }
        self.pods(1, 1);
    }

    fn pods(&mut self, replicas: i32, ready: i32) {
        let deployment = json!({
            "metadata": {"name": "hello-web", "labels": {"slipway.dev/process": "web"}},
            "spec": {"replicas": replicas, "selector": {}, "template": {}},
            "status": {"replicas": replicas, "readyReplicas": ready},
        });
        self.observed.deployments = vec![serde_json::from_value::<Deployment>(deployment).unwrap()];
    }

    /// Steps until a first Release serves.
    fn serving(mut self) -> Self {
        self.step();
        if !self.observed.builds.is_empty() {
            self.build_succeeds("2");
            self.step();
        }
        self.release_ends(ReleasePhase::Serving);
        let (made, ready) = self.step();
        assert_eq!(made, [""; 0]);
        assert!(ready.starts_with("True Serving"), "{ready}");
        self
    }

    fn notes(&self) -> String {
        self.app.status.as_ref().unwrap().notes.join("\n")
    }
}

#[test]
fn an_upgrade_makes_nothing_and_the_first_number_comes_after_all_that_have_none() {
    let mut world = World::git(json!({})).serving();
    // The records as an older operator made them.
    let name = "hello-259d8f3b97".to_owned();
    for revision in &mut world.observed.revisions {
        revision.metadata.name = Some(name.clone());
        revision.spec.number = None;
    }
    for build in &mut world.observed.builds {
        build.spec.revision.clone_from(&name);
        build.spec.revision_number = None;
    }
    for release in &mut world.observed.releases {
        release.spec.revision.clone_from(&name);
    }
    let status = world.app.status.as_mut().unwrap();
    status.latest.as_mut().unwrap().revision = Some(name);
    status.last_revision_number = None;
    let before = status.clone();
    assert_eq!(world.step().0, [""; 0]);
    assert_eq!(world.app.status, Some(before));

    world.commit("2");
    assert_eq!(
        world.step().0,
        ["Revision", "Build: new commit: 222222222222 (HEAD)"]
    );
    let newest = order::newest(&world.observed.revisions).unwrap();
    assert_eq!(
        (newest.name_any().as_str(), newest.spec.number),
        ("hello-r1", Some(1))
    );
    let build = order::newest(&world.observed.builds).unwrap();
    assert_eq!(
        (build.spec.revision.as_str(), build.spec.revision_number),
        ("hello-r1", Some(1))
    );
    assert_eq!(world.step().0, [""; 0]);
}

#[test]
fn a_branch_that_goes_back_is_a_new_revision_and_no_new_build() {
    let mut world = World::git(json!({})).serving();
    world.commit("2");
    world.step();
    world.build_succeeds("3");
    world.step();
    world.release_ends(ReleasePhase::Serving);
    world.commit("1");
    assert_eq!(
        world.step().0,
        ["Revision", "hello-v3: new image from commit 111111111111"]
    );
    let names: Vec<String> = world
        .observed
        .revisions
        .iter()
        .map(Revision::name_any)
        .collect();
    assert_eq!(names, ["hello-r1", "hello-r2", "hello-r3"]);
    assert_eq!(world.observed.releases[2].spec.revision, "hello-r3");
    // The number of a deleted record is not used again.
    world.step();
    world.observed.revisions.pop();
    world.commit("4");
    world.step();
    assert_eq!(world.observed.revisions[2].name_any(), "hello-r4");
}

#[tokio::test]
async fn a_number_that_somebody_has_taken_is_the_revision_if_it_is_of_the_same_state() {
    for (taken, wanted) in [("1", 1), ("2", 2)] {
        let world = World::git(json!({}));
        let mut plan = world.plan();
        let mut there = plan.revision.clone().unwrap();
        there.spec.git.as_mut().unwrap().commit = taken.repeat(40);
        let path = "/apis/slipway.dev/v1alpha1/namespaces/team";
        let fake = Fake::default();
        let object = serde_json::to_value(&there).unwrap();
        fake.put(&format!("{path}/revisions/hello-r1"), object);
        let client = fake.client();
        let clock: Clock = Arc::new(|| Timestamp::from_second(1).unwrap());
        let repositories = Repositories::new("slipway", []);
        let target = Target {
            client: &client,
            caches: &Caches::default(),
            events: &Publisher::new(client.clone(), "test".to_owned(), clock),
            app: &world.app.object_ref(&()),
            owner: Owner {
                namespace: "team",
                name: "hello",
                uid: "u-1",
                repositories: &repositories,
            },
        };
        apply::apply(target, &mut plan, &world.observed)
            .await
            .unwrap();
        let name = format!("hello-r{wanted}");
        let revision = fake.object(&format!("/revisions/{name}")).unwrap();
        assert_eq!(revision["spec"]["number"], wanted);
        assert_eq!(revision["spec"]["git"]["commit"], "1".repeat(40));
        let build = plan.build.unwrap().name_any();
        let build = fake.object(&format!("/builds/{build}")).unwrap();
        assert_eq!(build["spec"]["revision"], name.as_str());
        assert_eq!(build["spec"]["revisionNumber"], wanted);
        let told = plan.report.revision.map(|(name, _)| name);
        assert_eq!(
            (told, plan.report.revision_number),
            (Some(name), Some(wanted))
        );
        let made = fake.objects(&format!("{path}/revisions")).len();
        assert_eq!(i64::try_from(made), Ok(wanted));
    }
}

/// The rules that its objects are made by belong to the Release.
#[test]
fn newer_rules_of_rendering_make_no_release() {
    let mut world = World::git(json!({})).serving();
    world.observed.releases[0].spec.renderer = 1;
    assert_eq!(world.step().0, [""; 0]);
    // The next Release has the new rules, whatever it is made for.
    world.app.spec.port = Some(9000);
    assert_eq!(
        world.step().0,
        ["hello-v2: checks changed: web; port is 9000 now"]
    );
    assert_eq!(world.observed.releases[1].spec.renderer, 2);
}

#[test]
fn settings_of_an_administrator_wait_until_somebody_asks_for_them() {
    let mut world = World::git(json!({})).serving();
    // An operator of another version has its own program image; that is not reported.
    world.site.program_image = "operator:2".into();
    assert_eq!(world.step().0, [""; 0]);
    assert_eq!(world.notes(), "");
    world.site.registry = "moved.example:5000".into();
    assert_eq!(world.step().0, [""; 0]);
    assert!(
        world
            .notes()
            .contains("has changed the registry address of pods since hello-v1"),
        "{}",
        world.notes()
    );
    let ask = |world: &mut World, value: &str| {
        let asked = (
            "slipway.dev/rerender-requested-at".to_owned(),
            value.to_owned(),
        );
        world.app.metadata.annotations = Some([asked].into());
        let made = world.step().0;
        let status = world.app.status.as_ref().unwrap();
        assert_eq!(status.last_handled_rerender_at.as_deref(), Some(value));
        made
    };
    let made = ask(&mut world, "1");
    assert_eq!(
        made,
        ["hello-v2: cluster settings changed: registry address"]
    );
    world.release_ends(ReleasePhase::Serving);
    assert_eq!(world.step().0, [""; 0]);
    assert_eq!(world.notes(), "");
    // Nothing has changed since; a later change waits again.
    assert_eq!(ask(&mut world, "2"), [""; 0]);
    world.site.drain_seconds = 9;
    assert_eq!(world.step().0, [""; 0]);
}

#[test]
fn the_number_of_a_release_that_was_deleted_is_not_used_again() {
    let mut world = World::git(json!({})).serving();
    world.app.spec.port = Some(9000);
    assert_eq!(
        world.step().0,
        ["hello-v2: checks changed: web; port is 9000 now"]
    );
    world.observed.releases.pop();
    assert_eq!(
        world.step().0,
        ["hello-v3: checks changed: web; port is 9000 now"]
    );
    world.observed.releases.pop();
    // The status is lost as well: then the records count.
    world.app.status = None;
    assert_eq!(
        world.step().0,
        ["hello-v2: checks changed: web; port is 9000 now"]
    );
    let number = |world: &World| world.app.status.as_ref().unwrap().last_release_number;
    assert_eq!(number(&world), Some(2));
    // A spec that cannot be carried out does not make the App forget the number.
    let stopped = Report::stopped(slipway_crds::conditions::Reason::InvalidSpec, String::new());
    world.tell(&stopped);
    assert_eq!(number(&world), Some(2));
}

#[test]
fn what_runs_without_the_images_entrypoint_is_told() {
    let said = "ENTRYPOINT";
    let processes = json!({"processes": {"worker": {"command": "work"}}});
    let notes = World::image("1000", processes.clone()).serving().notes();
    let command = "worker: the command runs in place of the image's ENTRYPOINT; begin it with that";
    assert!(notes.contains(command), "{notes}");
    // What is recorded stays, even if a later look-up knows more.
    let mut world = World::image("1000", processes);
    world
        .source
        .revision
        .as_mut()
        .unwrap()
        .image
        .as_mut()
        .unwrap()
        .entrypoint = false;
    let mut world = world.serving();
    world
        .source
        .revision
        .as_mut()
        .unwrap()
        .image
        .as_mut()
        .unwrap()
        .entrypoint = true;
    world.step();
    assert!(!world.notes().contains(said), "{}", world.notes());
    let checks = json!({"checks": {"web": [{"type": "liveness", "command": ["true"]}]}});
    let notes = World::image("1000", checks).serving().notes();
    let check = "web: the command of a check runs without the image's ENTRYPOINT";
    assert!(notes.contains(check), "{notes}");
    assert!(
        !World::image("1000", json!({}))
            .serving()
            .notes()
            .contains(said)
    );
}

#[test]
fn a_claim_that_is_bigger_than_it_is_asked_for_is_told() {
    let storage = json!({"storage": [{"name": "data", "mountPath": "/data", "claimTemplate": {"size": "1Gi"}}]});
    let mut world = World::git(storage).serving();
    for (size, told) in [
        ("2Gi", true),
        ("1Gi", false),
        ("1024Mi", false),
        ("500Mi", false),
    ] {
        let sizes = &mut world.observed.claims.sizes;
        sizes.insert("data".into(), Quantity(size.into()));
        world.step();
        let note = "storage data: 1Gi is asked for, and the claim has 2Gi";
        assert_eq!(
            world.notes().contains(note),
            told,
            "{size}: {}",
            world.notes()
        );
    }
}

/// `sh` and all other programs would not be found.
#[test]
fn a_path_without_the_images_own_folders_is_told() {
    for (path, told) in [
        ("/app/bin", true),
        ("/app/bin:$PATH", true),
        ("", true),
        ("/app/bin:/usr/local/bin:/usr/bin:/bin", false),
        ("/bin/", false),
    ] {
        let world = World::git(json!({"env": [{"name": "PATH", "value": path}]})).serving();
        let notes = world.notes();
        assert_eq!(
            notes.contains("the variable PATH takes the place"),
            told,
            "{path}: {notes}"
        );
    }
}

#[test]
fn a_git_app_goes_from_commit_to_serving() {
    let mut world = World::git(json!({"env": [{"name": "GREETING", "value": "hello"}]}));
    let (made, ready) = world.step();
    assert_eq!(
        made,
        ["Revision", "Build: first build, of 111111111111 (HEAD)"]
    );
    assert!(ready.starts_with("False BuildCreated"), "{ready}");
    let (made, ready) = world.step();
    assert_eq!(made, [""; 0]);
    assert!(ready.starts_with("False BuildQueued"), "{ready}");
    world.build_succeeds("2");
    let (made, ready) = world.step();
    assert_eq!(made, ["config", "hello-v1: first release, of 111111111111"]);
    assert!(ready.starts_with("False ReleaseCreated"), "{ready}");
    let release = &world.observed.releases[0].spec;
    assert_eq!(
        release.image.reference,
        format!("slipway/team/hello@{}", digest("2"))
    );
    assert_eq!(
        (release.port, release.image.user_id, release.renderer),
        (5000, Some(32767), 2)
    );
    assert_eq!(release.processes["worker"].replicas, 0);
    world.release_ends(ReleasePhase::Serving);
    let (made, ready) = world.step();
    assert_eq!(
        (made.len(), ready.as_str()),
        (0, "True Serving: hello-v1 serves 111111111111")
    );
    let status = world.app.status.clone().unwrap();
    assert_eq!(status.serving.unwrap().revision, "111111111111");
    assert_eq!(status.latest.unwrap().release.as_deref(), Some("hello-v1"));
}

#[test]
fn what_was_carried_out_halfway_goes_on_where_it_was() {
    let mut world = World::git(json!({}));
    world.step();
    world.build_succeeds("2");
    // The config Secret was made, then the operator was killed.
    let secret = world.plan().config.unwrap();
    world.store(secret);
    let (made, _) = world.step();
    assert_eq!(made, ["hello-v1: first release, of 111111111111"]);
    // Everything that was made names its owner.
    let release = &world.observed.releases[0];
    assert_eq!(release.labels()["slipway.dev/app-uid"], "u-1");
    assert_eq!(release.owner_references()[0].uid, "u-1");
    assert_eq!(release.namespace().as_deref(), Some("team"));
}

#[test]
fn a_changed_secret_makes_a_release_and_no_build() {
    let env = json!({"env": [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}]});
    let mut world = World::git(env);
    world.secret("db", &[("password", "one")]);
    let mut world = world.serving();
    world.secret("db", &[("password", "hunter2")]);
    let (made, ready) = world.step();
    assert_eq!(made, ["config", "hello-v2: config changed: PASSWORD"]);
    assert!(!ready.contains("hunter2"), "{ready}");
}

#[test]
fn a_missing_reference_stalls_and_says_what_to_create() {
    let env = json!({"env": [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}]});
    let mut world = World::git(env);
    world.step();
    world.build_succeeds("2");
    let (made, ready) = world.step();
    assert_eq!(made, [""; 0]);
    assert!(
        ready.starts_with("False ReferenceMissing: Secret db, which variable PASSWORD reads"),
        "{ready}"
    );
    world.secret("db", &[("user", "x")]);
    let (_, ready) = world.step();
    assert!(
        ready.contains("has no key password") && ready.contains("it has user"),
        "{ready}"
    );
    world.secret("db", &[("password", "x")]);
    assert_eq!(world.step().0.len(), 2);
}

#[test]
fn an_interrupted_build_is_due_again_and_the_app_is_not_stalled() {
    let mut world = World::git(json!({})).serving();
    world.commit("3");
    world.step();
    world.build_ends(&json!({
        "phase": "Failed",
        "finishedAt": "1970-01-01T00:01:00Z",
        "conditions": [{
            "type": "Ready", "status": "False", "reason": "BuildInterrupted", "message": "",
            "lastTransitionTime": "1970-01-01T00:01:00Z",
        }],
        "failure": {"step": "build", "message": "its container was killed"},
    }));
    world.second = 60;
    let due = Timestamp::from_second(70).unwrap();
    assert_eq!(world.plan().due, Some(due));
    let (made, ready) = world.step();
    assert_eq!(made, [""; 0]);
    let build = world.last_build();
    assert_eq!(
        ready,
        format!(
            "False BuildInterrupted: Build {build} failed in build: its container was killed; `slipway logs build {build} -n team` shows the log; it is built again at 1970-01-01T00:01:10Z"
        )
    );
    world.second = 70;
    let (made, _) = world.step();
    assert_eq!(made, [format!("Build: {build} was interrupted")]);
}

#[test]
fn a_failed_build_keeps_what_serves_and_says_what_happened() {
    let mut world = World::git(json!({})).serving();
    world.commit("3");
    let (made, _) = world.step();
    assert_eq!(made, ["Revision", "Build: new commit: 333333333333 (HEAD)"]);
    let failure = BuildFailure {
        step: "compile".into(),
        pack: Some("python".into()),
        exit_code: Some(1),
        message: "buildpack python failed to compile the Python app (exit code 1); its output above says why".into(),
        last_lines: [
            "       ERROR: no flsk",
            " !",
            " !     buildpack python failed to compile the Python app (exit code 1); its output above says why",
            " !",
        ]
        .map(String::from)
        .to_vec(),
    };
    world.build_ends(&json!({"phase": "Failed", "failure": failure}));
    assert_eq!(
        world
            .observed
            .builds
            .last()
            .unwrap()
            .status
            .as_ref()
            .unwrap()
            .phase,
        BuildPhase::Failed
    );
    let (made, ready) = world.step();
    assert_eq!(made, [""; 0]);
    let build = world.last_build();
    assert_eq!(
        ready,
        format!(
            "False BuildFailed: Build {build} failed in compile (buildpack python, exit code 1): buildpack python failed to compile the Python app (exit code 1): ERROR: no flsk; `slipway logs build {build} -n team` shows the log; a new value of the annotation slipway.dev/rebuild-requested-at builds it again"
        )
    );
    let conditions = &world.app.status.as_ref().unwrap().conditions;
    let of = |t: &str| {
        conditions
            .iter()
            .find(|c| c.type_ == t)
            .map(|c| c.status.as_str())
    };
    assert_eq!(
        (of(types::AVAILABLE), of(types::STALLED)),
        (Some("True"), Some("True"))
    );
    // A change of config is still deployed, with the existing image.
    world.app.spec.env = serde_json::from_value(json!([{"name": "A", "value": "1"}])).unwrap();
    // Builds also get it: it may have been the cause of the failure.
    assert_eq!(
        world.step().0,
        [format!(
            "Build: env changed since {build} could not be built"
        )]
    );
    world.build_ends(&json!({"phase": "Failed"}));
    let (made, _) = world.step();
    assert_eq!(made, ["config", "hello-v2: config changed: A"]);
    assert!(
        world.notes().contains("with the image of 111111111111"),
        "{}",
        world.notes()
    );
}

#[test]
fn a_failed_build_is_tried_again_once_a_variable_is_corrected() {
    let mut world = World::git(json!({"env": [{"name": "TOKEN", "build": true,
        "valueFrom": {"secretKeyRef": {"name": "npm", "key": "token"}}}]}));
    world.secret("npm", &[("token", "wrong")]);
    world.step();
    for token in ["wrong", "right"] {
        world.build_ends(&json!({"phase": "Failed"}));
        let (made, ready) = world.step();
        assert_eq!(made, [""; 0], "{token}");
        assert!(
            ready.contains("rebuild-requested-at builds it again"),
            "{ready}"
        );
        if token == "wrong" {
            let failed = world.last_build();
            world.secret("npm", &[("token", "right")]);
            assert_eq!(
                world.step().0,
                [format!(
                    "Build: a value that env refers to changed since {failed} could not be built"
                )]
            );
        }
    }
    let failed = world.last_build();
    world.app.spec.env.clear();
    assert_eq!(
        world.step().0,
        [format!(
            "Build: env changed since {failed} could not be built"
        )]
    );
    let build = world.observed.builds.last().unwrap();
    assert!(!format!("{build:?}").contains("right"));
}

#[test]
fn a_build_of_an_older_operator_that_failed_tells_which_variables_it_did_not_see() {
    let mut world = World::git(json!({}));
    world.step();
    world.build_ends(&json!({"phase": "Failed"}));
    world.observed.builds[0].metadata.annotations = None;
    world.app.spec.env = serde_json::from_value(json!([{"name": "A", "value": "1"}])).unwrap();
    assert_eq!(world.step().0, [""; 0]);
    assert_eq!(
        world.notes(),
        "a rebuild would see another value of A; a new value of the annotation slipway.dev/rebuild-requested-at asks for one"
    );
}

#[test]
fn a_build_that_waits_for_a_misspelt_secret_is_made_anew_when_it_is_corrected() {
    let token = |secret: &str| {
        json!([{"name": "TOKEN", "build": true,
            "valueFrom": {"secretKeyRef": {"name": secret, "key": "token"}}}])
    };
    let mut world = World::git(json!({"env": token("nmp")}));
    world.step();
    world.build_ends(&json!({"phase": "Pending", "conditions": [{
        "type": "Ready", "status": "False", "reason": "ReferenceMissing",
        "message": "there is no Secret nmp", "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]}));
    assert_eq!(world.step().0, [""; 0]);
    let waits = world.observed.builds[0].name_any();
    world.app.spec.env = serde_json::from_value(token("npm")).unwrap();
    assert_eq!(
        world.step().0,
        [format!(
            "Build: env changed since {waits} could not be built"
        )]
    );
}

#[test]
fn a_failed_release_is_left_at_that_and_says_what_serves() {
    let mut world = World::git(json!({})).serving();
    world.app.spec.port = Some(8080);
    assert_eq!(
        world.step().0,
        ["hello-v2: checks changed: web; port is 8080 now"]
    );
    world.release_ends(ReleasePhase::Failed);
    for _ in 0..2 {
        let (made, ready) = world.step();
        assert_eq!(made, [""; 0]);
        assert_eq!(
            ready,
            "False ChecksFailed: hello-v2 failed: GET / was answered with 500; hello-v1 serves on"
        );
    }
}

#[test]
fn a_release_that_failed_from_outside_says_how_to_try_again() {
    let mut world = World::git(json!({})).serving();
    world.app.spec.port = Some(8080);
    world.step();
    world.release_ends(ReleasePhase::Failed);
    let status = world.observed.releases[1].status.as_mut().unwrap();
    status.failure.as_mut().unwrap().reason = "Unschedulable".into();
    // The Release to go back to is not running yet.
    world.observed.releases[0].status = Some(
        serde_json::from_value(json!({"phase": "Serving", "conditions": [{
            "type": "Ready", "status": "False", "reason": "TemporaryFailure",
            "message": "cannot write Deployment hello-web", "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]}))
        .unwrap(),
    );
    let (_, ready) = world.step();
    assert_eq!(
        ready,
        "False Unschedulable: hello-v2 failed: GET / was answered with 500; going back to hello-v1: cannot write Deployment hello-web; a new value of the annotation slipway.dev/rebuild-requested-at builds and tries again"
    );
    // As the message says: once a Build answers the annotation, there is another Release.
    let asked = [(
        "slipway.dev/rebuild-requested-at".to_owned(),
        "now".to_owned(),
    )];
    world.app.metadata.annotations = Some(asked.into());
    assert_eq!(world.step().0, ["Build: a rebuild was requested"]);
    world.build_succeeds("2");
    assert_eq!(world.step().0, ["hello-v3: another try of v2"]);
}

#[test]
fn a_release_whose_registry_was_away_is_made_again_by_itself() {
    let mut world = World::git(json!({})).serving();
    world.app.spec.port = Some(8080);
    world.step();
    world.release_ends(ReleasePhase::Failed);
    world.second = 1000;
    let status = world.observed.releases[1].status.as_mut().unwrap();
    status.failure.as_mut().unwrap().reason = "RegistryUnavailable".into();
    status.conditions = serde_json::from_value(json!([{
        "type": "Ready", "status": "False", "reason": "RegistryUnavailable", "message": "",
        "lastTransitionTime": "1970-01-01T00:16:40Z",
    }]))
    .unwrap();
    let due = Timestamp::from_second(1060).unwrap();
    assert_eq!(world.plan().due, Some(due));
    let (made, ready) = world.step();
    assert_eq!(made, [""; 0]);
    assert!(
        ready.ends_with("hello-v1 serves on; it is tried again at 1970-01-01T00:17:40Z"),
        "{ready}"
    );
    world.second = 1060;
    assert_eq!(world.step().0, ["hello-v3: another try of v2"]);
}

#[test]
fn scaling_makes_no_release() {
    let mut world = World::git(json!({})).serving();
    world.app.spec.processes = serde_json::from_value(json!({"web": {"replicas": 3}})).unwrap();
    // The new generation is not ready before it is carried out.
    let (made, ready) = world.step();
    assert_eq!(made, [""; 0]);
    assert_eq!(
        ready,
        "False Progressing: web has to be scaled to 3: see `kubectl describe pods -l slipway.dev/app=hello`"
    );
    world.pods(3, 1);
    assert_eq!(
        world.step().1,
        "False Progressing: 1 of 3 web ready: see `kubectl describe pods -l slipway.dev/app=hello`"
    );
    world.pods(3, 3);
    let (made, ready) = world.step();
    assert_eq!(made, [""; 0]);
    assert!(ready.starts_with("True"), "{ready}");
    // Suspended, it is never carried out.
    world.app.spec.suspend = true;
    world.app.spec.processes = serde_json::from_value(json!({"web": {"replicas": 2}})).unwrap();
    assert_eq!(
        world.step().1,
        "False Suspended: suspended (spec.suspend), with this left undone: web has to be scaled to 2: see `kubectl describe pods -l slipway.dev/app=hello`"
    );
}

#[test]
fn a_commit_with_the_same_image_makes_no_release_and_is_what_serves() {
    let mut world = World::git(json!({})).serving();
    world.commit("3");
    world.step();
    world.build_succeeds("2");
    let (made, ready) = world.step();
    assert_eq!(made, [""; 0]);
    assert!(ready.starts_with("True Serving"), "{ready}");
    assert_eq!(
        world
            .app
            .status
            .as_ref()
            .unwrap()
            .serving
            .as_ref()
            .unwrap()
            .revision,
        "333333333333"
    );
}

#[test]
fn an_image_app_is_released_without_a_build() {
    let mut world = World::image("1000", json!({}));
    let (made, _) = world.step();
    assert_eq!(made[0], "Revision");
    assert!(
        made.last()
            .unwrap()
            .starts_with("hello-v1: first release, of sha256:9"),
        "{made:?}"
    );
    let release = &world.observed.releases[0].spec;
    assert!(release.image.external && release.image.user_id.is_none());
    assert_eq!(
        (release.port, release.processes["web"].command.clone()),
        (8080, None)
    );
}

#[test]
fn an_image_that_exposes_not_one_port_says_where_web_is_asked() {
    // What the image exposes, its own PORT, the port of the Release before, if there is one; which port is probed, and
    // why.
    for (exposed, own, before, port, told) in [
        (
            Some(vec![8081, 9229]),
            None,
            None,
            5000,
            "the image exposes 8081 and 9229: web is asked on 5000, which it finds in $PORT; spec.port names another",
        ),
        (
            Some(vec![]),
            None,
            None,
            5000,
            "the image exposes no TCP port: web is asked on 5000, which",
        ),
        (
            Some(vec![]),
            Some(9000),
            None,
            9000,
            "exposes no TCP port and sets PORT to 9000: web is asked on 9000, which",
        ),
        (
            Some(vec![1, 2, 3]),
            Some(9000),
            None,
            9000,
            "the image exposes 1, 2 and 3 and sets PORT to 9000: web is asked on 9000, which",
        ),
        // An App that an older operator probed on 5000 stays there; the next one moves with its image.
        (
            Some(vec![]),
            Some(9000),
            Some(5000),
            5000,
            "and sets PORT to 9000: web is asked on 5000, as its last release is, which",
        ),
        (
            Some(vec![]),
            Some(9001),
            Some(9000),
            9001,
            "sets PORT to 9001: web is asked on 9001, which",
        ),
        (
            None,
            None,
            Some(5000),
            5000,
            "the image does not expose exactly one port: web is asked on 5000, which",
        ),
    ] {
        let mut world = World::image("1000", json!({}));
        let image = |world: &mut World, own, exposed| {
            let image = world.source.revision.as_mut().unwrap().image.as_mut();
            let image = image.unwrap();
            (image.port, image.env_port, image.exposed_ports) = (None, own, exposed);
        };
        if let Some(before) = before {
            let from = Some(before).filter(|port| *port != 5000);
            image(&mut world, from, Some(vec![]));
            world = world.serving();
            assert_eq!(world.observed.releases[0].spec.port, before);
            // Another image under the same name.
            let next = world.source.revision.as_mut().unwrap().image.as_mut();
            next.unwrap().resolved = format!("ghcr.io/team/app@{}", digest("8"));
        }
        image(&mut world, own, exposed);
        for _ in 0..2 {
            world.step();
            let release = world.observed.releases.last().unwrap();
            let releases = 1 + i64::from(before.is_some());
            assert_eq!((release.spec.port, release.spec.number), (port, releases));
            assert!(world.notes().contains(told), "{told}: {}", world.notes());
        }
        world.app.spec.port = Some(7000);
        world.step();
        assert_eq!(world.observed.releases.last().unwrap().spec.port, 7000);
        assert!(!world.notes().contains("the image"), "{}", world.notes());
    }
}

#[test]
fn an_image_that_wants_root_says_so() {
    let (made, ready) = World::image("", json!({})).step();
    assert_eq!(made, ["Revision"]);
    assert!(
        ready.starts_with("False RootRequired: ghcr.io/team/app:1: the image runs as root"),
        "{ready}"
    );
    let (made, _) = World::image("", json!({"podSecurity": "Baseline"})).step();
    assert_eq!(made.len(), 3, "{made:?}");
}

#[test]
fn a_suspended_app_is_left_as_it_is() {
    let mut world = World::git(json!({})).serving();
    world.app.spec.suspend = true;
    world.app.spec.port = Some(8080);
    let (made, ready) = world.step();
    assert_eq!(made, [""; 0]);
    assert!(
        ready.starts_with("False Suspended") && ready.contains("a release is due"),
        "{ready}"
    );
    let (made, ready) = World::git(json!({"suspend": true})).step();
    assert_eq!(made, [""; 0]);
    assert!(ready.starts_with("False Suspended"), "{ready}");
}

#[test]
fn a_source_that_is_away_does_not_undo_what_serves() {
    let mut world = World::git(json!({})).serving();
    world.source.trouble = Some(Step::Retrying(
        slipway_crds::conditions::Reason::SourceUnavailable,
        "away".into(),
    ));
    let (made, ready) = world.step();
    assert_eq!(made, [""; 0]);
    assert!(ready.starts_with("True"), "{ready}");
}

#[test]
fn a_missing_stack_says_who_has_to_act() {
    let mut world = World::git(json!({}));
    world.observed.stack = None;
    let (_, ready) = world.step();
    assert!(
        ready.starts_with("False StackMissing: Stack standard does not exist"),
        "{ready}"
    );
}

#[test]
fn new_digests_of_the_stack_make_a_build() {
    let mut world = World::git(json!({})).serving();
    world.observed.stack.as_mut().unwrap().spec.packs[0]
        .artifact
        .digest = digest("d");
    let (made, _) = world.step();
    assert_eq!(
        made,
        ["Build: the Stack standard changed: buildpack python"]
    );
}

#[test]
fn notes_tell_what_no_condition_says() {
    let mut world = World::git(json!({
        "storage": [{"name": "data", "mountPath": "/data", "claimTemplate": {"size": "1Gi"}, "processes": ["web"]}],
        "env": [{"name": "A", "value": "1"}],
    }))
    .serving();
    assert!(
        world
            .notes()
            .contains("web is stopped before its next release starts"),
        "{}",
        world.notes()
    );
    let env = json!([{"name": "A", "value": "2"}, {"name": "B", "build": true,
        "valueFrom": {"secretKeyRef": {"name": "two", "key": "b"}}}]);
    world.secret("two", &[("b", "2")]);
    world.app.spec.env = serde_json::from_value(env).unwrap();
    world.step();
    assert!(
        world
            .notes()
            .contains("a rebuild would see another value of B;"),
        "{}",
        world.notes()
    );
}

#[test]
fn a_process_that_is_not_there_is_named_with_those_that_are() {
    let mut world = World::git(json!({"checks": {"wbe": [{"type": "startup"}]}}));
    world.step();
    world.build_succeeds("2");
    let (_, ready) = world.step();
    assert!(
        ready.contains(r#"spec.checks names process "wbe""#) && ready.contains("web, worker"),
        "{ready}"
    );
}
