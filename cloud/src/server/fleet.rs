//! Operators over gRPC: who they are, and what [`desk`](crate::fleet::desk) does for them.

use std::sync::Arc;

use cloud_api::v1;
use cloud_api::v1::fleet_server::Fleet;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tonic::{Request, Response, Status};

use super::Shared;
use crate::authority::{CertifiedOperator, certified_operator};
use crate::clock;
use crate::fleet::desk::{Desk, Refusal};
use crate::fleet::operator::{Operator, record_of};
use crate::store::{AnyStore, said_of};

/// A configuration with its files, in bytes.
pub(super) const MESSAGE_MAX: usize = 1 << 20;
/// Parts of an export that wait for somebody who reads slowly.
const OUTGOING: usize = 4;

pub(super) struct Service(pub(super) Arc<Shared>);

/// The operator who asks, as the certificate says.
pub(super) fn operator<T>(request: &Request<T>) -> Option<CertifiedOperator> {
    let info = request.extensions().get::<TlsConnectInfo<TcpConnectInfo>>()?;
    certified_operator(info.peer_certs()?.first()?)
}

/// The operator who asks, if they are one still.
pub(super) async fn known_operator<T>(shared: &Shared, request: &Request<T>) -> Result<Operator, Status> {
    let refused = |status: Status| {
        shared.metrics.refused();
        status
    };
    let certified =
        operator(request).ok_or_else(|| refused(Status::unauthenticated("an operator shows their certificate")))?;
    if certified.not_after <= clock::unix_ms() {
        let expired = "the certificate has expired: `offhook-cloud operator add` makes a new one";
        return Err(refused(Status::permission_denied(expired)));
    }
    let name = certified.name.clone();
    let record = shared.answer(move |store| record_of(store, &name)).await?;
    let record = record.filter(|record| record.revoked_at.is_none());
    let record = record.ok_or_else(|| refused(Status::permission_denied("this operator may do nothing any more")))?;
    Ok(Operator { name: certified.name, role: record.role, at_console: false })
}

fn status_of(refusal: &Refusal) -> Status {
    let said = refusal.to_string();
    match refusal {
        Refusal::Denied { .. } | Refusal::NotYours(_) => Status::permission_denied(said),
        Refusal::Wrong(_) | Refusal::Wish(_) => Status::invalid_argument(said),
        Refusal::Unknown(_) => Status::not_found(said),
        Refusal::Store(error) => {
            tracing::error!(%error, "The store cannot");
            Status::unavailable(said_of(error))
        }
    }
}

impl Service {
    async fn ask<Q: Send + 'static, A: Send + 'static>(
        &self,
        request: Request<Q>,
        work: impl FnOnce(&Desk<'_>, Q) -> Result<A, Refusal> + Send + 'static,
    ) -> Result<Response<A>, Status> {
        let operator = known_operator(&self.0, &request).await?;
        self.at_desk(&operator, move |desk| work(desk, request.into_inner())).await.map(Response::new)
    }

    async fn at_desk<A: Send + 'static>(
        &self,
        operator: &Operator,
        work: impl FnOnce(&Desk<'_>) -> Result<A, Refusal> + Send + 'static,
    ) -> Result<A, Status> {
        let (operator, endpoint) = (operator.clone(), self.0.endpoint.clone());
        let done = self.0.ask(move |store: &AnyStore| work(&Desk::new(store, operator, &endpoint))).await;
        let done = done.ok_or_else(|| Status::unavailable("the store failed"))?;
        done.map_err(|refusal| status_of(&refusal))
    }
}

#[tonic::async_trait]
impl Fleet for Service {
    async fn list_boxes(
        &self,
        request: Request<v1::ListBoxesRequest>,
    ) -> Result<Response<v1::ListBoxesResponse>, Status> {
        self.ask(request, |desk, question| desk.list_boxes(question)).await
    }

    async fn get_box(&self, request: Request<v1::GetBoxRequest>) -> Result<Response<v1::GetBoxResponse>, Status> {
        self.ask(request, |desk, question| desk.get_box(question)).await
    }

