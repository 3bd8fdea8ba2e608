//! Certificates for boxes: the first for a code, each further one for the one before.

use std::sync::Arc;

use cloud_api::v1::enroll_server::Enroll;
use cloud_api::v1::{Certificate, ClaimRequest, RenewRequest};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tonic::{Request, Response, Status};

use super::fleet::{known_operator, operator};
use super::{Shared, admit, peer};
use crate::authority::AuthorityError;
use crate::clock;
use crate::names::{hash_of_code, is_name};
use crate::store::{AnyStore, BoxName, Store as _, away};
use crate::sync::stream::Away;

/// Longer than any code, in bytes.
const CODE_MAX: usize = 64;

pub(super) struct Service(pub(super) Arc<Shared>);

impl Service {
    /// The box whose place comes with this code.
    async fn replaced(&self, code: &str) -> Result<String, Status> {
        let (now, of_code) = (clock::unix_ms(), hash_of_code(code));
        match self.0.answer(move |store| store.claim(&of_code, now)).await? {
            Some((_, Some(box_id))) => Ok(box_id),
            Some((_, None)) => Err(Status::failed_precondition(
                "the code is for a new box: `offhook-cloud claim TENANT --replaces BOX` makes one for a box's place",
            )),
            None => {
                self.0.metrics.refused();
                Err(Status::permission_denied("the code is unknown, expired or another box's"))
            }
        }
    }

    /// With the endpoint of the cell that its tenant lives in.
    fn certify(&self, name: &BoxName, request: &[u8], away: Option<Away>) -> Result<Response<Certificate>, Status> {
        self.certified(self.0.authority.certify_box(name, request, clock::unix_ms()), away)
    }

    fn certified(
        &self,
        made: Result<CertificateDer<'static>, AuthorityError>,
        away: Option<Away>,
    ) -> Result<Response<Certificate>, Status> {
        let Shared { authority, endpoint, metrics, .. } = &*self.0;
        let made = made.map_err(|error| match error {
            AuthorityError::Request => Status::invalid_argument(error.to_string()),
            AuthorityError::File { .. } | AuthorityError::Damaged { .. } | AuthorityError::Crypto(_) => {
                tracing::error!(%error, "No certificate can be made");
                Status::internal("no certificate can be made")
            }
        })?;
        metrics.claimed();
        let roots = authority.roots().iter().map(|root| root.to_vec().into()).collect();
        let endpoint = match away {
            Some(Away::Elsewhere(endpoint)) => endpoint,
            Some(Away::Moving | Away::Erased) | None => endpoint.clone(),
        };
        Ok(Response::new(Certificate { chain: vec![made.to_vec().into()], roots, endpoint }))
    }
}

#[tonic::async_trait]
impl Enroll for Service {
    async fn claim(&self, request: Request<ClaimRequest>) -> Result<Response<Certificate>, Status> {
        let ClaimRequest { claim_code, signing_request, mut box_id } = request.into_inner();
        let takes_place = box_id.is_empty() && claim_code.len() <= CODE_MAX;
        if takes_place {
            box_id = self.replaced(&claim_code).await?;
        }
        if !is_name(&box_id) {
            return Err(Status::invalid_argument("box_id: expected 1 to 63 lower-case letters, digits and hyphens"));
        }
        let (now, of_code, box_of_code) = (clock::unix_ms(), hash_of_code(&claim_code), box_id.clone());
        let tenant_id = match claim_code.len() {
            0..=CODE_MAX => self.0.answer(move |store| store.take_claim(&of_code, &box_of_code, now)).await?,
            _ => None,
        };
        let Some(tenant_id) = tenant_id else {
            self.0.metrics.refused();
            tracing::warn!(box_id, "A claim with a code that is unknown, expired or another box's");
            return Err(Status::permission_denied("the code is unknown, expired or another box's"));
        };
        let name = BoxName { tenant_id, box_id };
        let tenant_id = name.tenant_id.clone();
        let away = self.0.answer(move |store| away(store, &tenant_id)).await?;
        let is_elsewhere = matches!(away, Some(Away::Elsewhere(_)));
        let certificate = self.certify(&name, &signing_request, away)?;
        let enrolled = name.clone();
        // To the second, as certificates say it: this one is younger.
        let void_before = now / 1_000 * 1_000;
        let enrol = move |store: &AnyStore| {
            store.enroll(&enrolled, now)?;
            // Whoever has the machine that is replaced has nothing by it.
            if takes_place { store.void_certificates(&enrolled, void_before) } else { Ok(()) }
        };
        // There it is known as soon as it comes.
        if !is_elsewhere {
            self.0.answer(enrol).await?;
        }
        tracing::info!(name = %name, takes_place, "A box was claimed");
        Ok(certificate)
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<Certificate>, Status> {
        if operator(&request).is_some() {
            let operator = known_operator(&self.0, &request).await?;
            let request = request.into_inner().signing_request;
            let made = self.0.authority.certify_operator(&operator.name, &request, clock::unix_ms());
            return self.certified(made, None);
        }
        let peer = peer(&request).ok_or_else(|| Status::unauthenticated("a box shows the certificate it has"))?;
        let away = admit(&self.0, &peer).await?;
        let certificate = self.certify(&peer.name, &request.into_inner().signing_request, away)?;
        tracing::info!(name = %peer.name, "A certificate was renewed");
        Ok(certificate)
    }
}
