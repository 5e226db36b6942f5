# SPDX-License-Identifier: Apache-2.0

# %% [markdown]
# # Images, clinical data and genes of lung cancer at nine sites, each of which lacks one
#
# **Question.** Hospitals rarely have the same kinds of data. Nine sites of patients with non-small-cell lung
# cancer have CT radiomics, clinical data or mutations, and none has all three. Can they predict death
# together? Does it help to join the three?
#
# **Data.** NSCLC-Radiogenomics of The Cancer Imaging Archive (Bakr et al., *A radiogenomic dataset of
# non-small cell lung cancer*, Scientific Data 5, 2018, 180202; licence CC BY), as the project opnested-combat
# (licence MIT) has it: 102 features of the tumour's CT by CaPTk (`features.csv`) and a clinical table
# (`clinical.csv`) of 206 patients. Both are not part of sordino: take them from opnested-combat and put them
# into the folder `nsclc-captk` of a folder that the environment variable `SORDINO_SHARED_DATA` names.
#
# **What is made up.** The patients come from two sources, told by their ids: 47 of AMC, 159 of R01.
# `examples/nsclc_captk.py` cuts them in the order of their ids into two and seven sites, and takes one block
# of columns from each site, in turn. So the sites are no hospitals, and who lacks what is a rule and not a
# habit of clinics. Death is taken for a class whatever the length of follow-up, which a survival model would
# not do ([tcga-brca](tcga-brca.ipynb) has one).
#
# The sites are played on one machine, and all that passes between them is the real protocol. Comparisons that
# take all rows in one place are marked *simulation only*.

# %%
import json
import os
import re
import tomllib
from pathlib import Path
from runpy import run_path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib_inline.backend_inline import set_matplotlib_formats
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sordino
from sordino.errors import ConfigError
from sordino.federated.study.planning import plan_of
from sordino.federated.study.results import interval

set_matplotlib_formats("svg", metadata={"Date": None})
plt.rcParams.update({"figure.figsize": (6.0, 3.0), "svg.fonttype": "none", "svg.hashsalt": "nsclc-captk"})
pd.set_option("display.max_colwidth", None, "display.precision", 3)

source = Path(os.environ["SORDINO_SHARED_DATA"]) / "nsclc-captk"
study = Path("../../examples/nsclc-captk.toml")
folder = TemporaryDirectory()
work = Path(folder.name)
data = work / "sites"
written = run_path("../../examples/nsclc_captk.py")["write_sites"](source, data)

# %% [markdown]
# ## The sites
#
# Who has which block is public: each site signs it in set-up. Patients and deaths by site are *simulation
# only*.

# %%
prepared = sordino.prepare(study, data)
rows, blocks = prepared.cohort.sites, ["imaging", "clinical", "genomic"]
pd.DataFrame(
    {
        name: {
            **{block: "yes" if block in prepared.groups[name] else "" for block in blocks},
            "patients": len(one.target),
            "deaths": int(one.target.sum()),
        }
        for name, one in rows.items()
    }
).T

# %% [markdown]
# ## What the features look like, by secure sums
#
# The clinical and genomic features. `holders` is how many sites have any value. A feature is only told where
# at least five patients have it and the sums are over enough sites, and 1 to 4 missing values are not told by
# number.

# %%
_, description = sordino.describe_study(study, data)
told = pd.DataFrame(description.summary()["features"]).set_index("name")
told["sd"] = told["variance"].astype(float) ** 0.5
modalities = {one["name"]: one["columns"] for one in tomllib.loads(study.read_text())["modalities"]}
small = modalities["clinical"] + modalities["genomic"]
told.loc[small, ["holders", "count", "missing", "mean", "sd"]]

# %% [markdown]
# ## Training
#
# **Late fusion** is the study of `examples/nsclc-captk.toml`: a logistic model of each block over the six
# sites that have it, and a small model of their scores. **Early fusion** is one model of all features, in
# which a site fills what it lacks with the means. And each block **alone**. A quarter of each class is held
# out at every site, drawn anew twenty times; a patient who lacks a block is scored all the same. Intervals
# are over the splits (Student's t), which share patients.


# %%
def variant(name, text):
    """The results of a study that differs from the example in its text."""
    path = work / f"{name}.toml"
    path.write_text(text)
    sordino.run_study(sordino.prepare(path, data), work / name)
    return sordino.read_results(work / name)


def without(text, table):
    """The text without the tables of one name."""
    return re.sub(rf"^\[+{table}\]+\n(?:(?!\[).*\n?)*", "", text, flags=re.MULTILINE)


def only(block):
    """The study over one block, which three of the nine sites lack."""
    others = [name for other, names in modalities.items() if other != block for name in names]
    text = without(without(study.read_text(), "fusion"), "modalities").replace("compare_plain = true", "")
    text = text.replace("[data]\n", f"[data]\nexclude = {json.dumps(others)}\n")
    return text + f'\n[[modalities]]\nname = "{block}"\ncolumns = {json.dumps(modalities[block])}\n'


