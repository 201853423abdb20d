//! The program itself: settings, signals, files.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_util::SinkExt as _;
use rp_protocol::membership::{Membership, SignedMembership};
use rustix::process::Resource;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Client, PATIENCE, TestRelay, auth, hello, key, next, secret};
use crate::http::request;
use crate::mesh::{blob, membership, sign};

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rp-relay"));
    command.current_dir(folder).env_clear().kill_on_drop(true);
    command
}

async fn run(folder: &Path, arguments: &[&str]) -> (bool, String, String) {
    let output = program(folder).args(arguments).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

/// A program that serves, and where.
async fn serve(mut command: Command) -> (Child, SocketAddr, Vec<Value>) {
    command.args(["--listen", "127.0.0.1", "--port", "0", "--log-format", "json"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut log = Vec::new();
    let address = loop {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap();
        let line: Value = serde_json::from_str(&line.expect("it ended")).unwrap();
        let fields = line["fields"].clone();
        log.push(line);
        if fields["message"] == "listening" {
            break fields["address"].as_str().unwrap().parse().unwrap();
        }
    };
    // What is logged later is read too, so that nobody waits for room.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, address, log)
}

fn terminate(child: &Child) {
    let id = rustix::process::Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
}

#[tokio::test]
async fn at_sigterm_every_client_is_closed_with_1001_and_the_program_ends_well() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, address, _) = serve(program(folder.path())).await;
    let mut sockets = Vec::new();
    for number in 0..50 {
        let url = format!("ws://{address}/");
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        let first = json!({ "type": "hello", "pubkey": key(1), "room_id": number.to_string() });
        let nonce = hello(&mut socket, first).await;
        socket.send(auth(&secret(1), &nonce)).await.unwrap();
        let check = json!({ "type": "presence_check", "peers": [] }).to_string();
        socket.send(Message::text(check)).await.unwrap();
        next(&mut socket).await.unwrap().unwrap();
        sockets.push(socket);
    }
    // Neither a request that is not finished nor a login that is not holds it up.
    let _half_open = tokio::net::TcpStream::connect(address).await.unwrap();
    let (_silent, _) = tokio_tungstenite::connect_async(format!("ws://{address}/")).await.unwrap();
    let started = Instant::now();
    terminate(&child);
    for mut socket in sockets {
        match next(&mut socket).await {
            Some(Ok(Message::Close(Some(close)))) => assert_eq!(u16::from(close.code), 1001),
            other => panic!("not closed but {other:?}"),
        }
    }
    let status = tokio::time::timeout(Duration::from_secs(10), child.wait()).await;
    assert!(status.expect("it did not end").unwrap().success());
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn more_than_a_hundred_clients_are_closed_over_four_seconds_at_the_end() {
    let relay = TestRelay::start().await;
    let mut clients = Vec::new();
    for number in 0..120 {
        clients.push(Client::connect(&relay, 1, &number.to_string()).await);
    }
    let TestRelay { relay, .. } = relay;
    let started = Instant::now();
    let ending = tokio::spawn(relay.end());
    for client in &mut clients {
        match next(&mut client.socket).await {
            Some(Ok(Message::Close(Some(close)))) => assert_eq!(u16::from(close.code), 1001),
            other => panic!("not closed but {other:?}"),
        }
    }
    assert!(started.elapsed() > Duration::from_millis(3_900), "{:?}", started.elapsed());
    ending.await.unwrap();
}

#[tokio::test]
async fn ten_thousand_half_open_connections_keep_nobody_out_and_are_gone_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let (_child, address, _) = serve(program(folder.path())).await;
    // As many as the system lets this process have, where that is less.
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    rustix::process::setrlimit(Resource::Nofile, limit).unwrap();
    let count = limit.current.map_or(10_000, |most| most.saturating_sub(1_000).min(10_000));
    let mut half_open = Vec::new();
    for number in 0..count {
        let mut stream = TcpStream::connect(address).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(b"GET / HTT").await.unwrap();
        }
        half_open.push(stream);
    }
    assert_eq!(request(address, "GET", "/health", b"").await.status, 200);
    for mut stream in half_open {
        // What it says at the end is not looked at.
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        let _ = tokio::time::timeout(PATIENCE, ended).await.expect("it was not closed");
    }
}

