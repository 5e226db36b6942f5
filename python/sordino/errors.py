# SPDX-License-Identifier: Apache-2.0

"""Every error that sordino raises on purpose: you erred, or the peer erred.

`LocalError` means that the caller, its files or its settings are at fault, and that nothing was sent.
`PeerError` means that the other side is at fault, or may be; `peers` names whom it points at.
"""

from __future__ import annotations


class SordinoError(Exception):
    """Root of all errors that sordino raises on purpose."""


class LocalError(SordinoError):
    """You erred: an argument, a file, a setting or an order of calls on this side."""


class InvalidArgument(LocalError, ValueError):
    """An argument has a wrong type, dtype, shape, length or range; the message names it."""


class ValueOutOfRange(InvalidArgument):
    """A value is NaN, infinite, outside the clip, or a weight is outside its bound."""


class Diverged(ValueOutOfRange):
    """Training has left the range that its sums hold: the step is too long."""


class PolicyError(LocalError, ValueError):
    """A policy, floor or roster that cannot hold: the bounds contradict each other or do not fit."""


class ConfigError(LocalError, ValueError):
    """A study, site or data file is unreadable, incomplete or has an unknown key."""


class StateError(LocalError):
    """Called out of order, or a session state that is stale, damaged or belongs to another site."""


class JournalError(LocalError):
    """The journal is missing, locked, damaged, truncated or rolled back."""


class UnreadableCharge(JournalError):
    """The journal holds a privacy charge that is none of sordino's; `charge` is what it says."""

    def __init__(self, message: str, charge: bytes = b"") -> None:
        super().__init__(message)
        self.charge = charge


class PrivacyError(LocalError):
    """The privacy accounting refuses: what it was asked cannot be answered or allowed."""


class PrivacyParameter(PrivacyError, ValueOutOfRange):
    """An epsilon, delta, noise, rate or count is NaN or out of the range that the message gives."""


class TargetUnreachable(PrivacyError):
    """No noise, number of steps or sampling rate in the allowed range meets the target."""


class BudgetExceeded(PrivacyError):
    """The release would pass the privacy budget; nothing of it may happen, and the budget is as before."""


class PeerError(SordinoError):
    """The other side erred. `peers` names whom this points at (empty: the coordinator, or unknown)."""

    def __init__(self, message: str, *, peers: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.peers = peers


class MalformedMessage(PeerError):
    """Bytes that are truncated, oversized, of an unknown version, or not what the step allows."""


class BadSignature(PeerError):
    """A signature is missing, forged, by the wrong key, or over something else."""


class PolicyRefused(PeerError):
    """The offered policy is below this site's floor, or contradicts what the site knows."""


class RequestRefused(PeerError):
    """A request that an honest coordinator would not make; nothing was revealed or changed."""


class ShareError(PeerError):
    """Shares that do not fit their commitments; `peers` holds the responder, the dealer or both."""


class RoundAborted(PeerError):
    """The round cannot end with a sum; nothing of it was revealed and the next round may start."""