late = variant("late", study.read_text())
early = variant("early", without(study.read_text().replace("compare_plain = true", ""), "fusion"))
single = {block: variant(block, only(block)) for block in blocks}

scores = {"late fusion": late, "early fusion": early} | {f"{block} alone": single[block] for block in blocks}
table = pd.DataFrame(
    {
        (name, which): one.scores()[which]
        for name, one in scores.items()
        for which in ("secure sums", "pooled")
    }
).T
table

# %% [markdown]
# `secure sums` is what the sites would see; `pooled` is *simulation only*, the same model with all rows in
# one place. For late fusion that is by folds of its own.

# %%
figure, axes = plt.subplots(figsize=(6.0, 2.4))
for row, name in enumerate(scores):
    for which, colour, lift in (("secure sums", "tab:blue", -0.12), ("pooled", "tab:gray", 0.12)):
        mean, low, high = (table.loc[(name, which), key] for key in ("mean", "low", "high"))
        between, label = [[mean - low], [high - mean]], which if row == 0 else None
        axes.errorbar(mean, row + lift, xerr=between, fmt="o", color=colour, label=label)
axes.axvline(0.5, color="tab:gray", linestyle=":", linewidth=1.0)
axes.set_yticks(range(len(scores)), scores)
axes.set(xlabel="AUC, 95 % interval over the splits; 0.5 is a coin", ylim=(len(scores) - 0.5, -0.5))
_ = axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)

# %%
compared = late.report["simulation"]["compared_with_plain_sums"]
equal, made = compared["equal_bit_for_bit"], compared["sums"]
print(f"late fusion: {equal} of {made} masked sums equal the plain ones bit for bit")

# %% [markdown]
# ### Each site alone
#
# *Simulation only*: a logistic model with the same penalty on the columns and patients of one site,
# scikit-learn's, tested on the held-out patients of all nine; what a site never saw is put at its mean, so
# such patients differ by nothing.


# %%
def alone(sites):
    """By site, the AUC over everybody's held-out patients of a model that was trained there."""
    held = np.concatenate([site.test_features for site in sites.values()])
    truth = np.concatenate([site.test_target for site in sites.values()])
    found = {}
    for name, site in sites.items():
        penalty = LogisticRegression(C=1.0 / (prepared.study.model.l2 * len(site.target)), max_iter=1000)
        model = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), penalty)
        found[name] = roc_auc_score(truth, model.fit(site.features, site.target).decision_function(held))
    return found


own = pd.DataFrame([alone(prepared.sites(split)) for split in range(prepared.study.repeats)])
pd.DataFrame({f"{name} alone": interval(own[name].tolist()) for name in own}).T

# %% [markdown]
# ### Harmonisation
#
# ComBat needs every feature at every site, so `[harmonise]` does not go with modalities. It can be tried on
# the images alone, over the six sites that have them, each a batch:

# %%
having = {block: [name for name in rows if block in prepared.groups[name]] for block in blocks}


def of_sites(text, block):
    """The text with the sites that have a block, which is no modality then."""
    sites = "".join(f'[[sites]]\nname = "{name}"\npath = "{name}.csv"\n' for name in having[block])
    text = without(without(without(text, "fusion"), "modalities"), "sites").replace(
        "compare_plain = true", ""
    )
    return text + "\n" + sites


listed = f"features = {json.dumps(modalities['imaging'])}"
images = of_sites(study.read_text(), "imaging").replace('features = "all others"', listed)
imaging = {
    "six sites as they are": variant("imaging-six", images),
    "harmonised": variant("imaging-combat", images + "\n[harmonise]\n"),
}
pd.DataFrame({name: one.scores()["secure sums"] for name, one in imaging.items()}).T

# %% [markdown]
# ## How good it is
#
# ROC curve and calibration of late fusion in the first split, from secure histograms, at least ten patients
# in a band.

# %%
figure, (left, right) = plt.subplots(1, 2)
late.draw_roc(left)
late.draw_calibration(right)
figure.tight_layout()

# %% [markdown]
# ## Who was missing
#
# Nobody, in the study. Here is its first split once more with two losses: a site that vanishes after its
# upload in round 5, whose part stays in the sum while the others rebuild what it had to send, and one that
# vanishes before it in round 9. `across_rounds = "freeze"` holds all sums to the same sites, so that round is
# lost, nothing of it is revealed, and it is asked for again.

# %%
losses = "".join(
    f'[[dropouts]]\nround = {number}\nsite = "{name}"\nstep = "{step}"\n'
    for number, name, step in ((5, "r01-3", "unmask"), (9, "amc-1", "upload"))
)
text = study.read_text().replace("repeats = 20", "repeats = 1") + losses
with_losses = variant("losses", text)
figure, axes = plt.subplots(figsize=(7.0, 2.2))
with_losses.draw_rounds(axes)

# %%
first = late.test["splits"][0]["auc"]
print(f"AUC of the first split: {first:.4f}, with the losses {with_losses.test['splits'][0]['auc']:.4f}")
print(f"rounds that were lost and asked for again: {with_losses.report['history']['aborted']}")

