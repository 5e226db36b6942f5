# SPDX-License-Identifier: Apache-2.0

# %% [markdown]
# # Survival of breast cancer in six regions
#
# **Question.** Hospitals of six regions have patients with breast cancer and know how long they lived. Can
# they fit Cox's model together, while no row leaves its region? Is it the model of all patients in one place?
# How far would each region come alone? What can be told of survival if every single patient is hidden by
# noise?
#
# **Found.** The fit by secure risk sets is the pooled one: no coefficient differs by more than 1e-8. Its
# C-index on the official test patients is 0.836 (0.765 to 0.892); each region alone comes to 0.58 to 0.72,
# and is worse beyond chance. There is no Cox regression with noise. Kaplan-Meier curves of two groups are
# little changed at epsilon 3 and worthless at epsilon 0.3. A membership attack on the model does
# little better than a coin: AUC 0.53 (0.51 to 0.55).
#
# **Data.** Fed-TCGA-BRCA of FLamby (du Terrail et al., *FLamby: Datasets and Benchmarks for Cross-Silo
# Federated Learning in Realistic Healthcare Settings*, NeurIPS 2022; licence of the code MIT): open-access
# clinical data of TCGA-BRCA from the Genomic Data Commons (Liu et al., *An Integrated TCGA Pan-Cancer
# Clinical Data Resource to Drive High-Quality Survival Outcome Analytics*, Cell 173, 2018). 1,088 patients,
# 39 clinical features, columns `E` (death) and `T` (days), regions by the code of the tissue source site in a
# patient's id, FLamby's official split. The tables are not part of sordino: take `brca.csv`, `centers.csv`
# and `train_test_split.csv` from FLamby and put them into the folder `tcga-brca` of a folder that the
# environment variable `SORDINO_SHARED_DATA` names.
#
# The regions are played on one machine, and all that passes between them is the real protocol. Comparisons
# that take all rows in one place are marked *simulation only*. `examples/tcga_brca.py` reads the tables and
# has the models to compare with.

# %%
import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib_inline.backend_inline import set_matplotlib_formats

sys.path.insert(0, "../../examples")
import tcga_brca

import sordino
from sordino.course.terms import PrivateTerms
from sordino.models.cox import Cox
from sordino.statistics import describe
from sordino.survival.concordance import harrell
from sordino.survival.cox import cox_regression
from sordino.survival.curves import survival_curves
from sordino.survival.noised_curves import noised_curves
from sordino.survival.performance import performance
from sordino.survival.rows import SurvivalRows

set_matplotlib_formats("svg", metadata={"Date": None})
plt.rcParams.update({"figure.figsize": (6.0, 3.2), "svg.fonttype": "none", "svg.hashsalt": "tcga-brca"})
pd.set_option("display.max_colwidth", None, "display.precision", 3)
COLOURS, STYLES, YEAR = ("#1b5e8c", "#b3541e"), ("-", "--"), 365.25

regions = tcga_brca.read(Path(os.environ["SORDINO_SHARED_DATA"]) / "tcga-brca")
columns = next(iter(regions.values())).columns


def rows(which="train", group=None):
    """By region, its patients of a part; `group` is the place of each one's group, made of the features."""
    found = {}
    for name, site in regions.items():
        pairs = {"train": (site.features, site.target), "test": (site.test_features, site.test_target)}
        parts = list(pairs.values()) if which == "all" else [pairs[which]]
        features, target = (np.concatenate(part) for part in zip(*parts, strict=True))
        own = None if group is None else group(features)
        found[name] = SurvivalRows(name, features, target[:, 0], target[:, 1] == 1.0, columns, own)
    return found


train, test = rows("train"), rows("test")

# %% [markdown]
# ## The regions
#
# Patients and deaths by region are *simulation only*. Twelve patients with a follow-up of no days are left
# out.

