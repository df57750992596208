//! What the Makefile's longer targets run.
#![allow(clippy::print_stderr, reason = "a command")]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use slipway_tests::dev::{bench, demo, image, install, scale, stack};

/// Sets Slipway up on the local cluster.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Build the static programs.
    Programs,
    /// Build the stack's images.
    StackImages,
    /// Build the stack's images and publish them, with the buildpacks, as the Stack.
    Stack,
    /// Build the operator's image and push it.
    Image {
        /// Repository to push to, with the docker client's own engine and login. Default: the local cluster's registry.
        #[arg(long, value_name = "REPOSITORY")]
        to: Option<String>,
        /// Image of Debian trixie to start from.
        #[arg(long, env = "BASE", value_name = "IMAGE", default_value = image::BASE)]
        base: String,
    },
    /// Install the operator.
    Install {
        /// Number of replicas.
        #[arg(long, default_value_t = 2)]
        replicas: u32,
    },
    /// Deploy two apps from their repositories and show their answers.
    Demo,
    /// Measure builds, deploys and the idle operator.
    Bench,
    /// Measure many Apps on simulated nodes.
    BenchScale(scale::Options),
}

fn main() -> ExitCode {
    match act(&Arguments::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!(" !     {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(verb: &Verb) -> Result<()> {
    match verb {
        Verb::Programs => image::programs().map(drop),
        Verb::StackImages => stack::images(),
        Verb::Stack => stack::stack(),
        Verb::Image { to: None, base } => image::image(base),
        Verb::Image { to: Some(to), base } => image::elsewhere(base, to),
        Verb::Install { replicas } => install::install(*replicas),
        Verb::Demo => demo::demo(),
        Verb::Bench => bench::bench(),
        Verb::BenchScale(options) => scale::bench_scale(options),
    }
}
