# SPDX-License-Identifier: Apache-2.0

"""What both sides hash: the session, the question, the cohort; and what both sides check of a certificate."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from sordino.errors import RequestRefused
from sordino.protocol.encoding import digest, pieces
from sordino.protocol.groups import planned_groups, thin_group
from sordino.protocol.harary import Graph
from sordino.protocol.keys import Roster, RoundContext, begin_for_two
from sordino.protocol.messages import Certificate, Listed, Statement
from sordino.protocol.policy import Policy, Question


def session_digest(session_id: bytes, roster: Roster, policy: Policy, listing: Sequence[Listed]) -> bytes:
    """The hash of the set-up's whole transcript, which binds roster, policy, box keys and lane groups.

    listing    every advertised site with the digest of its advertisement, sorted
    """
    return digest("session", session_id, roster.digest, policy.digest, tuple(listing))


def pair_info(session: bytes, sender: str, receiver: str) -> bytes:
    """The HPKE info of a sealed pair secret."""
    return digest("sealed pair", session, sender, receiver)


def body_digest(body: bytes) -> bytes:
    """The digest by which a request binds the question's body."""
    return hashlib.sha256(body).digest()


def round_context(
    session: bytes,
    round_number: int,
    policy: Policy,
    question: Question,
    body: bytes,
    participants: Sequence[str],
) -> RoundContext:
    """What every key of a round is bound to; `body` is the digest of the question's body."""
    return RoundContext(
        session=session,
        round=round_number,
        policy=policy.digest,
        question=digest("question", question, body),
        cohort=digest("cohort", tuple(participants)),
    )


def box_header(context: RoundContext, dealer: str, holder: str) -> bytes:
    """What is authenticated beside a share box."""
    return begin_for_two("share box", context) + pieces(dealer, holder)


def check_statement(
    statement: Statement,
    context: RoundContext,
    participants: Sequence[str],
    policy: Policy,
    groups: Mapping[str, Sequence[str]],
    graph: Graph,
) -> None:
    """Raise `RequestRefused` unless an honest coordinator could have made this statement in this round.

    groups    the lane groups that each participant advertised
    graph     who masks with whom
    """
    mine = (context.session, context.policy, context.round, context.question, context.cohort)
    theirs = (
        statement.session,
        statement.policy,
        statement.round,
        statement.question,
        statement.cohort,
    )
    for what, own, other in zip(
        ("session", "policy", "round", "question", "cohort"), mine, theirs, strict=True
    ):
        if own != other:
            raise RequestRefused(f"the statement is about another {what}")
    names = statement.names
    if list(names) != sorted(set(names)):
        raise RequestRefused("the statement's survivors are not sorted and distinct")
    if strangers := sorted(set(names) - set(participants)):
        raise RequestRefused(f"the statement counts survivors that took no part: {strangers}")
    if len(names) < policy.smallest_cohort:
        raise RequestRefused(
            f"the statement has {len(names)} survivors, at least {policy.smallest_cohort} are needed"
        )
    left_out = len(participants) - len(names)
    if left_out > policy.tolerated(len(participants)):
        raise RequestRefused(
            f"the statement leaves out {left_out} sites, {policy.tolerated(len(participants))} are tolerated"
        )
    if reason := thin_group(planned_groups(policy), groups, names, policy.min_cohort):
        raise RequestRefused(reason)
    if not graph.connected(names):
        raise RequestRefused("the statement's survivors fall into parts that share no mask")


def check_certificate(certificate: Certificate, roster: Roster, policy: Policy) -> None:
    """Raise `RequestRefused` or `BadSignature` unless at least t distinct survivors signed the statement.

    In the semi-honest mode nobody signs, and a signature is refused as unknown.
    """
    statement, endorsements = certificate.statement, certificate.endorsements
    if not policy.consistency:
        if endorsements:
            raise RequestRefused("the semi-honest mode knows no signatures on a statement")
        return
    signers = [endorsement.site for endorsement in endorsements]
    if len(set(signers)) != len(signers):
        raise RequestRefused("a certificate counts one signer twice")
    if strangers := sorted(set(signers) - set(statement.names)):
        raise RequestRefused(f"a certificate has signatures of sites that are no survivors: {strangers}")
    if len(signers) < policy.threshold:
        raise RequestRefused(
            f"a certificate has {len(signers)} signatures, at least {policy.threshold} are needed"
        )
    signed = statement.digest
    for endorsement in endorsements:
        roster.verify(endorsement.site, endorsement.signature, "statement", signed)
