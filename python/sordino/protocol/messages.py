# SPDX-License-Identifier: Apache-2.0

"""Every message of the protocol, as frozen values; docs/protocol.md says when each is sent.

Lengths are bounded here wherever they do not depend on the study; the rest is checked by who receives it.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

from sordino.protocol.encoding import DIGEST_BYTES, digest
from sordino.protocol.keys import BOX_KEY_BYTES, SEALED_PAIR_BYTES, SIGNATURE_BYTES
from sordino.protocol.policy import MAX_GROUPS, MAX_ROUNDS, MAX_SITES, Name, Policy
from sordino.protocol.secret import SECRET_BYTES

Digest = Annotated[bytes, Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]
Signature = Annotated[bytes, Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]
SecretBytes = Annotated[bytes, Meta(min_length=SECRET_BYTES, max_length=SECRET_BYTES)]
Round = Annotated[int, Meta(ge=0, le=MAX_ROUNDS)]
Names = Annotated[tuple[Name, ...], Meta(max_length=MAX_SITES)]


class Message(Struct, frozen=True, tag=True, forbid_unknown_fields=True, array_like=True):
    """Root of all messages: positional on the wire, tagged with the type's name."""


# Session set-up ------------------------------------------------------------------------------------------


class Offer(Message, frozen=True):
    """Coordinator to site: the session and its terms."""

    session_id: Digest
    roster: Digest
    policy: Policy


class Advertisement(Message, frozen=True):
    """Site to coordinator: an ephemeral box key and the lane groups that the site has, signed."""

    site: Name
    session_id: Digest
    roster: Digest
    policy: Digest
    box_key: Annotated[bytes, Meta(min_length=BOX_KEY_BYTES, max_length=BOX_KEY_BYTES)]
    groups: Annotated[tuple[Name, ...], Meta(max_length=MAX_GROUPS)]
    signature: Signature

    def signed(self) -> tuple[object, ...]:
        """The fields under the signature."""
        return (self.site, self.session_id, self.roster, self.policy, self.box_key, self.groups)

    @property
    def listed(self) -> Listed:
        """Its line in the list of all advertisements."""
        return Listed(self.site, digest("listed advertisement", self))


class Listed(Message, frozen=True):
    """A site that advertised, and the digest of its advertisement."""

    site: Name
    advertisement: Digest


class Advertisements(Message, frozen=True):
    """Coordinator to site: all advertisements, sorted by site.

    On the sparse graph: the site's own and its neighbours', and a list of all.
    """

    session_id: Digest
    advertisements: Annotated[tuple[Advertisement, ...], Meta(max_length=MAX_SITES)]
    listing: Annotated[tuple[Listed, ...], Meta(max_length=MAX_SITES)] = ()


class SealedPair(Message, frozen=True):
    """A pair secret, sealed to the receiver's box key and signed by the sender."""

    sender: Name
    receiver: Name
    sealed: Annotated[bytes, Meta(min_length=SEALED_PAIR_BYTES, max_length=SEALED_PAIR_BYTES)]
    signature: Signature


class SealedPairs(Message, frozen=True):
    """Site to coordinator: one sealed pair secret for each neighbour after it in the roster."""

    session: Digest
    site: Name
    boxes: Annotated[tuple[SealedPair, ...], Meta(max_length=MAX_SITES)]


class Boxes(Message, frozen=True):
    """Coordinator to site: the pair secrets sealed to it."""

    session: Digest
    boxes: Annotated[tuple[SealedPair, ...], Meta(max_length=MAX_SITES)]


class Receipt(Message, frozen=True):
    """Site to coordinator: the peers with whom it holds a pair secret, sorted, signed."""

    session: Digest
    site: Name
    peers: Names
    signature: Signature


# A round ---------------------------------------------------------------------------------------------------


class UploadRequest(Message, frozen=True):
    """Coordinator to site (R1): the round, its participants and its question; the body travels beside it."""

    session: Digest
    round: Round
    kind: Name
    body: Digest
    participants: Names


class BoxReference(Message, frozen=True):
    """What an upload commits to of one share box: its bytes, and the Merkle root of the shares in it."""

    box: Digest
    root: Digest


class UploadSummary(Message, frozen=True):
    """All that an upload commits to. Peers are the site's neighbours among the participants, in order."""

    session: Digest
    round: Round
    site: Name
    question: Digest
    cohort: Digest
    payload: Digest
    self_commitment: Digest
    pair_commitments: Annotated[tuple[Digest, ...], Meta(max_length=MAX_SITES)]
    chain_end: Digest | None
    boxes: Annotated[tuple[BoxReference, ...], Meta(max_length=MAX_SITES)]

    @property
    def digest(self) -> bytes:
        """The upload digest, which survivors certify."""
        return digest("upload", self)


