# SPDX-License-Identifier: Apache-2.0

"""Two sums that differ by one site show that site: frozen data refuses, and an operator may accept."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from adversarial.toolkit import FLOOR, Study, identity, make_policy, question, ready
from sordino.errors import BadSignature, InvalidArgument, RequestRefused, RoundAborted
from sordino.protocol import messages as m
from sordino.protocol import wire
from sordino.protocol.coordinator import Coordinator
from sordino.protocol.policy import Block, Policy, Question

ASKED = "site02"
FROZEN = {"across_rounds": "freeze"}


def frozen(**terms: object) -> Study:
    return ready(make_policy(**{**FROZEN, **terms}))


def second_session(first: Study, policy: Policy, *, dataset: str = "default") -> Study:
    """A new session of the same sites on the same data, as a coordinator that forgot the first starts it."""
    return Study(policy, shared=first, dataset=dataset).set_up()


def upload_request(study: Study, participants: Sequence[str]) -> m.UploadRequest:
    return study.upload_request(participants=tuple(participants))


# The same session ---------------------------------------------------------------------------------------


def test_frozen_data_is_asked_again_of_the_same_sites() -> None:
    study = frozen()
    for _ in range(3):
        assert study.round().survivors == study.names


def test_the_same_question_a_round_later_with_one_site_fewer_is_refused_under_freeze() -> None:
    study = frozen()
    study.round()
    fewer = study.names[:5]
    with pytest.raises(InvalidArgument, match="freezes the participants"):
        study.coordinator.open_round("sum", participants=fewer)
    # A coordinator that asks all the same is refused by every site, for good.
    for name in fewer:
        with study.nothing_changes(), pytest.raises(RequestRefused, match="frozen"):
            study.deliver(name, upload_request(study, fewer))
    assert study.round().survivors == study.names


def test_the_same_question_a_round_later_with_one_site_fewer_works_under_accept() -> None:
    study = ready()
    study.round()
    assert study.round(participants=study.names[:5]).survivors == study.names[:5]


def test_the_survivors_of_a_frozen_round_are_frozen_at_the_first_signature() -> None:
    study = frozen()
    assert study.round(lose={"site05": "upload"}).survivors == study.names[:5]
    # The dropout of the first round survives as a dropout, though it is back.
    assert study.round().survivors == study.names[:5]
    study.to("confirm")
    everybody = study.statement()
    for name in study.names[:5]:
        with study.nothing_changes(), pytest.raises(RequestRefused, match="other survivors"):
            study.deliver(name, m.ConfirmRequest(everybody))
    fewer = study.statement(study.names[:4])
    for name in study.names[:4]:
        with study.nothing_changes(), pytest.raises(RequestRefused, match="other survivors"):
            study.deliver(name, m.ConfirmRequest(fewer))


def test_a_frozen_round_that_lacks_a_survivor_is_aborted_and_the_next_works() -> None:
    study = frozen()
    study.round()
    with pytest.raises(RoundAborted, match="freezes the survivors"):
        study.round(lose={"site03": "upload"})
    assert study.round(lose={"site03": "unmask"}).vanished == ("site03",)


def test_the_first_upload_fixes_the_participants_even_if_the_round_fails() -> None:
    study = frozen()
    with pytest.raises(RoundAborted):
        study.round(lose=dict.fromkeys(study.names[:3], "confirm"))
    with study.nothing_changes(), pytest.raises(RequestRefused, match="frozen"):
        study.deliver(ASKED, upload_request(study, study.names[:5]))
    study.round()


def test_aborted_after_all_r3_replies_and_asked_again_with_one_site_fewer() -> None:
    """The coordinator has the sum, says that it has none, and wants a second one."""
    study = frozen().to("unmask")
    for request in study.coordinator.requests():
        study.deliver(request.site, request.data)
    for name in study.names[:5]:
        with study.nothing_changes(), pytest.raises(RequestRefused, match="frozen"):
            study.deliver(name, study.upload_request(round=2, participants=study.names[:5]))
    # With the same participants, but one of them "dropped", it ends at R2.
    for name in study.names[:5]:
        study.deliver(name, study.upload_request(round=2))
    dropped = study.statement(study.names[:5])
    for name in study.names[:5]:
        with study.nothing_changes(), pytest.raises(RequestRefused, match="other survivors"):
            study.deliver(name, m.ConfirmRequest(dropped))
        with study.nothing_changes(), pytest.raises(RequestRefused, match="other survivors"):
            study.deliver(name, m.UnmaskRequest(study.certificate(dropped)))


def test_a_recovery_fixes_the_survivors_too() -> None:
    study = frozen().to("confirm")
    certificate = study.certificate(study.statement(study.names[:5]))
    study.deliver(ASKED, study.recover_request(ASKED, "site03", certificate))
    study.deliver(ASKED, study.upload_request(round=2))
    for name in study.names:
        if name != ASKED:
            study.deliver(name, study.upload_request(round=2))
    with study.nothing_changes(), pytest.raises(RequestRefused, match="other survivors"):
        study.deliver(ASKED, m.ConfirmRequest(study.statement()))


# Another session over the same data ---------------------------------------------------------------------


def test_frozen_data_refuses_another_set_of_participants_in_another_session() -> None:
    first = frozen()
    first.round()
    other = second_session(first, make_policy(**FROZEN))
    assert other.sites[ASKED].state.session != first.sites[ASKED].state.session
    with other.nothing_changes(), pytest.raises(RequestRefused, match="frozen"):
        other.deliver(ASKED, upload_request(other, other.names[:5]))
    other.round()


@pytest.mark.parametrize(
    "terms",
    [{"threshold": 5, "min_cohort": 5}, {"colluders": 0, "threshold": 4, "min_cohort": 4}],
    ids=["another t", "another c"],
)
def test_frozen_data_refuses_another_threshold_or_number_of_colluders(terms: dict[str, int]) -> None:
    first = frozen()
    first.round()
    other = second_session(first, make_policy(**FROZEN, **terms))
    for name in other.names:
        with other.nothing_changes(), pytest.raises(RequestRefused, match="frozen"):
            other.deliver(name, upload_request(other, other.names))


def test_frozen_data_refuses_another_roster() -> None:
    first = frozen()
    first.round()
    grown = Study(make_policy(7, **FROZEN), floor=FLOOR)
    for name in first.names:
        grown.journals[name] = first.journals[name]
        grown.restore(name, None)
    grown.set_up()
    for names in (grown.names, first.names):
        with grown.nothing_changes(*first.names), pytest.raises(RequestRefused, match="frozen"):
            grown.deliver(ASKED, upload_request(grown, names))


def test_frozen_data_stays_frozen_under_an_accepting_policy_later() -> None:
    first = frozen()
    first.round()
    other = second_session(first, make_policy(across_rounds="accept"))
    with other.nothing_changes(), pytest.raises(RequestRefused, match="frozen"):
        other.deliver(ASKED, upload_request(other, other.names[:5]))
    other.to("confirm")
    with other.nothing_changes(), pytest.raises(RequestRefused, match="other survivors"):
        other.deliver(ASKED, m.ConfirmRequest(other.statement(other.names[:5])))


def test_data_summed_under_accept_cannot_be_frozen_on_other_terms_afterwards() -> None:
    first = ready(make_policy(across_rounds="accept"))
    first.round(participants=first.names[:5])
    other = second_session(first, make_policy(**FROZEN))
    with other.nothing_changes(), pytest.raises(RequestRefused, match="frozen"):
        other.deliver(ASKED, upload_request(other, other.names))
    other.round(participants=first.names[:5])


def test_another_question_about_frozen_data_is_held_to_the_same_terms() -> None:
    plan = [question(), question(3, kind="other")]
    study = frozen(plan=plan)
    study.round()
    fewer = study.upload_request(kind="other", participants=study.names[:5])
    with study.nothing_changes(), pytest.raises(RequestRefused, match="frozen"):
        study.deliver(ASKED, fewer)


def test_frozen_data_refuses_other_lane_groups_in_another_session() -> None:
    """Sums over another group of the same participants could be subtracted from the first ones."""

    def policy(group: str) -> Policy:
        blocks = (Block("basic", 2, 9.0, 0), Block(group, 2, 9.0, 0, group))
        terms = {"colluders": 0, "threshold": 4, "min_cohort": 3}
        return make_policy(plan=[Question("sum", blocks)], **FROZEN, **terms)

    has = {f"site{place:02}": ("ct",) if place < 3 else ("mr",) for place in range(6)}
    first = Study(policy("ct"), groups=has)
    first.round()
    other = Study(policy("mr"), groups=has, shared=first).set_up()
    with other.nothing_changes(), pytest.raises(RequestRefused, match="lane groups"):
        other.deliver(ASKED, upload_request(other, other.names))


def test_a_new_coordinator_learns_from_refusals_what_the_data_is_frozen_to() -> None:
    first = frozen()
    first.round(lose={"site05": "upload"}, participants=first.names)
    other = second_session(first, make_policy(**FROZEN))
    with pytest.raises(RoundAborted):
        other.round()
    assert other.round().survivors == first.names[:5]


def test_one_liar_cannot_make_the_coordinator_believe_that_data_is_frozen() -> None:
    study = frozen().to("upload")
    lie = m.Refusal(
        site="site01",
        session=study.session,
        round=1,
        step="uploaded",
        reason="the data set is frozen",
        peers=(),
        statement=None,
        signature=None,
        frozen=m.Frozen(study.names[:4], study.names[:4]),
    )
    for _ in range(3):
        study.coordinator.receive("site01", wire.to_bytes(lie))
    assert study.round().survivors == study.names


def test_another_data_set_of_the_same_site_is_free() -> None:
    first = frozen()
    first.round()
    other = second_session(first, make_policy(**FROZEN), dataset="other patients")
    other.deliver(ASKED, upload_request(other, other.names[:5]))


def test_a_frozen_coordinator_that_restarted_goes_on_with_the_same_survivors() -> None:
    study = frozen()
    study.round(lose={"site05": "upload"})
    study.coordinator = Coordinator.load(study.roster, study.coordinator.save())
    assert study.round().survivors == study.names[:5]


def test_a_frozen_coordinator_with_an_older_save_adopts_what_the_sites_have_signed() -> None:
    """It was saved before the dropout of site05 was certified, and then asked everybody again."""
    study = frozen().to("upload")
    saved = study.coordinator.save()
    study.to("unmask", lose={"site05": "upload"})
    study.coordinator = Coordinator.load(study.roster, saved)
    result = study.round()
    assert result.survivors == study.names[:5]
    assert study.round().survivors == study.names[:5]


def test_one_liar_cannot_make_the_coordinator_adopt_a_statement() -> None:
    study = ready().to("confirm")
    fewer = study.statement(study.names[:5])
    refusal = m.Refusal(
        site="site01",
        session=study.session,
        round=1,
        step="confirmed",
        reason="another statement was accepted for this round",
        peers=(),
        statement=fewer,
        signature=identity("site01").sign("statement", fewer.digest),
    )
    study.coordinator.receive("site01", wire.to_bytes(refusal))
    unsigned = replace(refusal, site="site02", signature=bytes(64))
    with pytest.raises(BadSignature):
        study.coordinator.receive("site02", wire.to_bytes(unsigned))
    other = replace(fewer, question=bytes(32))
    signature = identity("site03").sign("statement", other.digest)
    foreign = replace(refusal, site="site03", statement=other, signature=signature)
    with pytest.raises(RequestRefused):
        study.coordinator.receive("site03", wire.to_bytes(foreign))
    assert study.round().survivors == study.names
