//! People who manage boxes from elsewhere: each may do what they are there for, and everything they ask for is written down.

use std::path::{Path, PathBuf};
use std::process::Output;

use cloud::store::{AnyStore, Sqlite};
use serde_json::Value;
use tests::cloud::CloudProcess;
use tests::poll;

use super::fleet::json;
use super::{CLOUD, Folders, LIMIT, call, carrier, claim, said, start_box, sync_of};

/// Somebody with the file that makes them an operator.
struct Operator<'a> {
    cloud: &'a CloudProcess,
    file: PathBuf,
}

impl Operator<'_> {
    fn new<'a>(cloud: &'a CloudProcess, folder: &Path, tenant: &str, name: &str, role: &str) -> Operator<'a> {
        let file = folder.join(format!("{tenant}-{name}.toml"));
        let path = file.to_str().unwrap();
        let made = cloud.run(&["operator", "add", tenant, name, "--role", role, "--out", path, "--as", "ben"]);
        assert!(made.status.success(), "{}", said(&made));
        Operator { cloud, file }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.cloud.run(&[&["--operator", self.file.to_str().unwrap()], arguments].concat())
    }

    fn ask(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        json(&output)
    }

    fn is_refused(&self, arguments: &[&str], reason: &str) {
        let output = self.run(arguments);
        assert!(!output.status.success() && said(&output).contains(reason), "{arguments:?}: {}", said(&output));
    }
}

