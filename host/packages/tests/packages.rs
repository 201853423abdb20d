//! Packages as a person handles them: read, signed, packed, granted, kept, fetched.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails panics")]

mod server;

use std::fs;
use std::io::Read;

use rp_packages::{Decision, Grants, Package, Publisher, Shelf, SigningKey, SystemPolicy, fetch};
use rp_protocol::component::{ComponentId, Permit};

const MANIFEST: &str = r#"
id = "notes"
version = "1.0.0"
kind = "policy"
world = "rp:routing/routing-policy@0.1.0"
about = "Takes notes."
[permissions.store]
reason = "it keeps them"
"#;
const WASM: &[u8] = b"\0asm\x0d\0\x01\0";

fn package(manifest: &str) -> Package {
    Package::from_parts(manifest.into(), WASM.into(), None).unwrap()
}

fn greedy() -> Package {
    package(&format!("{MANIFEST}[permissions.bodies]\nreason = \"it quotes them\"\n"))
}

fn permits(texts: &[&str]) -> Vec<Permit> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn decide(grants: &Grants, package: &Package) -> Decision {
    grants.decide(&package.manifest, &package.publisher, false, &SystemPolicy::default())
}

fn granted(texts: &[&str]) -> Decision {
    Decision::Granted(permits(texts))
}

#[test]
fn what_was_packed_is_read_back_and_packing_is_repeatable() {
    let key = SigningKey::generate().unwrap();
    let signed = package(MANIFEST).signed(&key);
    let archive = signed.pack().unwrap();
    assert_eq!(archive, signed.pack().unwrap());
    let back = Package::unpack(&*archive).unwrap();
    assert_eq!((back.digest(), &back.publisher), (signed.digest(), &Publisher::Key(key.public())));
}

#[test]
fn an_archive_that_is_no_package_is_refused() {
    let archive = |files: &[(&str, &[u8])]| {
        let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut archive = tar::Builder::new(gzip);
        for (name, content) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, *content).unwrap();
        }
        archive.into_inner().unwrap().finish().unwrap()
    };
    let refusal = |bytes: &[u8]| Package::unpack(bytes).unwrap_err().to_string();
    assert_eq!(
        refusal(&archive(&[("etc/passwd", b"x")])),
        "the archive is not a package: it holds etc/passwd"
    );
    assert_eq!(
        refusal(&archive(&[("component.toml", b"x"), ("component.toml", b"x")])),
        "the archive is not a package: it holds component.toml twice"
    );
    assert_eq!(
        refusal(&archive(&[("component.toml", &[b' '; 70_000])])),
        "component.toml is too large: 70000 bytes, and 65536 are allowed"
    );
    assert_eq!(
        refusal(&archive(&[("component.toml", MANIFEST.as_bytes())])),
        "the package has no component.wasm\nhint: a package is a folder with component.toml and component.wasm"
    );
    assert!(refusal(b"not gzip").starts_with("the archive is not a package: "));
}

#[test]
fn a_small_archive_cannot_unpack_to_much() {
    // A name of 128 MiB, as an extension of the format has it.
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut archive = tar::Builder::new(gzip);
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_path("././@LongLink").unwrap();
    header.set_size(1 << 27);
    header.set_cksum();
    archive.append(&header, std::io::repeat(b'a').take(1 << 27)).unwrap();
    let bytes = archive.into_inner().unwrap().finish().unwrap();
    assert_eq!(
        Package::unpack(&*bytes).unwrap_err().to_string(),
        "the archive is not a package: it holds @LongLink"
    );
}