# %%
pd.DataFrame(
    {
        name: {
            "train": len(train[name].time),
            "deaths": int(train[name].event.sum()),
            "test": len(test[name].time),
            "deaths ": int(test[name].event.sum()),
        }
        for name in regions
    }
).T

# %% [markdown]
# ## What the features look like, by secure sums
#
# Counts, means and spread of the training patients of all regions together; of features that are 0 or 1 the
# mean is a part. Nothing here was measured by a scanner, so there is nothing to harmonise, and `[harmonise]`
# is not used.

# %%
description = describe({name: (one.features, columns) for name, one in train.items()})
told = pd.DataFrame(
    {"count": description.count, "mean": description.mean, "sd": np.sqrt(description.variance)}
)
told.index = list(columns)
told.iloc[[0, 1, 4, 5, 6, 8, 10, 20, 21, 31, 32]]

# %% [markdown]
# ## Survival by stage
#
# Kaplan-Meier curves of the training patients from one secure sum of the deaths and the censored in every
# year. At each time at least ten patients of a group leave, or nobody, so some years are left out. "Other"
# are stages that have no column in these tables, stage IV among them, and stages that were not told. Bands
# are pointwise 95 % (Greenwood, log-log).

# %%
STAGES = ("stage I or II", "stage III or other")
EARLY = ("stage i", "stage ia", "stage iia", "stage iib")
YEARS = [YEAR * year for year in range(1, 11)]


def stage(features):
    """The place of each patient's stage in `STAGES`."""
    early = sum(features[:, columns.index(f"tumor_stage_{one}")] for one in EARLY)
    return np.where(early > 0.0, 0, 1)


def draw(axes, curves, band=True, **style):
    """The curves of `SurvivalCurves`, in years."""
    low, high = curves.band()
    for place, name in enumerate(curves.groups):
        at = np.append(0.0, curves.cuts) / YEAR
        look = {"color": COLOURS[place], "linestyle": STYLES[place]} | style
        axes.step(at, np.append(1.0, curves.survival()[place]), where="post", label=name, **look)
        if band:
            edges = (np.append(1.0, edge[place]) for edge in (low, high))
            axes.fill_between(at, *edges, step="post", color=COLOURS[place], alpha=0.12)
    axes.set(xlabel="years", ylabel="part alive", ylim=(0.0, 1.02))


by_stage = survival_curves(rows("train", stage), groups=STAGES, grid=YEARS)
figure, axes = plt.subplots()
draw(axes, by_stage)
axes.legend(frameon=False)
statistic, p_value = by_stage.log_rank()
print(f"log-rank test of the two groups: chi squared {statistic:.1f}, p = {p_value:.2g}")

# %% [markdown]
# ## Cox regression
#
# Each secure sum tells how many patients leave at each time of the grid and sums of their weighted features,
# and is one Newton step. The result is the pooled Breslow fit on that grid, with standard errors. A small
# ridge penalty (l2 = 0.001) is there since the stages of two classifications are nearly the same columns.

# %%
fit, sums = tcga_brca.risk_sets(regions, 16)
made, kilobytes, _ = sums.cost
print(f"{fit.patients} patients, {fit.events} deaths")
print(f"{made} secure sums, {kilobytes:,.0f} kB from the busiest region")
scale = np.sqrt(description.variance)
between = np.exp(fit.confidence_intervals() * scale[:, np.newaxis])
hazards = pd.DataFrame(
    {
        "hazard ratio of one SD": np.exp(fit.coefficients * scale),
        "low": between[:, 0],
        "high": between[:, 1],
        "p": fit.p_values,
    },
    index=list(columns),
)
strongest = hazards.sort_values("p").head(10)
strongest

# %%
figure, axes = plt.subplots(figsize=(6.0, 2.8))
for place, (_, one) in enumerate(strongest.iloc[::-1].iterrows()):
    axes.plot([one["low"], one["high"]], [place, place], color=COLOURS[0])
    axes.plot(one["hazard ratio of one SD"], place, "o", color=COLOURS[0])
