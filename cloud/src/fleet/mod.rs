//! What boxes should be like and should do, as far as their cloud decides it.
//!
//! ```text
//! operator ─► desk: may they? written down ─► document of a box ─► its stream: Desired, Command ─► the box
//!                                          ─► document of a rollout ─► upkeep ─► documents of boxes, cohort by cohort
//!                                                                             ▲ Reported, CommandResult ─┘
//! ```
//! Wishes are few and small, so each box has one document of all of them, and each rollout one: JSON in the store, changed in
//! one transaction. Whatever is done to them is plain code over these documents, the same for every store.
//!
//! Left out on purpose: what the sections of a configuration mean. The box knows; what it cannot use it rejects by name.

pub(crate) mod access;
pub mod audit;
pub mod cli;
pub mod desk;
pub mod document;
mod messages;
mod metrics;
pub mod operator;
pub mod remote;
pub mod rollout;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use document::{BoxDocument, CommandRecord, DesiredState, Outcome, Wish};
pub use rollout::Rollout;

use crate::store::{BoxName, Change, DocumentKind, Place, Store, StoreError, Upkeep};

fn read<T: Default + DeserializeOwned>(body: Option<&str>) -> Result<T, StoreError> {
    let Some(body) = body else { return Ok(T::default()) };
    serde_json::from_str(body).map_err(|error| StoreError::Document(error.to_string()))
}

fn written<T: Serialize>(document: &T) -> Result<String, StoreError> {
    serde_json::to_string(document).map_err(|error| StoreError::Document(error.to_string()))
}

/// The document of a box; the default one if there is none.
///
/// # Errors
/// Of the store.
pub fn box_document(store: &impl Store, of: &BoxName) -> Result<BoxDocument, StoreError> {
    let place = Place { tenant_id: &of.tenant_id, kind: DocumentKind::Box, name: &of.box_id };
    read(store.document(&place)?.as_deref())
}

/// The documents of some of a tenant's boxes, in their order; the default one where there is none.
///
/// # Errors
/// Of the store, for all of them, or that one of them is not to be understood.
pub fn some_box_documents(
    store: &impl Store,
    tenant_id: &str,
    box_ids: &[&str],
) -> Result<Vec<Result<BoxDocument, StoreError>>, StoreError> {
    let bodies = store.some_documents(tenant_id, DocumentKind::Box, box_ids)?;
    Ok(box_ids.iter().map(|name| read(bodies.get(*name).map(String::as_str))).collect())
}

/// The documents of a tenant's boxes, by box.
///
/// # Errors
/// Of the store.
pub fn box_documents(store: &impl Store, tenant_id: &str) -> Result<BTreeMap<String, BoxDocument>, StoreError> {
    documents(store, tenant_id, DocumentKind::Box)
}

/// The document of a rollout; the default one if there is none.
///
/// # Errors
/// Of the store.
pub fn rollout_document(store: &impl Store, tenant_id: &str, id: &str) -> Result<Rollout, StoreError> {
    read(store.document(&Place { tenant_id, kind: DocumentKind::Rollout, name: id })?.as_deref())
}

/// The rollouts of a tenant, by their ids.
///
/// # Errors
/// Of the store.
pub fn rollouts(store: &impl Store, tenant_id: &str) -> Result<BTreeMap<String, Rollout>, StoreError> {
    documents(store, tenant_id, DocumentKind::Rollout)
}

fn documents<T: Default + DeserializeOwned>(
    store: &impl Store,
    tenant_id: &str,
    kind: DocumentKind,
) -> Result<BTreeMap<String, T>, StoreError> {
    let bodies = store.documents(tenant_id, kind)?;
    bodies.into_iter().map(|(name, body)| Ok((name, read(Some(&body))?))).collect()
}

/// Changes the document of a box. Its stream is told if there is something new for the box in it.
///
/// # Errors
/// Of the store; then nothing has changed.
pub fn change_box<T>(
    store: &impl Store,
    of: &BoxName,
    now: i64,
    mut work: impl FnMut(&mut BoxDocument) -> T,
) -> Result<T, StoreError> {
    let place = Place { tenant_id: &of.tenant_id, kind: DocumentKind::Box, name: &of.box_id };
    store.change_document(&place, now, |body| changed(body, &mut work))
}

/// As [`change_box`], for several boxes of a tenant in one transaction; `work` is given the box, too. The answers come in
/// their order.
///
/// # Errors
/// Of the store; then nothing has changed.
pub fn change_boxes<T>(
    store: &impl Upkeep,
    tenant_id: &str,
    box_ids: &BTreeSet<String>,
    now: i64,
    mut work: impl FnMut(&str, &mut BoxDocument) -> T,
) -> Result<Vec<T>, StoreError> {
    store.change_boxes(tenant_id, box_ids, now, |name, body| changed(body, |document| work(name, document)))
}

fn changed<T>(body: Option<&str>, work: impl FnOnce(&mut BoxDocument) -> T) -> Result<Change<T>, StoreError> {
    let before: BoxDocument = read(body)?;
    let mut after = before.clone();
    let answer = work(&mut after);
    let body = if after == before { None } else { Some(written(&after)?) };
    Ok(Change { body, news: after.is_news_after(&before), answer })
}

/// Changes the document of a rollout.
///
/// # Errors
/// Of the store; then nothing has changed.
pub fn change_rollout<T>(
    store: &impl Store,
    tenant_id: &str,
    id: &str,
    now: i64,
    mut work: impl FnMut(&mut Rollout) -> T,
) -> Result<T, StoreError> {
    let place = Place { tenant_id, kind: DocumentKind::Rollout, name: id };
    store.change_document(&place, now, |body| {
        let before: Rollout = read(body)?;
        let mut after = before.clone();
        let answer = work(&mut after);
        let body = if after == before { None } else { Some(written(&after)?) };
        Ok(Change { body, news: after.is_running(), answer })
    })
}
