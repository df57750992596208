//! Procfile, app.json and spec → the processes of an App, their commands and default replicas. Pure.

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
        let command = match (asked.and_then(|p| p.command.clone()), commands.get(name)) {
            (Some(command), _) => Some(command),
            (None, Some(command)) => command.clone(),
            (None, None) if asked.is_some_and(|p| p.replicas == Some(0)) => {
                found.left_out.insert(name.clone());
                found.notes.push(format!(
                    "spec.processes.{name} is left out: none of it is to run, and the repository has no process of that name"
                ));
                continue;
            }
            (None, None) => {
                return Err(FormationError::NoCommand {
                    name: name.clone(),
                    known: listed(commands.keys()),
                });
            }
        };
        if let Some(bytes) = command.as_ref().map(String::len)
            && bytes > COMMAND_MAX
        {
            return Err(FormationError::LongCommand {
                name: name.clone(),
                bytes,
            });
        }
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

#[cfg(test)]
mod tests {
    use super::{Formation, FormationError, Offered, formation};
    use slipway_crds::v1alpha1::Process;
    use std::collections::BTreeMap;

    fn types(lines: &[(&str, &str)]) -> BTreeMap<String, String> {
        lines
            .iter()
            .map(|(n, c)| ((*n).to_owned(), (*c).to_owned()))
            .collect()
    }

    fn spec(lines: &[(&str, Option<&str>)]) -> BTreeMap<String, Process> {
        lines
            .iter()
            .map(|(n, c)| {
                let command = c.map(str::to_owned);
                (
                    (*n).to_owned(),
                    Process {
                        command,
                        ..Process::default()
                    },
                )
            })
            .collect()
    }

    fn shown(formation: &Formation) -> Vec<String> {
        formation
            .processes
            .iter()
            .map(|(name, p)| {
                format!(
                    "{name}={} {}",
                    p.replicas,
                    p.command.as_deref().unwrap_or("(image's own)")
                )
            })
            .collect()
    }

    #[test]
    fn the_procfile_gives_the_processes_and_web_runs_once() {
        let types = types(&[("web", "serve"), ("worker", "work")]);
        let found = formation(&Offered::Build(&types), &BTreeMap::new(), &BTreeMap::new()).unwrap();
        assert_eq!(shown(&found), ["web=1 serve", "worker=0 work"]);
    }

    #[test]
    fn without_web_none_runs() {
        let types = types(&[("worker", "work")]);
        let found = formation(&Offered::Build(&types), &BTreeMap::new(), &BTreeMap::new()).unwrap();
        assert_eq!(shown(&found), ["worker=0 work"]);
        assert!(
            found.notes[0].contains("nothing runs") && found.notes[0].contains(".worker.replicas"),
            "{:?}",
            found.notes
        );
        // 0 replicas that the author asked for need no note.
        let mut spec = spec(&[("worker", None)]);
        spec.get_mut("worker").unwrap().replicas = Some(0);
        let found = formation(&Offered::Build(&types), &BTreeMap::new(), &spec).unwrap();
        assert_eq!(found.notes, [""; 0]);
    }

    #[test]
    fn a_formation_in_app_json_counts_for_every_process() {
        let types = types(&[("clock", "tick"), ("web", "serve"), ("worker", "work")]);
        let quantities = BTreeMap::from([("worker".to_owned(), 3)]);
        let found = formation(&Offered::Build(&types), &quantities, &BTreeMap::new()).unwrap();
        assert_eq!(
            shown(&found),
            ["clock=0 tick", "web=0 serve", "worker=3 work"]
        );
    }

    #[test]
    fn the_spec_wins_and_adds() {
        let types = types(&[("web", "serve")]);
        let spec = spec(&[("web", Some("serve --fast")), ("extra", Some("more"))]);
        let found = formation(&Offered::Build(&types), &BTreeMap::new(), &spec).unwrap();
        assert_eq!(shown(&found), ["extra=0 more", "web=1 serve --fast"]);
    }