axes.axvline(1.0, color="0.6", linestyle="--")
axes.set_yticks(range(len(strongest)), strongest.index[::-1])
axes.set(xscale="log", xlabel="hazard ratio of one standard deviation, with 95 % interval")
axes.set_xticks([0.5, 0.7, 1.0, 1.4, 2.0], ["0.5", "0.7", "1", "1.4", "2"])
axes.minorticks_off()

# %% [markdown]
# ## Federated, pooled and alone
#
# Harrell's C-index of the official test patients of all regions together, *simulation only*, with 95 %
# intervals of a bootstrap of these patients (1,000 draws). `minus pooled` is the difference from the pooled
# fit on the same draws. FedAvg compares patients within their region only, which is another model: stratified
# by region.

# %%
L2 = tcga_brca.L2
features = np.concatenate([one.features for one in train.values()])
target = np.concatenate([site.target for site in regions.values()])
mean, scale = features.mean(axis=0), features.std(axis=0)
scaled = {name: (one.features - mean) / scale for name, one in train.items()}
held = (np.concatenate([one.features for one in test.values()]) - mean) / scale
time, event = (np.concatenate([getattr(one, part) for one in test.values()]) for part in ("time", "event"))
cox = Cox(len(columns), L2)

exact, _ = tcga_brca.risk_sets(regions, "exact")
coefficients = {
    "pooled": cox.fit((features - mean) / scale, tcga_brca.coarsened(target, fit.cuts)),
    "risk sets, 16 times": fit.coefficients * scale,
    "risk sets, exact times": exact.coefficients * scale,
}
coefficients["FedAvg"] = tcga_brca.averaged(regions, cox, 100, {})[0]
coefficients |= {f"{name} alone": cox.fit(scaled[name], site.target) for name, site in regions.items()}

draws = np.random.default_rng(0).integers(0, len(time), (1000, len(time)))


def bootstrapped(score):
    return np.array([harrell(time[draw], event[draw], score[draw]) for draw in draws])


over = {name: bootstrapped(held @ one) for name, one in coefficients.items()}
rows_of = {}
for name, one in coefficients.items():
    low, high = np.nanquantile(over[name], [0.025, 0.975])
    less, more = np.nanquantile(over[name] - over["pooled"], [0.025, 0.975])
    c_index = harrell(time, event, held @ one)
    rows_of[name] = {"C-index": c_index, "low": low, "high": high, "minus pooled, low": less, "high ": more}
compared = pd.DataFrame(rows_of).T
off = float(np.abs(coefficients["risk sets, 16 times"] - coefficients["pooled"]).max())
print(f"risk sets against the pooled fit: no coefficient differs by more than {off:.0e}")
compared

# %% [markdown]
# ## How good it is, by secure sums
#
# The same model tested on the held-out patients by secure histograms. `low` and `high` are no interval: they
# bound the C-index of the patients themselves, since the histogram has bins. The Brier score is weighted for
# censoring; 0.25 is a coin.

# %%
tested = performance(fit, test)
found = tested.c_index
print(f"C-index {found.value:.3f}, between {found.low:.3f} and {found.high:.3f}; {tested.patients} patients")
print(f"integrated Brier score {tested.integrated_brier:.3f} up to {tested.times[-1] / YEAR:.1f} years")

# %% [markdown]
# Survival of the held-out patients by predicted risk: above and below that of a patient at the mean of all
# features. Steps are Kaplan-Meier by secure sums with 95 % bands; the thin lines are what the model predicts
# for the same patients, in the mean (*simulation only*). Where they part, the model is badly calibrated. The
# grid is of whole years: a finer one is refused or thinned out, since with 32 deaths fewer than ten patients
# of a group would leave at some time; so the sixth year goes.


# %%
def riskier(features):
    """1 for patients whose predicted hazard is above that of a patient at the mean."""
    return (fit.score(features) > 0.0).astype(np.intp)


