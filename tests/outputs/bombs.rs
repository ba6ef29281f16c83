//! Little that stands for much: layers of a base image and archives of a context that would fill a disk, or keep kiln busy
//! for ever.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use kiln::digest::Digest;
use kiln::expansion;

use super::support::{self, Kiln, tool, write};

/// A tar of one file of `size` bytes, all `byte`, as a zstd stream.
fn zstd_bomb(size: u64, byte: u8) -> (Vec<u8>, Digest) {
    let mut header = tar::Header::new_ustar();
    header.set_path("bomb").unwrap();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    let end = [0; 1024];
    let mut tar = header.as_bytes().chain(std::io::repeat(byte).take(size)).chain(end.as_slice());
    let mut hasher = kiln::digest::HashingWriter::new(zstd::Encoder::new(Vec::new(), 1).unwrap());
    std::io::copy(&mut tar, &mut hasher).unwrap();
    let (encoder, diff_id, _) = hasher.finish();
    (encoder.finish().unwrap(), diff_id)
}

/// A layout with an image of that layer.
fn layout(directory: &Path, blob: &[u8], diff_id: &Digest) {
    let put = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        write(directory, &format!("blobs/sha256/{}", digest.hex()), bytes);
        serde_json::json!({ "digest": digest.to_string(), "size": bytes.len() })
    };
    let typed = |mut descriptor: serde_json::Value, kind: &str| {
        descriptor["mediaType"] = format!("application/vnd.oci.image.{kind}").into();
        descriptor
    };
    let layer = typed(put(blob), "layer.v1.tar+zstd");
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [diff_id.to_string()] },
    });
    let config = typed(put(config.to_string().as_bytes()), "config.v1+json");
    let manifest = serde_json::json!({ "schemaVersion": 2, "config": config, "layers": [layer] });
    let manifest = typed(put(manifest.to_string().as_bytes()), "manifest.v1+json");
    write(directory, "index.json", serde_json::json!({ "schemaVersion": 2, "manifests": [manifest] }).to_string());
    write(directory, "oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
}

/// A context whose Dockerfile makes kiln unpack the bomb: as a layer of its base image, and as an archive to add.
fn contexts(size: u64, byte: u8) -> [(tempfile::TempDir, Vec<String>); 2] {
    let (blob, diff_id) = zstd_bomb(size, byte);
    assert!((blob.len() as u64) < size / 5000, "{} bytes for {size}", blob.len());
    let (of_image, of_archive) = (support::scratch(), support::scratch());
    write(of_image.path(), "Dockerfile", "FROM bombed AS base\nFROM scratch\nCOPY --from=base /bomb /copied\n");
    layout(&of_image.path().join("layout"), &blob, &diff_id);
    let named = format!("--build-context=bombed=oci-layout://{}", of_image.path().join("layout").display());
    write(of_archive.path(), "Dockerfile", "FROM scratch\nADD bomb.tar.zst /\n");
    write(of_archive.path(), "bomb.tar.zst", &blob);
    [(of_image, vec![named]), (of_archive, Vec::new())]
}

#[test]
fn a_stream_out_of_all_proportion_is_refused() {
    for (context, arguments) in contexts(4 * expansion::FREE, 0) {
        let kiln = Kiln::new();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let refused = kiln.build(context.path(), &arguments);
        refused.failed_saying(&["compressed bytes stand for more than", "bomb"]);
        support::leftovers::assert_no_temporary_files(kiln.store());
    }
}

/// An archive whose one file has a name of 64 MiB.
fn archive_of_a_long_name() -> Vec<u8> {
    let header = |kind, size| {
        let mut header = tar::Header::new_gnu();
        header.set_path("././@LongLink").unwrap();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_cksum();
        header.as_bytes().to_vec()
    };
    let (long, file) = (header(tar::EntryType::GNULongName, 64 << 20), header(tar::EntryType::Regular, 0));
    let mut tar =
        long.as_slice().chain(std::io::repeat(b'a').take(64 << 20)).chain(file.as_slice()).chain([0; 1024].as_slice());
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::copy(&mut tar, &mut gzip).unwrap();
    gzip.finish().unwrap()
}

/// Names are kept in memory: 64 MiB here, and gigabytes if they were believed.
#[test]
fn names_longer_than_any_are_refused_wherever_an_archive_comes_in() {
    let (kiln, context) = (Kiln::new(), support::scratch());
    write(context.path(), "bomb.tar.gz", archive_of_a_long_name());
    write(context.path(), "Dockerfile", "FROM scratch\nADD bomb.tar.gz /\n");
    let archive = context.path().join("bomb.tar.gz");
    let archive = archive.to_str().unwrap();
    let refused = |output: support::kiln::Output| {
        output.failed_saying(&["longer than any real ones", "bomb"]);
        support::leftovers::assert_no_temporary_files(kiln.store());
    };
    refused(kiln.build(context.path(), &[]));
    refused(kiln.run(["load", "-i", archive]));
    refused(kiln.run(["import", archive]));
    let mut command = kiln.command();
    command.args(["build", "-"]).stdin(std::fs::File::open(archive).unwrap());
    refused(support::kiln::output_of(&mut command, Duration::from_secs(120)));
}

/// Below that proportion the file system is the limit. Here it has 32 MiB, the bomb 1 GiB.
#[test]
fn a_bomb_that_does_not_fit_ends_with_a_clear_error_little_memory_and_nothing_left() {
    if !support::has_root() {
        return;
    }
    for (context, arguments) in contexts(1 << 30, b'x') {
        let kiln = Kiln::new();
        std::fs::create_dir(kiln.store()).unwrap();
        // In a mount namespace of its own, so that nothing stays mounted whatever happens. 300 MiB of addresses that can be
        // written to are no room for the bomb in memory.
        let script = r#"
            mount -t tmpfs -o size=32m none "$KILN_ROOT"
            program=$1; shift
            prlimit --data=300000000 "$program" build "$@"; echo "build: $?"
            find "$KILN_ROOT"/scratch "$KILN_ROOT"/tmp "$KILN_ROOT"/snapshots/scratch -mindepth 1 2>/dev/null | sed 's/^/left: /'
            df --output=used -k "$KILN_ROOT" | tail -1 | sed 's/^ */used: /'
        "#;
        let mut command = tool::tool("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(kiln.command().get_program()).args(&arguments);
        let log = support::kiln::output_of(
            command.arg(context.path()).env("KILN_ROOT", kiln.store()),
            Duration::from_secs(120),
        )
        .both();
        assert!(log.to_lowercase().contains("no space left"), "{log}");
        assert!(!log.contains("build: 0") && !log.contains("panicked") && !log.contains("left: "), "{log}");
        let used = log.lines().find_map(|line| line.strip_prefix("used: ")?.trim().parse::<u32>().ok()).unwrap();
        assert!(used < 4096, "{used} KiB are still used\n{log}");
    }
}
