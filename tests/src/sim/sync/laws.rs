//! What must hold whatever happens.

use std::collections::BTreeMap;

use super::cloud::Cloud;
use super::phone_box::{Key, PhoneBox};

/// What the cloud has acknowledged and the box has not deleted since.
#[derive(Debug, Default)]
pub(super) struct Laws {
    promised: BTreeMap<Key, i64>,
}

impl Laws {
    /// The box was told that everything up to `to` is in the cloud, of which up to `from` it knew.
    /// What has changed since says nothing.
    pub(super) fn acknowledged(&mut self, phone_box: &PhoneBox, cloud: &Cloud, from: i64, to: i64) {
        let later = phone_box.changed_between(to, phone_box.head());
        for key in phone_box.changed_between(from, to).difference(&later).cloned() {
            match phone_box.row(&key) {
                None => assert!(!cloud.has(&key), "deleted, acknowledged as such, and still there: {key:?}"),
                Some(_) => {
                    assert!(cloud.has(&key), "acknowledged and not there: {key:?}");
                    self.promised.insert(key, to);
                }
            }
        }
    }

    /// The office has deleted it.
    pub(super) fn deleted(&mut self, key: &Key) {
        self.promised.remove(key);
    }

    /// The cloud was put back: what it has not got and the box has not either is lost by that backup, not by us.
    pub(super) fn cloud_restored(&mut self, phone_box: &PhoneBox, cloud: &Cloud) {
        self.promised.retain(|key, _| phone_box.row(key).is_some() || cloud.has(key));
    }

    /// At the end: nothing that was acknowledged is gone, and both have the same.
    pub(super) fn at_the_end(&self, phone_box: &PhoneBox, cloud: &Cloud) {
        for key in self.promised.keys() {
            assert!(cloud.has(key), "acknowledged and gone: {key:?}");
        }
        assert_eq!(phone_box.rows(), cloud.rows(phone_box.identity.epoch), "the same rows");
        assert_eq!(phone_box.ledger, 0, "the loss ledger is empty");
    }
}
