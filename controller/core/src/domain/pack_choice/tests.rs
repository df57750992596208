//! Lists of packs as people write them.

use crate::domain::pack_choice::{Choice, ChosenBy, PackRef, choose};

fn bundled() -> Vec<String> {
    vec!["python".to_owned(), "nodejs".to_owned()]
}

fn one(text: &str) -> Result<PackRef, String> {
    choose(&[text.to_owned()], None, None, &bundled())
        .map(|mut choice| choice.packs.remove(0))
        .map_err(|error| error.to_string())
}

fn git(url: &str, reference: Option<&str>) -> PackRef {
    PackRef::Git {
        url: url.to_owned(),
        reference: reference.map(ToOwned::to_owned),
    }
}

#[test]
fn each_form_of_reference_is_read() {
    let community = "https://github.com/heroku/heroku-buildpack-nginx.git";
    let cases = [
        ("python", PackRef::Bundled("python".into())),
        ("heroku/python", PackRef::Bundled("python".into())),
        (
            "urn:buildpack:heroku/nodejs",
            PackRef::Bundled("nodejs".into()),
        ),
        (
            "heroku/go",
            git("https://github.com/heroku/heroku-buildpack-go.git", None),
        ),
        (
            "me/own",
            git("https://github.com/me/heroku-buildpack-own.git", None),
        ),
        ("heroku-community/nginx", git(community, None)),
        ("https://h/x.git#v1", git("https://h/x.git", Some("v1"))),
        (
            "https://h/x.git#feature/a",
            git("https://h/x.git", Some("feature/a")),
        ),
        ("https://h/x", git("https://h/x", None)),
        (
            "https://h/x.tgz?token=a",
            PackRef::Archive {
                url: "https://h/x.tgz?token=a".into(),
                gzip: true,
            },
        ),
        (
            "https://h/x.tar.gz#v1",
            PackRef::Archive {
                url: "https://h/x.tar.gz".into(),
                gzip: true,
            },
        ),
        (
            "https://h/x.tar",
            PackRef::Archive {
                url: "https://h/x.tar".into(),
                gzip: false,
            },
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(one(text).unwrap(), expected, "{text}");
    }
}

#[test]
fn what_is_no_reference_is_refused_with_the_reason() {
    for (text, expected) in [
        ("pyton", "the Stack has python, nodejs"),
        ("", "no buildpack"),
        ("/nodejs", "owner/name"),
        ("http://", "none of https"),
        ("ftp://h/x", "none of https"),
        ("git@github.com:heroku/x.git", "SSH"),
        ("https://user:pw@h/x.git", "must not hold credentials"),
        (
            "https://h/x.git#--upload-pack=x",
            "no branch, tag or commit",
        ),
        ("https://h/x.git#a..b", "no branch, tag or commit"),
        ("https://h/x.tar.xz", "archive is not supported"),
        ("python#v1", "only an address"),
    ] {
        let error = one(text).unwrap_err();
        assert!(error.contains(expected), "{text:?}: {error}");
    }
}

#[test]
fn the_spec_wins_over_app_json_over_the_file_over_detection() {
    let app_json = "{\n // comment\n \"buildpacks\": [{\"url\": \"heroku/nodejs\"},],\n}";
    let file = "# c\n\n  python  \r\n";
    let by = |spec: &[&str], app_json, file| -> Choice {
        let spec: Vec<String> = spec.iter().map(|s| (*s).to_owned()).collect();
        choose(&spec, app_json, file, &bundled()).unwrap()
    };
    assert_eq!(
        by(&["python"], Some(app_json), Some(file)).by,
        ChosenBy::Spec
    );
    let choice = by(&[], Some(app_json), Some(file));
    assert_eq!(
        (choice.by, choice.packs[0].name().as_str()),
        (ChosenBy::AppJson, "nodejs")
    );
    let choice = by(&[], Some("{\"name\": \"x\"}"), Some(file));
    assert_eq!((choice.by, choice.packs.len()), (ChosenBy::File, 1));
    let choice = by(&[], None, Some("# only a comment"));
    assert_eq!((choice.by, choice.packs.len()), (ChosenBy::Detection, 2));
    assert!(!choice.explicit());
}

#[test]
fn a_broken_app_json_is_an_error() {
    let error = choose(&[], Some("{\"buildpacks\": ["), None, &bundled()).unwrap_err();
    assert!(error.to_string().starts_with("app.json, line 1"), "{error}");
}

#[test]
fn names_and_folders_show_no_query() {
    let archive = one("https://h/a/x.tgz?token=secret").unwrap();
    assert_eq!(
        (archive.name().as_str(), archive.folder().as_str()),
        ("https://h/a/x.tgz", "x")
    );
    let git = one("https://github.com/heroku/heroku-buildpack-go.git#main").unwrap();
    assert_eq!(git.name(), "heroku/heroku-buildpack-go#main");
    assert_eq!(git.folder(), "heroku-buildpack-go");
    assert_eq!(one("https://h/..").unwrap().folder(), "pack");
}
