//! Signatures of images with a key: made by kiln and read by others, made by others and read by kiln.

mod support;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::kiln::Kiln;
use support::registry::Registry;
use support::{Output, python, tool, write};
use tempfile::TempDir;

const PASSWORD: &str = "correct horse";

#[test]
fn an_image_is_signed_and_verified() {
    let (kiln, registry, keys) = (Kiln::new(), Registry::start(), Keys::new());
    let name = pushed(&kiln, &registry, "app:1", "one");
    signed(&kiln, &keys.private, &["-a", "who=me", &name]).succeeded();
    let verified = verify(&kiln, &keys.public, &["-a", "who=me", &name]);
    let said: Value = serde_json::from_str(&verified.succeeded().stdout).expect("JSON");
    let digest = digest(&name);
    let critical = json!({
        "identity": { "docker-reference": format!("{}/app", registry.address) },
        "image": { "docker-manifest-digest": digest },
        "type": "cosign container image signature",
    });
    assert_eq!(said, json!([{ "critical": critical, "optional": { "who": "me" } }]));
    assert!(verified.stderr.contains("1 signature is by this key"), "{}", verified.stderr);
    // The same signature again is no second one; another key's is.
    signed(&kiln, &keys.private, &["-a", "who=me", &name]).succeeded();
    let other = Keys::new();
    let output = verify(&kiln, &other.public, &[&name]);
    output.failed_saying(&["is not signed by this key", "it is not by this key"]);
    assert_eq!(output.code, 1);
    signed(&kiln, &other.private, &[&name]).succeeded();
    verify(&kiln, &other.public, &[&name]).succeeded();
    let layers = carrier(&registry, "app", &digest)["layers"].as_array().expect("layers").len();
    assert_eq!(layers, 2);
    // What the signature must say, it must say.
    verify(&kiln, &keys.public, &["-a", "who=you", &name]).failed_saying(&["it has no annotation who=you"]);
    let unsigned = pushed(&kiln, &registry, "app:2", "two");
    verify(&kiln, &keys.public, &[&unsigned]).failed_saying(&["is not signed by this key"]);
}

#[test]
fn openssl_verifies_what_kiln_signs_and_its_keys_sign() {
    let (kiln, registry, scratch) = (Kiln::new(), Registry::start(), support::scratch());
    let name = pushed(&kiln, &registry, "app:1", "one");
    let (private, public) = (scratch.path().join("k"), scratch.path().join("p"));
    let made = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out"];
    tool::run(tool::tool("openssl").args(made).arg(&private));
    tool::run(tool::tool("openssl").args(["pkey", "-pubout", "-in"]).arg(&private).arg("-out").arg(&public));
    signed(&kiln, &private, &[&name]).succeeded();
    let layer = carrier(&registry, "app", &digest(&name))["layers"][0].clone();
    let (payload, signature) = (scratch.path().join("payload"), scratch.path().join("signature"));
    std::fs::copy(registry.blob_file(text(&layer["digest"])), &payload).expect("the payload");
    write(scratch.path(), "base64", text(&layer["annotations"]["dev.cosignproject.cosign/signature"]));
    let decode = ["base64", "-d", "-A", "-in"];
    tool::run(tool::tool("openssl").args(decode).arg(scratch.path().join("base64")).arg("-out").arg(&signature));
    let mut verify_it = tool::tool("openssl");
    verify_it.args(["dgst", "-sha256", "-verify"]).arg(&public).arg("-signature").arg(&signature).arg(&payload);
    assert!(tool::run(&mut verify_it).contains("Verified OK"));
    verify(&kiln, &public, &[&name]).succeeded();
    // The older form of openssl is told from a key for something else.
    let (old, rsa) = (scratch.path().join("old"), scratch.path().join("rsa"));
    tool::run(tool::tool("openssl").args(["ec", "-in"]).arg(&private).arg("-out").arg(&old));
    signed(&kiln, &old, &[&name]).failed_saying(&["openssl pkcs8 -topk8"]);
    tool::run(tool::tool("openssl").args(["genpkey", "-algorithm", "RSA", "-out"]).arg(&rsa));
    signed(&kiln, &rsa, &[&name]).failed_saying(&["not a key for ECDSA on P-256"]);
}

