//! Process trees, and who gets which signal when.

use crate::launcher::process::{Id, Kind, Process, bit, kind};
use crate::launcher::rule::*;
use Act::{Hold, Release, Tell};
use OnTerm::{Ends, Handles, Ignores};

#[derive(Debug, Clone, Copy, PartialEq)]
enum OnTerm {
    Ends,
    Ignores,
    Handles,
}

/// `sh` and `npm` get their own kinds; all other names are programs.
fn process(pid: i32, parent: i32, name: &str, on_term: OnTerm) -> Process {
    Process {
        id: Id { pid, start: 0 },
        parent,
        group: 2,
        name: name.to_owned(),
        kind: kind(name, &[name]),
        handles: if on_term == Handles { bit(SIGTERM) } else { 0 },
        ignores: if on_term == Ignores { bit(SIGTERM) } else { 0 },
        reads: BTreeSet::new(),
        writes: BTreeSet::new(),
    }
}

fn pipe(tree: &mut [Process], number: u64, from: i32, to: i32) {
    for one in tree {
        if one.id.pid == from {
            one.writes.insert(number);
        }
        if one.id.pid == to {
            one.reads.insert(number);
        }
    }
}

fn course() -> Course {
    Course::new(Reach::Tree, Duration::from_secs(10))
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn without(tree: &[Process], pid: i32) -> Vec<Process> {
    let rest = tree.iter().filter(|one| one.id.pid != pid).cloned();
    rest.map(|one| Process {
        parent: if one.parent == pid { 1 } else { one.parent },
        ..one
    })
    .collect()
}

#[test]
fn what_starts_others_is_known_by_executable_and_command_line() {
    for (exe, argv, expected) in [
        ("/usr/bin/dash", &["/bin/sh", "./start.sh"][..], Kind::Shell),
        ("/bin/busybox", &["sh", "-c", "x"], Kind::Shell),
        ("/bin/busybox", &["-ash"], Kind::Shell),
        ("/bin/busybox", &["httpd", "-f"], Kind::Program),
        ("", &["/bin/bash", "x"], Kind::Shell),
        ("/usr/bin/node", &["npm start", "", ""], Kind::Starter),
        ("/usr/bin/node", &["npm exec node server.js"], Kind::Starter),
        (
            "/usr/bin/node",
            &["node", "/x/pnpm.cjs", "start"],
            Kind::Starter,
        ),
        (
            "/usr/bin/node",
            &["node", "-r", "/x/yarn.js", "start"],
            Kind::Starter,
        ),
        (
            "/usr/bin/node",
            &["node", "/a/yarn-4.9.1.cjs", "start"],
            Kind::Starter,
        ),
        (
            "/usr/bin/node",
            &["node", "/x/npm-run-all.js"],
            Kind::Program,
        ),
        ("/usr/bin/node", &["node", "server.js"], Kind::Program),
        (
            "/usr/bin/node",
            &["node", "--inspect", "yarn-shop.js"],
            Kind::Program,
        ),
        ("/opt/pnpm", &["pnpm", "start"], Kind::Starter),
        ("/usr/bin/timeout", &["timeout", "9", "x"], Kind::Starter),
        ("/usr/bin/python3", &["python3", "npm"], Kind::Program),
        ("", &[], Kind::Program),
    ] {
        assert_eq!(kind(exe, argv), expected, "{exe} {argv:?}");
    }
}

#[test]
fn the_program_behind_a_package_manager_is_told_alone_and_once() {
    let tree = [
        process(2, 1, "npm", Handles),
        process(3, 2, "sh", Ends),
        process(4, 3, "server", Handles),
        process(5, 4, "child", Ends),
    ];
    let mut course = course();
    assert_eq!(course.step(&tree, 2, at(0)), [Hold(3), Tell(4)]);
    assert_eq!(course.step(&tree, 2, at(1)), []);
    // The child has outlived its parent and gets no signal until the process itself has ended.
    let tree = without(&tree, 4);
    assert_eq!(course.step(&tree, 2, at(2)), [Release(3)]);
    let tree = without(&tree, 3);
    assert_eq!(course.step(&tree, 2, at(2)), []);
    let tree = without(&tree, 2);
    assert_eq!(course.step(&tree, 2, at(3)), [Tell(5)]);
    assert_eq!(course.step(&tree, 2, at(4)), []);
}

#[test]
fn a_package_manager_that_does_not_end_with_its_program_is_told_later() {
    let tree = [process(2, 1, "npm", Handles), process(3, 2, "server", Ends)];
    let mut course = course();
    assert_eq!(course.step(&tree, 2, at(0)), [Tell(3)]);
    let tree = without(&tree, 3);
    assert_eq!(course.step(&tree, 2, at(1)), []);
    assert_eq!(course.step(&tree, 2, at(2)), [Tell(2)]);
}

#[test]
fn a_shell_that_runs_nothing_or_only_readers_is_told_itself() {
    let alone = [process(2, 1, "sh", Ends)];
    assert_eq!(course().step(&alone, 2, at(0)), [Tell(2)]);
    // exec > >(tee log); while :; do :; done
    let mut tree = [process(2, 1, "sh", Ends), process(3, 2, "tee", Ends)];
    pipe(&mut tree, 7, 2, 3);
    assert_eq!(course().step(&tree, 2, at(0)), [Tell(2)]);
}

#[test]
fn all_programs_of_a_shell_are_told() {
    let tree = [
        process(2, 1, "sh", Ends),
        process(3, 2, "web", Handles),
        process(4, 2, "sh", Ends),
        process(5, 4, "worker", Handles),
        process(6, 1, "daemon", Handles),
    ];
    let mut course = course();
    assert_eq!(
        course.step(&tree, 2, at(0)),
        [Hold(4), Hold(2), Tell(3), Tell(5)]
    );
    let tree = without(&tree, 3);
    assert_eq!(course.step(&tree, 2, at(1)), []);
    let tree = without(&tree, 5);
    assert_eq!(course.step(&tree, 2, at(1)), [Release(4)]);
    let tree = without(&tree, 4);
    assert_eq!(course.step(&tree, 2, at(1)), [Release(2)]);
    let tree = without(&tree, 2);
    assert_eq!(course.step(&tree, 2, at(1)), [Tell(6)]);
}

#[test]
fn a_reader_ends_by_its_inputs_end() {
    // server | (while read) | cat
    let mut tree = vec![
        process(2, 1, "sh", Ends),
        process(3, 2, "server", Handles),
        process(4, 2, "sh", Ends),
        process(5, 2, "cat", Ends),
    ];
    pipe(&mut tree, 7, 3, 4);
    pipe(&mut tree, 8, 4, 5);
    let mut course = course();
    assert_eq!(course.step(&tree, 2, at(0)), [Hold(2), Tell(3)]);
    let tree = without(&tree, 3);
    assert_eq!(course.step(&tree, 2, at(1)), [Release(2)]);
    let tree = without(&tree, 2);
    assert_eq!(course.step(&tree, 2, at(1)), []);
    // The reader's input has ended but it still runs, so the readers that it feeds still wait.
    assert_eq!(course.step(&tree, 2, at(3)), [Tell(4)]);
    let tree = without(&tree, 4);
    assert_eq!(course.step(&tree, 2, at(4)), []);
    assert_eq!(course.step(&tree, 2, at(5)), [Tell(5)]);
}

#[test]
fn a_shell_that_reads_what_its_program_says_is_not_stopped() {
    // while read; do …; done < <(server)
    let mut tree = vec![process(2, 1, "sh", Ends), process(3, 2, "server", Handles)];
    pipe(&mut tree, 7, 3, 2);
    let mut course = course();
    assert_eq!(course.step(&tree, 2, at(0)), [Tell(3)]);
    let tree = without(&tree, 3);
    assert_eq!(course.step(&tree, 2, at(1)), []);
    assert_eq!(course.step(&tree, 2, at(3)), [Tell(2)]);
}

#[test]
fn readers_of_each_other_are_told_all() {
    let mut tree = vec![
        process(2, 1, "sh", Ends),
        process(3, 2, "a", Ends),
        process(4, 2, "b", Ends),
    ];
    pipe(&mut tree, 7, 3, 4);
    pipe(&mut tree, 8, 4, 3);
    let mut course = course();
    assert_eq!(course.step(&tree, 2, at(0)), [Tell(2)]);
    let tree = without(&tree, 2);
    assert_eq!(course.step(&tree, 2, at(0)), [Tell(3), Tell(4)]);
}

#[test]
fn a_programs_children_are_its_own_whatever_they_write_to_it() {
    let mut tree = vec![
        process(2, 1, "celery", Handles),
        process(3, 2, "celery", Ends),
    ];
    pipe(&mut tree, 7, 3, 2);
    pipe(&mut tree, 8, 2, 3);
    let mut course = course();
    assert_eq!(course.step(&tree, 2, at(0)), [Tell(2)]);
    assert_eq!(course.step(&tree, 2, at(29)), []);
}

#[test]
fn a_trap_has_its_time_to_pass_the_signal_on() {
    let tree = [
        process(2, 1, "sh", Handles),
        process(3, 2, "server", Handles),
    ];
    let mut course = course();
    assert_eq!(course.step(&tree, 2, at(0)), [Tell(2)]);
    assert_eq!(course.step(&tree, 2, at(9)), []);
    assert_eq!(course.step(&tree, 2, at(10)), [Tell(3)]);
    assert_eq!(course.step(&tree, 2, at(11)), []);
}

#[test]
fn a_shell_that_ignores_the_signal_is_not_stopped() {
    let tree = [process(2, 1, "sh", Ignores), process(3, 2, "server", Ends)];
    assert_eq!(course().step(&tree, 2, at(0)), [Tell(3)]);
}

#[test]
fn the_group_is_told_at_once_and_the_rest_after_the_process() {
    let mut tree = vec![
        process(2, 1, "sh", Ends),
        process(3, 2, "server", Handles),
        process(4, 1, "daemon", Handles),
    ];
    tree[2].group = 4;
    let mut course = Course::new(Reach::Group, at(10));
    assert_eq!(course.step(&tree, 2, at(0)), [Tell(2), Tell(3)]);
    tree.push(process(5, 3, "helper", Ends));
    assert_eq!(course.step(&tree, 2, at(1)), []);
    let tree = without(&tree, 2);
    assert_eq!(course.step(&tree, 2, at(2)), [Tell(4), Tell(5)]);
}

#[test]
fn another_signal_reaches_those_that_had_the_first() {
    let tree = [process(2, 1, "sh", Ends), process(3, 2, "server", Handles)];
    let mut course = course();
    assert_eq!(course.step(&tree, 2, at(0)), [Hold(2), Tell(3)]);
    course.again();
    assert_eq!(course.step(&tree, 2, at(1)), [Tell(3)]);
}

#[test]
fn a_trap_counts_for_its_own_signal() {
    let mut tree = [process(2, 1, "sh", Ends), process(3, 2, "sleep", Ends)];
    assert_eq!(programs(&tree, 2, 1), [3]);
    tree[0].handles = bit(1);
    assert_eq!(programs(&tree, 2, 1), [2]);
    assert_eq!(course().step(&tree, 2, at(0)), [Hold(2), Tell(3)]);
}

proptest::proptest! {
    /// For any tree: no process gets the signal twice, and every process gets it in the end.
    #[test]
    fn nobody_is_told_twice_and_nobody_is_forgotten(
        parents in proptest::collection::vec((0usize..8, 0u8..4, 0u8..3), 1..8),
        pipes in proptest::collection::vec((0i32..8, 0i32..8), 0..6),
    ) {
        let mut tree: Vec<Process> = Vec::new();
        for (n, (parent, name, on_term)) in parents.iter().enumerate() {
            let pid = i32::try_from(n).unwrap() + 2;
            let parent = if n == 0 { 1 } else { i32::try_from(parent % n).unwrap() + 2 };
            let name = ["sh", "npm", "server", "cat"][usize::from(*name)];
            tree.push(process(pid, parent, name, [Ends, Ignores, Handles][usize::from(*on_term)]));
        }
        for (n, (from, to)) in pipes.iter().enumerate() {
            pipe(&mut tree, u64::try_from(n).unwrap(), from + 2, to + 2);
        }
        let mut course = course();
        let mut told = BTreeSet::new();
        let mut now = 0;
        while !tree.is_empty() {
            let acts = course.step(&tree, 2, at(now));
            for act in &acts {
                if let Tell(pid) | Release(pid) = act {
                    proptest::prop_assert!(told.insert(*pid), "{pid} twice");
                }
            }
            // Processes that got the signal end, one at a time.
            let ends = tree.iter().map(|one| one.id.pid).find(|pid| told.contains(pid));
            if let Some(pid) = ends {
                tree = without(&tree, pid);
            }
            now += 1;
            proptest::prop_assert!(now < 100, "left: {tree:?}");
        }
    }
}
