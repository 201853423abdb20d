//! What happens to real processes: small shell scripts that behave well and badly.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that fails panics"
)]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rp_protocol::session::{Exit, Framing, LaunchSpec};
use rp_session::{
    Timing, end_orphans,
    framing::{DIAGNOSTIC_LIMIT, LINE_LIMIT, Piece},
    process::{Happening, INPUT_LIMIT, InputError, Launcher, Place, Process, StartError},
    version::Versions,
};

struct Bench {
    root: tempfile::TempDir,
    launcher: Launcher,
}

impl Bench {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let launcher = launcher(&root.path().join("run"));
        Self { root, launcher }
    }

    fn start(&self, script: &str) -> Process {
        self.try_start(&sh(script)).unwrap()
    }

    fn try_start(&self, spec: &LaunchSpec) -> Result<Process, StartError> {
        self.launcher.start(spec, place(self.root.path(), &["sh", "no-such-program", "rp-host"]))
    }

    /// What lies in the folder of run records.
    fn records(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(&self.launcher.run_dir) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

fn launcher(run_dir: &Path) -> Launcher {
    Launcher {
        run_dir: run_dir.to_owned(),
        host_program: "/bin/sh".into(),
        timing: Timing {
            close_grace: Duration::from_millis(100),
            term_grace: Duration::from_millis(300),
            drain: Duration::from_millis(300),
            ..Timing::default()
        },
    }
}

fn sh(script: &str) -> LaunchSpec {
    LaunchSpec {
        program: "sh".to_owned(),
        args: vec!["-c".to_owned(), script.to_owned()],
        env: Vec::new(),
        files: Vec::new(),
        framing: Framing::Lines,
    }
}

fn place<'a>(cwd: &'a Path, programs: &[&str]) -> Place<'a> {
    Place {
        agent: "0123abcd",
        cwd,
        environment: &[],
        component: "test",
        variables: &[],
        programs: programs.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>().leak(),
        install: "apt install it",
    }
}

/// Everything a process did.
#[derive(Debug, Default)]
struct Story {
    lines: Vec<String>,
    dropped: Vec<u64>,
    diagnostics: Vec<String>,
}

/// Follows a process to its end.
async fn follow(process: &mut Process) -> (Story, Exit) {
    let mut story = Story::default();
    loop {
        match process.next().await {
            Happening::Output(pieces) => {
                for piece in pieces {
                    match piece {
                        Piece::Data(data) => story.lines.push(String::from_utf8(data).unwrap()),
                        Piece::Dropped { bytes } => story.dropped.push(bytes),
                    }
                }
            }
            Happening::Diagnostics(line) => story.diagnostics.push(line),
            Happening::Exited(exit) => return (story, exit),
        }
    }
}

