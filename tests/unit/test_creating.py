"""How many remote tasks may be asked for, and what a refusal teaches."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.creating import AT_SPEED, PROVED_BY, Creating, creating
from orchestrator.core.limit import PROOFS


def accepted(state: Creating, now: float, outstanding: int) -> Creating:
    return state.asked(now).accepted(now, outstanding, asked_at=now)


def opened(tasks: int = 20) -> Creating:
    """One that was accepted so often that all places are open."""
    state = creating(tasks, 20.0)
    for outstanding in range(1, tasks + 1):
        state = accepted(state, outstanding * 10.0, outstanding)
    return state


def test_places_open_by_doubling() -> None:
    """One create first, then twice as many as were accepted, up to the ceiling."""
    state = creating(20, 20.0)
    rooms = [state.room(0.0, 0)]
    for outstanding in (1, 2, 4, 8, 16):
        state = accepted(state, float(outstanding), outstanding)
        rooms.append(state.room(float(outstanding), outstanding))
    assert rooms == [1, 1, 2, 4, 8, 4]


def test_a_burst_that_is_refused_slows_creates_down_and_takes_no_place() -> None:
    """Several creates within a second may have been too many for a second."""
    state = opened()
    for _ in range(AT_SPEED):
        state = state.asked(500.2)
    state = state.refused(500.4, 7, None, 0.0)
    assert state.places.knee is None
    assert state.paced(500.4)
    assert state.room(502.0, 7) == 1


def test_what_follows_a_cut_alone_and_is_refused_again_was_not_the_rates_fault() -> None:
    """The second refusal is laid to the places, and what was known of the rate is known again."""
    state = opened()
    for _ in range(6):
        state = state.asked(500.2)
    state = state.refused(500.4, 7, None, 0.0)
    state = state.asked(502.5).refused(502.6, 7, None, 0.0)
    assert state.places.knee == 7
    assert not state.paced(502.6)
    assert state.tasks(502.6) < 7


def test_places_come_back_to_what_held_and_are_tried_again_later() -> None:
    """Seven places are found, kept to, and after a while the eighth is tried."""
    state = opened().asked(500.0).refused(500.1, 7, None, 0.0).ended()
    assert state.tasks(501.0) in (5, 6)
    assert state.tasks(510.2) == 7
    assert state.tasks(600.0) == 7
    for number in range(PROOFS):
        state = accepted(state, 600.0 + number, 7)
    assert state.tasks(608.0) == 7
    assert state.tasks(622.0) > 7


def test_one_more_that_is_accepted_while_none_ended_refutes_the_places() -> None:
    """What is accepted beyond them, nothing having been given back, shows that the rate was refused."""
    state = opened().asked(500.0).refused(500.1, 3, None, 0.0)
    assert state.places.knee == 3
    assert state.room(500.9, 3) == 0
    assert state.room(501.2, 3) == 1
    state = accepted(state, 501.2, 4)
    assert state.places.knee is None
    assert state.paced(501.3)


def test_a_place_given_back_makes_that_proof_worthless() -> None:
    """Then one more may be accepted for the place that became free."""
    state = opened().asked(500.0).refused(500.1, 3, None, 0.0).ended()
    assert state.room(501.2, 3) == 0
    assert accepted(state, 502.0, 4).places.knee == 3


def test_places_refused_often_enough_are_believed() -> None:
    """The tries beyond them become rarer and end."""
    state, now = opened(), 500.0
    for tries in range(PROVED_BY):
        assert state.room(now, 3) >= 1
        state = state.asked(now).refused(now, 3, None, 0.0)
        assert state.laid_to_places == tries + 1
        now += 2.0**tries + 0.1
    assert state.room(now, 3) == 0


def test_a_refusal_with_nothing_outstanding_is_the_rates() -> None:
    """No place can be missing where none is taken."""
    state = opened().asked(500.0).refused(500.1, 0, None, 0.5)
    assert state.places.knee is None
    assert state.tasks(501.0) == 20


def test_retry_after_holds_all_creates() -> None:
    """What the service asks for is waited for, whatever was refused."""
    state = opened().asked(500.0).refused(500.1, 7, 30.0, 0.0)
    assert state.room(530.0, 0) == 0
    assert state.room(530.2, 0) >= 1


@given(
    st.integers(1, 40),
    st.lists(
        st.tuples(
            st.floats(0.0, 20.0),
            st.sampled_from(["asked", "accepted", "refused", "ended"]),
            st.integers(0, 40),
        ),
        max_size=60,
    ),
)
def test_room_is_never_above_the_ceiling_and_comes_back_in_the_end(
    tasks: int, events: list[tuple[float, str, int]]
) -> None:
    """Whatever the service answers, no more than ``tasks`` are ever outstanding, and with none outstanding a
    create may go after a bounded pause: a run ends."""
    state, now = creating(tasks, 20.0), 0.0
    for passed_s, event, outstanding in events:
        now += passed_s
        match event:
            case "asked":
                state = state.asked(now)
            case "accepted":
                state = state.accepted(now, outstanding, asked_at=now)
            case "refused":
                state = state.refused(now, outstanding, None, 0.7)
            case _:
                state = state.ended()
        assert 1 <= state.tasks(now) <= tasks
        assert 0 <= state.room(now, outstanding) <= max(0, tasks - outstanding)
    assert state.room(now + 11.0, 0) >= 1


def test_creates_that_nobody_heard_of_do_not_keep_places_shut() -> None:
    """A lost reply is no refusal: places go on opening by doubling, unless their number is known."""
    state = creating(20, 20.0).unheard(1)
    assert state.room(0.0, 1) == 1
    assert state.unheard(2).room(0.0, 2) == 2
    assert opened().unheard(20) == opened()
    found = opened().asked(500.0).refused(500.1, 7, None, 0.0)
    assert found.unheard(7) is found


def test_what_was_sent_before_a_refusal_refutes_nothing() -> None:
    """Of three creates that go out together two are refused: the one that is accepted in between does not
    prove that there are more places."""
    state = opened()
    for at in (498.0, 500.0):
        state = state.asked(at)
    state = state.refused(500.1, 6, None, 0.0)
    assert state.places.knee == 6
    assert state.accepted(500.2, 7, asked_at=500.0).places.knee == 6
    assert state.accepted(502.2, 7, asked_at=502.0).places.knee is None


def test_at_the_end_of_a_run_nothing_is_tried_that_was_refused_before() -> None:
    """Neither more places than held, nor creates as fast as were refused."""
    state = opened().asked(500.0).refused(500.1, 7, None, 0.0).ended()
    for number in range(PROOFS):
        state = accepted(state, 600.0 + number, 7)
    assert state.room(640.0, 6) > 1
    assert state.room(640.0, 6, seeking=False) == 1
    assert state.room(640.0, 7, seeking=False) == 0
    pace = replace(state.pace, limit=replace(state.pace.limit, knee=2.0, cut_at=500.0))
    careful = replace(state, pace=pace).asked(640.0, seeking=False)
    assert careful.pace.wait_s(640.0) > 0.5
