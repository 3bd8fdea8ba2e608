//! A network of its own (Linux's network namespaces) at the other end of a cable, which can be pulled: what is on its way then
//! is gone, and nobody is told. Needs root.

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The namespace; removed with its end of the cable when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    outside: String,
    address: Ipv4Addr,
}

fn ip(arguments: &[&str]) -> bool {
    Command::new("ip").args(arguments).output().is_ok_and(|output| output.status.success())
}

impl Namespace {
    /// A new one; None where none can be made or there are no cables, e.g. without root.
    ///
    /// # Panics
    /// When the cable is there and has no addresses.
    pub fn start() -> Option<Namespace> {
        let id = std::process::id();
        let (name, outside, inside) = (format!("offhook-{id}"), format!("oho{id}"), format!("ohi{id}"));
        if !ip(&["netns", "add", &name]) {
            return None;
        }
        // RFC 2544: addresses for tests of devices, four of them for each process.
        let subnet = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + (id & 0x3fff) * 4;
        let [here, there] = [1, 2].map(|host| Ipv4Addr::from(subnet + host));
        let namespace = Namespace { name, outside, address: there };
        let Namespace { name, outside, .. } = &namespace;
        let cable = ["link", "add", outside, "type", "veth", "peer", "name", &inside, "netns", name];
        if !ip(&cable) {
            return None;
        }
        let (here, there) = (format!("{here}/30"), format!("{there}/30"));
        for step in [
            &["addr", "add", &here, "dev", outside][..],
            &["link", "set", outside, "up"],
            &["-n", name, "addr", "add", &there, "dev", &inside],
            &["-n", name, "link", "set", "lo", "up"],
            &["-n", name, "link", "set", &inside, "up"],
        ] {
            assert!(ip(step), "{step:?}");
        }
        Some(namespace)
    }

    /// Whoever listens there is found at this address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// A program that is `program`, in the namespace.
    ///
    /// # Panics
    /// When it cannot be written into `folder`.
    pub fn program(&self, folder: &Path, program: &Path) -> PathBuf {
        let path = folder.join("in-namespace");
        let script = format!("#!/bin/sh\nexec ip netns exec {} {} \"$@\"\n", self.name, program.display());
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path
    }

    /// Pulls the cable at the far end, or plugs it in: nobody at this end is told.
    ///
    /// # Panics
    /// When it cannot.
    pub fn plug(&self, plugged: bool) {
        let inside = self.outside.replacen("oho", "ohi", 1);
        let state = if plugged { "up" } else { "down" };
        assert!(ip(&["-n", &self.name, "link", "set", &inside, state]), "{state}");
    }

    /// What has gone over the cable so far, in both directions.
    ///
    /// # Panics
    /// When the kernel does not say.
    pub fn passed_bytes(&self) -> u64 {
        let count = |name: &str| -> u64 {
            let path = format!("/sys/class/net/{}/statistics/{name}", self.outside);
            std::fs::read_to_string(path).unwrap().trim().parse().unwrap()
        };
        count("tx_bytes") + count("rx_bytes")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The cable goes with either end.
        ip(&["link", "del", &self.outside]);
        ip(&["netns", "del", &self.name]);
    }
}
