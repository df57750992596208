//! Deployments → who sets the number of replicas of each process, and which numbers stay. Pure.
//!
//! A number in the App's spec comes first. Without one, a number that something else set through the Deployment's scale
//! subresource stays. Without that too, the present number stays until a Release asks for another number than the
//! Release before it; so when a number is removed from the App's spec, it stays until an autoscaler takes over. Only a
//! Deployment that is new, or that we scaled to zero, gets the Release's own number. Zero is a number like any other: a
//! process that something else scaled to zero stays there.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt as _;
use slipway_crds::{labels, v1alpha1::Release};

use crate::controllers::release::observed::Observed;
use slipway_k8s::{FieldManager, scaled};

/// Processes that something else scales.
pub(super) fn scaled(deployments: &[Deployment]) -> BTreeSet<String> {
    deployments
        .iter()
        .filter(|deployment| scaled::is_anothers(deployment.managed_fields()))
        .filter_map(|deployment| deployment.labels().get(labels::PROCESS).cloned())
        .collect()
}

/// Numbers that we set and that stay when `release` runs, by process.
pub(super) fn kept(observed: &Observed, release: &Release) -> BTreeMap<String, i32> {
    let stays = |deployment: &Deployment| {
        let name = deployment.labels().get(labels::PROCESS)?;
        let number = deployment.spec.as_ref()?.replicas?;
        let before = made_from(deployment, &observed.releases)?;
        let own = |release: &Release| Some(release.spec.processes.get(name)?.replicas);
        let stays = number > 0
            && own(before) == own(release)
            && scaled::is_ours(deployment.managed_fields(), FieldManager::Release);
        stays.then(|| (name.clone(), number))
    };
    observed
        .objects
        .deployments
        .iter()
        .filter_map(stays)
        .collect()
}

/// The Release that a Deployment's pods are made from now.
fn made_from<'a>(deployment: &Deployment, releases: &'a [Release]) -> Option<&'a Release> {
    let number = deployment.labels().get(labels::RELEASE)?;
    releases
        .iter()
        .find(|release| release.spec.number.to_string() == *number)
}

#[cfg(test)]
mod tests {
    use crate::controllers::release::{observed::Observed, plan};
    use serde_json::{Value, json};
    use slipway_core::{desired::Site, settings::ServiceType};
    use slipway_crds::v1alpha1::{App, Release, ReleaseSite};

    /// What may happen between two reconciles.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Event {
        /// The App's spec names a number, or no longer names one.
        Names(Option<i32>),
        /// Something scales the Deployment.
        Scales(i32),
        /// A Release is made that asks for this number if nobody else does, and succeeds or fails.
        Releases(i32, &'static str),
    }

    const EVENTS: [Event; 8] = [
        Event::Names(Some(2)),
        Event::Names(Some(0)),
        Event::Names(None),
        Event::Scales(5),
        Event::Scales(0),
        Event::Releases(1, "Serving"),
        Event::Releases(3, "Serving"),
        Event::Releases(3, "Failed"),
    ];

    /// An App of one process, and its Deployment with the field managers of one field.
    struct World {
        app: App,
        observed: Observed,
        site: Site,
        /// The number, whether we own it, whether a scaler owns it, and the Release of the template.
        deployment: Option<(i32, bool, bool, String)>,
    }

    impl World {
        fn new(named: Option<i32>) -> Self {
            let app = json!({
                "apiVersion": "slipway.dev/v1alpha1", "kind": "App", "metadata": {"name": "hello", "namespace": "team", "uid": "u"},
                "spec": {"source": {"image": {"reference": "i"}}, "processes": {"web": {"replicas": named}}},
            });
            let mut world = Self {
                app: serde_json::from_value(app).unwrap(),
                observed: Observed::default(),
                site: Site {
                    pods: ReleaseSite {
                        registry: "registry".into(),
                        pull_secret: None,
                        program_image: "programs".into(),
                        drain_seconds: 5,
                    },
                    service_type: ServiceType::ClusterIp,
                },
                deployment: None,
            };
            world.release(1, "Serving");
            world
        }

        fn release(&mut self, own: i32, phase: &str) {
            let number = self.observed.releases.len() + 1;
            let release: Release = serde_json::from_value(json!({
                "apiVersion": "slipway.dev/v1alpha1", "kind": "Release", "metadata": {"name": format!("hello-v{number}")},
                "spec": {
                    "app": {"name": "hello", "uid": "u"}, "number": number, "cause": "c", "inputs": "i", "renderer": 1,
                    "revision": "r", "revisionId": "r", "image": {"reference": "i"}, "configSecret": "s", "port": 5000,
                    "deadlines": {}, "podSecurity": "Restricted", "processes": {"web": {"replicas": own}},
                },
                "status": {"phase": phase},
            }))
            .unwrap();
            self.observed.releases.push(release);
        }

        fn named(&self) -> Option<i32> {
            self.app.spec.processes["web"].replicas
        }

        /// The number that a Release asks for.
        fn own(&self, number: &str) -> i32 {
            let releases = self.observed.releases.iter();
            let mut found = releases.filter(|r| r.spec.number.to_string() == number);
            found.next().unwrap().spec.processes["web"].replicas
        }

