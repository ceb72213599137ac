"""What a bootstrap answers."""

from __future__ import annotations

from typing import Final

from collective.model.trust import JoinAnswer, TrustedAuthorities
from collective.rpc.conversions.addresses import address_messages, usable_addresses
from collective.rpc.conversions.rights import terms_message, terms_told
from collective.rpc.gen.collective.v1 import bootstrap as pb

GRANTS_MAX: Final = 1000
ADDRESSES_MAX: Final = 32
"""As many as a certificate carries."""


def join_answer_message(answer: JoinAnswer) -> pb.JoinResponse:
    """Return ``answer`` for the wire."""
    return pb.JoinResponse(
        certificate_der=answer.certificate_der,
        ca_certificate_der=answer.authority_der,
        member_id=answer.member,
        domain=answer.domain,
        collective_name=answer.collective_name,
        coordinator_addresses=address_messages(answer.addresses),
        identity=answer.identity,
        granted_by=answer.granted_by,
        grants=[terms_message(one) for one in answer.grants],
        grants_expire_ms=answer.grants_expire_ms,
        trusted_ca_ders=list(answer.trusted.ders),
        ca_link_ders=list(answer.trusted.links),
    )


def join_answer_from(message: pb.JoinResponse) -> JoinAnswer:
    """Return what is answered; of too many addresses or grants the first, and no address that is none."""
    return JoinAnswer(
        certificate_der=message.certificate_der,
        authority_der=message.ca_certificate_der,
        trusted=TrustedAuthorities(message.trusted_ca_ders, message.ca_link_ders),
        member=message.member_id,
        domain=message.domain,
        collective_name=message.collective_name,
        addresses=usable_addresses(message.coordinator_addresses, ADDRESSES_MAX),
        identity=message.identity,
        granted_by=message.granted_by,
        grants=[terms_told(one) for one in message.grants[:GRANTS_MAX]],
        grants_expire_ms=message.grants_expire_ms,
    )