/// Waits for the next line of output.
async fn line(process: &mut Process) -> String {
    match process.next().await {
        Happening::Output(pieces) => match pieces.as_slice() {
            [Piece::Data(data)] => String::from_utf8(data.clone()).unwrap(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// A process with this id runs, and is more than an entry that nobody has waited for.
fn runs(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
        .is_ok_and(|stat| !stat.rsplit_once(')').unwrap().1.trim_start().starts_with('Z'))
}

#[tokio::test]
async fn a_process_gets_its_folder_its_files_and_its_marker() {
    let bench = Bench::new();
    let mut spec = sh("pwd; cat \"$1\"; echo; cat \"$FILE\"; echo; echo $RP_HOST_SESSION");
    spec.args.extend(["sh".to_owned(), "{dir}/one.txt".to_owned()]);
    spec.env.push(("FILE".to_owned(), "{dir}/two.txt".to_owned()));
    spec.files.push(("one.txt".to_owned(), b"first".to_vec()));
    spec.files.push(("two.txt".to_owned(), b"second".to_vec()));
    let mut process = bench.try_start(&spec).unwrap();
    let (story, exit) = follow(&mut process).await;
    assert_eq!(exit, Exit::Code { code: 0 });
    let cwd = fs::canonicalize(bench.root.path()).unwrap();
    assert_eq!(story.lines[..3], [cwd.to_str().unwrap(), "first", "second"]);
    assert_eq!(story.lines[3].len(), 32);
    assert_eq!(bench.records(), [] as [PathBuf; 0], "everything is removed at the end");
}

#[tokio::test]
async fn while_it_runs_there_is_a_record_and_a_private_folder() {
    let bench = Bench::new();
    let mut process = bench.start("echo ready; cat");
    line(&mut process).await;
    let records = bench.records();
    assert_eq!(records.len(), 2);
    for path in records {
        let mode = path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 });
    }
    process.end();
    follow(&mut process).await;
}

#[tokio::test]
async fn a_process_that_ends_with_its_input_ends_by_itself() {
    let bench = Bench::new();
    let mut process = bench.start("cat; echo done");
    process.write(b"hello\n".to_vec()).unwrap();
    process.write(b"no line feed".to_vec()).unwrap();
    process.end();
    let (story, exit) = follow(&mut process).await;
    assert_eq!(story.lines, ["hello", "no line feeddone"]);
    assert_eq!(exit, Exit::Code { code: 0 });
    assert_eq!(process.write(b"more".to_vec()), Err(InputError::Closed));
}

#[tokio::test]
async fn an_end_by_code_and_an_end_by_signal_are_told_apart() {
    let bench = Bench::new();
    let (story, exit) = follow(&mut bench.start("echo why >&2; exit 3")).await;
    assert_eq!((story.diagnostics, exit), (vec!["why".to_owned()], Exit::Code { code: 3 }));
    let (_, exit) = follow(&mut bench.start("kill -9 $$")).await;
    assert_eq!(exit, Exit::Signal { signal: 9 });
}

#[tokio::test]
async fn a_missing_program_is_named_with_the_way_to_install_it() {
    let bench = Bench::new();
    let spec = LaunchSpec { program: "no-such-program".to_owned(), ..sh("") };
    let error = bench.try_start(&spec).unwrap_err();
    assert_eq!(error.to_string(), "the program `no-such-program` was not found on PATH");
    assert_eq!(error.hint().unwrap(), "apt install it");
    assert!(error.is_permanent());
    assert_eq!(bench.records(), [] as [PathBuf; 0]);
}

#[tokio::test]
async fn a_variable_that_decides_what_runs_is_only_set_where_that_was_granted() {
    let folder = tempfile::tempdir().unwrap();
    let launcher = launcher(folder.path());
    let with = |name: &str| LaunchSpec {
        env: vec![(name.to_owned(), "/tmp/evil".to_owned())],
        ..sh("echo ran")
    };
    let place = place(folder.path(), &["sh"]);
    for name in ["PATH", "LD_PRELOAD", "NODE_OPTIONS"] {
        let refused = launcher.start(&with(name), place).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("the adapter may not set {name}, which decides what its program runs")
        );
        assert_eq!(
            refused.hint().unwrap(),
            format!(
                "`rp-host component grant test env={name}`, if its manifest asks for that; or set it in the agent's own settings"
            )
        );
    }
    let granted = ["NODE_OPTIONS".to_owned()];
    let place = Place { variables: &granted, ..place };
    let mut process = launcher.start(&with("NODE_OPTIONS"), place).unwrap();
    assert_eq!(follow(&mut process).await.0.lines, ["ran"]);
    launcher.start(&with("MESH_AGENT"), place).unwrap();
}

#[tokio::test]
async fn only_granted_programs_are_run() {
    let bench = Bench::new();
    let spec = LaunchSpec { program: "env".to_owned(), ..sh("") };
    assert!(matches!(bench.try_start(&spec), Err(StartError::NotGranted { .. })));
    // The name of the host's own program is not looked up.
    let spec = LaunchSpec { program: "rp-host".to_owned(), ..sh("echo own") };
    let (story, _) = follow(&mut bench.try_start(&spec).unwrap()).await;
    assert_eq!(story.lines, ["own"]);
}

#[tokio::test]
async fn a_missing_folder_is_named() {
    let bench = Bench::new();
    let gone = bench.root.path().join("gone");
    let error = bench.launcher.start(&sh(""), place(&gone, &["sh"])).unwrap_err();
    assert!(matches!(error, StartError::FolderMissing { path } if path == gone));
}

#[tokio::test]
async fn everything_it_started_ends_with_it() {
    let bench = Bench::new();
    let mut process = bench.start(
        r#"
        trap "" TERM
        (trap "" TERM; while :; do sleep 0.05; done) & stubborn=$!
        setsid sleep 1000 & elsewhere=$!
        setsid sh -c 'trap "" TERM; while :; do sleep 0.05; done' & both=$!
        echo $stubborn $elsewhere $both
        while :; do sleep 0.05; done
        "#,
    );
    let pids = line(&mut process).await;
    assert_eq!(pids.split(' ').count(), 3);
    assert!(pids.split(' ').all(runs), "{pids}");
    process.end();
    let (_, exit) = follow(&mut process).await;
    assert_eq!(exit, Exit::Signal { signal: 9 });
    assert!(!pids.split(' ').any(runs), "{pids}");
    assert!(!runs(&process.pid().to_string()));
}

#[tokio::test]
async fn what_outlives_its_first_process_is_ended_and_its_output_is_not_waited_for() {
    let bench = Bench::new();
    // It holds standard output open, in a session of its own and without the marker.
    let mut process =
        bench.start("env -i setsid /bin/sleep 2 & setsid sleep 1000 & echo $!; exit 0");
    let pid = line(&mut process).await;
    let (_, exit) = follow(&mut process).await;
    assert_eq!(exit, Exit::Code { code: 0 });
    assert!(!runs(&pid));
}

#[tokio::test]
async fn a_dropped_process_is_ended() {
    let bench = Bench::new();
    let mut process = bench.start("echo ready; while :; do sleep 0.05; done");
    line(&mut process).await;
    drop(process);
    while !bench.records().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn lines_that_are_no_text_pass_unchanged() {
    let bench = Bench::new();
    let mut process = bench.start(r"printf 'a\r\n\n\377\376\n\342\200\250x'");
    let mut pieces = Vec::new();
    loop {
        match process.next().await {
            Happening::Output(more) => pieces.extend(more),
            Happening::Diagnostics(line) => panic!("{line}"),
            Happening::Exited(_) => break,
        }
    }
    let expected: [&[u8]; 4] = [b"a\r", b"", b"\xff\xfe", "\u{2028}x".as_bytes()];
    assert_eq!(pieces, expected.map(|line| Piece::Data(line.to_vec())));
}

#[tokio::test]
async fn bytes_pass_as_they_are_read() {
    let bench = Bench::new();
    let spec = LaunchSpec { framing: Framing::Bytes, ..sh(r"printf 'a\nb\n'") };
    let (story, _) = follow(&mut bench.try_start(&spec).unwrap()).await;
    assert_eq!(story.lines.concat(), "a\nb\n");
}

#[tokio::test]
async fn a_line_over_64_mib_is_dropped_and_the_next_one_is_read() {
    let bench = Bench::new();
    let mut process = bench.start(&format!(
        "head -c {LINE_LIMIT} /dev/zero | tr '\\0' a; echo; \
         head -c {} /dev/zero | tr '\\0' b; echo; echo next",
        LINE_LIMIT + 1
    ));
    let (story, _) = follow(&mut process).await;
    assert_eq!(story.dropped, [LINE_LIMIT as u64 + 1]);
    let lengths: Vec<usize> = story.lines.iter().map(String::len).collect();
    assert_eq!(lengths, [LINE_LIMIT, 4]);
}

#[tokio::test]
async fn a_flood_of_output_waits_until_it_is_taken() {
    let bench = Bench::new();
    let flood = 4 << 20;
    let mut process =
        bench.start(&format!("yes 0123456 | head -c {flood}; touch flooded; echo >&2 end"));
    let Happening::Output(first) = process.next().await else { panic!("no output") };
    // What fits into the pipe and the queue is far less than what is to come.
    assert!(!bench.root.path().join("flooded").exists());
    let (story, _) = follow(&mut process).await;
    assert_eq!(first.len() + story.lines.len(), flood / 8);
    assert!(bench.root.path().join("flooded").exists());
}

#[tokio::test]
async fn a_flood_of_diagnostics_does_not_hold_it_up() {
    let bench = Bench::new();
    let mut process = bench.start(
        "yes nonsense | head -n 100000 >&2; head -c 10000 /dev/zero | tr '\\0' x >&2; echo through",
    );
    let (story, _) = follow(&mut process).await;
    assert_eq!(story.lines, ["through"]);
    assert!(story.diagnostics.len() < 2000, "{}", story.diagnostics.len());
    assert!(
        story.diagnostics.iter().any(|line| line.ends_with("lines of standard error left out)"))
    );
    assert_eq!(story.diagnostics.last().unwrap().len(), DIAGNOSTIC_LIMIT);
}

#[tokio::test]
async fn a_process_that_does_not_read_cannot_fill_the_memory() {
    let bench = Bench::new();
    let mut process = bench.start("echo ready; sleep 1000");
    line(&mut process).await;
    let chunk = vec![b'x'; 1 << 20];
    let mut written = 0;
    let error = loop {
        match process.write(chunk.clone()) {
            Ok(()) => written += chunk.len(),
            Err(error) => break error,
        }
    };
    assert_eq!(error, InputError::Full);
    assert!(written <= INPUT_LIMIT + (1 << 20), "{written}");
    process.end();
    follow(&mut process).await;
}

// ---- orphans

const RUN_DIR: &str = "ORPHAN_TEST_RUN_DIR";

/// The host that is killed: the test below, run as a program of its own.
async fn be_a_host_until_killed(run_dir: &Path) {
    let launcher = launcher(run_dir);
    let script = r#"
        trap "" TERM
        sleep 1000 & inside=$!
        setsid sleep 1000 & outside=$!
        echo $$ $inside $outside
        while :; do sleep 0.05; done
    "#;
    let mut process = launcher.start(&sh(script), place(Path::new("/"), &["sh"])).unwrap();
    let pids = line(&mut process).await;
    std::io::stdout().write_all(format!("\npids: {pids}\n").as_bytes()).unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn what_a_killed_host_left_is_ended_by_the_next_one() {
    if let Some(run_dir) = std::env::var_os(RUN_DIR) {
        be_a_host_until_killed(Path::new(&run_dir)).await;
    }
    let bench = Bench::new();
    let run_dir = &bench.launcher.run_dir;
    let mut host = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "what_a_killed_host_left_is_ended_by_the_next_one", "--nocapture"])
        .env(RUN_DIR, run_dir)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let pids = BufReader::new(host.stdout.take().unwrap())
        .lines()
        .find_map(|line| line.unwrap().strip_prefix("pids: ").map(str::to_owned))
        .unwrap();
    host.kill().unwrap();
    assert_eq!(host.wait().unwrap().signal(), Some(9));
    assert!(pids.split(' ').all(runs), "{pids}");

    let orphans = end_orphans(run_dir, Duration::from_millis(200)).await.unwrap();
    assert_eq!(orphans.len(), 1);
    assert_eq!(orphans[0].agent, "0123abcd");
    assert!(orphans[0].was_running && orphans[0].gone);
    assert!(!pids.split(' ').any(runs), "{pids}");
    assert_eq!(bench.records(), [] as [PathBuf; 0]);
}

#[tokio::test]
async fn a_process_that_got_the_number_of_a_recorded_one_is_left_alone() {
    let bench = Bench::new();
    let run_dir = &bench.launcher.run_dir;
    let mut innocent = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    fs::create_dir_all(run_dir.join("someone")).unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let record = serde_json::json!({
        "run": "someone", "agent": "0123abcd", "pid": innocent.id(), "start_time": 1,
        "boot": boot.trim(),
    });
    fs::write(run_dir.join("someone.json"), record.to_string()).unwrap();
    fs::write(run_dir.join("broken.json"), "{").unwrap();

    let orphans = end_orphans(run_dir, Duration::from_millis(200)).await.unwrap();
    assert_eq!(orphans.len(), 1);
    assert!(!orphans[0].was_running && orphans[0].gone);
    assert!(runs(&innocent.id().to_string()));
    assert_eq!(bench.records(), [] as [PathBuf; 0]);
    innocent.kill().unwrap();
    innocent.wait().unwrap();
}

#[tokio::test]
async fn without_a_run_folder_there_are_no_orphans() {
    let orphans = end_orphans(Path::new("/nowhere/at/all"), Duration::ZERO).await.unwrap();
    assert_eq!(orphans, []);
}

// ---- versions

#[tokio::test]
async fn a_version_is_taken_from_standard_output_or_else_from_standard_error() {
    let table = [
        ("echo; echo '  1.2.3  '; echo more; echo 9 >&2", Some("1.2.3")),
        ("echo 0.74.2 >&2", Some("0.74.2")),
        ("exit 1", None),
    ];
    for (script, version) in table {
        let arguments = ["-c".to_owned(), script.to_owned()];
        let found =
            Versions::default().probe(Path::new("/bin/sh"), &arguments, &[], Path::new("/")).await;
        assert_eq!(found.as_deref(), version, "{script}");
    }
}

#[tokio::test]
async fn a_version_is_asked_for_once() {
    let root = tempfile::tempdir().unwrap();
    let asked = root.path().join("asked");
    let script = format!("echo x >> '{}'; echo 1.0", asked.display());
    let arguments = ["-c".to_owned(), script];
    let versions = Versions::default();
    for _ in 0..3 {
        let found = versions.probe(Path::new("/bin/sh"), &arguments, &[], Path::new("/")).await;
        assert_eq!(found.as_deref(), Some("1.0"));
    }
    assert_eq!(fs::read_to_string(asked).unwrap(), "x\n");
}

#[tokio::test]
async fn a_harness_is_the_first_to_be_killed_when_memory_runs_out() {
    let bench = Bench::new();
    let mut process = bench.start("read line; cat /proc/self/oom_score_adj");
    process.write(b"go\n".to_vec()).unwrap();
    let (story, _) = follow(&mut process).await;
    let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    let (own, its): (i32, i32) = (own.trim().parse().unwrap(), story.lines[0].parse().unwrap());
    assert_eq!(its, own.max(500));
}

#[test]
fn the_usual_times_are_those_of_a_patient_host() {
    let timing = Timing::default();
    assert_eq!(timing.term_grace, Duration::from_secs(5));
    assert_eq!(timing.restarts.delays, [1, 5, 30, 300].map(Duration::from_secs));
    assert_eq!(timing.restarts.healthy_after, Duration::from_secs(60));
}
