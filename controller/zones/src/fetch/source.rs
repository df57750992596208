//! Brings the source into `BUILD_DIR`: the artifact that a push or an earlier build stored, or a commit from a git server.

use std::{
    ffi::OsStr,
    fs,
    io::Read,
    path::{Component, Path, PathBuf},
};

use crate::fetch::{
    FetchError, Volume,
    git::{Access, GitError},
    retry,
    volume::failed,
};
use crate::{
    archive::{Dir, Limits},
    console::{Console, size},
    source::{self, SourceError, Tree},
};
use slipway_base::{
    files::{
        encoding,
        slugignore::{self, SlugIgnore},
    },
    text,
    zone::{
        input::{Artifact, FetchInput, GitInput},
        layout,
    },
};
use slipway_remotes::{
    registry::{Registry, RegistryError},
    web::Web,
};

/// Most bytes of `app.json`, and of `.buildpacks`.
const FILE: u64 = 64 * 1024;

/// The source, on the volume.
pub(super) struct Source {
    pub(super) artifact: Artifact,
    pub(super) app_json: Option<String>,
    pub(super) buildpacks: Option<String>,
}

pub(super) async fn bring_in(
    input: &FetchInput,
    registry: &Registry,
    volume: &Volume,
    web: &Web,
    console: &Console,
) -> Result<Source, FetchError> {
    let tree = volume.stage("source")?;
    let git = input.source.git.as_ref();
    let (artifact, root) = match (&input.source.artifact, git) {
        (Some(artifact), git) => {
            let pulled = pull(input, registry, artifact, tree.clone(), console).await;
            match (pulled, git) {
                (Err(SourceError::Registry(error @ RegistryError::NotFound { .. })), Some(git)) => {
                    console.warning(&format!("{error}: its git server is asked again"));
                    clone(input, git, registry, tree, web, console).await?
                }
                (Err(SourceError::Registry(error @ RegistryError::NotFound { .. })), None) => {
                    return Err(FetchError::Source(format!(
                        "{error}: what was pushed is not in the registry any more; push it again"
                    )));
                }
                (pulled, _) => (artifact.clone(), root_of(input, tree, pulled?).await?),
            }
        }
        (None, Some(git)) => clone(input, git, registry, tree, web, console).await?,
        (None, None) => {
            return Err(FetchError::Source(
                "the build names neither a git server nor a source in the registry".to_owned(),
            ));
        }
    };
    volume.place(&root, layout::BUILD_DIR)?;
    let dir = volume.open(layout::BUILD_DIR)?;
    let read = |name: &str| -> Result<Option<String>, FetchError> {
        let bytes = dir
            .read_small(Path::new(name), FILE)
            .map_err(|error| FetchError::Source(format!("{name} cannot be read: {error}")))?;
        let Some(bytes) = bytes else {
            if dir.kind(OsStr::new(name)).is_ok() {
                console.warning(&format!("{name} is a link to nothing: it is not read"));
            }
            return Ok(None);
        };
        let text = encoding::text(bytes);
        text.map(Some)
            .map_err(|why| FetchError::Source(format!("{name} {why}")))
    };
    Ok(Source {
        artifact,
        app_json: read("app.json")?,
        buildpacks: read(".buildpacks")?,
    })
}

fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

/// The artifact into the folder; the paths of its submodules.
async fn pull(
    input: &FetchInput,
    registry: &Registry,
    artifact: &Artifact,
    tree: PathBuf,
    console: &Console,
) -> Result<Vec<String>, SourceError> {
    console.heading(&format!(
        "Using commit {} from the registry",
        short(&input.source.commit)
    ));
    source::unpack(registry, artifact, tree, limits(input)).await
}

