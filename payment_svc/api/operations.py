"""The gRPC edge of the operators' view of the provider."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import grpc
from giving.payment.v1 import payment_operations_service_pb2 as messages
from giving.payment.v1 import payment_operations_service_pb2_grpc

from mesh.audit import AuditTrail
from mesh.rpc.call import mark_replayed
from payment_svc import convert
from payment_svc.domain.inbound import EventState
from payment_svc.service.breaker import BreakerDecisions
from payment_svc.service.inbound_operations import InboundOperations
from payment_svc.service.open_payments import OpenPayments
from payment_svc.service.reconciliation import Reconciliation
from payment_svc.service.settlement_files import Uploads

Context = grpc.aio.ServicerContext[Any, Any]


class PaymentOperationsApi(payment_operations_service_pb2_grpc.PaymentOperationsServiceServicer):
    """PaymentOperationsService, as far as it is built."""

    def __init__(
        self,
        *,
        decisions: BreakerDecisions,
        inbound: InboundOperations,
        open_payments: OpenPayments,
        uploads: Uploads,
        reconciliation: Reconciliation,
        trail: AuditTrail,
    ) -> None:
        self._decisions = decisions
        self._inbound = inbound
        self._open_payments = open_payments
        self._uploads = uploads
        self._reconciliation = reconciliation
        self._trail = trail

    async def ListProviderEvents(
        self, request: messages.ListProviderEventsRequest, context: Context
    ) -> messages.ListProviderEventsResponse:
        events, token = await self._inbound.list_provider_events(request)
        return messages.ListProviderEventsResponse(
            events=[convert.provider_event_message(event) for event in events], next_page_token=token
        )

    async def GetProviderEvent(
        self, request: messages.GetProviderEventRequest, context: Context
    ) -> messages.GetProviderEventResponse:
        event, body = await self._inbound.get_provider_event(request.event_id)
        return messages.GetProviderEventResponse(event=convert.provider_event_message(event), body=body)

    async def ReplayProviderEvents(
        self, request: messages.ReplayProviderEventsRequest, context: Context
    ) -> messages.ReplayProviderEventsResponse:
        replay = await self._inbound.replay_provider_events(request)
        mark_replayed(replayed=replay.replayed)
        return messages.ReplayProviderEventsResponse(
            matched=len(replay.events),
            applied=sum(event.place.state is EventState.APPLIED for event in replay.events),
            events=[convert.provider_event_message(event) for event in replay.events],
            more=replay.more,
        )

    async def SkipProviderEvent(
        self, request: messages.SkipProviderEventRequest, context: Context
    ) -> messages.SkipProviderEventResponse:
        event, replayed = await self._inbound.skip_provider_event(request)
        mark_replayed(replayed=replayed)
        return messages.SkipProviderEventResponse(event=convert.provider_event_message(event))

    async def ListOpenPayments(
        self, request: messages.ListOpenPaymentsRequest, context: Context
    ) -> messages.ListOpenPaymentsResponse:
        payments, token = await self._open_payments.list_open_payments(request)
        items = [convert.open_item(payment, reason=self._open_payments.reason_of(payment)) for payment in payments]
        return messages.ListOpenPaymentsResponse(items=items, next_page_token=token)

    async def AskProvider(self, request: messages.AskProviderRequest, context: Context) -> messages.AskProviderResponse:
        payment, replayed = await self._open_payments.ask_provider(request)
        mark_replayed(replayed=replayed)
        return messages.AskProviderResponse(payment=convert.payment_message(payment))

    async def GetBreaker(self, request: messages.GetBreakerRequest, context: Context) -> messages.GetBreakerResponse:
        standing = await self._decisions.get_breaker()
        return messages.GetBreakerResponse(breaker=convert.breaker_message(standing))

    async def SetBreaker(self, request: messages.SetBreakerRequest, context: Context) -> messages.SetBreakerResponse:
        standing, replayed = await self._decisions.set_breaker(request)
        mark_replayed(replayed=replayed)
        return messages.SetBreakerResponse(breaker=convert.breaker_message(standing))

    async def GetAuditTrail(
        self, request: messages.GetAuditTrailRequest, context: Context
    ) -> messages.GetAuditTrailResponse:
        entries, token = await self._trail.read(
            UUID(request.reference_id), page_size=request.page_size, page_token=request.page_token
        )
        return messages.GetAuditTrailResponse(entries=entries, next_page_token=token)

    async def UploadSettlement(
        self, request_iterator: AsyncIterator[messages.UploadSettlementRequest], context: Context
    ) -> messages.UploadSettlementResponse:
        outcome = await self._uploads.upload_settlement(request_iterator)
        mark_replayed(replayed=outcome.replayed)
        return messages.UploadSettlementResponse(
            lines=map(convert.tally_line, outcome.tallies), rows=outcome.rows, replayed=outcome.replayed
        )

    async def ListReconciliationItems(
        self, request: messages.ListReconciliationItemsRequest, context: Context
    ) -> messages.ListReconciliationItemsResponse:
        found, token = await self._reconciliation.list_reconciliation_items(request)
        items = [convert.finding_message(finding, age=age) for finding, age in found]
        return messages.ListReconciliationItemsResponse(items=items, next_page_token=token)

    async def GetReconciliationReport(
        self, request: messages.GetReconciliationReportRequest, context: Context
    ) -> messages.GetReconciliationReportResponse:
        return convert.report_message(await self._reconciliation.get_reconciliation_report(request.day))