/// The form of private keys, read and written with libsodium and another scrypt.
#[test]
fn private_keys_are_those_of_cosign() {
    let (kiln, registry, keys, scratch) = (Kiln::new(), Registry::start(), Keys::new(), support::scratch());
    let Some(programs) = python::programs() else { return };
    let script = scratch.path().join("keys.py");
    write(scratch.path(), "keys.py", PYTHON_KEYS);
    let run_it = |arguments: &[&Path]| {
        tool::run(python::program(&programs, "python").arg(&script).arg(PASSWORD).args(arguments))
    };
    assert_eq!(run_it(&[Path::new("read"), &keys.private, &keys.public]).trim(), "the same");
    for label in ["COSIGN", "SIGSTORE"] {
        let (private, public) = (scratch.path().join("theirs.key"), scratch.path().join("theirs.pub"));
        run_it(&[Path::new("write"), &private, &public, Path::new(label)]);
        let name = pushed(&kiln, &registry, &format!("app:{}", label.to_lowercase()), label);
        signed(&kiln, &private, &[&name]).succeeded();
        verify(&kiln, &public, &[&name]).succeeded();
    }
}

/// `read PRIVATE PUBLIC`: opens a key and compares it; `write PRIVATE PUBLIC LABEL`: makes one.
const PYTHON_KEYS: &str = r#"
import base64, hashlib, json, os, sys
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec
from nacl.secret import SecretBox

password, verb, private, public = sys.argv[1:5]
b64, unb64 = (lambda b: base64.b64encode(b).decode()), base64.b64decode

def key_of(salt, cost):
    return hashlib.scrypt(password.encode(), salt=salt, n=cost, r=8, p=1, dklen=32, maxmem=1 << 28)

def public_pem(key):
    return key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)

if verb == "read":
    lines = open(private).read().strip().splitlines()
    assert lines[0] == "-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----", lines[0]
    box = json.loads(unb64("".join(lines[1:-1])))
    kdf, cipher = box["kdf"], box["cipher"]
    assert (kdf["name"], cipher["name"]) == ("scrypt", "nacl/secretbox")
    opened = SecretBox(key_of(unb64(kdf["salt"]), kdf["params"]["N"])).decrypt(unb64(box["ciphertext"]), unb64(cipher["nonce"]))
    key = s.load_der_private_key(opened, None)
    print("the same" if public_pem(key) == open(public, "rb").read() else "another")
