//! Why a Build is made, in words: the first rule that has something to say says it.

use slipway_crds::v1alpha1::{Build, BuildStack};

use crate::decide::{
    build::{
        input::Input,
        seen::{found_the_same, has_variables, origin, was_interrupted, was_overtaken},
    },
    chain::{Rule, named},
};

pub(super) struct Asked<'a> {
    pub(super) input: Input<'a>,
    pub(super) request: Option<&'a str>,
    /// The last Build of the same inputs.
    pub(super) replaced: Option<&'a Build>,
    pub(super) previous: Option<&'a Build>,
}

pub(super) fn causes<'a>() -> [Rule<Asked<'a>, String>; 12] {
    [
        Rule {
            name: "first",
            says: |a| {
                a.previous
                    .is_none()
                    .then(|| format!("first build, of {}", commit(&a.input)))
            },
        },
        Rule {
            name: "overtaken",
            says: |a| {
                let wanted = commit(&a.input);
                was_overtaken(a.replaced?)
                    .then(|| format!("{wanted} is wanted again; its build before was overtaken"))
            },
        },
        Rule {
            name: "interrupted",
            says: |a| {
                let before = a.replaced?;
                let name = before.metadata.name.as_deref().unwrap_or_default();
                was_interrupted(before, &a.input).then(|| format!("{name} was interrupted"))
            },
        },
        Rule {
            name: "corrected",
            says: |a| {
                let before = a.replaced?;
                let (then, now) = (origin(&before.spec.source), origin(a.input.source));
                let what = if then.map(|(url, _)| url) != now.map(|(url, _)| url) {
                    "source.git.url"
                } else if then != now {
                    "source.git.secretRef"
                } else if !has_variables(before, &a.input) {
                    "env"
                } else if !found_the_same(before, &a.input) {
                    "a value that env refers to"
                } else {
                    return None;
                };
                let name = before.metadata.name.as_deref().unwrap_or_default();
                Some(format!("{what} changed since {name} could not be built"))
            },
        },
        Rule {
            name: "commit",
            says: |a| {
                (a.previous?.spec.source.commit() != a.input.source.commit())
                    .then(|| format!("new commit: {}", commit(&a.input)))
            },
        },
        Rule {
            name: "pushed",
            says: |a| {
                let before = &a.previous?.spec;
                a.input.source.push.as_ref()?;
                (before.revision_number != a.input.number)
                    .then(|| format!("{} was pushed again", commit(&a.input)))
            },
        },
        Rule {
            name: "request",
            says: |a| {
                (a.previous?.spec.request.as_deref() != a.request)
                    .then(|| "a rebuild was requested".to_owned())
            },
        },
        Rule {
            name: "sub_path",
            says: |a| {
                (a.previous?.spec.source.sub_path != a.input.source.sub_path)
                    .then(|| "subPath changed".to_owned())
            },
        },
        Rule {
            name: "stack",
            says: |a| stack_changed(&a.previous?.spec.stack, a.input.stack),
        },
        Rule {
            name: "buildpacks",
            says: |a| {
                (a.previous?.spec.buildpacks != a.input.inputs.buildpacks)
                    .then(|| "build.buildpacks changed".to_owned())
            },
        },
        Rule {
            name: "env",
            says: |a| {
                let before = &a.previous?.spec.env;
                let own = a.input.inputs.own_env.iter();
                let changed: Vec<&str> = own
                    .filter(|v| !before.contains(v))
                    .map(|v| v.name.as_str())
                    .collect();
                (!changed.is_empty()).then(|| format!("build.env changed: {}", named(changed)))
            },
        },
        Rule {
            name: "limits",
            says: |a| {
                let spec = &a.previous?.spec;
                let inputs = a.input.inputs;
                (spec.resources != inputs.resources
                    || inputs.own_timeout.is_some_and(|t| t != spec.timeout))
                .then(|| "the limits of builds changed".to_owned())
            },
        },
    ]
}

fn commit(input: &Input<'_>) -> String {
    let whole = input.source.commit().unwrap_or_default();
    let short = whole.get(..12).unwrap_or(whole);
    let reference = input.source.reference();
    reference.map_or_else(|| short.to_owned(), |name| format!("{short} ({name})"))
}

fn stack_changed(before: &BuildStack, now: &BuildStack) -> Option<String> {
    if before == now {
        return None;
    }
    if before.name != now.name {
        return Some(format!("the Stack is {} now", now.name));
    }
    let mut parts: Vec<String> = Vec::new();
    if before.build_image != now.build_image {
        parts.push("build image".to_owned());
    }
    if before.run_image != now.run_image {
        parts.push("run image".to_owned());
    }
    parts.extend(
        now.packs
            .iter()
            .filter(|pack| !before.packs.contains(pack))
            .map(|pack| format!("buildpack {}", pack.name)),
    );
    let mut text = format!("the Stack {} changed", now.name);
    if !parts.is_empty() {
        text.push_str(": ");
        text.push_str(&named(parts.iter().map(String::as_str)));
    }
    Some(text)
}
