//! SIPp as a desk phone: it registers, and from then on does what a scenario says.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::load::scenario;
use crate::offhook::{Offhook, free_port};

/// A phone of an extension.
#[derive(Debug, Clone, Copy)]
pub struct SippPhone<'a> {
    /// Where SIPp writes what it writes.
    pub folder: &'a Path,
    /// Its address.
    pub at: IpAddr,
    /// The extension.
    pub number: &'a str,
    /// Its password.
    pub password: &'a str,
}

impl<'a> SippPhone<'a> {
    /// At this machine's own address.
    pub fn new(folder: &'a Path, number: &'a str, password: &'a str) -> SippPhone<'a> {
        SippPhone { folder, at: Ipv4Addr::LOCALHOST.into(), number, password }
    }

    /// Registers with `offhook`; what is returned runs the scenario `does` at the same port.
    ///
    /// # Panics
    /// When it is not let in.
    pub fn register(&self, offhook: &Offhook, does: &str) -> Command {
        let (port, target) = (free_port().to_string(), offhook.address().to_string());
        let sipp = |name: &str| {
            let mut command = Command::new("sipp");
            command.args([
                "-sf",
                scenario(name).to_str().unwrap(),
                "-i",
                &self.at.to_string(),
                "-p",
                &port,
                "-nostdin",
            ]);
            command.current_dir(self.folder).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let registered = sipp("uac-registers.xml")
            .args([&target, "-s", self.number, "-au", self.number, "-ap", self.password, "-m", "1"])
            // Else it signs for a URI that it does not ask for.
            .args(["-auth_uri", &target])
            .status()
            .unwrap();
        assert!(registered.success(), "{}", offhook.log());
        sipp(does)
    }
}
