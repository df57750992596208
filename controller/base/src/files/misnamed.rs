//! The names in a folder → the misspelt name of a file that Slipway reads. Pure.

/// Extensions that editors and file managers append to a name.
const ENDS: [&str; 6] = ["txt", "text", "rtf", "md", "yml", "yaml"];

/// The name in `names` whose author meant `wanted`: it differs in case, in blanks, dots, quotes or commas around it, or
/// by an extension such as `.txt`. `Procfile.dev` is another file, not a mistake.
pub fn meant<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let key = key(wanted);
    names
        .into_iter()
        .filter(|name| *name != wanted && self::key(name) == key)
        .min()
}

/// The command that renames the file.
pub fn rename(from: &str, to: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if from.chars().all(plain) && !from.starts_with('-') {
        format!("git mv {from} {to}")
    } else {
        format!("git mv -- '{}' {to}", from.replace('\'', r"'\''"))
    }
}

/// A name without the parts that [`meant`] ignores.
fn key(name: &str) -> String {
    let name = name.to_lowercase();
    let around = |c: char| c.is_whitespace() || ".,'\"`\u{feff}\u{200b}".contains(c);
    let trimmed = name.trim_matches(around);
    let stem = trimmed
        .rsplit_once('.')
        .filter(|(_, end)| ENDS.contains(end))
        .map_or(trimmed, |(stem, _)| stem);
    stem.trim_matches(around).to_owned()
}

#[cfg(test)]
mod tests {
    use super::{meant, rename};

    #[test]
    fn a_file_that_was_meant_to_be_read_is_found() {
        for (wanted, name, found) in [
            ("Procfile", "Procfile.txt", true),
            ("Procfile", "procfile", true),
            ("Procfile", "PROCFILE", true),
            ("Procfile", "Procfile.", true),
            ("Procfile", "Procfile ", true),
            ("Procfile", ".Procfile", true),
            ("Procfile", "'Procfile'", true),
            ("Procfile", "ProcFile.TXT", true),
            ("Procfile", "Procfile.txt.txt", false),
            ("Procfile", "Procfile", false),
            ("Procfile", "Procfile.dev", false),
            ("Procfile", "Procfile2", false),
            ("app.json", "App.json", true),
            ("app.json", "app.json.txt", true),
            ("app.json", "package.json", false),
            (".buildpacks", "buildpacks", true),
            (".buildpacks", ".buildpacks.txt", true),
            (".slugignore", ".slugIgnore", true),
            (".slugignore", ".gitignore", false),
        ] {
            let names = ["README.md", name];
            assert_eq!(meant(wanted, names).is_some(), found, "{wanted} {name:?}");
        }
    }

    #[test]
    fn the_command_works_in_a_shell() {
        for (from, wanted) in [
            ("Procfile.txt", "git mv Procfile.txt Procfile"),
            ("Procfile ", "git mv -- 'Procfile ' Procfile"),
            ("'Procfile'", r"git mv -- ''\''Procfile'\''' Procfile"),
        ] {
            assert_eq!(rename(from, "Procfile"), wanted);
        }
    }
}