    async fn set_desired(
        &self,
        request: Request<v1::SetDesiredRequest>,
    ) -> Result<Response<v1::SetDesiredResponse>, Status> {
        self.ask(request, |desk, question| desk.set_desired(question)).await
    }

    async fn send_command(
        &self,
        request: Request<v1::SendCommandRequest>,
    ) -> Result<Response<v1::SendCommandResponse>, Status> {
        self.ask(request, |desk, question| desk.send_command(question)).await
    }

    async fn start_rollout(
        &self,
        request: Request<v1::StartRolloutRequest>,
    ) -> Result<Response<v1::StartRolloutResponse>, Status> {
        self.ask(request, |desk, question| desk.start_rollout(question)).await
    }

    async fn list_rollouts(
        &self,
        request: Request<v1::ListRolloutsRequest>,
    ) -> Result<Response<v1::ListRolloutsResponse>, Status> {
        self.ask(request, |desk, question| desk.list_rollouts(question)).await
    }

    async fn halt_rollout(
        &self,
        request: Request<v1::HaltRolloutRequest>,
    ) -> Result<Response<v1::HaltRolloutResponse>, Status> {
        self.ask(request, |desk, question| desk.halt_rollout(question)).await
    }

    async fn create_claim(
        &self,
        request: Request<v1::CreateClaimRequest>,
    ) -> Result<Response<v1::CreateClaimResponse>, Status> {
        self.ask(request, |desk, question| desk.create_claim(question)).await
    }

    async fn revoke_box(
        &self,
        request: Request<v1::RevokeBoxRequest>,
    ) -> Result<Response<v1::RevokeBoxResponse>, Status> {
        self.ask(request, |desk, question| desk.revoke_box(question)).await
    }

    async fn list_calls(
        &self,
        request: Request<v1::ListCallsRequest>,
    ) -> Result<Response<v1::ListCallsResponse>, Status> {
        self.ask(request, |desk, question| desk.list_calls(question)).await
    }

    async fn query_metrics(
        &self,
        request: Request<v1::QueryMetricsRequest>,
    ) -> Result<Response<v1::QueryMetricsResponse>, Status> {
        let operator = known_operator(&self.0, &request).await?;
        let question = request.into_inner();
        let mut counting = self.at_desk(&operator, move |desk| desk.begin_metrics(question)).await?;
        let mut more = true;
        // Each few rows are a question by themselves, as for an export.
        while more {
            let count = move |desk: &Desk<'_>| Ok((desk.count(&mut counting)?, counting));
            (more, counting) = self.at_desk(&operator, count).await?;
        }
        Ok(Response::new(counting.close()))
    }

    type ExportStream = ReceiverStream<Result<v1::ExportedRows, Status>>;

    async fn export(&self, request: Request<v1::ExportRequest>) -> Result<Response<Self::ExportStream>, Status> {
        let operator = known_operator(&self.0, &request).await?;
        let begun = self.at_desk(&operator, move |desk| desk.begin_export(request.get_ref())).await?;
        let (parts, stream) = mpsc::channel(OUTGOING);
        let service = Service(Arc::clone(&self.0));
        tokio::spawn(async move {
            for (of, table) in begun {
                let mut after = String::new();
                // Each part is a question by itself: somebody who reads slowly holds nothing up.
                loop {
                    let (of, from) = (of.clone(), after.clone());
                    let part = service.at_desk(&operator, move |desk| desk.exported_rows(&of, table, &from)).await;
                    let Some(part) = part.transpose() else { break };
                    let failed = part.is_err();
                    if let Some(last) = part.as_ref().ok().and_then(|part| part.rows.last()) {
                        after.clone_from(&last.key);
                    }
                    if parts.send(part).await.is_err() || failed {
                        return;
                    }
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn erase_caller(
        &self,
        request: Request<v1::EraseCallerRequest>,
    ) -> Result<Response<v1::EraseCallerResponse>, Status> {
        self.ask(request, |desk, question| desk.erase_caller(question)).await
    }

    async fn list_audit(
        &self,
        request: Request<v1::ListAuditRequest>,
    ) -> Result<Response<v1::ListAuditResponse>, Status> {
        self.ask(request, |desk, question| desk.list_audit(question)).await
    }
}
