//! Reads the build zone's result: limited in size, and accepted only where it is harmless.

use std::{io::Read, path::Path};

use crate::archive::Dir;
use crate::export::ExportError;
use slipway_base::{
    files::procfile,
    zone::{
        layout,
        report::{BuildReport, MAX_BYTES},
    },
};

const MAX_VARS: usize = 256;
/// Linux gives a program no longer variable or argument.
const MAX_VALUE: usize = 128 * 1024;

/// Reads the result on the volume.
pub(super) fn read(workspace: &Path) -> Result<BuildReport, ExportError> {
    let path = Path::new(layout::RESULT_FILE);
    let failed = |error: std::io::Error| {
        ExportError::Result(format!("{} cannot be read: {error}", path.display()))
    };
    let file = Dir::open(workspace)
        .map_err(failed)?
        .file(path)
        .map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    parse(&bytes).map_err(ExportError::Result)
}

fn parse(bytes: &[u8]) -> Result<BuildReport, String> {
    if bytes.len() > MAX_BYTES {
        return Err(format!("it is larger than {MAX_BYTES} bytes"));
    }
    let report: BuildReport =
        serde_json::from_slice(bytes).map_err(|error| format!("it is no report: {error}"))?;
    if report.failure.is_some() {
        return Err("the build failed".to_owned());
    }
    let (types, vars) = (report.processes.len(), report.config_vars.len());
    if types > procfile::TYPES_MAX {
        return Err(format!(
            "it has {types} process types, and a build may have at most {}: take some out of the Procfile",
            procfile::TYPES_MAX
        ));
    }
    if vars > MAX_VARS {
        return Err(format!(
            "the buildpacks' release gives {vars} variables, and may give at most {MAX_VARS}"
        ));
    }
    for (name, command) in &report.processes {
        if procfile::name(name).as_ref() != Ok(name) || command.contains('\0') {
            return Err(format!("{name:?} is no process type"));
        }
        if command.len() > procfile::COMMAND_MAX {
            return Err(format!(
                "the command of process type {name} has {} bytes, and may have at most {}: put it into a script in the repository, and call that in the Procfile",
                command.len(),
                procfile::COMMAND_MAX
            ));
        }
    }
    let bad_value = |text: &String| text.contains('\0') || text.len() > MAX_VALUE;
    for (name, value) in &report.config_vars {
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if name.is_empty() || !plain || bad_value(value) {
            return Err(format!("{name:?} is no variable"));
        }
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use super::{parse, read};

    #[test]
    fn a_result_is_checked() {
        let good = br#"{"processes": {"web": "run"}, "configVars": {"A": "1"}}"#;
        assert_eq!(parse(good).unwrap().processes["web"], "run");
        for (bad, expected) in [
            (r#"{"processes": {"We_b": "run"}}"#, "process type"),
            (r#"{"processes": {"web": "a\u0000"}}"#, "process type"),
            (r#"{"configVars": {"A=B": "1"}}"#, "variable"),
            (
                r#"{"failure": {"step": "compile", "message": "x"}}"#,
                "failed",
            ),
            ("\"x\"", "no report"),
        ] {
            let error = parse(bad.as_bytes()).unwrap_err();
            assert!(error.contains(expected), "{bad}: {error}");
        }
        assert!(parse(&vec![b' '; 2 << 20]).unwrap_err().contains("larger"));
    }

    #[test]
    fn processes_are_as_many_and_as_long_as_the_api_takes() {
        let said = |processes: BTreeMap<String, String>| {
            let report = serde_json::json!({ "processes": processes });
            parse(report.to_string().as_bytes()).map(|report| report.processes.len())
        };
        let many = |count| (0..count).map(|n| (format!("p{n}"), "run".to_owned()));
        let long = |bytes| BTreeMap::from([("web".to_owned(), "x".repeat(bytes))]);
        assert_eq!(said(many(64).collect()), Ok(64));
        assert_eq!(said(long(8192)), Ok(1));
        let error = said(many(65).collect()).unwrap_err();
        assert!(
            error.contains("65") && error.contains("Procfile"),
            "{error}"
        );
        let error = said(long(8193)).unwrap_err();
        assert!(
            error.contains("web has 8193 bytes") && error.contains("a script"),
            "{error}"
        );
    }

    #[test]
    fn a_result_that_is_a_link_is_not_read() {
        let root = tempfile::tempdir().unwrap();
        let secret = root.path().join("secret.json");
        fs::write(&secret, "{}").unwrap();
        fs::create_dir(root.path().join("volume")).unwrap();
        let volume = root.path().join("volume");
        fs::create_dir(volume.join("slipway")).unwrap();
        std::os::unix::fs::symlink(&secret, volume.join("slipway/result.json")).unwrap();
        assert!(
            read(&volume)
                .unwrap_err()
                .to_string()
                .contains("cannot be read")
        );
        fs::remove_dir_all(volume.join("slipway")).unwrap();
        std::os::unix::fs::symlink(root.path(), volume.join("slipway")).unwrap();
        fs::write(root.path().join("result.json"), "{}").unwrap();
        assert!(read(&volume).is_err());
    }
}
