//! Section 15: ignore files. What a pattern matches is tried in `src/context/ignore/tests.rs`.

use super::build::Case;

/// What a build that copies its whole context finds of it, without the Dockerfile.
#[track_caller]
fn copied(case: &Case, arguments: &[&str]) -> Vec<String> {
    let files = case.build(arguments).files;
    let names = files.keys().filter_map(|path| path.strip_prefix("/c/"));
    names.filter(|name| !name.contains("ockerfile")).map(str::to_owned).collect()
}

const COPY_ALL: &str = "FROM scratch\nCOPY . /c/\n";

// language 15.1
#[test]
fn the_ignore_file_beside_the_dockerfile_counts_alone() {
    let case = Case::new(COPY_ALL)
        .file("a", "")
        .file("b", "")
        .file(".dockerignore", "a\n[malformed\n.dockerignore\n")
        .file("sub/Other", COPY_ALL)
        .file("sub/Other.dockerignore", "b\nsub\n");
    assert_eq!(copied(&case, &["-f", &case.context().join("sub/Other").display().to_string()]), [".dockerignore", "a"]);
    // It is that of the Dockerfile that is used, and empty it is one too.
    let case = case.file("Dockerfile.dockerignore", "");
    assert_eq!(copied(&case, &[]), [".dockerignore", "a", "b", "sub", "sub/Other", "sub/Other.dockerignore"]);
}

// language 15.5, 15.6
#[test]
fn the_last_line_decides_and_files_come_back_with_their_directories() {
    let ignore = "out\n!out/keep/deep/file\nin/*\n!in/a\nin/a\n!in/b\n.dockerignore\n";
    let case = Case::new(COPY_ALL).file(".dockerignore", ignore);
    let case =
        ["out/x", "out/gone/y", "out/keep/z", "out/keep/deep/file", "out/keep/deep/other", "in/a", "in/b", "in/c/d"]
            .into_iter()
            .fold(case, |case, path| case.file(path, ""));
    assert_eq!(copied(&case, &[]), ["in", "in/b", "out", "out/keep", "out/keep/deep", "out/keep/deep/file"]);
}

// language 15.7
#[test]
fn the_top_cannot_be_left_out_and_mistakes_are_errors_of_any_build() {
    let case = Case::new(COPY_ALL).file("a", "").file(".dockerignore", ".\n/\n..\n.dockerignore\n");
    assert_eq!(copied(&case, &[]), ["a"]);
    let case = Case::new("FROM scratch\nLABEL a=b\n").file(".dockerignore", "ok\n!\n");
    case.fails(&[".dockerignore:2:1", "illegal exclusion pattern: \"!\""]);
    case.file(".dockerignore", "ok\n\n[a-\n").fails(&[".dockerignore:3:1", "`[a-`: syntax error in pattern"]);
}

// language 15.8
#[test]
fn the_build_reads_what_it_hides_from_copy() {
    let case = Case::new("FROM scratch\nCOPY . /c/\nLABEL read=yes\n").file("a", "").file("b", "");
    let case = case.file(".dockerignore", "Dockerfile\n.dockerignore\nb\n");
    let built = case.build(&[]);
    assert_eq!(built.config["config"]["Labels"]["read"], "yes");
    let names: Vec<&String> = built.files.keys().filter(|path| path.starts_with("/c/")).collect();
    assert_eq!(names, ["/c/a"]);
}

// language 15.9
#[test]
fn what_is_left_out_is_not_there() {
    let case = Case::new("FROM scratch\nCOPY sub/secret /\n").file("sub/secret", "").file("sub/shown", "");
    let case = case.file(".dockerignore", "sub/secret\n");
    case.fails(&["failed to compute cache key: \"/sub/secret\": not found", ".dockerignore:1:1"]);
    let checked = case.kiln.build(case.context(), &["--check"]).both();
    assert!(checked.contains("CopyIgnoredFile"), "{checked}");
    // Neither is what is copied with a wildcard, through a directory, or mounted.
    case.dockerfile(
        "FROM BUSYBOX\n\
         RUN --mount=type=bind,target=/m ls -A /m /m/sub > /seen\n\
         COPY sub/s* /wild/\n\
         COPY sub /all\n",
    );
    let built = case.build(&[]);
    assert_eq!(built.text("/seen"), "/m:\n.dockerignore\nDockerfile\nsub\n\n/m/sub:\nshown\n");
    let names = ["/wild/shown", "/all/shown"].map(|path| built.files.contains_key(path));
    let hidden = ["/wild/secret", "/all/secret"].map(|path| built.files.contains_key(path));
    assert_eq!((names, hidden), ([true; 2], [false; 2]));
}

// language 15.10
#[test]
fn directories_stay_when_all_their_files_are_left_out() {
    let case = Case::new(COPY_ALL)
        .file("x/y/b.tmp", "")
        .file("z/c", "")
        .file(".dockerignore", "**/*.tmp\n.dockerignore\nz/**");
    assert_eq!(copied(&case, &[]), ["x", "x/y", "z"]);
}