class Upload(Message, frozen=True):
    """Site to coordinator (R1): the signed summary and the share boxes; the masked lanes travel beside it."""

    summary: UploadSummary
    signature: Signature
    boxes: Annotated[tuple[bytes, ...], Meta(max_length=MAX_SITES)]


class Survivor(Message, frozen=True):
    """A site in the sum and the digest of its upload."""

    site: Name
    upload: Digest


class Statement(Message, frozen=True):
    """The one statement of a round: who is in the sum, with which upload, in answer to what."""

    session: Digest
    policy: Digest
    round: Round
    question: Digest
    cohort: Digest
    survivors: Annotated[tuple[Survivor, ...], Meta(max_length=MAX_SITES)]

    @property
    def digest(self) -> bytes:
        """What is signed, under the tag `statement`."""
        return digest("statement", self)

    @property
    def names(self) -> tuple[str, ...]:
        """The survivors' names."""
        return tuple(survivor.site for survivor in self.survivors)


class ConfirmRequest(Message, frozen=True):
    """Coordinator to site (R2): the statement to sign."""

    statement: Statement


class Confirmation(Message, frozen=True):
    """Site to coordinator (R2): its signature on the statement."""

    site: Name
    statement: Digest
    signature: Signature


class Endorsement(Message, frozen=True):
    """One site's signature in a certificate."""

    site: Name
    signature: Signature


class Certificate(Message, frozen=True):
    """A statement with the signatures of at least t distinct survivors (none in the semi-honest mode)."""

    statement: Statement
    endorsements: Annotated[tuple[Endorsement, ...], Meta(max_length=MAX_SITES)]


class UnmaskRequest(Message, frozen=True):
    """Coordinator to site (R3): the certificate on which to unmask."""

    certificate: Certificate


class Unmasking(Message, frozen=True):
    """Site to coordinator (R3): its self seed, its mask keys with the dropped sites, the surplus link.

    `pair_keys` are in the order of the neighbours that dropped.
    """

    session: Digest
    round: Round
    site: Name
    self_seed: SecretBytes
    pair_keys: Annotated[tuple[SecretBytes, ...], Meta(max_length=MAX_SITES)]
    link: SecretBytes | None

    def __repr__(self) -> str:
        return f"Unmasking(round={self.round}, site={self.site!r}, {2 + len(self.pair_keys)} secrets at most)"


class RecoverRequest(Message, frozen=True):
    """Coordinator to site (R4): the certificate, who vanished, and that site's box for the one asked."""

    certificate: Certificate
    vanished: UploadSummary
    box: Annotated[bytes, Meta(max_length=2**26)]


class ProvedShare(Message, frozen=True):
    """One Shamir share and the Merkle path from it to the root that its dealer signed."""

    share: SecretBytes
    path: Annotated[tuple[Digest, ...], Meta(max_length=32)]

    def __repr__(self) -> str:
        return f"ProvedShare(path of {len(self.path)})"


class Recovery(Message, frozen=True):
    """Site to coordinator (R4): its shares of what the vanished site would have revealed, or why it has none.

    `fault` is empty, or says that the vanished site's box did not open ("box") or that its shares are not
    those under its root ("root").
    """

    session: Digest
    round: Round
    site: Name
    vanished: Name
    shares: Annotated[tuple[ProvedShare, ...], Meta(max_length=MAX_SITES)]
    fault: Annotated[str, Meta(pattern=r"\A(box|root|)\Z")] = ""


class Close(Message, frozen=True):
    """Coordinator to site: wipe the keys of the open round, and with `final` those of the session."""

    session: Digest
    final: bool


class Closed(Message, frozen=True):
    """Site to coordinator: what `Close` asked for is wiped."""

    session: Digest
    site: Name
    final: bool


class Frozen(Message, frozen=True):
    """Among whom a data set was asked about for good, and whose sum was certified (empty: none yet)."""

    participants: Names
    survivors: Names


class Refusal(Message, frozen=True):
    """Site to coordinator: why a request was refused, and where the site stands.

    An honest coordinator that restarted finds its place by `round`, `step`, the statement that the site has
    signed in that round, and what the site's data is frozen to, each if there is one.
    """

    site: Name
    session: Annotated[bytes, Meta(max_length=DIGEST_BYTES)]
    round: Round
    step: Annotated[str, Meta(max_length=32)]
    reason: Annotated[str, Meta(max_length=1024)]
    peers: Names
    statement: Statement | None
    signature: Signature | None
    frozen: Frozen | None = None


ToSite: TypeAlias = (
    Offer | Advertisements | Boxes | UploadRequest | ConfirmRequest | UnmaskRequest | RecoverRequest | Close
)
ToCoordinator: TypeAlias = (
    Advertisement | SealedPairs | Receipt | Upload | Confirmation | Unmasking | Recovery | Closed | Refusal
)
