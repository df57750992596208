//! Procfile, app.json and spec → the processes of an App, their commands and default replicas. Pure.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use slipway_crds::{
    names::{COMMAND_MAX, PROCESS_MAX, PROCESSES_MAX},
    v1alpha1::{Process, Resources},
};

/// The name of a Procfile's release task, which is not a process.
const RELEASE_TASK: &str = "release";
/// The process type that answers requests.
pub const WEB: &str = "web";

/// Which processes the image has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offered<'a> {
    /// A build: process types with their commands.
    Build(&'a BTreeMap<String, String>),
    /// An image that Slipway did not build, with a command of its own.
    Image,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formed {
    /// Command line; if none, the image's own.
    pub command: Option<String>,
    /// Replicas if `spec.processes` does not set them.
    pub replicas: i32,
    /// Resources of each pod.
    pub resources: Option<Resources>,
}

/// All processes of an App, with notes for its author.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Formation {
    /// Processes by name.
    pub processes: BTreeMap<String, Formed>,
    /// Processes to which the spec gives 0 replicas and for which there is no command.
    pub left_out: BTreeSet<String>,
    /// What is left out, and why.
    pub notes: Vec<String>,
}

/// Why there are no processes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormationError {
    /// A process of the spec has no command, neither there nor in the repository.
    #[error(
        "spec.processes.{name} has no command, and the repository has none of that name: {known}; add a command, or a line `{name}: …` to the Procfile, or take spec.processes.{name} out"
    )]
    NoCommand {
        /// The process.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// A process that should run has a name that no Kubernetes object can have.
    #[error(
        "the Procfile's process {name:?} cannot run under this name: a process' name has at most {PROCESS_MAX} characters, begins with a lower-case letter, and has only lower-case letters, digits and hyphens"
    )]
    IllegalName {
        /// The process.
        name: String,
    },
    /// There are more processes than a Release can have.
    #[error(
        "the Procfile and spec.processes have {count} processes together, and an App may have at most {PROCESSES_MAX}: take some out"
    )]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// A command is longer than a Release allows.
    #[error(
        "the command of process {name} has {bytes} bytes, and may have at most {COMMAND_MAX}: put it into a script in the image, and call that"
    )]
    LongCommand {
        /// The process.
        name: String,
        /// Its length.
        bytes: usize,
    },
    /// There is nothing to run.
    #[error(
        "there is nothing to run: no Procfile, no default of a buildpack and no command in spec.processes; add a Procfile with a line `web: …`"
    )]
    Nothing,
    /// The Deployments of two processes would have the same name.
    #[error(
        "the processes {first:?} and {second:?} would have the same Deployment, as the end of a long name is a hash there: give one of them another name"
    )]
    Alike {
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// Checks or storage name a process that the App does not have.
    #[error("{what} names process {name:?}, which the App does not have: {known}")]
    Unknown {
        /// Where it is named.
        what: String,
        /// The process.
        name: String,
        /// Those that there are.
        known: String,
    },
}

/// Whether objects can be named after a process.
pub fn is_process_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= PROCESS_MAX
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.ends_with(inner)
        && name.chars().all(|c| inner(c) || c == '-')
}

/// Lists names for a message.
pub fn listed<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
    if names.is_empty() {
        "there are none".to_owned()
    } else {
        format!("there are {}", names.join(", "))
    }
}