#[tokio::test]
async fn memberships_are_there_after_the_program_was_killed_and_a_rollback_is_still_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = format!("/mesh/{}", secret(9).public().hash());
    let publication = |version| sign(9, blob(9, version, &[]).as_bytes()).to_string();
    let (mut child, address, _) = serve(program(folder.path())).await;
    assert_eq!(request(address, "POST", &path, publication(5).as_bytes()).await.status, 200);
    child.kill().await.unwrap();
    let (_child, address, _) = serve(program(folder.path())).await;
    assert_eq!(request(address, "GET", &path, b"").await.json()["version"], 5);
    let answer = request(address, "POST", &path, publication(4).as_bytes()).await;
    assert_eq!((answer.status, answer.text()), (409, "stale_version (current=5)"));
    assert_eq!(request(address, "POST", &path, publication(6).as_bytes()).await.status, 200);
}

#[tokio::test]
async fn a_full_disk_refuses_publications_and_everything_else_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut shell = Command::new("/bin/sh");
    // Files may not grow any further, which is what a full disk says too.
    let limited = r#"trap "" XFSZ; ulimit -f 3000; exec "$0" "$@""#;
    shell.args(["-c", limited, env!("CARGO_BIN_EXE_rp-relay")]);
    shell.current_dir(folder.path()).env_clear().kill_on_drop(true);
    let (_child, address, _) = serve(shell).await;
    let padding = "x".repeat(300_000);
    let publish = async |owner: u8| {
        let text = blob(owner, 1, &[])
            .replace("\"issued_at\"", &format!("\"more\":\"{padding}\",\"issued_at\""));
        let path = format!("/mesh/{}", secret(owner).public().hash());
        let body = sign(owner, text.as_bytes()).to_string();
        request(address, "POST", &path, body.as_bytes()).await
    };
    let mut refused = None;
    for owner in 1..60 {
        let answer = publish(owner).await;
        if answer.status != 200 {
            refused = Some((owner, answer));
            break;
        }
    }
    let (owner, answer) = refused.expect("nothing was refused");
    assert_eq!((answer.status, answer.text()), (500, "internal"));
    assert!(owner > 1);
    let path = |owner: u8| format!("/mesh/{}", secret(owner).public().hash());
    assert_eq!(request(address, "GET", &path(1), b"").await.status, 200);
    assert_eq!(request(address, "GET", &path(owner), b"").await.status, 404);
    assert_eq!(request(address, "GET", "/health", b"").await.status, 200);
}

/// A database as Remote Pi's relay keeps it.
fn foreign_database(file: &Path, memberships: &[(u8, u64, &[u8])]) {
    let database = rusqlite::Connection::open(file).unwrap();
    database
        .execute_batch(
            "CREATE TABLE mesh_versions (owner_pk_hash TEXT PRIMARY KEY, owner_pk BLOB NOT NULL,
             version INTEGER NOT NULL, blob BLOB NOT NULL, sig BLOB NOT NULL, updated_at INTEGER NOT NULL)",
        )
        .unwrap();
    for (owner, version, machines) in memberships {
        let signed: SignedMembership =
            Membership::sign(membership(*owner, *version, machines), &secret(*owner));
        let owner_key = secret(*owner).public();
        let row = rusqlite::params![
            secret(*owner).public().hash(),
            owner_key.as_bytes(),
            i64::try_from(*version).unwrap(),
            signed.blob(),
            signed.signature().as_bytes(),
            1_785_000_000_000_i64,
        ];
        database.execute("INSERT INTO mesh_versions VALUES (?, ?, ?, ?, ?, ?)", row).unwrap();
    }
    let odd = rusqlite::params!["no hash", b"x", 1, b"y", b"z", 1];
    database.execute("INSERT INTO mesh_versions VALUES (?, ?, ?, ?, ?, ?)", odd).unwrap();
}