else:
    key = ec.generate_private_key(ec.SECP256R1())
    der = key.private_bytes(s.Encoding.DER, s.PrivateFormat.PKCS8, s.NoEncryption())
    cost, salt, nonce = 65536, os.urandom(32), os.urandom(24)
    box = {
        "kdf": {"name": "scrypt", "params": {"N": cost, "r": 8, "p": 1}, "salt": b64(salt)},
        "cipher": {"name": "nacl/secretbox", "nonce": b64(nonce)},
        "ciphertext": b64(SecretBox(key_of(salt, cost)).encrypt(der, nonce).ciphertext),
    }
    label = f"ENCRYPTED {sys.argv[5]} PRIVATE KEY"
    text = b64(json.dumps(box).encode())
    lines = [text[at:at + 64] for at in range(0, len(text), 64)]
    open(private, "w").write("\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]))
    open(public, "wb").write(public_pem(key))
"#;

#[test]
fn a_signature_holds_for_its_own_image_only() {
    let (kiln, registry, keys) = (Kiln::new(), Registry::start(), Keys::new());
    let good = pushed(&kiln, &registry, "app:1", "one");
    let evil = pushed(&kiln, &registry, "app:2", "two");
    signed(&kiln, &keys.private, &[&good]).succeeded();
    let manifest = carrier(&registry, "app", &digest(&good)).to_string();
    let tag = format!("{}.sig", digest(&evil).replace(':', "-"));
    let mut put = tool::tool("curl");
    put.args(["-sf", "-X", "PUT", "-H", "Content-Type: application/vnd.oci.image.manifest.v1+json", "-d", &manifest]);
    tool::run(put.arg(format!("http://{}/v2/app/manifests/{tag}", registry.address)));
    verify(&kiln, &keys.public, &[&evil]).failed_saying(&[&format!("it is about {}", digest(&good))]);
}

#[test]
fn what_others_put_beside_a_signature_does_not_hide_it() {
    let (kiln, registry, keys) = (Kiln::new(), Registry::start(), Keys::new());
    let image = pushed(&kiln, &registry, "app:1", "one");
    let put = |manifest: &Value, kind: &str| {
        let tag = format!("{}.sig", digest(&image).replace(':', "-"));
        let mut put = tool::tool("curl");
        put.args(["-sf", "-X", "PUT", "-H", &format!("Content-Type: {kind}"), "-d", &manifest.to_string()]);
        tool::run(put.arg(format!("http://{}/v2/app/manifests/{tag}", registry.address)));
    };
    let index = "application/vnd.oci.image.index.v1+json";
    put(&serde_json::json!({"schemaVersion": 2, "mediaType": index, "manifests": []}), index);
    verify(&kiln, &keys.public, &[&image]).failed_saying(&["is no list of signatures"]);
    let tag = format!("{}/app:{}.sig", registry.address, digest(&image).replace(':', "-"));
    tool::run(tool::tool("skopeo").args(["delete", "--tls-verify=false", &format!("docker://{tag}")]));
    signed(&kiln, &keys.private, &[&image]).succeeded();
    let mut manifest = carrier(&registry, "app", &digest(&image));
    let mut gone = manifest["layers"][0].clone();
    gone["annotations"] = serde_json::json!({"dev.cosignproject.cosign/signature": "MAA="});
    manifest["layers"].as_array_mut().expect("layers").insert(0, gone);
    put(&manifest, "application/vnd.oci.image.manifest.v1+json");
    let payload = manifest["layers"][0]["digest"].as_str().expect("a digest").to_owned();
    verify(&kiln, &keys.public, &[&image]).succeeded();
    // Without its payload neither holds, and that is said.
    std::fs::remove_file(registry.blob_file(&payload)).expect("the payload");
    verify(&kiln, &keys.public, &[&image]).failed_saying(&["its payload is not in the registry"]);
}

#[test]
fn an_index_is_signed_with_its_images() {
    let (kiln, registry, keys) = (Kiln::new(), Registry::start(), Keys::new());
    let context = support::scratch();
    write(context.path(), "Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY Dockerfile /${TARGETARCH}\n");
    let name = format!("{}/multi:1", registry.address);
    let platforms = ["-t", &name, "--push", "--platform", "linux/amd64,linux/arm64"];
    kiln.build(context.path(), &platforms).succeeded();
    let said = signed(&kiln, &keys.private, &["--recursive", &name]);
    let lines: Vec<String> = said.succeeded().stdout.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    for line in &lines {
        let image = line.split(' ').next().expect("a name");
        verify(&kiln, &keys.public, &[image]).succeeded();
    }
}

#[test]
fn keys_are_never_replaced_and_need_their_password() {
    let (kiln, registry, keys) = (Kiln::new(), Registry::start(), Keys::new());
    let name = pushed(&kiln, &registry, "app:1", "one");
    let prefix = keys.private.with_extension("");
    let mut again = kiln.command();
    again.args(["generate-key-pair", "--output-key-prefix"]).arg(&prefix).env("COSIGN_PASSWORD", "");
    run(&mut again).failed_saying(&["cannot write", "exists"]);
    // One that cannot be written takes the other with it.
    let half = keys.private.with_file_name("half");
    std::fs::write(half.with_extension("pub"), "").expect("a file");
    let mut make = kiln.command();
    make.args(["generate-key-pair", "--output-key-prefix"]).arg(&half).env("COSIGN_PASSWORD", "");
    run(&mut make).failed_saying(&["half.pub", "exists"]);
    assert!(!half.with_extension("key").exists());
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&keys.private).expect("the key").permissions());
    assert_eq!(mode & 0o777, 0o600);
    let sign = |password: Option<&str>| {
        let mut sign = kiln.command();
        sign.args(["sign", "--key"]).arg(&keys.private).arg(&name).env_remove("COSIGN_PASSWORD");
        password.map(|password| sign.env("COSIGN_PASSWORD", password));
        run(&mut sign)
    };
    sign(None).failed_saying(&["it is encrypted", "COSIGN_PASSWORD"]);
    sign(Some("wrong")).failed_saying(&["the password is wrong"]);
    let mut by_variable = kiln.command();
    by_variable.args(["sign", "--key", "env://KEY", &name]).env("COSIGN_PASSWORD", PASSWORD);
    by_variable.env("KEY", std::fs::read_to_string(&keys.private).expect("the key"));
    run(&mut by_variable).succeeded();
    verify(&kiln, &keys.public, &[&name]).succeeded();
    verify(&kiln, &keys.private, &[&name]).failed_saying(&["not a public key"]);
    let absent = format!("{}/nothing:1", registry.address);
    assert_eq!(verify(&kiln, &keys.public, &[&absent]).code, 4);
    signed(&kiln, Path::new("awskms://x"), &[&name]).failed_saying(&["keys of `awskms` cannot be used"]);
}

