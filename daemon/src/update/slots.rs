//! What state the two slots are in, and which may be booted. Pure: made from what RAUC and the boot loader say.

use serde::Serialize;

use super::grubenv::Variables;
use super::rauc::RaucStatus;

/// One slot of the root file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Slot {
    /// RAUC's name: `rootfs.0`.
    pub name: String,
    /// The boot loader's name: `A`.
    pub bootname: String,
    /// Whether the system runs from it.
    pub running: bool,
    /// What is in it; `None` for a slot nothing was ever installed to.
    pub version: Option<String>,
    /// RAUC's word: the boot loader would boot it and counts no try.
    pub good: bool,
    /// It once passed the health gate with what is in it: power cuts no longer count against it.
    pub confirmed: bool,
    /// How often the boot loader would still try it; `None` when nobody counts.
    pub tries_left: Option<u32>,
}

impl Slot {
    /// Whether the boot loader would start it.
    pub fn bootable(&self) -> bool {
        self.tries_left != Some(0)
    }
}

/// Both slots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Slots {
    /// The kind of machine RAUC is configured for.
    pub compatible: String,
    /// In the order of their boot names.
    pub slots: Vec<Slot>,
    /// Boot name of the slot the next boot would take.
    pub next: Option<String>,
}

/// Why nothing may be installed now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotYet {
    /// The boot loader's slot is not among RAUC's.
    #[error("it is not known which slot is running; expected rauc.slot=A or B on the kernel's command line")]
    NothingRunning,
    /// The other slot may still be needed.
    #[error(
        "the running slot {0} has not passed the health check yet, so the other slot is the way back and is not \
         overwritten; expected a confirmed slot (`offhook update confirm` checks it after each boot)"
    )]
    Unconfirmed(String),
}

/// Why the other slot cannot be gone back to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoWayBack {
    /// The boot loader's slot is not among RAUC's.
    #[error("it is not known which slot is running; expected rauc.slot=A or B on the kernel's command line")]
    NothingRunning,
    /// There is no second slot.
    #[error("this box has no second slot to go back to")]
    NoOtherSlot,
    /// Nothing was ever installed there, or what was begun was not finished.
    #[error(
        "slot {0} cannot be booted: nothing is in it, or what is did not start; install with `offhook update install`"
    )]
    NotBootable(String),
    /// What is there never passed the health gate.
    #[error(
        "slot {0} has never passed the health check, so going back to it could end the telephone service; expected a \
         confirmed slot. To replace what runs install another bundle"
    )]
    NotConfirmed(String),
}

impl Slots {
    /// Puts together what RAUC knows of the slots and what the boot loader does. `running_version` is what the running
    /// system says of itself: a freshly written box has no record of it in RAUC.
    pub fn new(rauc: &RaucStatus, variables: &Variables, running_version: &str) -> Slots {
        let mut slots: Vec<Slot> = rauc
            .slots
            .iter()
            .map(|slot| {
                let running = rauc.booted.as_deref() == Some(slot.bootname.as_str());
                let version = if running { Some(running_version.to_owned()) } else { slot.version.clone() };
                let confirmed = variables.is_confirmed(&slot.bootname);
                let tries_left = variables.tries_left(&slot.bootname);
                let (name, bootname) = (slot.name.clone(), slot.bootname.clone());
                Slot { name, bootname, running, version, good: slot.good, confirmed, tries_left }
            })
            .collect();
        slots.sort_by(|one, other| one.bootname.cmp(&other.bootname));
        let next = variables.next(slots.iter().map(|slot| slot.bootname.as_str()));
        Slots { compatible: rauc.compatible.clone(), slots, next }
    }