risk = survival_curves(rows("test", riskier), groups=("lower risk", "higher risk"), grid=YEARS[1:8:2])
figure, axes = plt.subplots()
draw(axes, risk)
held_out = np.concatenate([one.features for one in test.values()])
for place in range(2):
    predicted = fit.survival(held_out[riskier(held_out) == place]).mean(axis=0)
    axes.plot(fit.cuts / YEAR, predicted, color=COLOURS[place], linewidth=0.8, marker=".", markersize=3.0)
axes.set_xlim(0.0, 8.5)
axes.legend(frameon=False)
statistic, p_value = risk.log_rank()
print(f"log-rank test of the two groups: chi squared {statistic:.1f}, p = {p_value:.2g}")

# %% [markdown]
# ## Who was missing
#
# Two losses on purpose. A region that vanishes after its upload in the second Newton step stays in the sum,
# since the others rebuild what it had to send. One that vanishes before it has the step asked for again with
# it (`across_rounds = "freeze"`): a step over other patients would be another likelihood.


# %%
def losing(step):
    lost = {("risk_sets", 2): {"West": step}}
    return cox_regression(train, l2=L2, lose=lambda kind, number: lost.get((kind, number), {}))


for step in ("unmask", "upload"):
    again = losing(step)
    same = bool(np.array_equal(again.coefficients, fit.coefficients))
    print(f"West vanishes at {step!r}: {again.sums} sums of risk sets; the same to the last bit: {same}")

# %% [markdown]
# ## Who learned what
#
# Coordinator and regions see the same sums, over all six regions; the masks hide each region's part, its
# number of patients included ([survival.md](../survival.md)).
#
# | sum | what everybody learns |
# | --- | --- |
# | event quantiles | means over events of quantiles of event times: candidates for the grid |
# | leaving | how many leave with the event, and censored, at each candidate |
# | units, means, variances | mean and deviation of each feature |
# | risk sets, once a step | at each time: events, leavers, sums of weights, weighted features, products |
# | description | counts, means, spread and histograms, no cell of fewer than five patients |
#
# At each time at least ten patients leave. That is a rule for sums and no guarantee: several steps are
# several equations for the rows of these ten, and with 39 features whoever sees all sums, and computes, may
# solve them. The exact times above are worse: differences of neighbouring risk sets are single patients'
# rows, and sordino makes such sums only with `discloses_patients = true`. The fitted model is not bounded by
# any epsilon.
#
# ## With noise
#
# There is no Cox regression with noise for a patient in sordino: no patient's part of the partial likelihood
# can be clipped. Kaplan-Meier curves can be had, since each patient is one in one lane: one noised sum of
# counts, on the grid of whole years, which is public knowledge, at delta = 1e-5. The bands hold sampling and
# noise. What there is without noise, and how far the curves are off, is *simulation only*; noise differs from
# run to run.


# %%
def five_years(curves):
    """Survival of each group at five years, with its 95 % band."""
    at = int(np.searchsorted(curves.cuts, 5 * YEAR))
    parts = zip(
        curves.groups, curves.survival()[:, at], *(edge[:, at] for edge in curves.band()), strict=True
    )
    return {f"{name}, 5 years": f"{part:.2f} ({low:.2f} to {high:.2f})" for name, part, low, high in parts}


staged = rows("train", stage)
plain = survival_curves(staged, groups=STAGES, grid=YEARS, discloses_patients=True)
cost, noisy = {"no noise": {"noise on a count": 0.0, **five_years(plain), "largest distance": 0.0}}, {}
for epsilon in (10.0, 3.0, 1.0, 0.3):
    terms = PrivateTerms("patient", epsilon=epsilon, delta=1e-5)
    noisy[epsilon] = one = noised_curves(staged, YEARS, terms, groups=STAGES, max_patients=400)
    off = float(np.abs(one.survival() - plain.survival()).max())
    cost[epsilon] = {"noise on a count": one.noise, **five_years(one), "largest distance": off}
cost = pd.DataFrame(cost).T.rename_axis("epsilon")
cost

