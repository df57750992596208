//! `slipway-pack`: the helper that the bundled buildpacks call. It writes answers to stdout and errors to stderr. Exit
//! codes: 1 is the answer "no", 3 is a failed download, 2 is every other error.

use clap::{Parser, Subcommand};
use flate2::read::MultiGzDecoder;
use slipway_agents::pack::{curl, integrity, json, releases};
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Bytes that one read and one write handle.
const BUFFER: usize = 1 << 18;

#[derive(Parser)]
#[command(
    name = "slipway-pack",
    version,
    about = "What bash is bad at, for buildpacks"
)]
struct Cli {
    #[command(subcommand)]
    ask: Ask,
}

#[derive(Subcommand)]
enum Ask {
    /// Print the string, number or boolean at KEY... of a JSON file, or a list's items, one a line. Exit 1 if there is
    /// no such value, 2 if the file is no JSON.
    JsonGet { file: PathBuf, keys: Vec<String> },
    /// Choose the release of an npm package. Prints version, address and checksum, one a line.
    NpmRelease {
        package: String,
        /// In npm's own notation.
        range: String,
        #[arg(long, default_value = releases::DEFAULT_REGISTRY)]
        registry: String,
        /// A range whose releases are preferred if RANGE allows them.
        #[arg(long)]
        prefer: Option<String>,
        /// Only releases that support this version of Node.js.
        #[arg(long)]
        for_node: Option<String>,
    },
    /// Exit 0 if VERSION is in RANGE (npm's notation), else 1.
    InRange { version: String, range: String },
    /// Download URL into FILE and verify its checksum. A FILE that already has the checksum stays as it is.
    Fetch {
        url: String,
        file: PathBuf,
        #[arg(long)]
        integrity: String,
    },
    /// Write the uncompressed content of the gzip FILE to stdout.
    Gunzip { file: PathBuf },
}

fn main() -> ExitCode {
    match run(Cli::parse().ask) {
        Ok(code) => code,
        Err(error) => {
            complain(error.as_ref());
            let download = matches!(
                error.downcast_ref::<curl::Error>(),
                Some(curl::Error::Failed { .. })
            );
            ExitCode::from(if download { 3 } else { 2 })
        }
    }
}

fn run(ask: Ask) -> Result<ExitCode, Box<dyn Error>> {
    Ok(match ask {
        Ask::JsonGet { file, keys } => match json::text(&json::file(&file)?, &keys) {
            Some(value) => {
                answer(&value);
                ExitCode::SUCCESS
            }
            None => ExitCode::FAILURE,
        },
        Ask::NpmRelease {
            package,
            range,
            registry,
            prefer,
            for_node,
        } => {
            let wanted = releases::Wanted {
                range: &range,
                prefer: prefer.as_deref(),
                for_node: for_node.as_deref(),
            };
            let release = npm_release(&package, &registry, &wanted)?;
            answer(&format!(
                "{}\n{}\n{}",
                release.version, release.tarball, release.integrity
            ));
            ExitCode::SUCCESS
        }
        Ask::InRange { version, range } => {
            if releases::satisfies(&version, &range)? {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Ask::Fetch {
            url,
            file,
            integrity,
        } => {
            fetch(&url, &file, &integrity.parse()?)?;
            ExitCode::SUCCESS
        }
        Ask::Gunzip { file } => {
            gunzip(&file)?;
            ExitCode::SUCCESS
        }
    })
}

/// Asks the registry which releases of the package there are, and chooses one.
fn npm_release(
    package: &str,
    registry: &str,
    wanted: &releases::Wanted<'_>,
) -> Result<releases::Release, Box<dyn Error>> {
    let url = format!("{}/{package}", registry.trim_end_matches('/'));
    let document = with_partial(&std::env::temp_dir().join("npm-document"), |file| {
        curl::download(&url, releases::ABBREVIATED, file)?;
        Ok(fs::read(file)?)
    })?;
    Ok(releases::choose(package, &document, registry, wanted)?)
}

/// Downloads the file, unless it is there already.
fn fetch(url: &str, file: &Path, integrity: &integrity::Integrity) -> Result<(), Box<dyn Error>> {
    if integrity.verify(file).is_ok() {
        return Ok(());
    }
    with_partial(file, |partial| {
        curl::download(url, "*/*", partial)?;
        integrity.verify(partial)?;
        Ok(fs::rename(partial, file)?)
    })
}

/// Writes the uncompressed content to stdout.
fn gunzip(file: &Path) -> io::Result<()> {
    let content = MultiGzDecoder::new(BufReader::with_capacity(BUFFER, File::open(file)?));
    // `Stdout` is avoided because it searches the output for line ends.
    let mut stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    io::copy(&mut BufReader::with_capacity(BUFFER, content), &mut stdout)?;
    Ok(())
}

/// Runs `make` with a file name beside `file` that no other process uses, and removes that file afterwards.
fn with_partial<T>(
    file: &Path,
    make: impl FnOnce(&Path) -> Result<T, Box<dyn Error>>,
) -> Result<T, Box<dyn Error>> {
    let partial = file.with_added_extension(format!("{}.partial", std::process::id()));
    let result = make(&partial);
    // There is a file only if `make` failed half way, or if it was made only to be read.
    let _ = fs::remove_file(&partial);
    result
}

#[expect(
    clippy::print_stdout,
    reason = "stdout is how a shell script gets an answer"
)]
fn answer(text: &str) {
    println!("{text}");
}

#[expect(
    clippy::print_stderr,
    reason = "stderr is how a shell script gets to know what went wrong"
)]
fn complain(error: &dyn Error) {
    let cause = error
        .source()
        .map(ToString::to_string)
        .filter(|cause| !error.to_string().contains(cause));
    eprintln!(
        "{error}{}",
        cause.map(|cause| format!(": {cause}")).unwrap_or_default()
    );
}
