//! Files and trees of other machines: ADD of URLs and repositories, and contexts that are no directory.

use std::path::Path;
use std::sync::{Arc, Mutex};

use super::build::Case;
use super::support::http::{HttpServer, Request, Response, repositories};
use super::support::image::{self, Files};
use super::support::kiln::{Kiln, Output};
use super::support::repository::Repository;
use super::support::{scratch, write};

const TIME: &str = "Fri, 14 Jul 2017 02:40:00 GMT";

/// Builds with these arguments, which must succeed; returns what it said, and the files of the image.
#[track_caller]
fn built(kiln: &Kiln, arguments: &[&str]) -> (Output, Files) {
    let archive = kiln.out().join("image.tar");
    let destination = format!("type=oci,dest={}", archive.display());
    let all = ["build", "--progress=plain", "-o", &destination].into_iter().chain(arguments.iter().copied());
    let output = kiln.run(all);
    output.succeeded();
    let image = image::read(&archive).expect("an OCI archive");
    (output, image::flatten(&image.layers).expect("whole layers"))
}

/// Builds with these arguments, which must fail with these words.
#[track_caller]
fn fails(kiln: &Kiln, arguments: &[&str], words: &[&str]) -> Output {
    let all = ["build", "--progress=plain", "-o", "type=cacheonly"].into_iter().chain(arguments.iter().copied());
    let output = kiln.run(all);
    output.failed_saying(words);
    output
}

fn text(files: &Files, path: &str) -> String {
    let node = files.get(&format!("/{path}")).unwrap_or_else(|| panic!("no {path} in the image"));
    String::from_utf8_lossy(&node.data).into_owned()
}

fn names(files: &Files) -> Vec<&str> {
    files.keys().map(|name| name.trim_start_matches('/')).collect()
}

/// A server for the repositories below a directory.
fn git_server(root: &Path) -> HttpServer {
    let root = root.to_owned();
    HttpServer::start(move |request| repositories(&root, request))
}

fn tar_of(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_500_000_000);
        header.set_size(text.len() as u64);
        archive.append_data(&mut header, name, text.as_bytes()).expect("an entry");
    }
    archive.into_inner().expect("an archive")
}

// language 12.4
#[test]
fn urls() {
    let server = HttpServer::start(|request| match request.target.as_str() {
        "/a/timed.txt" => Response::of("timed").with("Last-Modified", TIME),
        "/moved" => Response::status(302).with("Location", "/a/timed.txt"),
        "/gone" => Response::status(404),
        "/tree.tar" => Response::of(tar_of(&[("inside", "1")])),
        _ => Response::of("plain"),
    });
    let url = server.url();
    let built = Case::new(&format!(
        "FROM scratch\nADD {url}/a/timed.txt /d/\nADD {url}/a/timed.txt /named\nADD {url}/q%20r?x=/y /d/\n\
         ADD {url} /d/\nADD {url}/tree.tar /d/\nADD {url}/moved /d/\nADD --chmod=644 --chown=1:2 {url}/p /p\n"
    ))
    .build(&[]);
    let node = |path: &str| {
        let node = built.files.get(&format!("/{path}")).unwrap_or_else(|| panic!("no {path}"));
        (node.mode & 0o7777, node.uid, node.gid, node.mtime)
    };
    assert_eq!(node("d/timed.txt"), (0o600, 0, 0, 1_500_000_000));
    assert_eq!(node("named"), (0o600, 0, 0, 1_500_000_000));
    assert_eq!(node("d/q r"), (0o600, 0, 0, 0));
    assert_eq!(node("p"), (0o644, 1, 2, 0));
    assert_eq!(built.text("/d/__unnamed__"), "plain");
    assert_eq!(built.text("/d/moved"), "timed");
    assert!(built.files.contains_key("/d/tree.tar") && !built.files.contains_key("/d/inside"));

    let unpacked = Case::new(&format!("FROM scratch\nADD --unpack=true {url}/tree.tar /d/\n")).build(&[]);
    assert_eq!(unpacked.text("/d/inside"), "1");
    Case::new(&format!("FROM scratch\nADD {url}/gone /\n")).fails(&["invalid response status 404"]);
}

