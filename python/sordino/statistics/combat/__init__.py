# SPDX-License-Identifier: Apache-2.0

"""ComBat by secure sums: features harmonised across scanners, rows staying at their sites."""

from sordino.statistics.combat.bayes import Variant
from sordino.statistics.combat.harmonise import Harmonised, harmonise
from sordino.statistics.combat.plan import CombatPlan
from sordino.statistics.combat.rows import BatchRows, Covariate, SplitBatchWarning

__all__ = ["BatchRows", "CombatPlan", "Covariate", "Harmonised", "SplitBatchWarning", "Variant", "harmonise"]