    #[test]
    fn an_image_runs_its_own_command() {
        for (lines, wanted) in [
            (spec(&[]), vec!["web=1 (image's own)"]),
            (spec(&[("web", None)]), vec!["web=1 (image's own)"]),
            (
                spec(&[("web", Some("serve")), ("worker", Some("work"))]),
                vec!["web=1 serve", "worker=0 work"],
            ),
            (spec(&[("worker", Some("work"))]), vec!["worker=0 work"]),
            (
                spec(&[("worker", None)]),
                vec!["web=1 (image's own)", "worker=0 (image's own)"],
            ),
        ] {
            let found = formation(&Offered::Image, &BTreeMap::new(), &lines).unwrap();
            assert_eq!(shown(&found), wanted);
        }
    }

    #[test]
    fn a_release_line_is_no_process_and_an_illegal_name_is_left_out_unless_it_is_to_run() {
        let types = types(&[
            ("release", "migrate"),
            ("web", "serve"),
            ("Side_Kiq", "work"),
        ]);
        let found = formation(&Offered::Build(&types), &BTreeMap::new(), &BTreeMap::new()).unwrap();
        assert_eq!(shown(&found), ["web=1 serve"]);
        assert_eq!(found.notes.len(), 2, "{:?}", found.notes);
        let quantities = BTreeMap::from([("Side_Kiq".to_owned(), 1)]);
        let error = formation(&Offered::Build(&types), &quantities, &BTreeMap::new()).unwrap_err();
        assert_eq!(
            error,
            FormationError::IllegalName {
                name: "Side_Kiq".into()
            }
        );
    }

    #[test]
    fn procfile_and_spec_together_are_what_a_release_can_have() {
        let offered: BTreeMap<String, String> =
            (0..40).map(|n| (format!("a{n}"), "x".into())).collect();
        let form = |count: usize, bytes: usize| {
            let command = "é".repeat(bytes / 2);
            let spec = (0..count).map(|n| {
                let process = Process {
                    command: Some(command.clone()),
                    ..Process::default()
                };
                (format!("b{n}"), process)
            });
            formation(&Offered::Build(&offered), &BTreeMap::new(), &spec.collect())
                .map(|found| found.processes.len())
        };
        assert_eq!(form(24, 8192), Ok(64));
        assert_eq!(form(25, 8192), Err(FormationError::TooMany { count: 65 }));
        let error = form(1, 8194).unwrap_err().to_string();
        assert!(
            error.contains("process b0 has 8194 bytes") && error.contains("a script"),
            "{error}"
        );
    }

    #[test]
    fn a_process_that_is_gone_and_of_which_none_is_to_run_stops_nothing() {
        let types = types(&[("web", "serve")]);
        let mut spec = spec(&[("job", None)]);
        spec.get_mut("job").unwrap().replicas = Some(0);
        let found = formation(&Offered::Build(&types), &BTreeMap::new(), &spec).unwrap();
        assert_eq!(shown(&found), ["web=1 serve"]);
        assert!(found.left_out.contains("job"));
        assert!(found.notes[0].contains("spec.processes.job is left out"));
        spec.get_mut("job").unwrap().replicas = Some(1);
        let error = formation(&Offered::Build(&types), &BTreeMap::new(), &spec).unwrap_err();
        let wanted = "or take spec.processes.job out";
        assert!(error.to_string().contains(wanted), "{error}");
    }

    #[test]
    fn errors_say_what_there_is_and_what_to_do() {
        let types = types(&[("web", "serve")]);
        let error = formation(
            &Offered::Build(&types),
            &BTreeMap::new(),
            &spec(&[("wrok", None)]),
        )
        .unwrap_err()
        .to_string();
        assert!(
            error.contains("there are web") && error.contains("Procfile"),
            "{error}"
        );
        let none = BTreeMap::new();
        let error =
            formation(&Offered::Build(&none), &BTreeMap::new(), &BTreeMap::new()).unwrap_err();
        assert_eq!(error, FormationError::Nothing);
    }
}
