# SPDX-License-Identifier: Apache-2.0

# %% [markdown]
# # CT radiomics of head-and-neck cancer at four hospitals
#
# **Question.** Four hospitals have CT radiomics of patients with head-and-neck cancer. Can they train one
# model of an outcome together, while no table leaves its hospital? Is that model as good as one trained on
# all rows in one place, and better than each hospital's own? What does it cost to hide every single patient
# as well?
#
# **Data.** Keek et al., *Computed tomography-derived radiomic signature of head and neck squamous cell
# carcinoma (peri)tumoral tissue for the prediction of locoregional recurrence and distant metastasis after
# concurrent chemo-radiotherapy*, PLOS ONE 15(5), 2020, doi 10.1371/journal.pone.0232639. The table `Keek2020`
# is taken from the benchmark radMLBench (licence MIT): 273 patients, 1,322 features, an id whose first
# letters are the hospital, and an outcome `Target` of 0 or 1. The benchmark does not say which of the paper's
# outcomes that is and at what time, so neither does this page. The table comes standardised over all
# patients; a real federation would have to make that by secure sums as well. It is not part of sordino: take
# `Keek2020.csv.gz` from radMLBench and put it into the folder `keek2020` of a folder that the environment
# variable `SORDINO_SHARED_DATA` names.
#
# The hospitals are played on one machine, and all that passes between them is the real protocol. That machine
# also holds all rows, so this page can compare with what no hospital would see. Such comparisons are marked
# *simulation only*.

# %%
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib_inline.backend_inline import set_matplotlib_formats
from scipy.stats import f_oneway

import sordino
from sordino.federated.study.planning import plan_of
from sordino.federated.study.results import alone, interval
from sordino.statistics.combat import harmonise

set_matplotlib_formats("svg", metadata={"Date": None})
plt.rcParams.update({"figure.figsize": (6.0, 3.0), "svg.fonttype": "none", "svg.hashsalt": "keek2020"})
pd.set_option("display.max_colwidth", None, "display.precision", 3)

data = Path(os.environ["SORDINO_SHARED_DATA"]) / "keek2020" / "Keek2020.csv.gz"
study = Path("../../examples/keek2020.toml")
folder = TemporaryDirectory()
work = Path(folder.name)

# %% [markdown]
# ## The hospitals
#
# `examples/keek2020.toml` is the study: who takes part, what is predicted, how, and under which terms sums
# are made. Sizes and outcomes by hospital are *simulation only*: in the study each is known to its hospital
# alone.

# %%
prepared = sordino.prepare(study, data)
rows = prepared.cohort.sites
pd.DataFrame(
    {name: {"patients": len(one.target), "Target = 1": int(one.target.sum())} for name, one in rows.items()}
).T

# %% [markdown]
# ## What the features look like, by secure sums
#
# Four secure sums tell of each feature how many values there are, its mean, spread, quantiles and bounds,
# never of fewer than five patients. Of the 1,322 these four are shown: they stand for the signature of Aerts
# et al. (*Nature Communications* 5, 2014, 4006), statistics energy, shape compactness, grey-level
# non-uniformity, and the same of the wavelet HLH. They come back below, since a choice from the literature
# asks nothing of these patients.

# %%
SIGNATURE = ["Stats_energy", "Shape_compactness", "GLRLM_GLN", "Wavelet_HLH_GLRLM_GLN"]

_, description = sordino.describe_study(study, data)
told = pd.DataFrame(description.summary()["features"]).set_index("name")
told["sd"] = told["variance"].astype(float) ** 0.5
for part in range(3):
    told[f"{25 * (part + 1)}%"] = [quantiles[part]["value"] for quantiles in told["quantiles"]]
told.loc[SIGNATURE, ["count", "missing", "mean", "sd", "25%", "50%", "75%", "low", "high"]]

# %% [markdown]
# ## Harmonisation
#
# Scanners shift and stretch radiomic features. ComBat takes that out, and its estimates are secure sums too:
# each hospital keeps its own shift and stretch. *Simulation only*: the part of the features whose means
# differ between hospitals (analysis of variance, p < 0.05), before and after.


# %%
def differing(by_hospital):
    return float(np.mean(f_oneway(*by_hospital.values()).pvalue < 0.05))


raw = {name: one.features for name, one in rows.items()}
differ = {"before": differing(raw), "after": differing(harmonise(raw).adjusted)}
print({when: f"{part:.1%}" for when, part in differ.items()})

# %% [markdown]
# ## Training
#
# Logistic regression by federated averaging, 40 rounds. A fifth of the patients of each class is held out at
# every hospital, drawn anew twenty times. Intervals are over these splits (Student's t); the splits share
# patients, so the intervals are not those of another cohort.