/// A pair of keys as `kiln generate-key-pair` makes it.
struct Keys {
    private: PathBuf,
    public: PathBuf,
    _scratch: TempDir,
}

impl Keys {
    fn new() -> Self {
        let scratch = support::scratch();
        let prefix = scratch.path().join("cosign");
        let mut make = Kiln::new().command();
        make.args(["generate-key-pair", "--output-key-prefix"]).arg(&prefix).env("COSIGN_PASSWORD", PASSWORD);
        run(&mut make).succeeded();
        Self { private: prefix.with_extension("key"), public: prefix.with_extension("pub"), _scratch: scratch }
    }
}

fn run(command: &mut std::process::Command) -> Output {
    support::kiln::output_of(command, std::time::Duration::from_secs(60))
}

fn signed(kiln: &Kiln, key: &Path, arguments: &[&str]) -> Output {
    run(kiln.command().args(["sign", "--key"]).arg(key).args(arguments).env("COSIGN_PASSWORD", PASSWORD))
}

fn verify(kiln: &Kiln, key: &Path, arguments: &[&str]) -> Output {
    run(kiln.command().args(["verify", "--key"]).arg(key).args(arguments))
}

/// Builds and pushes an image that holds `text`; returns its name.
fn pushed(kiln: &Kiln, registry: &Registry, name: &str, text: &str) -> String {
    let context = support::scratch();
    write(context.path(), "Dockerfile", "FROM scratch\nCOPY file /\n");
    write(context.path(), "file", text);
    let name = format!("{}/{name}", registry.address);
    kiln.build(context.path(), &["-t", &name, "--push"]).succeeded();
    name
}

/// The digest of what a name means in its registry.
fn digest(name: &str) -> String {
    let format = ["inspect", "--format", "{{.Digest}}", "--tls-verify=false"];
    tool::run(tool::tool("skopeo").args(format).arg(format!("docker://{name}"))).trim().to_owned()
}

/// The manifest that carries the signatures of an image.
fn carrier(registry: &Registry, repository: &str, digest: &str) -> Value {
    let url = format!("http://{}/v2/{repository}/manifests/{}.sig", registry.address, digest.replace(':', "-"));
    let accept = "Accept: application/vnd.oci.image.manifest.v1+json";
    serde_json::from_str(&tool::run(tool::tool("curl").args(["-sf", "-H", accept, &url]))).expect("JSON")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}