#[test]
fn a_signed_package_that_was_changed_is_refused() {
    let key = SigningKey::generate().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let shelf = Shelf::open(folder.path().join("in"), folder.path().join("kept")).unwrap();
    let path = shelf.put(&package(MANIFEST).signed(&key)).unwrap();
    assert!(Package::read(&path).is_ok());
    fs::write(path.join("component.toml"), format!("{MANIFEST}# nothing\n")).unwrap();
    assert_eq!(
        Package::read(&path).unwrap_err().to_string(),
        "component.sig: the signature does not fit: the package was changed after it was signed\nhint: get the package again from where it came"
    );
    fs::write(path.join("component.sig"), "key = \"ed25519:AAAA\"\nsignature = \"\"\n").unwrap();
    assert_eq!(
        Package::read(&path).unwrap_err().to_string(),
        "component.sig: \"ed25519:AAAA\" is no Ed25519 key\nhint: a key looks like ed25519: and 44 characters of base64"
    );
    // A device would never end.
    fs::remove_file(path.join("component.sig")).unwrap();
    fs::create_dir(path.join("component.sig")).unwrap();
    assert!(Package::read(&path).unwrap_err().to_string().ends_with("it is not a file"));
}

#[test]
fn nothing_is_granted_until_a_person_says_so_and_it_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("grants.toml");
    let notes = package(MANIFEST);
    let mut grants = Grants::load(&file).unwrap();
    assert_eq!(decide(&grants, &notes), Decision::Pending(permits(&["store"])));
    let system = SystemPolicy::default();
    grants.grant(&notes.manifest, &notes.publisher, &permits(&["store"]), &system).unwrap();
    fs::write(&file, grants.to_text()).unwrap();
    let mut grants = Grants::load(&file).unwrap();
    assert_eq!(decide(&grants, &notes), granted(&["store"]));
    // More than was decided about waits; what was there before goes on.
    assert_eq!(decide(&grants, &greedy()), Decision::Pending(permits(&["bodies"])));
    grants.grant(&greedy().manifest, &notes.publisher, &[], &system).unwrap();
    assert_eq!(decide(&grants, &greedy()), granted(&["store"]), "without what was not granted");
    // Less is covered.
    let modest = MANIFEST.split("[permissions").next().unwrap();
    assert_eq!(decide(&grants, &package(modest)), granted(&[]));
    assert_eq!(
        grants.revoke(&notes.manifest, &notes.publisher, &permits(&["store"])),
        permits(&["store"])
    );
    assert_eq!(decide(&grants, &notes), granted(&[]));
    grants.set_disabled(&notes.manifest, &notes.publisher, true);
    assert_eq!(decide(&grants, &notes), Decision::Disabled);
    grants.forget(&notes.manifest.id);
    assert_eq!(decide(&grants, &notes), Decision::Pending(permits(&["store"])));
}

#[test]
fn what_stands_in_for_a_component_that_ships_asks_in_any_case() {
    let modest = package(MANIFEST.split("[permissions").next().unwrap());
    let system = SystemPolicy::default();
    let mut grants = Grants::default();
    let takes_over =
        |grants: &Grants| grants.decide(&modest.manifest, &modest.publisher, true, &system);
    assert_eq!(takes_over(&grants), Decision::Pending(vec![]));
    grants.grant(&modest.manifest, &modest.publisher, &[], &system).unwrap();
    assert_eq!(takes_over(&grants), granted(&[]));
    // What ships has all it asks for, whatever was said of the other.
    let ships = grants.decide(&package(MANIFEST).manifest, &Publisher::BuiltIn, false, &system);
    assert_eq!(ships, granted(&["store"]));
}

#[test]
fn a_file_of_grants_that_was_damaged_grants_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("grants.toml");
    let refusal = |text: &str| {
        fs::write(&file, text).unwrap();
        Grants::load(&file).unwrap_err().to_string()
    };
    let hint = "hint: correct it, or move it away and grant again";
    let cases = [
        ("\n[\"No\"]\n", "line 2: missing field `publisher`"),
        (
            "[a]\npublisher = \"me\"\nrequest_hash = \"\"\nrequested = []\ngranted = []\n",
            "a: request_hash does not fit what was requested",
        ),
        (
            "[a]\npublisher = \"me\"\nrequest_hash = \"e3b0c44298fc1c14\"\nrequested = []\ngranted = []\n",
            "a: \"me\" is no Ed25519 key\nhint: a key looks like ed25519: and 44 characters of base64",
        ),
    ];
    for (text, reason) in cases {
        assert_eq!(refusal(text), format!("{}: {reason}\n{hint}", file.display()), "{text}");
    }
}