/// All processes, each with its command and default number.
pub fn formation(
    offered: &Offered<'_>,
    quantities: &BTreeMap<String, i32>,
    spec: &BTreeMap<String, Process>,
) -> Result<Formation, FormationError> {
    let mut found = Formation::default();
    let commands = offered_commands(offered, quantities, spec, &mut found.notes)?;
    let names = commands.keys().chain(spec.keys());
    for name in names {
        if found.processes.contains_key(name) {
            continue;
        }
        let asked = spec.get(name);
        let Some(command) = command(name, asked, &commands)? else {
            found.left_out.insert(name.clone());
            found.notes.push(format!(
                "spec.processes.{name} is left out: none of it is to run, and the repository has no process of that name"
            ));
            continue;
        };
        let process = Formed {
            command,
            replicas: default_replicas(name, quantities),
            resources: asked.and_then(|p| p.resources.clone()),
        };
        found.processes.insert(name.clone(), process);
    }
    let nobody_says = quantities.is_empty() && spec.values().all(|p| p.replicas.is_none());
    if nobody_says
        && found
            .processes
            .values()
            .all(|process| process.replicas == 0)
        && let Some(name) = found.processes.keys().next()
    {
        found.notes.push(format!(
            "nothing runs: there is no web, and none of the others runs until somebody says how many: set spec.processes.{name}.replicas"
        ));
    }
    match found.processes.len() {
        0 => Err(FormationError::Nothing),
        count if count > PROCESSES_MAX => Err(FormationError::TooMany { count }),
        _ => Ok(found),
    }
}

/// The command of a process, `Some(None)` where it is the image's own; `None` if it has none and none of it is to run.
#[expect(
    clippy::option_option,
    reason = "a process that is left out is another thing than one without a command of its own"
)]
fn command(
    name: &String,
    asked: Option<&Process>,
    offered: &BTreeMap<String, Option<String>>,
) -> Result<Option<Option<String>>, FormationError> {
    let own = asked.and_then(|p| p.command.clone());
    let command = match (own, offered.get(name)) {
        (Some(command), _) => Some(command),
        (None, Some(command)) => command.clone(),
        (None, None) if asked.is_some_and(|p| p.replicas == Some(0)) => return Ok(None),
        (None, None) => {
            return Err(FormationError::NoCommand {
                name: name.clone(),
                known: listed(offered.keys()),
            });
        }
    };
    match command.as_ref().map(String::len) {
        Some(bytes) if bytes > COMMAND_MAX => Err(FormationError::LongCommand {
            name: name.clone(),
            bytes,
        }),
        _ => Ok(Some(command)),
    }
}

fn default_replicas(name: &str, quantities: &BTreeMap<String, i32>) -> i32 {
    if quantities.is_empty() {
        i32::from(name == WEB)
    } else {
        quantities.get(name).copied().unwrap_or(0)
    }
}

fn offered_commands(
    offered: &Offered<'_>,
    quantities: &BTreeMap<String, i32>,
    spec: &BTreeMap<String, Process>,
    notes: &mut Vec<String>,
) -> Result<BTreeMap<String, Option<String>>, FormationError> {
    let types = match offered {
        // For an image, the spec replaces the Procfile: if it has commands but no `web`, there is no web.
        Offered::Image => {
            let only_others =
                !spec.contains_key(WEB) && spec.values().any(|process| process.command.is_some());
            if only_others {
                notes.push(
                    "spec.processes has commands and no web, so the image's own command does not run; add `web: {}` to run it, too"
                        .to_owned(),
                );
            }
            let mut own: BTreeMap<_, _> = spec.keys().map(|name| (name.clone(), None)).collect();
            if !only_others {
                own.insert(WEB.to_owned(), None);
            }
            return Ok(own);
        }
        Offered::Build(types) => *types,
    };
    let mut commands = BTreeMap::new();
    for (name, command) in types {
        if name == RELEASE_TASK && !spec.contains_key(name) {
            notes.push(
                "the Procfile's release command is a task and not a process; release tasks do not run"
                    .to_owned(),
            );
        } else if is_process_name(name) {
            commands.insert(name.clone(), Some(command.clone()));
        } else if default_replicas(name, quantities) > 0 {
            return Err(FormationError::IllegalName { name: name.clone() });
        } else {
            notes.push(format!(
                "the Procfile's process {name:?} is left out: a name has at most {PROCESS_MAX} lower-case letters, digits and hyphens, the first a letter"
            ));
        }
    }
    Ok(commands)
}
