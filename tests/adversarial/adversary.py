# SPDX-License-Identifier: Apache-2.0

"""What a malicious coordinator and its colluders know, from what was really sent.

Masks are independent uniform vectors to whoever does not know their seed. So of all uploads under one context
the adversary can open exactly this: take the honest participants as nodes and the mask keys that it does not
know as edges; a connected part of which every site has uploaded, and every self seed is known, shows its sum.
Nothing smaller shows anything.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from reference import merkle
from sordino.protocol import messages as m
from sordino.protocol import wire
from sordino.protocol.commitment import chain_end, commit_mask_key, commit_self_seed
from sordino.protocol.harary import Graph
from sordino.protocol.policy import Policy


class Context(NamedTuple):
    """What must agree for two masks to cancel."""

    session: bytes
    round: int
    question: bytes
    cohort: bytes


@dataclass
class View:
    """Everything that the adversary has seen of one context."""

    participants: tuple[str, ...]
    uploads: dict[str, m.UploadSummary] = field(default_factory=dict)
    self_seeds: set[str] = field(default_factory=set)
    mask_keys: set[frozenset[str]] = field(default_factory=set)
    links: dict[str, int] = field(default_factory=dict)
    holders: dict[tuple[str, int], set[str]] = field(default_factory=lambda: defaultdict(set))
    statements: dict[bytes, m.Statement] = field(default_factory=dict)


class Adversary:
    """Collects what honest sites send, together with the shares that colluders hold."""

    def __init__(self, policy: Policy, colluders: Iterable[str], graph: Graph | None = None) -> None:
        """`graph` says who masks with whom; without it, everyone with everyone."""
        self.policy = policy
        self.graph = graph
        self.colluders = frozenset(colluders)
        self.views: dict[Context, View] = {}
        self._of_round: dict[tuple[str, bytes, int], Context] = {}

    def sees_upload(self, data: bytes, participants: tuple[str, ...]) -> None:
        """Take in an honest site's upload."""
        upload = wire.read_at_coordinator(data, self.policy.sites)
        assert isinstance(upload, m.Upload)
        summary = upload.summary
        context = Context(summary.session, summary.round, summary.question, summary.cohort)
        view = self.views.setdefault(context, View(participants))
        assert view.uploads.setdefault(summary.site, summary) == summary, (
            "two uploads of one site in one round"
        )
        assert self._of_round.setdefault((summary.site, summary.session, summary.round), context) == context
        for index in range(self._secrets(view, summary.site)):
            view.holders[summary.site, index] |= self.colluders & set(self._peers(view, summary.site))

    def sees_answer(self, data: bytes, statement: m.Statement) -> None:
        """Take in what an honest site revealed on a statement."""
        message = wire.read_at_coordinator(data, self.policy.sites)
        assert isinstance(message, m.Unmasking | m.Recovery)
        view = self.views[self._of_round[message.site, message.session, message.round]]
        view.statements[statement.digest] = statement
        if isinstance(message, m.Unmasking):
            self._sees_unmasking(view, message)
        elif message.vanished not in self.colluders:
            for index in self._proved(view, message):
                view.holders[message.vanished, index].add(message.site)

    def _sees_unmasking(self, view: View, message: m.Unmasking) -> None:
        site, place = message.site, (message.session, message.round)
        summary = view.uploads[site]
        assert commit_self_seed(*place, site, message.self_seed) == summary.self_commitment
        view.self_seeds.add(site)
        peers = self._peers(view, site)
        for key in message.pair_keys:
            (peer,) = (
                peer
                for commitment, peer in zip(summary.pair_commitments, peers, strict=True)
                if commit_mask_key(*place, site, peer, key) == commitment
            )
            view.mask_keys.add(frozenset((site, peer)))
        if message.link is not None:
            links = self.policy.links(len(view.participants))
            (index,) = (
                index
                for index in range(1, links + 1)
                if chain_end(message.link, links + 1 - index) == summary.chain_end
            )
            view.links[site] = min(index, view.links.get(site, index))

    def _proved(self, view: View, message: m.Recovery) -> list[int]:
        """Which secret each proved share is of, found by its path: the index is not on the wire."""
        peers = self._peers(view, message.vanished)
        root = view.uploads[message.vanished].boxes[peers.index(message.site)].root
        count, found = self._secrets(view, message.vanished), []
        for share in message.shares:
            place = (message.session, message.round, message.vanished, message.site)
            (index,) = (
                index
                for index in range(count)
                if merkle.root_from(merkle.leaf(*place, index, share.share), index, share.path, count) == root
            )
            found.append(index)
        return found

    def _peers(self, view: View, site: str) -> tuple[str, ...]:
        if self.graph is not None:
            return self.graph.among(site, view.participants)
        return tuple(name for name in view.participants if name != site)

    def _secrets(self, view: View, dealer: str) -> int:
        return 1 + len(self._peers(view, dealer)) + self.policy.links(len(view.participants))

    def _learn_from_shares(self, view: View) -> None:
        for (dealer, index), holders in view.holders.items():
            if len(holders - {dealer}) < self.policy.threshold:
                continue
            peers = self._peers(view, dealer)
            if index == 0:
                view.self_seeds.add(dealer)
            elif index <= len(peers):
                view.mask_keys.add(frozenset((dealer, peers[index - 1])))
            else:
                link = index - len(peers)
                view.links[dealer] = min(link, view.links.get(dealer, link))

    def opened(self, context: Context) -> list[frozenset[str]]:
        """The sets of honest sites whose sums the adversary can compute in this context."""
        view = self.views[context]
        self._learn_from_shares(view)
        honest = [name for name in view.participants if name not in self.colluders]
        found: list[frozenset[str]] = []
        seen: set[str] = set()
        for start in honest:
            part: set[str] = set()
            stack = [] if start in seen else [start]
            while stack:
                site = stack.pop()
                if site not in part:
                    part.add(site)
                    masked = set(self._peers(view, site)) & set(honest)
                    stack += [peer for peer in masked if frozenset((site, peer)) not in view.mask_keys]
            seen |= part
            if part and part <= set(view.uploads) and part <= view.self_seeds:
                found.append(frozenset(part))
        return found

    def check(self) -> list[frozenset[str]]:
        """Assert the design's invariant on all that was sent so far, and give the sums that are open."""
        by_round: dict[tuple[bytes, int], list[frozenset[str]]] = defaultdict(list)
        statements: dict[tuple[bytes, int], set[bytes]] = defaultdict(set)
        for context, view in self.views.items():
            by_round[context.session, context.round] += self.opened(context)
            statements[context.session, context.round] |= set(view.statements)
            self._check_view(view)
        for found in statements.values():
            assert len(found) <= 1, "honest sites revealed something on two statements of one round"
        for opened in by_round.values():
            assert len(opened) <= 1, f"two sums of one round are open: {opened}"
            for part in opened:
                assert len(part) >= self.policy.min_cohort - len(self.colluders), f"only {part} is summed"
        return [part for opened in by_round.values() for part in opened]

    def _check_view(self, view: View) -> None:
        """What may be known of honest sites, on the statement of this view."""
        survivors = {name for statement in view.statements.values() for name in statement.names}
        dropped = len(view.participants) - len(survivors)
        for site in view.self_seeds - self.colluders:
            assert site in survivors, f"the self seed of {site}, which is not in the sum"
        for pair in view.mask_keys:
            if not pair & self.colluders:
                assert not pair <= survivors, f"the mask key of {set(pair)}, which are both in the sum"
        for site, link in view.links.items():
            if site not in self.colluders:
                assert site in survivors, f"a link of {site}, which is not in the sum"
                assert link > dropped, f"link {link} of {site} with {dropped} dropouts"