# %%
sordino.run_study(prepared, work / "run")
results = sordino.read_results(work / "run")
print(results.table())

# %% [markdown]
# `secure sums` is what the hospitals would see: an AUC from summed histograms of predicted probability.
# `federated` and `pooled` are *simulation only*: the federated model and the same model fitted to all rows in
# one place, both on the same held-out rows. Each sum was also made in the clear:

# %%
compared = results.report["simulation"]["compared_with_plain_sums"]
print(f"{compared['equal_bit_for_bit']} of {compared['sums']} masked sums equal the plain ones bit for bit")

# %% [markdown]
# ### Each hospital alone
#
# *Simulation only*: the same model trained on one hospital's patients, tested on the held-out patients of all
# four.

# %%
splits = range(prepared.study.repeats)
own = pd.DataFrame([alone(prepared.training, prepared.sites(split)) for split in splits])
scores = {"federated": results.scores()["federated"], "pooled": results.scores()["pooled"]}
scores |= {f"{name} alone": interval(own[name].tolist()) for name in own}
pd.DataFrame(scores).T

# %% [markdown]
# ### With ComBat before training
#
# One empty table `[harmonise]` more in the study file makes every hospital a batch. Each split has estimates
# of its own, from its training rows.

# %%
harmonised = work / "harmonised.toml"
harmonised.write_text(study.read_text().replace("compare_plain = true", "") + "\n[harmonise]\n")
sordino.run_study(sordino.prepare(harmonised, data), work / "harmonised")
with_combat = sordino.read_results(work / "harmonised")
print(with_combat.table())

# %% [markdown]
# ## How good it is
#
# ROC curve and calibration of the first split, from the same secure histograms: neighbouring bins are put
# together until ten patients are in each, and the bars are 95 % intervals of a proportion. An AUC of 0.66 is
# weak, and predicted probabilities say little more than the order.

# %%
figure, (left, right) = plt.subplots(1, 2)
results.draw_roc(left)
results.draw_calibration(right)
figure.tight_layout()

# %% [markdown]
# ## Who was missing
#
# The study has one hospital vanish before its upload in every round, each in its turn. The sum over the other
# three is made all the same, and is exact. The first sums settle the step size, the last one is the test.

# %%
figure, axes = plt.subplots(figsize=(6.0, 1.6))
results.draw_rounds(axes)

# %%
parts = results.report["history"]["sites"]
pd.DataFrame(parts).T[["took_part", "left_out", "bytes_sent", "bytes_received"]]

# %% [markdown]
# ## Who learned what
#
# Read off the terms of the run. The warnings come first, as in the report of `sordino report`.

# %%
for warning in results.report["warnings"]:
    print("!", warning)
pd.DataFrame(results.report["exposure"]).set_index("who")

# %% [markdown]
# The second warning is the price of the missing hospitals: sums of neighbouring rounds are over other
# hospitals, and without noise their difference shows roughly what single hospitals sent. `across_rounds =
# "freeze"` forbids that, and then a round that somebody misses is lost and asked for again.
#
# ## With noise
#
# Noise in every sum bounds what anybody learns of one patient, all sums and the model together: any result is
# at most e^epsilon times as likely with that patient as without, but for a chance of delta = 1e-5. Two
# models, each at several epsilon:
#
# - **all 1,322 features**, as above;
# - **the four features of the signature**, named by others before these patients were looked at.
#
# Each budget pays for one training and one test, so every split is a study of its own. The AUC is *simulation
# only*, on the pooled held-out rows without noise: it is what the noise in training costs, not what it adds
# to the figures of the test. `noise/clip` is the length of the noise on a step over the longest step that the
# clip allows: above 1 no step can go where the patients point, and `sordino plan` says so before anything
# runs.

# %%
PRIVATE = """
name = "keek2020-private"
[data]
id = "ID"
target = "Target"
features = {features}
path = "Keek2020.csv.gz"
site_pattern = "^(AVL|MAASTRO|UMCU|VUMC)"
[[sites]]
name = "AVL"
[[sites]]
name = "MAASTRO"
[[sites]]
name = "UMCU"
[[sites]]
name = "VUMC"
[model]
type = "logistic"
l2 = {l2}
standardise = false
[training]
rounds = 15
[test]
fraction = 0.2
draw = "patient"
seed = {seed}
[simulation]
compare_pooled = true
{terms}
"""
WITHOUT = '[policy]\nacross_rounds = "freeze"\n'
WITH = '[privacy]\nunit = "patient"\nepsilon = {}\ndelta = 1e-5\nevaluation_share = 0.1\n'
SEEDS = range(10)