# %% [markdown]
# ## Who learned what

# %%
for warning in late.report["warnings"]:
    print("!", warning)
pd.DataFrame(late.report["exposure"]).set_index("who")

# %% [markdown]
# Beyond that, everybody knows who has which block, all eighteen models (six of each block, for the folds),
# how many patients have a block in each fold over all sites that have it, and count, mean and spread of the
# scores.
#
# ## With noise
#
# `[privacy]` does not go with modalities or with filled gaps: those sums have no form with noise. What can be
# hidden by noise is a smaller study: the six sites with clinical data, and the five features of which no
# value is missing there (sex, two of smoking, two of histology). Each budget pays for one training and one
# test, so every split is a study of its own; the AUC is *simulation only*, on pooled held-out rows without
# noise.

# %%
COMPLETE = ["male", "smoking-1", "smoking-2", "histology-2", "histology-3"]
SEEDS = range(20)


def trained(epsilon, seed):
    """AUC on the held-out rows, the plan, and the study prepared."""
    text = of_sites(study.read_text(), "clinical").replace('missing = "mean"', "")
    text = text.replace('features = "all others"', f"features = {json.dumps(COMPLETE)}")
    text = text.replace("repeats = 20", f'draw = "patient"\nseed = {seed}').replace(
        "rounds = 60", "rounds = 15"
    )
    text = text.replace("l2 = 0.1", "l2 = 0.1\nstandardise = false")
    if epsilon is not None:
        text = text.replace('across_rounds = "freeze"', "")
        text += f'[privacy]\nunit = "patient"\nepsilon = {epsilon}\ndelta = 1e-5\nevaluation_share = 0.1\n'
    path = work / f"private-{epsilon}-{seed}.toml"
    path.write_text(text)
    prepared = sordino.prepare(path, data)
    sordino.run_study(prepared, path.with_suffix(""))
    return (
        sordino.read_results(path.with_suffix("")).scores()["federated"]["mean"],
        plan_of(prepared).plan,
        prepared,
    )


cost, complete = [], None
for epsilon in (None, 10.0, 6.0, 3.0, 1.0):
    made = [trained(epsilon, seed) for seed in SEEDS]
    plan, complete = made[0][1], complete or made[0][2]
    noise = 0.0 if epsilon is None else plan.training.noise_to_clip
    cost.append({"epsilon": epsilon or "no noise", "noise/clip": noise, **interval([one[0] for one in made])})
cost = pd.DataFrame(cost)
cost

# %% [markdown]
# ## Audit
#
# `sordino audit` simulates complete rows only, and says so of the study itself:

# %%
try:
    sordino.audit_study(prepared, quick=True)
except ConfigError as refused:
    print(refused)

# %% [markdown]
# What can be attacked is the smaller study above, its sums and model without noise, and as if it had epsilon
# 6. These are the quick attacks: wide intervals. An audit that finds nothing proves nothing
# ([audit.md](../audit.md)).

# %%
audit = sordino.audit_study(complete, quick=True)
attacks = pd.DataFrame(
    [[row.attack, row.target, row.result] for row in audit.rows if "mask" not in row.attack]
)
attacks.columns = ["attack", "target", "result (95 % interval)"]
attacks.set_index(["attack", "target"])

# %% [markdown]
# ## Limits
#
# - **Fusion does not help here.** Clinical data alone do best. The 102 features of the images tell nothing of
#   death; in one model of all features they drown the rest, and late fusion, which gives them little weight,
#   still falls short.
# - The sites are made up, in the order of ids, and no site has all blocks because a rule says so.
# - 41 deaths are few. Death is a class here whatever the length of follow-up, and the penalty (l2 = 0.1) is
#   the better of 0.1 and 0.3 as seen on ten of these splits, which flatters the figures a little.
# - AMC's patients have neither age nor stage, so these are missing by source and not by chance; filling with
#   means does not mend that.
# - No sum of the study has noise, and none could have with blocks that sites lack: nothing bounds what its
#   models say of a patient. The smaller study with noise is another study.
# - A simulation protects nothing from whoever runs it.
#
# The key figures of this page, each with how far another execution may be off: noise is drawn anew every
# time, all else is fixed by seeds.


# %%
def mean(name, which="secure sums"):
    return table.loc[(name, which), "mean"]


figures = {
    "late fusion": [mean("late fusion"), 0.002],
    "late fusion, pooled": [mean("late fusion", "pooled"), 0.002],
    "early fusion": [mean("early fusion"), 0.002],
    "clinical alone": [mean("clinical alone"), 0.002],
    "genomic alone": [mean("genomic alone"), 0.002],
    "imaging alone": [mean("imaging alone"), 0.002],
    "five clinical features without noise": [cost.loc[0, "mean"], 0.002],
    "five clinical features at epsilon 6": [cost.loc[2, "mean"], 0.08],
}
print(
    json.dumps({name: [round(value, 4), tolerance] for name, (value, tolerance) in figures.items()}, indent=1)
)
