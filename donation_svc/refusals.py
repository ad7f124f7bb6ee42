"""What this service refuses, named for the fact."""

from __future__ import annotations

from giving.common.v1 import error_pb2

from mesh.errors import Refusal


class CharityNotFound(Refusal):
    reason = error_pb2.ERROR_REASON_CHARITY_NOT_FOUND


class CharitySuspended(Refusal):
    reason = error_pb2.ERROR_REASON_CHARITY_SUSPENDED


class ModeMismatch(Refusal):
    reason = error_pb2.ERROR_REASON_MODE_MISMATCH


class CampaignNotFound(Refusal):
    reason = error_pb2.ERROR_REASON_CAMPAIGN_NOT_FOUND


class CampaignNotOpen(Refusal):
    reason = error_pb2.ERROR_REASON_CAMPAIGN_NOT_OPEN


class CampaignStateConflict(Refusal):
    reason = error_pb2.ERROR_REASON_CAMPAIGN_STATE_CONFLICT


class DonationNotFound(Refusal):
    reason = error_pb2.ERROR_REASON_DONATION_NOT_FOUND


class DonationStateConflict(Refusal):
    reason = error_pb2.ERROR_REASON_DONATION_STATE_CONFLICT


class PaymentRefNotFound(Refusal):
    reason = error_pb2.ERROR_REASON_PAYMENT_REF_NOT_FOUND


class ReversalExceedsRemaining(Refusal):
    reason = error_pb2.ERROR_REASON_REVERSAL_EXCEEDS_REMAINING
