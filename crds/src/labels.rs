//! Label and annotation keys, and the sets in which they are used.

use std::collections::BTreeMap;

/// Which App an object belongs to, by name.
pub const APP: &str = "slipway.dev/app";
/// Which App an object belongs to, by UID: a recreated App inherits nothing.
pub const APP_UID: &str = "slipway.dev/app-uid";
/// Which process of the App a Deployment or Pod runs. Pods of Jobs run no process and do not have it. Services select
/// by it, and only pods that have it count in a roll-out.
pub const PROCESS: &str = "slipway.dev/process";
/// Number of the Release that a pod template was made from.
pub const RELEASE: &str = "slipway.dev/release";
/// The Build that a container or volume on an engine belongs to, by UID.
pub const BUILD_UID: &str = "slipway.dev/build-uid";
/// The trust zone (`fetch`, `build`, `export`) of a build container.
pub const ZONE: &str = "slipway.dev/zone";

/// Recommended label: who manages the object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Recommended label: the App.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// Recommended label: the process.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// Value of [`MANAGED_BY`].
pub const SLIPWAY: &str = "slipway";

/// Annotation on an App: any new value triggers a look-up of the source at once.
pub const RECONCILE_REQUESTED_AT: &str = "slipway.dev/reconcile-requested-at";
/// Annotation on an App: any new value makes a new Build, even of an unchanged Revision.
pub const REBUILD_REQUESTED_AT: &str = "slipway.dev/rebuild-requested-at";
/// Annotation on an App: any new value makes a Release with the present rules of the operator and settings of the
/// administrator, if the newest Release was made with others.
pub const RERENDER_REQUESTED_AT: &str = "slipway.dev/rerender-requested-at";
/// Annotation on a Build: `true` cancels it.
pub const CANCEL: &str = "slipway.dev/cancel";
/// Annotations that request something.
pub const REQUESTS: [&str; 4] = [
    RECONCILE_REQUESTED_AT,
    REBUILD_REQUESTED_AT,
    RERENDER_REQUESTED_AT,
    CANCEL,
];

/// Annotation on an App's config Secret: names of the variables whose values come from no Secret, separated by commas.
/// These values may be shown in the App's output.
pub const OPEN_VARIABLES: &str = "slipway.dev/open-variables";

/// Annotation on a Build: a keyed hash of its variables when it was made, with the values behind references to Secrets
/// and ConfigMaps. If a Build failed, the operator uses it to find out whether a new one would get other values.
pub const BUILD_ENV: &str = "slipway.dev/build-env";

/// Annotation on a Build: how many retries after interruptions the operator that made it allows. A newer operator that
/// allows more does not continue what the older one gave up.
pub const BUILD_RETRIES: &str = "slipway.dev/build-retries";

/// Labels of every object that belongs to an App.
pub fn of_app(app: &str, uid: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (MANAGED_BY.to_owned(), SLIPWAY.to_owned()),
        (INSTANCE.to_owned(), app.to_owned()),
        (APP.to_owned(), app.to_owned()),
        (APP_UID.to_owned(), uid.to_owned()),
    ])
}

/// The immutable selector of one process' pods: as few labels as identify them, and none of the user's.
pub fn selector(app: &str, process: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (APP.to_owned(), app.to_owned()),
        (PROCESS.to_owned(), process.to_owned()),
    ])
}
