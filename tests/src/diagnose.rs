//! The report about a case that failed.

use crate::{
    case::Case,
    cluster::{NAMESPACE, OPERATOR},
};

/// Prints the case's objects and the end of the operator's log.
#[expect(clippy::print_stdout, reason = "this is the report")]
pub async fn print(case: &Case) {
    let deployment = format!("deployment/{OPERATOR}");
    let namespace = format!("--namespace={NAMESPACE}");
    let questions: &[&[&str]] = &[
        &[
            "get",
            "apps,revisions,builds,releases,deployments,pods,services,pvc",
            "--output=wide",
        ],
        &["describe", "apps,builds,releases"],
        &["get", "events", "--sort-by=.lastTimestamp"],
        &[
            "logs",
            &deployment,
            &namespace,
            "--tail=60",
            "--all-pods",
            "--prefix",
        ],
    ];
    println!("===== what there is in {} =====", case.namespace);
    for question in questions {
        println!("----- kubectl {}", question.join(" "));
        match case.kubectl(question).await {
            Ok(answer) => println!("{answer}"),
            Err(error) => println!("{error:#}"),
        }
    }
    println!("===== end of {} =====", case.namespace);
}
