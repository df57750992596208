//! Which Secrets and ConfigMaps an App names. No other place knows it: what the operator reads for an App and what
//! wakes the App's controller both come from here. Pure.

use slipway_crds::v1alpha1::{AppSpec, EnvFrom, EnvValueFrom};

use crate::domain::app::ValidApp;

/// The kind of a named object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A Secret.
    Secret,
    /// A `ConfigMap`.
    ConfigMap,
}

/// How much of the object the App reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Its version alone: the operator uses the content only to reach the source.
    Version,
    /// One key.
    Key(&'a str),
    /// All keys.
    Whole,
}

/// An object that an App names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference<'a> {
    /// Its kind.
    pub kind: Kind,
    /// Its name. It is in the App's namespace.
    pub name: &'a str,
    /// How much of it is read.
    pub part: Part<'a>,
}

/// Everything that a spec names, also if the spec is not valid. An object stands there once for each time it is named.
pub fn of_spec(spec: &AppSpec) -> Vec<Reference<'_>> {
    let own = spec.env.iter().filter_map(|v| v.value_from.as_ref());
    let build = spec.build.iter().flat_map(|build| &build.env);
    let of_builds = build.filter_map(|v| v.value_from.as_ref());
    let git = spec.source.git.as_ref().and_then(|g| g.secret_ref.as_ref());
    let image = spec.source.image.as_ref();
    let source = git.or_else(|| image?.pull_secret_ref.as_ref());
    references(
        own.chain(of_builds),
        &spec.env_from,
        source.map(|secret| secret.name.as_str()),
    )
}

/// Everything that a valid App names.
pub fn of_app(app: &ValidApp) -> Vec<Reference<'_>> {
    let own = app.env.iter().filter_map(|v| v.value_from.as_ref());
    let of_builds = app.build.env.iter().filter_map(|v| v.value_from.as_ref());
    references(own.chain(of_builds), &app.env_from, app.source.secret())
}

fn references<'a>(
    values: impl Iterator<Item = &'a EnvValueFrom>,
    whole: &'a [EnvFrom],
    source: Option<&'a str>,
) -> Vec<Reference<'a>> {
    let reference = |kind, name, part| Reference { kind, name, part };
    let keys = values.flat_map(|from| {
        let keys = [
            (Kind::Secret, from.secret_key_ref.as_ref()),
            (Kind::ConfigMap, from.config_map_key_ref.as_ref()),
        ];
        keys.into_iter()
            .filter_map(|(kind, key)| Some((kind, key?)))
            .map(|(kind, key)| reference(kind, key.name.as_str(), Part::Key(&key.key)))
    });
    let all = whole.iter().flat_map(|from| {
        let objects = [
            (Kind::Secret, from.secret_ref.as_ref()),
            (Kind::ConfigMap, from.config_map_ref.as_ref()),
        ];
        objects
            .into_iter()
            .filter_map(|(kind, object)| Some((kind, object?)))
            .map(|(kind, object)| reference(kind, object.name.as_str(), Part::Whole))
    });
    let source = source.map(|name| reference(Kind::Secret, name, Part::Version));
    keys.chain(all).chain(source).collect()
}

#[cfg(test)]
mod tests {
    use super::{Kind, Part, Reference, of_spec};
    use serde_json::json;
    use slipway_crds::v1alpha1::AppSpec;

    #[test]
    fn every_place_of_a_spec_that_names_an_object_is_known() {
        let spec: AppSpec = serde_json::from_value(json!({
            "source": {"git": {"url": "https://example.com/a.git", "secretRef": {"name": "git"}}},
            "env": [
                {"name": "PLAIN", "value": "1"},
                {"name": "A", "valueFrom": {"secretKeyRef": {"name": "own", "key": "a"}}},
                {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "map", "key": "b"}}},
            ],
            "envFrom": [{"secretRef": {"name": "all"}}, {"configMapRef": {"name": "maps"}}],
            "build": {"env": [
                {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "build", "key": "token"}}},
            ]},
        }))
        .unwrap();
        let found: Vec<_> = of_spec(&spec)
            .into_iter()
            .map(|Reference { kind, name, part }| (kind, name, part))
            .collect();
        assert_eq!(
            found,
            [
                (Kind::Secret, "own", Part::Key("a")),
                (Kind::ConfigMap, "map", Part::Key("b")),
                (Kind::Secret, "build", Part::Key("token")),
                (Kind::Secret, "all", Part::Whole),
                (Kind::ConfigMap, "maps", Part::Whole),
                (Kind::Secret, "git", Part::Version),
            ]
        );
        let spec: AppSpec = serde_json::from_value(json!({
            "source": {"image": {"reference": "r.example/i", "pullSecretRef": {"name": "pull"}}},
        }))
        .unwrap();
        let pull = Reference {
            kind: Kind::Secret,
            name: "pull",
            part: Part::Version,
        };
        assert_eq!(of_spec(&spec), [pull]);
    }
}
