//! The protocol may grow, never change: boxes in the field speak what they were released with.
//!
//! `released.proto.txt` lists every message, field, value and method of the last release. To release what is new, run with
//! `OFFHOOK_PROTO_RELEASE=1`, which appends it; a line that is there already is only ever taken out by hand, for good.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn compiled(folder: &Path, files: &[&str]) -> FileDescriptorSet {
    protox::compile(files, [folder]).unwrap()
}

#[test]
fn nothing_that_was_released_has_changed() {
    let files = ["enroll", "sync", "blobs", "backups", "fleet"].map(|name| format!("offhook/v1/{name}.proto"));
    let now = listing(&compiled(&root().join("proto"), &files.each_ref().map(String::as_str)));
    let path = root().join("released.proto.txt");
    let released = std::fs::read_to_string(&path).unwrap_or_default();
    let released: BTreeSet<String> = released.lines().map(str::to_owned).collect();
    let changed: Vec<_> = released.difference(&now).collect();
    assert!(changed.is_empty(), "released and now gone or different:\n{changed:#?}");
    if std::env::var_os("OFFHOOK_PROTO_RELEASE").is_some() {
        let lines: Vec<_> = now.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(&path, lines.concat()).unwrap();
    } else {
        let new: Vec<_> = now.difference(&released).collect();
        assert!(new.is_empty(), "new and not released yet (OFFHOOK_PROTO_RELEASE=1 releases it):\n{new:#?}");
    }
}

/// The check itself: each way of breaking a box in the field shows as a line that is gone.
#[test]
fn every_breaking_change_is_found() {
    let before = "message M { int64 a = 1; repeated string b = 2; oneof c { bool d = 3; } }
        enum E { E_ZERO = 0; E_ONE = 1; } service S { rpc Do(stream M) returns (M); }";
    // what is replaced, by what, whether it breaks
    for (from, to, breaks) in [
        ("bool d = 3;", "bool d = 3; bool e = 4;", false),
        ("E_ONE = 1;", "E_ONE = 1; E_TWO = 2;", false),
        ("int64 a = 1", "int64 a = 9", true),
        ("int64 a = 1", "int32 a = 1", true),
        ("int64 a = 1", "int64 z = 1", true),
        ("int64 a = 1;", "", true),
        ("int64 a = 1", "repeated int64 a = 1", true),
        ("int64 a = 1", "optional int64 a = 1", true),
        ("oneof c { bool d = 3; }", "bool d = 3;", true),
        ("E_ONE = 1", "E_ONE = 2", true),
        ("E_ONE = 1;", "", true),
        ("stream M", "M", true),
        ("returns (M)", "returns (stream M)", true),
        ("rpc Do(stream M) returns (M);", "", true),
    ] {
        let after = before.replace(from, to);
        assert_ne!(before, after);
        let (old, new) = (listing_of(before), listing_of(&after));
        assert_eq!(old.difference(&new).count() > 0, breaks, "{from} -> {to}: {:?}", old.difference(&new));
    }
}

fn listing_of(source: &str) -> BTreeSet<String> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.proto"), format!("syntax = \"proto3\"; package p; {source}")).unwrap();
    listing(&compiled(dir.path(), &["a.proto"]))
}

/// One line for everything that a peer's behaviour may hang on.
fn listing(set: &FileDescriptorSet) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for file in &set.file {
        let package = file.package();
        for message in &file.message_type {
            list_message(package, message, &mut lines);
        }
        for values in &file.enum_type {
            list_enum(package, values, &mut lines);
        }
        for service in &file.service {
            for method in &service.method {
                let stream = |is: bool| if is { "stream " } else { "" };
                lines.insert(format!(
                    "rpc {package}.{}.{}({}{}) returns ({}{})",
                    service.name(),
                    method.name(),
                    stream(method.client_streaming()),
                    method.input_type(),
                    stream(method.server_streaming()),
                    method.output_type(),
                ));
            }
        }
    }
    lines
}

fn list_message(scope: &str, message: &DescriptorProto, lines: &mut BTreeSet<String>) {
    let name = format!("{scope}.{}", message.name());
    lines.insert(format!("message {name}"));
    for field in &message.field {
        lines.insert(format!("field {name} {}", described(message, field)));
    }
    for inner in &message.nested_type {
        list_message(&name, inner, lines);
    }
    for values in &message.enum_type {
        list_enum(&name, values, lines);
    }
}

fn list_enum(scope: &str, values: &EnumDescriptorProto, lines: &mut BTreeSet<String>) {
    for value in &values.value {
        lines.insert(format!("value {scope}.{} {} = {}", values.name(), value.name(), value.number()));
    }
}

fn described(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let label = if field.label() == Label::Repeated { "repeated " } else { "" };
    let is_ours = matches!(field.r#type(), Type::Message | Type::Enum);
    let kind = if is_ours { field.type_name() } else { field.r#type().as_str_name() };
    let oneof = field.oneof_index.and_then(|index| message.oneof_decl.get(usize::try_from(index).ok()?));
    let oneof = oneof.map(|oneof| format!(" of {}", oneof.name())).unwrap_or_default();
    format!("{label}{kind} {} = {}{oneof}", field.name(), field.number())
}