#[tokio::test]
async fn memberships_of_the_other_relay_are_taken_over_once() {
    let folder = tempfile::tempdir().unwrap();
    foreign_database(&folder.path().join("mesh.db"), &[(8, 3, &[1, 2]), (9, 1, &[])]);
    let (done, out, _) = run(folder.path(), &["import", "mesh.db", "--json"]).await;
    assert!(done);
    let counts: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(counts, json!({ "stored": 2, "void": 0, "not_newer": 0, "unreadable": 1 }));
    let (_, out, _) = run(folder.path(), &["import", "mesh.db"]).await;
    assert!(out.starts_with("0 owners taken over"), "{out}");
    let (_child, address, _) = serve(program(folder.path())).await;
    let path = format!("/mesh/{}", secret(8).public().hash());
    let stored = request(address, "GET", &path, b"").await.json();
    assert_eq!(
        (&stored["version"], &stored["updated_at"]),
        (&json!(3), &json!(1_785_000_000_000_u64))
    );
}

#[tokio::test]
async fn the_variables_of_the_other_relay_are_understood_and_its_memberships_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mesh.db");
    foreign_database(&file, &[(8, 3, &[1, 2])]);
    let mut command = program(folder.path());
    command.env("REMOTEPI_MESH_DB_PATH", &file).env("RELAY_MAX_CT_MIB", "1");
    let (_child, address, log) = serve(command).await;
    let path = format!("/mesh/{}", secret(8).public().hash());
    assert_eq!(request(address, "GET", &path, b"").await.json()["version"], 3);
    let taken =
        log.iter().any(|line| line["fields"]["message"].as_str().unwrap().contains("taken over"));
    assert!(taken, "{log:?}");
}

#[tokio::test]
async fn memberships_that_could_not_be_taken_over_at_the_first_start_are_at_the_next_one_and_once()
{
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mesh.db");
    std::fs::write(&file, "no database yet").unwrap();
    let command = || {
        let mut command = program(folder.path());
        command.env("REMOTEPI_MESH_DB_PATH", &file);
        command
    };
    let output = command().args(["--listen", "127.0.0.1", "--port", "0"]).output().await.unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("error: cannot read"), "{error}");
    assert!(folder.path().join("mesh.redb").exists());

    std::fs::remove_file(&file).unwrap();
    foreign_database(&file, &[(8, 3, &[1, 2])]);
    let (mut child, address, _) = serve(command()).await;
    let path = format!("/mesh/{}", secret(8).public().hash());
    assert_eq!(request(address, "GET", &path, b"").await.json()["version"], 3);
    child.kill().await.unwrap();

    std::fs::write(&file, "nobody reads it again").unwrap();
    let (_child, address, _) = serve(command()).await;
    assert_eq!(request(address, "GET", &path, b"").await.json()["version"], 3);
}

#[tokio::test]
async fn a_file_that_is_no_database_of_the_other_relay_is_refused_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("x.db"), "no database").unwrap();
    for file in ["x.db", "missing.db"] {
        let (done, _, error) = run(folder.path(), &["import", file]).await;
        assert!(!done);
        assert!(error.contains("error: cannot read") && error.contains("\nhint: "), "{error}");
    }
}

#[tokio::test]
async fn check_tells_what_the_settings_come_to_and_a_flag_goes_before_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let text = "port = 4000\nmax_connections = 7\ntrusted_proxies = [\"10.0.0.0/8\"]\n";
    std::fs::write(folder.path().join("relay.toml"), text).unwrap();
    let arguments = ["check", "--config", "relay.toml", "--json"];
    let output = program(folder.path()).args(["--port", "5000"]).args(arguments).output();
    let checked: Value = serde_json::from_slice(&output.await.unwrap().stdout).unwrap();
    assert_eq!(checked["listen"], "0.0.0.0:5000");
    assert_eq!(checked["max_connections"], 7);
    assert_eq!(checked["trusted_proxies"], json!(["10.0.0.0/8"]));
    assert_eq!(checked["names"], json!(["localhost:5000", "127.0.0.1:5000", "[::1]:5000"]));
    let output = program(folder.path()).env("REMOTEPI_RELAY_PORT", "4500").args(arguments).output();
    let checked: Value = serde_json::from_slice(&output.await.unwrap().stdout).unwrap();
    assert_eq!(checked["listen"], "0.0.0.0:4500");
    let (_, out, _) = run(folder.path(), &["check", "--config", "relay.toml"]).await;
    assert!(out.contains("listen         0.0.0.0:4000 (TCP)"), "{out}");
    assert!(!folder.path().join("data").exists(), "a check makes nothing");
}

