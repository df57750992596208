//! Why a Build is made, in words: the first rule with an answer wins.

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

pub(super) const fn causes<'a>() -> [Rule<Asked<'a>, String>; 12] {
    [
        Rule {
            name: "first",
            says: first,
        },
        Rule {
            name: "overtaken",
            says: overtaken,
        },
        Rule {
            name: "interrupted",
            says: interrupted,
        },
        Rule {
            name: "corrected",
            says: corrected,
        },
        Rule {
            name: "commit",
            says: new_commit,
        },
        Rule {
            name: "pushed",
            says: pushed_again,
        },
        Rule {
            name: "request",
            says: requested,
        },
        Rule {
            name: "sub_path",
            says: sub_path,
        },
        Rule {
            name: "stack",
            says: stack,
        },
        Rule {
            name: "buildpacks",
            says: buildpacks,
        },
        Rule {
            name: "env",
            says: env,
        },
        Rule {
            name: "limits",
            says: limits,
        },
    ]
}

fn first(a: &Asked<'_>) -> Option<String> {
    let is_first = a.previous.is_none();
    is_first.then(|| format!("first build, of {}", commit(&a.input)))
}

fn overtaken(a: &Asked<'_>) -> Option<String> {
    let wanted = commit(&a.input);
    was_overtaken(a.replaced?)
        .then(|| format!("{wanted} is wanted again; its build before was overtaken"))
}

fn interrupted(a: &Asked<'_>) -> Option<String> {
    let before = a.replaced?;
    was_interrupted(before, &a.input).then(|| format!("{} was interrupted", name(before)))
}

/// A Build that failed is made again because something that is not in the hash has changed.
fn corrected(a: &Asked<'_>) -> Option<String> {
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
    let before = name(before);
    Some(format!("{what} changed since {before} could not be built"))
}

fn new_commit(a: &Asked<'_>) -> Option<String> {
    let is_new = a.previous?.spec.source.commit() != a.input.source.commit();
    is_new.then(|| format!("new commit: {}", commit(&a.input)))
}

fn pushed_again(a: &Asked<'_>) -> Option<String> {
    let before = &a.previous?.spec;
    a.input.source.push.as_ref()?;
    let is_again = before.revision_number != a.input.number;
    is_again.then(|| format!("{} was pushed again", commit(&a.input)))
}

fn requested(a: &Asked<'_>) -> Option<String> {
    let is_requested = a.previous?.spec.request.as_deref() != a.request;
    is_requested.then(|| "a rebuild was requested".to_owned())
}

fn sub_path(a: &Asked<'_>) -> Option<String> {
    let is_other = a.previous?.spec.source.sub_path != a.input.source.sub_path;
    is_other.then(|| "subPath changed".to_owned())
}

fn stack(a: &Asked<'_>) -> Option<String> {
    stack_changed(&a.previous?.spec.stack, a.input.stack)
}

fn buildpacks(a: &Asked<'_>) -> Option<String> {
    let are_others = a.previous?.spec.buildpacks != a.input.inputs.buildpacks;
    are_others.then(|| "build.buildpacks changed".to_owned())
}

fn env(a: &Asked<'_>) -> Option<String> {
    let before = &a.previous?.spec.env;
    let own = a.input.inputs.own_env.iter();
    let changed = own.filter(|variable| !before.contains(variable));
    let changed: Vec<&str> = changed.map(|variable| variable.name.as_str()).collect();
    (!changed.is_empty()).then(|| format!("build.env changed: {}", named(changed)))
}

fn limits(a: &Asked<'_>) -> Option<String> {
    let spec = &a.previous?.spec;
    let inputs = a.input.inputs;
    let are_others = spec.resources != inputs.resources
        || inputs.own_timeout.is_some_and(|own| own != spec.timeout);
    are_others.then(|| "the limits of builds changed".to_owned())
}

fn name(build: &Build) -> &str {
    build.metadata.name.as_deref().unwrap_or_default()
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