/// The commit from its git server into the folder, and from there into the registry.
async fn clone(
    input: &FetchInput,
    git: &GitInput,
    registry: &Registry,
    tree: PathBuf,
    web: &Web,
    console: &Console,
) -> Result<(Artifact, PathBuf), FetchError> {
    let commit = &input.source.commit;
    let access = Access {
        url: &git.url,
        credentials: git.credentials.as_ref(),
        ca_pem: input.ca_pem.as_deref(),
        web,
        env: &input.process_env,
        limits: &input.git,
    };
    let of = git
        .r#ref
        .as_ref()
        .map(|reference| format!("{reference}, "))
        .unwrap_or_default();
    console.heading(&format!(
        "Fetching {} ({of}commit {})",
        access.shown(),
        short(commit)
    ));
    let fetched = retry(console, GitError::is_transient, || {
        access.fetch(commit, git.r#ref.as_deref())
    })
    .await?;
    let submodules = access.unpack(&fetched, tree.clone()).await?;
    drop(fetched);
    let root = root_of(input, tree.clone(), submodules.clone()).await?;
    let tree = Tree {
        commit,
        folder: &tree,
        submodules: &submodules,
    };
    let (repository, tag) = (&input.repository, &input.source_tag);
    let stored = source::store(registry, repository, tag, tree, limits(input)).await?;
    console.detail(&format!(
        "{} files, {} packed",
        stored.entries,
        size(stored.bytes)
    ));
    Ok((stored.artifact, root))
}

pub(super) fn limits(input: &FetchInput) -> Limits {
    Limits {
        entries: input.git.max_files,
        bytes: input.git.max_bytes,
    }
}

/// The App's folder within the tree. Fails if something that the App needs is missing from that folder.
async fn root_of(
    input: &FetchInput,
    tree: PathBuf,
    submodules: Vec<String>,
) -> Result<PathBuf, FetchError> {
    let path = input.source.sub_path.clone();
    tokio::task::spawn_blocking(move || root(&tree, path.as_deref(), &submodules)).await?
}

/// The App's folder. Submodules elsewhere in the repository, or left out by `.slugignore`, are no error: the App does
/// not need them.
fn root(tree: &Path, path: Option<&str>, submodules: &[String]) -> Result<PathBuf, FetchError> {
    let refuse = |module: &str| Err(FetchError::Git(GitError::submodule(module)));
    let normal = |part: &Component<'_>| matches!(part, Component::Normal(_));
    let within: PathBuf = Path::new(path.unwrap_or_default())
        .components()
        .filter(normal)
        .collect();
    if let Some(module) = submodules.iter().find(|module| within.starts_with(module)) {
        return refuse(module);
    }
    let root = match path {
        Some(path) => sub_path(tree, path)?,
        None => tree.to_owned(),
    };
    let ignore = slugignore(&root);
    for module in submodules {
        if let Ok(inside) = Path::new(module).strip_prefix(&within)
            && !ignore.covers(inside)
        {
            return refuse(module);
        }
    }
    refuse_pointers(tree, &root, &ignore)?;
    Ok(root)
}

/// The patterns of `.slugignore`. If it cannot be read, there are none here: the build zone reports the error.
fn slugignore(root: &Path) -> SlugIgnore {
    Dir::open(root)
        .and_then(|dir| dir.read_small(Path::new(".slugignore"), slugignore::MAX_BYTES))
        .ok()
        .flatten()
        .and_then(|bytes| encoding::text_with_marks(bytes).ok())
        .and_then(|text| SlugIgnore::parse(&text).ok())
        .unwrap_or_default()
}

/// Fails if a file is a Git LFS pointer: the build would take the pointer for the file's content.
fn refuse_pointers(tree: &Path, root: &Path, ignore: &SlugIgnore) -> Result<(), FetchError> {
    const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";
    for entry in walkdir::WalkDir::new(root).into_iter().flatten() {
        let small = |m: fs::Metadata| (POINTER.len() as u64..1024).contains(&m.len());
        if !entry.file_type().is_file() || !entry.metadata().is_ok_and(small) {
            continue;
        }
        let mut begin = Vec::new();
        fs::File::open(entry.path())
            .and_then(|file| file.take(POINTER.len() as u64).read_to_end(&mut begin))
            .map_err(failed(entry.path()))?;
        let inside = entry.path().strip_prefix(root).unwrap_or(entry.path());
        if begin == POINTER && !ignore.covers(inside) {
            let path = entry.path().strip_prefix(tree).unwrap_or(entry.path());
            return Err(FetchError::Source(format!(
                "{} is kept in Git LFS, which is not supported: commit the file itself",
                text::line(&path.to_string_lossy(), 300)
            )));
        }
    }
    Ok(())
}

/// The App's folder within the repository. If it does not exist, the error names the folders that do.
fn sub_path(tree: &Path, path: &str) -> Result<PathBuf, FetchError> {
    let mut at = tree.to_owned();
    let mut shown = PathBuf::new();
    for part in Path::new(path).components() {
        let name = match part {
            Component::CurDir => continue,
            Component::Normal(name) => name,
            _ => {
                return Err(FetchError::Source(format!(
                    "source.git.subPath {path:?} must be a path within the repository"
                )));
            }
        };
        let next = at.join(name);
        // A symbolic link does not count as a folder, because it could lead anywhere.
        if !fs::symlink_metadata(&next).is_ok_and(|m| m.is_dir()) {
            let place = if shown.as_os_str().is_empty() {
                "the repository".to_owned()
            } else {
                format!("{}/", shown.display())
            };
            return Err(FetchError::Source(format!(
                "source.git.subPath {path:?} is no folder of this commit; {place} has {}",
                folders(&at)
            )));
        }
        at = next;
        shown.push(name);
    }
    Ok(at)
}

fn folders(dir: &Path) -> String {
    let Ok(open) = Dir::open(dir) else {
        return "nothing".to_owned();
    };
    let is_dir = |name: &OsStr| open.kind(name).is_ok_and(rustix::fs::FileType::is_dir);
    let names: Vec<String> = open
        .names(1000)
        .unwrap_or_default()
        .iter()
        .filter(|name| is_dir(name))
        .take(20)
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    if names.is_empty() {
        "no folders".to_owned()
    } else {
        format!("the folders {}", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{root, sub_path};

    #[test]
    fn a_sub_path_is_a_folder_of_the_tree_or_an_error_that_says_what_there_is() {
        let root = tempfile::tempdir().unwrap();
        let tree = root.path();
        fs::create_dir_all(tree.join("apps/web")).unwrap();
        fs::create_dir_all(tree.join("docs")).unwrap();
        fs::write(tree.join("file"), "").unwrap();
        std::os::unix::fs::symlink("/etc", tree.join("link")).unwrap();
        assert_eq!(
            sub_path(tree, "./apps/web/").unwrap(),
            tree.join("apps/web")
        );
        for (path, expected) in [
            ("app", "the repository has the folders apps, docs"),
            ("apps/api", "apps/ has the folders web"),
            ("file", "the folders apps, docs"),
            ("link", "the folders apps, docs"),
            ("../x", "within the repository"),
            ("/etc", "within the repository"),
        ] {
            let error = sub_path(tree, path).unwrap_err().to_string();
            assert!(error.contains(expected), "{path}: {error}");
        }
    }

    #[test]
    fn a_pointer_to_another_store_is_named_where_the_app_needs_it() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path();
        fs::create_dir_all(tree.join("api/media")).unwrap();
        fs::create_dir(tree.join("site")).unwrap();
        fs::write(tree.join("site/plain"), "version 1\n").unwrap();
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 5\n";
        fs::write(tree.join("api/media/big.bin"), pointer).unwrap();
        for path in [None, Some("api"), Some("./api/media")] {
            let error = root(tree, path, &[]).unwrap_err().to_string();
            let wanted = "api/media/big.bin is kept in Git LFS";
            assert!(error.starts_with(wanted), "{path:?}: {error}");
        }
        assert_eq!(root(tree, Some("site"), &[]).unwrap(), tree.join("site"));
        fs::write(tree.join("api/.slugignore"), "/media\n").unwrap();
        root(tree, Some("api"), &[]).unwrap();
    }

    #[test]
    fn a_submodule_is_refused_where_the_app_needs_it() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path();
        for path in ["api/vendor/lib", "third/x", "apiary"] {
            fs::create_dir_all(tree.join(path)).unwrap();
        }
        let submodules = ["api/vendor/lib".to_owned(), "third/x".to_owned()];
        for (path, refused) in [
            (None, Some("api/vendor/lib")),
            (Some("api"), Some("api/vendor/lib")),
            (Some("./api/."), Some("api/vendor/lib")),
            (Some("third"), Some("third/x")),
            (Some("third/x"), Some("third/x")),
            (Some("third/x/deep"), Some("third/x")),
            (Some("apiary"), None),
        ] {
            let found = root(tree, path, &submodules);
            let error = found.err().map(|error| error.to_string());
            match (refused, error) {
                (None, None) => {}
                (Some(module), Some(error)) => {
                    let wanted = format!("has a submodule at {module}:");
                    assert!(error.contains(&wanted), "{path:?}: {error}");
                }
                (_, error) => panic!("{path:?}: {error:?}"),
            }
        }
        fs::write(tree.join("api/.slugignore"), "vendor\n").unwrap();
        root(tree, Some("api"), &submodules).unwrap();
    }
}
