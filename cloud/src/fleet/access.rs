//! The way that the command line takes to the desk: to the store of this service itself, or over gRPC to one elsewhere.

use cloud_api::v1;

use super::desk::Desk;
use super::remote::Remote;

/// Who answers.
#[derive(Debug)]
pub(crate) enum Access<'a> {
    /// The store.
    Here(Desk<'a>),
    /// A service.
    There(Remote),
}

macro_rules! questions {
    ($($name:ident: $question:ident -> $answer:ident;)+) => {
        impl Access<'_> {
            $(pub(crate) fn $name(&self, question: v1::$question) -> anyhow::Result<v1::$answer> {
                match self {
                    Access::Here(desk) => Ok(desk.$name(question)?),
                    Access::There(remote) => remote.ask(async move |mut client| client.$name(question).await),
                }
            })+
        }
    };
}

questions! {
    list_boxes: ListBoxesRequest -> ListBoxesResponse;
    get_box: GetBoxRequest -> GetBoxResponse;
    set_desired: SetDesiredRequest -> SetDesiredResponse;
    send_command: SendCommandRequest -> SendCommandResponse;
    start_rollout: StartRolloutRequest -> StartRolloutResponse;
    list_rollouts: ListRolloutsRequest -> ListRolloutsResponse;
    halt_rollout: HaltRolloutRequest -> HaltRolloutResponse;
    create_claim: CreateClaimRequest -> CreateClaimResponse;
    revoke_box: RevokeBoxRequest -> RevokeBoxResponse;
    list_calls: ListCallsRequest -> ListCallsResponse;
    query_metrics: QueryMetricsRequest -> QueryMetricsResponse;
    erase_caller: EraseCallerRequest -> EraseCallerResponse;
    list_audit: ListAuditRequest -> ListAuditResponse;
}

impl Access<'_> {
    /// Every row of the tenant's boxes, a part at a time.
    pub(crate) fn export(
        &self,
        question: v1::ExportRequest,
        mut take: impl FnMut(v1::ExportedRows) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let desk = match self {
            Access::Here(desk) => desk,
            Access::There(remote) => return remote.export(question, take),
        };
        for (of, table) in desk.begin_export(&question)? {
            let mut after = String::new();
            while let Some(part) = desk.exported_rows(&of, table, &after)? {
                if let Some(last) = part.rows.last() {
                    after.clone_from(&last.key);
                }
                take(part)?;
            }
        }
        Ok(())
    }

    /// All boxes, page after page. An empty tenant means those of all tenants, for whoever is of all of them.
    pub(crate) fn boxes(&self, tenant_id: &str) -> anyhow::Result<Vec<v1::Box>> {
        let (mut boxes, mut page_token) = (Vec::new(), String::new());
        loop {
            let question = v1::ListBoxesRequest { page_size: 500, page_token, tenant_id: tenant_id.to_owned() };
            let page = self.list_boxes(question)?;
            boxes.extend(page.boxes);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(boxes);
            }
        }
    }
}