#[test]
fn operators_may_do_what_they_are_there_for() {
    let (folders, carrier) = (Folders::new(), carrier());
    let cloud = CloudProcess::start(Path::new(CLOUD), &folders.cloud, &[]);
    let operator = |tenant, name, role| Operator::new(&cloud, &folders.office, tenant, name, role);
    let (agent, owner) = (operator("bakery", "anna", "agent"), operator("bakery", "olga", "owner"));
    let (auditor, admin) = (operator("bakery", "audrey", "auditor"), operator("all", "adam", "admin"));
    let stranger = operator("butcher", "bob", "owner");

    // An admin of all tenants has a box claimed without ever being at the service itself.
    let code = admin.ask(&["claim", "bakery"]);
    agent.is_refused(&["claim", "bakery"], "the role agent may not claim");
    let settings = folders.settings(&cloud, code["endpoint"].as_str().unwrap());
    let claimed = claim(&settings, code["code"].as_str().unwrap());
    assert!(claimed.status.success(), "{}", said(&claimed));
    let offhook = start_box(&folders, &carrier, &settings);
    call(&offhook, &carrier);
    let store = AnyStore::Sqlite(Sqlite::open(&folders.cloud.join("cloud.db")).unwrap());
    folders.wait_until_equal(&store);
    let box_id = folders.box_name().box_id;

    // Everybody sees what is theirs, and nobody else's.
    assert_eq!(agent.ask(&["boxes"])[0]["box"], box_id.as_str());
    assert_eq!(admin.ask(&["fleet", "list"])[0]["tenant"], "bakery");
    assert_eq!(stranger.ask(&["boxes"]), Value::Array(Vec::new()));
    stranger.is_refused(&["calls", "bakery"], "tenant \"bakery\" is not yours");
    auditor.is_refused(&["calls", "bakery"], "the role auditor may not see-calls");
    let calls = agent.ask(&["calls", "bakery"]);
    let caller = calls[0]["caller_id"].as_str().unwrap();
    let metrics = auditor.ask(&["fleet", "metrics", "bakery", "--days", "2"]);
    let counted: u64 = metrics.as_array().unwrap().iter().map(|day| day["calls"].as_u64().unwrap()).sum();
    assert_eq!(counted, 1, "{metrics}");

    // An agent has the box looked at, and cannot change it; an admin can.
    let looked = agent.ask(&["fleet", "command", "bakery", &box_id, "diagnostics", "--wait", "60"]);
    assert_eq!(looked["result"]["done"], true, "{looked}");
    let file = folders.office.join("wish.toml");
    std::fs::write(&file, "[office]\nname = 'Corner Bakery'\ntime_zone = 'UTC'").unwrap();
    let wish = ["fleet", "set", "bakery", &box_id, file.to_str().unwrap(), "--wait", "60"];
    agent.is_refused(&wish, "the role agent may not configure");
    let applied = admin.ask(&wish);
    assert_eq!(applied["outcome"]["state"], "applied", "{applied}\n{}", offhook.log());
    assert_eq!(agent.ask(&["fleet", "show", "bakery", &box_id])["desired"]["set_by"], "*/adam");
    agent.is_refused(&["fleet", "show", "bakery", "no-such-box"], "there is no box bakery/no-such-box");

    // An owner takes everything with them, and has a caller forgotten, on the box and in the cloud.
    let export = folders.office.join("export.jsonl");
    let exported = owner.ask(&["fleet", "export", "bakery", export.to_str().unwrap()]);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&export).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "an export is its owner's alone");
    let lines = std::fs::read_to_string(&export).unwrap();
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(Value::from(rows.len()), exported["rows"]);
    let session = rows.iter().find(|row| row["table"] == "call_sessions").unwrap();
    assert_eq!(
        (&session["columns"]["caller_id"], &session["box"]),
        (&calls[0]["caller_id"], &Value::from(box_id.as_str()))
    );
    admin.is_refused(&["fleet", "erase", "bakery", caller], "the role admin may not erase");
    let erased = owner.ask(&["fleet", "erase", "bakery", caller, "--wait", "60"]);
    assert_eq!(erased["boxes"][&box_id]["done"], true, "{erased}");
    assert!(erased["boxes"][&box_id]["detail"].as_str().unwrap().contains("\"calls\":1"), "{erased}");
    let gone = poll(LIMIT, || (agent.ask(&["calls", "bakery"]) == Value::Array(Vec::new())).then_some(()));
    assert!(gone.is_some(), "{}", agent.ask(&["calls", "bakery"]));
    folders.wait_until_equal(&store);
    let local = offhook.run(&["erase", caller]);
    assert!(said(&local).contains("Nothing is known of"), "{}", said(&local));
    let shown = said(&owner.run(&["fleet", "show", "bakery", &box_id]));
    assert!(!shown.contains(caller), "who was erased is not remembered: {shown}");

    // All of it was written down, also what was refused.
    let audit = auditor.ask(&["fleet", "audit", "bakery"]);
    let entries = audit.as_array().unwrap();
    assert!(entries.iter().all(|entry| entry["intact"] == true), "{audit}");
    let has = |operator: &str, action: &str, allowed: bool| {
        let fits = |entry: &&Value| entry["operator"] == operator && entry["action"] == action;
        entries.iter().filter(fits).any(|entry| entry["allowed"] == allowed)
    };
    assert!(has("ben (console)", "appoint", true) && has("*/adam", "claim", true), "{audit}");
    assert!(has("bakery/anna", "configure", false) && has("bakery/olga", "erase", true), "{audit}");
    assert!(!audit.to_string().contains(caller), "{audit}");
    agent.is_refused(&["fleet", "audit", "bakery"], "the role agent may not see-audit");
    let of_all = cloud.ask(&["fleet", "audit", "*"]);
    assert_eq!(
        (&of_all[0]["action"], &of_all[0]["target"]),
        (&Value::from("appoint"), &Value::from("adam")),
        "{of_all}"
    );

    // Neither a box nor somebody who is none any more is an operator.
    let enrolment = std::fs::read_to_string(folders.office.join("cloud/enrolment.json")).unwrap();
    let enrolment: Value = serde_json::from_str(&enrolment).unwrap();
    let mut credentials: toml::Table = std::fs::read_to_string(&agent.file).unwrap().parse().unwrap();
    for (key, of_box) in [("certificate", "chain"), ("private_key", "private_key")] {
        credentials.insert(key.to_owned(), enrolment[of_box].as_str().unwrap().into());
    }
    let forged = Operator { cloud: &cloud, file: folders.office.join("forged.toml") };
    std::fs::write(&forged.file, credentials.to_string()).unwrap();
    forged.is_refused(&["boxes"], "an operator shows their certificate");
    let removed = cloud.run(&["operator", "remove", "bakery", "anna"]);
    assert!(removed.status.success(), "{}", said(&removed));
    agent.is_refused(&["boxes"], "this operator may do nothing any more");
    assert!(sync_of(&offhook)["link"]["connected"] == true);
    offhook.stop();
    cloud.stop();
}
