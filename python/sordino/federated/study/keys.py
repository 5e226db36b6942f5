# SPDX-License-Identifier: Apache-2.0

"""The kinds of values that keys of a study file hold, each with how it is told to whoever wrote another."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta

from sordino.protocol.policy import Name

FilePath = Annotated[str, Meta(min_length=1, description="the path of a .csv or .csv.gz file")]
Column = Annotated[str, Meta(min_length=1, description="a column name")]
Columns = Annotated[list[Column], Meta(description="a list of column names")]
Label: TypeAlias = str | int
Pattern = Annotated[
    str, Meta(min_length=1, description="a regular expression that finds the site's name in the id")
]
Switch = Annotated[bool, Meta(description="true or false")]
Ids = Annotated[list[Label], Meta(description="a list of patients' ids")]
Seconds = Annotated[float, Meta(gt=0, le=1e6, description="a number of seconds above 0")]
Positive = Annotated[float, Meta(gt=0, le=1e12, description="a number above 0")]
Fraction = Annotated[float, Meta(gt=0, lt=1, description="a number above 0 and below 1")]
Count = Annotated[int, Meta(ge=1, le=1_000_000, description="a whole number from 1 to 1,000,000")]
Seed = Annotated[int, Meta(ge=0, le=2**32 - 1, description="a whole number from 0 to 4294967295")]
SiteCount = Annotated[int, Meta(ge=0, le=4096, description="a whole number from 0 to 4096")]
PlainName = Annotated[
    Name,
    Meta(
        description="a name of up to 64 letters, digits, '.', '_' or '-' that starts with a letter or digit"
    ),
]
Penalty = Annotated[float, Meta(ge=0, le=1e9, description="a number from 0 on")]
