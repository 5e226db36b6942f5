# SPDX-License-Identifier: Apache-2.0

"""What a study asks of privacy: whom the noise hides, what all sums may cost together, and the clip."""

from __future__ import annotations

from dataclasses import dataclass

from sordino.protocol.noise import Unit


@dataclass(frozen=True)
class PrivateTerms:
    """The terms of a private training.

    unit               whom the noise hides: a patient of a site, by secure sums or by each site alone, or a
                       whole site
    epsilon, delta     what all sums of the run together cost at most
    clip               L2 norm to which a patient's gradient, or a site's update, is clipped; where it adapts,
                       the first one
    sampling_rate      chance of a patient to be in a step of training, drawn in secret at the site
    target_quantile    if given, the clip moves to this quantile of the norms
    clip_rate          by the factor exp(-clip_rate (b - target_quantile)) a round, b the part at or below it
    statistics_share   part of mu^2, the squared ratio of shift to noise that (epsilon, delta) allow a
                       Gaussian, for the sums that standardise
    evaluation_share   the same for the sum that tests the model; training has the rest
    spare_rounds       steps of training that the noise is planned for beyond those that are wanted, for what
                       is asked for again after an abort or a crash
    ranges             (low, high) of every feature where they are public knowledge, else None
    """

    unit: Unit
    epsilon: float
    delta: float
    clip: float = 1.0
    sampling_rate: float = 1.0
    target_quantile: float | None = None
    clip_rate: float = 0.2
    statistics_share: float = 0.25
    evaluation_share: float = 0.25
    spare_rounds: int = 0
    ranges: tuple[tuple[float, float], ...] | None = None