// language 16.7
#[test]
fn urls_and_repositories_are_asked_whether_they_changed() {
    let current = Arc::new(Mutex::new(("one", "\"1\"")));
    let served = Arc::clone(&current);
    let server = HttpServer::start(move |request: &Request| {
        let (body, etag) = *served.lock().expect("no panic while held");
        match request.header("if-none-match") {
            Some(known) if known == etag => Response::status(304),
            _ => Response::of(body).with("ETag", etag),
        }
    });
    let case = Case::new(&format!("FROM scratch\nADD {}/f /f\n", server.url()));
    case.build(&[]);
    assert_eq!(server.statuses(), [200]);
    let again = case.build(&[]);
    assert_eq!((server.statuses(), again.cached(), again.text("/f").as_str()), (vec![304], 1, "one"));
    // The same content by another tag is the same step.
    *current.lock().expect("no panic while held") = ("one", "\"2\"");
    let renamed = case.build(&[]);
    assert_eq!((server.statuses(), renamed.cached()), (vec![200], 1));
    *current.lock().expect("no panic while held") = ("two", "\"3\"");
    let changed = case.build(&[]);
    assert_eq!((server.statuses(), changed.cached(), changed.text("/f").as_str()), (vec![200], 0, "two"));
    // What shows in the image counts.
    case.dockerfile(&format!("FROM scratch\nADD --chmod=644 {}/f /f\n", server.url()));
    assert_eq!(case.build(&[]).cached(), 0);
    assert_eq!(server.statuses(), [304]);

    let parent = scratch();
    let repository = Repository::new(parent.path(), "r");
    repository.commit(&[("f", "1")]);
    repository.publish();
    let server = git_server(parent.path());
    let case = Case::new(&format!("FROM scratch\nADD {}/r.git /r/\n", server.url()));
    case.build(&[]);
    server.requests();
    let again = case.build(&[]);
    assert_eq!((again.cached(), again.text("/r/f").as_str()), (1, "1"));
    // Only asked for its references.
    let asked = server.requests();
    assert!(asked.iter().all(|(request, _)| !String::from_utf8_lossy(&request.body).contains("command=fetch")));
    let commit = repository.commit(&[("f", "2")]);
    repository.publish();
    let changed = case.build(&[]);
    assert_eq!((changed.cached(), changed.text("/r/f").as_str()), (0, "2"));
    // A commit is what it is: nobody is asked.
    server.requests();
    case.dockerfile(&format!("FROM scratch\nADD {}/r.git#{commit} /r/\n", server.url()));
    assert_eq!((case.build(&[]).cached(), server.requests().len()), (1, 0));
}

#[test]
fn a_time_is_asked_with_where_there_is_no_tag() {
    let modified = Arc::new(Mutex::new(TIME));
    let served = Arc::clone(&modified);
    let server = HttpServer::start(move |request| {
        let modified = *served.lock().expect("no panic while held");
        match request.header("if-modified-since") {
            Some(known) if known == modified => Response::status(304),
            _ => Response::of("f").with("Last-Modified", modified).with("Date", "Sat, 15 Jul 2017 02:40:00 GMT"),
        }
    });
    let case = Case::new(&format!("FROM scratch\nADD {}/f /f\n", server.url()));
    case.build(&[]);
    assert_eq!(case.build(&[]).cached(), 1);
    assert_eq!(server.statuses(), [200, 304]);
    *modified.lock().expect("no panic while held") = "Fri, 14 Jul 2017 02:40:01 GMT";
    let later = case.build(&[]);
    assert_eq!((later.cached(), later.files.get("/f").expect("the file").mtime), (0, 1_500_000_001));
    assert_eq!(server.statuses(), [200]);
}

#[test]
fn a_file_with_a_checksum_is_asked_for_once() {
    let server = HttpServer::start(|_| Response::of("one"));
    let digest = "sha256:7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
    let case = Case::new(&format!("FROM scratch\nADD --checksum={digest} {}/f /f\n", server.url()));
    case.build(&[]);
    assert_eq!(case.build(&[]).cached(), 1);
    assert_eq!(server.statuses(), [200]);
    let other = digest.replace("7692", "0000");
    case.dockerfile(&format!("FROM scratch\nADD --checksum={other} {}/f /f\n", server.url()));
    case.fails(&[&format!("digest mismatch {digest}: {other}")]);
}