    /// The one the system runs from.
    pub fn running(&self) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.running)
    }

    /// The one it does not run from.
    pub fn other(&self) -> Option<&Slot> {
        self.running()?;
        self.slots.iter().find(|slot| !slot.running)
    }

    /// Whether the running slot is on trial: not confirmed, and the next boot would leave it.
    pub fn on_trial(&self) -> bool {
        self.running().is_some_and(|running| !running.confirmed && running.tries_left == Some(0))
    }

    /// Whether something that was installed, or gone back to, waits for a reboot.
    pub fn reboot_pending(&self) -> bool {
        match (&self.next, self.running()) {
            (Some(next), Some(running)) => *next != running.bootname && !self.on_trial(),
            (Some(_) | None, Some(_) | None) => false,
        }
    }

    /// Whether the other slot may be overwritten: it is the way back until the running one is confirmed.
    ///
    /// # Errors
    /// [`NotYet`].
    pub fn may_install(&self) -> Result<(), NotYet> {
        let running = self.running().ok_or(NotYet::NothingRunning)?;
        if running.confirmed { Ok(()) } else { Err(NotYet::Unconfirmed(running.bootname.clone())) }
    }

    /// The slot a rollback would boot.
    ///
    /// # Errors
    /// [`NoWayBack`].
    pub fn way_back(&self) -> Result<&Slot, NoWayBack> {
        self.running().ok_or(NoWayBack::NothingRunning)?;
        let other = self.other().ok_or(NoWayBack::NoOtherSlot)?;
        if !other.bootable() {
            return Err(NoWayBack::NotBootable(other.bootname.clone()));
        }
        if !other.confirmed {
            return Err(NoWayBack::NotConfirmed(other.bootname.clone()));
        }
        Ok(other)
    }
}

#[cfg(test)]
mod tests {
    use super::super::rauc::RaucSlot;
    use super::*;

    fn slots(booted: &str, variables: &str) -> Slots {
        let slot = |name: &str, bootname: &str, version: &str| RaucSlot {
            name: name.into(),
            bootname: bootname.into(),
            good: true,
            version: Some(version.into()),
        };
        let rauc = RaucStatus {
            compatible: "offhook-arm64".into(),
            booted: Some(booted.into()),
            slots: vec![slot("rootfs.1", "B", "0.2.0"), slot("rootfs.0", "A", "0.0.9")],
        };
        Slots::new(&rauc, &Variables::parse(variables), "0.1.0")
    }

    #[test]
    fn the_state_of_both_slots_follows_from_the_boot_loaders_variables() {
        // booted, variables, next boot, reboot pending, may install, way back
        for (booted, variables, next, pending, may_install, way_back) in [
            ("A", "ORDER=A B\nA_OK=1\nA_TRY=0\nA_CONFIRMED=1\nB_OK=0\nB_TRY=0", "A", false, true, "B cannot be booted"),
            ("A", "ORDER=B A\nA_OK=1\nA_TRY=0\nA_CONFIRMED=1\nB_OK=1\nB_TRY=0", "B", true, true, "B has never passed"),
            // B is being tried for the first time: another boot would go back to A, which must stay what it is.
            ("B", "ORDER=B A\nA_OK=1\nA_TRY=0\nA_CONFIRMED=1\nB_OK=1\nB_TRY=1", "A", false, false, "A"),
            ("B", "ORDER=B A\nA_OK=1\nA_TRY=0\nA_CONFIRMED=1\nB_OK=1\nB_TRY=0\nB_CONFIRMED=1", "B", false, true, "A"),
            // A power cut while booting a confirmed slot has left its try behind: it counts for nothing.
            ("B", "ORDER=B A\nA_OK=1\nA_TRY=1\nA_CONFIRMED=1\nB_OK=1\nB_TRY=1\nB_CONFIRMED=1", "B", false, true, "A"),
            (
                "A",
                "ORDER=A B\nA_OK=1\nA_CONFIRMED=1\nB_OK=1\nB_TRY=1\nB_CONFIRMED=0",
                "A",
                false,
                true,
                "B cannot be booted",
            ),
            ("C", "ORDER=A B\nA_OK=1\nB_OK=1", "A", false, false, "not known which slot"),
        ] {
            let slots = slots(booted, variables);
            assert_eq!(slots.next.as_deref(), Some(next), "{variables}");
            assert_eq!(slots.reboot_pending(), pending, "{variables}");
            assert_eq!(slots.may_install().is_ok(), may_install, "{variables}");
            let found = slots.way_back().map_or_else(|error| error.to_string(), |slot| slot.bootname.clone());
            assert!(found.contains(way_back), "{variables}: {found}");
        }
    }

    #[test]
    fn the_running_slots_version_is_what_the_system_says() {
        let slots = slots("A", "ORDER=A B\nA_OK=1\nA_CONFIRMED=1\nB_OK=1\nB_TRY=0");
        let shown: Vec<_> = slots
            .slots
            .iter()
            .map(|slot| (slot.bootname.as_str(), slot.version.as_deref(), slot.tries_left, slot.running))
            .collect();
        assert_eq!(shown, [("A", Some("0.1.0"), None, true), ("B", Some("0.2.0"), Some(1), false)]);
    }
}