#[test]
fn the_rules_of_the_machine_are_read_or_nothing_runs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("components.toml");
    assert!(SystemPolicy::load(&file).is_ok(), "without a file there are no rules");
    let load = |text: &str| {
        fs::write(&file, text).unwrap();
        SystemPolicy::load(&file)
    };
    let id = ComponentId::parse("notes").unwrap();
    let by = file.display();
    let refuses = |text: &str| load(text).unwrap().refuses(&id, &Publisher::Unsigned);
    assert_eq!(refuses(""), None);
    assert_eq!(
        refuses("forbid_unsigned = true").unwrap(),
        format!("{by} forbids unsigned components")
    );
    assert_eq!(
        refuses("publishers = []").unwrap(),
        format!("{by} does not list the publisher unsigned")
    );
    assert_eq!(
        refuses("forbidden_components = [\"notes\"]").unwrap(),
        format!("{by} forbids the component notes")
    );
    let rules = load("forbidden_permissions = [\"run\", \"send=*\"]").unwrap();
    let allowed = permits(&["run=pi", "send=*", "send=/a@b", "store"]);
    let allowed: Vec<bool> = allowed.iter().map(|permit| rules.allows(permit)).collect();
    assert_eq!(allowed, [false, false, true, true]);
    assert_eq!(
        load("forbidden_permissions = [\"fly\"]").unwrap_err().to_string(),
        format!(
            "{by}: there is no permission \"fly\"\nhint: the permissions are run, env, store, bodies, rewrite, redirect, send, command"
        )
    );
    assert!(load("forbid = 1").unwrap_err().to_string().ends_with(
        "hint: its keys are forbid_unsigned, publishers, forbidden_components and forbidden_permissions"
    ));
}

#[test]
fn a_copy_stays_when_the_package_goes() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = Shelf::open(folder.path().join("in"), folder.path().join("kept")).unwrap();
    let notes = package(MANIFEST);
    let id = notes.manifest.id.clone();
    shelf.put(&notes).unwrap();
    shelf.keep(&notes).unwrap();
    shelf.keep(&greedy()).unwrap();
    assert!(shelf.take_out(&id).unwrap() && !shelf.take_out(&id).unwrap());
    assert!(shelf.dropped().unwrap().is_empty());
    assert_eq!(shelf.kept_package(&id).unwrap().digest(), greedy().digest());
    fs::create_dir(folder.path().join("in/.being-written")).unwrap();
    assert!(shelf.dropped().unwrap().is_empty(), "hidden names are somebody's work in progress");
    shelf.discard(&id).unwrap();
    assert!(shelf.kept().unwrap().is_empty());
}

#[test]
fn only_what_fits_its_digest_comes_from_the_network() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = folder.path().join("server.pem");
    let archive = package(MANIFEST).pack().unwrap();
    let url = server::answering(archive.clone(), &certificate);
    let sha256 = {
        use sha2::Digest;
        sha2::Sha256::digest(&archive).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    assert_eq!(fetch(&url, &sha256, Some(&certificate)).unwrap(), archive);
    let refusal =
        |url: &str, sha256: &str, roots| fetch(url, sha256, roots).unwrap_err().to_string();
    let other = "0".repeat(64);
    assert_eq!(
        refusal(&url, &other, Some(certificate.as_path())),
        format!("{url} is not what was expected: its SHA-256 is {sha256}, not {other}")
    );
    let untrusted = refusal(&url, &sha256, None);
    assert!(untrusted.starts_with(&format!("cannot fetch {url}: ")), "{untrusted}");
    assert_eq!(
        refusal("http://localhost/x", &sha256, None),
        "http://localhost/x is not an https address\nhint: download the file and add it from the disk"
    );
    assert_eq!(
        refusal(&url, "abc", None),
        "\"abc\" is no SHA-256\nhint: a SHA-256 is 64 hexadecimal digits"
    );
}