/// A repository with two branches, a tag, directories and a submodule.
fn repository(parent: &Path) -> [String; 2] {
    let module = Repository::new(parent, "module");
    module.commit(&[("m", "module")]);
    module.publish();
    let main = Repository::new(parent, "r");
    let first = main.commit(&[("f", "first"), ("d/g", "sub"), ("d/sub/h", "deep"), (".dockerignore", "f\n")]);
    main.git(&["tag", "--annotate", "--message=tag", "v1"]);
    main.git(&["branch", "old"]);
    main.git(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../module.git", "module"]);
    std::os::unix::fs::symlink("/etc", main.path().join("link")).expect("a link");
    let second = main.commit(&[("f", "second")]);
    main.publish();
    [first, second]
}

// language 12.6
#[test]
fn repositories_are_added() {
    let parent = scratch();
    let [first, second] = repository(parent.path());
    let server = git_server(parent.path());
    let url = format!("{}/r.git", server.url());
    let short = &first[..12];
    let case = Case::new(&format!(
        "FROM scratch\nADD {url} /head/\nADD {url}#old:d /sub/\nADD {url}?tag=v1&subdir=d/sub /tag/\n\
         ADD {url}?branch=main&submodules=0 /branch/\nADD {url}#{first} /commit/\nADD --keep-git-dir {url} /kept/\n\
         ADD {url}?ref=old&checksum={short} /checked/\nADD {url}?keep-git-dir=1#v1 /kept-tag/\n\
         ADD --checksum={second} --exclude=d --exclude=module {url}?fetch-by-commit=1 /pinned/\n"
    ));
    let built = case.build(&[]);
    for (path, wanted) in [
        ("head/f", "second"),
        ("head/module/m", "module"),
        ("sub/g", "sub"),
        ("tag/h", "deep"),
        ("branch/f", "second"),
        ("commit/f", "first"),
        ("checked/d/g", "sub"),
        ("kept-tag/f", "first"),
        ("pinned/f", "second"),
    ] {
        assert_eq!(built.text(&format!("/{path}")), wanted, "{path}");
    }
    let has = |path: &str| built.files.contains_key(&format!("/{path}"));
    assert!(!has("head/.git") && !has("head/module/.git") && !has("branch/module/m") && !has("pinned/d"));
    assert!(has("kept/.git/HEAD") && has("kept/.git/index") && has("kept/module/.git"));
    assert_eq!(built.text("/kept/.git/HEAD").trim(), second);
    let file = built.files.get("/head/f").expect("the file");
    assert_eq!((file.mode & 0o7777, file.mtime), (0o644, 1_500_000_000));

    let fails = |rest: &str, words: &[&str]| Case::new(&format!("FROM scratch\nADD {rest} /d/\n")).fails(words);
    fails(&format!("{url}?foo=1"), &["unexpected query \"foo\""]);
    fails(&format!("--keep-git-dir {url}?keep-git-dir=0"), &["inconsistent keep-git-dir configuration"]);
    fails(&format!("{url}#none"), &["repository does not contain ref none"]);
    fails(&format!("{url}#:none"), &["invalid subdir none"]);
    fails(&format!("{url}#:link"), &["invalid subdir link"]);
    fails(&format!("--checksum={first} {url}"), &["expected checksum to match", &second]);
    fails("github.com/x/y", &["github.com/x/y\": not found"]);
    fails("git@h.example:x/y.git", &["no SSH key \"default\" forwarded from the client", "--ssh default"]);
}

/// What was kept of a repository does not tell when and where it was fetched.
#[test]
fn a_kept_git_directory_is_the_same_for_everybody() {
    let parent = scratch();
    repository(parent.path());
    let server = git_server(parent.path());
    let dockerfile = format!("FROM scratch\nADD --keep-git-dir {}/r.git /r/\n", server.url());
    let digest = || Case::new(&dockerfile).build(&[]).manifest["layers"][0]["digest"].clone();
    let first = digest();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(first, digest());
}

// language 15.11, 15.12
#[test]
fn only_directories_leave_files_out() {
    let parent = scratch();
    let main = Repository::new(parent.path(), "r");
    let dockerfile = "FROM scratch\nCOPY f /f\n";
    let files = [("Dockerfile", dockerfile), ("f", "1"), (".dockerignore", "f\n"), ("Dockerfile.dockerignore", "f\n")];
    main.commit(&files);
    main.publish();
    let tree = tar_of(&files);
    let (root, served) = (parent.path().to_owned(), tree.clone());
    let server = HttpServer::start(move |request| match request.target.as_str() {
        "/tree.tar" => Response::of(served.clone()),
        _ => repositories(&root, request),
    });
    let kiln = Kiln::new();
    write(parent.path(), "tree.tar", &tree);
    let local = parent.path().join("tree.tar").display().to_string();
    for context in [format!("{}/r.git", server.url()), format!("{}/tree.tar", server.url()), local] {
        assert_eq!(text(&built(&kiln, &[&context]).1, "f"), "1", "{context}");
    }
    fails(&kiln, &[main.path().to_str().expect("UTF-8")], &["not found"]);

    // A stage has no ignore file; a named directory has its own; other named contexts have none.
    let named = format!("r={}/r.git", server.url());
    write(parent.path(), "named/.dockerignore", "out\n");
    write(parent.path(), "named/out", "");
    write(parent.path(), "named/in", "");
    write(parent.path(), "main/.dockerignore", "in\n");
    write(
        parent.path(),
        "main/dockerfile",
        "FROM scratch AS s\nCOPY --from=r / /\nFROM scratch\nCOPY --from=s / /s/\nCOPY --from=d / /d/\n",
    );
    let directory = format!("d={}", parent.path().join("named").display());
    let main = parent.path().join("main").display().to_string();
    let files = built(&kiln, &["--build-context", &named, "--build-context", &directory, &main]).1;
    assert!(files.contains_key("/s/f") && files.contains_key("/d/in") && !files.contains_key("/d/out"));

    // That was `dockerfile`; without either there is none.
    let empty = parent.path().join("named").display().to_string();
    let words = ["failed to read dockerfile: open Dockerfile: no such file or directory"];
    fails(&kiln, &[&empty], &words);
    write(parent.path(), "main/Dockerfile", "FROM scratch\nCOPY none /\n");
    fails(&kiln, &[&main], &["/none\": not found"]);
}

#[test]
fn repositories_are_contexts() {
    let parent = scratch();
    let repository = Repository::new(parent.path(), "r");
    repository.commit(&[
        ("Dockerfile", "FROM scratch\nCOPY . /\n"),
        ("d/Dockerfile", "FROM scratch\nCOPY g /\n"),
        ("d/other", "FROM scratch\nCOPY g /other\n"),
        ("d/g", "g"),
    ]);
    repository.git(&["tag", "v1"]);
    repository.git(&["rm", "-r", "--quiet", "d"]);
    repository.commit(&[]);
    repository.publish();
    let server = git_server(parent.path());
    let url = format!("{}/r.git", server.url());
    let kiln = Kiln::new();
    assert_eq!(names(&built(&kiln, &[&url]).1), ["Dockerfile"]);
    for context in [format!("{url}#v1:d"), format!("{url}?tag=v1&subdir=d"), format!("{url}?ref=v1#:/d/")] {
        assert_eq!(names(&built(&kiln, &[&context]).1), ["g"], "{context}");
    }
    assert_eq!(names(&built(&kiln, &["-f", "other", &format!("{url}#v1:d")]).1), ["other"]);
    // A Dockerfile of this machine, and one behind http.
    write(parent.path(), "mine", "FROM scratch\nCOPY d/g /mine\n");
    let mine = parent.path().join("mine").display().to_string();
    assert_eq!(names(&built(&kiln, &["-f", &mine, &format!("{url}#v1")]).1), ["mine"]);
    let kept = built(&kiln, &["--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1", &url]).1;
    assert_eq!((kept.contains_key("/.git/HEAD"), kept.contains_key("/Dockerfile")), (true, true));
    fails(&kiln, &[&format!("{url}?bogus=1")], &["unexpected query \"bogus\""]);
    fails(&kiln, &[&format!("{url}#none")], &["repository does not contain ref none"]);
    let missing = format!("{}/none.git", server.url());
    fails(&kiln, &[&missing], &["failed to fetch remote", "not found"]);
}

#[test]
fn archives_and_dockerfiles_are_contexts() {
    let tree = tar_of(&[("top/Dockerfile", "FROM scratch\nCOPY top/f /\n"), ("top/f", "1")]);
    let zstd = zstd::encode_all(tree.as_slice(), 1).expect("compressed");
    let parent = scratch();
    write(parent.path(), "tree", &tree);
    write(parent.path(), "tree.zst", &zstd);
    let server = HttpServer::start(move |request| match request.target.as_str() {
        "/tree" => Response::of(tree.clone()),
        "/zstd" => Response::of(zstd.clone()),
        "/dockerfile" => Response::of("FROM scratch\nCOPY context /copy\n").with("Last-Modified", TIME),
        "/named" => Response::of("FROM scratch\nCOPY --from=n context /named\n"),
        _ => Response::status(404),
    });
    let (kiln, url) = (Kiln::new(), server.url());
    let path = |name: &str| parent.path().join(name).display().to_string();
    for context in [format!("{url}/tree"), format!("{url}/zstd"), path("tree"), path("tree.zst")] {
        assert_eq!(names(&built(&kiln, &["-f", "top/Dockerfile", &context]).1), ["f"], "{context}");
    }
    let alone = built(&kiln, &[&format!("{url}/dockerfile")]).1;
    let node = alone.get("/copy").expect("the file");
    assert_eq!((node.mode & 0o7777, node.mtime), (0o600, 1_500_000_000));
    let empty = parent.path().join("empty");
    std::fs::create_dir(&empty).expect("a new directory");
    let named = format!("n={url}/dockerfile");
    let arguments = ["--build-context", &named, "-f", &format!("{url}/named"), &empty.display().to_string()];
    assert_eq!(names(&built(&kiln, &arguments).1), ["named"]);
    fails(&kiln, &[&format!("{url}/none")], &["invalid response status 404"]);
}

#[test]
fn credentials_go_to_their_host_and_are_shown_nowhere() {
    let other = HttpServer::start(|_| Response::of("elsewhere"));
    let (parent, elsewhere) = (scratch(), other.url());
    let repository = Repository::new(parent.path(), "r");
    repository.commit(&[("f", "private")]);
    repository.publish();
    let root = parent.path().to_owned();
    let server = HttpServer::start(move |request| {
        // x-access-token:SECRET, user:SECRET, and the two tokens for downloads
        let known = ["basic eC1hY2Nlc3MtdG9rZW46U0VDUkVU", "basic dXNlcjpTRUNSRVQ=", "Bearer SECRET", "Other SECRET"];
        let authorization = request.header("authorization").unwrap_or_default();
        if !known.iter().any(|known| known.eq_ignore_ascii_case(authorization)) {
            return Response::status(401).with("WWW-Authenticate", "Basic realm=\"r\"");
        }
        match request.target.as_str() {
            "/f" => Response::of("private"),
            "/away" => Response::status(302).with("Location", &format!("{elsewhere}/f")),
            target if target.starts_with("/away.git") => {
                Response::status(302).with("Location", &format!("{elsewhere}/r.git{}", &target[9..]))
            }
            _ => repositories(&root, request),
        }
    });
    let (url, host) = (server.url(), server.host());
    let name = host.split(':').next().expect("a host");
    let with_user = url.replace("http://", "http://user:SECRET@");
    let secret = |id: &str, value: &str| {
        write(parent.path(), &format!("secret/{id}"), value);
        format!("id={id},src={}", parent.path().join("secret").join(id).display())
    };
    let git = secret("GIT_AUTH_TOKEN", "SECRET\n");
    let git_host = secret(&format!("GIT_AUTH_TOKEN.{host}"), "SECRET");
    let token = secret(&format!("HTTP_AUTH_TOKEN_{name}"), "SECRET\n");
    let header = secret(&format!("HTTP_AUTH_HEADER_{name}"), "Other SECRET");
    let mut said = String::new();
    for (source, secrets) in [
        (format!("{url}/r.git"), vec![&git]),
        (format!("{url}/r.git"), vec![&git_host]),
        (format!("{with_user}/r.git"), vec![]),
        (format!("{url}/f"), vec![&token]),
        (format!("{url}/f"), vec![&header]),
        (format!("{with_user}/f"), vec![]),
        (format!("{url}/away"), vec![&token]),
    ] {
        let case = Case::new(&format!("FROM scratch\nADD --keep-git-dir=true {source} /d/\n"));
        if !source.ends_with(".git") {
            case.dockerfile(&format!("FROM scratch\nADD {source} /d/\n"));
        }
        let arguments: Vec<&str> = secrets.iter().flat_map(|secret| ["--secret", secret.as_str()]).collect();
        let built = case.build(&arguments);
        let wanted = if source.ends_with("/away") { ("/d/away", "elsewhere") } else { ("/d/f", "private") };
        assert_eq!(built.text(wanted.0), wanted.1, "{source}");
        said += &format!("{}{:?}{}", built.output.both(), built.history(), built.config);
        said += &texts_below(&case.kiln.store().join("cache"));
        for node in built.files.values() {
            said += &String::from_utf8_lossy(&node.data);
        }
    }
    assert!(!said.contains("SECRET") && !said.contains("U0VDUkVU"), "{said}");
    assert!(other.requests().iter().all(|(request, _)| request.header("authorization").is_none()));

    // A repository elsewhere gets nothing either: it is not gone to.
    let case = Case::new(&format!("FROM scratch\nADD {url}/away.git /d/\n"));
    let output = case.kiln.build(case.context(), &["--secret", &git, "-o", "type=cacheonly"]);
    output.failed_saying(&["failed to fetch remote"]);
    assert!(other.requests().is_empty());
    let output = Case::new(&format!("FROM scratch\nADD {url}/r.git /d/\n")).fails(&["GIT_AUTH_TOKEN"]);
    assert!(output.both().contains("private"), "{}", output.both());
    Case::new(&format!("FROM scratch\nADD {url}/f /d/\n")).fails(&["invalid response status 401", "HTTP_AUTH_TOKEN"]);
}

/// All texts in the files below a directory.
fn texts_below(directory: &Path) -> String {
    let mut texts = String::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(path) = pending.pop() {
        texts += &format!("{}\n", path.display());
        if path.is_dir() {
            pending.extend(std::fs::read_dir(&path).expect("a directory").map(|entry| entry.expect("an entry").path()));
        } else {
            texts += &String::from_utf8_lossy(&std::fs::read(&path).expect("a file"));
        }
    }
    texts
}

#[test]
fn hostile_servers_get_nothing() {
    let parent = scratch();
    let repository = Repository::new(parent.path(), "r");
    std::fs::write(parent.path().join("stolen"), "host file").expect("a file");
    let module = Repository::new(parent.path(), "module");
    module.commit(&[("secret", "host file")]);
    let commit = module.git(&["rev-parse", "HEAD"]);
    let root = parent.path().to_owned();
    let stolen = format!("file://{}", parent.path().join("stolen").display());
    let server = HttpServer::start(move |request| match request.target.split('?').next().unwrap_or_default() {
        "/endless" => Response { endless: true, ..Response::of(vec![b'#'; 1 << 16]) },
        "/file" => Response::status(302).with("Location", &stolen),
        "/around" => Response::status(302).with("Location", "/around"),
        target if target.starts_with("/file.git") => Response::status(302).with("Location", &stolen),
        _ => repositories(&root, request),
    });
    let (kiln, url) = (Kiln::new(), server.url());
    fails(&kiln, &["-f", &format!("{url}/endless"), parent.path().to_str().expect("UTF-8")], &["longer than 16 MiB"]);
    for (from, said) in
        [("file", "status 302"), ("around", "too many redirects"), ("file.git", "failed to fetch remote")]
    {
        let output = Case::new(&format!("FROM scratch\nADD {url}/{from} /d/\n")).fails(&[said]);
        assert!(!output.both().contains("host file"));
    }
    Case::new(&format!("FROM scratch\nADD {url}/r.git#--upload-pack=x /d/\n")).fails(&["invalid git ref"]);
    Case::new("FROM scratch\nADD ext::sh%20-c%20id /d/\n").fails(&["not found"]);

    // Submodules that are on this machine, or want to be something else than a repository.
    let inside = module.path().display().to_string();
    for address in [format!("file://{inside}"), inside, "ext::sh -c touch% /tmp/x".to_owned(), "--upload-pack=x".into()]
    {
        std::fs::write(
            repository.path().join(".gitmodules"),
            format!("[submodule \"m\"]\n\tpath = m\n\turl = {address}\n"),
        )
        .expect("a file");
        repository.git(&["add", ".gitmodules"]);
        repository.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},m")]);
        repository.git(&["commit", "--quiet", "--message=m"]);
        repository.publish();
        let output = Case::new(&format!("FROM scratch\nADD {url}/r.git /d/\n")).fails(&["failed to fetch remote"]);
        assert!(!output.both().contains("host file"), "{address}");
    }
}