def trained(name, features, l2, epsilon, seed):
    """AUC on the held-out rows, noise over clip, and the results of one study."""
    terms = WITHOUT if epsilon is None else WITH.format(epsilon)
    path = work / f"{name}-{epsilon}-{seed}.toml"
    path.write_text(PRIVATE.format(features=json.dumps(features), l2=l2, seed=seed, terms=terms))
    prepared, out = sordino.prepare(path, data), path.with_suffix("")
    sordino.run_study(prepared, out)
    found = sordino.read_results(out)
    noise = 0.0 if epsilon is None else plan_of(prepared).plan.training.noise_to_clip
    return found.scores()["federated"]["mean"], noise, found


cost, private = {}, {}
for name, features, l2 in (("all 1,322", "all others", 10.0), ("signature of 4", SIGNATURE, 0.01)):
    for epsilon in (None, 6.0, 3.0, 1.0):
        made = [trained(name.split()[0], features, l2, epsilon, seed) for seed in SEEDS]
        private[name, epsilon] = made
        lost = [one[0] - without[0] for one, without in zip(made, private[name, None], strict=True)]
        auc, change = interval([one[0] for one in made]), interval(lost)
        cost[name, epsilon or "no noise"] = {
            "noise/clip": made[0][1],
            "AUC": auc["mean"],
            "low": auc["low"],
            "high": auc["high"],
            "change by noise": change["mean"],
            "from": change["low"],
            "to": change["high"],
        }
cost = pd.DataFrame(cost).T.rename_axis(["features", "epsilon"])
cost

# %% [markdown]
# What was spent, sum by sum, in the first split of the signature at epsilon 6:

# %%
figure, axes = plt.subplots(figsize=(6.0, 2.2))
private["signature of 4", 6.0][0][2].draw_spending(axes)

# %% [markdown]
# ## Audit
#
# `sordino audit` attacks the study's own sums and model in simulation, each attack beside a control that it
# must win and a null that it must not ([audit.md](../audit.md)). These are the quick attacks, with eight
# shadow models: wide intervals. An audit that finds nothing proves nothing.

# %%
audit = sordino.audit_study(prepared, quick=True)
attacks = pd.DataFrame(
    [[row.attack, row.target, row.result] for row in audit.rows if "mask" not in row.attack]
)
attacks.columns = ["attack", "target", "result (95 % interval)"]
attacks.set_index(["attack", "target"])

# %%
member = [row for row in audit.rows if row.attack == "membership, likelihood ratio"]
figure, axes = plt.subplots(figsize=(6.0, 2.2))
for place, row in enumerate(reversed(member)):
    auc = row.figures["auc"]
    axes.plot([auc["low"], auc["high"]], [place, place], color="#1b5e8c")
    axes.plot(auc["value"], place, "o", color="#1b5e8c")
axes.axvline(0.5, color="0.6", linestyle="--")
axes.set_yticks(range(len(member)), [row.target for row in reversed(member)])
_ = axes.set(xlim=(0.0, 1.02), xlabel="AUC of membership inference, 0.5 is a coin")
# %% [markdown]
# ## Limits
#
# - **The model is weak.** Nobody should decide anything by it. What this page shows is that the federated
#   model is the pooled one, and not that the pooled one is good.
# - The penalty (l2 = 10) was chosen for these data, and the patients of all splits are the same 273. No other
#   cohort was looked at.
# - The table was standardised over all patients before sordino saw it, held-out ones included, which flatters
#   every model here a little.
# - Four hospitals are few: at most one may collude with the coordinator, and a sum over three says something
#   about each.
# - Without noise nothing bounds what a model of 1,322 coefficients remembers of 273 patients, and `accept`
#   lets differences of sums show what single hospitals sent. With noise, all features at once are out of
#   reach at this size.
# - A simulation protects nothing from whoever runs it. Between real hospitals the same messages go through
#   Flower or NVFlare ([choosing.md](../choosing.md)).
#
# The key figures of this page, each with how far another execution may be off: noise is drawn anew every
# time, all else is fixed by seeds.

# %%
figures = {
    "federated AUC": [scores["federated"]["mean"], 0.002],
    "pooled AUC": [scores["pooled"]["mean"], 0.002],
    "federated AUC with ComBat": [with_combat.scores()["federated"]["mean"], 0.002],
    "best hospital alone": [max(scores[f"{name} alone"]["mean"] for name in own), 0.002],
    "features that differ before ComBat": [differ["before"], 0.002],
    "signature without noise": [cost.loc["signature of 4", "no noise"]["AUC"], 0.002],
    "signature at epsilon 6": [cost.loc["signature of 4", 6.0]["AUC"], 0.06],
    "all features at epsilon 6": [cost.loc["all 1,322", 6.0]["AUC"], 0.06],
}
print(
    json.dumps({name: [round(value, 4), tolerance] for name, (value, tolerance) in figures.items()}, indent=1)
)
