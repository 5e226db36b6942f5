# SPDX-License-Identifier: Apache-2.0

"""`sordino init`: a study file to start from, every key with its default and a word on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sordino.cli.app import app

TEMPLATE = """\
# A study of sordino. `sordino check` says what is wrong with it, `sordino run` runs it. What is commented out
# is optional and shows its default, if it has one; docs/study.md has the whole reference.

name = "my-study"

[data]
id = "id"                    # column that tells patients apart
target = "target"            # column to be predicted
classes = [0, 1]             # its two labels: the negative, the positive
# time = "months"            # of survival, with model.type = "cox", in place of target; and
# event = "died"             # whether the time ended in the event
features = "all others"      # or a list of columns: ["mean radius", "mean texture"]
# exclude = ["scanner"]      # columns that are no features
# extraction = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # of sordino extract
# missing = "refuse"         # a missing value is an error; or "mean", of what is there, by secure sums
# One file for all sites instead of a path for each of them:
# path = "all.csv.gz"
# site_column = "hospital"   # the column that names the site, or
# site_pattern = "^([A-Z]+)" # where the site's name stands in the id

# Three sites or more. Paths are relative to this file.
[[sites]]
name = "north"
path = "north.csv"
# attributes = { region = "north", beds = 400 }  # if rounds leave sites out, does that go with one of these?
# share_performance = false  # how well the model does on this site's own patients is told to all

[[sites]]
name = "east"
path = "east.csv"

[[sites]]
name = "south"
path = "south.csv"

[[sites]]
name = "west"
path = "west.csv"

# Features that a site has all of or nothing:
# [[modalities]]
# name = "genes"
# columns = ["TP53", "KRAS"]

# [fusion]
# type = "early"             # one model of all features; or "late", one of each modality
# folds = 5                  # this and the next three with "late": parts of the patients
# rounds = 40                # of training the model of the scores
# l2 = 0.01                  # its penalty
# seed = 0                   # of the folds

# ComBat: scanners shift and stretch features; take that out before training.
# [harmonise]
# batch = "site"             # or the column with the scanner of each patient
# covariates = []            # columns of what must not be taken out: ["age", "sex"]
# levels = {}                # their labels, where they are no numbers: { sex = ["f", "m"] }
# variant = "parametric"     # or "location": variances as they are, or "no_eb": no empirical Bayes
# reference = "scanner A"    # the batch that the others are made like
# discloses_reference = false  # a reference at one site alone: everybody learns its means and variances
# discloses_patients = false # missing values beside covariates: sums may show a patient's covariates

[model]
type = "logistic"            # or "cox", "mlp" (a perceptron); "linear", "mlp_number" for numbers
# l2 = 0.01                  # penalty (l2 / 2) ||coefficients||^2 on the mean loss
# l1 = 0.0                   # penalty l1 ||coefficients||_1 on it
# grid = 16                  # of "cox": intervals of time, and these two
# least_patients = 10
# discloses_patients = false
# hidden = [16]              # of a perceptron: units of each hidden layer, and these two
# activation = "relu"
# seed = 0
# standardise = true         # mean and standard deviation of each feature, by secure sums

[training]
algorithm = "fedavg"         # or "fedprox", "scaffold": for several local steps where sites differ
# rounds = 60
# local_steps = 1            # gradient steps at a site in a round
# batch_size = 32            # patients in a step; without it, all
# learning_rate = "auto"     # settled by a secure sum, or a number
# momentum = 0.8             # part of the last step that the coordinator adds to the next
# deadline = 60.0            # seconds; who takes longer is left out of that round
# server = "momentum"        # or "adam"
# server_rate = 1.0          # how far the coordinator goes along the mean change
# proximal = 0.1             # of "fedprox"
# epochs = 1                 # instead of local_steps: passes over a site's own patients
# sites_fraction = 1.0       # part of the sites that is drawn for a round
# validation = 0.1           # patients by whose loss training stops early, after
# patience = 5               # sums without a better one, made every so many rounds:
# check_every = 1
# seed = 0

[test]
fraction = 0.2               # of each class at every site; or ids = ["P017", "P023"]
# draw = "class"             # as many of each class; or "patient", each by chance, as always with [privacy]
# seed = 0
# repeats = 1                # splits to train and test on; three or more give intervals
# min_subgroup = 10          # the fewest held-out patients with which a subgroup is told
# bins = 100                 # of the histograms that the AUC is made from

# How well the model does for some of the patients, and for others:
# [[subgroups]]
# column = "sex"
# levels = ["f", "m"]        # or ranges of a number: edges = [50, 70]

[policy]
# Without noise the guarantee holds for one sum. "freeze": every sum is over the same sites, and a round that
# a site misses is lost. "accept": sites may come and go, and whoever sees two sums of one question that
# differ by one site sees what that site sent.
across_rounds = "freeze"
# min_cohort = 3             # the fewest sites in any sum; these three are planned if left out
# threshold = 3              # sites that must agree on the survivors of a round
# colluders = 1              # sites that may work with the coordinator
# max_dropouts = 1
# consistency = true         # survivors sign who survived, before anything is opened
# max_patients = 10000       # public bound on the patients of one site
# update_clip = 16.0         # bound on the change of a parameter in one round
# fraction_bits = 30         # resolution 2^-30 of such a change, if 64 bits allow

# Noise in every sum, so that the whole run says little of any one patient; then leave out across_rounds.
# [privacy]
# unit = "patient"           # or "patient-local", each site by itself, or "site"
# epsilon = 6.0              # of the whole run
# delta = 1e-5
# clip = 1.0                 # L2 norm of one patient's gradient
# sampling_rate = 1.0        # chance of a patient to be in a step
# target_quantile = 0.5      # move the clip to this quantile of the norms
# clip_rate = 0.2
# statistics_share = 0.25    # of the budget, for standardisation
# evaluation_share = 0.25    # of the budget, for the test
# spare_rounds = 1           # room for rounds that are aborted
# ranges = {}                # feature = [low, high], for all features, where that is public knowledge

# Simulated dropouts: who is lost in which round of training, and from which message on.
# [[dropouts]]
# round = 3                  # or a list, or "every"
# site = "east"              # or rotate = true: another site each round
# step = "upload"            # "upload", "confirm", "unmask" or "recover"

# [simulation]
# compare_pooled = false     # the same model on all rows in one place
# compare_plain = false      # every sum once more without masks

# What sordino describe tells of the features.
# [description]
# bins = 64                  # of every histogram
# ranges = {}                # feature = [low, high], for all features: where the bins lie
# quantiles = [0.25, 0.5, 0.75]
# correlation = false        # of all pairs of features
# min_patients = 5           # no cell is about fewer patients
# epsilon = 1.0              # with [privacy]: what a description may cost, beside the run
# delta = 1e-5
"""


@app.command()
def init(
    path: Annotated[
        Path, typer.Argument(metavar="STUDY.toml", help="The file to write; it must not exist.")
    ] = Path("study.toml"),
) -> None:
    """Write a commented study file to start from."""
    from sordino.errors import ConfigError

    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE)
    except FileExistsError:
        raise ConfigError(f"{path}: exists already, and is not overwritten") from None
    typer.echo(f"{path} written: put in your sites and columns, then: sordino check {path}")
