//! Kinds of objects, each at its time.

use kube::{Resource, ResourceExt as _};
use serde_json::json;
use slipway_crds::v1alpha1::{App, Release, ReleaseSpec};

use crate::controllers::{
    caches::Caches,
    release::{
        apply::{apply, prune},
        kind::{AnyKind, Kind, Leftovers, Place, Refused, Written},
    },
};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Service, ServiceAccount};
use serde::de::DeserializeOwned;
use slipway_core::desired::Objects;
use slipway_support::fake_api::Fake;

fn object<K: Resource + DeserializeOwned>(name: &str) -> K {
    serde_json::from_value(json!({"metadata": {
        "name": name, "namespace": "team", "labels": {"app.kubernetes.io/managed-by": "slipway", "slipway.dev/app": "hello"},
        "ownerReferences": [
            {"apiVersion": "slipway.dev/v1alpha1", "kind": "App", "name": "hello", "uid": "app", "controller": true},
        ],
    }}))
    .unwrap()
}

fn app() -> App {
    serde_json::from_value(json!({
        "apiVersion": "slipway.dev/v1alpha1", "kind": "App",
        "metadata": {"name": "hello", "namespace": "team", "uid": "app"},
        "spec": {"source": {"image": {"reference": "i"}}},
    }))
    .unwrap()
}

const EARLY: Kind<ServiceAccount> = Kind {
    cache: |caches| &caches.service_accounts,
    written: Written::BeforeServing,
    leftovers: Leftovers::Stay,
    refused: Refused::Ends,
};
const LATE: Kind<Service> = Kind {
    cache: |caches| &caches.services,
    written: Written::OnceItServes,
    leftovers: Leftovers::Go,
    refused: Refused::Ends,
};
const NAMED: Kind<PersistentVolumeClaim> = Kind {
    cache: |caches| &caches.claims,
    written: Written::OnceItServes,
    leftovers: Leftovers::GoUnless(|app, _| [app.name_any()].into()),
    refused: Refused::Ends,
};

/// Three kinds stand for all: none is written at another time than its own, and what is no longer wanted is deleted if
/// its kind's rule says so.
#[tokio::test]
async fn each_kind_is_written_at_its_time_and_goes_by_its_rule() {
    let fake = Fake::default();
    let (client, caches) = (fake.client(), Caches::default());
    let kinds: [&dyn AnyKind; 3] = [&EARLY, &LATE, &NAMED];
    let place = Place {
        client: &client,
        caches: &caches,
        namespace: "team",
    };
    let mut wanted = Objects {
        service_accounts: vec![object("hello")],
        services: vec![object("hello"), object("old")],
        claims: vec![object("hello"), object("old")],
        ..Objects::default()
    };
    let mut applied = Objects::default();
    for (now, counts) in [
        (Written::BeforeServing, (1, 0, 0)),
        (Written::OnceItServes, (1, 2, 2)),
    ] {
        let told = apply(&kinds, now, place, &wanted, &mut applied).await;
        assert!(told.unwrap().is_none());
        let (accounts, services) = (applied.service_accounts.len(), applied.services.len());
        assert_eq!((accounts, services, applied.claims.len()), counts);
    }
    wanted.service_accounts.clear();
    wanted.services = vec![object("hello")];
    let mut found = Objects::default();
    for kind in kinds {
        kind.find(&caches, "team", "hello", &mut found);
    }
    // Kinds that always stay need not be looked up.
    assert_eq!((found.service_accounts.len(), found.services.len()), (0, 2));
    let release = Release::new("hello-v1", ReleaseSpec::default());
    let before = fake.writes().len();
    let of = (&app(), &release);
    prune(&kinds, place, &found, &wanted, of).await.unwrap();
    let mut gone = fake.writes().split_off(before);
    gone.sort();
    assert_eq!(gone.len(), 2, "{gone:?}");
    assert!(gone[0].contains("persistentvolumeclaims/old"), "{gone:?}");
    assert!(gone[1].contains("services/old"), "{gone:?}");
}