#[tokio::test]
async fn settings_that_are_wrong_are_refused_with_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.toml"), "prot = 4000\n").unwrap();
    std::fs::write(folder.path().join("empty.pem"), "").unwrap();
    for (arguments, expected) in [
        (&["--config", "bad.toml", "check"][..], "unknown field `prot`"),
        (&["--config", "missing.toml", "check"], "cannot read missing.toml"),
        (&["--certificate", "a.pem", "check"], "hint: give both"),
        (&["--self-signed", "--acme-domain", "a.example", "check"], "more than one certificate"),
        (
            &["--plain-tcp", "--acme-domain", "a.example", "check"],
            "error: an authority asks by TLS on TCP, where only plain HTTP is spoken\nhint: leave out --plain-tcp, or give --certificate and --key instead of --acme-domain\n",
        ),
        (&["--certificate", "empty.pem", "--key", "empty.pem", "check"], "holds no certificate"),
        (&["--certificate", "a.pem", "--key", "b.pem", "check"], "cannot use a.pem"),
        (&["--name", "no port", "check"], "no name of a relay"),
        (&["--database", "bad.toml/x/mesh.redb", "check"], "bad.toml: it is no folder"),
    ] {
        let (done, _, error) = run(folder.path(), arguments).await;
        assert!(!done && error.starts_with("error: ") && error.contains(expected), "{error}");
    }
}

const LOCAL_NAMES: &str = "warning: hosts on other machines will be refused, because the relay knows itself only by names of this machine\nhint: say what clients call it, such as --name relay.example.org:443\n";

const ACME_PORT: &str = "warning: the authority asks on TCP port 443, and the relay listens on 3000: unless that port leads here there will be no certificate\nhint: listen on it with --port 443, or have it passed on as it is\n";

#[tokio::test]
async fn settings_that_will_hardly_do_are_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (&["--trusted-proxy", "10.0.0.0/8"][..], LOCAL_NAMES),
        (&["--trusted-proxy", "10.0.0.0/8", "--name", "[::1]:443,localhost:443"], LOCAL_NAMES),
        (&["--trusted-proxy", "10.0.0.0/8", "--name", "relay.example.org:443"], ""),
        (&["--acme-domain", "relay.example.org"], ACME_PORT),
        (&["--acme-domain", "relay.example.org", "--port", "443"], ""),
        (&["--self-signed=true"], ""),
        (&[], ""),
    ] {
        let (done, _, error) = run(folder.path(), &[arguments, &["check"]].concat()).await;
        assert!(done);
        assert_eq!(error, expected, "{arguments:?}");
    }
    let mut command = program(folder.path());
    command.args(["--trusted-proxy", "10.0.0.0/8"]);
    let (_child, _, log) = serve(command).await;
    let warned =
        log.iter().find(|line| line["level"] == "WARN" && line["fields"]["hint"].is_string());
    let fields = &warned.expect("no warning")["fields"];
    let (message, hint) = (fields["message"].as_str().unwrap(), fields["hint"].as_str().unwrap());
    assert_eq!(format!("warning: {message}\nhint: {hint}\n"), LOCAL_NAMES);
}

#[tokio::test]
async fn a_port_that_is_taken_and_a_file_that_is_in_use_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let (_child, address, _) = serve(program(folder.path())).await;
    let (done, _, error) = run(folder.path(), &["--listen", "127.0.0.1", "--port", "0"]).await;
    assert!(!done && error.contains("in use by another process\nhint: only one relay"), "{error}");
    let port = address.port().to_string();
    let other = ["--listen", "127.0.0.1", "--port", &port, "--database", "other.redb"];
    let (done, _, error) = run(folder.path(), &other).await;
    assert!(!done && error.contains("cannot listen on 127.0.0.1"), "{error}");
}
