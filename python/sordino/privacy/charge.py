# SPDX-License-Identifier: Apache-2.0

"""What a journal keeps of a price, and the budget under which it was paid.

A filter is a guarantee only for an order that was fixed before it looked (`budget`). So the order is kept
where nobody can change it afterwards: in the first charge that was made under a budget. Whatever epsilon or
delta an operator sets later is kept to at that order, for the same data; the guarantee is then that of the
largest budget that would ever have been set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from sordino.errors import BudgetExceeded, PrivacyParameter, UnreadableCharge
from sordino.privacy.budget import PrivacyBudget, Spent
from sordino.privacy.events import Release, Unit
from sordino.protocol.journal import PLAIN


class Charge(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A question of a study, what an upload to it releases, and the budget in force; None: there was none."""

    study: str
    kind: str
    release: Release
    budget: PrivacyBudget | None = None


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Charge)


def write_charge(charge: Charge) -> bytes:
    """A charge as a journal keeps it: equal charges are equal bytes."""
    return _ENCODER.encode(charge)


@lru_cache(maxsize=4096)
def read_charge(data: bytes) -> Charge:
    """What a charge in a journal says; raises `UnreadableCharge` if it is not one of ours."""
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError) as error:
        raise UnreadableCharge(f"the journal holds a charge that cannot be read: {error}", data) from None


def in_force(budget: PrivacyBudget, charges: Iterable[bytes]) -> PrivacyBudget:
    """`budget` at the order that was committed to with the first of `charges` made under any budget.

    charges    of one data set, in order; each distinct one is enough

    Raises `BudgetExceeded` where that order has no room at all for this epsilon and delta.
    """
    for data in charges:
        if data != PLAIN and (committed := read_charge(data).budget) is not None:
            try:
                return replace(budget, order=committed.order)
            except PrivacyParameter:
                raise BudgetExceeded(
                    f"the data is committed to order {committed.order:.6g} since epsilon "
                    f"{committed.epsilon:g} at delta {committed.delta:g}, which has no room for epsilon "
                    f"{budget.epsilon:g} at delta {budget.delta:g}"
                ) from None
    return budget


def spent_by(charges: Mapping[bytes, int], order: float) -> Spent:
    """What so many of each charge have used up at an order of divergence; `PLAIN` is left out."""
    total = Spent()
    for data, times in charges.items():
        if data == PLAIN:
            continue
        one = _cost(data, order)
        total = Spent(total.divergence + times * one.divergence, total.distance + times * one.distance)
    return total


def check_history(charges: Iterable[bytes], unit: Unit) -> None:
    """Raise `BudgetExceeded` where something was released that no epsilon about one `unit` bounds.

    That is anything without noise (`PLAIN`), and anything with noise that hides another unit.
    """
    for data in charges:
        if data == PLAIN:
            raise BudgetExceeded("the data was asked without noise before: no epsilon bounds that")
        if (other := read_charge(data).release.unit) != unit:
            raise BudgetExceeded(
                f"the data was asked before with noise that hides one {other}: what that cost one {unit} it "
                f"does not say"
            )


@lru_cache(maxsize=4096)
def _cost(data: bytes, order: float) -> Spent:
    return Spent().after(read_charge(data).release, order)