# %%
figure, axes = plt.subplots()
draw(axes, noisy[1.0])
draw(axes, plain, band=False, linewidth=0.8)
handles, labels = axes.get_legend_handles_labels()
_ = axes.legend(handles[: len(STAGES)], labels[: len(STAGES)], frameon=False)
# %% [markdown]
# Thick, with bands: at epsilon 1. Thin: without noise. A curve at 0 or 1 has no band, which is no certainty.
# Bands hold the noise too: where hardly anybody has died, or few are left, they say that nothing is known.
#
# ## Audit
#
# `sordino audit` attacks a study's own sums and model in simulation, each attack beside a control that it
# must win and a null that it must not ([audit.md](../audit.md)). So here is the same model as a study file,
# over all patients. A Cox model has no loss of one patient; the attacker, who knows all rows but not who was
# trained on, takes the full likelihood. These are the quick attacks, of ten trainings. An audit that finds
# nothing proves nothing.

# %%
STUDY = """
name = "tcga-brca"
[data]
id = "id"
time = "T"
event = "E"
[model]
type = "cox"
l2 = 0.001
[training]
algorithm = "risk_sets"
[policy]
across_rounds = "freeze"
"""
folder = TemporaryDirectory()
work = Path(folder.name)
for name, one in rows("all").items():
    table = pd.DataFrame(one.features, columns=list(columns)).assign(T=one.time, E=one.event.astype(int))
    table.rename_axis("id").to_csv(work / f"{name}.csv")
    STUDY += f'[[sites]]\nname = "{name}"\npath = "{name}.csv"\n'
(work / "study.toml").write_text(STUDY)
audit = sordino.audit_study(sordino.prepare(work / "study.toml"), quick=True)
attacks = pd.DataFrame(
    [[row.attack, row.target, row.result] for row in audit.rows if "mask" not in row.attack]
)
attacks.columns = ["attack", "target", "result (95 % interval)"]
attacks.set_index(["attack", "target"])

# %% [markdown]
# ## Limits
#
# - **Few deaths**, 32 among the test patients. Intervals of the C-index are wide: FedAvg and exact times
#   cannot be told from the pooled fit by them. The official split is one split.
# - The regions are those of the hospitals that gave tissue to one project, which collected all data by one
#   protocol. Real hospitals differ more.
# - Features are those that FLamby kept, indicator columns of two classifications of stage among them.
#   Coefficients of nearly the same columns are not to be read one by one. Some columns, such as therapy that
#   was not reported, tell how data were recorded rather than how ill a patient was.
# - The default grid of 16 times pulls coefficients towards zero a little; what that costs can be seen here
#   only because the exact times were tried, which shows single patients.
# - No Cox model with noise: nothing bounds what these coefficients say of a patient. Curves with noise are
#   all that epsilon covers here, and each further curve costs epsilon of its own.
# - A simulation protects nothing from whoever runs it.
#
# The key figures of this page, each with how far another execution may be off: noise is drawn anew every
# time, all else is fixed by seeds.

# %%
member = {
    row.target: row.figures["auc"]["value"] for row in audit.rows if row.attack.endswith("likelihood ratio")
}
figures = {
    "C-index, risk sets": [compared.loc["risk sets, 16 times", "C-index"], 0.002],
    "C-index, pooled": [compared.loc["pooled", "C-index"], 0.002],
    "C-index, exact times": [compared.loc["risk sets, exact times", "C-index"], 0.002],
    "best region alone": [compared["C-index"].filter(like="alone").max(), 0.002],
    "secure C-index": [found.value, 0.002],
    "Brier score": [tested.integrated_brier, 0.002],
    "noise on a count at epsilon 1": [cost.loc[1.0, "noise on a count"], 0.01],
    "AUC of membership inference": [member["final model"], 0.02],
}
print(
    json.dumps(
        {name: [round(float(value), 4), tolerance] for name, (value, tolerance) in figures.items()}, indent=1
    )
)
