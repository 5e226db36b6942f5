# SPDX-License-Identifier: Apache-2.0

"""The ledger of a site: what its journal says was released about each data set, in order.

A view and nothing more: a charge is in it because an entry of the journal is (`protocol.journal`), written
before anything of that upload was drawn. Statistics, metrics, clips that adapt and rounds that failed after
the upload are in it like any other, as each upload is charged once and for good. No file is touched here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import exp, fsum, nextafter

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from sordino.errors import BudgetExceeded, JournalError
from sordino.privacy.accountant import Accountant, Guarantee
from sordino.privacy.budget import PrivacyBudget, Spent
from sordino.privacy.charge import Charge, check_history, in_force, read_charge, spent_by
from sordino.privacy.events import Release, Unit
from sordino.protocol.journal import PLAIN, Entry

Floats = NDArray[np.float64]
UPLOAD = "UploadRequest"


class Item(Struct, frozen=True, kw_only=True):
    """One charge.

    line        of the journal, from 1
    session     the session id that the coordinator offered
    round       the session's round
    uploaded    whether the upload that it pays for is in the journal too; spent it is either way
    """

    line: int
    session: bytes
    round: int
    charge: Charge
    uploaded: bool

    @property
    def release(self) -> Release:
        """What was paid for."""
        return self.charge.release


class Room(Struct, frozen=True):
    """How many more rounds of a question that was asked before still fit into a budget."""

    study: str
    kind: str
    rounds: int


class Standing(Struct, frozen=True, kw_only=True):
    """How an account stands against a budget.

    budget       at the order that is in force for this data
    committed    the order's line in the journal; None where nothing was charged under a budget yet
    before       charges from before any budget was committed to
    spent        divergence of that order and samplers' distance
    left         divergence that is left; never below 0
    rooms        for each question that was asked, by its last release
    refusal      why nothing at all may be asked any more, "" if something may
    """

    budget: PrivacyBudget
    committed: int | None
    before: int
    spent: Spent
    left: float
    rooms: tuple[Room, ...]
    refusal: str = ""


class Account:
    """All that was released about one data set.

    items        the charges, in order
    noiseless    uploads without noise: no epsilon bounds what they gave out
    """

    def __init__(self, dataset: str) -> None:
        self.dataset = dataset
        self.items: list[Item] = []
        self.noiseless = 0
        self._charges: Counter[bytes] = Counter()

    @property
    def units(self) -> tuple[Unit, ...]:
        """The units that charges speak of; their epsilons do not add up."""
        return tuple(sorted({item.release.unit for item in self.items}))

    @property
    def charges(self) -> Counter[bytes]:
        """How often each charge was made, uploads without noise as `PLAIN`, as a guard is told."""
        return self._charges

    def epsilon(self, delta: float, unit: Unit | None = None) -> Guarantee:
        """What all charges about one unit cost together; of the only unit there is, by default.

        Raises `PrivacyError` where units are mixed and none is named.
        """
        return Accountant(self._releases(unit)).epsilon(delta)

    def history(self, delta: float, unit: Unit | None = None) -> Floats:
        """Epsilon after each of those charges, of shape (charges,).

        The samplers' distance in all charges is taken off `delta` at once, so it may be more by as much as
        that distance matters.
        """
        releases = self._releases(unit)
        whole = Accountant(releases).epsilon(delta).epsilon
        distance = fsum(release.distance for release in releases)
        left = nextafter(delta - (1 + exp(min(whole, 700.0))) * distance * (1 + 1e-9), 0.0)
        return Accountant(replace(release, distance=0.0) for release in releases).history(left)

    def standing(self, budget: PrivacyBudget) -> Standing:
        """What of `budget` is spent and left, at the order that the journal is committed to."""
        charges = self.charges
        committed = next((item.line for item in self.items if item.charge.budget is not None), None)
        before = sum(1 for item in self.items if committed is None or item.line < committed)
        at, refusal = budget, ""
        try:
            check_history(charges, budget.unit or (self.units[0] if self.units else "patient"))
            at = in_force(budget, charges)
        except BudgetExceeded as error:
            refusal = str(error)
        spent = spent_by(charges, at.order)
        last = {(item.charge.study, item.charge.kind): item.release for item in self.items}
        return Standing(
            budget=at,
            committed=committed,
            before=before,
            spent=spent,
            left=0.0 if refusal else max(0.0, at.limit - spent.divergence),
            rooms=tuple(
                Room(study, kind, 0 if refusal else at.times(spent, release))
                for (study, kind), release in sorted(last.items())
            ),
            refusal=refusal,
        )

    def _releases(self, unit: Unit | None) -> list[Release]:
        return [item.release for item in self.items if unit in (None, item.release.unit)]

    def _add(self, entry: Entry, data: bytes) -> None:
        try:
            charge = read_charge(data)
        except JournalError as error:
            raise JournalError(f"line {entry.sequence + 1}: {error}") from None
        self._charges[data] += 1
        self.items.append(
            Item(
                line=entry.sequence + 1,
                session=entry.session,
                round=entry.round,
                charge=charge,
                uploaded=False,
            )
        )


class Ledger:
    """The accounts of all data sets that a journal knows.

    entries    the journal's, all of them and in order, as `Book.entries` gives them

    Raises `JournalError`, naming the line, for a charge that cannot be read, and for an upload with noise
    that was not paid for.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._accounts: dict[str, Account] = {}
        paid: dict[bytes, tuple[Entry, int]] = {}  # by session: the charge that came last, and its place
        for entry in entries:
            account = self._accounts.setdefault(entry.dataset, Account(entry.dataset))
            if entry.charge is not None:
                account._add(entry, entry.charge)
                paid[entry.session] = (entry, len(account.items) - 1)
                continue
            charge, place = paid.pop(entry.session, (None, 0))
            if entry.action != UPLOAD:
                continue
            if entry.terms is not None:
                account.noiseless += 1
                account._charges[PLAIN] += 1
            elif charge is None or (charge.request, charge.dataset) != (entry.request, entry.dataset):
                raise JournalError(f"line {entry.sequence + 1}: an upload that was not paid for")
            else:
                account.items[place] = replace(account.items[place], uploaded=True)

    @property
    def accounts(self) -> tuple[Account, ...]:
        """Of every data set, by name."""
        return tuple(account for _, account in sorted(self._accounts.items()))

    def account(self, dataset: str) -> Account:
        """Of one data set; an empty one if nothing was ever asked about it."""
        return self._accounts.get(dataset, Account(dataset))