        fn happens(&mut self, event: Event) {
            match event {
                Event::Names(number) => {
                    self.app.spec.processes.get_mut("web").unwrap().replicas = number;
                }
                Event::Scales(number) => {
                    // Setting the present number changes nothing. A Scale omits zero, so nobody owns the field then.
                    let (replicas, ours, scaled, _) = self.deployment.as_mut().unwrap();
                    if *replicas != number {
                        (*replicas, *ours, *scaled) = (number, false, number != 0);
                    }
                }
                // The failed Release is rolled out, and then the operator goes back.
                Event::Releases(own, phase @ "Failed") => {
                    self.release(own, "Deploying");
                    self.look(&[event]);
                    let last = self.observed.releases.last_mut().unwrap();
                    last.status = serde_json::from_value(json!({"phase": phase})).unwrap();
                }
                Event::Releases(own, phase) => self.release(own, phase),
            }
        }

        /// One reconcile: what is applied, and what the API server makes of it.
        fn look(&mut self, told: &[Event]) {
            self.observed.objects.deployments = self.deployment.iter().map(deployment).collect();
            let plan = plan::plan(&self.app, &self.observed, &self.site)
                .unwrap()
                .unwrap();
            let Some(applied) = plan.objects.deployments.first() else {
                return;
            };
            let number = plan.target.release.spec.number.to_string();
            let wanted = applied.spec.as_ref().unwrap().replicas;
            let Some((replicas, ours, scaled, before)) = self.deployment.clone() else {
                self.deployment = Some((wanted.unwrap(), true, false, number));
                return;
            };
            let now = match wanted {
                Some(wanted) => (wanted, true, scaled && wanted == replicas, number.clone()),
                // Nobody owns the field any more: the API server sets its default.
                None if ours && !scaled => (1, false, false, number.clone()),
                None => (replicas, false, scaled, number.clone()),
            };
            let expected = match self.named() {
                Some(named) => named,
                None if scaled || !ours => replicas,
                None if self.own(&before) == self.own(&number) && replicas > 0 => replicas,
                None => self.own(&number),
            };
            assert_eq!(now.0, expected, "{told:?}");
            self.deployment = Some(now);
        }
    }

    fn deployment(
        (replicas, ours, scaled, release): &(i32, bool, bool, String),
    ) -> k8s_openapi::api::apps::v1::Deployment {
        let entry = |manager: &str, operation: &str, subresource: Option<&str>| {
            json!({"manager": manager, "operation": operation, "subresource": subresource, "apiVersion": "apps/v1",
                "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}}})
        };
        let mut entries: Vec<Value> = vec![entry("slipway/release", "Apply", None)];
        if !ours {
            entries[0]["fieldsV1"] = json!({"f:spec": {"f:template": {}}});
        }
        if *scaled {
            entries.push(entry("keda", "Update", Some("scale")));
        }
        serde_json::from_value(json!({
            "metadata": {
                "name": "hello-web", "managedFields": entries,
                "labels": {"slipway.dev/process": "web", "slipway.dev/release": release},
            },
            "spec": {"replicas": replicas, "selector": {}, "template": {}},
        }))
        .unwrap()
    }

    /// The number is what the spec says; else what something else set; else the present one, unless a Release asks for
    /// another than the one before it. No other number appears in between, whoever takes over from whom.
    #[test]
    fn a_number_changes_only_when_somebody_says_so() {
        for first in [None, Some(2)] {
            for sequence in 0..EVENTS.len().pow(3) {
                let events = [0, 1, 2]
                    .map(|place: u32| EVENTS[sequence / EVENTS.len().pow(place) % EVENTS.len()]);
                let mut world = World::new(first);
                world.look(&[]);
                for (index, event) in events.into_iter().enumerate() {
                    world.happens(event);
                    world.look(&events[..=index]);
                    // Applying a second time changes nothing.
                    let once = world.deployment.clone();
                    world.look(&events[..=index]);
                    assert_eq!(world.deployment, once, "{events:?}");
                }
            }
        }
    }

    #[test]
    fn a_release_that_runs_nothing_takes_the_number_to_none_and_the_next_one_has_its_own() {
        let mut world = World::new(None);
        world.observed.releases.clear();
        world.release(3, "Deploying");
        world.look(&[]);
        for (scaled, phase) in [(false, "Failed"), (true, "Failed")] {
            if scaled {
                world.happens(Event::Scales(5));
            }
            let last = world.observed.releases.last_mut().unwrap();
            last.status = serde_json::from_value(json!({"phase": phase})).unwrap();
            world.observed.objects.deployments = world.deployment.iter().map(deployment).collect();
            let plan = plan::plan(&world.app, &world.observed, &world.site);
            let stopped = plan.unwrap().unwrap().objects.deployments;
            assert_eq!(stopped[0].spec.as_ref().unwrap().replicas, Some(0));
            world.deployment.as_mut().unwrap().0 = 0;
            world.deployment.as_mut().unwrap().2 = false;
            world.deployment.as_mut().unwrap().1 = true;
            world.release(3, "Deploying");
            world.look(&[]);
            assert_eq!(world.deployment.as_ref().unwrap().0, 3);
        }
    }
}
